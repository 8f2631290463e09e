"""The federated linear scan, against PLINK 2 on the pooled genotypes.

    python benchmarks/gwas_scan.py [--variants 100000] [--samples 5000] [--sites 5] [--missing 0.01] [--impute]
                                   [--covariates 5] [--threads 1] [--pairs 3] [--json]

Seconds of wall time from files on disk to results on disk: ours for all that the sites and the hub compute, the sites
one after the other in this process (with more threads, so many at a time); PLINK 2's for ``--glm`` with the same
covariates and threads. Runs alternate. Nothing is printed unless effects, standard errors and p are PLINK's to its six
printed digits (with ``--impute`` they are another method's, and only the seconds are compared). The genotypes are
synthetic, made by ``plink2 --dummy``. One million variants of 1,000 samples, for the memory:

    python benchmarks/gwas_scan.py --variants 1000000 --samples 1000 --pairs 1
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import tomllib  # noqa: E402

import numpy as np  # noqa: E402 -- after the number of its threads
import numpy.typing as npt  # noqa: E402
from flame_strategies.sums import Content, Sums, add_up  # noqa: E402
from gwas import linear_run, quality_run, site_counts, site_linear, site_variants  # noqa: E402
from gwas.genotypes import Genotypes  # noqa: E402
from gwas.hub import Hub  # noqa: E402
from gwas.panel import Panel  # noqa: E402
from gwas.results import Associations  # noqa: E402
from gwas.settings import Settings  # noqa: E402
from gwas.site import Request, Site  # noqa: E402

APP = Path(__file__).parents[1] / "use_cases" / "gwas" / "pyproject.toml"
ANSWERS = {**site_variants.ANSWERS, **site_counts.ANSWERS, **site_linear.ANSWERS}
PRINTED = {"beta": "BETA", "se": "SE", "p": "P"}
AIM = 2.0


@dataclass(frozen=True)
class Pairs:
    """Seconds of runs beside each other.

    Attributes:
        work: What was done.
        ours: Seconds of the scan, by run.
        peer: PLINK's.
        phases: Of our last scan, seconds by phase.
        quality: Seconds of the quality control, which PLINK's ``--glm`` does not do.
        received: Bytes from each site.
        memory: Bytes that this process held at most, until the last scan was over.
    """

    work: str
    ours: Sequence[float]
    peer: Sequence[float]
    phases: Mapping[str, float]
    quality: float
    received: int
    memory: int

    @property
    def ratios(self) -> list[float]:
        """Ours over PLINK's, of which less is better."""
        return [o / p for o, p in zip(self.ours, self.peer, strict=True)]

    def __str__(self) -> str:
        phases = ", ".join(f"{name} {seconds:.2g} s" for name, seconds in self.phases.items())
        return (
            f"{self.work}: ours {statistics.median(self.ours):.3g} s, PLINK 2 {statistics.median(self.peer):.3g} s, "
            f"ratio {statistics.median(self.ratios):.3g} ({min(self.ratios):.3g} to {max(self.ratios):.3g}; aim at "
            f"most {AIM:g}); {phases}; quality control {self.quality:.3g} s; {self.received / 1e6:.3g} MB from each "
            f"site; {self.memory / 1e6:.0f} MB of memory"
        )


