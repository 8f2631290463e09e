"""What all genotype stores promise, for each format: the same values, nothing else, and blocks that do not touch."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise, block_of
from flame_fl.data.kind import kind_class, open_kind
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.schema import Column, Features, StoreSchema
from tests.support.genotypes import (
    FILES,
    TABLE,
    Cohort,
    content,
    everything,
    layout_of,
    made_up,
    read,
    write,
    write_table,
)
from tests.support.rows import rows_of

FORMS = pytest.mark.parametrize("form", list(FILES))
KEY = bytes(range(32))
HIDDEN = Disguise(KEY)
ALL_OF_IT = Wanted(ALL, ALL)


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@FORMS
@given(data=st.data(), people=st.integers(1, 13), variants=st.integers(1, 6))
@settings(max_examples=12)
def test_a_view_has_the_values_of_the_indexed_original(
    tmp_path: Path, form: str, data: st.DataObject, people: int, variants: int
) -> None:
    """As the format's own library reads both, missing ones too."""
    cohort = made_up(people, variants, data.draw(st.integers(0, 99)))
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, people - 1), min_size=1))), np.int64)
    kept = sorted(data.draw(st.sets(st.integers(0, variants - 1), min_size=1)))
    layout = write(form, cohort, emptied(tmp_path / "store"))
    before = content(tmp_path / "store")
    wanted = Wanted(features=tuple(cohort.variants[i] for i in reversed(kept)))
    open_kind(tmp_path / "store", layout).subset(rows, wanted, HIDDEN, emptied(tmp_path / "view"))
    samples, names, calls = read(tmp_path / "view", FILES[form])
    assert samples == [HIDDEN.patient(cohort.ids[i]) for i in rows]
    assert names == [cohort.variants[i] for i in kept]
    assert np.array_equal(calls, cohort.calls[kept][:, rows])
    assert content(tmp_path / "store") == before
    assert open_kind(tmp_path / "view", layout).patients() == samples


