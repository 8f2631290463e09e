"""AnnData stores: views that anndata opens, that hold nothing else, and that do not know of other patients."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata  # type: ignore[import-untyped]
import h5py  # type: ignore[import-untyped]
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
import zarr.codecs
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.kinds import annotated_open
from flame_fl.data.kinds.annotated import AnnDataKind
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.schema import Column, Features, StoreSchema
from tests.support.rows import rows_of

pytestmark = pytest.mark.filterwarnings("ignore")  # anndata's own, of pandas and zarr versions
NAMES = ("store.h5ad", "store.v2.zarr", "store.v3.zarr")
MATRICES: dict[str, Callable[[Any], Any]] = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}
STORES = [*((NAMES[0], matrix) for matrix in MATRICES), (NAMES[1], "csr"), (NAMES[1], "dense"), (NAMES[2], "csc")]
PLAIN, SECRET = Disguise(), Disguise(b"k" * 32, 30)
CANARY = b"CANARY"


def layout(name: str, record: str | None = "sample", patient: str = "patient") -> Layout:
    return Layout("anndata", name, patient, record)


def values(rows: int, columns: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 99, (rows, columns)) * (rng.random((rows, columns)) < 0.4)).astype(np.float32)


def cohort(patients: list[int], *, matrix: str = "dense", columns: int = 7) -> anndata.AnnData:
    """Records of these patients, each with what is to be seen, and with canaries in what is not."""
    n = len(patients)
    own = [np.random.default_rng(1000 * p + patients[:i].count(p)) for i, p in enumerate(patients)]  # by record
    with pd.option_context("future.infer_string", False):
        obs = pd.DataFrame(
            {
                "patient": [f"pat-{p}" for p in patients],
                "sample": [f"pat-{p}-{patients[:i].count(p)}" for i, p in enumerate(patients)],
                "age": [int(r.integers(18, 90)) for r in own],
                "site": pd.Categorical([f"site-{p}" for p in patients]),
                "stage": pd.Categorical([("I", "II", None)[p % 3] for p in patients]),
                "seen": [f"2020-01-{1 + p % 28:02}" for p in patients],
                "score": pd.array([None if p % 2 else p for p in patients], "Int64"),
                "smoker": pd.array([None if p % 3 == 0 else bool(p % 2) for p in patients], "boolean"),
                "weight": [np.nan if p % 4 == 0 else p + 0.5 for p in patients],
                "secret": [f"CANARY-{p}" for p in patients],
            },
            index=[f"CANARY-index-{i}" for i in range(n)],
        )
        cells = np.stack([(r.integers(1, 99, columns) * (r.random(columns) < 0.4)).astype(np.float32) for r in own])
        names = [f"g{i}" for i in range(columns - 1)] + ["CANARY-gene"]
        var = pd.DataFrame({"note": [f"CANARY-{i}" for i in range(columns)]}, index=names)
        made = anndata.AnnData(MATRICES[matrix](cells), obs=obs, var=var, uns={"CANARY": "CANARY"})
        made.obsm["CANARY"] = cells
        made.layers["CANARY"] = made.X
        return made


def put(adata: anndata.AnnData, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pd.option_context("future.infer_string", False):
        if path.suffix == ".h5ad":
            adata.write_h5ad(path)
            return
        before = anndata.settings.zarr_write_format
        anndata.settings.zarr_write_format = 2 if ".v2" in path.name else 3
        try:
            adata.write_zarr(path)
        finally:
            anndata.settings.zarr_write_format = before


def get(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.io.read_zarr(path)


def dense(adata: anndata.AnnData) -> Any:
    return np.array(adata[:, :].to_df())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def view(folder: Path, lay: Layout, rows: Any, wanted: Wanted, disguise: Disguise, into: Path) -> Path:
    into.mkdir(parents=True)
    AnnDataKind(folder, lay).subset(np.asarray(rows, np.int64), wanted, disguise, into)
    return into / lay.table


@pytest.mark.parametrize(("name", "matrix"), STORES)
def test_anndata_opens_a_view_with_the_same_cells(tmp_path: Path, name: str, matrix: str) -> None:
    source = cohort([1, 2, 3, 1, 4, 2, 6], matrix=matrix)
    put(source, tmp_path / "in" / name)
    wanted = Wanted(("age", "site", "stage", "seen", "score", "smoker", "weight"), ("g4", "g1"))
    made = get(view(tmp_path / "in", layout(name), [0, 3, 5, 6], wanted, PLAIN, tmp_path / "out"))
    expected = source[[0, 3, 5, 6], ["g1", "g4"]]
    assert list(made.var_names) == ["g1", "g4"]
    assert list(made.obs_names) == ["pat-1-0", "pat-1-1", "pat-2-1", "pat-6-0"]
    assert list(made.obs.columns) == ["patient", "sample", *wanted.columns]
    for column in made.obs.columns:
        got, had = made.obs[column].astype(object), expected.obs[column].astype(object)
        assert [None if pd.isna(v) else v for v in got] == [None if pd.isna(v) else v for v in had], column
    assert made.X.dtype == np.float32
    assert {"dense": np.ndarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}[matrix] is type(made.X)
    np.testing.assert_array_equal(dense(made), dense(expected))
    if matrix != "dense":  # scipy computes with it
        cells: Any = made.X
        np.testing.assert_array_equal((cells.T @ cells).todense(), dense(expected).T @ dense(expected))


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_a_store_of_the_same_layout(tmp_path: Path, name: str) -> None:
    put(cohort([1, 2, 1, 3]), tmp_path / "in" / name)
    view(tmp_path / "in", layout(name), [1, 2], Wanted(ALL, ALL), SECRET, tmp_path / "out")
    store = open_kind(tmp_path / "out", layout(name))
    assert store.patients() == [SECRET.patient("pat-2"), SECRET.patient("pat-1")]
    assert store.records(["sample"]).column(0).to_pylist() == [SECRET.record("pat-2-0"), SECRET.record("pat-1-1")]
    assert store.schema() == open_kind(tmp_path / "in", layout(name)).schema()


def test_dates_move_with_the_patient(tmp_path: Path) -> None:
    put(cohort([3, 5, 3]), tmp_path / "in" / "store.h5ad")
    made = get(view(tmp_path / "in", layout("store.h5ad"), [0, 1, 2], Wanted(("seen",)), SECRET, tmp_path / "out"))
    moved = pd.to_datetime(made.obs["seen"]) - pd.to_datetime(["2020-01-04", "2020-01-06", "2020-01-04"])
    assert moved.dt.days.tolist() == [SECRET.days(p) for p in ("pat-3", "pat-5", "pat-3")]


@pytest.mark.parametrize(("name", "matrix"), STORES)
def test_nothing_unapproved_is_in_the_bytes(tmp_path: Path, name: str, matrix: str) -> None:
    put(cohort([1, 2, 3, 4], matrix=matrix), tmp_path / "in" / name)
    whole = b"".join(contents(tmp_path / "in").values()) + "".join(contents(tmp_path / "in")).encode()
    assert CANARY in whole
    wanted = Wanted(("age", "site", "stage"), ("g0", "g1"))
    view(tmp_path / "in", layout(name), [1], wanted, SECRET, tmp_path / "out")
    left = b"".join(contents(tmp_path / "out").values()) + "".join(contents(tmp_path / "out")).encode()
    assert b"site-2" in left
    for gone in (CANARY, b"pat-", b"site-1", b"site-3", b"site-4", b"secret", b"weight", b"g2", b"note", b"uns"):
        assert gone not in left, gone


def test_values_under_a_mask_stay(tmp_path: Path) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.h5ad")
    with h5py.File(tmp_path / "in" / "store.h5ad", "a") as file:
        assert file["obs/score/mask"][0]
        file["obs/score/values"][0] = 7777
    path = view(tmp_path / "in", layout("store.h5ad"), [0, 1], Wanted(("score",)), SECRET, tmp_path / "out")
    with h5py.File(path) as file:
        assert file["obs/score/values"][:].tolist() == [0, 2]


@settings(max_examples=15)
@given(data=st.data())
def test_a_view_does_not_know_who_else_was_there(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Decision 33: one patient is removed from the cohort, and every other block's view is the same bytes."""
    some = st.lists(st.integers(1, 6), min_size=2, max_size=12).filter(lambda p: len(set(p)) > 1)
    patients = data.draw(some, label="patients")
    gone = data.draw(st.sampled_from(patients), label="gone")
    name = data.draw(st.sampled_from((*NAMES[:1] * 4, *NAMES)), label="name")  # zarr's are slow
    matrix = data.draw(st.sampled_from(sorted(MATRICES)), label="matrix")
    record = data.draw(st.sampled_from(["sample", None]), label="record_id")
    block = {f"pat-{p}" for p in data.draw(st.sets(st.sampled_from(patients)), label="block") - {gone}}
    folder = tmp_path_factory.mktemp("cohort")
    put(cohort(patients, matrix=matrix), folder / "all" / name)
    put(cohort([p for p in patients if p != gone], matrix=matrix), folder / "rest" / name)
    views = []
    wanted = Wanted(("age", "site", "stage", "seen", "score", "smoker", "weight"), ("g0", "g2", "g5"))
    for cells, which in ((1 << 20, "all"), (50, "rest")):  # however it is read
        with pytest.MonkeyPatch.context() as patch:
            if which == "rest" and matrix != "dense":  # for dense ones this constant is also the chunks'
                patch.setattr(annotated_open, "CELLS", cells)
            rows = rows_of(AnnDataKind(folder / which, layout(name, record)).patients(), block)
            view(folder / which, layout(name, record), rows, wanted, SECRET, folder / f"view-{which}")
        views.append(contents(folder / f"view-{which}"))
    assert len(rows) == sum(f"pat-{p}" in block for p in patients)
    assert views[0] == views[1]


