"""PLINK 2: dosages, and what a view's .pvar and .psam hold."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pgenlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.kinds import pgen as module
from flame_fl.data.layout import ALL, Layout, Wanted
from tests.support.genotypes import Cohort, content, file_size_limit, made_up, write

HIDDEN = Disguise(bytes(range(32)))
LAYOUT = Layout("pgen", "cohort.psam", "IID", None, ("cohort.pgen",))


def subset(store: Path, rows: list[int], wanted: Wanted, name: str = "view") -> Path:
    view = store.with_name(name)
    shutil.rmtree(view, ignore_errors=True)
    view.mkdir()
    open_kind(store, LAYOUT).subset(np.array(rows, np.int64), wanted, HIDDEN, view)
    return view


def dosages(folder: Path, variants: int, people: int) -> np.ndarray:
    found = np.empty((variants, people), np.float32)
    pgenlib.PgenReader(bytes(folder / "cohort.pgen")).read_dosages_range(0, variants, found)
    return found


def with_dosages(people: int, variants: int, seed: int) -> Cohort:
    """Whole ones, broken ones and missing ones."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 2 * 16384 + 1, (variants, people))
    values = np.where(rng.random(steps.shape) < 0.3, np.round(steps / 16384), steps / 16384)
    values[rng.random(steps.shape) < 0.1] = -9
    return Cohort(np.zeros((variants, people), np.int8), dosages=values)


@given(people=st.integers(1, 40), variants=st.integers(1, 8), seed=st.integers(0, 999), data=st.data())
@settings(max_examples=20)
def test_dosages_come_exactly(tmp_path: Path, people: int, variants: int, seed: int, data: st.DataObject) -> None:
    """A second cut of a view changes nothing more."""
    cohort = with_dosages(people, variants, seed)
    assert cohort.dosages is not None
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    write("pgen", cohort, tmp_path / "store")
    rows = sorted(data.draw(st.sets(st.integers(0, people - 1), min_size=1)))
    view = subset(tmp_path / "store", rows, Wanted(features=ALL))
    assert np.array_equal(dosages(view, variants, len(rows)), cohort.dosages[:, rows].astype(np.float32))
    again = tmp_path / "again"
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    everyone = np.arange(len(rows), dtype=np.int64)
    open_kind(view, LAYOUT).subset(everyone, Wanted(features=ALL), Disguise(), again)
    assert content(again) == content(view)


def test_dosages_of_others_cannot_be_seen(tmp_path: Path) -> None:
    """Whether somebody else was imputed decides nothing in the file, header included."""
    calls = made_up(6, 4).calls
    values = np.where(calls < 0, -9.0, calls).astype(np.float32)
    values[2, 5] = 0.3
    write("pgen", Cohort(calls), tmp_path / "hard")
    write("pgen", Cohort(calls, dosages=values), tmp_path / "imputed")
    views = [subset(tmp_path / name, [0, 1, 2], Wanted(features=ALL), f"view-{name}") for name in ("hard", "imputed")]
    assert content(views[0]) == content(views[1])


def test_the_psam_has_ids_and_what_is_wanted(tmp_path: Path) -> None:
    write("pgen", made_up(4, 2), tmp_path / "store")
    words = [HIDDEN.patient(f"IIDCANARY{i}") for i in (1, 3)]
    view = subset(tmp_path / "store", [1, 3], Wanted(features=ALL))
    assert (view / "cohort.psam").read_text() == "#IID\n" + "".join(f"{word}\n" for word in words)
    view = subset(tmp_path / "store", [1, 3], Wanted(ALL, ALL))
    parents = [HIDDEN.patient(f"PATCANARY{i}") for i in (1, 3)]
    rows = [f"{word}\t{word}\t{dad}\t0\t2\t77000{i}55\n" for word, dad, i in zip(words, parents, (1, 3), strict=True)]
    assert (view / "cohort.psam").read_text() == "".join(["#FID\tIID\tPAT\tMAT\tSEX\tPHENO\n", *rows])


def test_the_pvar_has_five_columns(tmp_path: Path) -> None:
    write("pgen", made_up(4, 3), tmp_path / "store")
    view = subset(tmp_path / "store", [1, 3], Wanted(features=("rsCANARY1x",)))
    assert (view / "cohort.pvar").read_text() == "#CHROM\tPOS\tID\tREF\tALT\n1\t2\trsCANARY1x\tA\tG\n"


