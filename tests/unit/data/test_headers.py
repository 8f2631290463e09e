"""Names of columns: what is missing, what is there instead, and that a row in their place is not quoted."""

from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.data.headers import require_columns, require_delimiter, require_distinct


def said(names: list[str], column: str) -> str:
    with pytest.raises(InputError) as caught:
        require_columns("t.csv", names, [column], mend="Mend it.")
    assert caught.value.mend
    return caught.value.message


def test_columns_that_are_there() -> None:
    require_columns("t.csv", ["a", "b", "b"], ["a", None])


def test_what_is_there_instead_is_said() -> None:
    assert said(["sex", "age"], "pid") == "t.csv has no column 'pid'; its columns: sex, age."


def test_the_nearest_name_comes_first() -> None:
    """However it is written."""
    assert said(["sex", "age", "Patient_ID"], "patientid").endswith("its columns: Patient_ID, sex, age.")
    assert said(["sex", "PID"], "pid").endswith("its columns: PID, sex.")


def test_at_most_twelve_are_named() -> None:
    names = [f"c{letter}" for letter in "abcdefghijklm"]
    assert said(names, "pid") == f"t.csv has no column 'pid'; its columns: {', '.join(names[:12])}, …."
    assert said(names[:12], "pid").endswith(f"{', '.join(names[:12])}.")
    assert said([*names, "pids"], "pid").count(",") == 12
    assert "its columns: pids, ca, cb" in said([*names, "pids"], "pid")


def test_a_name_that_pandas_leaves_empty() -> None:
    assert said(["", "age"], "pid").endswith("its columns: age.")


@pytest.mark.parametrize("cell", ["4711", "1950-02-01", "01.02.1950", "3,5", "P004711", "70 kg", "a\x1b[2J"])
def test_a_row_in_the_header_s_place_is_not_quoted(cell: str) -> None:
    """A file without a header has a patient there."""
    assert said(["Muster", cell, "f"], "pid") == "t.csv has no column 'pid'."


def test_a_column_that_is_there_twice() -> None:
    assert said(["a", "b", "a"], "a") == "t.csv has two columns 'a'."
    require_distinct("t.csv", ["a", "b"])
    with pytest.raises(InputError, match=r"t\.csv has two columns 'a'\."):
        require_distinct("t.csv", ["a", "b", "a"])


def test_a_value_that_is_there_twice_is_not_quoted() -> None:
    with pytest.raises(InputError, match=r"t\.csv has two columns of one name\."):
        require_distinct("t.csv", ["4711", "f", "4711"])


@pytest.mark.parametrize(
    "line", [b"a;b\n", b'\xef\xbb\xbf"a";"b, c"\r\n'.replace(b", ", b" "), b"a;\xfc\n", b"a;b\r1;2\r"]
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_semicolons(line: bytes, delimiter: str) -> None:
    with pytest.raises(InputError, match="by semicolons"):
        require_delimiter(Path("t.csv"), line, delimiter)


@pytest.mark.parametrize("line", [b"a,b\n", b'"a;b"\n', b"a;b,c\n", b"a\n", b"a" * 200_000, b""])
def test_no_semicolons(line: bytes) -> None:
    """In a name they are a part of it."""
    require_delimiter(Path("t.csv"), line, ",")
