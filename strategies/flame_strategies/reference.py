"""The pooled centre and scale of every column, and the linear model in the data's own units.

Federated fits work on columns standardised by the pooled mean and standard deviation, with a missing value at
the mean. Both come from one exchange of sums ("moments"), so every site can standardise its own rows in the
same way.

Of column j with m_j values that are present, summing to S_j and their squares to Q_j, among n rows in all
sites::

    centre_j  = S_j / m_j
    scale_j^2 = (Q_j - m_j centre_j^2) / n        population variance after filling with the centre

The difference loses digits when a column's mean is far larger than its spread: below a relative spread of
about 1e-6 (`CONSTANT_SPREAD`) a column is treated as constant. Constant and entirely missing columns get
scale 1 and are not `usable`: they stay in every array, so that shapes never depend on data, and their
coefficient is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.sums import Sums

Vector = npt.NDArray[np.float64]

CONSTANT_SPREAD = 1e-6


@dataclass(frozen=True)
class Reference:
    """How every site standardises its rows.

    Attributes:
        n: Rows in all sites.
        centre: Pooled mean of each column, shape (p,), in the column's unit.
        scale: Pooled population standard deviation after filling, shape (p,); 1 where not usable.
        usable: Whether the column varies, shape (p,).
        y_centre: Pooled mean of the outcome.
        y_scale: Pooled population standard deviation of the outcome.
    """

    n: int
    centre: Vector
    scale: Vector
    usable: npt.NDArray[np.bool_]
    y_centre: float
    y_scale: float

    @classmethod
    def from_moments(cls, sums: Sums) -> "Reference":
        """Read the sums that a moments query brings.

        Args:
            sums: ``n`` (1,), ``count`` (p,), ``sum_x`` (p,), ``sum_xx`` (p,), ``sum_y`` (2,) = [sum y, sum
                y^2].

        Raises:
            ValueError: There are no rows, or the outcome is the same in all of them.
        """
        n = int(sums["n"][0])
        if n < 1:
            raise ValueError("No site has a row that can be used; check the data stores' filters.")
        count = np.asarray(sums["count"], dtype=np.float64)
        centre = np.divide(sums["sum_x"], count, out=np.zeros_like(count), where=count > 0)
        scale, usable = _scale(np.asarray(sums["sum_xx"], dtype=np.float64), count * centre**2, n)
        y_centre = float(sums["sum_y"][0]) / n
        y_scale, y_usable = _scale(np.asarray(sums["sum_y"][1:2], dtype=np.float64), np.array([n * y_centre**2]), n)
        if not y_usable[0]:
            raise ValueError("The outcome is the same in all rows of all sites; there is nothing to learn.")
        return cls(n, centre, scale, usable, y_centre, float(y_scale[0]))

    def content(self) -> dict[str, npt.NDArray[np.float64]]:
        """The arrays that a site needs: ``centre``, ``scale``, ``y_centre``, ``y_scale``."""
        return {
            "centre": self.centre,
            "scale": self.scale,
            "y_centre": np.array([self.y_centre]),
            "y_scale": np.array([self.y_scale]),
        }

    def model(self, coefficients: Vector, intercept: float = 0.0) -> "LinearModel":
        """A model of standardised columns and outcome, in the data's own units."""
        coef = self.y_scale * coefficients / self.scale
        own_intercept = self.y_centre + self.y_scale * intercept - float(coef @ self.centre)
        return LinearModel(coef, own_intercept, self.centre)


@dataclass(frozen=True)
class LinearModel:
    """prediction = intercept + X coef, a missing value of column j being centre_j.

    Attributes:
        coef: Shape (p,), outcome's unit per column's unit.
        intercept: In the outcome's unit.
        centre: What stands for a missing value, shape (p,).
    """

    coef: Vector
    intercept: float
    centre: Vector

    def predict(self, X: npt.NDArray[np.floating]) -> Vector:
        """Predictions for X, shape (n, p), NaN where missing; shape (n,)."""
        filled = np.where(np.isnan(X), self.centre, X)
        return np.asarray(filled @ self.coef + self.intercept, dtype=np.float64)

    def arrays(self) -> Mapping[str, Vector]:
        """The model's arrays, to be saved."""
        return {"coef": self.coef, "intercept": np.array([self.intercept]), "centre": self.centre}


def _scale(squares: Vector, centre_squares: Vector, n: int) -> tuple[Vector, npt.NDArray[np.bool_]]:
    variance = np.maximum(squares - centre_squares, 0.0) / n
    usable = variance > CONSTANT_SPREAD**2 * squares / n
    return np.sqrt(np.where(usable, variance, 1.0)), usable
