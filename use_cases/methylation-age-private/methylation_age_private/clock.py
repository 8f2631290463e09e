"""A linear clock from sums: Horvath's age transform, standardisation by public constants, ridge regression.

With weights w_i, which are 1 but for patients whose vector was shortened, the sums are the parts of

    M = Σ_i w_i v_i v_i',     v_i = (1, x_i, y_i),

x_i the standardised CpGs and y_i the standardised transformed age. Released, M has independent Gaussian noise of
standard deviation s on each coordinate of its upper triangle. Everything here is a function of that M, so it costs no
privacy. A matrix of second moments has no negative eigenvalue; what noise made negative is set to 0. A symmetric p × p
matrix of noise has a spectral norm near 2 s √p; the ridge grows by half of it, which keeps directions out of the
solution of which M says nothing (after Dwork, Talwar, Thakurta and Zhang, "Analyze Gauss", STOC 2014).

The transform is S. Horvath's, "DNA methylation age of human tissues and cell types", Genome Biology 14:R115, 2013.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from methylation_age_private import mean_betas

ADULT_AGE = 20.0
AGE_CENTRE, AGE_SCALE = 1.0, 0.4
"""Of the transformed age; 1 is the age of 41. What the scale does to the noise says `terms`."""
BETA_SCALE = 0.15
"""A usual spread of a beta between people, for CpGs that follow age closely."""
PENALTY = 1.0
"""The ridge without noise: one patient's worth in each direction."""
OLDEST = 120.0
"""Years beyond which nothing is predicted."""

Float = npt.NDArray[np.float64]


def transform(age: npt.ArrayLike) -> Float:
    """Horvath's F of ages in years: logarithmic up to 20, linear afterwards.

    Raises:
        ValueError: An age is -1 or below, or not finite.
    """
    years = np.asarray(age, dtype=np.float64)
    if not np.all(np.isfinite(years)) or np.any(years <= -1.0):
        raise ValueError("Ages must be finite and above -1 year; give them in years, negative before birth.")
    young = np.log((np.minimum(years, ADULT_AGE) + 1.0) / (ADULT_AGE + 1.0))
    return np.where(years <= ADULT_AGE, young, (years - ADULT_AGE) / (ADULT_AGE + 1.0))


def inverse(value: npt.ArrayLike) -> Float:
    """Ages in years, from -1 to `OLDEST`, whose transform is `value`."""
    transformed = np.asarray(value, dtype=np.float64)
    young = (ADULT_AGE + 1.0) * np.exp(np.minimum(transformed, 0.0)) - 1.0
    return np.where(transformed <= 0.0, young, np.minimum((ADULT_AGE + 1.0) * transformed + ADULT_AGE, OLDEST))


def standardised(betas: npt.ArrayLike) -> Float:
    """(n, 71) betas in the panel's order, as the release reads them: missing ones are the public mean."""
    values, centre = np.asarray(betas, dtype=np.float64), np.array(list(mean_betas().values()))
    x: Float = (np.clip(np.where(np.isfinite(values), values, centre), 0.0, 1.0) - centre) / BETA_SCALE
    return x


@dataclass(frozen=True, eq=False)
class Clock:
    """A clock.

    Attributes:
        coefficients: (1 + 71,) intercept and weights, in standardised units.
    """

    coefficients: Float

    def predict(self, betas: npt.ArrayLike) -> Float:
        """(n,) ages in years from (n, 71) betas."""
        value = self.coefficients[0] + standardised(betas) @ self.coefficients[1:]
        return inverse(value * AGE_SCALE + AGE_CENTRE)


def second_moments(sums: Mapping[str, Float]) -> Float:
    """The symmetric matrix of (1, x, y), (p + 2, p + 2), from the arrays of the release.

    Raises:
        ValueError: The arrays do not have the shapes of one release.
    """
    p = len(sums["x"])
    shapes = {"n": (1,), "x": (p,), "xx": (p * (p + 1) // 2,), "y": (1,), "yy": (1,), "xy": (p,)}
    if any(sums[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("The sums are not those of one release; the DIZ run another analysis.")
    upper = np.zeros((p + 2, p + 2))
    upper[0, 0], upper[0, 1:-1], upper[0, -1] = sums["n"][0], sums["x"], sums["y"][0]
    i, j = np.triu_indices(p)
    upper[i + 1, j + 1] = sums["xx"]
    upper[1:-1, -1], upper[-1, -1] = sums["xy"], sums["yy"][0]
    return np.triu(upper) + np.triu(upper, 1).T


def fit(sums: Mapping[str, Float], noise_std: float) -> Clock:
    """A ridge regression of y on (1, x); the intercept is not shrunk.

    Args:
        sums: Summed over the DIZ, with noise.
        noise_std: Of the noise on each of them; 0 is plain ridge regression.
    """
    values, vectors = np.linalg.eigh(second_moments(sums))
    moments = (vectors * np.maximum(values, 0.0)) @ vectors.T
    ridge = np.full(len(moments) - 1, PENALTY + noise_std * np.sqrt(len(moments) - 1))
    ridge[0] = 1e-9 * ridge[-1]  # only against a count that noise made 0
    return Clock(np.linalg.solve(moments[:-1, :-1] + np.diag(ridge), moments[:-1, -1]))
