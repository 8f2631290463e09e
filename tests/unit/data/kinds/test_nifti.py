"""NIfTI: voxels bit for bit, and a header that says where they are and nothing else."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.kinds import nifti

nibabel = pytest.importorskip("nibabel")
CANARY = b"KANARI"  # as long as the shortest field that could hold a name
EXAMPLES = ("example4d.nii.gz", "standard.nii.gz", "example_nifti2.nii.gz", "anatomical.nii", "functional.nii")
TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


def example(name: str) -> Path:
    """A file that nibabel brings along."""
    return Path(nibabel.__file__).parent / "tests" / "data" / name


def copied(source: Path, to: Path) -> Path:
    nifti.copy_clean(source, to)
    return to


def raw(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def talkative(kind: Any = None, dtype: Any = np.int16, shape: tuple[int, ...] = (3, 4, 5)) -> Any:
    """An image that says something wherever it can."""
    voxels = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    image = (kind or nibabel.Nifti1Image)(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    for name in TEXTS:
        if name in image.header:
            image.header[name] = CANARY
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY * 5))
    return image


@pytest.mark.parametrize("name", EXAMPLES)
def test_voxels_scaling_and_place_are_the_same(name: str, tmp_path: Path) -> None:
    suffix = ".nii.gz" if name.endswith(".gz") else ".nii"
    before, after = nibabel.load(example(name)), nibabel.load(copied(example(name), tmp_path / f"a{suffix}"))
    assert type(after) is type(before)
    assert after.get_data_dtype() == before.get_data_dtype()
    assert after.header.endianness == before.header.endianness
    np.testing.assert_array_equal(after.dataobj.get_unscaled(), before.dataobj.get_unscaled())
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    assert (after.dataobj.slope, after.dataobj.inter) == (before.dataobj.slope, before.dataobj.inter)
    assert nifti.look(example(name))[0] == before.shape


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_texts_and_extensions_stay_behind(kind: Any, suffix: str, tmp_path: Path) -> None:
    source = tmp_path / f"source{suffix}"
    nibabel.save(talkative(kind), source)
    assert CANARY in raw(source)
    after = nibabel.load(copied(source, tmp_path / f"a{suffix}"))
    assert CANARY not in raw(tmp_path / f"a{suffix}")
    assert not after.header.extensions
    assert all(not after.header[name].item() for name in TEXTS if name in after.header)
    np.testing.assert_array_equal(after.get_fdata(), talkative(kind).get_fdata())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (3, 4, 5, 2)])
def test_every_type_and_rank(dtype: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    nibabel.save(talkative(dtype=dtype, shape=shape), tmp_path / "a.nii")
    after = nibabel.load(copied(tmp_path / "a.nii", tmp_path / "b.nii"))
    before = nibabel.load(tmp_path / "a.nii")
    assert after.shape == shape
    assert after.dataobj.get_unscaled().tobytes() == before.dataobj.get_unscaled().tobytes()


def test_big_endian_stays_big_endian(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(
        nibabel.Nifti1Image(np.arange(24, dtype=">i2").reshape(2, 3, 4), np.eye(4), header), tmp_path / "a.nii"
    )
    after = nibabel.load(copied(tmp_path / "a.nii", tmp_path / "b.nii"))
    assert after.header.endianness == ">"
    np.testing.assert_array_equal(after.get_fdata(), np.arange(24).reshape(2, 3, 4))


def test_the_gzip_header_says_nothing_and_is_the_same_every_time(tmp_path: Path) -> None:
    with (tmp_path / "a.nii.gz").open("wb") as file, gzip.GzipFile("MUSTERMANN.nii", "wb", 9, file, 1e9) as packed:
        packed.write(talkative().to_bytes())
    assert b"MUSTERMANN" in (tmp_path / "a.nii.gz").read_bytes()
    first = copied(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz").read_bytes()
    assert first[3] == 0  # no name, no comment, no extra field
    assert first[4:8] == bytes(4)
    assert copied(tmp_path / "a.nii.gz", tmp_path / "c.nii.gz").read_bytes() == first


@settings(max_examples=100)
@given(data=st.data())
def test_a_header_with_anything_anywhere_comes_out_with_the_listed_fields_only(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every byte that is not on the list is the same whatever it was before."""
    folder = tmp_path_factory.mktemp("nifti")
    plain = np.frombuffer(talkative().to_bytes(), np.uint8).copy()
    header = plain[:348].view(nibabel.nifti1.header_dtype)[0]
    placed = [*nifti._PLACED, *(name for names in nifti._PLACED.values() for name in names)]
    kept = {*nifti._KEPT, *placed, "sizeof_hdr", "vox_offset", "magic"}
    (folder / "a.nii").write_bytes(plain.tobytes())
    for name in set(header.dtype.names) - kept:
        size = header.dtype[name].itemsize
        header[name] = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), header.dtype[name])[0]
    header["dim"][4:], header["pixdim"][4:] = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 9))
    (folder / "b.nii").write_bytes(plain.tobytes() + data.draw(st.binary(max_size=50)))
    copied(folder / "a.nii", folder / "c.nii")
    copied(folder / "b.nii", folder / "d.nii")
    assert (folder / "c.nii").read_bytes() == (folder / "d.nii").read_bytes()


