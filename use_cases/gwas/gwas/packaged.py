"""Public sets out of packages that are installed, and synthetic ones; nothing is downloaded.

=========  ============  ==========================================================================================
set        package       what
=========  ============  ==========================================================================================
synthetic  –             made up, see `synthetic`
snpstats   R: snpStats   1,000 people of HapMap's CEU and of JPT and CHB, 28,501 variants of chromosome 10, and the case
                         and control labels of an exercise (for.exercise; Clayton and Leung, Human Heredity 64, 2007)
=========  ============  ==========================================================================================

R runs as a program of its own (``export_snpstats.R``). Its quantitative trait is made up here: a few variants and a
difference between the populations.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwas import synthetic
from gwas.errors import InputError
from gwas.harmonise import Variants, complement
from gwas.panel import AUTOSOMES, chromosome_name
from gwas.readers import Calls, Source, read_source, steps
from gwas.tables import read_text

_MEND = "apt-get install r-base-core r-bioc-snpstats"


@dataclass(frozen=True, eq=False)
class PackagedSet:
    """One set.

    Attributes:
        source: Variants, people and calls.
        columns: (n,) by name, of the same people.
        site: (n,) which virtual DIZ a sample lies at, from 0.
    """

    source: Source
    columns: Mapping[str, list[Any]]
    site: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Delivery:
    """How one DIZ's files have their variants.

    Attributes:
        keep: (v,) which of them.
        turned: (v,) whether A1 and A2 change places.
        flipped: (v,) whether the letters are those of the other strand.
    """

    keep: npt.NDArray[np.bool_]
    turned: npt.NDArray[np.bool_]
    flipped: npt.NDArray[np.bool_]

    @classmethod
    def plain(cls, count: int) -> "Delivery":
        """As the source has them."""
        return cls(np.ones(count, bool), np.zeros(count, bool), np.zeros(count, bool))


def load(name: str, nodes: int, seed: int) -> PackagedSet:
    """Read or make a set.

    Args:
        name: One of `SETS`.
        nodes: DIZ.
        seed: Of what is made up.

    Raises:
        InputError: There is no such set, or what holds it is not installed.
    """
    if name not in SETS:
        raise InputError(f"There is no packaged set {name!r}; choose one of {', '.join(SETS)}.")
    return SETS[name](nodes, seed)


def _synthetic(nodes: int, seed: int) -> PackagedSet:
    cohort = synthetic.make(nodes=nodes, seed=seed)
    panel = cohort.panel
    words = [chromosome_name(int(code)) for code in panel.chromosome]
    variants = Variants(panel.chromosome, panel.position, panel.alt, panel.ref, panel.id)
    columns: dict[str, list[Any]] = {
        name: [None if np.isnan(value) else value for value in column.tolist()]
        for name, column in cohort.columns.items()
    }
    source = Source(variants, words, cohort.patients, {}, lambda: in_blocks(cohort.calls))
    return PackagedSet(source, columns, cohort.site)


def in_blocks(calls: Calls) -> Iterator[Calls]:
    """Calls that are in memory, as a source gives them."""
    for start, stop in steps(calls.shape[1], len(calls)):
        yield calls[:, start:stop]


def _snpstats(nodes: int, seed: int) -> PackagedSet:
    program = shutil.which("Rscript")
    if program is None:
        raise InputError(f"The set snpstats is in an R package, and Rscript is not installed: {_MEND}")
    script = Path(__file__).with_name("export_snpstats.R")
    with tempfile.TemporaryDirectory(prefix="gwas-") as folder:
        done = subprocess.run([program, str(script), folder], capture_output=True, check=False)  # noqa: S603 -- ours
        if done.returncode == 3:
            raise InputError(f"The R package snpStats is not installed: {_MEND}")
        if done.returncode:
            raise InputError(f"R could not export the set snpstats (exit status {done.returncode}); {_MEND}")
        source = read_source(Path(folder) / "snps.bed")
        calls = np.concatenate(list(source.blocks()), axis=1)
        rows = [line.split("\t") for line in read_text(Path(folder) / "samples.tsv").splitlines()[1:]]
    case, stratum = np.array([int(row[1]) for row in rows]), np.array([row[2] for row in rows])
    generator = np.random.default_rng([seed, nodes, len(rows)])
    east = stratum != "CEU"
    site = _dealt(east, nodes, generator)
    trait = _trait(calls, east, generator)
    columns: dict[str, list[Any]] = {
        "cc": [value + 1 for value in case.tolist()],
        "stratum": stratum.tolist(),
        "trait": np.round(trait, 4).tolist(),
    }
    source = Source(source.variants, source.words, source.people, {}, lambda: in_blocks(calls))
    return PackagedSet(source, columns, site)


def _dealt(east: npt.NDArray[np.bool_], nodes: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """(n,) DIZ: each population is spread over all of them, unevenly."""
    shares = np.linspace(1.0, 2.0, nodes)
    of = np.empty(len(east), dtype=np.intp)
    for group, weights in ((east, shares), (~east, shares[::-1])):
        of[group] = generator.choice(nodes, int(group.sum()), p=weights / weights.sum())
    return of


def _trait(calls: Calls, east: npt.NDArray[np.bool_], generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """(n,) ten common variants, half a standard deviation between the populations, and noise."""
    known = np.where(calls < 0, 0, calls)
    frequency = known.mean(axis=0) / 2
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) > 0.2)
    causal = generator.choice(common, 10, replace=False)
    effects = generator.choice((-0.3, 0.3), 10)
    return np.asarray(known[:, causal] @ effects + 0.5 * east + generator.normal(0, 0.8, len(calls)))


def uneven(variants: Variants, nodes: int, seed: int) -> dict[str, Delivery]:
    """Files that do not agree, by DIZ.

    The second DIZ has two in ten variants with swapped alleles and one in ten on the other strand, but for A/T and C/G,
    which nobody could tell apart then; the fourth one lacks the last autosome.
    """
    count = len(variants.position)
    generator = np.random.default_rng([seed, count])
    clear = np.array([complement(a1) != a2 for a1, a2 in zip(variants.a1, variants.a2, strict=True)], dtype=bool)
    every, none = np.ones(count, bool), np.zeros(count, bool)
    found = {}
    if nodes >= 2:
        found["DIZ-2"] = Delivery(every, generator.random(count) < 0.2, clear & (generator.random(count) < 0.1))
    if nodes >= 4:
        autosomes = variants.chromosome[variants.chromosome <= AUTOSOMES]
        found["DIZ-4"] = Delivery(variants.chromosome != autosomes.max(), none, none)
    return found


SETS: Mapping[str, Callable[[int, int], PackagedSet]] = {"synthetic": _synthetic, "snpstats": _snpstats}
