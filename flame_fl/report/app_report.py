"""What an app says of its own results: the schema of ``report.json``, which is untrusted.

Invariants: the schema is closed (an unknown field is an error), strict (no value is converted), finite (no
NaN or infinity) and bounded in every string and list, so that a page made from it has a bounded size.
A figure names a file directly in the folder ``plots``; no other place can be expressed.
"""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_REPORT_BYTES: Final = 2 * 2**20
MAX_FIGURE_BYTES: Final = 4 * 2**20
MAX_FIGURES_BYTES: Final = 24 * 2**20  # all figures together

Line = Annotated[str, StringConstraints(max_length=200)]
Paragraph = Annotated[str, StringConstraints(max_length=2_000)]
# Beyond 2**53 a JSON number no longer names one integer.
Cell = Line | Annotated[int, Field(ge=-(2**53), le=2**53)] | float
FigurePath = Annotated[str, StringConstraints(pattern=r"^plots/[A-Za-z0-9][A-Za-z0-9._-]*\.(svg|png)$", max_length=120)]


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Headline(_Stated):
    """One number that the reader should see first; the app formats it."""

    label: Line
    value: Annotated[str, StringConstraints(max_length=40)]
    note: Line = ""


class Figure(_Stated):
    """A picture in ``plots/``; ``title`` is also its text alternative."""

    file: FigurePath
    title: Line = ""
    caption: Paragraph = ""


class Table(_Stated):
    """Rows of text and numbers, each as long as ``columns``."""

    title: Line = ""
    caption: Paragraph = ""
    columns: Annotated[tuple[Line, ...], Field(min_length=1, max_length=32)]
    rows: Annotated[tuple[tuple[Cell, ...], ...], Field(max_length=500)] = ()

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("every row needs as many cells as there are columns")
        return self


class AppReport(_Stated):
    """The whole of ``report.json``; every field may be left out.

    Attributes:
        synthetic: whether the values are synthetic; if not stated, the word in ``data_note`` counts as yes.
    """

    title: Line = ""
    synthetic: bool | None = None
    data_note: Paragraph = ""
    headline: Annotated[tuple[Headline, ...], Field(max_length=12)] = ()
    figures: Annotated[tuple[Figure, ...], Field(max_length=24)] = ()
    tables: Annotated[tuple[Table, ...], Field(max_length=24)] = ()
    notes: Annotated[tuple[Paragraph, ...], Field(max_length=24)] = ()
