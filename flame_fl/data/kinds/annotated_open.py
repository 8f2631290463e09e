"""Opening an AnnData store, HDF5 or zarr, after checking that nothing in it leads elsewhere or runs code.

HDF5 can point at other files (soft and external links, external storage, virtual datasets), and zarr can name a codec
that unpickles. Both are looked for in the whole store before a single cell is read.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data.kind import inside

CELLS = 1 << 20
"""How many values are held at once."""
MOST = 1 << 27
"""Records or features beyond which a store is not believed: a file of a kilobyte can claim any number."""

# What h5py, zarr and their codecs raise on bad bytes; their texts may quote them and are dropped.
_BAD = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, SystemError, TypeError,
    ValueError, pa.ArrowException,
)  # fmt: skip
_V2_COMPRESSORS = {"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"}
_V2_FILTERS = {"delta", "shuffle", "vlen-utf8"}
_V3_INNER = {"bytes", "crc32c", "gzip", "transpose", "vlen-utf8", "zstd"}
_V3_CODECS = {*_V3_INNER, "blosc", "sharding_indexed"}
_PARTS = ("codecs", "index_codecs")  # of the sharding codec


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises into one sentence.

    Raises:
        InputError: Something was raised.
    """
    try:
        yield
    except _BAD:
        raise InputError(
            f"{path} is not an AnnData store that can be read: damaged, cut short, or of another layout.",
            mend="Open it with anndata and write it again.",
        ) from None


@contextmanager
def opened(folder: Path, name: str) -> Iterator[tuple[Path, Any]]:
    """The store's path and its root group, for reading.

    Raises:
        InputError: There is none, it is damaged, or it holds something that leads elsewhere.
    """
    path = inside(folder, name)
    if path.suffix == ".h5ad" and path.is_file():
        root = _h5(path)
    elif path.suffix == ".zarr" and path.is_dir():
        root = _zarr(path)
    else:
        raise InputError(f"{path} is neither an .h5ad file nor a .zarr folder.", mend="Write it with anndata.")
    try:
        yield path, root
    finally:
        close(root)


@contextmanager
def made(path: Path, zarr_format: int | None = None) -> Iterator[Any]:
    """The root group of a new, empty store: zarr of this format, or HDF5. Nothing in it tells the time.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zarr":
        import zarr  # noqa: PLC0415

        root: Any = zarr.create_group(store=zarr.storage.LocalStore(path), zarr_format=2 if zarr_format == 2 else 3)
    else:
        root = h5py().File(path, "x")
    try:
        yield root
    finally:
        close(root)


def h5py() -> Any:
    """The library, which has no types; an installation without the extra lacks it."""
    return import_module("h5py")


def close(root: Any) -> None:
    """Close a root group; one of zarr's needs none."""
    if not is_zarr(root):
        root.close()


def is_zarr(node: Any) -> bool:
    """Whether a group is one of zarr's; h5py's has no such attribute."""
    return hasattr(node, "create_array")


def zarr_format(root: Any) -> int | None:
    """Which format of zarr a group has; None for HDF5."""
    return int(root.metadata.zarr_format) if is_zarr(root) else None


def folder_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted.

    Raises:
        InputError: There is a link, or something that is neither a file nor a folder.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path} is a link.", mend="Put the file itself into the data store.")
        if path.is_file():
            files.append(path)
        elif not path.is_dir():
            raise InputError(f"{path} is neither a file nor a folder.", mend="Take it out of the data store.")
    return files


def _h5(path: Path) -> Any:
    def elsewhere(_name: str, link: object) -> str | None:
        return None if isinstance(link, h5py().HardLink) else "a soft or external link"

    def strange(_name: str, node: Any) -> str | None:
        if not isinstance(node, h5py().Dataset):
            return None
        if node.is_virtual or node.external:
            return "a dataset whose values are in another file"
        return None if _plain(node.dtype) else "a dataset of references, or of objects that are no text"

    with reading(path):
        root = h5py().File(path, "r")
    try:
        with reading(path):
            # All links first: none is followed, here or by what comes after. The first answer that is not None counts.
            found = root.visititems_links(elsewhere) or root.visititems(strange)
        if found:
            raise _leads_away(path, found)
    except InputError:
        root.close()
        raise
    return root


def _plain(dtype: np.dtype[Any]) -> bool:
    """Numbers, text, and records of them."""
    if dtype.subdtype is not None:
        return _plain(dtype.subdtype[0])
    if dtype.names is not None:
        return all(_plain(dtype[name]) for name in dtype.names)
    if dtype.kind == "O":
        return h5py().check_string_dtype(dtype) is not None
    return dtype.kind in "biufcS"


def _zarr(path: Path) -> Any:
    import zarr  # noqa: PLC0415

    for file in folder_files(path):
        if file.name not in {".zarray", "zarr.json"}:
            continue
        with reading(path):
            codecs = _codecs(json.loads(file.read_bytes()))
            if codecs is not None and codecs[-1:] == ["blosc"]:
                _require_whole_blosc(file.parent)
        if codecs is None:
            raise _leads_away(path, "an array with a codec that is not on the list")
    with reading(path):
        # Consolidated metadata were not checked, and may say something else than the arrays' own.
        return zarr.open_group(
            zarr.storage.LocalStore(path, read_only=True),
            mode="r",
            zarr_format=3 if (path / "zarr.json").exists() else 2,
            use_consolidated=False,
        )


def _codecs(about: dict[str, Any]) -> list[str] | None:
    """The names of an array's codecs, none for a group; None if one is not on the list."""
    if about["zarr_format"] == 3:
        if about["node_type"] == "group":
            return []
        names = [codec if isinstance(codec, str) else codec["name"] for codec in about["codecs"]]
        inner = [codec.get("configuration") or {} for codec in about["codecs"] if not isinstance(codec, str)]
        within = [codec["name"] for one in inner for part in _PARTS for codec in one.get(part, ())]
        known = {*names} <= _V3_CODECS and {*within} <= _V3_INNER and isinstance(about["data_type"], str)
        known = known and "blosc" not in names[:-1]  # else its chunks' lengths are not looked at
        return names if known and not about.get("storage_transformers") else None
    names = [one["id"] for one in (*(about["filters"] or ()), about["compressor"]) if one]
    known = (
        {*names[:-1]} <= _V2_FILTERS and {*names} <= _V2_FILTERS | _V2_COMPRESSORS and isinstance(about["dtype"], str)
    )
    return names if known and (about["dtype"] != "|O" or "vlen-utf8" in names) else None


def _require_whole_blosc(folder: Path) -> None:
    """Blosc goes by the length in a chunk's header, and would read what lies in memory behind a chunk cut short."""
    for chunk in folder.rglob("[!.]*"):
        if chunk.is_file() and chunk.name != "zarr.json":
            with chunk.open("rb") as file:
                if int.from_bytes(file.read(16)[12:], "little") != chunk.stat().st_size:
                    raise ValueError


def _leads_away(path: Path, what: str) -> InputError:
    return InputError(f"{path} holds {what}.", mend="Open it with anndata and write it again.")
