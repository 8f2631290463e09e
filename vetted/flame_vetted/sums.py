"""A vetted sum: one vector per patient, clipped into integers, added up, noised, released.

Removing one patient moves the integer sum by one row of norm at most `CLIP_INT` and leaves every other row as it is, so
the L2 sensitivity under add-or-remove-one-patient is `CLIP_INT`, and noise of standard deviation
`noise_multiplier · CLIP_INT` makes it a Gaussian event with that multiplier. What follows the noise is post-processing.
"""

import math

import numpy as np

from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.vetted_terms import Sums, formula_shapes
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise, sigma_squared
from flame_vetted.claim import Claim
from flame_vetted.cohort import Floats, Indices, People, RowsOf
from flame_vetted.formulas import Prepared
from flame_vetted.rows import Integers, rows_to_integers


def integer_sum(people: People, of: Indices, rows_of: RowsOf, width: int, clip_norm: float) -> Integers:
    """Over the patients in `of`: their mean vectors, clipped into integers, added up. Shape (width,), no noise."""
    total = np.zeros(width, dtype=np.int64)
    for part in people.parts(of, width):
        total += rows_to_integers(people.means(part, rows_of, width), clip_norm).sum(axis=0)
    return total


def noised(total: Integers, claim: Claim, noise: NoiseSource | None = None) -> Floats:
    """A sum with its noise, in units of the data. The randomness is the system's unless a test hands in another."""
    source = ExactNoise() if noise is None else noise
    draws = source.discrete_gaussian(sigma_squared(claim.noise_multiplier, CLIP_INT), len(total))
    return (total + np.asarray(draws, dtype=np.int64)).astype(np.float64) * (claim.clip_norm / CLIP_INT)


def noisy_sums(work: Sums, prepared: Prepared, claim: Claim, noise: NoiseSource | None = None) -> dict[str, Floats]:
    """The release, by array name."""
    everybody = np.arange(len(prepared.people), dtype=np.int64)
    total = integer_sum(prepared.people, everybody, prepared.rows_of, prepared.width, claim.clip_norm)
    released = noised(total, claim, noise)
    arrays, at = {}, 0
    for name, shape in formula_shapes(work.formula).items():
        arrays[name] = released[at : at + math.prod(shape)].reshape(shape)
        at += math.prod(shape)
    return arrays
