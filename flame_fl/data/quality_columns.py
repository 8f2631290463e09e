"""One column looked at: how full it is, what it ranges over, and what in it will surprise an analysis."""

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from flame_fl.contract.words import Frozen
from flame_fl.data.quality_units import two_units
from flame_fl.data.records import column_type
from flame_fl.data.schema import ColumnType

MOST_DISTINCT = 10_000
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_EPOCH = date(1970, 1, 1)
_OLDEST = (date(1900, 1, 1) - _EPOCH).days
_MOST_YEARS = 120
_OTHERS_SHARE = 0.5  # from this share on, the rest of a column is what is odd in it

FindingKind = Literal[
    "empty",
    "constant",
    "blanks",
    "placeholders",
    "numbers-as-text",
    "decimal-commas",
    "limits",
    "dates-as-text",
    "german-dates",
    "mixed",
    "leading-zeros",
    "encoding",
    "line-ends",
    "not-finite",
    "whole-numbers",
    "implausible-age",
    "future",
    "before-1900",
    "two-units",
    "not-looked-at",
]

# RE2, on a whole value. A value is counted under each that it meets.
_NUMBER = r"^\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*$"
_COMMA = r"^\s*[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+\s*$"
_ISO = r"^\s*\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}.*)?\s*$"
_GERMAN = r"^\s*\d{1,2}\.\d{1,2}\.(\d{4}|\d{2})([ ,]+\d{1,2}:\d{2}.*)?\s*$"
_TEXTS: tuple[tuple[FindingKind, str, str], ...] = (
    ("blanks", r"^\s|\s$", "begin or end with a blank"),
    ("placeholders", r"^\s*(?i:|n/?a|nan|null|none|unknown|unbekannt|missing|fehlt|k\.? ?a\.?|-+|\?+|\.)\s*$",
     "are empty or stand for a missing value"),
    ("numbers-as-text", _NUMBER, "are numbers, as text"),
    ("decimal-commas", _COMMA, "are numbers with a decimal comma"),
    ("limits", r"^\s*[<>≤≥]\s*=?\s*\d", "are limits such as <5"),
    ("dates-as-text", _ISO, "are ISO dates, as text"),
    ("german-dates", _GERMAN, "are German dates (31.12.2020), as text"),
    ("leading-zeros", r"^0\d+$", "begin with a zero that is lost if they are read as numbers"),
    ("encoding", "\ufffd|Ã[\\x{80}-\\x{BF}„–œŸ]|Â[\\x{80}-\\x{BF}]|â€", "are damaged by a wrong encoding"),
    ("line-ends", r"[\r\n]", "hold line ends: a quote may be missing, and other records be inside"),
)  # fmt: skip
_AGE = re.compile(r"(^|[^a-zäöü])(age|alter)([^a-zäöü]|$)")


class Finding(Frozen):
    """Something odd in a column: what, in how many rows, and in words."""

    kind: FindingKind
    count: Annotated[int, Field(ge=0)]
    text: str


class ColumnQuality(Frozen):
    """A column of the record table. Dates are written as ISO dates; times are counted by their day (UTC)."""

    name: str
    type: ColumnType
    missing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of rows without a value; NaN is none."""
    distinct: int | None = None
    """Different values, at most `MOST_DISTINCT`; None where they cannot be compared."""
    min: float | str | None = None
    max: float | str | None = None
    mean: float | str | None = None
    """Of truth values the share that is true."""
    quantiles: tuple[float | str, ...] = ()
    """At `QUANTILES`."""
    findings: tuple[Finding, ...] = ()


def looked_at(name: str, column: pa.ChunkedArray, today: date) -> ColumnQuality:
    """What there is to say about a column."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    rows, kind = len(column), column_type(column.type)
    filled = column.drop_null()
    if pa.types.is_floating(filled.type):
        filled = filled.filter(pc.invert(pc.is_nan(filled)))
    said: dict[str, Any] = {"name": name, "type": kind, "missing": 1 - len(filled) / rows if rows else 0.0}
    if len(filled) == 0:
        findings = (Finding(kind="empty", count=rows, text="No row has a value."),) if rows else ()
        return ColumnQuality(**said, distinct=0, findings=findings)
    try:
        distinct = pc.count_distinct(filled).as_py()
    except pa.ArrowNotImplementedError:  # lists, tables
        text = "Values of this type are not looked at."
        finding = Finding(kind="not-looked-at", count=len(filled), text=text)
        return ColumnQuality(**said, findings=(finding,))
    found = [Finding(kind="constant", count=rows, text="All rows have one value.")] * (
        distinct == 1 and len(filled) == rows > 1
    )
    more: list[Finding] = []
    if kind == "bool":
        said["mean"] = pc.mean(filled).as_py()
    elif kind in {"int", "float"}:
        more = _numbers(name, filled, said)
    elif kind in {"date", "timestamp"}:
        more = _dates(filled, said, today)
    elif kind == "string":
        more = _texts(filled)
    return ColumnQuality(**said, distinct=min(distinct, MOST_DISTINCT), findings=(*found, *more))


