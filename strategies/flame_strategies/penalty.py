"""The elastic net's penalty: its parts by column, its proximal step, and the distance from optimality.

lambda sum_j f_j (r |b_j| + (1 - r)/2 b_j^2)          r the l1_ratio, f the penalty factors
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.reference import Reference

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Penalty:
    """The penalty at lambda = 1.

    Attributes:
        l1: f_j r, shape (p,); 0 for a column that is unpenalised or not eligible.
        l2: f_j (1 - r), shape (p,).
        eligible: Columns that may have a coefficient, shape (p,): those that vary and whose factor is finite.
        unit: The largest of `l1`; violations are given as a share of lambda times this.
    """

    l1: Vector
    l2: Vector
    eligible: npt.NDArray[np.bool_]
    unit: float

    @classmethod
    def of(cls, reference: Reference, l1_ratio: float, factors: npt.ArrayLike | None = None) -> "Penalty":
        """Form the penalty for standardised columns.

        Args:
            reference: Says which columns vary.
            l1_ratio: Above 0 and at most 1.
            factors: Shape (p,), at least 0; 0 leaves a column unpenalised, infinity leaves it out. By default 1.

        Raises:
            ValueError: An argument is out of range, or nothing is left to penalise.
        """
        if not 0 < l1_ratio <= 1:
            raise ValueError(f"l1_ratio is {l1_ratio}; it must be above 0 and at most 1.")
        p = len(reference.centre)
        f = np.ones(p) if factors is None else np.asarray(factors, dtype=np.float64)
        if f.shape != (p,) or not (f >= 0).all():
            raise ValueError(f"penalty_factors must be {p} numbers of at least 0, one for each column.")
        eligible = reference.usable & np.isfinite(f)
        f = np.where(eligible, f, 0.0)  # not used for the others, but finite
        if not f.any():
            raise ValueError("No penalised column varies between rows; there is nothing to choose from.")
        return cls(f * l1_ratio, f * (1.0 - l1_ratio), eligible, float(f.max()) * l1_ratio)

    def largest(self, residuals: Vector) -> Vector:
        """The least lambda at which no penalised column enters.

        Args:
            residuals: Z'(y - Zb)/n with the unpenalised columns fitted, shape (..., p).
        """
        penalised = self.l1 > 0
        return np.asarray((np.abs(residuals[..., penalised]) / self.l1[penalised]).max(axis=-1))

    def violation(self, residuals: Vector, b: Vector, penalty: float) -> Vector:
        """How far each column is from its optimality condition; 0 everywhere at a solution.

        Args:
            residuals: Z'(y - Zb)/n, shape (..., p).
            b: Coefficients, same shape.
            penalty: lambda.

        Returns:
            Distances, same shape, as a share of lambda times `unit`.
        """
        gradient = residuals - penalty * self.l2 * b
        inside = np.abs(gradient - penalty * self.l1 * np.sign(b))
        outside = np.maximum(np.abs(gradient) - penalty * self.l1, 0.0)
        return np.asarray(np.where(b != 0, inside, outside) * self.eligible / (penalty * self.unit))

    def proximal(self, v: Vector, step: float) -> Vector:
        """The b that minimises |b - v|^2 / 2 + step times the penalty at lambda = 1 (soft threshold, then shrink)."""
        shrunk = np.sign(v) * np.maximum(np.abs(v) - step * self.l1, 0.0) / (1.0 + step * self.l2)
        return np.asarray(shrunk * self.eligible)
