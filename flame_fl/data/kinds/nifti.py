"""NIfTI-1 and -2: the same voxels, bit for bit, behind a new header that has the few fields needed to place them.

Descriptions, file names, intent parameters, extensions and what follows the voxels stay behind; so do the two file
name and comment fields of gzip. The block of voxels is copied as it is, piece by piece, so that type, byte order and
scaling stay what they are.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.data.kind import require

LARGEST_BYTES = 1 << 34
_KEPT = (
    "dim_info", "dim", "intent_code", "datatype", "bitpix", "slice_start", "slice_end", "slice_code", "slice_duration",
    "scl_slope", "scl_inter", "cal_max", "cal_min", "pixdim", "xyzt_units",
)  # fmt: skip
_PLACED = {  # which fields say where the voxels are, if this code is not 0
    "qform_code": ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    "sform_code": ("srow_x", "srow_y", "srow_z"),
}
_SIZES = (348, 540)
_NO_EXTENSION = bytes(4)
_CHUNK = 1 << 20
_MEND = "Take it out of the manifest, or export it again."


def copy_clean(source: Path, to: Path) -> None:
    """Write an image as a NIfTI file of nothing but voxels and where they are; compressed if its new name ends in .gz.

    Raises:
        InputError: It is no image that can be read; the sentence names neither file nor value.
        OSError: It cannot be written.
    """
    require("images (NIfTI)", ("nibabel",), "images")
    with _opened(source) as stream:
        old = _header(stream)
        new = _clean_header(old)
        _skip(stream, int(old["vox_offset"]) - old.dtype.itemsize)
        with to.open("xb") as file:
            if to.suffix == ".gz":
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                    _write(packed, stream, new)
            else:
                _write(file, stream, new)


def look(source: Path) -> tuple[tuple[int, ...], int]:
    """Sides of an image and the bits of a voxel: 8, 16, or 32 for whatever is longer.

    Raises:
        InputError: As `copy_clean`.
    """
    require("images (NIfTI)", ("nibabel",), "images")
    with _opened(source) as stream:
        header = _header(stream)
    rank = int(header["dim"][0])
    return tuple(int(n) for n in header["dim"][1 : rank + 1]), min(32, max(8, int(header["bitpix"])))


def write_made(voxels: npt.NDArray[Any], to: Path) -> None:
    """Write a made-up image, each voxel a millimetre wide.

    Raises:
        OSError: It cannot be written.
    """
    require("images (NIfTI)", ("nibabel",), "images")
    import nibabel  # noqa: PLC0415

    data = nibabel.nifti1.Nifti1Image(voxels, np.eye(4)).to_bytes()  # type: ignore[no-untyped-call]
    to.write_bytes(gzip.compress(data, 6, mtime=0) if to.suffix == ".gz" else data)


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    try:
        file = source.open("rb")
    except OSError:  # its text names the file
        raise InputError("The NIfTI image cannot be read.", mend="Check that it is there and may be read.") from None
    with file:
        packed = _read(file, 2) == b"\x1f\x8b"
        file.seek(0)
        yield cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file


def _read(stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception:  # gzip, zlib and the disk raise each their own
        raise InputError("The NIfTI image cannot be read.", mend=_MEND) from None


def _exactly(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        part = _read(stream, min(size, _CHUNK))
        if not part:
            raise InputError("The NIfTI image is cut short.", mend=_MEND)
        size -= len(part)
        yield part


def _skip(stream: BinaryIO, size: int) -> None:
    for _ in _exactly(stream, size):
        pass


def _write(file: Any, stream: BinaryIO, new: Any) -> None:
    file.write(new.tobytes() + _NO_EXTENSION)
    for part in _exactly(stream, _length(new)):
        file.write(part)
    if len(_read(stream, _CHUNK)) == _CHUNK:  # reading on also checks gzip's checksum; some writers pad
        raise InputError("The NIfTI image is followed by something else.", mend=_MEND)


def _header(stream: BinaryIO) -> Any:
    """The header as it is, a NumPy record in the file's own byte order, with its sizes checked."""
    from nibabel import nifti1, nifti2  # noqa: PLC0415

    raw = b"".join(_exactly(stream, _SIZES[0]))
    for size, dtype in zip(_SIZES, (nifti1.header_dtype, nifti2.header_dtype), strict=True):
        for order in ("little", "big"):
            if int.from_bytes(raw[:4], order) == size:
                raw += b"".join(_exactly(stream, size - _SIZES[0]))
                header = np.frombuffer(raw, dtype.newbyteorder("<" if order == "little" else ">"))[0]
                return _checked(header)
    raise InputError("The NIfTI image does not begin as NIfTI files do.", mend=_MEND)


def _checked(header: Any) -> Any:
    from nibabel.nifti1 import data_type_codes  # noqa: PLC0415

    offset, rank = float(header["vox_offset"]), int(header["dim"][0])
    code = int(header["datatype"])
    if bytes(header["magic"])[:3] not in {b"n+1", b"n+2"}:
        raise InputError("The NIfTI image keeps its voxels in another file.", mend="Store it as one .nii file.")
    fits = (
        code in data_type_codes.code
        and np.dtype(cast("Any", data_type_codes.dtype[code])).itemsize * 8 == int(header["bitpix"]) > 0
        and 1 <= rank <= 7
        and all(int(n) > 0 for n in header["dim"][1 : rank + 1])
        and offset == offset // 1
        and header.dtype.itemsize + len(_NO_EXTENSION) <= offset <= LARGEST_BYTES
        and _length(header) <= LARGEST_BYTES
    )
    if not fits:
        raise InputError("The NIfTI image has a header that makes no sense, or is too large.", mend=_MEND)
    return header


def _length(header: Any) -> int:
    length = int(header["bitpix"]) // 8
    for side in header["dim"][1 : int(header["dim"][0]) + 1]:
        length *= int(side)
    return length


def _clean_header(old: Any) -> Any:
    """A header from nothing. What no reader looks at is set to fixed values, lest it should say something."""
    new, rank = np.zeros((), old.dtype), int(old["dim"][0])
    new["sizeof_hdr"], new["vox_offset"] = old.dtype.itemsize, old.dtype.itemsize + len(_NO_EXTENSION)
    new["magic"] = b"n+1" if old.dtype.itemsize == _SIZES[0] else b"n+2"
    if "eol_check" in old.dtype.names:
        new["eol_check"] = (13, 10, 26, 10)
    for name in _KEPT:
        new[name] = old[name]
    new["dim"][rank + 1 :], new["pixdim"][rank + 1 :] = 1, 1
    for code, names in _PLACED.items():
        new[code] = old[code]
        for name in names if old[code] else ():
            new[name] = old[name]
    return new
