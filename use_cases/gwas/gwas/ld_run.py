"""Pruning, as the hub runs it: which variants principal components are of.

Candidates have passed the quality control, lie on autosomes and are common (``pca-maf``). Chromosome by chromosome,
the DIZ are asked for sums of products within the window, in stretches, and the hub prunes (`ld_pruning` of
flame_strategies).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from flame_strategies.ld_pruning import prune
from flame_strategies.sums import Exchange

from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site_scaled import weighable

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_STRETCH = 5_000
"""Variants in one answer."""


@dataclass(frozen=True, eq=False)
class Common:
    """Variants that a model of all of the genome is of.

    Attributes:
        index: (m,) places in the panel, in order.
        mean: (m,) pooled means of the copies, 2 f.
        scale: (m,) sqrt(2 f (1 - f)).
    """

    index: Int
    mean: Float
    scale: Float

    @property
    def size(self) -> int:
        """How many, m."""
        return len(self.index)

    def take(self, kept: npt.NDArray[np.bool_] | Int | slice) -> "Common":
        """Some of them."""
        return Common(self.index[kept], self.mean[kept], self.scale[kept])

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[np.generic]]:
        """As a message names them."""
        return {f"{prefix}_index": self.index, f"{prefix}_mean": self.mean, f"{prefix}_scale": self.scale}


class Checked(Protocol):
    """What the quality control found."""

    @property
    def passed(self) -> Bool:
        """(p,) which variants passed."""

    @property
    def alt_frequency(self) -> Float:
        """(p,) NaN where unknown."""

    @property
    def sites(self) -> npt.NDArray[np.int16]:
        """(p,) DIZ that have the variant."""


def common(panel: Panel, quality: Checked, settings: Settings) -> Common:
    """Variants that may take weights, passed the quality control, are at all DIZ, and are common in the data as well.

    DIZ refuse weights on others.
    """
    least = settings.pca_maf
    passed, alt_frequency = quality.passed, quality.alt_frequency
    minor = np.minimum(alt_frequency, 1 - alt_frequency)
    with np.errstate(invalid="ignore"):
        chosen = (
            passed
            & (quality.sites == quality.sites.max(initial=0))
            & weighable(panel, settings)
            & (minor >= least)
            & (minor > 0)
        )
    index = np.flatnonzero(chosen)
    frequency = alt_frequency[index]
    return Common(index, 2 * frequency, np.sqrt(2 * frequency * (1 - frequency)))


def pruned(exchange: Exchange, candidates: Common, panel: Panel, settings: Settings) -> Common:
    """What pruning leaves of the candidates."""
    kept = np.zeros(candidates.size, dtype=np.bool_)
    chromosome = panel.chromosome[candidates.index]
    for code in np.unique(chromosome):
        places = np.flatnonzero(chromosome == code)
        band = band_of(exchange, candidates.take(places), settings.ld_window)
        kept[places] = prune(band, candidates.mean[places] / 2, step=settings.ld_step, r2=settings.ld_r2).kept
    return candidates.take(kept)


def band_of(exchange: Exchange, variants: Common, window: int, stretch: int = _STRETCH) -> Float:
    """(m, window) sums of products of one chromosome's variants with the next ones."""
    parts = []
    for start in range(0, variants.size, stretch):
        rows = min(stretch, variants.size - start)
        asked = variants.take(slice(start, start + rows + window - 1))
        sums = exchange("query.gwas_ld", {"ld": asked.arrays("ld"), "asked": {"rows": rows}})
        parts.append(sums["band"])
    return np.concatenate(parts)
