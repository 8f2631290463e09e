"""DICOM: what survives of a header, and that pixels do."""

import logging
import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.kinds import dicom

pydicom = pytest.importorskip("pydicom")

CANARY = "KANARIENVOGEL"
KEY = bytes(32)
EXAMPLES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_padded.dcm",
    "693_J2KI.dcm",
    "examples_overlay.dcm",
)
MARKED = (  # screenshots and ultrasound: once somebody has looked at them
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_palette.dcm",
)


def example(name: str) -> Path:
    """A file that pydicom brings along: nothing is fetched."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def cleaned(path: Path, patient: str = "f00d") -> bytes:
    return dicom.cleaned(path, patient, lambda uid: f"2.25.{int(Disguise(KEY).record(uid), 16)}")


def outcome(path: Path) -> bytes | InputError:
    try:
        return cleaned(path)
    except InputError as err:
        return err


def read(data: bytes) -> Any:
    return pydicom.dcmread(BytesIO(data))


def plain(**fields: Any) -> Any:
    """A small image; fields change or add elements, and those that are None are left out."""
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3.4"
    image.Modality, image.Rows, image.Columns, image.SamplesPerPixel = "CT", 2, 3, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = np.arange(6, dtype="<u2").tobytes()
    for keyword, value in fields.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def saved(image: Any, path: Path) -> Path:
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", EXAMPLES)
def test_pixels_are_the_same(name: str) -> None:
    before, after = pydicom.dcmread(example(name)), read(cleaned(example(name)))
    np.testing.assert_array_equal(after.pixel_array, before.pixel_array)
    assert after.pixel_array.dtype == before.pixel_array.dtype
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "WindowWidth"):
        assert after.get(keyword) == before.get(keyword)


@pytest.mark.parametrize("name", MARKED)
def test_screenshots_and_ultrasound_are_read_once_they_say_that_nothing_is_burnt_in(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="often has burnt-in text"):
        cleaned(example(name))
    before = pydicom.dcmread(example(name))
    before.BurnedInAnnotation = "NO"
    before.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(cleaned(tmp_path / "a.dcm")).pixel_array, before.pixel_array)


def test_everything_in_a_cleaned_header_is_on_the_list() -> None:
    allowed = {*dicom._NUMBERS, *dicom._WORDS, *dicom._UIDS, "PixelData", "PatientID", "SpecificCharacterSet"}
    for name in EXAMPLES:
        image = read(cleaned(example(name)))
        assert {element.keyword for element in image} <= allowed | {"SOPClassUID"}
        assert image.preamble == bytes(128)
        assert image.PatientID == "f00d"
        assert image.file_meta.ImplementationVersionName == "FLAME_FL"


def test_uids_are_replaced_the_same_way_everywhere() -> None:
    before, after = pydicom.dcmread(example("CT_small.dcm")), read(cleaned(example("CT_small.dcm")))
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert after[keyword].value == f"2.25.{int(Disguise(KEY).record(before[keyword].value), 16)}"
        assert before[keyword].value.encode() not in cleaned(example("CT_small.dcm"))
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID


def test_the_same_image_is_the_same_bytes(tmp_path: Path) -> None:
    first = cleaned(example("CT_small.dcm"))
    (tmp_path / "elsewhere").write_bytes(example("CT_small.dcm").read_bytes())
    assert cleaned(tmp_path / "elsewhere") == first


def element(tag: int, vr: str, value: bytes = CANARY.encode()) -> bytes:
    """An element as it is written, whether its type fits or not (PS3.5, 7.1.2)."""
    value += b" " * (len(value) % 2)
    long = vr in {"OB", "OW", "OD", "UN", "UT", "UC", "UR", "SQ"}
    length = b"\0\0" + struct.pack("<I", len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + value


def sequence(tag: int, depth: int) -> bytes:
    """Sequences in a sequence, of a length or without one, with the canary at the bottom."""
    inner = sequence(0x00400275, depth - 1) if depth else element(0x00100010, "PN") + element(0x00091001, "UN")
    if depth % 2:
        return element(tag, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"SQ\0\0" + b"\xff" * 4
    item, end = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return head + item + inner + end + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


KNOWN = sorted(tag for tag in pydicom.datadict.DicomDictionary if 0x0008 < tag >> 16 < 0x7FE0 and tag & 0xFFFF)
LISTED = sorted(
    pydicom.datadict.tag_for_keyword(k) for k in (*dicom._NUMBERS, *dicom._WORDS, *dicom._UIDS, *dicom._PALETTE)
)
TYPES = ("LO", "PN", "UT", "CS", "UN", "OB", "OW", "DA", "DT", "UI", "DS", "IS", "US", "FD", "AT")
OTHERS = st.lists(st.tuples(st.sampled_from(KNOWN), st.sampled_from(TYPES)), max_size=8)
OURS = st.lists(st.tuples(st.sampled_from(LISTED), st.sampled_from(TYPES)), max_size=1)


@settings(max_examples=200)
@given(others=OTHERS, ours=OURS, private=st.integers(4, 0x3700), overlay=st.integers(0, 15), depth=st.integers(0, 4))
def test_no_other_element_survives_whatever_it_is(
    others: list[tuple[int, str]],
    ours: list[tuple[int, str]],
    private: int,
    overlay: int,
    depth: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Known, private and overlay elements, sequences, our own with the wrong type, the preamble, and what trails."""
    path = saved(plain(), tmp_path_factory.mktemp("dicom") / "a")
    whole = path.read_bytes()
    first = whole.index(b"\x08\0\x16\0UI")
    group = (2 * private + 1) << 16
    extras = b"".join(element(tag, vr) for tag, vr in others if tag not in LISTED)
    extras += element(group | 0x10, "LO") + element(group | 0x1001, "UT") + sequence(0x00400275, depth)
    extras += element((0x6000 + 2 * overlay) << 16 | 0x3000, "OW")
    ending = b"".join(element(tag, vr) for tag, vr in ours) + element(0xFFFCFFFC, "OB")
    preamble = (CANARY.encode() * 10)[:128]
    path.write_bytes(preamble + whole[128:first] + extras + whole[first:] + ending)
    data = outcome(path)
    if isinstance(data, InputError):
        assert ours, "elements that nobody reads are no reason to refuse"
        assert CANARY not in str(data)
        assert data.__cause__ is None
        return
    assert CANARY.encode() not in data
    np.testing.assert_array_equal(read(data).pixel_array, np.arange(6).reshape(2, 3))


