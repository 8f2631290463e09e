"""A made-up case-control study in memory: DIZ with unequal shares, missing calls, variants that not all of them have.

Drawn from uniform numbers alone, so that it stays the same whatever NumPy does with its distributions: frozen results
of PLINK 2 belong to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from gwas import approved, site_logistic
from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site import Request, Site

LEVELS = {"batch": ("a", "b", "c")}
SHARES = (0.35, 0.25, 0.2, 0.12, 0.08)


def settings_of(**said: Any) -> Settings:
    """Of a logistic analysis of this study; what is not said is empty, or 0."""
    empty = {str: "", int: 0, float: 0.0, bool: False}
    values = {f.name: empty.get(f.type, ()) for f in fields(Settings)}
    values |= {"analysis": "logistic", "set": "own", "panel": "made", "phenotype": "disease", "cases": "2"}
    values |= {"covariates": ("age", "batch"), "levels": LEVELS, "missing": "exclude", "mind": 1.0, "chunk": 5000}
    values |= {"min_carriers": 1, "min_sites": 1, "firth": "fallback", "coefficient_limit": 30.0, "saturation": 10.0}
    return Settings(**{**values, **said})


class Calls:
    """Genotypes in memory, with the two methods that answers use."""

    def __init__(self, calls: np.ndarray) -> None:
        self.calls = calls

    @property
    def present(self) -> np.ndarray:
        return (self.calls >= 0).any(axis=0)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.asfortranarray(self.calls[:, start:stop])

    def pick(self, indices: np.ndarray) -> np.ndarray:
        return np.asfortranarray(self.calls[:, indices])


@dataclass(frozen=True, eq=False)
class Study:
    """n patients of five DIZ.

    Attributes:
        calls: (n, m) copies of alt, -1 missing.
        age: (n,) NaN where missing.
        batch: (n,) 0 to 2, -1 missing.
        disease: (n,) 2 for cases, 1 for controls, NaN missing.
        owner: (n,) whose patient it is.
    """

    calls: np.ndarray
    age: np.ndarray
    batch: np.ndarray
    disease: np.ndarray
    owner: np.ndarray

    @property
    def panel(self) -> Panel:
        m = self.calls.shape[1]
        texts = {"ref": np.array(["G"] * m, dtype=object), "alt": np.array(["A"] * m, dtype=object)}
        values = {
            **{f.name: "made" for f in fields(Panel)},
            **texts,
            "chromosome": np.full(m, 7, dtype=np.uint8),
            "position": np.arange(1, m + 1),
            "alt_frequency": np.full(m, np.nan, dtype=np.float32),
            "stored_ids": np.array([f"v{place}" for place in range(m)], dtype=object),
        }
        return Panel(**values)

    def sites(self) -> list[Site]:
        panel, found = self.panel, []
        for node in np.unique(self.owner):
            of = self.owner == node
            values = {
                "node": int(node),
                "panel": panel,
                "samples": int(of.sum()),
                "numbers": {"age": self.age[of], "disease": self.disease[of]},
                "codes": {"batch": self.batch[of]},
                "levels": LEVELS,
                "sex": np.zeros(of.sum(), dtype=np.int8),
                "train": np.ones(of.sum(), dtype=bool),
                "genotypes": Calls(self.calls[of]),
                "patients": tuple(f"p{row}" for row in np.flatnonzero(of)),
            }
            found.append(Site(**{f.name: values[f.name] for f in fields(Site)}))
        return found

    def complete(self) -> np.ndarray:
        """(n,) who has a phenotype and all covariates."""
        return np.isfinite(self.age) & (self.batch >= 0) & np.isfinite(self.disease)

    def design(self) -> dict[str, np.ndarray]:
        """The arrays by which a message describes the columns."""
        age = self.age[self.complete()]
        return {"centre": np.array([age.mean(), 0.0]), "scale": np.array([age.std(), 1.0])}

    def withheld(self, variant: int, least: int) -> bool:
        """Whether few but some have one of the genotypes, leave the test, or are left, of a level, or of the cases.

        Missing calls are imputed.
        """
        of, g = self.complete(), self.calls[:, variant].astype(int)
        tested = np.zeros(len(of), dtype=bool)
        for node in np.unique(self.owner):
            own = of & (self.owner == node)
            if (known := own & (g >= 0)).any():
                g[own & (g < 0)] = np.bincount(g[known]).argmax()
                tested |= own
        kinds = [self.batch == code for code in range(3)] + [self.disease == code for code in (1, 2)]
        most = [(tested & kind).sum() for kind in kinds] + [(tested & (self.calls[:, variant] >= 0)).sum()]
        some = [(tested & (g == copies)).sum() for copies in range(3)] + [(of & ~tested & kind).sum() for kind in kinds]
        return min(most) < least or any(0 < count < least for count in some)

    def pooled(self, variant: int | None = None, *, impute: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Columns and outcome of the samples that a variant's test is of, the genotype last."""
        of, arrays = self.complete(), self.design()
        columns = [np.ones(len(of)), (self.age - arrays["centre"][0]) / arrays["scale"][0]]
        columns += [(self.batch == code) * 1.0 for code in (1, 2)]
        if variant is not None:
            g = self.calls[:, variant].astype(float)
            if impute:
                for node in np.unique(self.owner):
                    own = of & (self.owner == node)
                    known = own & (g >= 0)
                    if known.any():
                        g[own & (g < 0)] = np.bincount(g[known].astype(int)).argmax()
            of = of & (g >= 0)
            columns.append(g)
        return np.column_stack(columns)[of], (self.disease == 2)[of] * 1.0


