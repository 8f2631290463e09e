"""A made-up study with classes and survival times, sites in memory that hold it, and what R makes of it."""

import csv
import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import gene_expression
import numpy as np
import numpy.typing as npt
import pytest
from flame_strategies.sums import Content, Sums, add_up
from gene_expression import site_cox, site_evaluation, site_glm, site_mlp, site_screen
from gene_expression.by_site import Answers
from gene_expression.table import LOG2, Answer, Arrays, Request, Table

FROZEN = Path(__file__).parent / "frozen"
SCRIPT = FROZEN / "phenotype.R"
ANSWERS: Mapping[str, Answer] = {
    **site_screen.ANSWERS,
    **site_glm.ANSWERS,
    **site_cox.ANSWERS,
    **site_evaluation.ANSWERS,
    **site_mlp.ANSWERS,
}
GENES = tuple(f"G{number}" for number in range(12))
CLASSES = ("control", "case")
STAGES = ("I", "II", "III")
GRID = np.arange(30.0, 1021, 30)
LEVELS = {"group": CLASSES, "sex": ("F", "M"), "stage": STAGES, "split": ("train", "test")}


@dataclass(frozen=True, eq=False)
class Study:
    """Pooled rows: expression (n, G), numeric columns, codes, homes (n,) and patients."""

    genes: npt.NDArray[np.float64]
    numbers: Mapping[str, npt.NDArray[np.float64]]
    codes: Mapping[str, npt.NDArray[np.int64]]
    home: npt.NDArray[np.int64]
    patients: tuple[str, ...]
    panel: tuple[str, ...] = GENES
    scale: str = LOG2

    def table(self, rows: npt.NDArray[Any], node: int) -> Table:
        """Some rows as a site's table."""
        rows = np.flatnonzero(rows)
        return Table(
            genes=self.genes[rows],
            scale=self.scale,
            numbers={name: column[rows] for name, column in self.numbers.items()},
            codes={name: column[rows] for name, column in self.codes.items()},
            levels={name: LEVELS[name] for name in self.codes},
            patients=tuple(self.patients[row] for row in rows),
            panel=self.panel,
            node=node,
        )

    def sites(self) -> "Sites":
        """Its sites, with ids as large as Flower's."""
        return Sites([self.table(self.home == home, 2**63 + home) for home in range(int(self.home.max()) + 1)])

    def pooled(self) -> "Sites":
        """One site that has all rows."""
        return Sites([self.table(np.ones(len(self.home), dtype=bool), 1)])


@dataclass(eq=False)
class Sites:
    """An `Exchange` over tables; `masked` rounds as masks do, and holds the answers to the release contract."""

    tables: Sequence[Table]
    asked: list[str] = field(default_factory=list)
    sent: list[Content] = field(default_factory=list)
    masked: bool = False

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(table.node for table in self.tables)

    def replies(self, message_type: str, content: Content) -> dict[int, Arrays]:
        """Each site's answer."""
        self.asked.append(message_type)
        self.sent.append(content)
        answer = ANSWERS[message_type.removeprefix("query.")]
        return {table.node: answer(table, request(content)) for table in self.tables}

    def __call__(self, message_type: str, content: Content) -> Sums:
        found = self.replies(message_type, content)
        if self.masked:
            found = {node: fixed_point(message_type, arrays, len(found)) for node, arrays in found.items()}
        return add_up(found)

    def ask(self, message_type: str, content: Content) -> Answers:
        """As an `Ask` whose answers can be read."""
        replies = self.replies(message_type, content)
        return Answers(add_up(replies), {f"DIZ {node - 2**63}": r for node, r in replies.items()}, len(replies), 0)


def request(content: Content) -> Request:
    """A message's content as a site reads it."""
    parts = [(k, v) for part in content.values() for k, v in part.items()]
    arrays = {k: v for k, v in parts if isinstance(v, np.ndarray)}
    return Request({k: v for k, v in parts if k not in arrays}, arrays)


@lru_cache(maxsize=1)
def contract() -> dict[str, Any]:
    """The app's messages, by type."""
    pyproject = Path(gene_expression.__file__).parents[1] / "pyproject.toml"
    messages: dict[str, Any] = tomllib.loads(pyproject.read_text())["tool"]["flame"]["messages"]
    return messages


