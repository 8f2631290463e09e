"""Principal components over all sites, from summed second moments: equal to those of the pooled rows.

The components are the eigenvectors of the pooled covariance matrix (or correlation matrix, for columns scaled to unit
variance), which is a matter of sums (`statistics.covariance`, complete rows); 2 exchanges in all, however many
components. After Pearson, "On lines and planes of closest fit to systems of points in space" (Philosophical Magazine
2(11), 1901), and Hotelling (Journal of Educational Psychology 24, 1933).

Components are unique up to their sign, which is chosen so that a component's largest loading is positive. Forming
the matrix squares the condition number: variances are right to about 1e-15 of the largest one, so that a component
whose share of the variance is below 1e-12 is rounding, where a singular value decomposition of the rows would still
see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError
from flame_strategies.statistics import Matrix, Ranges, Vector, covariance
from flame_strategies.sums import Exchange


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Principal components of p columns; 2 exchanges.

    Attributes:
        columns: p names.
        rows: Complete rows behind them.
        centre: (p,) the columns' means.
        scale: (p,) what the centred columns are divided by: 1, or their standard deviations (divisor rows - 1).
        components: (k, p) orthonormal, the one with the largest variance first.
        explained_variance: (k,) variances along them (divisor rows - 1).
        explained_variance_ratio: (k,) their shares of the total variance of all p.
    """

    columns: tuple[str, ...]
    rows: int
    centre: Vector
    scale: Vector
    components: Matrix
    explained_variance: Vector
    explained_variance_ratio: Vector

    def scores(self, X: npt.NDArray[np.floating]) -> Matrix:
        """Coordinates (n, k) of rows (n, p) in the columns' own units."""
        return np.asarray((X - self.centre) / self.scale @ self.components.T)


def fit_pca(
    exchange: Exchange,
    columns: Sequence[str],
    *,
    components: int | None = None,
    scaled: bool = False,
    ranges: Ranges | None = None,
) -> PrincipalComponents:
    """Principal components of columns, over the rows in which none is missing. 2 exchanges.

    Args:
        exchange: Asks all sites and returns sums.
        columns: Numeric columns, p of them.
        components: How many to return, all p by default.
        scaled: Divide the columns by their standard deviations first.
        ranges: As in `statistics.summarise`.

    Raises:
        ValueError: `components` is not between 1 and p, or as `summarise`.
        StrategyError: Fewer than two complete rows, nothing varies, or a column to be scaled does not.
    """
    k = len(columns) if components is None else components
    if not 1 <= k <= len(columns):
        raise ValueError(f"There are {len(columns)} columns, so there cannot be {k} components.")
    moments = covariance(exchange, columns, rows="complete", ranges=ranges)
    rows = int(moments.count[0, 0])
    if rows < 2:
        raise StrategyError(f"{rows} rows have all columns; leave out columns that are mostly missing.")
    matrix, scale = moments.covariance, np.ones(len(columns))
    if scaled:
        still = [name for name, r in zip(columns, np.diagonal(moments.correlation), strict=True) if np.isnan(r)]
        if still:
            raise StrategyError(f"{', '.join(still)} do not vary and cannot be scaled; leave them out.")
        matrix, scale = moments.correlation, np.sqrt(np.diagonal(moments.covariance))
    variances, vectors = np.linalg.eigh(matrix)
    variances, axes = np.maximum(variances[::-1], 0.0), vectors[:, ::-1].T
    if not variances[0] > 0:
        raise StrategyError("No column varies, so there are no components.")
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(np.take_along_axis(axes, largest[:, None], axis=1))
    return PrincipalComponents(
        columns=moments.columns,
        rows=rows,
        centre=moments.mean,
        scale=scale,
        components=axes[:k],
        explained_variance=variances[:k],
        explained_variance_ratio=variances[:k] / variances.sum(),
    )
