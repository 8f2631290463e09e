"""Stores of images: what a view holds, what it is made of, and what errors say."""

import csv
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise, block_of
from flame_fl.data.kind import open_kind
from flame_fl.data.layout import Layout, Wanted
from flame_fl.data.schema import Picture, StoreSchema
from tests.integration.apps.images.images.make import make_data
from tests.support.rows import rows_of

pydicom, nibabel = pytest.importorskip("pydicom"), pytest.importorskip("nibabel")
Image = pytest.importorskip("PIL.Image")

APP = Path(__file__).parents[3] / "integration" / "apps" / "images"
LAYOUT = Layout("images", "manifest.csv", "patient_id", "image_id")
ALL = Wanted(columns=("*",), modalities=("*",))
DISGUISE = Disguise(bytes(32))
PATIENTS = 6
IDENTIFIERS = (b"PAT0", b"Mustermann", b"ACC", b"19700101", b"1.2.3.", b"MAKER")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the test app, and a NIfTI image of every second patient."""
    folder = tmp_path_factory.mktemp("images") / "store"
    make_data(folder, PATIENTS, 1)
    with (folder / "manifest.csv").open("a") as file:
        for number in range(0, PATIENTS, 2):
            patient = f"PAT{number:05d}"
            image = nibabel.Nifti1Image(np.full((3, 4, 5), number, np.int16), np.eye(4))
            image.header["descrip"] = f"Mustermann {patient}"
            nibabel.save(image, folder / patient / "head.nii.gz")
            file.write(f"{patient},{patient}-MR,{patient}/head.nii.gz,MR,,0\n")
    return folder


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "store"))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder: Path, manifest: list[dict[str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(manifest[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(manifest)


def change(folder: Path, row: int, **fields: str) -> None:
    manifest = rows(folder)
    manifest[row] |= fields
    write_rows(folder, manifest)


def view(folder: Path, into: Path, wanted: Wanted = ALL, disguise: Disguise = DISGUISE, patients: Any = None) -> Path:
    kind = open_kind(folder, LAYOUT)
    found = kind.patients()
    into.mkdir()
    kind.subset(rows_of(found, {p for p in found if p} if patients is None else patients), wanted, disguise, into)
    return into


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pixels(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        return np.asarray(Image.open(path))
    if path.suffix == ".dcm":
        return np.asarray(pydicom.dcmread(path).pixel_array)
    return np.asarray(nibabel.load(path).dataobj)


def test_a_view_has_the_same_pixels_under_pseudonyms(original: Path, tmp_path: Path) -> None:
    made = view(original, tmp_path / "view")
    before, after = rows(original), rows(made)
    assert len(before) == len(after) > 2 * PATIENTS
    for old, new in zip(before, after, strict=True):
        assert new["patient_id"] == DISGUISE.patient(old["patient_id"])
        assert new["image_id"] == DISGUISE.record(old["image_id"])
        ending = old["path"].partition(".")[2]
        assert new["path"] == f"images/{new['image_id']}.{ending}"
        assert (new["modality"], new["laterality"], new["dose"]) == (old["modality"], old["laterality"], old["dose"])
        np.testing.assert_array_equal(pixels(made / new["path"]), pixels(original / old["path"]))
        if new["modality"] == "DX":
            assert pydicom.dcmread(made / new["path"]).PatientID == new["patient_id"]
    assert set(content(made)) == {"manifest.csv", *(row["path"] for row in after)}


def test_no_identifier_is_in_any_byte_of_a_view(original: Path, tmp_path: Path) -> None:
    before = b"".join(original.joinpath(name).read_bytes() for name in content(original))
    assert all(word in before for word in IDENTIFIERS)
    for name, data in content(view(original, tmp_path / "view")).items():
        for word in IDENTIFIERS:
            assert word not in data, (name, word)
            assert word not in name.encode()


def test_only_wanted_columns_and_modalities(original: Path, tmp_path: Path) -> None:
    made = view(original, tmp_path / "view", Wanted(("laterality",), (), ("OP", "MR")))
    assert list(rows(made)[0]) == ["patient_id", "image_id", "path", "modality", "laterality"]
    assert {row["modality"] for row in rows(made)} == {"OP", "MR"}
    assert not list(made.rglob("*.dcm"))


def test_no_modality_is_wanted_unless_it_is_named(original: Path, tmp_path: Path) -> None:
    made = view(original, tmp_path / "view", Wanted(("*",)))
    assert set(content(made)) == {"manifest.csv"}
    assert not rows(made)


def test_a_modality_that_nobody_has_is_no_error(original: Path, tmp_path: Path) -> None:
    """Or the view would tell whether any patient at all has it."""
    assert not rows(view(original, tmp_path / "view", Wanted(("*",), (), ("CT",))))


def test_a_column_that_is_not_there_is_an_error(original: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'weight'"):
        view(original, tmp_path / "view", Wanted(("weight",), (), ("*",)))


def test_without_a_key_names_stay_and_headers_do_not(original: Path, tmp_path: Path) -> None:
    made = view(original, tmp_path / "view", ALL, Disguise())
    assert rows(made) == rows(original)
    assert set(content(made)) == set(content(original))
    assert b"Mustermann" not in b"".join(content(made).values())
    chest = pydicom.dcmread(made / "PAT00000" / "chest.dcm")
    assert (chest.PatientID, chest.StudyInstanceUID) == ("PAT00000", "1.2.3.1.0.2")


def test_without_record_ids_names_come_from_paths(original: Path, tmp_path: Path) -> None:
    kind = open_kind(original, Layout("images", "manifest.csv", "patient_id"))
    kind.subset(np.arange(3), Wanted((), (), ("*",)), DISGUISE, tmp_path)
    for old, new in zip(rows(original), rows(tmp_path), strict=False):
        assert new["path"].startswith(f"images/{DISGUISE.record(old['path'])}.")


def test_a_view_is_the_same_bytes_every_time(original: Path, tmp_path: Path) -> None:
    assert content(view(original, tmp_path / "a")) == content(view(original, tmp_path / "b"))


@settings(max_examples=8)
@given(leaver=st.integers(0, PATIENTS - 1), key=st.binary(min_size=32, max_size=32))
def test_every_other_block_is_the_same_bytes_when_a_patient_leaves(
    original: Path, leaver: int, key: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, patient = tmp_path_factory.mktemp("blocks"), f"PAT{leaver:05d}"
    smaller = Path(shutil.copytree(original, folder / "store"))
    shutil.rmtree(smaller / patient)
    write_rows(smaller, [row for row in rows(smaller) if row["patient_id"] != patient])
    everyone = {row["patient_id"] for row in rows(original)}
    for block in range(3):
        members = {p for p in everyone if block_of(key, p, 3) == block}
        before = content(view(original, folder / f"before-{block}", ALL, Disguise(key, 30), members))
        after = content(view(smaller, folder / f"after-{block}", ALL, Disguise(key, 30), members - {patient}))
        assert (before == after) is (patient not in members)


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_other_manifests(suffix: str, store: Path, tmp_path: Path) -> None:
    table = pv.read_csv(store / "manifest.csv")
    if suffix == "parquet":
        pq.write_table(table, store / "m.parquet", row_group_size=4)
    else:
        pv.write_csv(table, store / "m.tsv", pv.WriteOptions(delimiter="\t"))
    kind = open_kind(store, Layout("images", f"m.{suffix}", "patient_id", "image_id"))
    chosen = np.array([0, 3, 7, len(table) - 1])
    into = tmp_path / "view"
    into.mkdir()
    kind.subset(chosen, ALL, DISGUISE, into)
    made = open_kind(into, kind.layout).records(["image_id", "path"])
    wanted = [DISGUISE.record(table["image_id"][int(i)].as_py()) for i in chosen]
    assert made.column("image_id").to_pylist() == wanted
    assert [Path(p).name.partition(".")[0] for p in made.column("path").to_pylist()] == wanted
    assert kind.snapshot()[-1] == f"m.{suffix}"


def test_an_empty_parquet_manifest_gives_an_empty_view(tmp_path: Path) -> None:
    columns = dict.fromkeys(("patient_id", "image_id", "path", "modality"), pa.array([], pa.string()))
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    kind = open_kind(tmp_path, Layout("images", "m.parquet", "patient_id", "image_id"))
    (tmp_path / "view").mkdir()
    kind.subset(np.array([], np.int64), ALL, DISGUISE, tmp_path / "view")
    assert pq.read_table(tmp_path / "view" / "m.parquet").num_rows == 0


def test_dicom_without_an_ending_is_known_by_its_first_bytes(store: Path, tmp_path: Path) -> None:
    at = next(i for i, row in enumerate(rows(store)) if row["modality"] == "DX")
    (store / rows(store)[at]["path"]).rename(store / "1.2.840.1")
    change(store, at, path="1.2.840.1")
    assert rows(view(store, tmp_path / "view"))[at]["path"].endswith(".dcm")


def test_the_schema_has_a_picture_of_each_modality(original: Path) -> None:
    schema = open_kind(original, LAYOUT).schema()
    assert [c.name for c in schema.columns] == ["patient_id", "image_id", "path", "modality", "laterality", "dose"]
    assert schema.pictures == (
        Picture(modality="DX", format="dicom", shape=(24, 24), bits=16),
        Picture(modality="MR", format="nifti", shape=(3, 4, 5), bits=16),
        Picture(modality="OP", format="png", shape=(24, 24, 3), bits=8),
    )
    assert schema.layout == LAYOUT


def test_the_snapshot_is_the_manifest_and_what_it_names(store: Path) -> None:
    (store / "letter.pdf").write_bytes(b"not listed")
    names = open_kind(store, LAYOUT).snapshot()
    assert names == tuple(sorted({"manifest.csv", *(row["path"] for row in rows(store))}))


def snapshot(folder: Path, tmp_path: Path) -> None:
    open_kind(folder, LAYOUT).snapshot()


def subset(folder: Path, tmp_path: Path) -> None:
    view(folder, tmp_path / "view")


def leads_out(store: Path, row: int) -> None:
    shutil.copy(store / rows(store)[row]["path"], store.parent / "SECRET.png")
    change(store, row, path="../SECRET.png")


def is_absolute(store: Path, row: int) -> None:
    shutil.copy(store / rows(store)[row]["path"], store.parent / "SECRET.png")
    change(store, row, path=str(store.parent / "SECRET.png"))


def is_a_link(store: Path, row: int) -> None:
    (store / "SECRET.png").symlink_to(store / rows(store)[row]["path"])
    change(store, row, path="SECRET.png")


def is_in_a_linked_folder(store: Path, row: int) -> None:
    path = Path(rows(store)[row]["path"])
    (store / "SECRET").symlink_to(store / path.parent)
    change(store, row, path=f"SECRET/{path.name}")


def is_a_folder(store: Path, row: int) -> None:
    (store / "SECRET.png").mkdir()
    change(store, row, path="SECRET.png")


def is_listed_twice(store: Path, row: int) -> None:
    change(store, row, path="./" + rows(store)[row - 1]["path"].replace("/", "//"))


SPOILT: dict[str, Callable[[Path, int], None]] = {
    "leads out": leads_out,
    "absolute": is_absolute,
    "link": is_a_link,
    "linked folder": is_in_a_linked_folder,
    "folder": is_a_folder,
    "twice": is_listed_twice,
    "gone": lambda store, row: change(store, row, path="SECRET.png"),
    "too long": lambda store, row: change(store, row, path="SECRET" * 1000),
    "empty": lambda store, row: change(store, row, path=""),
    "no modality": lambda store, row: change(store, row, modality=""),
    "zero": lambda store, row: change(store, row, path="SECRET\0.png"),
}


@pytest.mark.parametrize("act", [snapshot, subset])
@pytest.mark.parametrize("how", SPOILT)
def test_a_manifest_that_leads_astray_is_refused_by_row(
    how: str, act: Callable[[Path, Path], None], store: Path, tmp_path: Path
) -> None:
    SPOILT[how](store, 2)
    with pytest.raises(InputError, match=r"^Row 3 of \S+manifest\.csv: ") as caught:
        act(store, tmp_path)
    assert "SECRET" not in str(caught.value)
    assert "PAT0" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("modality", ["OP", "DX", "MR"])
@pytest.mark.parametrize("how", ["empty", "cut", "garbage"])
def test_a_spoilt_image_is_refused_by_row(modality: str, how: str, store: Path, tmp_path: Path) -> None:
    at = next(i for i, row in enumerate(rows(store)) if row["modality"] == modality)
    path = store / rows(store)[at]["path"]
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) * 2 // 3], "garbage": b"Mustermann" * 40}[how])
    with pytest.raises(InputError, match=rf"^Row {at + 1} of \S+manifest\.csv: ") as caught:
        subset(store, tmp_path)
    assert not any(word.decode() in str(caught.value) for word in IDENTIFIERS)
    assert "head" not in str(caught.value).replace("header", "")
    assert caught.value.__cause__ is None


def test_an_unknown_format_is_refused(store: Path, tmp_path: Path) -> None:
    (store / "SECRET.jpg").write_bytes(bytes(200))
    change(store, 2, path="SECRET.jpg")
    with pytest.raises(InputError, match="neither PNG, DICOM nor NIfTI") as caught:
        subset(store, tmp_path)
    assert "SECRET" not in str(caught.value)


def test_two_images_of_one_id_are_refused(store: Path, tmp_path: Path) -> None:
    shutil.copy(store / rows(store)[0]["path"], store / "other.png")
    change(store, 2, image_id=rows(store)[0]["image_id"], path="other.png", modality="OP")
    with pytest.raises(InputError, match=r"^Row 3 .* listed twice"):
        subset(store, tmp_path)


@pytest.mark.parametrize("missing", ["path", "modality", "patient_id", "image_id"])
def test_a_manifest_without_a_column_is_refused(missing: str, store: Path, tmp_path: Path) -> None:
    write_rows(store, [{k: v for k, v in row.items() if k != missing} for row in rows(store)])
    for act in (snapshot, subset):
        with pytest.raises(InputError, match=f"'{missing}'"):
            act(store, tmp_path)


def test_a_modality_column_full_of_ids_gives_no_schema(store: Path) -> None:
    first = rows(store)[0]
    write_rows(store, [first | {"modality": f"PAT{n}"} for n in range(200)])
    with pytest.raises(InputError, match="more than 100 values"):
        open_kind(store, LAYOUT).schema()
    write_rows(store, [first | {"modality": "SECRET word"}])
    with pytest.raises(InputError, match=r"^Row 1 ") as caught:
        open_kind(store, LAYOUT).schema()
    assert "SECRET" not in str(caught.value)


PICTURES = (
    Picture(modality="DX", format="dicom", shape=(6, 5), bits=16),
    Picture(modality="XC", format="dicom", shape=(6, 5, 3)),
    Picture(modality="OP", format="png", shape=(4, 3, 3)),
    Picture(modality="OPT", format="png", shape=(4, 3), bits=16),
    Picture(modality="MR", format="nifti", shape=(3, 4, 5), bits=32),
    Picture(modality="fMRI", format="nifti", shape=(3, 4, 5, 2), bits=16),
)
SCHEMA = StoreSchema(
    kind="images", table="manifest.csv", patient_id="patient_id", record_id="image_id", columns=(), pictures=PICTURES
)


def test_mock_images_have_their_schemas_pictures(tmp_path: Path) -> None:
    kind = open_kind(tmp_path, LAYOUT)
    kind.mock(SCHEMA, 60, 1, tmp_path)
    assert set(kind.schema().pictures) == set(PICTURES)
    assert len(kind.snapshot()) == 61
    assert len(rows(view(tmp_path, tmp_path.with_name("view")))) == 60


def test_mock_images_come_from_the_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        open_kind(tmp_path, LAYOUT).mock(SCHEMA, 12, seed, tmp_path / name)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


def test_mock_data_of_a_drafted_schema_can_stand_in_for_the_store(original: Path, tmp_path: Path) -> None:
    schema = open_kind(original, LAYOUT).schema()
    open_kind(tmp_path, LAYOUT).mock(schema, 40, 1, tmp_path)
    assert open_kind(tmp_path, LAYOUT).schema().pictures == schema.pictures
    assert set(rows(tmp_path)[0]) == set(rows(original)[0])


@pytest.mark.parametrize(
    "picture",
    [
        Picture(modality="X", format="png", shape=(4, 3), bits=32),
        Picture(modality="X", format="png", shape=(4, 3, 3), bits=16),
        Picture(modality="X", format="dicom", shape=(4, 3, 7)),
        Picture(modality="X", format="nifti", shape=(60_000, 60_000, 60_000)),
    ],
)
def test_pictures_that_cannot_be_drawn_are_input_errors(picture: Picture, tmp_path: Path) -> None:
    for pictures in ((picture,), ()):
        with pytest.raises(InputError, match="pictures"):
            open_kind(tmp_path, LAYOUT).mock(SCHEMA.model_copy(update={"pictures": pictures}), 3, 1, tmp_path)


def test_the_test_app_answers_from_a_view(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    from tests.integration.apps.images.images import client_app

    terms = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flame"]["data"]["scans"]
    assert (terms["kind"], terms["table"], terms["patient_id"]) == ("images", LAYOUT.table, LAYOUT.patient_id)
    wanted = Wanted(tuple(terms["columns"]), (), ("DX", "OP"))
    made = view(original, tmp_path / "view", wanted)
    sent = ArrayRecord({modality: Array(np.zeros(1)) for modality in client_app.MODALITIES})
    message = Message(RecordDict({"arrays": sent}), dst_node_id=1, message_type="train")
    context = Context(1, 1, {"data-scans": str(made)}, RecordDict(), {})
    content = client_app.app(message, context).content
    assert content["metrics"]["num-examples"] == len(rows(made))
    for modality in client_app.MODALITIES:
        values = [pixels(original / r["path"]).mean() for r in rows(original) if r["modality"] == modality]
        most = 4095 if modality == "DX" else 255
        np.testing.assert_allclose(content.array_records["arrays"][modality].numpy(), [np.mean(values) / most])
