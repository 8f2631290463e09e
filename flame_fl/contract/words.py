"""The kinds of text and number that terms are made of, and the base of all term models."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control or invisible characters")
    return text


def _readable(text: str) -> str:
    """Prose may have line ends, but nothing that rearranges or hides it on a steward's screen."""
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c != "\n" for c in text):
        raise ValueError("must not hold control or invisible characters")
    return text


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(_readable)
]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$")]
ItemName = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]
Scalar = bool | int | float | str
# Far from where float64 overflows: arithmetic on terms is then safe for every input.
Moderate = Annotated[float, Field(ge=-1e100, le=1e100)]


class Frozen(BaseModel):
    """Base of all terms: immutable, finite, and nothing unknown passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
