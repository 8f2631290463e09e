"""What a steward registers: where a store comes from, how it is laid out, and whose records may be used.

The file is TOML and is read strictly; an unknown word is an error, not a missing rule.

```
[layout]
kind = "table"
table = "visits.parquet"
patient_id = "pid"

[source]
type = "folder"
path = "/data/visits"

[cohort]
where = [{ column = "age", op = ">=", value = 18 }]
window = { column = "visit_date", from = 2015-01-01, until = 2024-12-31 }
consent = { column = "broad_consent", granted = ["yes"] }
```
"""

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from flame_fl.contract.canonical import digest
from flame_fl.contract.data_terms import Condition, FileName, KindName
from flame_fl.contract.errors import InputError
from flame_fl.contract.settings import parse_settings
from flame_fl.contract.words import Frozen, ItemName, Scalar, Text
from flame_fl.data.layout import Layout
from flame_fl.data.sources.fhir import FhirSource
from flame_fl.data.sources.s3 import S3Source


class LayoutSpec(Frozen):
    """See `flame_fl.data.layout.Layout`."""

    kind: KindName = "table"
    table: FileName
    patient_id: Text
    record_id: Text | None = None
    files: tuple[FileName, ...] = ()

    @classmethod
    def of(cls, layout: Layout) -> "LayoutSpec":
        """From a layout."""
        return cls(**asdict(layout))

    @property
    def layout(self) -> Layout:
        """As the kinds take it."""
        return Layout(self.kind, self.table, self.patient_id, self.record_id, self.files)


class FolderSource(Frozen):
    """A folder of this machine's."""

    type: Literal["folder"] = "folder"
    path: Annotated[str, StringConstraints(min_length=1)]


Source = Annotated[FolderSource | S3Source | FhirSource, Field(discriminator="type")]


class Window(Frozen):
    """Days, both included, in which a date column must lie."""

    column: ItemName
    from_: Annotated[date | None, Field(alias="from")] = None
    until: date | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.from_ is None and self.until is None:
            raise ValueError("give from, until or both")
        if self.from_ is not None and self.until is not None and self.from_ > self.until:
            raise ValueError("from lies after until")
        return self


class ConsentRule(Frozen):
    """Whose consent is needed: a column that says so, or provisions of FHIR Consents in the node's register."""

    column: ItemName | None = None
    granted: tuple[Scalar, ...] = ()
    """Values of the column that mean yes; everything else, a missing value too, means no."""
    provisions: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)+$")], ...] = ()
    """Codes (OIDs of the MII broad consent) that must all be permitted on the day."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is not None) != bool(self.granted) or (self.column is None) == (not self.provisions):
            raise ValueError("give column and granted, or provisions")
        return self


class CohortRule(Frozen):
    """Whose records may be used. Rows that do not meet all of it are in no view."""

    where: tuple[Condition, ...] = ()
    window: Window | None = None
    consent: ConsentRule | None = None


class StoreSpec(Frozen):
    """A registration, as written by a steward."""

    layout: LayoutSpec
    source: Source
    cohort: CohortRule = CohortRule()
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)] = "patients"
    """Which patients the ids name. Stores of one namespace share one privacy budget, whatever is in them; another
    namespace is for ids that can never name the same people."""
    pseudonyms: bool = True
    """Ids in views are pseudonyms, one set per project. Off only for data that are public or made up."""
    shift_dates_days: Annotated[int, Field(ge=0, le=3650)] = 0
    """Dates of a patient are moved together, by up to so many days either way."""
    mock: bool = False
    """Made-up data: nobody's."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.shift_dates_days and not self.pseudonyms:
            raise ValueError("shift_dates_days needs pseudonyms")
        return self

    @property
    def rule_sha256(self) -> str:
        """Hash of what decides which records are used and how they are shown: an approval binds it."""
        stated = self.model_dump(mode="json", by_alias=True)
        return digest({name: stated[name] for name in ("layout", "cohort", "pseudonyms", "shift_dates_days")})

    def in_words(self) -> str:
        """Whose records, for people."""
        rule = self.cohort
        parts = [condition.in_words() for condition in rule.where]
        if (window := rule.window) is not None:
            parts.append(f"{window.column} from {window.from_ or '…'} until {window.until or '…'}")
        if (consent := rule.consent) is not None:
            granted = " or ".join(map(str, consent.granted))
            parts.append(
                f"{consent.column} is {granted}" if consent.column else f"consent to {', '.join(consent.provisions)}"
            )
        ids = "pseudonyms" if self.pseudonyms else "ids as they are"
        dates = f"dates moved by up to {self.shift_dates_days} days" if self.shift_dates_days else "dates as they are"
        return f"{'; '.join(parts) or 'all'} (and nobody who opted out); {ids}, {dates}"

    @property
    def folder(self) -> Path | None:
        """Where the data lie, if they lie on this machine."""
        return Path(self.source.path) if isinstance(self.source, FolderSource) else None


def read_spec(path: Path) -> StoreSpec:
    """A registration from a TOML file. Relative paths in it are relative to the file.

    Raises:
        InputError: It cannot be read, or is not as it should be; the sentence names the setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read.", mend="Give a TOML file; docs/data-stores.md shows some.") from None
    spec: StoreSpec = parse_settings(text, StoreSpec, str(path))
    return spec.model_copy(update={"source": _anchored(spec.source, path.resolve().parent)})


def _anchored(source: Source, folder: Path) -> Source:
    changes: dict[str, object] = {}
    for name in ("path", "ca", "credentials"):
        if stated := getattr(source, name, ""):
            changes[name] = str(folder / Path(stated).expanduser())
    if isinstance(source, FhirSource):
        changes["views"] = tuple(str(folder / v) if v.endswith(".json") else v for v in source.views)
    anchored: Source = type(source).model_validate({**source.model_dump(), **changes})
    return anchored