def test_a_view_does_not_tell_the_time(tmp_path: Path) -> None:
    for name in NAMES:
        put(cohort([1, 2, 3], matrix="csr"), tmp_path / "in" / name)
    for when in ("before", "after"):
        for name in NAMES:
            view(tmp_path / "in", layout(name), [0, 2], Wanted(ALL, ALL), SECRET, tmp_path / when / name)
        time.sleep(1.1 if when == "before" else 0)
    assert contents(tmp_path / "before") == contents(tmp_path / "after")


@pytest.mark.parametrize("chosen", [([], ALL), ([0, 2], ()), ([], ())])
@pytest.mark.parametrize(("name", "matrix"), [(NAMES[0], "csr"), (NAMES[1], "dense"), (NAMES[2], "csc")])
def test_empty_views_open(tmp_path: Path, name: str, matrix: str, chosen: Any) -> None:
    put(cohort([1, 2, 3], matrix=matrix), tmp_path / "in" / name)
    rows, features = chosen
    made = get(view(tmp_path / "in", layout(name), rows, Wanted(ALL, features), SECRET, tmp_path / "out"))
    assert made.shape == (len(rows), 7 if features == ALL else 0)


def test_the_index_can_hold_the_ids(tmp_path: Path) -> None:
    adata = cohort([1, 2, 1])
    adata.obs.index = pd.Index(adata.obs.pop("sample").astype(object), name="sample")
    put(adata, tmp_path / "in" / "store.h5ad")
    lay = layout("store.h5ad")
    assert [c.name for c in AnnDataKind(tmp_path / "in", lay).schema().columns][:2] == ["sample", "patient"]
    made = get(view(tmp_path / "in", lay, [0, 2], Wanted(), SECRET, tmp_path / "out"))
    words = [SECRET.record("pat-1-0"), SECRET.record("pat-1-1")]
    assert list(made.obs_names) == words == list(made.obs["sample"])
    assert AnnDataKind(tmp_path / "out", lay).patients() == [SECRET.patient("pat-1")] * 2


