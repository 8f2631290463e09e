"""DICOM: the same pixels under a new header, which has the few fields that are needed to read them.

DICOM PS3.15, Annex E, Table E.1-1 lists what identifies a patient in a header; manufacturers' private elements hold
more. Nothing is taken out of a header here: a new one is built, and only what `_NUMBERS`, `_WORDS` and `_UIDS` name is
carried over, each value checked. So names, dates, free text, sequences, overlays, curves, private elements and the
preamble stay behind, whether Annex E knows them or not. UIDs are replaced, as it asks. It also asks for a look at the
pixels, which no program does well: images said to hold burnt-in text are refused, as are kinds that often do unless
they deny it.
Compressed pixels are decoded, since a JPEG stream has comments of its own; what cannot be decoded is refused.
"""

import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.data.kind import require

LARGEST_BYTES = 1 << 31
_NUMBERS = {  # and how many values each may have
    "SamplesPerPixel": 1, "PlanarConfiguration": 1, "NumberOfFrames": 1, "Rows": 1, "Columns": 1,
    "BitsAllocated": 1, "BitsStored": 1, "HighBit": 1, "PixelRepresentation": 1,
    "PixelPaddingValue": 1, "PixelPaddingRangeLimit": 1,
    "PixelSpacing": 2, "ImagerPixelSpacing": 2, "NominalScannedPixelSpacing": 2, "PixelAspectRatio": 2,
    "SliceThickness": 1, "SpacingBetweenSlices": 1, "SliceLocation": 1,
    "ImagePositionPatient": 3, "ImageOrientationPatient": 6,
    "RescaleIntercept": 1, "RescaleSlope": 1, "WindowCenter": 8, "WindowWidth": 8,
}  # fmt: skip
_MODALITIES = frozenset(
    ("AR", "BI", "BMD", "CR", "CT", "DG", "DX", "ES", "GM", "IO", "IVOCT", "IVUS", "MG", "MR", "NM", "OCT", "OP", "OPM",
     "OPT", "OPTENF", "OT", "PT", "PX", "RF", "SC", "SM", "TG", "US", "XA", "XC")
)  # fmt: skip
_WORDS = {  # and the standard's own terms for each; any other value is left out
    "Modality": _MODALITIES,
    "PhotometricInterpretation": frozenset(
        {"MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422"}
    ),
    "RescaleType": frozenset({"HU", "US", "OD", "MGML", "PCT", "Z_EFF", "ED", "EDW", "HU_MOD"}),
    "VOILUTFunction": frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "BurnedInAnnotation": frozenset({"NO"}),
}
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_COLOURS = ("Red", "Green", "Blue")
_PALETTE = tuple(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Descriptor", "Data"))
_OFTEN_WRITTEN_ON = ("Secondary Capture", "Ultrasound", "Hardcopy")
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}  # implicit and explicit little endian
_LOSSLESS = {"1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"}  # RLE, JPEG 2000
_LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.91"}  # JPEG, JPEG 2000
_IMPLEMENTATION = "2.25.161906213404842166938374126092180277043"
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CHECKED_AT_ONCE = 1 << 22
_MEND = "Take it out of the manifest, or export it again."


def cleaned(source: Path, patient: str, uid: Callable[[str], str]) -> bytes:
    """An image as a DICOM file whose header says nothing of the patient but `patient`; UIDs go through `uid`.

    Raises:
        InputError: It is no image that can be read, or may show text; the sentence names neither file nor value.
    """
    require("images (DICOM)", ("pydicom", "PIL"), "images")
    with _reading():
        return _file(_new(_read(source, (*_NUMBERS, *_WORDS, *_UIDS, *_PALETTE, "PixelData")), patient, uid))


