"""Cutting a cohort's genotypes into blocks of patients, against reading the file once.

    python benchmarks/cutting.py make FOLDER VARIANTS
    python benchmarks/cutting.py read FOLDER
    python benchmarks/cutting.py cut FOLDER OUT
    python benchmarks/cutting.py            the whole comparison

Reading once is bed-reader into int8, by all its threads: what an app that uses the genotypes does at the least. The
time of copying the bytes is shown beside it. Each time is taken inside a process of its own, imports left out.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import measure
import numpy as np

from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.layout import ALL, Layout, Wanted

HERE = Path(__file__).parent
PEOPLE, BLOCKS = 1000, 20
LAYOUT = Layout("plink", "cohort.fam", "IID", None, ("cohort.bed",))
WANTED = Wanted(("SEX", "PHENO"), ALL)
_VARIANTS_AT_ONCE = 20_000


def make(folder: Path, variants: int) -> None:
    """A cohort of random genotypes, some missing."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    people = (f"f{i}\tp{i}\t0\t0\t{1 + i % 2}\t{i % 7}\n" for i in range(PEOPLE))
    (folder / "cohort.fam").write_text("".join(people))
    with (folder / "cohort.bim").open("w") as bim:
        bim.writelines(f"1\trs{i}\t0\t{i + 1}\tG\tA\n" for i in range(variants))
    with (folder / "cohort.bed").open("wb") as bed:
        bed.write(b"\x6c\x1b\x01")
        for start in range(0, variants, _VARIANTS_AT_ONCE):
            bed.write(rng.bytes(min(_VARIANTS_AT_ONCE, variants - start) * PEOPLE // 4))


def read_once(folder: Path) -> float:
    """Seconds to decode the whole file."""
    from bed_reader import open_bed

    started = time.perf_counter()
    with open_bed(folder / "cohort.bed") as bed:
        bed.read(dtype="int8")
    return time.perf_counter() - started


def copy_once(folder: Path) -> float:
    """Seconds to copy its bytes."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        shutil.copyfile(folder / "cohort.bed", Path(out) / "cohort.bed")
        return time.perf_counter() - started


def cut_once(folder: Path, out: Path) -> float:
    """Seconds to write all blocks."""
    parts = [np.arange(PEOPLE, dtype=np.int64)[block::BLOCKS] for block in range(BLOCKS)]
    intos = [out / str(block) for block in range(BLOCKS)]
    for into in intos:
        into.mkdir(parents=True)
    started = time.perf_counter()
    open_kind(folder, LAYOUT).cut(parts, WANTED, Disguise(bytes(32)), intos)
    return time.perf_counter() - started


def seconds(folder: Path, runs: int) -> dict[str, list[float]]:
    """Each of the three, in turn; a first run of each warms the page cache and is not counted."""
    taken: dict[str, list[float]] = {"cut": [], "read": [], "copy": []}
    for number in range(runs + 1):
        for work, times in taken.items():
            one = float(_alone(work, folder).output.split()[-1])
            if number:
                times.append(one)
    return taken


def peak_bytes(folder: Path) -> int:
    """Most memory of a process that cuts."""
    return _alone("cut", folder, memory=True).peak_bytes


def _alone(work: str, folder: Path, *, memory: bool = False) -> measure.Finished:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(HERE / "cutting.py"), work, str(folder), out]
        return measure.run(command, cwd=HERE, environment={}, memory=memory)


def main() -> None:
    """One of the works, or the comparison."""
    match sys.argv[1:]:
        case ["make", folder, variants]:
            make(Path(folder), int(variants))
        case ["read", folder, *_]:
            print(read_once(Path(folder)))
        case ["copy", folder, *_]:
            print(copy_once(Path(folder)))
        case ["cut", folder, out]:
            print(cut_once(Path(folder), Path(out)))
        case _:
            with tempfile.TemporaryDirectory() as home:
                for variants in (100_000, 500_000):
                    folder = Path(home) / str(variants)
                    make(folder, variants)
                    print(f"{PEOPLE} x {variants}, {BLOCKS} blocks: peak {peak_bytes(folder) / 1e6:.0f} MB", flush=True)
                taken = seconds(folder, 5)
            for work, times in taken.items():
                print(f"{work}: {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f}")
            print(f"cut ÷ read: {statistics.median(taken['cut']) / statistics.median(taken['read']):.2f}")


if __name__ == "__main__":
    main()