def fixed_point(message_type: str, arrays: Arrays, sites: int) -> Arrays:
    """An answer as a masked sum has it: in steps of its bound times the sites over 2^63 (docs/secure-aggregation.md).

    Fails where a name, kind of number, shape or bound is not that of the release contract.
    """
    declared = {array["name"]: array for array in contract()[message_type]["arrays"]}
    assert arrays.keys() == declared.keys(), message_type
    found = {}
    for name, array in arrays.items():
        terms = declared[name]
        assert str(array.dtype) == terms["dtype"], (message_type, name)
        assert len(array.shape) == len(terms["shape"]), (message_type, name)
        for size, most in zip(array.shape, terms["shape"], strict=True):
            assert size <= int(most.removeprefix("<=")) if isinstance(most, str) else size == most, (message_type, name)
        assert np.abs(array).max(initial=0) <= terms["max_abs"], (message_type, name)
        step = np.longdouble(terms["max_abs"]) * sites / np.longdouble(2) ** 63
        rounded = np.asarray(np.rint(array / step) * step, dtype=np.float64)
        found[name] = array if array.dtype == np.int64 else rounded
    return found


def make(n: int = 150, seed: int = 0, *, ties: bool = True) -> Study:
    """Classes and times that depend on four of the genes and age; uneven sites; a third for testing."""
    rng = np.random.default_rng(seed)
    home = rng.choice(5, size=n, p=[0.35, 0.25, 0.2, 0.12, 0.08])
    genes = rng.normal(8, 1, (n, len(GENES))) + 0.4 * rng.normal(size=(5, len(GENES)))[home]
    genes[:, 1] = 0.6 * genes[:, 0] + 0.8 * genes[:, 1]
    age = np.round(rng.normal(60, 10, n), 1)
    centred = genes - genes.mean(axis=0)
    eta = centred[:, :4] @ np.array([1.0, -0.9, 0.8, 0.5]) + 0.03 * (age - 60)
    time, end = rng.exponential(350 * np.exp(-1.2 * eta)), rng.uniform(60, 1000, n)
    died, time = (time <= end).astype(float), np.minimum(time, end)
    numbers = {
        "age": age,
        "time": np.ceil(time / 30) * 30 if ties else np.round(time, 3) + 0.001,
        "died": died,
    }
    codes = {
        "group": (rng.random(n) < 1 / (1 + np.exp(-2.5 * eta))).astype(np.int64),
        "sex": rng.integers(0, 2, n),
        "stage": np.digitize(eta + rng.normal(size=n), [-0.8, 0.8]).astype(np.int64),
        "split": (rng.random(n) < 1 / 3).astype(np.int64),
    }
    return Study(np.round(genes, 4), numbers, codes, home, tuple(f"P{i}" for i in range(n)))


def write(study: Study, path: Path) -> None:
    """The study as R reads it."""
    names = [*study.panel, *study.numbers, *study.codes, "home"]
    columns = [*study.genes.T, *study.numbers.values(), *study.codes.values(), study.home]
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        out.writerows([repr(value.item()) for value in row] for row in zip(*columns, strict=True))


@lru_cache(maxsize=1)
def frozen_study() -> Study:
    """The study that R's frozen results are about, as it is in its file."""
    with (FROZEN / "phenotype_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    made = make()
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    return Study(
        np.column_stack([column[gene] for gene in GENES]),
        {name: column[name] for name in made.numbers},
        {name: column[name].astype(np.int64) for name in made.codes},
        column["home"].astype(np.int64),
        tuple(f"P{i}" for i in range(len(rows))),
    )


def results(folder: Path = FROZEN) -> dict[tuple[str, str], list[float]]:
    """R's numbers by what and where."""
    with (folder / "phenotype_results.csv").open() as file:
        found: dict[tuple[str, str], list[float]] = {}
        for row in csv.DictReader(file):
            found.setdefault((row["what"], row["of"]), []).append(float(row["value"]))
    return found


def run_r(folder: Path) -> dict[tuple[str, str], list[float]]:
    """R's numbers, made now; skips, or fails where everything is required, without R."""
    program = shutil.which("Rscript") or ""
    wanted = "library(glmnet); library(survival)"
    if not program or subprocess.run([program, "-e", wanted], capture_output=True, check=False).returncode:
        packages = "r-base-core r-cran-glmnet r-cran-survival"
        text = f"Rscript with glmnet and survival is not installed: apt-get install {packages}"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    data, out = FROZEN / "phenotype_data.csv", folder / "phenotype_results.csv"
    subprocess.run([program, str(SCRIPT), str(data), str(out)], check=True, capture_output=True)
    return results(folder)