def put(store: Path, name: str, data: bytes) -> None:
    (store / name).write_bytes(data)


def changed(store: Path, name: str, old: bytes, new: bytes) -> None:
    before = (store / name).read_bytes()
    assert old in before
    put(store, name, before.replace(old, new, 1))


def last_line(store: Path, name: str) -> bytes:
    return (store / name).read_bytes().splitlines(keepends=True)[-1]


BAD: dict[str, tuple[Any, str]] = {
    "no pgen": (lambda s: put(s, "cohort.pgen", b"\x89PNG"), "not a .pgen"),
    "empty": (lambda s: put(s, "cohort.pgen", b""), "not a .pgen"),
    "truncated": (lambda s: put(s, "cohort.pgen", (s / "cohort.pgen").read_bytes()[:-4]), "not a .pgen"),
    "a variant less": (lambda s: changed(s, "cohort.pvar", last_line(s, "cohort.pvar"), b""), "the .pvar 2"),
    "a sample less": (lambda s: changed(s, "cohort.psam", last_line(s, "cohort.psam"), b""), "the .psam 3"),
    "three alleles": (lambda s: changed(s, "cohort.pvar", b"\tG\t", b"\tG,C\t"), "more than two alleles"),
    "no header": (lambda s: changed(s, "cohort.pvar", b"#CHROM", b"CHROM"), "no line #CHROM"),
    "another length": (lambda s: changed(s, "cohort.pvar", b"\tPASS", b""), "row of another length"),
    "no UTF-8": (lambda s: changed(s, "cohort.pvar", b"rsCANARY0x", b"rs\xff"), "UTF-8"),
    "compressed": (lambda s: (s / "cohort.pvar").rename(s / "cohort.pvar.zst"), "is compressed"),
    "no psam": (lambda s: (s / "cohort.psam").unlink(), "There is no"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_an_unsound_trio_is_refused(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In a sentence of ours; nothing is quoted, nor printed by the library."""
    write("pgen", made_up(4, 3), tmp_path / "store")
    spoil, said = BAD[case]
    spoil(tmp_path / "store")
    with pytest.raises(InputError, match=said) as caught:
        subset(tmp_path / "store", [0], Wanted(ALL, ALL))
    assert "CANARY" not in f"{caught.value}{caught.value.__cause__}"
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """Whenever pgenlib notices: as it opens, appends or closes."""
    write("pgen", made_up(400, 2000), tmp_path / "store")
    for most in (0, 1000, 100_000):
        with file_size_limit(most), pytest.raises(OSError, match=r"cannot be written|too large"):
            subset(tmp_path / "store", list(range(400)), Wanted(features=("rsCANARY0x",) if not most else ALL))
    with pytest.raises(OSError, match="cannot be written"):
        module._Writer(tmp_path / "no-such-folder" / "a.pgen", 1, 1)
    with pytest.raises(OSError, match="cannot be written"):
        module._Writer(tmp_path / "a.pgen", 2, 2).close()  # nothing was appended


@pytest.mark.peer
def test_plink2_reads_a_view(tmp_path: Path) -> None:
    """It finds it valid, and the same dosages in it as in its own cut."""
    if (plink2 := shutil.which("plink2")) is None:
        text = "plink2 is not installed: apt-get install plink2"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    cohort = with_dosages(50, 80, 1)
    write("pgen", cohort, tmp_path / "store")
    rows = list(range(0, 50, 3))
    subset(tmp_path / "store", rows, Wanted(("SEX", "PHENO"), ALL))
    (tmp_path / "keep").write_text("".join(f"FIDCANARY\t{cohort.ids[i]}\n" for i in rows))
    for arguments in (
        ["--pfile", "view/cohort", "--validate"],
        ["--pfile", "view/cohort", "--export", "A-transpose", "--out", "ours"],
        ["--pfile", "store/cohort", "--keep", "keep", "--export", "A-transpose", "--out", "peer"],
    ):
        subprocess.run(
            [plink2, *arguments, "--threads", "1"], cwd=tmp_path, check=True, capture_output=True, timeout=60
        )
    ours, peer = ((tmp_path / f"{name}.traw").read_text().splitlines()[1:] for name in ("ours", "peer"))
    assert ours == peer
    assert len(ours) == 80
