"""Made-up DIZ in memory: what the gwas app's site modules see, without any file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gwas.harmonise import ABSENT, AS_IS
from gwas.panel import Panel
from gwas.site import Site

PAIRS = ("AG", "CT", "AC", "GT")


@dataclass(frozen=True, eq=False)
class Memory:
    """Stands in for `Genotypes`: calls (n, p) int8 of the panel's alt, -1 missing."""

    calls: np.ndarray
    harmony: np.ndarray

    @property
    def present(self) -> np.ndarray:
        return (self.harmony >= 1) & (self.harmony <= 4)

    @property
    def samples(self) -> int:
        return len(self.calls)

    def without(self, absent: np.ndarray) -> "Memory":
        return Memory(self.calls, np.where(absent, ABSENT, self.harmony).astype(np.int8))

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.pick(np.arange(start, stop))

    def pick(self, indices: np.ndarray) -> np.ndarray:
        found = np.asfortranarray(self.calls[:, indices]).copy(order="F")
        found[:, ~self.present[indices]] = -1
        return found


def panel(chromosome: Any, frequency: Any = None) -> Panel:
    """A panel with variants of these chromosomes (rising codes), letters AG, CT, AC, GT."""
    chromosome = np.asarray(chromosome, dtype=np.uint8)
    count = len(chromosome)
    pairs = [PAIRS[row % len(PAIRS)] for row in range(count)]
    known = np.full(count, np.nan) if frequency is None else frequency
    return Panel(
        "made",
        "Made-up variants",
        "a test",
        "made-up",
        chromosome,
        np.arange(1, count + 1, dtype=np.int64) * 1000,
        np.array([pair[0] for pair in pairs], dtype=object),
        np.array([pair[1] for pair in pairs], dtype=object),
        np.asarray(known, dtype=np.float32),
        np.array([f"made{row}" for row in range(count)], dtype=object),
    )


def site(
    calls: np.ndarray,
    *,
    of: Panel | None = None,
    numbers: dict[str, Any] | None = None,
    codes: dict[str, Any] | None = None,
    levels: dict[str, tuple[str, ...]] | None = None,
    sex: Any = None,
    train: Any = None,
    absent: Any = (),
    node: int = 1,
    patients: tuple[str, ...] | None = None,
) -> Site:
    """One DIZ with these calls (n, p); `absent` names variants that it lacks."""
    n, p = calls.shape
    harmony = np.full(p, AS_IS, dtype=np.int8)
    harmony[list(absent)] = ABSENT
    sexes = np.zeros(n) if sex is None else np.asarray(sex)
    return Site(
        node=node,
        panel=of or panel(np.ones(p)),
        samples=n,
        numbers={"sex": sexes.astype(float)} | {k: np.asarray(v, dtype=float) for k, v in (numbers or {}).items()},
        codes={key: np.asarray(value, dtype=np.int64) for key, value in (codes or {}).items()},
        levels=levels or {},
        sex=sexes.astype(np.int8),
        train=np.ones(n, dtype=bool) if train is None else np.asarray(train, dtype=bool),
        genotypes=Memory(np.asarray(calls, dtype=np.int8), harmony),
        patients=tuple(f"p{node}-{row}" for row in range(n)) if patients is None else patients,
    )


def cut(whole: Site, parts: list[np.ndarray]) -> list[Site]:
    """A made-up study as several DIZ: the rows of each, nodes 1, 2, ..."""
    return [
        Site(
            node=node,
            panel=whole.panel,
            samples=len(rows),
            numbers={key: value[rows] for key, value in whole.numbers.items()},
            codes={key: value[rows] for key, value in whole.codes.items()},
            levels=whole.levels,
            sex=whole.sex[rows],
            train=whole.train[rows],
            genotypes=Memory(whole.genotypes.calls[rows], whole.genotypes.harmony),
            patients=tuple(whole.patients[row] for row in rows),
        )
        for node, rows in enumerate(parts, start=1)
    ]
