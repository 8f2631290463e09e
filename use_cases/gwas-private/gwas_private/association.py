"""Association of single variants with a trait from noised sums, with standard errors that count the noise.

The release has N, Y, S_yy and for each variant X, S_xx and S_xy: sums of 1, y, y^2, x, x^2 and xy, each with noise of
standard deviation s of its own. With the corrected sums C_xx = S_xx - X^2/N, C_xy = S_xy - XY/N and C_yy,

    b = C_xy / C_xx,    v = (C_yy - b C_xy) / (N - 2),    a = X/N,  m = Y/N,

and to first order in the noise

    Var(b) = v / C_xx + s^2 (1 + a^2 + (m - 2 a b)^2 + b^2 + (a m - b a^2)^2) / C_xx^2.

The first term is that of a linear regression, the second the noise's: of S_xy, Y, X, S_xx and N in this order. v is
noised as well, by less than a tenth where anything is said. Without noise all of this is the regression on one variant.
The statistic is compared with Student's t of N - 2 degrees; p values are adjusted after Benjamini and Hochberg (1995).

All of this is calculated from the release, and costs no further privacy. There are no covariates: whoever needs them
stores a trait from which they are taken off. Patients of different DIZ are pooled.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flame_strategies.glm_inference import t_two_sided

Float = npt.NDArray[np.float64]
_FEWEST_NOISES = (
    4.0  # the cohort, and each variant's sum of squares, must be so many standard deviations of their noise
)


@dataclass(frozen=True, eq=False)
class Associations:
    """What a release says of the variants; all arrays (p,), effects in the trait's unit per effect allele.

    Attributes:
        beta: Effects.
        standard_error: Of patients and of noise together.
        noise_error: That of the noise alone.
        t: Their quotient.
        p: Two-sided.
        adjusted: After Benjamini and Hochberg.
        frequency: Of the effect allele, from noised sums.
        patients: Noised.
        usable: (p,) whether the variant stands out of the noise; if not, everything about it is NaN.
    """

    beta: Float
    standard_error: Float
    noise_error: Float
    t: Float
    p: Float
    adjusted: Float
    frequency: Float
    patients: float
    usable: npt.NDArray[np.bool_]


def associations(
    sums: Mapping[str, Float], centres: Float, scales: Float, trait_scale: float, noise_std: float
) -> Associations:
    """Effects from summed releases.

    Args:
        sums: n (1,), x, xx, xy (p,), y, yy (1,), over all DIZ.
        centres: (p,) dosages that were subtracted.
        scales: (p,) dosages of one standardised unit.
        trait_scale: Trait's unit of one standardised unit.
        noise_std: Of the noise on each of the sums.

    Raises:
        ValueError: The arrays do not fit the variants.
    """
    p = len(scales)
    shapes = {"n": (1,), "x": (p,), "xx": (p,), "xy": (p,), "y": (1,), "yy": (1,)}
    if any(sums[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("The sums are not those of one release about these variants; the DIZ run another analysis.")
    n, y, yy = (float(sums[name][0]) for name in ("n", "y", "yy"))
    if n < max(4.0, _FEWEST_NOISES * noise_std):
        return _nothing(p, n)
    a, m = sums["x"] / n, y / n
    cxx, cxy, cyy = sums["xx"] - n * a * a, sums["xy"] - n * a * m, yy - n * m * m
    usable = cxx > np.maximum(1e-9 * n, _FEWEST_NOISES * noise_std * np.sqrt(1 + 4 * a * a + a**4))
    divisor = np.where(usable, cxx, 1.0)
    b = cxy / divisor
    variance = (cyy - b * cxy) / (n - 2)
    usable &= variance > 0
    noise = 1 + a**2 + (m - 2 * a * b) ** 2 + b**2 + (a * m - b * a**2) ** 2
    noise_variance = noise_std**2 * noise / divisor**2
    error = np.sqrt(np.where(usable, variance / divisor + noise_variance, 1.0))
    t = np.where(usable, b / error, np.nan)
    values = np.array([t_two_sided(float(one), n - 2) if np.isfinite(one) else np.nan for one in t])
    unit = trait_scale / scales
    nan = np.where(usable, 1.0, np.nan)
    return Associations(
        b * unit * nan,
        error * unit * nan,
        np.sqrt(noise_variance) * unit * nan,
        t,
        values,
        benjamini_hochberg(values),
        np.clip((a * scales + centres) / 2, 0.0, 1.0) * nan,
        n,
        usable,
    )


def benjamini_hochberg(p: Float) -> Float:
    """Adjusted p values, of those that are numbers."""
    adjusted = np.full_like(p, np.nan)
    there = np.flatnonzero(np.isfinite(p))
    order = there[np.argsort(p[there])[::-1]]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(order) / ranks))
    return adjusted


def _nothing(p: int, n: float) -> Associations:
    nan = np.full(p, np.nan)
    return Associations(nan, nan, nan, nan, nan, nan, nan, n, np.zeros(p, np.bool_))
