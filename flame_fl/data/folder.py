"""A folder of files as a data store: its content hash, and how many patients it holds.

The gate counts patients itself, from the table and the column that the terms name; what an app says of its own cohort
is not asked. Errors name files and columns, never values.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import DataStore


@dataclass(frozen=True)
class DataView:
    """A data store as the gate offers it to a run: where, what it holds, and how much of it.

    Attributes:
        path: Its folder.
        snapshot: Hash of its content.
        patients: How many it holds, counted in
        counted: this table and column; None if nobody said how to count.
    """

    path: Path
    snapshot: str
    patients: int
    counted: tuple[str, str] | None = None


def open_folder(folder: Path, wanted: DataStore | None) -> DataView:
    """Hash a store's files and count its patients (0 if the terms do not say how).

    Raises:
        InputError: No folder, no such table or column, or a table that is no Parquet file.
    """
    if not folder.is_dir():
        raise InputError(f"There is no data folder {folder}.", mend="Prepare the data first, or correct --data.")
    if wanted is None:
        return DataView(folder.resolve(), snapshot_of(folder), 0)
    patients = count_patients(folder / wanted.table, wanted.patient_id)
    return DataView(folder.resolve(), snapshot_of(folder), patients, (wanted.table, wanted.patient_id))


def snapshot_of(folder: Path) -> str:
    """SHA-256 over the sorted lines "path NUL sha256 LF" of the folder's files, below it at any depth.

    Raises:
        InputError: It holds a link (what it points at is not in the hash), something that is neither a file nor a
            folder, or a file that cannot be read.
    """
    lines = []
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise InputError(f"{path} is a link.", mend="Put the file itself into the data store.")
        if path.is_dir():
            continue
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder.", mend="Take it out of the data store.")
        try:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as err:
            raise InputError(f"{path} cannot be read ({err.strerror}).", mend="Correct its permissions.") from err
        lines.append(os.fsencode(path.relative_to(folder)) + f"\0{content}\n".encode())
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def count_patients(table: Path, column: str) -> int:
    """Distinct, non-missing patient ids in a Parquet table.

    Raises:
        InputError: The file is missing or unreadable, or has no such column, or one whose values cannot be counted.
    """
    try:
        with pq.ParquetFile(table) as file:
            if file.schema_arrow.names.count(column) != 1:
                raise InputError(
                    f"{table} has no column {column!r}, or two.",
                    mend="Name the patient id column in [tool.flame.data].",
                )
            ids = file.read(columns=[column]).column(0)
        return int(pc.count_distinct(ids, mode="only_valid").as_py())
    except FileNotFoundError:
        raise InputError(f"There is no table {table}.", mend="Check the data folder and [tool.flame.data].") from None
    except pa.ArrowNotImplementedError as err:
        raise InputError(
            f"Column {column!r} of {table} holds lists or tables, which are no patient ids.",
            mend="Name the patient id column in [tool.flame.data].",
        ) from err
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{table} is not a Parquet file that can be read.", mend="Write it again.") from err
