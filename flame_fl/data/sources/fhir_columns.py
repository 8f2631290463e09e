"""The columns of a view: FHIR's types as Arrow's, and FHIR's values as Python's.

What is written of dates and times:

- `date` is the day as it is written, whatever the time zone behind it; of "2020-05" and "2020" it is the first day.
- `dateTime` and `instant` are moments in UTC, in microseconds; a day is its midnight, and so is a month's or a year's
  first day. What says a time but no zone (FHIR forbids it, hospitals have it) is taken as UTC.
- Who needs to know how exact a date was declares the column as `string` and gets what was written.
"""

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

_PREFIX = "http://hl7.org/fhir/StructureDefinition/"
_TEXTS = frozenset(
    "string code id uri url canonical oid uuid markdown base64Binary time".split()  # noqa: SIM905
)
_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXTS, pa.string()),
    **dict.fromkeys(("integer", "positiveInt", "unsignedInt", "integer64"), pa.int64()),
    "boolean": pa.bool_(),
    "decimal": pa.float64(),
    "date": pa.date32(),
    "dateTime": pa.timestamp("us", tz="UTC"),
    "instant": pa.timestamp("us", tz="UTC"),
}
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?")
_MOST = 1 << 63


class NotOfTypeError(Exception):
    """A value is not of its column's type. It says nothing of the value."""


def type_name(declared: str) -> str:
    """The short name of a declared type; empty if it is none that a column can have."""
    short = declared.removeprefix(_PREFIX)
    return short if short in _TYPES else ""


def arrow_type(name: str) -> pa.DataType:
    """What a column of this type is in a table."""
    return _TYPES[name]


def value(found: object, name: str) -> object:
    """A value as the column has it.

    Raises:
        NotOfTypeError: It is not of this type.
    """
    kind = _TYPES[name]
    if pa.types.is_boolean(kind):
        return _checked(found, isinstance(found, bool))
    if pa.types.is_integer(kind):
        return _whole(found)
    if pa.types.is_floating(kind):
        return _number(found)
    if pa.types.is_date(kind):
        return day(found)
    if pa.types.is_timestamp(kind):
        return _moment(found)
    return _text(found)


def day(written: object) -> date:
    """The first day that a FHIR date or dateTime may mean.

    Raises:
        NotOfTypeError: It is neither.
    """
    text = _text(written)
    timed = _TIME.fullmatch(text)
    match = _DATE.fullmatch(timed.group(1) if timed else text)
    if match is None:
        raise NotOfTypeError
    try:
        return date(*(int(part or 1) for part in match.groups()))
    except ValueError:
        pass
    raise NotOfTypeError


def _moment(written: object) -> datetime:
    text = _text(written)
    match = _TIME.fullmatch(text)
    if match is None:
        first = day(text)
        return datetime(first.year, first.month, first.day, tzinfo=UTC)
    days, minutes, seconds, zone = match.groups()
    seconds = (seconds or ":00")[:10]  # whole microseconds: ":ss.ffffff"
    try:
        return datetime.fromisoformat(f"{days}T{minutes}{seconds}{zone or 'Z'}").astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise NotOfTypeError


def _whole(found: object) -> int:
    if isinstance(found, Decimal) and found.is_finite() and found == found.to_integral_value():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not -_MOST <= found < _MOST:
        raise NotOfTypeError
    return found


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        raise NotOfTypeError
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NotOfTypeError
    return number


def _text(found: object) -> str:
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int | float | Decimal):
        return str(found)
    if not isinstance(found, str):
        raise NotOfTypeError
    try:
        found.encode()  # half a surrogate pair is JSON, and no text
    except UnicodeEncodeError:
        pass
    else:
        return found
    raise NotOfTypeError


def _checked(found: object, fits: bool) -> object:  # noqa: FBT001
    if not fits:
        raise NotOfTypeError
    return found
