"""Tables of records in the formats that hospitals have: Parquet, CSV, TSV, and PLINK's .fam and .psam.

Text formats are read twice over: typed, for filters and reports, and as text, for views, so that "007" stays "007".
Errors of the parsers are never passed on: they quote cells.
"""

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from flame_fl.contract.errors import InputError
from flame_fl.data.files import Stamp, stamp
from flame_fl.data.headers import require_columns, require_delimiter, require_distinct
from flame_fl.data.schema import ColumnType

FAM_COLUMNS = ("FID", "IID", "PAT", "MAT", "SEX", "PHENO")
TEXT_SUFFIXES = (".csv", ".tsv", ".fam", ".psam")
TABLE_SUFFIXES = (".parquet", *TEXT_SUFFIXES)
GERMAN_DATE = "%d.%m.%Y"
_PARSERS = [pv.ISO8601, GERMAN_DATE]
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".fam": "\t", ".psam": "\t"}
_BATCH_CELLS = 4_000_000
_NOBODY = frozenset({"NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>"})
csv.field_size_limit(1 << 30)  # Python's own limit is 128 KiB, less than a letter may have
_BLOCK_BYTES = 64 << 20  # a row must fit: one of 850,000 CpGs, one with a long letter


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
    require_distinct(path, schema.names)
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
            require_columns(path, file.schema_arrow.names, columns)
            try:
                table = file.read(columns=list(columns), use_threads=False).select(list(columns))
                table.validate(full=True)  # text that is no UTF-8 would fail later, and be quoted
            except (pa.ArrowException, OSError):
                raise _unreadable(path) from None
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
    return named(values)


def named(values: pa.ChunkedArray | pa.Array) -> list[str | None]:
    """Ids as text; None where nothing is named: blanks, and what R and pandas write for a missing id."""
    words = values.cast(pa.string()).to_pylist()
    return [None if v is None or not v.strip() or v.strip() in _NOBODY else v for v in words]


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
        require_columns(path, file.schema_arrow.names, columns)
        if file.metadata.num_rows == 0:
            yield plain(file.schema_arrow.empty_table().select(list(columns)))
        try:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
                batch.validate(full=True)
                yield plain(pa.Table.from_batches([batch]).select(list(columns)))
        except (pa.ArrowException, OSError):
            raise _unreadable(path) from None


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
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise _unreadable(path) from None


def _read_text(path: Path, columns: Sequence[str] | None, *, typed: bool) -> pa.Table:
    if not is_table(path):
        raise InputError(f"{path} is not a table.", mend=f"Tables end in {', '.join(TABLE_SUFFIXES)}.")
    names, skipped = _header(path)
    require_distinct(path, names)
    require_columns(path, names, columns or ())
    types = {} if typed else dict.fromkeys(names, pa.string())
    try:
        table = pv.read_csv(
            path,
            read_options=pv.ReadOptions(column_names=names, skip_rows=skipped, block_size=_BLOCK_BYTES),
            # PLINK knows no quotes: one would swallow rows, and the next people get the genotypes of those before them
            parse_options=pv.ParseOptions(
                delimiter=_delimiter(path), newlines_in_values=True, quote_char='"' if _is_quoted(path) else False
            ),
            convert_options=pv.ConvertOptions(
                include_columns=list(columns) if columns is not None else names,
                column_types=types,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                timestamp_parsers=_PARSERS,
                null_values=["", "NA", "NaN", "nan", "null", "NULL"] if typed else [""],
            ),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise _unreadable(path) from None
    _require_closed_quotes(path)
    return plain(table)


def _require_closed_quotes(path: Path) -> None:
    """A quote that is never closed makes the rows after it, of whomever they are, one cell of this patient's.

    Raises:
        InputError: There is one. PyArrow reads on without a word; Python's reader can be strict (RFC 4180).
    """
    if _is_quoted(path):
        _read_strictly(path, stamp(path))


@lru_cache(maxsize=256)  # a file is read several times for one view: once strictly is enough
def _read_strictly(path: Path, _seen: Stamp) -> None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for _ in csv.reader(file, delimiter=_DELIMITERS[path.suffix], strict=True):
                pass
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(
            f"{path} has a quote that is not closed, or one inside a cell that is not doubled.",
            mend="Export it again, with quotes as RFC 4180 has them, or as Parquet.",
        ) from None


def _is_quoted(path: Path) -> bool:
    return path.suffix in {".csv", ".tsv"}


def _delimiter(path: Path) -> str:
    """PLINK separates by spaces or tabs, one file by one of them."""
    if path.suffix not in {".fam", ".psam"}:
        return _DELIMITERS[path.suffix]
    with path.open("rb") as file:
        line = file.readline()
        while line.startswith(b"##"):
            line = file.readline()
    return "\t" if b"\t" in line else " "


def _header(path: Path) -> tuple[list[str], int]:
    """The names of a text table's columns, and how many lines stand before the first row."""
    if path.suffix == ".fam":
        if not path.exists():
            raise InputError(f"There is no table {path}.", mend="Check the folder and the table's name.")
        return list(FAM_COLUMNS), 0
    try:
        with path.open("rb") as file:
            line, skipped = file.readline(1 << 24), 1
            while path.suffix == ".psam" and line.startswith(b"##"):  # comments of PLINK 2
                line, skipped = file.readline(1 << 24), skipped + 1
            if not line.removeprefix(BOM_UTF8).strip():
                raise _without_header(path, file.read(1 << 16))
        if _is_quoted(path):
            require_delimiter(path, line, _delimiter(path))
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except FileNotFoundError:
        raise InputError(f"There is no table {path}.", mend="Check the folder and the table's name.") from None
    except OSError:
        raise _unreadable(path) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8.", mend="Convert it: iconv -f ISO-8859-1 -t UTF-8.") from None
    try:
        names = next(csv.reader([text], delimiter=_delimiter(path)), [])
    except csv.Error:  # lines that end in a carriage return alone, or a name of more than 128 KiB
        raise _unreadable(path) from None
    if path.suffix == ".psam" and names:
        names[0] = names[0].removeprefix("#")
    return names, skipped


def _without_header(path: Path, rest: bytes) -> InputError:
    if rest.strip():
        return InputError(f"{path} begins with an empty line.", mend="The first line must name the columns.")
    return InputError(f"{path} is empty.", mend="Export it again; the first line must name the columns.")


def _unreadable(path: Path) -> InputError:
    if path.suffix == ".parquet":
        return InputError(f"{path} is not a Parquet file that can be read.", mend="Write it again.")
    return InputError(
        f"{path} is not a table that can be read: rows of different lengths, no UTF-8, or cut short.",
        mend="Look at it with a spreadsheet or `csvstat`, or export it again.",
    )