def test_extra_elements_alone_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """So that the property above cannot hold by refusing everything."""
    image = plain(PatientName=CANARY, PatientBirthDate="19700101", InstitutionName=CANARY, StudyDate="20200229")
    image.private_block(0x0029, CANARY, create=True).add_new(1, "LO", CANARY)
    data = cleaned(saved(image, tmp_path / "a"))
    assert CANARY.encode() not in data
    assert b"19700101" not in data
    assert b"20200229" not in data


def test_nothing_is_logged_or_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = plain()
    for tag in (0x0020000D, 0x00280030):  # StudyInstanceUID, PixelSpacing
        image.add(pydicom.DataElement(tag, "UI", CANARY, validation_mode=pydicom.config.IGNORE))
    path = saved(image, tmp_path / "a")
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="cannot be read"):
            cleaned(path)
    assert not warned
    assert CANARY not in caplog.text
    assert not logging.getLogger("pydicom").disabled


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"BurnedInAnnotation": "YES"}, "burnt-in"),
        ({"SOPClassUID": pydicom.uid.EncapsulatedPDFStorage}, "not an image"),
        ({"SOPClassUID": "1.2.3.4.5"}, "not an image"),
        ({"SOPClassUID": pydicom.uid.UltrasoundImageStorage}, "often has"),
        ({"PixelData": bytes(10)}, "cut short"),
        ({"PixelData": None}, "cannot be read"),
        ({"PixelData": b"\xff\xff" + bytes(10)}, "outside"),
        ({"HighBit": 15}, "unusual places"),
        ({"Rows": 65535, "Columns": 65535}, "more than"),
        ({"Rows": 0}, "no pixels"),
        ({"WindowCenter": list(range(9))}, "more than 8 values"),
        ({"PhotometricInterpretation": "KANARIENVOGEL"}, "cannot be read"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = saved(plain(**fields), tmp_path / CANARY)
    with pytest.raises(InputError, match=says) as caught:
        cleaned(path)
    assert CANARY not in str(caught.value)


def test_what_follows_the_pixels_in_their_element_stays_behind(tmp_path: Path) -> None:
    image = plain(PixelData=np.arange(6, dtype="<u2").tobytes() + CANARY.encode() + b"!")
    data = cleaned(saved(image, tmp_path / "a"))
    assert CANARY.encode() not in data
    assert len(read(data).PixelData) == 12


def test_signed_pixels_keep_their_sign(tmp_path: Path) -> None:
    pixels = np.array([[-2048, -1, 0], [1, 2, 2047]], "<i2")
    path = saved(plain(PixelRepresentation=1, PixelData=pixels.tobytes()), tmp_path / "a")
    np.testing.assert_array_equal(read(cleaned(path)).pixel_array, pixels)


def test_a_deflated_file_is_refused_before_it_is_inflated() -> None:
    with pytest.raises(InputError, match="not read here"):
        cleaned(example("image_dfl.dcm"))


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "JPEGLSNearLossless_16.dcm", "no_meta.dcm", "test-SR.dcm"])
def test_files_that_are_no_images_to_us_are_input_errors(name: str) -> None:
    with pytest.raises(InputError):
        cleaned(example(name))


