"""Images come to the same grid however they are stored: axes, flips, spacing, format, header."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multimodal_imaging import dicom_files, image_features
from multimodal_imaging.image_checks import Refused
from multimodal_imaging.image_store import Entry, on_grid
from multimodal_imaging.images import Volume, canonical, normalised, picture_to_grid, read_nifti, read_png, to_grid
from PIL import Image

from flame_fl.data.kinds import dicom as gate_dicom
from flame_fl.data.kinds import nifti as gate_nifti
from tests.use_cases.multimodal_imaging import made
from tests.use_cases.multimodal_imaging.dicom_made import series

SMALL = (9, 11, 10)


def placed(shape: tuple[int, ...], voxel: float = made.VOXEL) -> np.ndarray:
    """The affine of a volume whose middle is at 0."""
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -voxel * (np.array(shape) - 1) / 2
    return affine


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same volume with its axes in another order and direction."""
    data, affine = volume.data.transpose(order), volume.affine.copy()
    affine[:, :3] = volume.affine[:, list(order)]
    for axis, flip in enumerate(flips):
        if flip:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(data), affine)


@given(order=st.permutations(range(3)), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_order_and_direction_of_axes_make_no_difference(order, flips):
    volume = Volume(made.head(SMALL).astype(np.float32), placed(SMALL))
    other = stored(volume, tuple(order), flips)

    np.testing.assert_array_equal(canonical(other).data, volume.data)
    np.testing.assert_allclose(canonical(other).affine, volume.affine, atol=1e-12)
    np.testing.assert_array_equal(to_grid(other, made.settings()), to_grid(volume, made.settings()))


def test_left_stays_left():
    """A bright spot at the patient's right (x > 0) is in the grid's upper half, whichever way the file runs."""
    data = np.zeros(made.GRID, dtype=np.float32)
    data[9, 3, 4] = 100
    for flips in ((False,) * 3, (True, False, False), (True, True, True)):
        grid = to_grid(stored(Volume(data, placed(made.GRID)), (0, 1, 2), flips), made.settings())
        assert np.argwhere(grid == 100).tolist() == [[9, 3, 4]]


def test_a_volume_on_the_grid_keeps_its_values(tmp_path):
    file = made.nifti(tmp_path / "a.nii.gz", made.head(), placed(made.GRID))
    np.testing.assert_array_equal(to_grid(read_nifti(file), made.settings()), made.head())


@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_volume_is_averaged_over_the_grid_s_voxels(factor):
    """Exactly, where the grid's voxels are blocks of the volume's."""
    shape = tuple(side * factor for side in made.GRID)
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    parts = [size for side in made.GRID for size in (side, factor)]
    expected = data.astype(np.float64).reshape(parts).mean(axis=(1, 3, 5))
    found = to_grid(Volume(data, placed(shape, made.VOXEL / factor)), made.settings())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_linear_image_stays_linear_between_points_and_through_a_turn():
    """Trilinear interpolation is exact for planes: value = x + 2 y - z in mm, seen through a rotation."""
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine, shape = np.eye(4), (60, 60, 60)
    affine[:3, :3] = turn * 13.0
    affine[:3, 3] = affine[:3, :3] @ (-(np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*[np.arange(side) for side in shape], indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    data = (world @ np.array([1.0, 2.0, -1.0]) + 5000).astype(np.float32)
    found = to_grid(Volume(data, affine), made.settings())
    grid = np.stack(
        np.meshgrid(*[made.VOXEL * (np.arange(s) - (s - 1) / 2) for s in made.GRID], indexing="ij"), axis=-1
    )
    np.testing.assert_allclose(found, grid @ np.array([1.0, 2.0, -1.0]) + 5000, rtol=1e-5)


def test_a_grid_around_each_volume_s_middle_needs_no_common_coordinates():
    volume = Volume(made.head().astype(np.float32), placed(made.GRID))
    moved = Volume(volume.data, volume.affine + np.array([[0, 0, 0, 900.0]] * 3 + [[0] * 4]))
    told = made.settings(align="centre")
    np.testing.assert_allclose(to_grid(moved, told), to_grid(volume, told), atol=1e-3)
    with pytest.raises(Refused, match="misplaced"):
        to_grid(moved, made.settings())


def test_scaling_version_and_byte_order_of_nifti_make_no_difference(tmp_path):
    data, affine = made.head(), placed(made.GRID)
    plain = read_nifti(made.nifti(tmp_path / "a.nii", data, affine)).data
    np.testing.assert_array_equal(plain, data)
    two = nib.Nifti2Image(data, affine)
    nib.save(two, tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "two.nii.gz").data, data)
    big = nib.Nifti1Image(data, affine, header=nib.Nifti1Header(endianness=">"))
    nib.save(big, tmp_path / "big.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "big.nii").data, data)
    scaled = nib.Nifti1Image(data / 7.0 + 3, affine)
    scaled.set_data_dtype(np.int16)
    nib.save(scaled, tmp_path / "scaled.nii.gz")
    np.testing.assert_allclose(read_nifti(tmp_path / "scaled.nii.gz").data, data / 7.0 + 3, atol=1e-3)
    nib.save(nib.Nifti1Image(data[..., None], affine), tmp_path / "four.nii")
    assert read_nifti(tmp_path / "four.nii").data.shape == made.GRID


def test_a_dicom_series_is_the_volume_it_was_cut_from_whatever_the_order_of_its_files(tmp_path):
    data = made.head(SMALL).astype(np.float32)
    spacing = (13.0, 14.0, 15.0)
    files = series(tmp_path, data, spacing)
    mixed = [files[place] for place in np.random.default_rng(0).permutation(len(files))]
    volume = dicom_files.stack([dicom_files.read_slice(file) for file in mixed])
    found = canonical(volume)
    np.testing.assert_array_equal(found.data, data)
    np.testing.assert_allclose(found.affine, np.diag([*spacing, 1.0]), atol=1e-9)


def test_inverted_and_rescaled_dicom_is_read_as_it_is_meant(tmp_path):
    data = made.head(SMALL)
    (plain, *_) = series(tmp_path / "a", data[:, :, 4:5], (1, 1, 1))
    (inverse, *_) = series(tmp_path / "b", data[:, :, 4:5], (1, 1, 1), PhotometricInterpretation="MONOCHROME1")
    (scaled, *_) = series(tmp_path / "c", data[:, :, 4:5], (1, 1, 1), RescaleSlope=2, RescaleIntercept=-1000)
    pixels = dicom_files.read_slice(plain).pixels
    np.testing.assert_array_equal(dicom_files.read_slice(inverse).pixels, pixels.max() + pixels.min() - pixels)
    np.testing.assert_array_equal(dicom_files.read_slice(scaled).pixels, 2 * pixels - 1000)


def test_what_the_gate_s_view_leaves_of_headers_is_enough(tmp_path):
    """Names are gone from the view; the volume on the grid is bit for bit that of the source."""
    told = made.settings()
    source = made.nifti(tmp_path / "a.nii.gz", made.head(), placed(made.GRID), descrip=b"Jane Doe")
    gate_nifti.copy_clean(source, tmp_path / "view.nii.gz")
    one, two = (on_grid(Entry("P", "T1", (file,)), told) for file in (source, tmp_path / "view.nii.gz"))
    np.testing.assert_array_equal(one, two)
    assert b"Jane" not in (tmp_path / "view.nii.gz").read_bytes()

    files = series(tmp_path / "series", made.head(SMALL), (13.0, 14.0, 15.0))
    views = []
    for file in files:
        views.append(file.with_suffix(".view"))
        views[-1].write_bytes(gate_dicom.cleaned(file, "pseudonym", lambda uid: f"2.25.{abs(hash(uid)) % 10**30}"))
        assert b"Doe" not in views[-1].read_bytes()
    around = made.settings(align="centre")
    one, two = (on_grid(Entry("P", "T1", tuple(found)), around) for found in (files, views))
    np.testing.assert_array_equal(one, two)


def test_a_picture_is_brought_to_the_grid_in_proportion(tmp_path):
    """Twice as wide as high: the middle half of the rows shows it, the rest is 0."""
    ramp = np.tile(np.linspace(10, 250, 128), (64, 1))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "a.png")
    picture, bits = read_png(tmp_path / "a.png")
    assert (picture.shape, bits) == ((64, 128), 8)
    grid = picture_to_grid(picture, made.settings(grid_2d="32x32"))
    assert (grid[:7] == 0).all()
    assert (grid[25:] == 0).all()
    np.testing.assert_allclose(grid[10], np.round(ramp[0]).reshape(32, 4).mean(axis=1), atol=1)


def test_pictures_of_16_bits_grey_in_colours_and_in_real_colours(tmp_path):
    grey = (np.arange(64 * 64).reshape(64, 64) * 13 % 65536).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    picture, bits = read_png(tmp_path / "deep.png")
    np.testing.assert_array_equal(picture, grey)
    assert bits == 16
    flat = (grey // 256).astype(np.uint8)
    Image.fromarray(np.stack([flat] * 3, axis=-1)).save(tmp_path / "same.png")
    np.testing.assert_array_equal(read_png(tmp_path / "same.png")[0], flat)
    Image.fromarray(np.stack([flat, flat, 255 - flat], axis=-1)).save(tmp_path / "colour.png")
    with pytest.raises(Refused, match="colour"):
        read_png(tmp_path / "colour.png")


@given(gain=st.floats(0.01, 100))
def test_normalised_values_do_not_depend_on_a_gain(gain):
    values = made.head().astype(np.float32)
    for how in ("percentile", "zscore"):
        np.testing.assert_allclose(normalised(values * np.float32(gain), how), normalised(values, how), atol=2e-4)


def test_normalising_nothing_gives_nothing():
    for how in ("percentile", "zscore", "none"):
        assert not normalised(np.zeros((4, 4), np.float32), how).any()


def test_features_are_means_and_deviations_of_boxes():
    told = made.settings(regions="3x2x4")
    values = np.random.default_rng(1).random(made.GRID).astype(np.float32)
    names, found = image_features.names(told, "T1"), image_features.features(values, told, "T1")
    assert len(names) == len(found) == 2 * 24 + 3
    box = values[4:8, 7:14, 9:12].astype(np.float64)
    np.testing.assert_allclose(found[names.index("mean[1,1,3]")], box.mean(), rtol=1e-12)
    np.testing.assert_allclose(found[names.index("sd[1,1,3]")], box.std(), rtol=1e-9)
    inside = values[values > 0.1]
    shares = [(inside < 0.45).mean(), ((inside >= 0.45) & (inside < 0.75)).mean(), (inside >= 0.75).mean()]
    np.testing.assert_allclose(found[-3:], shares)
