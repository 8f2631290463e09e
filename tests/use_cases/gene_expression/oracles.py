"""Sites in memory with expression tables, data made up for them, and R beside."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from flame_strategies.sums import Content, Sums, add_up
from gene_expression import site_limma, site_scaling
from gene_expression.table import COUNTS, LOG2, MISSING, Answer, Arrays, Request, Table

HERE = Path(__file__).parent
FROZEN = HERE / "frozen"
GROUPS = ("A", "B", "C")
ANSWERS: Mapping[str, Answer] = {**site_limma.ANSWERS, **site_scaling.ANSWERS}


@dataclass(frozen=True, eq=False)
class Study:
    """Pooled data: values (n, G), and a sheet with group, age and site."""

    values: npt.NDArray[np.float64]
    sheet: pd.DataFrame
    scale: str

    @property
    def panel(self) -> list[str]:
        return [f"G{gene}" for gene in range(self.values.shape[1])]

    def tables(self) -> list[Table]:
        """One for each site."""
        return [self._table(np.asarray(self.sheet["site"] == site)) for site in sorted(self.sheet["site"].unique())]

    def _table(self, rows: npt.NDArray[np.bool_]) -> Table:
        sheet = self.sheet[rows]
        codes = np.array(
            [GROUPS.index(group) if group in GROUPS else MISSING for group in sheet["group"]], dtype=np.int64
        )
        return Table(
            genes=np.ascontiguousarray(self.values[rows]),
            scale=self.scale,
            numbers={"age": sheet["age"].to_numpy(np.float64)},
            codes={"group": codes},
            levels={"group": GROUPS},
            patients=tuple(f"P{row}" for row in sheet.index),
            panel=tuple(self.panel),
        )


class TableSites:
    """An `Exchange` over tables.

    Attributes:
        asked: The message types so far, in order.
        contents: What was sent.
        replies: The answers of each exchange, by site.
    """

    def __init__(self, tables: Sequence[Table], bounds: Mapping[str, float] | None = None) -> None:
        self._tables, self._bounds = tuple(tables), bounds
        self.sites = tuple(range(len(tables)))
        self.asked: list[str] = []
        self.contents: list[Content] = []
        self.replies: list[dict[int, Arrays]] = []

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every site, and sum; with bounds in the fixed point of masked sums."""
        self.asked.append(message_type)
        self.contents.append(content)
        config = {k: v for part in content.values() for k, v in part.items() if not isinstance(v, np.ndarray)}
        arrays = {k: v for part in content.values() for k, v in part.items() if isinstance(v, np.ndarray)}
        answer = ANSWERS[message_type.removeprefix("query.")]
        replies = {site: answer(table, Request(config, arrays)) for site, table in enumerate(self._tables)}
        self.replies.append(replies)
        if self._bounds is None:
            return add_up(replies)
        return add_up({site: {k: self._rounded(k, v) for k, v in own.items()} for site, own in replies.items()})

    def _rounded(self, name: str, array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if np.issubdtype(array.dtype, np.integer):
            return array
        assert self._bounds is not None
        assert np.abs(array).max(initial=0.0) <= self._bounds[name]
        step = np.longdouble(self._bounds[name]) * len(self._tables) / np.longdouble(2) ** 63
        return np.asarray(np.rint(array / step) * step, dtype=np.float64)


def made_up(genes: int, n: int, seed: int, *, scale: str = LOG2) -> Study:
    """Three sites of unequal size with unlike shares of three groups; a site shift; a tenth of the genes differ."""
    rng = np.random.default_rng(seed)
    site = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    shares = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4]])
    group = np.array([rng.choice(3, p=shares[s]) for s in site])
    group[:9], site[:9] = np.repeat([0, 1, 2], 3), np.tile([0, 1, 2], 3)
    age = np.round(rng.uniform(20, 80, n))
    effect = rng.normal(0, 0.8, (3, genes)) * (rng.random(genes) < 0.3)
    mean = rng.normal(8, 2, genes) + effect[group] + rng.normal(0, 1.0, (3, genes))[site]
    mean += 0.01 * (age[:, None] - 50) * rng.normal(size=genes)
    sheet = pd.DataFrame({"group": np.array(GROUPS)[group], "age": age, "site": site})
    if scale == LOG2:
        spread = np.sqrt(0.2 / rng.chisquare(6, genes) * 6)
        return Study(np.round(mean + spread * rng.normal(size=(n, genes)), 3), sheet, LOG2)
    share = 2.0 ** (mean - 5)
    expected = share / share.sum(axis=1, keepdims=True) * rng.uniform(50, 200, n)[:, None] * genes
    dispersion = 0.05 + 0.2 / np.sqrt(expected.mean(axis=0) + 1)
    counts = rng.poisson(expected * rng.gamma(1 / dispersion, dispersion, (n, genes)))
    return Study(counts.astype(np.float64), sheet, COUNTS)


def read_study(name: str, scale: str) -> Study:
    """A frozen one: ``NAME.tsv`` has a row for each sample, its group, age and site before the genes."""
    frame = pd.read_csv(FROZEN / f"{name}.tsv", sep="\t")
    columns = ["group", "age", "site"]
    return Study(frame.drop(columns=columns).to_numpy(np.float64), frame[columns], scale)


def rscript(*packages: str) -> str:
    """The program; skips where it or a package is missing (fails under FLAME_REQUIRE_ALL=1)."""
    program = shutil.which("Rscript") or ""
    wanted = "; ".join(f"library({name})" for name in packages)
    if not program or subprocess.run([program, "-e", wanted], capture_output=True, check=False).returncode:
        text = (
            f"Rscript with {', '.join(packages)} is not installed: apt-get install r-base-core and r-bioc-…, r-cran-…"
        )
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    return program


def ask_limma(program: str, study: Study, folder: Path) -> None:
    """Run limma.R on a study; its tables are then in the folder."""
    (folder / "values.bin").write_bytes(np.ascontiguousarray(study.values).tobytes())
    study.sheet.to_csv(folder / "samples.tsv", sep="\t", index=False)
    kind = "counts" if study.scale == COUNTS else "log"
    command = [program, str(HERE / "limma.R"), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read_tables(folder: Path, name: str) -> tuple[pd.DataFrame, pd.Series]:
    """One case's table by gene, and what holds for all genes."""
    genes = pd.read_csv(folder / f"{name}.tsv", sep="\t")
    shared = pd.read_csv(folder / f"{name}_all.tsv", sep="\t")
    return genes, shared.iloc[0]