def _numbers(name: str, filled: pa.ChunkedArray, said: dict[str, Any]) -> list[Finding]:
    values = np.asarray(filled.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    finite = values[np.isfinite(values)]
    found = [_counted("not-finite", len(values) - len(finite), "are infinite")]
    if len(finite):
        said |= {"min": float(finite.min()), "max": float(finite.max()), "mean": _mean(finite)}
        said["quantiles"] = tuple(float(q) for q in np.quantile(finite, QUANTILES, method="nearest"))
    if pa.types.is_floating(filled.type) and len(finite) and bool((finite == np.floor(finite)).all()):
        found.append(_counted("whole-numbers", len(finite), "are whole numbers, stored as fractions"))
    if _AGE.search(name.lower()):
        odd = int(((finite < 0) | (finite > _MOST_YEARS)).sum())
        found.append(_counted("implausible-age", odd, f"are no age from 0 to {_MOST_YEARS}"))
    if (units := two_units(name, finite)) is not None:
        (first, second), analyte = units.analyte.units, units.analyte
        text = f"Two units of {analyte.name}, it seems: {units.first} values in {first}, {units.second} in {second}."
        found.append(Finding(kind="two-units", count=min(units.first, units.second), text=text))
    return [finding for finding in found if finding.count]


def _mean(finite: Any) -> float | None:
    """None where a sum of huge numbers is infinite."""
    with np.errstate(over="ignore"):
        mean = float(finite.mean())
    return mean if np.isfinite(mean) else None


def _dates(filled: pa.ChunkedArray, said: dict[str, Any], today: date) -> list[Finding]:
    days = np.asarray(filled.cast(pa.date32(), safe=False).cast(pa.int32()).to_numpy(), np.int64)
    said |= {"min": _iso(days.min()), "max": _iso(days.max()), "mean": _iso(days.mean())}
    said["quantiles"] = tuple(_iso(day) for day in np.quantile(days, QUANTILES, method="nearest"))
    found = [
        _counted("future", int((days > (today - _EPOCH).days).sum()), "are in the future"),
        _counted("before-1900", int((days < _OLDEST).sum()), "are before 1900"),
    ]
    return [finding for finding in found if finding.count]


def _iso(day: float) -> str:
    try:
        return (_EPOCH + timedelta(days=int(day))).isoformat()
    except OverflowError:
        return f"{int(day)} days from 1970-01-01"


def _texts(filled: pa.ChunkedArray) -> list[Finding]:
    hits = {kind: int(pc.sum(pc.match_substring_regex(filled, regex)).as_py()) for kind, regex, _ in _TEXTS}
    found = [_counted(kind, hits[kind], text) for kind, _, text in _TEXTS if hits[kind]]
    values = len(filled) - hits["placeholders"]
    for what, count in (
        ("numbers", hits["numbers-as-text"] + hits["decimal-commas"]),
        ("dates", hits["dates-as-text"] + hits["german-dates"]),
    ):
        if values * _OTHERS_SHARE <= count < values:
            found.append(Finding(kind="mixed", count=values - count, text=f"{values - count} among {what} are none."))
    if rarer := min(hits["dates-as-text"], hits["german-dates"]):
        found.append(Finding(kind="mixed", count=rarer, text="Dates have two forms."))
    return found


def _counted(kind: FindingKind, count: int, what: str) -> Finding:
    return Finding(kind=kind, count=count, text=f"{count} values {what}.")
