"""Fold changes between two groups from noised sums, with standard errors that count the noise.

Per group k = 0, 1 and gene the release has N_k, X_k and S_k, sums of 1, x and x^2, each with independent noise of
standard deviation s. With m_k = X_k / N_k the log2 fold change is (m_1 - m_0) times the gene's scale. To first order in
the noise (N_k is noised as well)

    Var(m_1 - m_0) = v (1/N_0 + 1/N_1) + Σ_k s^2 (1 + m_k^2) / N_k^2,
    v = Σ_k (S_k - X_k^2/N_k) / (N_0 + N_1 - 2),
    Var(v | data) = Σ_k s^2 (1 + 4 m_k^2 + m_k^4) / (N_0 + N_1 - 2)^2.

The first term is the t test's, the second the noise's. v is noised too, and may even be negative: the v of all genes
are drawn to their median by the share of their spread that is noise, and none goes below a fifth of it. Without noise
nothing is drawn, and all of this is the t test with pooled variance. The statistic is compared with Student's t of
N_0 + N_1 - 2 degrees; p values are adjusted after Benjamini and Hochberg (1995).

All of this is calculated from the release, and costs no further privacy. Patients of different DIZ are pooled: a shift
between DIZ adds to v, and biases the fold change if the groups' shares differ between DIZ.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flame_strategies.glm_inference import t_two_sided

Float = npt.NDArray[np.float64]
_LEAST_SHARE = 0.2
_FEWEST_NOISES = 4.0  # a group must be this many standard deviations of the noise on its count


@dataclass(frozen=True, eq=False)
class FoldChanges:
    """What a release says of the genes; all arrays (p,), in log2 units.

    Attributes:
        log2_fold_change: Second group minus first.
        standard_error: Of patients and of noise together.
        noise_error: That of the noise alone.
        t: Their quotient.
        p: Two-sided.
        adjusted: After Benjamini and Hochberg.
        patients: (2,) noised sizes of the groups.
        usable: Whether the groups stand out of the noise; if not, everything is NaN.
    """

    log2_fold_change: Float
    standard_error: Float
    noise_error: Float
    t: Float
    p: Float
    adjusted: Float
    patients: Float
    usable: bool


def fold_changes(sums: Mapping[str, Float], scales: Float, noise_std: float) -> FoldChanges:
    """Fold changes from summed releases.

    Args:
        sums: n (2,), x (2, p) and xx (2, p), over all DIZ.
        scales: (p,) log2 units of one standardised unit.
        noise_std: Of the noise on each of the sums.

    Raises:
        ValueError: The arrays do not fit the genes.
    """
    n, x, xx, p = sums["n"], sums["x"], sums["xx"], len(scales)
    if (n.shape, x.shape, xx.shape) != ((2,), (2, p), (2, p)):
        raise ValueError("The sums are not those of one release about these genes; the DIZ run another analysis.")
    total = float(n.sum()) - 2.0
    if float(n.min()) < max(2.0, _FEWEST_NOISES * noise_std) or total <= 0:
        return _nothing(p, n)
    mean = x / n[:, None]
    raw = (xx - x * mean).sum(axis=0) / total
    noise_in_raw = noise_std**2 * (1 + 4 * mean**2 + mean**4).sum(axis=0) / total**2
    variance = _steadied(raw, noise_in_raw)
    if variance is None:
        return _nothing(p, n)
    noise = noise_std**2 * ((1 + mean**2) / n[:, None] ** 2).sum(axis=0)
    error = np.sqrt(variance * float((1 / n).sum()) + noise)
    difference = mean[1] - mean[0]
    t = difference / error
    values = np.array([t_two_sided(float(one), total) for one in t])
    return FoldChanges(
        difference * scales,
        error * scales,
        np.sqrt(noise) * scales,
        t,
        values,
        benjamini_hochberg(values),
        n,
        usable=True,
    )


def smallest_found(standard_error: float, genes: int) -> float:
    """The log2 fold change that is found in 8 of 10 studies, at a level of 0.05 over all genes together.

    With normal quantiles: that of 0.05 divided by the number of genes (Bonferroni), and 0.84 for 8 of 10.
    """
    return (_normal_quantile(1 - 0.025 / genes) + 0.8416) * standard_error


def benjamini_hochberg(p: Float) -> Float:
    """Adjusted p values."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(p) / ranks))
    return adjusted


def _steadied(raw: Float, noise: Float) -> Float | None:
    """Variances drawn to their median; None if that is not above 0."""
    middle, spread = float(np.median(raw)), float(np.var(raw))
    if not middle > 0:
        return None
    kept = np.ones_like(raw) if not noise.any() else np.maximum(0.0, 1.0 - noise / max(spread, 1e-300))
    drawn: Float = middle + kept * (raw - middle)
    return np.maximum(drawn, _LEAST_SHARE * middle) if noise.any() else drawn


def _nothing(p: int, n: Float) -> FoldChanges:
    nan = np.full(p, np.nan)
    return FoldChanges(nan, nan, nan, nan, nan, nan, n, usable=False)


def _normal_quantile(share: float) -> float:
    low, high = -10.0, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < share else (low, middle)
    return high
