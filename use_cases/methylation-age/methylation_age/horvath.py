"""Horvath's age transform: logarithmic while a person grows, linear afterwards.

Methylation changes fast in childhood and at a constant pace later. The transform straightens that, so that a linear
model can follow both:

    F(age) = log((age + 1) / (a + 1))   for age <= a
    F(age) = (age - a) / (a + 1)        for age >  a,      a = 20 years (adult age)

F is continuous with a continuous first derivative at a. Ages before birth are negative; F is defined above -1 year. The
inverse stops at 125 years, beyond anybody's age: what a clock without sense predicts is still an age.

Reference: S. Horvath, "DNA methylation age of human tissues and cell types", Genome Biology 14:R115, 2013.
"""

import numpy as np
import numpy.typing as npt

ADULT_AGE = 20.0
"""Years at which the logarithmic part ends."""

MAXIMUM_AGE = 125.0
"""Years beyond which nothing is predicted."""

MINIMUM_AGE = -1.0
"""Years (before birth) down to which the transform is defined, exclusive."""

Float = npt.NDArray[np.float64]


def transform(age: npt.ArrayLike) -> Float:
    """F(age), any shape.

    Args:
        age: Ages in years, above -1.

    Raises:
        ValueError: An age is -1 or below (a pregnancy is shorter than a year), or not finite.
    """
    years = np.asarray(age, dtype=np.float64)
    if not np.all(np.isfinite(years)) or np.any(years <= MINIMUM_AGE):
        raise ValueError("Ages must be finite and above -1 year; give them in years, negative before birth.")
    young = np.log((np.minimum(years, ADULT_AGE) + 1.0) / (ADULT_AGE + 1.0))
    return np.where(years <= ADULT_AGE, young, (years - ADULT_AGE) / (ADULT_AGE + 1.0))


def inverse(value: npt.ArrayLike) -> Float:
    """The age in years whose transform is `value`, at most `MAXIMUM_AGE`; any shape."""
    transformed = np.asarray(value, dtype=np.float64)
    young = (ADULT_AGE + 1.0) * np.exp(np.minimum(transformed, 0.0)) - 1.0
    grown = np.minimum((ADULT_AGE + 1.0) * transformed + ADULT_AGE, MAXIMUM_AGE)
    return np.where(transformed <= 0.0, young, grown)