@given(cut=st.integers(0, 39_000))
@settings(max_examples=40)
def test_a_file_cut_anywhere_is_an_input_error(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = example("CT_small.dcm").read_bytes()
    path = tmp_path_factory.mktemp("dicom") / "a"
    path.write_bytes(whole[: min(cut, len(whole) - 400)])  # its last 138 bytes are padding
    with pytest.raises(InputError):
        cleaned(path)


def test_numbers_are_kept_as_they_are_written(tmp_path: Path) -> None:
    path = saved(plain(PixelSpacing=["0.1000", "1E-1"], SliceThickness="0.30000000000001"), tmp_path / "a")
    image = read(cleaned(path))
    assert [str(v) for v in image.PixelSpacing] == ["0.1000", "1E-1"]
    assert str(image.SliceThickness) == "0.30000000000001"


def test_a_word_that_the_standard_does_not_know_is_left_out(tmp_path: Path) -> None:
    image = read(cleaned(saved(plain(Modality=CANARY, RescaleType=CANARY), tmp_path / "a")))
    assert "Modality" not in image
    assert "RescaleType" not in image


def test_lossy_pixels_say_so(tmp_path: Path) -> None:
    image = pydicom.dcmread(example("SC_rgb_jpeg_dcmtk.dcm"))
    image.BurnedInAnnotation = "NO"
    image.save_as(tmp_path / "a")
    assert read(cleaned(tmp_path / "a")).LossyImageCompression == "01"


def test_a_look_gives_shape_and_bits() -> None:
    assert dicom.look(example("CT_small.dcm")) == ((128, 128), 16)
    assert dicom.look(example("SC_rgb_rle_2frame.dcm")) == ((100, 100, 3), 8)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_made_up_images_can_be_read_and_cleaned(shape: tuple[int, ...], kind: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(kind)
    (tmp_path / "a").write_bytes(dicom.made(pixels, "CT", "mock-1", "2.25.1"))
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "a").pixel_array, pixels)
    np.testing.assert_array_equal(read(cleaned(tmp_path / "a")).pixel_array, pixels)
