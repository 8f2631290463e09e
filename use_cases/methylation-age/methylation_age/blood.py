"""The price of noise, worked out on blood: a clock from one noisy matrix of second moments. Not enforced by any gate.

A sample's row is v = (1, x, y): 71 betas and the transformed age, centred and scaled by public constants and scaled
down to norm C where longer. The sum of v v' over samples changes by at most C^2 in Frobenius norm when one sample is
added or removed, so Gaussian noise of standard deviation sigma C^2 on the diagonal and sigma C^2 / sqrt 2 above it
(mirrored below) gives (epsilon, delta)-differential privacy for the unit sample, which is a patient if each gave one
(the set does not say), with sigma from the exact condition
of Balle and Wang, "Improving the Gaussian mechanism for differential privacy", ICML 2018. Everything after that is
post-processing: eigenvalues below zero are cut, and a ridge of the size of the noise steadies the solution. The idea is
that of Dwork et al., "Analyze Gauss", STOC 2014.

What the claim does not cover: the 71 CpGs were chosen by the clock's authors on these very samples; `_BETA_SCALE` and
`_CLIP_SHARE` were set with this set in view; the public mean betas may overlap with it; the number of samples and the
guess are exact. Each epsilon is one release of its own: publishing several adds up. "Without noise" is still clipped.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dp_accounting.pld.common import DifferentialPrivacyParameters
from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

from methylation_age import horvath, packaged
from methylation_age.mlp_run import PUBLIC_AGE
from methylation_age.prepare import hold_out

LABEL = "calculation, not enforced"
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
DELTA = 1e-5

_BETA_SCALE = 0.15  # a usual spread of a beta between people, for CpGs that follow age closely
_CLIP_SHARE = 0.7  # of the root of the row's length, the norm of a row of unit variance

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Price:
    """Mean absolute errors of the blood clock.

    Attributes:
        epsilons: Rising.
        errors: Years, at each epsilon; mean over the repetitions.
        spreads: Standard deviation of the error over the repetitions.
        without_noise: Years.
        guess: Years, for the mean age as everybody's prediction.
        train: Patients trained on.
        test: Patients tested on.
    """

    epsilons: tuple[float, ...]
    errors: tuple[float, ...]
    spreads: tuple[float, ...]
    without_noise: float
    guess: float
    train: int
    test: int


def price_of_noise(repetitions: int = 10, seed: int = 0) -> Price:
    """Errors with and without noise, on the packaged blood set.

    Args:
        repetitions: Draws of the noise per epsilon.
        seed: Of the noise, which here is for a figure and protects nobody.

    Raises:
        InputError: The package with the data is not installed.
    """
    table = packaged.gp_age_blood()
    age = table.age.to_numpy()
    test = np.array(hold_out(table.age.index.to_series())) == "test"
    rows = _rows(table.betas.to_numpy(), packaged.average_betas(list(table.betas.columns)), horvath.transform(age))
    limit = _CLIP_SHARE * np.sqrt(rows.shape[1])
    train = rows[~test] * np.minimum(1.0, limit / np.linalg.norm(rows[~test], axis=1))[:, None]
    moments = train.T @ train

    def error(spread: float, generator: np.random.Generator) -> float:
        coefficients = _solve(_noisy(moments, spread, generator), spread)
        value = rows[test, :-1] @ coefficients
        predicted = horvath.inverse(value * PUBLIC_AGE[1] + PUBLIC_AGE[0])
        return float(np.abs(np.clip(predicted, 0.0, 120.0) - age[test]).mean())

    generator = np.random.default_rng(seed)
    errors = []
    for epsilon in EPSILONS:
        spread = noise_multiplier(epsilon) * limit**2
        errors.append([error(spread, generator) for _ in range(repetitions)])
    return Price(
        epsilons=EPSILONS,
        errors=tuple(float(np.mean(at)) for at in errors),
        spreads=tuple(float(np.std(at)) for at in errors),
        without_noise=error(0.0, generator),
        guess=float(np.abs(age[~test].mean() - age[test]).mean()),
        train=int((~test).sum()),
        test=int(test.sum()),
    )


def noise_multiplier(epsilon: float) -> float:
    """Standard deviation of Gaussian noise per unit of sensitivity for (`epsilon`, `DELTA`)."""
    wanted = DifferentialPrivacyParameters(epsilon, DELTA)
    return float(GaussianPrivacyLoss.from_privacy_guarantee(wanted).standard_deviation)


def _rows(betas: Float, centre: Float, target: Float) -> Float:
    x = (betas - centre) / _BETA_SCALE
    y = (target - PUBLIC_AGE[0]) / PUBLIC_AGE[1]
    return np.column_stack([np.ones(len(x)), x, y])


def _noise(size: int, spread: float, generator: np.random.Generator) -> Float:
    """A symmetric matrix of noise: `spread` on the diagonal, `spread` / sqrt 2 above it."""
    above = np.triu(generator.normal(0.0, spread / np.sqrt(2.0), (size, size)), 1)
    return above + above.T + np.diag(generator.normal(0.0, spread, size))


def _noisy(moments: Float, spread: float, generator: np.random.Generator) -> Float:
    """The matrix with noise, made positive semidefinite again."""
    values, vectors = np.linalg.eigh(moments + _noise(len(moments), spread, generator))
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def _solve(moments: Float, spread: float) -> Float:
    """Ridge coefficients of y on (1, x); the intercept is not shrunk."""
    ridge = np.full(len(moments) - 1, spread * np.sqrt(len(moments)) + 1e-6)
    ridge[0] = 0.0
    coefficients: Float = np.linalg.solve(moments[:-1, :-1] + np.diag(ridge), moments[:-1, -1])
    return coefficients
