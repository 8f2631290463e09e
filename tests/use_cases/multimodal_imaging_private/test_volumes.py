"""Coarse volumes: what is drawn, what is read from files, and what is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from multimodal_imaging_private.errors import InputError
from multimodal_imaging_private.volumes import SHAPE, VOXELS, coarse, names, read_volume, synthetic


def ball(size: int = 48) -> np.ndarray:
    at = np.stack(np.meshgrid(*[np.linspace(-1.3, 1.3, size)] * 3, indexing="ij"))
    return 100.0 * (np.sqrt((at**2).sum(axis=0)) < 1) * (1.5 + at[0])


def saved(tmp_path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    file = tmp_path / "PATIENT-NAME.nii.gz"
    nibabel.Nifti1Image(values.astype(np.float32), np.eye(4) if affine is None else affine).to_filename(file)
    return file


def test_columns_are_in_the_order_of_the_places() -> None:
    assert names() == sorted(names())
    assert len(set(names())) == VOXELS == np.prod(SHAPE)


def test_synthetic_volumes_show_age_and_stay_in_bounds() -> None:
    """Older cores are larger: their middle is darker, by many times its standard error."""
    rng = np.random.default_rng(0)
    age = np.repeat([25.0, 85.0], 200)
    volumes = synthetic(age, np.zeros(400), rng)
    assert volumes.shape == (400, VOXELS)
    assert volumes.min() >= 0
    assert volumes.max() <= 1
    middle = volumes.reshape(-1, *SHAPE)[:, 4:8, 5:9, 4:8].mean(axis=(1, 2, 3))
    assert middle[:200].mean() - middle[200:].mean() > 10 * middle.std() / 200**0.5


def test_brightness_and_margins_of_a_file_make_no_difference() -> None:
    values = ball()
    assert coarse(np.pad(7.5 * values, ((9, 3), (0, 5), (2, 2)))) == pytest.approx(coarse(values), abs=1e-9)


def test_orientation_of_a_file_makes_no_difference(tmp_path: Path) -> None:
    """The same head, stored with its first axis to the left and the others exchanged."""
    values = ball()
    turned = np.transpose(values[::-1], (0, 2, 1))
    affine = np.array([[-1.0, 0, 0, 47], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    found = read_volume(saved(tmp_path, turned, affine))
    assert found == pytest.approx(coarse(values.astype(np.float32).astype(np.float64)), abs=1e-6)
    grid = found.reshape(SHAPE)
    assert grid[8:].mean() > grid[:4].mean()  # brighter to the right


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros((30, 30, 30)), "constant"),
        (np.full((30, 30, 30), np.nan), "no number"),
        (np.ones((30, 30, 8)), "at least 24"),
        (np.ones((30, 30)), "at least 24"),
        (np.pad(np.ones((3, 3, 3)), 20), "next to nothing"),
    ],
    ids=["constant", "nan", "flat", "picture", "speck"],
)
def test_bad_files_are_one_sentence_without_a_name(tmp_path: Path, values: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        read_volume(saved(tmp_path, values))
    assert "PATIENT" not in str(error.value)


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    file = saved(tmp_path, ball())
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(file)
    (tmp_path / "no.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(tmp_path / "no.nii.gz")