def test_the_nameless_index_can_be_the_patient(tmp_path: Path) -> None:
    adata = cohort([1, 2, 3])
    adata.obs.index = pd.Index(adata.obs.pop("patient").to_list(), dtype=object)
    put(adata, tmp_path / "in" / "store.h5ad")
    lay = layout("store.h5ad", patient="_index")
    made = get(view(tmp_path / "in", lay, [0, 2], Wanted(), SECRET, tmp_path / "out"))
    assert list(made.obs_names) == [SECRET.patient("pat-1"), SECRET.patient("pat-3")]
    assert list(made.obs.columns) == ["sample"]


def test_an_index_that_means_nothing_is_never_seen(tmp_path: Path) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.h5ad")
    lay = layout("store.h5ad", None)
    path = view(tmp_path / "in", lay, [1, 2], Wanted(("age",), ("g0",)), PLAIN, tmp_path / "out")
    assert list(get(path).obs_names) == ["0", "1"]
    assert CANARY not in path.read_bytes()
    with pytest.raises(InputError, match="no column '_index'"):
        view(tmp_path / "in", lay, [1], Wanted(("_index",)), PLAIN, tmp_path / "no")
    assert AnnDataKind(tmp_path / "in", lay).records(["_index"]).num_rows == 3


def test_schema_and_patients(tmp_path: Path) -> None:
    adata = cohort([1, 2, 1])
    adata.obs["patient"] = adata.obs["patient"].astype(object)
    adata.obs.iloc[1, 0] = ""
    put(adata, tmp_path / "store.h5ad")
    store = AnnDataKind(tmp_path, layout("store.h5ad"))
    assert store.patients() == ["pat-1", None, "pat-1"]
    schema = store.schema()
    assert {c.name: c.type for c in schema.columns} == {
        "patient": "string", "sample": "string", "age": "int", "site": "string", "stage": "string", "seen": "string",
        "score": "int", "smoker": "bool", "weight": "float", "secret": "string",
    }  # fmt: skip
    assert (schema.features[0].file, schema.features[0].names[:2], schema.features[0].type) == (
        "store.h5ad", ("g0", "g1"), "float",
    )  # fmt: skip
    assert store.snapshot() == ("store.h5ad",)


