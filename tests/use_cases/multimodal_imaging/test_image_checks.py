"""Each thing that may be wrong with an image is found, for its own reason, and nothing else is."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from multimodal_imaging import dicom_files
from multimodal_imaging.image_checks import REASONS, Refused, check_picture, check_volume, text_in_border
from multimodal_imaging.image_store import Entry, entries_of, read_picture, read_volume
from multimodal_imaging.images import Volume, canonical, read_nifti
from PIL import Image, ImageDraw

from tests.use_cases.multimodal_imaging import made
from tests.use_cases.multimodal_imaging.dicom_made import series


def reason(call, *arguments):
    """Why it is refused, one of the known reasons; "" if it is not."""
    try:
        call(*arguments)
    except Refused as refused:
        return refused.reason if refused.reason in REASONS else f"unknown: {refused.reason}"
    return ""


def volume(data, spacing=made.VOXEL):
    return Volume(np.asarray(data, dtype=np.float32), np.diag([*np.broadcast_to(spacing, 3), 1.0]))


def test_a_good_volume_passes():
    assert reason(check_volume, volume(made.head())) == ""


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (np.full(made.GRID, 7.0), "constant"),
        (np.where(made.head() > 190, np.nan, made.head()), "not-finite"),
        (np.where(made.head() > 190, np.inf, made.head()), "not-finite"),
        (made.head()[:5], "dimensions"),
        (made.head() // 40, "depth"),
        (np.broadcast_to(np.arange(40.0)[:, None, None], (40, 9, 9)), "empty-slices"),
    ],
)
def test_values_that_make_no_image(wrong, why):
    assert reason(check_volume, volume(wrong)) == why


def test_slices_that_were_lost_in_the_middle():
    data = made.head((20, 20, 20))
    assert reason(check_volume, volume(data)) == ""
    data[:, :, 6:12] = 0
    assert reason(check_volume, volume(data)) == "empty-slices"


@pytest.mark.parametrize(
    ("spacing", "why"),
    [((1, 1, 1), ""), ((0.4, 0.4, 3.0), ""), ((0.001,) * 3, "spacing"), ((1, 1, 9), "spacing"), (40, "spacing")],
)
def test_spacing(spacing, why):
    assert reason(check_volume, volume(made.head(), spacing)) == why


def test_files_that_are_cut_short_or_damaged(tmp_path):
    good = made.nifti(tmp_path / "a.nii.gz", made.head()).read_bytes()
    assert reason(read_nifti, tmp_path / "a.nii.gz") == ""
    raw = gzip.decompress(good)
    spoilt = bytearray(good)
    spoilt[-6] ^= 1  # the checksum
    damages = {
        "cut.nii.gz": good[: len(good) // 2],
        "sum.nii.gz": bytes(spoilt),
        "short.nii": raw[:-100],
        "empty.nii": b"",
        "text.nii": b"not an image at all" * 40,
    }
    for name, content in damages.items():
        (tmp_path / name).write_bytes(content)
        assert reason(read_nifti, tmp_path / name) == "unreadable", name
    assert reason(read_nifti, tmp_path / "absent.nii") == "unreadable"


def test_headers_that_do_not_say_where_the_volume_lies(tmp_path):
    file = made.nifti(tmp_path / "a.nii.gz", made.head(), qform_code=0, sform_code=0)
    image = nib.load(file)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), tmp_path / "nowhere.nii.gz")
    assert reason(read_nifti, tmp_path / "nowhere.nii.gz") == "orientation"
    assert reason(canonical, Volume(made.head().astype(np.float32), np.zeros((4, 4)))) == "orientation"


def test_two_forms_that_disagree_about_left_and_right(tmp_path):
    affine = np.diag([2.0, 2, 2, 1])
    image = nib.Nifti1Image(made.head(), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "same.nii")
    assert reason(read_nifti, tmp_path / "same.nii") == ""
    image.set_sform(np.diag([-2.0, 2, 2, 1]), 1)
    nib.save(image, tmp_path / "flip.nii")
    assert reason(read_nifti, tmp_path / "flip.nii") == "flip"


def test_several_volumes_and_colours_are_no_volume(tmp_path):
    data = np.stack([made.head(), made.head()], axis=-1)
    assert reason(read_nifti, made.nifti(tmp_path / "four.nii", data)) == "dimensions"
    assert reason(read_nifti, made.nifti(tmp_path / "flat.nii", made.head()[:, :, 5])) == "dimensions"
    colours = np.zeros(made.GRID, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert reason(read_nifti, made.nifti(tmp_path / "colour.nii", colours)) == "colour"
    assert reason(read_nifti, made.nifti(tmp_path / "complex.nii", made.head().astype(np.complex64))) == "colour"


def test_series_with_a_slice_missing_twice_or_of_another_kind(tmp_path):
    files = series(tmp_path / "a", made.head((9, 11, 10)), (2, 2, 2))
    slices = [dicom_files.read_slice(file) for file in files]
    assert reason(dicom_files.stack, slices) == ""
    assert reason(dicom_files.stack, slices[:4] + slices[5:]) == "series"
    assert reason(dicom_files.stack, [*slices, slices[3]]) == "series"
    assert reason(dicom_files.stack, slices[:1]) == "series"
    other = series(tmp_path / "b", made.head((9, 12, 10)), (2, 2, 2))
    assert reason(dicom_files.stack, [*slices[:-1], dicom_files.read_slice(other[-1])]) == "series"
    turned = series(tmp_path / "c", made.head((9, 11, 10)), (2, 2, 2), ImageOrientationPatient=[0, 1, 0, 1, 0, 0])
    assert reason(dicom_files.stack, [*slices[:-1], dicom_files.read_slice(turned[-1])]) == "series"
    lost = series(tmp_path / "d", made.head((9, 11, 10)), (2, 2, 2), PixelSpacing=None)
    assert reason(dicom_files.stack, [dicom_files.read_slice(file) for file in lost]) == "orientation"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, ""),
        ({"BurnedInAnnotation": "YES"}, "burnt-in"),
        ({"BurnedInAnnotation": "NO"}, ""),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "burnt-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, "burnt-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, ""),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "format"),
        ({"NumberOfFrames": 3}, "dimensions"),
        ({"PhotometricInterpretation": "RGB"}, "colour"),
        ({"PixelData": b"\0" * 10}, "unreadable"),
    ],
)
def test_dicom_files_that_say_they_show_text_or_are_no_picture(tmp_path, fields, why):
    file = series(tmp_path, made.head((9, 11, 10)), (2, 2, 2), **fields)[5]
    assert reason(dicom_files.read_slice, file) == why


def film(text: str, size: int = 256) -> np.ndarray:
    """A made-up radiograph, noisy and smooth, with this text in its upper border."""
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    shown = 30 + 170 * np.exp(-(across**2 + down**2) / 0.4) + np.random.default_rng(0).normal(0, 6, (size, size))
    image = Image.fromarray(np.clip(shown, 0, 240).astype(np.uint8))
    ImageDraw.Draw(image).text((6, 4), text, fill=255)
    return np.asarray(image).astype(np.float32)


def test_text_at_the_border_is_found_and_a_picture_without_passes():
    """A heuristic: shown on text as devices burn it in, and on pictures that have none."""
    assert text_in_border(film("DOE JANE 01.02.1960 HOSPITAL X"))
    assert text_in_border(np.flipud(film("NAME DOE JANE  ID 123456789", 512)))
    assert not text_in_border(film(""))
    assert not text_in_border(film("L"))  # a marker of the side is no identifier
    assert not text_in_border(np.random.default_rng(0).normal(100, 20, (256, 256)).astype(np.float32))
    stripes = np.tile(np.where(np.arange(256) // 64 % 2, 200.0, 20.0), (256, 1)).astype(np.float32)
    assert not text_in_border(stripes)
    assert not text_in_border(np.tile(np.where(np.arange(256) // 4 % 2, 200.0, 20.0), (256, 1)).astype(np.float32))
    assert reason(check_picture, film("DOE JANE 01.02.1960 HOSPITAL X")) == "burnt-in"


def test_a_folder_s_images_link_to_patients_or_are_counted(tmp_path):
    for name in ("a", "b", "c", "d"):
        made.nifti(tmp_path / f"{name}.nii.gz", made.head())
    slices = series(tmp_path / "s", made.head((9, 11, 10)), (2, 2, 2))
    rows = [("P1", "T1", "a.nii.gz"), ("P2", "T1", "b.nii.gz"), ("P2", "T1", "c.nii.gz"), ("P9", "T1", "d.nii.gz")]
    rows += [("P3", "T1", "a.nii.gz"), ("P4", "T1", "../outside.nii.gz"), ("P5", "T1", "absent.nii.gz")]
    rows += [("P6", "T1", f"s/{file.name}") for file in slices]
    (tmp_path.parent / "outside.nii.gz").write_bytes(b"x")

    entries, problems = entries_of(tmp_path, rows, ["P1", "P2", "P3", "P4", "P5", "P6"])

    assert {entry.patient: len(entry.files) for entry in entries} == {"P1": 1, "P6": 10}
    assert problems == {"repeated": 2, "unknown": 1, "unreadable": 2}


def test_formats_that_are_not_known(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png")
    volume_file = made.nifti(tmp_path / "a.nii", made.head())
    assert reason(read_volume, Entry("P", "T1", (tmp_path / "a.jpg",))) == "format"
    assert reason(read_volume, Entry("P", "T1", (tmp_path / "a.png",))) == "dimensions"
    assert reason(read_picture, Entry("P", "X", (volume_file,))) == "dimensions"
    assert reason(read_picture, Entry("P", "X", (tmp_path / "a.jpg",))) == "format"
