"""The names of a table's columns: that they are there, and there once.

A file without a header has a patient's row where the names should be: a name that could be a value is never quoted.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from flame_fl.contract.errors import InputError

_MOST_SHOWN = 12
_MOST_COMPARED = 10_000
_VALUE = re.compile(r"[\W\d_]+|\d.*|.*\d{3}.*", re.DOTALL)  # a number, a date, an id


def require_columns(
    where: object, names: Sequence[str], columns: Iterable[str | None], mend: str = "Name columns as the table does."
) -> None:
    """Check that each column is there, and once.

    Args:
        where: What has the columns, as an error calls it.
        names: All that it has.
        columns: Those needed; None is none.
        mend: What to do if one is not there.

    Raises:
        InputError: One is not there, with those that are; or two have its name.
    """
    for column in columns:
        if column is None or (found := names.count(column)) == 1:
            continue
        if found:
            raise InputError(f"{where} has two columns {column!r}.", mend="Name each column once.")
        raise InputError(f"{where} has no column {column!r}{_others(names, column)}.", mend=mend)


def require_distinct(where: object, names: Sequence[str]) -> None:
    """Check that no two columns have one name.

    Raises:
        InputError: Two have.
    """
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        said = "of one name" if _VALUE.fullmatch(twice) or not twice.isprintable() else repr(twice)
        raise InputError(f"{where} has two columns {said}.", mend="Name each column once.")


def require_delimiter(path: Path, line: bytes, delimiter: str) -> None:
    """Check that a header is not one of semicolons: looked at before it is decoded, for such files often are no UTF-8.

    Raises:
        InputError: It is.
    """
    text = line.decode("utf-8-sig", "replace").strip("\r\n").partition("\r")[0]
    if ";" in text and _parts(text, delimiter) == 1 and _parts(text, ";") > 1:
        raise InputError(
            f"{path} separates its columns by semicolons.",
            mend="Export it with commas and decimal points, or with tabs as .tsv.",
        )


def _parts(text: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([text], delimiter=delimiter)))
    except csv.Error:  # a name too long to be one
        return 0


def _others(names: Sequence[str], column: str) -> str:
    """The columns there are, the nearest first."""
    if not names or any(_VALUE.fullmatch(name) or not name.isprintable() for name in names):
        return ""
    folded = {name.casefold(): name for name in names[:_MOST_COMPARED]}
    near = [folded[word] for word in get_close_matches(column.casefold(), folded)]
    shown = [name for name in dict.fromkeys([*near, *names[: _MOST_SHOWN + len(near)]]) if name]
    return f"; its columns: {', '.join(shown[:_MOST_SHOWN])}{', …' if len(names) > _MOST_SHOWN else ''}"