@FORMS
@given(people=st.integers(2, 12), blocks=st.integers(1, 5), gone=st.integers(0, 11), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_without_one_patient_only_his_block_differs(
    tmp_path: Path, form: str, people: int, blocks: int, gone: int, seed: int
) -> None:
    """Blocks are disjoint, together they are the cohort, and the others stay the same bit for bit."""
    cohort, gone = made_up(people, 4, seed), gone % people
    cuts = []
    for name, store in (("all", cohort), ("less", cohort.without(gone))):
        layout = write(form, store, emptied(tmp_path / name))
        of = {id_: block_of(KEY, id_, blocks) for id_ in store.ids}
        parts = [rows_of(store.ids, {id_ for id_ in of if of[id_] == b}) for b in range(blocks)]
        intos = [emptied(tmp_path / f"{name}-{b}") for b in range(blocks)]
        open_kind(tmp_path / name, layout).cut(parts, ALL_OF_IT, HIDDEN, intos)
        cuts.append([content(into) for into in intos])
    shown = [read(tmp_path / f"all-{b}", FILES[form])[0] for b in range(blocks)]
    assert sorted(word for words in shown for word in words) == sorted(map(HIDDEN.patient, cohort.ids))
    differing = [b for b in range(blocks) if cuts[0][b] != cuts[1][b]]
    assert differing == [block_of(KEY, cohort.ids[gone], blocks)]


@FORMS
def test_one_pass_writes_what_single_cuts_write(tmp_path: Path, form: str) -> None:
    layout = write(form, made_up(11, 9), tmp_path / "store")
    parts = [np.array(part, np.int64) for part in ([0, 5, 10], [1, 2], list(range(11)))]
    open_kind(tmp_path / "store", layout).cut(parts, ALL_OF_IT, HIDDEN, [tmp_path / f"at-once-{i}" for i in range(3)])
    for i, part in enumerate(parts):
        open_kind(tmp_path / "store", layout).subset(part, ALL_OF_IT, HIDDEN, tmp_path / f"alone-{i}")
        assert content(tmp_path / f"at-once-{i}") == content(tmp_path / f"alone-{i}")


@FORMS
def test_a_view_holds_nothing_that_is_not_approved(tmp_path: Path, form: str) -> None:
    """No other variant, sample, family, parent, phenotype or header, in any byte, packed or not."""
    cohort = made_up(8, 5)
    layout = write(form, cohort, tmp_path / "store")
    view = emptied(tmp_path / "view")
    open_kind(tmp_path / "store", layout).subset(
        np.array([2, 3], np.int64), Wanted(features=(cohort.variants[1],)), HIDDEN, view
    )
    found, source = everything(view), everything(tmp_path / "store")
    secrets = [*cohort.ids, *map(cohort.pheno, cohort.ids), *cohort.variants[:1], *cohort.variants[2:]]
    for secret in [*secrets, "IIDCANARY", "FIDCANARY", "PATCANARY", "HEADERCANARY", "4711", "AC="]:
        assert secret.encode() not in found
    assert all(secret.encode() in source for secret in secrets)  # the search finds what is there
    assert cohort.variants[1].encode() in found
    others = [HIDDEN.patient(id_).encode() for i, id_ in enumerate(cohort.ids) if i not in {2, 3}]
    assert not any(word in found for word in others)


@FORMS
@pytest.mark.parametrize(("rows", "features"), [([], ALL), ([1], ()), ([], ())])
def test_an_empty_view_is_a_view(tmp_path: Path, form: str, rows: list[int], features: tuple[str, ...]) -> None:
    """A block may have no patient, an approval no variant."""
    layout = write(form, made_up(3, 2), tmp_path / "store")
    part = np.array(rows, np.int64)
    open_kind(tmp_path / "store", layout).subset(part, Wanted(features=features), HIDDEN, emptied(tmp_path / "view"))
    if form == "plink":
        assert (tmp_path / "view" / "cohort.bed").read_bytes() == b"\x6c\x1b\x01"
        assert len((tmp_path / "view" / "cohort.fam").read_text().splitlines()) == len(rows)
        return
    samples, names, _ = read(tmp_path / "view", FILES[form])
    assert (len(samples), len(names)) == (len(rows), 2 if features == ALL else 0)


@FORMS
def test_a_table_of_its_own_names_the_samples_by_its_record_id(tmp_path: Path, form: str) -> None:
    """Whatever the order of its rows; a sample without a record is in no view."""
    cohort = made_up(5, 3)
    write(form, cohort, tmp_path / "store")
    order = [4, 0, 2]
    rows = [f"P{i // 4},{cohort.ids[i]},{i}.5\n" for i in order]
    (tmp_path / "store" / "visits.csv").write_text("".join(["patient,sample,value\n", *rows]))
    layout = Layout(layout_of(form).kind, "visits.csv", "patient", "sample", (FILES[form],))
    kind = open_kind(tmp_path / "store", layout)
    assert kind.patients() == ["P1", "P0", "P0"]
    kind.subset(np.array([0, 1, 2], np.int64), Wanted(("value",), ALL), HIDDEN, emptied(tmp_path / "view"))
    samples, _, calls = read(tmp_path / "view", FILES[form])
    assert samples == [HIDDEN.record(cohort.ids[i]) for i in (0, 2, 4)]
    assert np.array_equal(calls, cohort.calls[:, [0, 2, 4]])
    view = open_kind(tmp_path / "view", layout).records(["sample", "value", "patient"]).to_pydict()
    assert view["sample"] == [HIDDEN.record(cohort.ids[i]) for i in order]
    assert view["value"] == [4.5, 0.5, 2.5]
    assert view["patient"] == [HIDDEN.patient(p) for p in ("P1", "P0", "P0")]
    assert open_kind(tmp_path / "view", layout).schema().features[0].names == tuple(cohort.variants)


@FORMS
def test_several_records_of_a_patient_share_his_sample(tmp_path: Path, form: str) -> None:
    cohort = made_up(3, 2)
    write(form, cohort, tmp_path / "store")
    rows = "".join(f"{cohort.ids[i]},{n}\n" for n, i in enumerate([2, 2, 0]))
    (tmp_path / "store" / "visits.csv").write_text("IID,value\n" + rows)
    layout = Layout(layout_of(form).kind, "visits.csv", "IID", None, (FILES[form],))
    kind = open_kind(tmp_path / "store", layout)
    kind.subset(np.array([0, 1], np.int64), Wanted(("value",), ALL), HIDDEN, emptied(tmp_path / "view"))
    samples, _, calls = read(tmp_path / "view", FILES[form])
    assert samples == [HIDDEN.patient(cohort.ids[2])]
    assert np.array_equal(calls, cohort.calls[:, [2]])
    assert open_kind(tmp_path / "view", layout).records(["value"]).num_rows == 2


def refused(tmp_path: Path, layout: Layout, cohort: Cohort) -> str:
    """What both the schema and a cut say; never an id."""
    said = set()
    kind = open_kind(tmp_path / "store", layout)
    for work in (kind.schema, lambda: kind.subset(np.array([0]), ALL_OF_IT, HIDDEN, emptied(tmp_path / "view"))):
        with pytest.raises(InputError) as caught:
            work()
        text = f"{caught.value} {caught.value.__cause__} {caught.value.__context__ or ''}"
        assert not any(secret in text for secret in ("CANARY", *map(cohort.pheno, cohort.ids)))
        assert caught.value.mend
        said.add(str(caught.value))
    (text,) = said
    return text


@FORMS
def test_a_record_without_a_sample_is_refused(tmp_path: Path, form: str) -> None:
    cohort = made_up(3, 2)
    write(form, cohort, tmp_path / "store")
    write_table(Cohort(np.zeros((2, 5), np.int8)), tmp_path / "store" / TABLE)
    layout = Layout(layout_of(form).kind, TABLE, "IID", None, (FILES[form],))
    assert "2 records" in refused(tmp_path, layout, cohort)


@FORMS
def test_a_record_id_that_names_a_sample_twice_is_refused(tmp_path: Path, form: str) -> None:
    """Two patients could claim it."""
    cohort = made_up(2, 2)
    write(form, cohort, tmp_path / "store")
    (tmp_path / "store" / "t.csv").write_text(f"patient,sample\nA,{cohort.ids[0]}\nB,{cohort.ids[0]}\n")
    layout = Layout(layout_of(form).kind, "t.csv", "patient", "sample", (FILES[form],))
    assert "twice" in refused(tmp_path, layout, cohort)


@pytest.mark.parametrize("form", ["plink", "pgen"])
def test_two_samples_of_one_id_are_refused(tmp_path: Path, form: str) -> None:
    cohort = Cohort(np.zeros((2, 3), np.int8), ids=["IIDCANARY1", "IIDCANARY2", "IIDCANARY1"])
    layout = write(form, cohort, tmp_path / "store")
    assert "two samples of one id" in refused(tmp_path, layout, cohort)


@FORMS
@pytest.mark.parametrize(
    "wanted", [Wanted(features=("rs-not-there",)), Wanted(("not-there",))], ids=["a variant", "a column"]
)
def test_what_is_not_there_cannot_be_wanted(tmp_path: Path, form: str, wanted: Wanted) -> None:
    layout = write(form, made_up(3, 2), tmp_path / "store")
    with pytest.raises(InputError, match="not-there"):
        open_kind(tmp_path / "store", layout).subset(np.array([0]), wanted, HIDDEN, emptied(tmp_path / "view"))


@FORMS
def test_variants_without_an_id_of_their_own_are_called_by_their_place(tmp_path: Path, form: str) -> None:
    cohort = Cohort(made_up(3, 4).calls, variants=["rs1", ".", "rs2", "rs2"])
    layout = write(form, cohort, tmp_path / "store")
    kind = open_kind(tmp_path / "store", layout)
    assert kind.schema().features == (
        Features(file=FILES[form], names=("rs1", "1:2:A:G", "1:3:A:G", "1:4:A:G"), type="int", min=0, max=2),
    )
    kind.subset(np.array([0, 2]), Wanted(features=("1:4:A:G", "1:2:A:G")), HIDDEN, emptied(tmp_path / "view"))
    assert np.array_equal(read(tmp_path / "view", FILES[form])[2], cohort.calls[[1, 3]][:, [0, 2]])


@FORMS
def test_a_place_that_is_anothers_id_is_refused(tmp_path: Path, form: str) -> None:
    layout = write(form, Cohort(made_up(2, 2).calls, variants=[".", "1:1:A:G"]), tmp_path / "store")
    with pytest.raises(InputError, match="Two variants"):
        open_kind(tmp_path / "store", layout).schema()


@FORMS
def test_an_id_that_no_schema_can_hold_is_refused(tmp_path: Path, form: str) -> None:
    layout = write(form, Cohort(made_up(2, 1).calls, variants=["r" * 257]), tmp_path / "store")
    with pytest.raises(InputError, match="too long"):
        open_kind(tmp_path / "store", layout).schema()


@FORMS
def test_patients_and_records_are_read_without_the_genotypes(tmp_path: Path, form: str) -> None:
    cohort = made_up(3, 2)
    layout = write(form, cohort, tmp_path / "store")
    (tmp_path / "store" / FILES[form]).unlink()
    kind = open_kind(tmp_path / "store", layout)
    assert kind.patients() == cohort.ids
    assert kind.records(["SEX"]).to_pydict() == {"SEX": [2, 2, 2]}


@FORMS
def test_a_link_is_never_followed(tmp_path: Path, form: str) -> None:
    layout = write(form, made_up(3, 2), tmp_path / "store")
    for name in open_kind(tmp_path / "store", layout).snapshot():
        path = tmp_path / "store" / name
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        kind = open_kind(tmp_path / "store", layout)
        for work in (kind.schema, kind.snapshot, lambda k=kind: k.subset(np.array([0]), ALL_OF_IT, HIDDEN, tmp_path)):
            with pytest.raises(InputError, match="is a link"):
                work()
        path.unlink()
        (tmp_path / "elsewhere").rename(path)


@FORMS
def test_several_files_are_one_store(tmp_path: Path, form: str) -> None:
    """One per chromosome, as biobanks have them, with their samples in different orders."""
    first, second = made_up(4, 3), made_up(4, 2, seed=1)
    layout = write(form, first, tmp_path / "store")
    turned = Cohort(second.calls[:, ::-1], ids=first.ids[::-1], variants=["rs-b0", "rs-b1"])
    write(form, turned, tmp_path / "store" / "b")
    layout = Layout(layout.kind, layout.table, "IID", None, (FILES[form], f"b/{FILES[form]}"))
    kind = open_kind(tmp_path / "store", layout)
    assert [features.names for features in kind.schema().features] == [tuple(first.variants), ("rs-b0", "rs-b1")]
    wanted = Wanted(features=(first.variants[2], "rs-b1"))
    kind.subset(np.array([0, 3]), wanted, HIDDEN, emptied(tmp_path / "view"))
    assert read(tmp_path / "view", FILES[form])[2].tolist() == [[first.calls[2, 0], first.calls[2, 3]]]
    samples, names, calls = read(tmp_path / "view" / "b", FILES[form])
    assert (samples, names) == ([HIDDEN.patient(first.ids[3]), HIDDEN.patient(first.ids[0])], ["rs-b1"])
    assert calls.tolist() == [[second.calls[1, 3], second.calls[1, 0]]]


def schema_for(form: str, *, patient_id: str = "IID", record_id: str | None = None) -> StoreSchema:
    layout = layout_of(form)
    features = Features(
        file=FILES[form], names=tuple(f"rs{i}" for i in range(400)), type="int", min=0, max=2, missing=0.1
    )
    columns = (Column(name="SEX", type="int"), Column(name="PHENO", type="float", min=0, max=9, missing=0.2))
    return StoreSchema(
        kind=layout.kind, table=layout.table, patient_id=patient_id, record_id=record_id, files=layout.files,
        columns=columns, features=(features,),
    )  # fmt: skip


@FORMS
@pytest.mark.parametrize("ids", [("IID", None), ("FID", "IID")])
def test_mock_genotypes_are_drawn_from_the_schema_alone(tmp_path: Path, form: str, ids: tuple[str, str | None]) -> None:
    """A valid store; the same seed, the same bytes; frequencies of each variant its own, in equilibrium."""
    schema = schema_for(form, patient_id=ids[0], record_id=ids[1])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        kind_class(schema.kind).mock(schema, 300, seed, emptied(tmp_path / name))
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")
    kind = open_kind(tmp_path / "a", schema.layout)
    assert kind.schema().features[0].names == schema.features[0].names
    assert len(kind.patients()) == 300
    samples, _, calls = read(tmp_path / "a", FILES[form])
    assert len(set(samples)) == len(samples) > 200
    shown = np.ma.masked_less(calls.astype(float), 0)
    assert abs((calls < 0).mean() - 0.1) < 0.01
    frequency = shown.mean(axis=1) / 2
    assert 0.02 < frequency.min() < 0.12
    assert 0.4 < frequency.max() < 0.6
    heterozygous = (shown == 1).mean(axis=1) / (2 * frequency * (1 - frequency))
    assert abs(heterozygous.mean() - 1) < 0.02
    kind.subset(np.arange(100), Wanted(("PHENO",), ("rs7",)), HIDDEN, emptied(tmp_path / "view"))


@FORMS
def test_a_name_with_a_space_cannot_be_made(tmp_path: Path, form: str) -> None:
    schema = schema_for(form)
    odd = schema.model_copy(update={"features": (schema.features[0].model_copy(update={"names": ("rs 1",)}),)})
    with pytest.raises(InputError, match="space"):
        kind_class(schema.kind).mock(odd, 3, 1, tmp_path)


@pytest.mark.parametrize("form", ["plink", "pgen", "vcf-text"])
def test_memory_does_not_grow_with_the_number_of_variants(tmp_path: Path, form: str) -> None:
    peaks = []
    for variants in (5_000, 25_000):
        people = 400 if form != "vcf-text" else 4
        schema = schema_for(form)
        names = tuple(f"rs{i}" for i in range(variants))
        schema = schema.model_copy(update={"features": (Features(file=FILES[form], names=names, type="int"),)})
        store = emptied(tmp_path / str(variants))
        kind_class(schema.kind).mock(schema, people, 1, store)
        tracemalloc.start()
        kind = open_kind(store, schema.layout)
        kind.subset(np.arange(people // 2), Wanted(features=ALL), HIDDEN, emptied(tmp_path / "view"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


@pytest.mark.parametrize("form", ["plink", "pgen"])
def test_a_foreign_fam_or_psam_is_no_record_table(tmp_path: Path, form: str) -> None:
    cohort = made_up(3, 2)
    layout = write(form, cohort, tmp_path / "store")
    suffix = Path(layout.table).suffix
    shutil.copyfile(tmp_path / "store" / layout.table, tmp_path / "store" / f"other{suffix}")
    foreign = Layout(layout.kind, f"other{suffix}", "IID", None, layout.files)
    assert "belongs to none" in refused(tmp_path, foreign, cohort)
    unnamed = Layout(layout.kind, layout.table, "FID", None, layout.files)
    assert "--record-id IID" in refused(tmp_path, unnamed, cohort)


@FORMS
def test_a_file_of_another_kind_is_refused(tmp_path: Path, form: str) -> None:
    layout = write(form, made_up(3, 2), tmp_path / "store")
    for files in ((), (layout.table,)):
        kind = open_kind(tmp_path / "store", Layout(layout.kind, layout.table, "IID", None, files))
        with pytest.raises(InputError, match=r"does not end|is no|No genotype"):
            kind.schema()


@FORMS
def test_an_id_column_that_is_not_there_is_refused(tmp_path: Path, form: str) -> None:
    """Else a view would come without its patients."""
    cohort = made_up(3, 2)
    layout = write(form, cohort, tmp_path / "store")
    no_patient = Layout(layout.kind, layout.table, "patient", "IID", layout.files)
    assert "'patient'" in refused(tmp_path, no_patient, cohort)