def study(seed: int = 1, n: int = 500, m: int = 60, rare: float = 0.0) -> Study:
    """Draw one; a share `rare` of the variants has few carriers."""
    draw = np.random.default_rng(seed).random
    frequency = np.where(np.arange(m) < rare * m, 0.002 + 0.015 * draw(m), 0.06 + 0.4 * draw(m))
    calls = (draw((n, m)) < frequency).astype(np.int8) + (draw((n, m)) < frequency)
    calls[draw((n, m)) < 0.015] = -1
    owner = 1 + np.searchsorted(np.cumsum(SHARES)[:-1], draw(n))
    calls[np.ix_(owner == 5, np.arange(3, m, 10))] = -1  # variants that the smallest DIZ lacks
    age = 30 + 50 * draw(n)
    batch = (3 * draw(n)).astype(np.int64)
    eta = -1 + 0.03 * (age - 55) + 0.4 * (batch == 2) + 0.9 * np.maximum(calls[:, -1], 0) * (m > 1)
    disease = np.where(draw(n) < 1 / (1 + np.exp(-eta)), 2.0, 1.0)
    age[draw(n) < 0.01], batch[draw(n) < 0.01], disease[draw(n) < 0.01] = np.nan, -1, np.nan
    return Study(calls.astype(np.int8), age, batch, disease, owner)


@dataclass(eq=False)
class Asked:
    """An exchange over DIZ in memory: answers are checked, guarded as the gates do, and summed.

    Attributes:
        sites: The DIZ.
        settings: The run's.
        min_total: Rows with fewer carriers of an allele over all DIZ are withheld, or of a class of people, but some.
        grid: What sums are rounded to; 0 for nothing.
        seen: Message types and how many rows were asked.
    """

    sites: list[Site]
    settings: Settings
    min_total: int = 1
    grid: float = 0.0
    seen: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, message: str, content: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
        query = message.removeprefix("query.")
        said = {key: value for part in content.values() for key, value in part.items()}
        arrays = {key: value for key, value in said.items() if isinstance(value, np.ndarray)}
        request = Request({key: value for key, value in said.items() if key not in arrays}, arrays)
        approved.check(query, request, self.settings, self.sites[0].panel)
        self.seen.append((query, len(arrays["coefficients"])))
        answers = [site_logistic.ANSWERS[query](site, request, self.settings) for site in self.sites]
        total = {name: np.sum([answer[name] for answer in answers], axis=0) for name in answers[0]}
        carriers, classes = total.pop("carriers"), total.pop("classes")
        some = ((classes > 0) & (classes < self.min_total)).any(axis=1)
        few = (carriers < self.min_total).any(axis=1)
        for name, array in total.items():
            array[some if name.startswith("left") else some | few] = 0
            if self.grid and array.dtype.kind == "f":
                np.copyto(array, np.round(array / self.grid) * self.grid)
        return total


def asked(of: Study, *, min_total: int = 1, grid: float = 0.0, **said: Any) -> Asked:
    """The exchange of a study under some settings."""
    return Asked(of.sites(), settings_of(**{"min_carriers": max(min_total, 1), **said}), min_total, grid)


def changed(of: Study, **said: np.ndarray) -> Study:
    """The study with some columns changed."""
    return replace(of, **said)