def test_a_snapshot_of_zarr_is_all_its_files(tmp_path: Path) -> None:
    put(cohort([1, 2]), tmp_path / "deep" / "store.v3.zarr")
    (tmp_path / "other.txt").write_text("x")
    names = AnnDataKind(tmp_path, layout("deep/store.v3.zarr")).snapshot()
    assert list(names) == sorted(p for p in contents(tmp_path) if p != "other.txt")
    assert "deep/store.v3.zarr/zarr.json" in names


@pytest.mark.parametrize(("name", "matrix"), STORES)
def test_memory_is_bounded(tmp_path: Path, name: str, matrix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of 60,000 cells, 4096 at once; what is read in one go is watched."""
    rows, columns, most = 300, 200, 4096
    with pd.option_context("future.infer_string", False):
        obs = pd.DataFrame({"patient": [f"p{i}" for i in range(rows)]}, index=[f"s{i}" for i in range(rows)])
        var = pd.DataFrame(index=[f"g{i}" for i in range(columns)])
        cells = values(rows, columns)
        adata = anndata.AnnData(MATRICES[matrix](cells), obs=obs, var=var)
    put(adata, tmp_path / "in" / name)
    if "zarr" in name and matrix == "dense":  # of chunks that are smaller than what is held at once
        group = zarr.open_group(tmp_path / "in" / name, mode="a")
        made = group.create_array("X", shape=cells.shape, dtype="<f4", chunks=(30, 50), overwrite=True)
        made[:] = cells
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    seen: list[int] = []
    owner: Any = h5py.Dataset if name.endswith("h5ad") else zarr.Array
    read = owner.__getitem__

    def watched(self: Any, *args: Any, **more: Any) -> Any:
        got = read(self, *args, **more)
        seen.append(int(np.size(got)))
        return got

    monkeypatch.setattr(annotated_open, "CELLS", most)
    chosen = np.arange(1, rows, 2)
    with monkeypatch.context() as patch:
        patch.setattr(owner, "__getitem__", watched)
        path = view(tmp_path / "in", layout(name, None), chosen, Wanted((), ALL), PLAIN, tmp_path / "out")
    assert max(seen) <= most
    assert sum(seen) > 20_000
    np.testing.assert_array_equal(dense(get(path)), cells[chosen])


@pytest.mark.parametrize("name", ["store.h5ad", "store.v2.zarr"])
def test_mock(tmp_path: Path, name: str) -> None:
    schema = StoreSchema(
        kind="anndata", table=name, patient_id="patient", record_id="sample",
        columns=(
            Column(name="patient", type="string"), Column(name="sample", type="string"),
            Column(name="age", type="int", min=18, max=90, missing=0.3),
            Column(name="sex", type="string", values=("f", "m")),
            Column(name="seen", type="date"), Column(name="dead", type="bool"),
            Column(name="bmi", type="float", missing=0.2),
        ),
        features=(Features(file=name, names=tuple(f"g{i}" for i in range(90)), min=-2, max=3, missing=0.1),),
    )  # fmt: skip
    for into in ("a", "b"):
        (tmp_path / into).mkdir()
        AnnDataKind.mock(schema, 100, 7, tmp_path / into)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    store = AnnDataKind(tmp_path / "a", schema.layout)
    drafted = store.schema()
    assert [(c.name, c.type) for c in drafted.columns] == [
        (c.name, "string" if c.type == "date" else c.type) for c in schema.columns
    ]
    assert drafted.features[0].names == schema.features[0].names
    assert len(set(store.patients())) == 80
    made = get(tmp_path / "a" / name)
    assert made.shape == (100, 90)
    assert np.nanmin(made.X) >= -2
    assert np.nanmax(made.X) <= 3
    assert 0.05 < np.isnan(made.X).mean() < 0.15
    assert set(made.obs["sex"]) == {"f", "m"}


@pytest.mark.parametrize(
    "features",
    [
        (),
        (Features(file="other.csv", names=("a",)),),
        (Features(file="store.h5ad", names=("a",), type="string"),),
        (Features(file="store.h5ad", names=("a",), type="int", missing=0.5),),
        (Features(file="store.h5ad", names=("a",), type="int", min=0.2, max=0.8),),
        (Features(file="store.h5ad", names=("a",), type="int", min=0, max=1e90),),
        (Features(file="store.h5ad", names=("a",), max=1e90),),
    ],
)
def test_a_mock_that_cannot_be(tmp_path: Path, features: tuple[Features, ...]) -> None:
    schema = StoreSchema(kind="anndata", table="store.h5ad", patient_id="p", columns=(), features=features)
    with pytest.raises(InputError):
        AnnDataKind.mock(schema, 3, 0, tmp_path)


def test_an_integer_mock_reads_back(tmp_path: Path) -> None:
    features = (Features(file="store.v2.zarr", names=("a", "b"), type="int", min=3, max=5),)
    schema = StoreSchema(kind="anndata", table="store.v2.zarr", patient_id="_index", columns=(), features=features)
    AnnDataKind.mock(schema, 30, 0, tmp_path)
    assert AnnDataKind(tmp_path, schema.layout).schema().features[0].type == "int"
    assert set(get(tmp_path / "store.v2.zarr").X.ravel()) == {3, 4, 5}
    assert get(tmp_path / "store.v2.zarr").obs_names[0].startswith("mock-")


# Hostile and damaged stores


def refused(folder: Path, lay: Layout, match: str) -> None:
    """Refused by everything, with a text that holds no cell and no parser's words."""
    kind = AnnDataKind(folder, lay)
    into = folder.parent / "refused"
    into.mkdir()
    for call in (
        kind.schema, kind.patients, kind.snapshot, lambda: kind.records([lay.patient_id]),
        lambda: kind.subset(np.array([0]), Wanted(ALL, ALL), SECRET, into),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match) as caught:
            call()
        assert CANARY.decode() not in str(caught.value)
        assert "pat-" not in str(caught.value)
        assert caught.value.mend
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert contents(into) == {}


def away(file: h5py.File, where: str, what: str, other: Path) -> None:
    if where in file:
        del file[where]
    if what == "external link":
        file[where] = h5py.ExternalLink(str(other), "/X")
    elif what == "soft link":
        file[where] = h5py.SoftLink("/var")
    elif what == "external storage":
        file.create_dataset(where, (3,), "f4", external=[(str(other), 0, 12)])
    elif what == "virtual":
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource(str(other), "X", (3,))
        file.create_virtual_dataset(where, layout)
    elif what == "reference":
        file.create_dataset(where, data=np.array([file.ref] * 3, dtype=h5py.ref_dtype))
    elif what == "objects":
        file.create_dataset(where, (3,), h5py.vlen_dtype(np.int32))
    elif what == "record with objects":
        file.create_dataset(where, (3,), np.dtype([("a", "i4"), ("b", h5py.vlen_dtype(np.int32))]))


AWAY = ("external link", "soft link", "external storage", "virtual", "reference", "objects", "record with objects")


@pytest.mark.parametrize("where", ["X", "obs/age", "obs/score/mask", "uns/deep/down"])
@pytest.mark.parametrize("what", AWAY)
def test_an_h5ad_that_leads_away(tmp_path: Path, what: str, where: str) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.h5ad")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["X"] = np.arange(3, dtype="f4")
    with h5py.File(tmp_path / "in" / "store.h5ad", "a") as file:
        away(file, where, what, other)
    refused(tmp_path / "in", layout("store.h5ad"), "link|another file|references")


def test_hard_links_in_a_circle_end(tmp_path: Path) -> None:
    adata = cohort([1, 2, 3])
    adata.uns["ranks"] = np.array([(1, "a")], dtype=[("n", "i4"), ("gene", object)])  # as scanpy writes them
    put(adata, tmp_path / "store.h5ad")
    with h5py.File(tmp_path / "store.h5ad", "a") as file:
        file["uns/again"] = file["/"]
    assert len(AnnDataKind(tmp_path, layout("store.h5ad")).patients()) == 3


def damage(file: Any, how: str) -> None:
    if how in {"obs", "var", "X"}:
        del file[how]
    elif how == "one name":
        file["var/_index"][1] = "g0"
    elif how == "old obs":
        file["obs"].attrs["encoding-type"] = "CANARY"
    elif how == "column-order":
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "../X"]
    elif how == "path":
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "score/mask"]
    elif how == "twice":
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "age"]
    elif how == "shape":
        file["X"].attrs["shape"] = [3, 8]
    elif how == "no arrays":
        del file["X/indices"]
    elif how == "fractions":
        values = file["X/indptr"][:] + 0.5
        del file["X/indptr"]
        file["X/indptr"] = values
    elif how == "text":
        del file["X/data"]
        file["X/data"] = ["CANARY"] * 3
    elif how == "patient":
        del file["obs/patient"]
        file["obs/patient"] = np.array([1.5, 2.5, 3.5])
        file["obs/patient"].attrs["encoding-type"] = "array"
    elif how == "strange patient":
        file["obs/patient"].attrs["encoding-type"] = "CANARY"