class Clock:
    """Seconds by phase; a phase within another one counts for both."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def around(self, name: str, of: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its seconds counted."""

        def timed(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return of(*given, **named)
            finally:
                self.seconds[name] += time.perf_counter() - begun

        return timed


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """While it is open, reading, the hub's tests and writing are counted."""
    places: list[tuple[Any, str, str]] = [
        (Genotypes, "pick", "reading"),
        (linear_run, "linear_tests", "tests at the hub"),
        (Associations, "append", "writing"),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    for (place, name, of), (_, _, phase) in zip(before, places, strict=True):
        setattr(place, name, clock.around(phase, of))
    try:
        yield
    finally:
        for place, name, of in before:
            setattr(place, name, of)


class Sites:
    """An `Exchange` over sites in this process."""

    def __init__(self, sites: Sequence[Site], settings: Settings, pool: ThreadPoolExecutor, clock: Clock) -> None:
        self._sites, self._settings, self._pool, self._clock = tuple(sites), settings, pool, clock
        self.sites = tuple(site.node for site in sites)
        self.history: list[str] = []
        self.received = 0

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every site, and sum."""
        self.history.append(message_type)
        config = {k: v for part in content.values() for k, v in part.items() if not isinstance(v, np.ndarray)}
        arrays = {k: v for part in content.values() for k, v in part.items() if isinstance(v, np.ndarray)}
        answer, request = ANSWERS[message_type.removeprefix("query.")], Request(config, arrays)
        ask = self._clock.around("sites", lambda: list(self._pool.map(self._one(answer, request), self._sites)))
        replies = dict(zip(self.sites, ask(), strict=True))
        self.received += sum(array.nbytes for array in replies[0].values())
        return self._clock.around("sums", add_up)(replies)

    def _one(self, answer: Callable[..., Any], request: Request) -> Callable[[Site], Any]:
        return lambda site: answer(site, request, self._settings)


@dataclass(frozen=True, eq=False)
class Memory(Hub):
    """A hub whose sites are in this process."""

    exchange: Sites = field(kw_only=True)

    def fit(self, run: Callable[[Any], Any]) -> tuple[Any, tuple[int, ...]]:
        """Once: nobody is lost."""
        return run(self.exchange), self.exchange.sites


def make(folder: Path, wanted: argparse.Namespace) -> tuple[Panel, list[Site]]:
    """Pooled files ``all``, one .bed per site, and the sites."""
    n, p, k = wanted.samples, wanted.variants, wanted.covariates
    stem = folder / "all"
    run(
        "plink2", "--dummy", n, p, wanted.missing, "--seed", 1, "--make-bed", "--threads", wanted.threads, "--out", stem
    )
    people = [line.split()[1] for line in stem.with_suffix(".fam").read_text().splitlines()]
    rng = np.random.default_rng(0)
    covariates = rng.normal(size=(n, k))
    y = covariates.sum(axis=1) * 0.2 + rng.normal(size=n)
    names = [f"c{number}" for number in range(k)]
    write(folder / "y.tsv", ["y"], people, y[:, None])
    write(folder / "c.tsv", names, people, covariates)
    panel = Panel(
        name="dummy",
        title="Synthetic",
        origin="plink2 --dummy",
        build="made-up",
        chromosome=np.ones(p, dtype=np.uint8),
        position=np.arange(1, p + 1, dtype=np.int64),
        ref=np.array(["A"] * p, dtype=np.object_),
        alt=np.array(["B"] * p, dtype=np.object_),
        alt_frequency=np.full(p, np.nan, dtype=np.float32),
        stored_ids=np.full(p, "", dtype=np.object_),
    )
    of = np.sort(rng.integers(0, wanted.sites, n))
    sites = []
    for number in range(wanted.sites):
        rows = np.flatnonzero(of == number)
        keep, own = folder / f"keep-{number}", folder / f"site-{number}"
        keep.write_text("".join(f"{people[row]}\n" for row in rows.tolist()))
        run("plink2", "--bfile", stem, "--keep", keep, "--make-bed", "--threads", wanted.threads, "--out", own)
        every = np.arange(p, dtype=np.int64)
        no = np.zeros(p, dtype=np.bool_)
        harmony = np.ones(p, dtype=np.int8)
        bed = own.with_suffix(".bed")
        sites.append(
            Site(
                node=number,
                panel=panel,
                samples=len(rows),
                numbers={"y": y[rows]} | {name: covariates[rows, at] for at, name in enumerate(names)},
                codes={},
                levels={},
                sex=np.zeros(len(rows), dtype=np.int8),
                train=np.ones(len(rows), dtype=np.bool_),
                genotypes=Genotypes(bed, len(rows), np.arange(len(rows)), every, no, harmony),
                patients=tuple(people[row] for row in rows.tolist()),
            )
        )
    return panel, sites


def write(path: Path, names: Sequence[str], people: Sequence[str], values: npt.NDArray[np.float64]) -> None:
    """A table as PLINK reads it."""
    lines = ("\t".join([who, *map(repr, row)]) for who, row in zip(people, values.tolist(), strict=True))
    path.write_text("\t".join(["#IID", *names]) + "\n" + "\n".join(lines) + "\n")


def run(*command: object) -> float:
    """Seconds of a program."""
    begun = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - begun


def settings_of(wanted: argparse.Namespace) -> Settings:
    """The app's run config, with no filter."""
    config = tomllib.loads(APP.read_text())["tool"]["flwr"]["app"]["config"]
    names = ", ".join(f"c{number}" for number in range(wanted.covariates))
    config |= {"set": "own", "panel": "dummy", "analysis": "linear", "phenotype": "y", "covariates": names, "pcs": 0}
    config |= {"missing": "impute" if wanted.impute else "exclude", "min-carriers": 1, "chunk": wanted.chunk}
    config |= {"geno": 1.0, "mind": 1.0, "maf": 0.0, "hwe": 0.0, "sex-check": False}
    return Settings.from_config(config)


def must_be_equal(found: Associations, table: Path) -> None:
    """Raises `RuntimeError` if a number is not PLINK's."""
    import pandas as pd

    expected = pd.read_csv(table, sep="\t", usecols=["BETA", "SE", "P", "OBS_CT"], dtype_backend="pyarrow")
    start = 0
    for part in found.parts(["beta", "se", "p", "n"]):
        rows = expected.iloc[start : start + len(part["n"])]
        start += len(rows)
        theirs = {name: rows[column].to_numpy(np.float64) for name, column in PRINTED.items()}
        close = all(np.allclose(part[name], of, rtol=6e-6, atol=0, equal_nan=True) for name, of in theirs.items())
        if not close or not np.array_equal(part["n"], rows["OBS_CT"].to_numpy()):
            raise RuntimeError("The numbers are not PLINK's.")
    if start != len(expected):
        raise RuntimeError(f"{start} variants were tested, {len(expected)} by PLINK.")


def compare(wanted: argparse.Namespace) -> Pairs:
    """Measure."""
    settings = settings_of(wanted)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(wanted.threads) as pool:
        folder = Path(name)
        panel, sites = make(folder, wanted)
        own, peer, quality, clock, received, held = [], [], 0.0, Clock(), 0, 0
        for number in range(wanted.pairs):
            clock = Clock()
            exchange = Sites(sites, settings, pool, clock)
            hub = Memory(None, exchange.sites, settings, panel, 1, 1.0, folder / f"run-{number}", exchange=exchange)
            begun = time.perf_counter()
            judged = quality_run.run(hub)
            quality = time.perf_counter() - begun
            clock.seconds.clear()
            exchange.received = 0
            begun = time.perf_counter()
            with watched(clock):
                found = linear_run.run(replace(hub), judged, None)
            own.append(time.perf_counter() - begun)
            held = max(held, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            received = exchange.received
            more = ["--covar", folder / "c.tsv"] if wanted.covariates else []
            glm = ["--glm", "hide-covar", "omit-ref", *([] if wanted.covariates else ["allow-no-covars"])]
            given = ["--bfile", folder / "all", "--pheno", folder / "y.tsv", "--pheno-name", "y", *more]
            peer.append(run("plink2", *given, *glm, "--threads", wanted.threads, "--out", folder / "peer"))
            if not wanted.impute:
                must_be_equal(found, folder / "peer.y.glm.linear")
    work = (
        f"linear scan, {wanted.variants:,} variants x {wanted.samples:,} samples over {wanted.sites} sites, "
        f"{wanted.covariates} covariates, {wanted.missing:g} missing{' and imputed' if wanted.impute else ''}, "
        f"{wanted.threads} thread{'s' if wanted.threads > 1 else ''}"
    )
    return Pairs(work, own, peer, dict(clock.seconds), quality, received, held)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--covariates", type=int, default=5)
    parser.add_argument("--missing", type=float, default=0.01)
    parser.add_argument("--impute", action="store_true")
    parser.add_argument("--chunk", type=int, default=5_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    found = compare(wanted)
    print(json.dumps({**vars(found), "ratios": found.ratios}) if wanted.json else found)


if __name__ == "__main__":
    main()