def test_a_place_that_no_code_stands_for_is_not_copied(tmp_path: Path) -> None:
    image = talkative()
    image.header["qform_code"], image.header["sform_code"] = 0, 1
    data = np.frombuffer(image.to_bytes(), np.uint8).copy()
    header = data[:348].view(nibabel.nifti1.header_dtype)[0]
    header["qform_code"], header["quatern_b"], header["srow_x"] = 0, 0.25, (2, 0, 0, 7)
    (tmp_path / "a.nii").write_bytes(data.tobytes())
    after = nibabel.load(copied(tmp_path / "a.nii", tmp_path / "b.nii")).header
    assert after["quatern_b"] == 0
    assert after["srow_x"].tolist() == [2, 0, 0, 7]


@given(cut=st.integers(0, 100_000), packed=st.booleans())
def test_a_file_cut_anywhere_is_an_input_error(
    cut: int, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nifti")
    whole = talkative().to_bytes()
    whole = gzip.compress(whole) if packed else whole
    (folder / "KANARI.nii").write_bytes(whole[: cut % len(whole)])
    with pytest.raises(InputError) as caught:
        copied(folder / "KANARI.nii", folder / "b.nii")
    assert "KANARI" not in str(caught.value)


def test_a_gzip_checksum_that_does_not_hold_is_an_input_error(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(talkative().to_bytes()))
    data[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        copied(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("sizeof_hdr", 349, "does not begin"),
        ("magic", b"ni1", "another file"),
        ("dim", [0, 1, 1, 1, 1, 1, 1, 1], "no sense"),
        ("dim", [3, 3, -4, 5, 1, 1, 1, 1], "no sense"),
        ("dim", [7] + [32767] * 7, "too large"),
        ("bitpix", 8, "no sense"),
        ("datatype", 1, "no sense"),
        ("datatype", 77, "no sense"),
        ("vox_offset", 0, "no sense"),
        ("vox_offset", float("nan"), "no sense"),
        ("vox_offset", 352.5, "no sense"),
        ("vox_offset", 1e30, "too large"),
    ],
)
def test_what_is_refused(field: str, value: Any, says: str, tmp_path: Path) -> None:
    data = np.frombuffer(talkative().to_bytes(), np.uint8).copy()
    data[:348].view(nibabel.nifti1.header_dtype)[0][field] = value
    (tmp_path / "a.nii").write_bytes(data.tobytes())
    with pytest.raises(InputError, match=says):
        copied(tmp_path / "a.nii", tmp_path / "b.nii")


def test_what_follows_the_voxels_stays_behind_or_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(talkative().to_bytes() + CANARY)
    assert CANARY not in copied(tmp_path / "a.nii", tmp_path / "b.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(talkative().to_bytes() + bytes(1 << 20))
    with pytest.raises(InputError, match="followed"):
        copied(tmp_path / "a.nii", tmp_path / "c.nii")


def test_made_up_images(tmp_path: Path) -> None:
    voxels = np.random.default_rng(1).random((3, 4, 5), np.float32)
    nifti.write_made(voxels, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nibabel.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32), voxels)
    assert nifti.look(tmp_path / "a.nii.gz") == ((3, 4, 5), 32)