DAMAGE = {
    "obs": "no data frame 'obs'", "var": "no data frame 'var'", "X": "no matrix X", "one name": "two features",
    "old obs": "no data frame", "column-order": "not all there", "path": "not all there", "twice": "two have one name",
    "shape": "shape of X", "no arrays": "can be read", "fractions": "than numbers",
    "text": "than numbers",
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_store(tmp_path: Path, how: str) -> None:
    put(cohort([1, 2, 3], matrix="csr"), tmp_path / "in" / "store.h5ad")
    with h5py.File(tmp_path / "in" / "store.h5ad", "a") as file:
        damage(file, how)
    refused(tmp_path / "in", layout("store.h5ad"), DAMAGE[how])


@pytest.mark.parametrize("how", ["patient", "strange patient"])
def test_patients_that_are_no_ids(tmp_path: Path, how: str) -> None:
    put(cohort([1, 2, 3]), tmp_path / "store.h5ad")
    with h5py.File(tmp_path / "store.h5ad", "a") as file:
        damage(file, how)
    with pytest.raises(InputError, match="holds no ids"):
        AnnDataKind(tmp_path, layout("store.h5ad")).patients()


@pytest.mark.parametrize("matrix", ["csr", "csc"])
@pytest.mark.parametrize(
    ("part", "at", "value"),
    [("indices", 0, -1), ("indices", 1, 99), ("indptr", 0, 1), ("indptr", -1, 2), ("indptr", 1, 10_000)],
)
def test_a_sparse_matrix_that_points_out_of_itself(tmp_path: Path, matrix: str, part: str, at: int, value: int) -> None:
    put(cohort([1, 2, 3, 4, 5], matrix=matrix), tmp_path / "in" / "store.h5ad")
    with h5py.File(tmp_path / "in" / "store.h5ad", "a") as file:
        array = file["X"][part]
        array[len(array) - 1 if at < 0 else at] = value
    with pytest.raises(InputError, match="can be read"):
        view(tmp_path / "in", layout("store.h5ad"), [0, 1, 2, 3, 4], Wanted((), ALL), PLAIN, tmp_path / "out")


@pytest.mark.parametrize("code", [-2, 100])
def test_a_category_that_is_not_there(tmp_path: Path, code: int) -> None:
    put(cohort([1, 2, 4]), tmp_path / "store.h5ad")
    with h5py.File(tmp_path / "store.h5ad", "a") as file:
        file["obs/stage/codes"][0] = code
    with pytest.raises(InputError, match="can be read"):
        AnnDataKind(tmp_path, layout("store.h5ad")).records(["stage"])


def test_columns_of_other_types_are_listed_and_not_read(tmp_path: Path) -> None:
    put(cohort([1, 2, 4]), tmp_path / "store.h5ad")
    with h5py.File(tmp_path / "store.h5ad", "a") as file:
        file["obs/stage"].attrs["encoding-type"] = "awkward-array"
    store = AnnDataKind(tmp_path, layout("store.h5ad"))
    assert {c.name: c.type for c in store.schema().columns}["stage"] == "other"
    with pytest.raises(InputError, match="'stage' is of a type"):
        store.records(["stage"])
    view(tmp_path, layout("store.h5ad"), [0], Wanted(("age",)), SECRET, tmp_path / "out")


def test_broken_text(tmp_path: Path) -> None:
    put(cohort([1, 2, 3]), tmp_path / "store.h5ad")
    raw = (tmp_path / "store.h5ad").read_bytes()
    assert b"CANARY-2" in raw
    (tmp_path / "store.h5ad").write_bytes(raw.replace(b"CANARY-2", b"CANARY\xff\xfe"))
    with pytest.raises(InputError, match="can be read") as caught:
        AnnDataKind(tmp_path, layout("store.h5ad")).records(["secret"])
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_file_cut_short(tmp_path: Path, share: float) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.h5ad")
    raw = (tmp_path / "in" / "store.h5ad").read_bytes()
    (tmp_path / "in" / "store.h5ad").write_bytes(raw[: int(len(raw) * share)])
    refused(tmp_path / "in", layout("store.h5ad"), "can be read")


def test_a_claim_of_many_rows(tmp_path: Path) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.h5ad")
    with h5py.File(tmp_path / "in" / "store.h5ad", "a") as file:
        del file["obs/_index"]
        file.create_dataset("obs/_index", (10**12,), h5py.string_dtype(), chunks=(1000,))
    assert (tmp_path / "in" / "store.h5ad").stat().st_size < 200_000
    refused(tmp_path / "in", layout("store.h5ad"), "claims more than")


def test_columns_of_another_length(tmp_path: Path) -> None:
    put(cohort([1, 2, 3]), tmp_path / "store.h5ad")
    with h5py.File(tmp_path / "store.h5ad", "a") as file:
        del file["obs/age"]
        file["obs/age"] = np.arange(4)
        file["obs/age"].attrs["encoding-type"] = "array"
    with pytest.raises(InputError, match="can be read"):
        AnnDataKind(tmp_path, layout("store.h5ad")).records(["age"])


def test_what_is_not_there(tmp_path: Path) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.h5ad")
    store = AnnDataKind(tmp_path / "in", layout("store.h5ad"))
    with pytest.raises(InputError, match=r"obs of .* has no column 'nope'"):
        store.records(["nope"])
    for wanted, match in ((Wanted(("nope",)), "no column 'nope'"), (Wanted((), ("nope",)), "no feature 'nope'")):
        with pytest.raises(InputError, match=match):
            store.subset(np.array([0]), wanted, SECRET, tmp_path)
    for lay, match in (
        (layout("store.h5ad", "nope"), r"obs of .* has no column 'nope'"),
        (layout("store.h5ad", patient="nope"), r"obs of .* has no column 'nope'"),
        (layout("nope.h5ad"), "There is no"),
        (layout("../in/store.h5ad"), "leads out"),
        (Layout("anndata", "store.h5ad", "patient", None, ("more.csv",)), "no further files"),
    ):
        with pytest.raises(InputError, match=match):
            AnnDataKind(tmp_path / "in", lay).schema()


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    (tmp_path / "x.h5ad").mkdir()
    (tmp_path / "x.zarr").write_text("x")
    (tmp_path / "x.csv").write_text("x")
    (tmp_path / "empty.zarr").mkdir()
    for name, match in (("x.h5ad", "neither"), ("x.zarr", "neither"), ("x.csv", "neither"), ("empty.zarr", "read")):
        with pytest.raises(InputError, match=match):
            AnnDataKind(tmp_path, layout(name)).schema()


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_zarr_with_a_link(tmp_path: Path, name: str, what: str) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / name)
    place = next(p for p in sorted((tmp_path / "in" / name / "obs").rglob("*")) if p.is_dir() == (what == "folder"))
    place.rename(tmp_path / "other")
    place.symlink_to(tmp_path / "other")
    refused(tmp_path / "in", layout(name), "is a link")


