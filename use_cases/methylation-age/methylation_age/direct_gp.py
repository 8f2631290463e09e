"""The Gaussian process of one CpG on all others the direct way, from pooled rows: the oracle of `feature_models`.

    x_j ~ N(0, K),  K = s X_-j X_-j' + sigma I

with K formed and factorised (n x n) for each CpG, and the likelihood handed to a general optimiser (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2 and 5.4). It shares no code with `feature_models`
and needs the rows of all DIZ in one place: simulations and tests only. For p CpGs it costs p factorisations and more,
for thousands of them hours: use it on some.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, helmert
from scipy.optimize import minimize

Float = npt.NDArray[np.float64]

_STARTS = (1e-2, 1e0, 1e2)


@dataclass(frozen=True)
class DirectModel:
    """A fitted model of one CpG.

    Attributes:
        signal: s, prior variance of each regression coefficient.
        noise: sigma.
        nll: Negative logarithm of the likelihood.
    """

    signal: float
    noise: float
    nll: float


def negative_log_likelihood(rows: Float, column: int, signal: float, noise: float, *, centred: bool = True) -> float:
    """Of CpG `column` given the others.

    Args:
        rows: (n, p) standardised rows of the source.
        column: j.
        signal: s.
        noise: sigma, above 0.
        centred: The likelihood of the n - 1 contrasts of rows that were centred by their own mean, else of n rows.
    """
    gram, y = _kernel(rows, column, centred=centred)
    return _likelihood(gram, y, signal, noise)[0]


def fit(
    rows: Float,
    column: int,
    *,
    ratios: tuple[float, float] = (1e-4, 1e4),
    starts: tuple[float, ...] = _STARTS,
    centred: bool = True,
) -> DirectModel:
    """Type-II maximum likelihood by a quasi-Newton method with bounds, from several starts; the best of them.

    Args:
        rows: (n, p) standardised rows of the source.
        column: j.
        ratios: Bounds of p s / sigma.
        starts: Values of p s / sigma to start from.
        centred: As in `negative_log_likelihood`.
    """
    gram, y = _kernel(rows, column, centred=centred)
    p = rows.shape[1]

    def objective(point: Any) -> tuple[float, Float]:
        noise = float(np.exp(point[1]))
        value, by_signal, by_noise = _likelihood(gram, y, noise * float(np.exp(point[0])) / p, noise)
        return value, np.array([by_signal, by_signal + by_noise])

    bounds = [(np.log(ratios[0]), np.log(ratios[1])), (-20.0, 5.0)]
    options: Any = {"maxiter": 100, "ftol": 0.0, "gtol": 1e-8}
    found = []
    for start in starts:
        share = float(y @ y) / len(y) / (1.0 + start)
        point = np.array([np.log(start), np.log(max(share, 1e-8))])
        found.append(minimize(objective, point, jac=True, method="L-BFGS-B", bounds=bounds, options=options))
    best = min(found, key=lambda result: float(result.fun))
    noise = float(np.exp(best.x[1]))
    return DirectModel(noise * float(np.exp(best.x[0])) / p, noise, float(best.fun))


def predict(
    rows: Float, column: int, targets: Float, *, signal: float, noise: float, include_noise: bool = True
) -> tuple[Float, Float]:
    """Mean (m,) and variance (m,) of CpG `column` in target rows, by the textbook's formulae.

    Args:
        rows: (n, p) standardised rows of the source.
        column: j.
        targets: (m, p) rows standardised like the source.
        signal: s.
        noise: sigma, above 0.
        include_noise: Variance of an observation rather than of the noise-free value.
    """
    others = np.delete(rows, column, axis=1)
    at = np.delete(targets, column, axis=1)
    factor = cho_factor(signal * others @ others.T + noise * np.eye(len(rows)), lower=True)
    cross = signal * at @ others.T
    mean = cross @ cho_solve(factor, rows[:, column])
    prior = signal * (at**2).sum(axis=1)
    variance = prior - (cross * cho_solve(factor, cross.T).T).sum(axis=1)
    return mean, variance + (noise if include_noise else 0.0)


def confidence(values: Float, mean: Float, variance: Float) -> Float:
    """(m,) probability of a value at least as far from the mean as the one seen."""
    from scipy.stats import norm  # noqa: PLC0415 -- slow to import

    z = (values - mean) / np.sqrt(variance)
    return np.asarray(1.0 - np.abs(norm.cdf(z) - norm.cdf(-z)), dtype=np.float64)


def _kernel(rows: Float, column: int, *, centred: bool) -> tuple[Float, Float]:
    """X_-j X_-j' and x_j, or both of the contrasts between the rows."""
    used = helmert(len(rows)) @ rows if centred else rows
    others = np.delete(used, column, axis=1)
    return others @ others.T, used[:, column]


def _likelihood(gram: Float, y: Float, signal: float, noise: float) -> tuple[float, float, float]:
    """Negative log likelihood, and its derivatives by log s and log sigma."""
    factor = cho_factor(signal * gram + noise * np.eye(len(y)), lower=True)
    inverse = cho_solve(factor, np.eye(len(y)))
    alpha = inverse @ y
    half_log_det = float(np.log(np.diag(factor[0])).sum())
    value = 0.5 * float(y @ alpha) + half_log_det + 0.5 * len(y) * float(np.log(2.0 * np.pi))
    by_signal = 0.5 * signal * float((inverse * gram).sum() - alpha @ gram @ alpha)
    by_noise = 0.5 * noise * float(np.trace(inverse) - alpha @ alpha)
    return value, by_signal, by_noise
