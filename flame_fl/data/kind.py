"""The one protocol behind every kind of data store, and how a kind is found.

A kind reads a folder that is not its own to change, and writes views. Rules that every kind follows:

1. Bad files end in an `InputError`: one sentence that names files and columns, never a value of a patient's.
2. `subset` writes nothing that was not asked for: no other column, gene, variant, header field, and no metadata.
3. A view depends on its own records and on what the approval names, on nothing else: no count, category list, order
   or time stamp of the whole cohort. Two views of the same records are the same bytes.
4. `subset` streams: what it holds in memory does not grow with the store, ids excepted.
5. A link, or a path that leads out of the folder, is never followed.
"""

import stat
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.layout import KindName, Layout, Wanted
from flame_fl.data.schema import StoreSchema

Rows = npt.NDArray[np.int64]  # sorted indices of records


class Kind(Protocol):
    """A data store in a folder. Made with `(folder, layout)`; touches no file until it is asked."""

    folder: Path
    layout: Layout

    def schema(self) -> StoreSchema:
        """A draft of the schema: names and types, no value of any patient's.

        Raises:
            InputError: A file is missing, unreadable or inconsistent with the others.
        """

    def patients(self) -> list[str | None]:
        """Whose each record is, in the order of the record table; None where nobody is named.

        Raises:
            InputError: As `schema`.
        """

    def records(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the record table, typed, in its order; for filters and for the quality report.

        Raises:
            InputError: As `schema`, or there is no such column.
        """

    def snapshot(self) -> tuple[str, ...]:
        """The files that make up the store, relative to its folder, sorted: what is hashed, and copied.

        Raises:
            InputError: As `schema`.
        """

    def subset(self, rows: Rows, wanted: Wanted, disguise: Disguise, into: Path) -> None:
        """Write a view of these records into an empty folder, in the store's own format and under its own names.

        Raises:
            InputError: As `schema`, or something wanted is not there.
            OSError: The view cannot be written.
        """

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """Write made-up records that have this schema into an empty folder. They are drawn from the schema alone.

        Raises:
            InputError: The schema cannot be made so.
        """


@runtime_checkable
class CutsAtOnce(Protocol):
    """A kind that writes many views while it reads its store once."""

    def cut(self, parts: Sequence[Rows], wanted: Wanted, disguise: Disguise, intos: Sequence[Path]) -> None:
        """As `Kind.subset`, for each part and its folder."""


@runtime_checkable
class Examines(Protocol):
    """A kind that can tell, before a view is made, that a view of some record would be refused."""

    def examine(self) -> None:
        """Look at every record's file.

        Raises:
            InputError: A view of it would be refused.
        """


_KINDS: dict[KindName, tuple[str, str, tuple[str, ...], str]] = {  # module, class, what it needs, the extra
    "table": ("table", "TableKind", (), ""),
    "anndata": ("annotated", "AnnDataKind", ("h5py", "zarr"), "h5ad"),
    "plink": ("plink", "PlinkKind", ("bed_reader",), "plink"),
    "pgen": ("pgen", "PgenKind", ("pgenlib",), "plink"),
    "vcf": ("vcf", "VcfKind", ("cyvcf2",), "vcf"),
    "images": ("images", "ImagesKind", ("pydicom", "PIL", "nibabel"), "images"),
}


def open_kind(folder: Path, layout: Layout) -> Kind:
    """The store in a folder.

    Raises:
        InputError: There is no such folder, or a library for this kind is not installed.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", mend="Give the folder that holds the store's files.")
    kind: Kind = kind_class(layout.kind)(folder, layout)
    return kind


def kind_class(name: KindName) -> Any:
    """The class of a kind.

    Raises:
        InputError: A library for it is not installed.
    """
    module, cls, needs, extra = _KINDS[name]
    require(name, needs, extra)
    return getattr(import_module(f"flame_fl.data.kinds.{module}"), cls)


def require(what: str, modules: Sequence[str], extra: str) -> None:
    """Check that optional libraries are there.

    Raises:
        InputError: One is not; the sentence names the command that installs it.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise InputError(
            f"Data of kind {what!r} need {missing[0]}, which is not installed.",
            mend=f"python -m pip install 'flame-fl[{extra}]'",
        )


def inside(folder: Path, name: str) -> Path:
    """A file of the store's by its relative name.

    Raises:
        InputError: The name leads out of the folder, or a link is on the way, or there is no such file or folder.
    """
    path, parts = folder, Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise InputError("A file name leads out of the store's folder.", mend="Name files relative to it.")
    try:
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise InputError(f"{path} is a link.", mend="Put the file itself into the data store.")
        mode = path.stat().st_mode
    except OSError:
        raise InputError(f"There is no {path}.", mend="Check the store's folder and the names of its files.") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is neither a file nor a folder.", mend="Take it out of the data store.")
    return path


def under(into: Path, name: str) -> Path:
    """Where a file of a view, or of a made-up store, goes; the folders on the way are made.

    Raises:
        InputError: The name leads out of the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError("A file name leads out of the store's folder.", mend="Name files relative to it.")
    path = into / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
