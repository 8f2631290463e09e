"""The samples of all DIZ in one place, for comparisons: outside the gate, of a simulation's data.

Phenotype and covariates are read from the sheets with the standard library's tools and PyArrow's, and put together
here, without the code that the DIZ run; only the .bed files are read by the same module, which tests compare with
PLINK. Principal components are those of a singular value decomposition of the pooled genotypes.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from gwas.panel import MT, Panel, X, Y
from gwas.prepare import STORE, read_stamp
from gwas.settings import Settings
from gwas.site import Site
from gwas.store import SAMPLES_FILE, load_site

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

_WIDTH = 2_000


@dataclass(frozen=True, eq=False)
class Pooled:
    """All samples of a simulation.

    Attributes:
        settings: The run's.
        panel: Its variants.
        sites: The DIZ, for their genotypes.
        sheets: Their sample sheets, each column a list.
    """

    settings: Settings
    panel: Panel
    sites: tuple[Site, ...]
    sheets: tuple[dict[str, list[Any]], ...]

    @classmethod
    def read(cls, data: Path, settings: Settings) -> "Pooled":
        """Read what `prepare` wrote.

        Raises:
            InputError: `data` was not written by it, or a store cannot be read.
        """
        folders = [data / node / STORE for node in read_stamp(data)["nodes"]]
        sites = tuple(load_site(folder, settings, number) for number, folder in enumerate(folders, 1))
        sheets = tuple(pq.ParquetFile(folder / SAMPLES_FILE).read().to_pydict() for folder in folders)
        return cls(settings, sites[0].panel, sites, sheets)

    def column(self, name: str) -> list[Any]:
        """A column of all sheets, DIZ after DIZ."""
        return [cell for sheet in self.sheets for cell in sheet.get(name, [None] * len(sheet["sample_id"]))]

    @cached_property
    def diz(self) -> Int:
        """(n,) which DIZ."""
        return np.repeat(np.arange(len(self.sites)), [site.samples for site in self.sites])

    @cached_property
    def sex(self) -> Int:
        """(n,) 1 male, 2 female, 0 unknown."""
        return np.array([int(cell) if cell in (1, 2) else 0 for cell in self.column("sex")], dtype=np.int64)

    @cached_property
    def test(self) -> Bool:
        """(n,) held out for a score."""
        return np.array([cell == "test" for cell in self.column("split")], dtype=np.bool_)

    @cached_property
    def phenotype(self) -> Float:
        """(n,) NaN where missing; a disease as 0 and 1."""
        values = _numbers(self.column(self.settings.phenotype))
        if not self.settings.binary:
            return values
        control, case = self.settings.coding
        return np.select([values == case, values == control], [1.0, 0.0], np.nan)

    @cached_property
    def covariates(self) -> Float:
        """(n, q) ones, then the covariates; NaN where missing."""
        columns = [np.ones(len(self.diz))]
        for name in self.settings.covariates:
            cells = self.column(name)
            levels = self.settings.levels.get(name)
            if levels is None:
                columns.append(_numbers(cells))
                continue
            words = [_word(cell) for cell in cells]
            known = np.array([word in levels for word in words])
            columns += [np.where(known, [float(word == level) for word in words], np.nan) for level in levels[1:]]
        return np.column_stack(columns)

    @cached_property
    def complete(self) -> Bool:
        """(n,) whether phenotype, covariates and enough genotypes are there."""
        found = np.isfinite(self.phenotype) & np.isfinite(self.covariates).all(axis=1)
        return np.asarray(found & (self.missing <= self.settings.mind + 1e-12))

    @cached_property
    def analysed(self) -> Bool:
        """(n,) whether a sample enters the scan; of a score, whether it trains as well."""
        return self.complete & ~self.test if self.settings.analysis == "score" else self.complete

    @cached_property
    def missing(self) -> Float:
        """(n,) the share of genotypes not called, of those that the DIZ has of the panel; of Y, in males."""
        missing, counted = np.zeros((2, len(self.diz)))
        for start, stop in self.panel.chunks(_WIDTH):
            there = np.concatenate(
                [np.tile(site.genotypes.present[start:stop], (site.samples, 1)) for site in self.sites]
            )
            if self.panel.chromosome[start] == Y:
                there &= (self.sex == 1)[:, None]
            calls = np.concatenate([site.genotypes.read(start, stop) for site in self.sites])
            missing += ((calls < 0) & there).sum(axis=1)
            counted += there.sum(axis=1)
        return missing / np.maximum(counted, 1)

    @cached_property
    def few(self) -> Bool:
        """(DIZ, p) whether the DIZ goes without a common variant, because fewer than ``min-carriers`` carry an allele.

        Of the run config: common is what the panel's own frequency says (``pca-maf``); analysed samples are looked at.
        """
        found = np.zeros((len(self.sites), self.panel.size), dtype=np.bool_)
        alt, least = self.panel.alt_frequency.astype(np.float64), self.settings.min_carriers
        common = (np.fmin(alt, 1 - alt) >= self.settings.pca_maf) & (self.panel.chromosome < X)
        for number, site in enumerate(self.sites):
            mine = self.analysed[self.diz == number]
            for start in range(0, self.panel.size, _WIDTH):
                index = np.arange(start, min(start + _WIDTH, self.panel.size))
                calls = site.genotypes.pick(index)[mine]
                for people in ((calls > 0).sum(axis=0), ((calls == 0) | (calls == 1)).sum(axis=0)):
                    found[number, index] |= common[index] & (people > 0) & (people < least)
        return found

    def calls(self, index: Int) -> npt.NDArray[np.int8]:
        """(n, m) copies of alt of variants of one kind of chromosome, -1 missing; haploid where the chromosome is."""
        found = np.concatenate([site.genotypes.pick(index) for site in self.sites])
        found[self.few[:, index][self.diz]] = -1
        chromosome = self.panel.chromosome[index]
        male = (self.sex == 1)[:, None]
        haploid = (chromosome == MT) | (np.isin(chromosome, (X, Y)) & male)
        found[haploid & (found == 1)] = -1
        found[(chromosome == Y) & ~male] = -1
        return np.asarray(found)

    def filled(self, index: Int) -> tuple[Float, Bool]:
        """(n, m) copies, a missing call as its DIZ's most frequent one, and whether the DIZ has the variant.

        The most frequent among the analysed samples, or of a score's test samples among these.
        """
        calls = self.calls(index)
        copies, there = np.where(calls < 0, 0, calls).astype(np.float64), np.zeros(calls.shape, dtype=np.bool_)
        for number in range(len(self.sites)):
            for part in (self.analysed, ~self.analysed & self.complete, ~self.complete):
                rows = (self.diz == number) & part
                copies[rows] = np.where(calls[rows] < 0, _mode(calls[rows]), calls[rows])
                there[rows] = (calls[rows] >= 0).any(axis=0)
        return copies, there

    def imputed(self, index: Int) -> tuple[Float, Bool]:
        """(n, m) copies of the analysed samples, and which of them enter each variant's test.

        A missing call is its DIZ's most frequent one with ``missing = "impute"``, and leaves the test with "exclude".
        """
        if self.settings.missing == "exclude":
            calls = self.calls(index)[self.analysed]
            return np.where(calls >= 0, calls, 0).astype(np.float64), calls >= 0
        copies, there = self.filled(index)
        return copies[self.analysed], there[self.analysed]

    def components(self, index: Int, count: int) -> tuple[Float, Float]:
        """Principal components of the pooled genotypes of variants.

        Args:
            index: (p1,) places in the panel.
            count: K.

        Returns:
            Loadings (p1, K), and scores (n, K) of all samples.
        """
        calls = self.calls(index)[self.analysed]
        known = np.maximum((calls >= 0).sum(axis=0), 1)
        frequency = np.where(calls >= 0, calls, 0).sum(axis=0) / known / 2
        standardised = (self.filled(index)[0] - 2 * frequency) / np.sqrt(2 * frequency * (1 - frequency))
        loadings = np.linalg.svd(standardised[self.analysed], full_matrices=False)[2][:count].T
        return loadings, standardised @ loadings

    def design(self, scores: Float | None) -> Float:
        """(n, q) covariates with principal components, these of unit spread."""
        if scores is None:
            return self.covariates
        return np.column_stack([self.covariates, scores / scores[self.analysed].std(axis=0)])


def _mode(calls: npt.NDArray[np.int8]) -> Float:
    """(m,) the most frequent number of copies in calls (n, m), the lowest of a tie; 0 where there is none."""
    found = np.zeros(calls.shape[1])
    for column, own in enumerate(calls.T):
        values, often = np.unique(own[own >= 0], return_counts=True)
        found[column] = values[often.argmax()] if len(values) else 0.0
    return found


def _numbers(cells: list[Any]) -> Float:
    found = np.array([np.nan if cell is None or isinstance(cell, str) else float(cell) for cell in cells])
    return np.where(np.isfinite(found), found, np.nan)


def _word(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).lower() if isinstance(cell, bool) else str(cell)
