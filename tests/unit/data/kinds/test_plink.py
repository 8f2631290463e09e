"""PLINK 1: what is not a sound trio is refused, and what a view's .fam and .bed hold."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bed_reader import open_bed

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.layout import ALL, Layout, Wanted
from tests.support.genotypes import made_up, write, write_table

HIDDEN = Disguise(bytes(range(32)))
EVERYTHING = Wanted(ALL, ALL)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """6 people, 3 variants."""
    write("plink", made_up(6, 3), tmp_path / "store")
    return tmp_path / "store"


LAYOUT = Layout("plink", "cohort.fam", "IID", None, ("cohort.bed",))


def fam(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "cohort.fam").read_text().splitlines()]


def subset(store: Path, rows: list[int], wanted: Wanted, layout: Layout = LAYOUT) -> Path:
    view = store.with_name("view")
    view.mkdir()
    open_kind(store, layout).subset(np.array(rows, np.int64), wanted, HIDDEN, view)
    return view


def test_sex_and_phenotype_come_only_if_wanted(store: Path) -> None:
    view = subset(store, [1, 4], Wanted(features=ALL))
    words = [HIDDEN.patient(f"IIDCANARY{i}") for i in (1, 4)]
    assert fam(view) == [[word, word, "0", "0", "0", "-9"] for word in words]


def test_what_is_wanted_of_the_fam_comes_as_it_is(store: Path) -> None:
    view = subset(store, [1, 4], Wanted(("SEX", "PHENO"), ALL))
    assert [row[2:] for row in fam(view)] == [["0", "0", "2", "77000155"], ["0", "0", "2", "77000455"]]


def test_parents_come_as_pseudonyms_and_families_never(store: Path) -> None:
    """A parent who is a sample too has the same word there."""
    text = (store / "cohort.fam").read_text().replace("PATCANARY4", "IIDCANARY1")
    (store / "cohort.fam").write_text(text)
    view = subset(store, [1, 4], EVERYTHING)
    child = fam(view)[1]
    assert child[2:4] == [HIDDEN.patient("IIDCANARY1"), "0"]
    assert child[2] == fam(view)[0][1]
    assert child[0] == child[1]


def test_a_record_id_beside_the_patients(store: Path) -> None:
    """FID as the patient of several samples."""
    lines = [line.split() for line in (store / "cohort.fam").read_text().splitlines()]
    (store / "cohort.fam").write_text("".join(" ".join([f"P{i // 2}", *f[1:]]) + "\n" for i, f in enumerate(lines)))
    layout = Layout("plink", "cohort.fam", "FID", "IID", ("cohort.bed",))
    view = subset(store, [2, 3], Wanted(features=ALL), layout)
    assert [row[:2] for row in fam(view)] == [
        [HIDDEN.patient("P1"), HIDDEN.record(f"IIDCANARY{i}")] for i in (2, 3)
    ]  # fmt: skip
    assert open_kind(view, layout).patients() == [HIDDEN.patient("P1")] * 2


def test_with_a_table_of_its_own_the_fam_has_ids_only(store: Path) -> None:
    """What is wanted is of the table, which has columns of the same names."""
    cohort = made_up(6, 3)
    write_table(cohort, store / "people.tsv")
    layout = Layout("plink", "people.tsv", "IID", None, ("cohort.bed",))
    view = subset(store, [1], EVERYTHING, layout)
    assert [row[2:] for row in fam(view)] == [["0", "0", "0", "-9"]]
    assert open_kind(view, layout).records(["SEX", "PHENO"]).to_pylist() == [{"SEX": 2, "PHENO": 77000155}]


def test_rows_of_the_bim_are_as_they_were(store: Path) -> None:
    """Alleles in the store's own order, whatever is rarer in the view."""
    rows = (store / "cohort.bim").read_text().splitlines()
    rows = [rows[0].replace("G\tA", "A\tG"), *rows[1:]]
    (store / "cohort.bim").write_text("\n".join(rows))  # the last line has no end
    view = subset(store, [0], Wanted(features=("rsCANARY0x", "rsCANARY2x")))
    assert (view / "cohort.bim").read_text() == f"{rows[0]}\n{rows[2]}\n"


def spoil_bed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda store: (store / "cohort.bed").write_bytes(change((store / "cohort.bed").read_bytes())) and None