def look(source: Path) -> tuple[tuple[int, ...], int]:
    """Rows and columns (and samples, if several) of an image, and the bits of a sample; of one of its frames.

    Raises:
        InputError: As `cleaned`.
    """
    require("images (DICOM)", ("pydicom",), "images")
    with _reading():
        found = _read(source, ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"), pixels=False)
        samples = int(found.SamplesPerPixel)
        shape = (int(found.Rows), int(found.Columns))
        return (*shape, samples) if samples > 1 else shape, max(8, int(found.BitsAllocated))


def made(pixels: npt.NDArray[Any], modality: str, patient: str, uid: str) -> bytes:
    """A made-up image: rows and columns, or rows, columns and three colours.

    Raises:
        InputError: Pixels of this type or shape make no image.
    """
    require("images (DICOM)", ("pydicom",), "images")
    from pydicom import Dataset  # noqa: PLC0415
    from pydicom.uid import SecondaryCaptureImageStorage  # noqa: PLC0415

    with _reading():
        new, bits = Dataset(), pixels.dtype.itemsize * 8
        new.SOPClassUID, new.SOPInstanceUID = SecondaryCaptureImageStorage, uid
        new.StudyInstanceUID, new.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
        new.PatientID, new.Modality, new.BurnedInAnnotation = patient, modality, "NO"
        if modality not in _MODALITIES:
            new.Modality = "OT"
        new.Rows, new.Columns = pixels.shape[:2]
        new.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        new.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        if pixels.ndim == 3:
            new.PlanarConfiguration = 0
        new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation = bits, bits, bits - 1, 0
        _put_pixels(new, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
        return _file(new)


def is_dicom(source: Path) -> bool:
    """Whether a file says of itself that it is DICOM.

    Raises:
        OSError: It cannot be read.
    """
    with source.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextmanager
def _reading() -> Iterator[None]:
    """Keep in what pydicom says: its errors, warnings and log lines quote values."""
    log = logging.getLogger("pydicom")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception:
        raise InputError("The DICOM image cannot be read.", mend=_MEND) from None
    finally:
        log.disabled = before


def _read(source: Path, wanted: tuple[str, ...], *, pixels: bool = True) -> Any:
    """Only what is wanted is ever parsed. A deflated file is refused before it can swell."""
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.filereader import read_file_meta_info  # noqa: PLC0415

    if not is_dicom(source):
        raise InputError("The DICOM image has no preamble.", mend="Write it again as a DICOM file (PS3.10).")
    if read_file_meta_info(source).TransferSyntaxUID not in _NATIVE | _LOSSLESS | _LOSSY:
        raise InputError(
            "The DICOM image is stored in a way that is not read here.", mend="Convert it: gdcmconv --raw, or dcmdjpeg."
        )
    tags: list[Any] = [*wanted, "SOPClassUID"]
    return dcmread(source, specific_tags=tags, stop_before_pixels=not pixels)


def _new(old: Any, patient: str, uid: Callable[[str], str]) -> Any:
    from pydicom import Dataset  # noqa: PLC0415

    _require_no_text(old)
    _require_size(old)
    syntax = old.file_meta.TransferSyntaxUID
    if syntax not in _NATIVE:
        _decompress(old)
    new = Dataset()
    new.SpecificCharacterSet, new.PatientID, new.SOPClassUID = "ISO_IR 192", patient, str(old.SOPClassUID)
    for keyword, most in _NUMBERS.items():
        _carry_numbers(old, new, keyword, most)
    for keyword, terms in _WORDS.items():
        word = str(old.get(keyword) or "").strip()
        if word in terms:
            setattr(new, keyword, word)
    if syntax in _LOSSY:
        new.LossyImageCompression = "01"
    for keyword in _UIDS:
        if word := str(old.get(keyword) or ""):
            setattr(new, keyword, uid(word))
    if new.PhotometricInterpretation == "PALETTE COLOR":
        _carry_palette(old, new)
    _put_pixels(new, _pixels(old, new))
    return new


def _decompress(old: Any) -> None:
    try:
        old.decompress(generate_instance_uid=False)
    except Exception:
        raise InputError(
            "The DICOM image has compressed pixels that cannot be decoded.",
            mend="Convert it: gdcmconv --raw, or dcmdjpeg.",
        ) from None


def _require_no_text(old: Any) -> None:
    kind, said = old.SOPClassUID, str(old.get("BurnedInAnnotation") or "").strip().upper()
    if kind.type != "SOP Class" or "Image Storage" not in kind.name:
        raise InputError("The DICOM file is not an image.", mend="Take it out of the manifest.")
    if said not in {"", "NO"}:
        raise InputError("The DICOM image has burnt-in text.", mend="Take it out of the manifest.")
    if not said and any(word in kind.name for word in _OFTEN_WRITTEN_ON):
        raise InputError(
            "The DICOM image is of a kind that often has burnt-in text, and does not say that it has none.",
            mend="Look at it, and set BurnedInAnnotation to NO if there is none.",
        )


def _require_size(old: Any) -> None:
    from pydicom.pixels.utils import get_expected_length  # noqa: PLC0415

    if not 0 < get_expected_length(old) <= LARGEST_BYTES:
        raise InputError(f"The DICOM image has no pixels, or more than {LARGEST_BYTES:,} bytes of them.", mend=_MEND)


def _carry_numbers(old: Any, new: Any, keyword: str, most: int) -> None:
    from pydicom.datadict import dictionary_VR  # noqa: PLC0415
    from pydicom.valuerep import DSfloat  # noqa: PLC0415

    value = old.get(keyword)
    if value is None or value == "":
        return
    values = [value] if isinstance(value, str | bytes | int | float) else list(value)
    if len(values) > most:
        raise InputError(f"The DICOM image has more than {most} values of {keyword}.", mend=_MEND)
    if dictionary_VR(keyword) != "DS":
        values = [int(v) for v in values]
    elif not all(math.isfinite(float(v)) for v in values):
        raise InputError(f"The DICOM image has no number for {keyword}.", mend=_MEND)
    else:  # as it is written where that is a plain number, lest rounding should move a slice
        words = [str(v).strip() for v in values]
        values = [w if len(w) <= 16 and _DECIMAL.fullmatch(w) else DSfloat(float(w), auto_format=True) for w in words]
    setattr(new, keyword, values if len(values) > 1 else values[0])


def _carry_palette(old: Any, new: Any) -> None:
    for colour in _COLOURS:
        descriptor, data = (f"{colour}PaletteColorLookupTable{part}" for part in ("Descriptor", "Data"))
        _carry_numbers(old, new, descriptor, 3)
        entries, table = getattr(new, descriptor)[0] or 1 << 16, bytes(getattr(old, data))
        if len(table) not in {entries, entries + entries % 2, 2 * entries}:
            raise InputError("The DICOM image has a palette of the wrong length.", mend=_MEND)
        setattr(new, data, table)


def _pixels(old: Any, new: Any) -> bytes:
    """The pixels, no byte more, and no bit beside those that are stored: overlays used to be kept there."""
    from pydicom.pixels.utils import get_expected_length  # noqa: PLC0415

    length, data = get_expected_length(old), old.PixelData
    if len(data) < length:
        raise InputError("The DICOM image is cut short.", mend=_MEND)
    data, allocated, stored = data[:length], new.BitsAllocated, new.BitsStored
    if new.HighBit != stored - 1 or not 0 < stored <= allocated or new.PixelRepresentation not in {0, 1}:
        raise InputError("The DICOM image has bits in unusual places.", mend=_MEND)
    if stored == allocated:
        return bytes(data)
    kind = np.dtype(f"<{'i' if new.PixelRepresentation else 'u'}{allocated // 8}")
    unused = allocated - stored
    for start in range(0, length, _CHECKED_AT_ONCE):
        part = np.frombuffer(data[start : start + _CHECKED_AT_ONCE], kind)
        if not np.array_equal((part << unused) >> unused, part):
            raise InputError(
                "The DICOM image has bits set outside those that it says are stored.",
                mend="Clear them (they may be an overlay), or correct BitsStored.",
            )
    return bytes(data)


def _put_pixels(new: Any, data: bytes) -> None:
    new.add_new("PixelData", "OW" if new.BitsAllocated > 8 else "OB", data + b"\0" * (len(data) % 2))


def _file(new: Any) -> bytes:
    from pydicom import dcmwrite  # noqa: PLC0415
    from pydicom.dataset import FileMetaDataset  # noqa: PLC0415
    from pydicom.uid import UID, ExplicitVRLittleEndian  # noqa: PLC0415

    new.preamble, new.file_meta = bytes(128), FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.file_meta.MediaStorageSOPClassUID = new.SOPClassUID
    new.file_meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    new.file_meta.ImplementationClassUID, new.file_meta.ImplementationVersionName = UID(_IMPLEMENTATION), "FLAME_FL"
    file = BytesIO()
    dcmwrite(file, new, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return file.getvalue()
