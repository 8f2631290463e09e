"""One Gaussian process per CpG on all others, and how well each foretells the same CpG in another tissue.

The first half of wenda (Handl, Jalali, Scherer, Eggeling and Pfeifer, "Weighted elastic net for unsupervised domain
adaptation with application to age prediction from DNA methylation data", Bioinformatics 35, 2019, i154). CpG j's
column x_j of the source rows X (n, p) is modelled from the others, X_-j, by a Gaussian process with a linear kernel
and noise::

    x_j ~ N(0, s X_-j X_-j' + sigma I),    s = signal, sigma = noise, both by type-II maximum likelihood.

It answers for a target row t with a normal distribution for t_j; the confidence of t_j is the probability of a value
at least as far from the mean. A CpG whose relation to the others differs in the target tissue gets low confidences and
then a large penalty in the elastic net (`weights`).

Everything follows from the eigenvalues lam and eigenvectors V of X'X alone, for all p models. With tau = s / sigma,
phi_i = tau lam_i / (tau lam_i + 1) and P = (I + tau X'X)^-1 = I - V diag(phi) V'::

    D_j        = P_jj = 1 - sum_i V_ji^2 phi_i
    2 NLL      = N log(2 pi sigma) + sum_i log(1 + tau lam_i) + log D_j + (1 - D_j) / (tau sigma D_j)
    sigma      = (1 - D_j) / (N tau D_j)           its minimum over sigma; x_j'x_j / N for tau = 0
    t_j - mean = (P t)_j / D_j                     -P_kj / P_jj are the regression coefficients
    variance   = s (t'P t - (P t)_j^2 / D_j) [+ sigma]

(The inverse without row and column j is a Schur complement of the inverse with them; D_j is det K / det(K + s x x').)
What remains is a search over tau: a grid for all CpGs by one matrix product, then Newton's method inside a bracket.

N is n - 1, not n: the rows were centred by their own mean, so they are n - 1 independent contrasts and x_j has no
variance along the vector of ones (restricted likelihood: Patterson and Thompson, Biometrika 58, 1971). Counted as n,
as wenda does, that direction makes the likelihood grow without end as sigma goes to 0 whenever n <= p: on 472 brains
and 7,503 CpGs a third of the models then have no maximum. `fit` can do either.

Both the hub and a site's sandbox import this module.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from methylation_age.spectrum import Spectrum

Float = npt.NDArray[np.float64]

RATIO_RANGE = (1e-4, 1e4)
"""Least (but for 0) and largest p s / sigma: what the other CpGs explain beforehand, in units of the noise. At the
upper end noise is a ten-thousandth of the variance, less than any array measures with; the likelihood is flat there."""

_POINTS_PER_DECADE = 8
_STEPS = 60
_BLOCK = 4_000_000
"""Numbers in one work array; with a handful of those, memory stays under some 200 MB beside the spectrum."""


@dataclass(frozen=True, eq=False)
class FeatureModels:
    """Hyper-parameters of one Gaussian process per CpG.

    Attributes:
        signal: (p,) s, prior variance of each regression coefficient; 0 where the others say nothing about the CpG.
        noise: (p,) sigma; 0 where there is no model, the CpG being constant in the source.
    """

    signal: Float
    noise: Float


def fit(spectrum: Spectrum, *, centred: bool = True) -> FeatureModels:
    """Fit all p models: the likelihood's maximum over signal 0 and p s / sigma in `RATIO_RANGE`.

    Args:
        spectrum: Of the source rows.
        centred: Whether the rows were centred by their own mean (N = n - 1; see the module), else N = n.
    """
    p, lam = len(spectrum.vectors), spectrum.values
    count = spectrum.rows - int(centred)
    decades = np.log10(RATIO_RANGE[1] / RATIO_RANGE[0])
    grid = np.log(np.geomspace(*RATIO_RANGE, round(decades) * _POINTS_PER_DECADE + 1) / p)
    shares = _shares(np.exp(grid), lam)  # (q, G)
    log_terms = np.log1p(np.outer(np.exp(grid), lam)).sum(axis=1)
    signal, noise = np.zeros(p), np.zeros(p)
    for part in _blocks(p, len(lam)):
        squares = spectrum.vectors[part] ** 2
        total = squares @ lam  # x_j'x_j
        usable = np.flatnonzero(total > 1e-9 * spectrum.rows)
        squares, total = squares[usable], total[usable]
        outside = _outside(squares)
        rest = outside[:, None] + squares @ (1.0 - shares)
        values = count * (np.log(squares @ shares) - grid) - (count - 1) * np.log(rest) + log_terms
        best = values.argmin(axis=1)
        bracket = grid[np.maximum(best - 1, 0)], grid[best], grid[np.minimum(best + 1, len(grid) - 1)]
        tau = np.exp(_refine(squares, outside, lam, count, bracket))
        tau[count * np.log(total) <= values.min(axis=1) + 1e-9] = 0.0
        explained, rest = _explained(squares, outside, tau, lam)
        sigma = total / count
        np.divide(explained, count * tau * rest, out=sigma, where=tau > 0)
        noise[part.start + usable] = sigma
        signal[part.start + usable] = tau * sigma
    return FeatureModels(signal, noise)


def implied_noise(spectrum: Spectrum, models: FeatureModels, *, centred: bool = True) -> Float:
    """(p,) the sigma that `fit` finds at the models' signal-to-noise ratio; 0 where there is no model.

    Args:
        spectrum: Of the source rows.
        models: Their ratio counts, and where there is none.
        centred: As in `fit`.
    """
    count = spectrum.rows - int(centred)
    tau = np.divide(models.signal, models.noise, out=np.zeros_like(models.noise), where=models.noise > 0)
    sigma = np.empty(len(tau))
    for part in _blocks(len(tau), len(spectrum.values)):
        squares, ratio = spectrum.vectors[part] ** 2, tau[part]
        explained, rest = _explained(squares, _outside(squares), ratio, spectrum.values)
        sigma[part] = squares @ spectrum.values / count
        np.divide(explained, count * ratio * rest, out=sigma[part], where=(ratio > 0) & (rest > 0))
    return np.where(models.noise > 0, sigma, 0.0)


def predict(
    spectrum: Spectrum, models: FeatureModels, targets: Float, *, include_noise: bool = True
) -> tuple[Float, Float]:
    """What the models foretell of each CpG from the target's other CpGs.

    Args:
        spectrum: Of the source rows.
        models: From `fit`.
        targets: (m, p) rows standardised like the source, missing values at 0.
        include_noise: Variance of an observation, as wenda has it, rather than of the noise-free value.

    Returns:
        mean (m, p) and variance (m, p); NaN for a CpG without a model.
    """
    mean, variance = np.empty(targets.shape), np.empty(targets.shape)
    for part, residual, spread in _residuals(spectrum, models, targets, include_noise=include_noise):
        mean[:, part] = targets[:, part] - residual
        variance[:, part] = spread
    return mean, variance


def confidences(spectrum: Spectrum, models: FeatureModels, targets: Float, *, include_noise: bool = True) -> Float:
    """(m, p) confidences 1 - |Phi(z) - Phi(-z)| = erfc(|z| / sqrt 2); NaN for a CpG without a model.

    Args:
        spectrum: Of the source rows.
        models: From `fit`.
        targets: (m, p) rows standardised like the source, missing values at 0.
        include_noise: As in `predict`.
    """
    confidence = np.empty(targets.shape)
    for part, residual, spread in _residuals(spectrum, models, targets, include_noise=include_noise):
        confidence[:, part] = _tails(residual, spread)
    return confidence


def confidence_sums(
    spectrum: Spectrum, models: FeatureModels, targets: Float, observed: npt.NDArray[np.bool_]
) -> tuple[Float, npt.NDArray[np.int64]]:
    """What a target site releases: per CpG the sum of its confidences, and of how many values.

    Args:
        spectrum: Of the source rows.
        models: From `fit`.
        targets: (m, p) rows standardised like the source, missing values at 0.
        observed: (m, p) False where a value was missing: it has no confidence of its own.

    Returns:
        sum (p,), between 0 and the count, and count (p,), 0 for a CpG without a model.
    """
    total = np.zeros(targets.shape[1])
    for part, residual, spread in _residuals(spectrum, models, targets, include_noise=True):
        total[part] = np.where(observed[:, part] & ~np.isnan(spread), _tails(residual, spread), 0.0).sum(axis=0)
    return total, np.where(models.noise > 0, observed.sum(axis=0), 0).astype(np.int64)


def weights(mean_confidence: Float, power: float = 3.0) -> Float:
    """Penalty factors of the elastic net: (1 - c_j)^power, rescaled to an average of 1.

    Args:
        mean_confidence: (p,) mean confidence of each CpG in the target, NaN where there is none.
        power: wenda's k, above 0: the larger, the less is left of CpGs that do not fit.

    Returns:
        (p,) factors that sum to p; 1 where there is no confidence.
    """
    known = ~np.isnan(mean_confidence)
    factors = np.ones(len(mean_confidence))
    raw = (1.0 - mean_confidence[known]) ** power
    if raw.sum() > 0:
        factors[known] = raw * (known.sum() / raw.sum())
    return factors


def _residuals(
    spectrum: Spectrum, models: FeatureModels, targets: Float, *, include_noise: bool
) -> Iterator[tuple[slice, Float, Float]]:
    """By block of CpGs: its columns, t_j - mean (m, block) and the variance (m, block), NaN without a model."""
    scores = targets @ spectrum.vectors  # (m, q)
    lengths = (targets**2).sum(axis=1)
    beyond = np.maximum(lengths - (scores**2).sum(axis=1), 0.0)  # squared length outside the span of V
    for part in _blocks(len(spectrum.vectors), max(len(spectrum.values), len(targets))):
        vectors, noise, signal = spectrum.vectors[part], models.noise[part], models.signal[part]
        tau = np.divide(signal, noise, out=np.zeros_like(noise), where=noise > 0)
        share = _shares(tau, spectrum.values).T  # (block, q)
        rest = _outside(vectors**2) + (vectors**2 * (1.0 - share)).sum(axis=1)
        lifted = targets[:, part] - scores @ (vectors * share).T  # (P t)_j
        form = beyond[:, None] + scores**2 @ (1.0 - share).T  # t'P t
        residual = lifted / rest
        variance = signal * np.maximum(form - lifted * residual, 0.0)
        if include_noise:
            variance += noise
        residual[:, noise == 0] = np.nan
        variance[:, noise == 0] = np.nan
        yield part, residual, variance


def _tails(residual: Float, variance: Float) -> Float:
    from scipy.special import erfc  # noqa: PLC0415 -- only where confidences are computed

    return np.asarray(erfc(np.abs(residual) / np.sqrt(2.0 * variance)), dtype=np.float64)


def _blocks(p: int, numbers: int) -> Iterator[slice]:
    """Slices of the CpGs for work arrays of `numbers` numbers per CpG."""
    size = max(1, _BLOCK // max(1, numbers))
    for start in range(0, p, size):
        yield slice(start, min(start + size, p))


def _shares(tau: Float, lam: Float) -> Float:
    """phi, (q, G), for G values of tau."""
    scaled = np.outer(lam, tau)
    return np.asarray(scaled / (scaled + 1.0))


def _outside(squares: Float) -> Float:
    """1 - sum_i V_ji^2: the squared length of unit vector j outside the span of V, (block,)."""
    outside = 1.0 - squares.sum(axis=1)
    return np.where(outside < 1e-12, 0.0, outside)  # rounding, of a matrix of full rank


def _explained(squares: Float, outside: Float, tau: Float, lam: Float) -> tuple[Float, Float]:
    """1 - D_j and D_j, each as a sum of positive terms, so that neither loses digits when it is small."""
    share = _shares(tau, lam).T
    return (squares * share).sum(axis=1), outside + (squares * (1.0 - share)).sum(axis=1)


def _refine(squares: Float, outside: Float, lam: Float, count: int, bracket: tuple[Float, Float, Float]) -> Float:
    """(b,) log tau at the minimum inside a bracket: Newton's method, bisecting where that would leave it.

    Args:
        squares: (b, q) V_ji^2.
        outside: (b,) see `_outside`.
        lam: (q,) eigenvalues.
        count: N.
        bracket: log tau below, at and above the lowest grid point, each (b,).
    """
    low, point, high = (end.copy() for end in bracket)
    active = np.arange(len(point))
    for _ in range(_STEPS):
        if not len(active):
            break
        share = _shares(np.exp(point[active]), lam).T  # (active, q)
        g = squares[active]
        first = share * (1.0 - share)  # derivative by log tau
        h0 = (g * share).sum(axis=1)
        h1 = (g * first).sum(axis=1)
        h2 = (g * first * (1.0 - 2.0 * share)).sum(axis=1)
        rest = outside[active] + (g * (1.0 - share)).sum(axis=1)
        slope = count * (h1 / h0 - 1.0) + (count - 1) * h1 / rest + share.sum(axis=1)
        curve = count * (h2 / h0 - (h1 / h0) ** 2) + (count - 1) * (h2 / rest + (h1 / rest) ** 2) + first.sum(axis=1)
        high[active] = np.where(slope > 0, point[active], high[active])
        low[active] = np.where(slope > 0, low[active], point[active])
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = point[active] - slope / curve
        fine = (curve > 0) & (newton >= low[active]) & (newton <= high[active])
        moved = np.where(fine, newton, (low[active] + high[active]) / 2)
        small = np.abs(moved - point[active]) <= 1e-13 * np.maximum(1.0, np.abs(moved))
        point[active] = moved
        active = active[~small]
    return point
