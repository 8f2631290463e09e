"""Federated limma and voom, against R's on the pooled samples.

    python benchmarks/limma.py [--genes 20000] [--samples 1000] [--sites 5] [--pairs 3] [--voom] [--json]

Seconds of wall time with the data in memory on both sides: ours for all that the sites and the hub compute, the sites
one after the other in this process, on one thread; R's for lmFit, eBayes and the adjustment (with `--voom` from the raw
counts on: filter, upper-quartile factors, voom). Runs alternate. Nothing is printed unless the p values are R's. The
data are synthetic.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402 -- after the number of its threads
import numpy.typing as npt  # noqa: E402
from flame_strategies.expression_scaling import ExpressionFilter, scale_counts  # noqa: E402
from flame_strategies.glm_design import Categorical, Design  # noqa: E402
from flame_strategies.limma import ContrastTable, fit_limma  # noqa: E402
from flame_strategies.sums import Content, Sums, add_up  # noqa: E402
from flame_strategies.voom import fit_voom  # noqa: E402
from gene_expression import site_limma, site_scaling  # noqa: E402
from gene_expression.table import COUNTS, LOG2, Request, Table  # noqa: E402

DESIGN = Design("expression", ("age",), (Categorical("group", ("A", "B")),))
ANSWERS = {**site_limma.ANSWERS, **site_scaling.ANSWERS}
SCRIPT = Path(__file__).with_name("limma.R")
AIM = 2.0


@dataclass(frozen=True)
class Pairs:
    """Seconds of runs beside each other, and the numbers that went to and fro per site."""

    work: str
    ours: Sequence[float]
    peer: Sequence[float]
    sent: int
    received: int

    @property
    def ratios(self) -> list[float]:
        """Ours over R's, of which less is better."""
        return [o / p for o, p in zip(self.ours, self.peer, strict=True)]

    def __str__(self) -> str:
        return (
            f"{self.work}: ours {statistics.median(self.ours):.3g} s, R {statistics.median(self.peer):.3g} s, ratio "
            f"{statistics.median(self.ratios):.3g} ({min(self.ratios):.3g} to {max(self.ratios):.3g}; aim at most "
            f"{AIM:g}); {self.sent / 1e6:.3g} MB to each site and {self.received / 1e6:.3g} MB from it"
        )


class Sites:
    """An `Exchange` over tables in memory, which counts bytes."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self.sites = tuple(range(len(tables)))
        self.sent = self.received = 0

    def __call__(self, message_type: str, content: Content) -> Sums:
        config = {k: v for part in content.values() for k, v in part.items() if not isinstance(v, np.ndarray)}
        arrays = {k: v for part in content.values() for k, v in part.items() if isinstance(v, np.ndarray)}
        answer = ANSWERS[message_type.removeprefix("query.")]
        replies = {n: answer(table, Request(config, arrays)) for n, table in enumerate(self._tables)}
        self.sent += sum(array.nbytes for array in arrays.values())
        self.received += sum(array.nbytes for array in replies[0].values())
        return add_up(replies)


def make(genes: int, samples: int, sites: int, folder: Path, *, counts: bool) -> list[Table]:
    """Synthetic data in R's files, and as one table per site."""
    rng = np.random.default_rng(0)
    site, age = rng.integers(0, sites, samples), rng.uniform(20, 80, samples)
    group = (rng.random(samples) < 0.2 + 0.6 * site / max(sites - 1, 1)).astype(np.int64)
    effect = rng.normal(0, 0.5, genes) * (rng.random(genes) < 0.1)
    values = rng.normal(size=(samples, genes)) * np.sqrt(0.3 / rng.chisquare(8, genes) * 8)
    values += rng.normal(7, 2, genes) + effect * group[:, None] + rng.normal(0, 0.5, (sites, genes))[site]
    if counts:
        values = rng.poisson(2.0 ** (values - 3)).astype(np.float64)
    (folder / "values.bin").write_bytes(values.tobytes())
    rows = (f"{'AB'[g]}\t{a!r}\t{s}" for g, a, s in zip(group.tolist(), age.tolist(), site.tolist(), strict=True))
    (folder / "samples.tsv").write_text("group\tage\tsite\n" + "\n".join(rows) + "\n")
    panel = tuple(f"G{gene}" for gene in range(genes))
    return [
        Table(
            genes=values[site == s],
            scale=COUNTS if counts else LOG2,
            numbers={"age": age[site == s]},
            codes={"group": group[site == s]},
            levels={"group": ("A", "B")},
            patients=tuple(f"P{row}" for row in np.flatnonzero(site == s)),
            panel=panel,
        )
        for s in range(sites)
    ]


def ours(sites: Sites, panel: Sequence[str], *, counts: bool) -> tuple[float, ContrastTable]:
    """Seconds, and the contrast's table."""
    started = time.perf_counter()
    if counts:
        keep = ExpressionFilter("group")
        scaling = scale_counts(sites, DESIGN, panel, method="upper_quartile", keep=keep)
        fit = fit_voom(sites, DESIGN, scaling, panel, ["B-A"], site_effects=True).limma
    else:
        fit = fit_limma(sites, DESIGN, panel, ["B-A"], site_effects=True)
    return time.perf_counter() - started, fit.tables["B-A"]


def theirs(kind: str, folder: Path) -> tuple[float, npt.NDArray[np.float64]]:
    """R's seconds, and its log10 p."""
    command = ["Rscript", str(SCRIPT), kind, str(folder), "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]), np.fromfile(folder / "log10_p.bin")


def compare(genes: int, samples: int, sites: int, pairs: int, *, counts: bool = False) -> Pairs:
    """Measure; raises `RuntimeError` if the p values differ."""
    kind = "voom" if counts else "limma"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = make(genes, samples, sites, folder, counts=counts)
        own, peer, last = [], [], Sites(tables)
        for _ in range(pairs):
            last = Sites(tables)
            seconds, table = ours(last, tables[0].panel, counts=counts)
            own.append(seconds)
            seconds, expected = theirs(kind, folder)
            peer.append(seconds)
            if table.log10_p.shape != expected.shape or np.abs(table.log10_p - expected).max() > 1e-8:
                raise RuntimeError("The p values are not R's.")
    work = f"{kind}, {genes:,} genes x {samples:,} samples over {sites} sites"
    return Pairs(work, own, peer, last.sent, last.received)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--voom", action="store_true")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    found = compare(wanted.genes, wanted.samples, wanted.sites, wanted.pairs, counts=wanted.voom)
    print(json.dumps({**vars(found), "ratios": found.ratios}) if wanted.json else found)


if __name__ == "__main__":
    main()