@pytest.mark.parametrize("where", ["obs/age", "uns/CANARY"])
@pytest.mark.parametrize("codec", ["pickle", "json2", "compressor"])
def test_a_zarr_that_unpickles(tmp_path: Path, where: str, codec: str) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.v2.zarr")
    meta = tmp_path / "in" / "store.v2.zarr" / where / ".zarray"
    about = json.loads(meta.read_text())
    if codec == "compressor":
        about["compressor"] = {"id": "pickle"}
    else:
        about |= {"dtype": "|O", "filters": [{"id": codec}], "fill_value": None}
    meta.write_text(json.dumps(about))
    refused(tmp_path / "in", layout("store.v2.zarr"), "codec")


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "numcodecs.pickle"}],
        [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}], "index_codecs": []}}],
    ],
)
def test_a_zarr_with_an_unknown_codec(tmp_path: Path, codecs: list[Any]) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / "store.v3.zarr")
    meta = tmp_path / "in" / "store.v3.zarr" / "obs" / "age" / "zarr.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "codecs": codecs}))
    refused(tmp_path / "in", layout("store.v3.zarr"), "codec")


@pytest.mark.parametrize("name", NAMES[1:])
def test_zarr_metadata_that_is_no_json(tmp_path: Path, name: str) -> None:
    put(cohort([1, 2, 3]), tmp_path / "in" / name)
    (tmp_path / "in" / name / "obs" / "age" / (".zarray" if ".v2" in name else "zarr.json")).write_text('["CANARY"')
    refused(tmp_path / "in", layout(name), "can be read")