def spoil_text(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda store: (store / name).write_text(change((store / name).read_text())) and None


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (spoil_bed(lambda b: b[:-1]), "has 8 bytes; 6 samples in the .fam and 3 variants .* make 9"),
    "too long": (spoil_bed(lambda b: b + b"\0"), "has 10 bytes"),
    "empty": (spoil_bed(lambda _: b""), "not a PLINK 1 .bed"),
    "other magic": (spoil_bed(lambda b: b"\x1f\x8b" + b[2:]), "not a PLINK 1 .bed"),
    "pgen": (spoil_bed(lambda b: b[:2] + b"\x10" + b[3:]), "not a PLINK 1 .bed"),
    "sample-major": (spoil_bed(lambda b: b[:2] + b"\0" + b[3:]), "sample-major"),
    "a variant less": (spoil_text("cohort.bim", lambda t: t.split("\n", 1)[1]), "2 variants"),
    "people of another file": (spoil_text("cohort.fam", lambda t: t * 2), "two samples of one id"),
    "fewer people": (spoil_text("cohort.fam", lambda t: t.split("\n", 3)[3]), "3 samples"),
    "no map": (lambda store: (store / "cohort.bim").unlink(), "There is no"),
    "no people": (lambda store: (store / "cohort.fam").unlink(), "There is no"),
    "a column less": (spoil_text("cohort.bim", lambda t: t.replace("\tA\n", "\n", 1)), "without six columns"),
    "no UTF-8": (lambda store: (store / "cohort.bim").write_bytes(b"1 rs\xff 0 1 A G\n") and None, "UTF-8"),
    "no id": (spoil_text("cohort.fam", lambda t: t.replace("IIDCANARY3", "", 1)), "without an id|not a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_unsound_trio_is_refused(store: Path, case: str) -> None:
    """By the schema and by a cut, before a byte of genotypes is written, and without a word from the files."""
    spoil, said = BAD[case]
    spoil(store)
    kind = open_kind(store, LAYOUT)
    store.with_name("view").mkdir()
    for work in (kind.schema, lambda: kind.subset(np.array([0]), EVERYTHING, HIDDEN, store.with_name("view"))):
        with pytest.raises(InputError, match=said) as caught:
            work()
        assert "CANARY" not in f"{caught.value}{caught.value.__cause__}{caught.value.mend}"
        assert not list(store.with_name("view").iterdir())


def test_a_file_that_shrinks_meanwhile_is_an_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a view is none."""
    kind = open_kind(store, LAYOUT)
    monkeypatch.setattr(type(kind), "_checked", lambda *_: 4)
    store.with_name("view").mkdir()
    with pytest.raises(InputError, match="shorter"):
        kind.subset(np.array([0]), Wanted(features=ALL), HIDDEN, store.with_name("view"))


@pytest.mark.parametrize("people", [1, 3, 4, 5, 7, 8])
def test_cuts_across_many_runs_of_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: int) -> None:
    """Runs as short as they come, some without a wanted variant."""
    monkeypatch.setattr("flame_fl.data.kinds.genotypes._CALLS_AT_ONCE", 1)
    cohort = made_up(people, 100)
    write("plink", cohort, tmp_path / "store")
    kept = [0, 3, 15, 16, 70, 99]
    rows = list(range(0, people, 2))
    view = subset(tmp_path / "store", rows, Wanted(features=tuple(cohort.variants[i] for i in kept)))
    with open_bed(view / "cohort.bed", num_threads=1) as bed:
        calls = bed.read(dtype="int8").T
    assert np.array_equal(np.where(calls < 0, -1, calls), cohort.calls[kept][:, rows])


@pytest.mark.peer
def test_plink2_cuts_the_same_bytes(tmp_path: Path) -> None:
    """Its .bed of the same people and variants is ours, bit for bit."""
    if (plink2 := shutil.which("plink2")) is None:
        text = "plink2 is not installed: apt-get install plink2"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    cohort = made_up(101, 300)
    write("plink", cohort, tmp_path / "store")
    rows = list(range(1, 101, 3))
    kept = list(range(0, 300, 7))
    view = subset(tmp_path / "store", rows, Wanted(("SEX", "PHENO"), tuple(cohort.variants[i] for i in kept)))
    ids = [f"{cohort.ids[i].replace('IID', 'FID')}\t{cohort.ids[i]}\n" for i in rows]
    (tmp_path / "keep").write_text("".join(ids))
    (tmp_path / "extract").write_text("".join(f"{cohort.variants[i]}\n" for i in kept))
    peer = ["--bfile", "store/cohort", "--keep", "keep", "--extract", "extract", "--make-bed", "--out", "peer"]
    ours = ["--bfile", "view/cohort", "--make-bed", "--out", "again"]
    for arguments in (peer, ours):
        subprocess.run(
            [plink2, *arguments, "--threads", "1"], cwd=tmp_path, check=True, capture_output=True, timeout=60
        )
    assert (view / "cohort.bed").read_bytes() == (tmp_path / "peer.bed").read_bytes()
    assert (view / "cohort.bed").read_bytes() == (tmp_path / "again.bed").read_bytes()
    assert (tmp_path / "again.bim").read_text() == (tmp_path / "peer.bim").read_text()
    assert [line.split()[4:] for line in (tmp_path / "again.fam").read_text().splitlines()] == [
        line.split()[4:] for line in (tmp_path / "peer.fam").read_text().splitlines()
    ]
