"""Registered data stores: what a DIZ offers, by name, each with the hash of its content.

A store is used where it lies and never written to. Before each message its files are looked at (path, size, time,
inode); if anything differs it is hashed again. An approval binds the hash, so changed data are refused (908) until the
steward has registered them anew and approved again.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flame_fl.contract.canonical import digest
from flame_fl.contract.errors import InputError
from flame_fl.data.files import PRIVATE, replace
from flame_fl.data.folder import DataView, count_patients, snapshot_of
from flame_fl.sandbox.container import NOBODY

Stats = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class DataStore:
    """One registration.

    Attributes:
        path: The folder.
        table: Its Parquet table with a row per record, and
        patient_id: the column by which patients are counted.
        snapshot: Hash of its content.
        schema_sha256: Hash of the table's column names and types.
        mock: Made-up data: nobody's.
    """

    name: str
    path: str
    table: str
    patient_id: str
    snapshot: str
    schema_sha256: str
    rows: int
    patients: int
    mock: bool


def inspect(name: str, folder: Path, table: str, patient_id: str, *, mock: bool) -> DataStore:
    """Look at a folder before it is registered.

    Raises:
        InputError: It cannot be a data store; the sentence says why. Values are never named.
    """
    folder = folder.expanduser().resolve()
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name) or len(name) > 64:
        raise InputError(
            f"{name!r} is no name for a data store.", mend="Use letters, digits, - and _, as the terms of analyses do."
        )
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", mend="Give the folder that holds the table.")
    require_readable(folder)
    patients = count_patients(folder / table, patient_id)
    file = pq.ParquetFile(folder / table)
    columns = [[field.name, str(field.type)] for field in file.schema_arrow]
    return DataStore(
        name=name,
        path=str(folder),
        table=table,
        patient_id=patient_id,
        snapshot=snapshot_of(folder),
        schema_sha256=digest({"columns": columns}),
        rows=file.metadata.num_rows,
        patients=patients,
        mock=mock,
    )


def require_readable(folder: Path) -> None:
    """Check that a sandbox's user, who is nobody in particular, could read every file.

    Raises:
        InputError: It could not, or a link is among them.
    """
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path} is a link.", mend="Put the file itself into the data store.")
        seen = path.stat()
        wanted = 0o5 if path.is_dir() else 0o4
        if seen.st_uid != NOBODY and (seen.st_mode & wanted) != wanted:
            raise InputError(
                f"A sandbox could not read {path}: its user {NOBODY} has no right to.",
                mend="Let others read it (chmod -R o+rX); the folder above may stay closed.",
            )


class Registry:
    """The registrations of a node, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> dict[str, DataStore]:
        """By name.

        Raises:
            InputError: A file is none of ours.
        """
        stores = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return {store.name: store for store in stores}

    def get(self, name: str) -> DataStore:
        """One of them.

        Raises:
            InputError: There is none, or its file is none of ours.
        """
        return self._read(self._folder / f"{name}.json")

    @staticmethod
    def _read(path: Path) -> DataStore:
        try:
            return DataStore(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as err:
            raise InputError(f"{path} is no registration of a data store.", mend="Register it again.") from err

    def put(self, store: DataStore) -> None:
        """Register, or register anew."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(asdict(store), indent=1, sort_keys=True)
        replace(self._folder / f"{store.name}.json", text.encode(), PRIVATE)

    def remove(self, name: str) -> None:
        """Forget a registration; the data are not touched.

        Raises:
            InputError: There is none.
        """
        try:
            (self._folder / f"{name}.json").unlink()
        except FileNotFoundError:
            raise InputError(f"There is no data store {name!r}.", mend="See `flame node data list`.") from None


class LiveViews(Mapping[str, DataView]):
    """The stores as the gate sees them now. A store that cannot be read any more is not there."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen: dict[str, tuple[Stats, DataStore, DataView]] = {}

    def __getitem__(self, name: str) -> DataView:
        try:
            store = self._registry.get(name)
            folder = Path(store.path)
            stats = _stats(folder)
            seen = self._seen.get(name)
            if seen is None or seen[:2] != (stats, store):
                view = DataView(folder, snapshot_of(folder), store.patients, (store.table, store.patient_id))
                self._seen[name] = seen = (stats, store, view)
        except (OSError, InputError, pa.ArrowException) as err:
            raise KeyError(name) from err
        return seen[2]

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.all())

    def __len__(self) -> int:
        return len(self._registry.all())


def _stats(folder: Path) -> Stats:
    if not folder.is_dir():  # else what vanished would look like an empty store
        raise NotADirectoryError(folder)
    found = []
    for path in sorted(folder.rglob("*")):
        seen = os.lstat(path)
        found.append((str(path.relative_to(folder)), seen.st_size, seen.st_mtime_ns, seen.st_ino))
    return tuple(found)