def test_consolidated_metadata_are_not_believed(tmp_path: Path) -> None:
    """They were not checked, and can say something else than the arrays' own."""
    put(cohort([1, 2, 3]), tmp_path / "store.v2.zarr")
    meta = tmp_path / "store.v2.zarr" / ".zmetadata"
    about = json.loads(meta.read_text())
    about["metadata"]["obs/age/.zarray"] |= {"dtype": "|O", "filters": [{"id": "pickle"}], "compressor": None}
    meta.write_text(json.dumps(about))
    ages = AnnDataKind(tmp_path, layout("store.v2.zarr")).records(["age"]).column(0).to_pylist()
    assert ages == cohort([1, 2, 3]).obs["age"].tolist()


@pytest.mark.parametrize(("name", "codec"), [(name, codec) for name in NAMES[1:] for codec in ("blosc", "zstd")])
def test_a_zarr_chunk_cut_short(tmp_path: Path, name: str, codec: str) -> None:
    """Blosc itself would not notice, and show what lies behind it in memory."""
    put(cohort([1, 2, 3]), tmp_path / "in" / name)
    v2: dict[str, Any] = {"blosc": numcodecs.Blosc(), "zstd": numcodecs.Zstd()}
    v3: dict[str, Any] = {"blosc": zarr.codecs.BloscCodec(), "zstd": zarr.codecs.ZstdCodec()}
    group: Any = zarr.open_group(tmp_path / "in" / name, mode="a")
    cells = group["X"][:]
    packed = (v2 if ".v2" in name else v3)[codec]
    made = group.create_array("X", data=cells, chunks=(2, 7), compressors=packed, overwrite=True)
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    lay, wanted = layout(name), Wanted((), ALL)
    whole = view(tmp_path / "in", lay, [0, 1, 2], wanted, PLAIN, tmp_path / "out")
    np.testing.assert_array_equal(dense(get(whole)), cells)
    chunk = tmp_path / "in" / name / "X" / ("0.0" if ".v2" in name else "c/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(InputError, match="can be read"):
        view(tmp_path / "in", lay, [0, 1], wanted, PLAIN, tmp_path / "no")
