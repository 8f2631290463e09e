"""Which variants of a chromosome to keep so that no two near ones are correlated, from banded sums of products.

Sites answer with sums of products of each variant with the next few ones; everything else happens here. Squared
correlations are those of genotypes less their pooled mean, a missing call at the mean: with complete calls the ordinary
r^2, which is what composite linkage disequilibrium is (Weir, Biometrics 35, 1979).

Variants are pruned greedily in a sliding window, as PLINK's documentation of ``--indep-pairwise`` describes it (Purcell
et al., American Journal of Human Genetics 81, 2007; Chang et al., GigaScience 4, 2015): in each window of `window`
variants, pairs beyond the threshold lose the one whose rarer allele is rarer, until there is none; then the window
moves on by `step` variants. In which order the pairs of a window are gone through is not said there; here every variant
meets those before it, the nearest first. Kept sets so differ in variants that could stand for each other.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_ALIKE = 1 - 1e-12
"""1 - 0.7 is not 0.3 in floating point: which allele was counted must not decide."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What is left of m variants.

    Attributes:
        kept: (m,) bool.
        pairs: How many pairs within a window were beyond the threshold.
    """

    kept: npt.NDArray[np.bool_]
    pairs: int


def squared_correlations(band: Matrix) -> Matrix:
    """r^2 of near variants.

    Args:
        band: (m, w); element (i, d) is the sum of products of variants i and i + d, 0 beyond the last one.

    Returns:
        (m, w) likewise, NaN where a variant does not vary (or its row was withheld) and beyond the last one. Column 0
        is 1.
    """
    size, width = band.shape
    own = np.where(band[:, 0] > 0, band[:, 0], np.nan)
    padded = np.concatenate([own, np.full(width, np.nan)])
    other = np.lib.stride_tricks.sliding_window_view(padded, width)[:size]
    return np.asarray(band**2 / (own[:, None] * other))


def prune(band: Matrix, frequency: Vector, *, step: int, r2: float) -> Pruned:
    """Prune the variants of one chromosome; the window is as wide as the band.

    Args:
        band: (m, window), see `squared_correlations`.
        frequency: (m,) of one allele, either; of a pair the variant with the smaller minor allele frequency goes, of
            two alike the later one.
        step: By how many variants the window moves on, at least 1.
        r2: The largest squared correlation that stays.

    Raises:
        ValueError: `step` or the shapes are out of range.
    """
    size, window = band.shape
    if step < 1 or frequency.shape != (size,):
        raise ValueError(f"A step of {step} and {frequency.size} frequencies do not fit {size} variants.")
    minor = np.minimum(frequency, 1 - frequency)
    kept = band[:, 0] > 0
    with np.errstate(invalid="ignore"):
        first, apart = np.nonzero(squared_correlations(band)[:, 1:] > r2)
    second = first + apart + 1
    when = _first_window(second, window, step)
    met = when * step <= first  # else no window holds both
    first, second, when = first[met], second[met], when[met]
    for pair in np.lexsort((-first, second, when)):
        i, j = first[pair], second[pair]
        if kept[i] and kept[j]:
            kept[i if minor[i] < minor[j] * _ALIKE else j] = False
    return Pruned(kept, len(first))


def largest_within(band: Matrix, kept: npt.NDArray[np.bool_], *, step: int) -> float:
    """The largest r^2 of two kept variants that share a window; 0 if no two do."""
    window = band.shape[1]
    with np.errstate(invalid="ignore"):
        found = squared_correlations(band)[:, 1:]
    first, apart = np.nonzero(np.isfinite(found))
    second = first + apart + 1
    shared = kept[first] & kept[second] & (_first_window(second, window, step) * step <= first)
    return float(found[first[shared], apart[shared]].max(initial=0.0))


def _first_window(last: Indices, window: int, step: int) -> Indices:
    """The number of the first window, starting at step times it, that reaches variant `last`."""
    return np.asarray(np.maximum(-(-(last - window + 1) // step), 0))
