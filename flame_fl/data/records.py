"""Tables of records in the formats that hospitals have: Parquet, CSV, TSV, and PLINK's .fam and .psam.

Text formats are read twice over: typed, for filters and reports, and as text, for views, so that "007" stays "007".
Errors of the parsers are never passed on: they quote cells.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from flame_fl.contract.errors import InputError
from flame_fl.data.schema import ColumnType

FAM_COLUMNS = ("FID", "IID", "PAT", "MAT", "SEX", "PHENO")
TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".fam", ".psam")
GERMAN_DATE = "%d.%m.%Y"
_PARSERS = [pv.ISO8601, GERMAN_DATE]
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".fam": "\t", ".psam": "\t"}
_BATCH_CELLS = 4_000_000


def is_table(path: Path) -> bool:
    """Whether the name is that of a table this module reads."""
    return path.suffix in TABLE_SUFFIXES


def schema_of(path: Path) -> pa.Schema:
    """Names and types of a table's columns.

    Raises:
        InputError: It cannot be read, or two columns have one name.
    """
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            schema = file.schema_arrow
    else:
        schema = _read_text(path, None, typed=True).schema
    if len(set(schema.names)) != len(schema.names):
        raise InputError(f"{path} has two columns of one name.", mend="Name each column once.")
    return schema


def column_type(kind: pa.DataType) -> ColumnType:
    """The word a schema has for an Arrow type."""
    if pa.types.is_dictionary(kind):
        return column_type(kind.value_type)
    tests: tuple[tuple[object, ColumnType], ...] = (
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "int"),
        (pa.types.is_floating, "float"),
        (pa.types.is_decimal, "float"),
        (pa.types.is_string, "string"),
        (pa.types.is_large_string, "string"),
        (pa.types.is_date, "date"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_null, "string"),
    )
    return next((word for test, word in tests if test(kind)), "other")  # type: ignore[operator]


def read(path: Path, columns: Sequence[str], *, typed: bool = True) -> pa.Table:
    """Columns of a table, in memory. `typed` is False for text formats to come as they are written.

    Raises:
        InputError: It cannot be read, or has no such column.
    """
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            _require(path, file.schema_arrow.names, columns)
            try:
                table = file.read(columns=list(columns), use_threads=False).select(list(columns))
            except (pa.ArrowException, OSError) as err:
                raise _unreadable(path) from err
        return plain(table)
    return _read_text(path, columns, typed=typed)


def ids(path: Path, column: str) -> list[str | None]:
    """A column of ids as text; None where there is none.

    Raises:
        InputError: As `read`, or its values are no ids: fractions, dates, lists.
    """
    values = read(path, [column], typed=False).column(0)
    if column_type(values.type) not in {"int", "string"}:
        raise InputError(f"Column {column!r} of {path} holds no ids.", mend="Name a column of text or whole numbers.")
    return [None if v is None or v == "" else v for v in values.cast(pa.string()).to_pylist()]


def batches(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """A table piece by piece, in order; a text table comes as text, in one piece per block of the file.

    Raises:
        InputError: As `read`.
    """
    if path.suffix != ".parquet":
        yield read(path, columns, typed=False)
        return
    rows = max(1, _BATCH_CELLS // max(1, len(columns)))
    with _parquet(path) as file:
        _require(path, file.schema_arrow.names, columns)
        try:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
                yield plain(pa.Table.from_batches([batch]).select(list(columns)))
        except (pa.ArrowException, OSError) as err:
            raise _unreadable(path) from err


def plain(table: pa.Table) -> pa.Table:
    """Without metadata and without dictionaries: both can tell of rows that are not in the table."""
    fields, arrays = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        array = column.cast(field.type.value_type) if pa.types.is_dictionary(field.type) else column
        fields.append(pa.field(field.name, array.type))
        arrays.append(array)
    return pa.table(arrays, schema=pa.schema(fields))


class Writer:
    """Writes a table of a format by its name's ending, row group by row group of a fixed size."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows = path, 0
        self._open: Any = None
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> "Writer":
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows; the first call decides the columns.

        Raises:
            OSError: The disk is full, for example.
        """
        if self._open is None:
            self._group = max(1, _BATCH_CELLS // max(1, table.num_columns))
            self._schema = table.schema
            self._open = _writer(self._path, table.schema)
        self._waiting.append(table.cast(self._schema))
        self._rows += table.num_rows
        if self._rows >= self._group:
            joined = pa.concat_tables(self._waiting).combine_chunks()
            whole = self._rows - self._rows % self._group
            for start in range(0, whole, self._group):
                self._put(joined.slice(start, self._group))
            self._waiting, self._rows = [joined.slice(whole)], self._rows - whole

    def _put(self, table: pa.Table) -> None:
        self._open.write_table(table.combine_chunks())

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._open is None:
            return
        try:
            if kind is None and self._rows:
                self._put(pa.concat_tables(self._waiting))
        finally:
            self._open.close()


def write(path: Path, table: pa.Table) -> None:
    """Write a whole table.

    Raises:
        OSError: It cannot be written.
    """
    with Writer(path) as writer:
        writer.write(table)


def _writer(path: Path, schema: pa.Schema) -> Any:
    if path.suffix == ".parquet":
        return pq.ParquetWriter(path, schema, use_dictionary=False, write_statistics=False, store_schema=False)
    quoting = "none" if path.suffix in {".fam", ".psam"} else "needed"
    options = pv.WriteOptions(
        include_header=path.suffix != ".fam", delimiter=_DELIMITERS[path.suffix], quoting_style=quoting
    )
    return pv.CSVWriter(path, schema, write_options=options)


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"There is no table {path}.", mend="Check the folder and the table's name.") from None
    except (pa.ArrowException, OSError) as err:
        raise _unreadable(path) from err


def _read_text(path: Path, columns: Sequence[str] | None, *, typed: bool) -> pa.Table:
    names = _header(path)
    if len(set(names)) != len(names):
        raise InputError(f"{path} has two columns of one name.", mend="Name each column once.")
    _require(path, names, columns or ())
    types = {} if typed else dict.fromkeys(names, pa.string())
    try:
        table = pv.read_csv(
            path,
            read_options=pv.ReadOptions(column_names=names, skip_rows=0 if path.suffix == ".fam" else 1),
            parse_options=pv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
            convert_options=pv.ConvertOptions(
                include_columns=list(columns) if columns is not None else names,
                column_types=types,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                timestamp_parsers=_PARSERS,
                null_values=["", "NA", "NaN", "nan", "null", "NULL"] if typed else [""],
            ),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        raise _unreadable(path) from err
    return plain(table)


def _delimiter(path: Path) -> str:
    """PLINK separates by spaces or tabs, one file by one of them."""
    if path.suffix not in {".fam", ".psam"}:
        return _DELIMITERS[path.suffix]
    with path.open("rb") as file:
        return "\t" if b"\t" in file.readline() else " "


def _header(path: Path) -> list[str]:
    if path.suffix == ".fam":
        if not path.exists():
            raise InputError(f"There is no table {path}.", mend="Check the folder and the table's name.")
        return list(FAM_COLUMNS)
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 24)
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except FileNotFoundError:
        raise InputError(f"There is no table {path}.", mend="Check the folder and the table's name.") from None
    except OSError as err:
        raise _unreadable(path) from err
    except UnicodeDecodeError as err:
        raise InputError(f"{path} is not UTF-8.", mend="Convert it: iconv -f ISO-8859-1 -t UTF-8.") from err
    names = next(csv.reader([text], delimiter=_delimiter(path)), [])
    if path.suffix == ".psam" and names:
        names[0] = names[0].removeprefix("#")
    return names


def _require(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if names.count(column) != 1:
            raise InputError(f"{path} has no column {column!r}, or two.", mend="Name columns as the table does.")


def _unreadable(path: Path) -> InputError:
    if path.suffix == ".parquet":
        return InputError(f"{path} is not a Parquet file that can be read.", mend="Write it again.")
    return InputError(
        f"{path} is not a table that can be read: rows of different lengths, no UTF-8, or cut short.",
        mend="Look at it with a spreadsheet or `csvstat`, or export it again.",
    )


def shifted(column: pa.ChunkedArray, days: Sequence[int]) -> pa.ChunkedArray:
    """Dates or times, each moved by so many days; text in ISO or German form stays text of that form."""
    if column_type(column.type) == "string":
        return _shifted_text(column, days)
    moved = pa.array(days, pa.int64())
    if pa.types.is_date(column.type):
        as_days = column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        return pc.add(as_days, moved).cast(pa.int32()).cast(pa.date32()).cast(column.type)
    unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit] * 86400
    return pc.add(column.cast(pa.int64()), pc.multiply(moved, unit)).cast(column.type)


def date_format(column: pa.ChunkedArray) -> str | None:
    """How a column of text writes dates, if all that it holds are dates."""
    filled = column.drop_null()
    if len(filled) == 0:
        return None
    for pattern, form in ((r"^\d{4}-\d{2}-\d{2}$", "%Y-%m-%d"), (r"^\d{2}\.\d{2}\.\d{4}$", GERMAN_DATE),
                          (r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}", "iso-time")):  # fmt: skip
        if pc.all(pc.match_substring_regex(filled, pattern)).as_py():
            return form
    return None


def _shifted_text(column: pa.ChunkedArray, days: Sequence[int]) -> pa.ChunkedArray:
    form = date_format(column)
    if form is None:
        return column
    rest = None
    if form == "iso-time":
        rest, column, form = pc.utf8_slice_codeunits(column, 10), pc.utf8_slice_codeunits(column, 0, 10), "%Y-%m-%d"
    moved = shifted(pc.strptime(column, form, "s", error_is_null=True).cast(pa.date32()), days)
    text = pc.strftime(moved.cast(pa.timestamp("s")), form)
    return text if rest is None else pc.binary_join_element_wise(text, rest, "")
