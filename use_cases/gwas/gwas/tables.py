"""Phenotype and covariate files as PLINK reads them.

A table separated by blanks or tabs whose header begins with ``FID IID``, ``#FID IID``, ``IID`` or ``#IID``. Missing are
``NA``, ``nan``, ``-9`` and an empty or ``.`` cell, whatever their upper and lower case. A phenotype whose values are 1
and 2 alone is a disease, 1 control and 2 case, and 0 is missing; with ``one`` controls are 0 and cases 1.
"""

from pathlib import Path

from gwas.errors import InputError

Table = dict[str, list[str]]
"""Columns of text by name."""

MISSING = frozenset({"na", "nan", "-9", "-9.0", ".", ""})


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path.name} cannot be read as text in UTF-8; export it again.") from None


def read_header_table(path: Path) -> Table:
    """A table with sample ids, its other columns as text.

    Returns:
        ``IID`` and the other columns, without ``FID``.

    Raises:
        InputError: There is no such header, a row is short, a column or a sample is there twice.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("##")]
    head = lines[0].lstrip("#").split() if lines else []
    if head[:1] != ["IID"] and head[:2] != ["FID", "IID"]:
        raise InputError(f"{path.name} has no header that begins with FID IID, or IID; add one.")
    if len(set(head)) < len(head):
        raise InputError(f"{path.name} names a column twice.")
    tabs = "\t" in lines[0]
    rows = [[cell.strip() for cell in line.split("\t")] if tabs else line.split() for line in lines[1:]]
    if short := sum(len(row) != len(head) for row in rows):
        raise InputError(f"{path.name} has {short} rows that have not the {len(head)} columns of its header.")
    table = {name: [row[at] for row in rows] for at, name in enumerate(head) if name != "FID"}
    if repeated := len(rows) - len(set(table["IID"])):
        raise InputError(f"{path.name} has {repeated} rows about a sample (IID) that an earlier one is about.")
    return table


def is_missing(cell: str) -> bool:
    """Whether a cell has no value."""
    return cell.strip().lower() in MISSING


def numbers(cells: list[str]) -> list[float | None] | None:
    """Cells as numbers, None where missing; None if one of them is a word."""
    found: list[float | None] = []
    for cell in cells:
        if is_missing(cell):
            found.append(None)
            continue
        try:
            value = float(cell)
        except ValueError:
            return None
        found.append(value if abs(value) < float("inf") else None)
    return found


def phenotype(name: str, cells: list[str], *, one: bool) -> tuple[list[float | None], str]:
    """A phenotype's values and what they are: "disease" (1 control, 2 case) or "trait".

    Args:
        name: Of the column.
        cells: Text.
        one: Whether a disease is coded 0 and 1.

    Raises:
        InputError: It is text, has no value, or is constant.
    """
    values = numbers(cells)
    if values is None:
        raise InputError(f"The phenotype {name!r} holds words; write numbers, of a disease 1 (control) and 2 (case).")
    known = {value for value in values if value is not None}
    if one:
        if not known <= {0.0, 1.0}:
            raise InputError(f"The phenotype {name!r} has other values than 0 and 1; leave --one out.")
        values = [None if value is None else value + 1 for value in values]
        known = {value + 1 for value in known}
    elif known == {0.0, 1.0}:
        raise InputError(
            f"The phenotype {name!r} is 0 and 1. PLINK's coding is 1 for controls and 2 for cases, with 0 for missing; "
            "state --one if 0 is control and 1 is case."
        )
    disease = known <= {0.0, 1.0, 2.0} and bool(known & {1.0, 2.0})
    if disease:
        values = [None if value == 0 else value for value in values]
        known -= {0.0}
    if len(known) < 2:
        raise InputError(
            f"The phenotype {name!r} has {'no value' if not known else 'the same value in all samples'}; nothing can "
            "be associated with it. Check the column, and how missing values are written."
        )
    return values, "disease" if disease else "trait"
