"""Made-up panels and scans of them, as a run leaves them on disk."""

import math
from pathlib import Path

import numpy as np
from gwas.panel import Panel
from gwas.results import COLUMNS, LINEAR, OK, RARE, Associations
from scipy import stats

ALLELES = np.array(["A", "C", "G", "T"], dtype=object)


def panel_of(chromosome, position, ids=None, ref=None, alt=None):
    """A panel of variants that are given by place."""
    size = len(chromosome)
    rng = np.random.default_rng(size)
    first = rng.integers(0, 4, size)
    return Panel(
        name="made",
        title="made up",
        origin="made up",
        build="made-up",
        chromosome=np.asarray(chromosome, dtype=np.uint8),
        position=np.asarray(position, dtype=np.int64),
        ref=ALLELES[first] if ref is None else np.array(ref, dtype=object),
        alt=ALLELES[(first + rng.integers(1, 4, size)) % 4] if alt is None else np.array(alt, dtype=object),
        alt_frequency=np.full(size, np.nan, dtype=np.float32),
        stored_ids=np.array([f"rs{row + 1}" for row in range(size)] if ids is None else ids, dtype=object),
    )


def genome(size, chromosomes=22, seed=0):
    """A panel of `size` variants, dealt out over chromosomes of unequal length."""
    rng = np.random.default_rng(seed)
    chromosome = np.sort(rng.choice(np.arange(1, chromosomes + 1), size, p=_shares(chromosomes)))
    position = rng.integers(1, 2_000_000_000 // (chromosome + 7))
    order = np.lexsort([position, chromosome])
    return panel_of(chromosome[order], position[order], ids=[""] * size)


def columns_of(index, z, n=5000, status=None):
    """A chunk of tests with these z."""
    size = len(index)
    log10p = np.maximum(-(stats.norm.logsf(np.abs(z)) + math.log(2)) / math.log(10), 0.0)
    table = {
        "index": index,
        "n": np.full(size, n),
        "alt_count": np.linspace(0.02, 1.98, size) * n,
        "beta": z * 0.01,
        "se": np.full(size, 0.01),
        "stat": z,
        "p": 10.0**-log10p,
        "log10p": log10p,
        "status": np.full(size, OK) if status is None else status,
        "test": np.full(size, LINEAR),
        "sites": np.full(size, 5),
    }
    for name in ("beta", "se", "stat", "p", "log10p"):
        table[name] = np.where(table["status"] == OK, table[name], np.nan)
    return table


def scan(folder: Path, panel: Panel, z, width=1000, rare=0.0):
    """The tests of a panel, in chunks."""
    found = Associations.begin(folder / "associations", {"width": width})
    rng = np.random.default_rng(7)
    for start, stop in panel.chunks(width):
        status = np.where(rng.random(stop - start) < rare, RARE, OK)
        found.append(start, columns_of(np.arange(start, stop), z[start:stop], status=status))
    return found


def whole(associations: Associations):
    """All parts in memory."""
    parts = list(associations.parts())
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _shares(chromosomes):
    length = 1 / (np.arange(1, chromosomes + 1) + 7)
    return length / length.sum()
