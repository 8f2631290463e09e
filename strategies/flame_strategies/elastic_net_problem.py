"""The least-squares problems behind a cross-validated path, from sums by fold.

Every site cuts its patients into K folds and answers with sums per fold over its standardised rows z and
outcomes y. From the totals over the sites come K + 1 problems at once: problem 0 is all rows, problem k is
all rows but fold k.
Each is centred anew, exactly, from its own sums (the intercept is not penalised)::

    n_t = rows,  u_t = mean of z,  v_t = mean of y
    c_t = sum(z y) / n_t - u_t v_t
    G_t = sum(z z') / n_t - u_t u_t'

Columns keep the pooled scale in all K + 1 problems, as in scikit-learn's `ElasticNetCV` on standardised
columns.

Of the (p, p) matrices only requested columns are ever known. They are kept per fold only, in the blocks in
which they came (K, m, p), and once more as the small matrices between known columns, on which the solver
works. A product with all problems' coefficients is one matrix product per fold.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.sums import Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldSums:
    """Sums over all sites by fold: the answer to the target query.

    Attributes:
        n: Rows, shape (K,).
        sum_z: Sum of standardised columns, shape (K, p).
        xty: Sum of standardised columns times outcome, shape (K, p).
        sum_y: Sum of the standardised outcome, shape (K,).
        yy: Sum of its squares, shape (K,).
    """

    n: Vector
    sum_z: Matrix
    xty: Matrix
    sum_y: Vector
    yy: Vector

    @classmethod
    def from_sums(cls, sums: Sums, folds: int, columns: int) -> "FoldSums":
        """Check the shapes and take the arrays over.

        Raises:
            UnusableReply: An array is missing or has another shape.
        """
        shapes = {
            "n": (folds,),
            "sum_z": (folds, columns),
            "xty": (folds, columns),
            "sum_y": (folds,),
            "yy": (folds,),
        }
        for name, shape in shapes.items():
            if name not in sums or sums[name].shape != shape:
                raise UnusableReply(f"The sites' sums need {name} of shape {list(shape)}; check the ClientApp.")
        return cls(**{name: np.asarray(sums[name], dtype=np.float64) for name in shapes})


class FoldProblems:
    """The K + 1 problems, as far as their columns are known.

    Coefficients are given as a matrix (m, K + 1): a row for each known column in the order of `known`, a
    column for each problem.

    Attributes:
        known: Indices of the columns whose Gram column is known, in the order in which they came.
    """

    def __init__(self, folds: FoldSums) -> None:
        self.folds = folds
        self.known: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._blocks: list[Matrix] = []
        self._core = np.empty((len(folds.n), 0, 0))
        # A problem without rows (all patients in one fold) has zero sums: its solution is 0 and weighs nothing.
        self._n = np.maximum(_all_and_without_each(folds.n), 1.0)
        self._mean_z = _all_and_without_each(folds.sum_z) / self._n[:, None]
        self._mean_y = _all_and_without_each(folds.sum_y) / self._n
        self._c = _all_and_without_each(folds.xty) / self._n[:, None] - self._mean_z * self._mean_y[:, None]
        self._grams: Matrix = np.empty((len(self._n), 0, 0))

    def __len__(self) -> int:
        """Number of problems, K + 1."""
        return len(self._n)

    def add_columns(self, columns: npt.NDArray[np.int64], gram: Matrix) -> None:
        """Learn the Gram columns of more `columns`: gram[k] = Z_k' Z_k[:, columns], shape (K, p, m)."""
        shape = (*self.folds.sum_z.shape, len(columns))
        if gram.shape != shape:
            raise UnusableReply(f"The sites' sums need gram of shape {list(shape)}; check the ClientApp.")
        block = np.ascontiguousarray(gram.transpose(0, 2, 1))
        old, new = len(self.known), len(self.known) + len(columns)
        self.known = np.concatenate([self.known, columns])
        self._blocks.append(block)
        core = np.empty((len(block), new, new))
        core[:, :old, :old] = self._core
        core[:, old:, :] = block[:, :, self.known]
        core[:, :old, old:] = core[:, old:, :old].transpose(0, 2, 1)
        self._core = core
        means = self._mean_z[:, self.known]
        self._grams = _all_and_without_each(core) / self._n[:, None, None] - means[:, :, None] * means[:, None, :]

    def restricted(self, problem: int) -> tuple[Matrix, Vector]:
        """Gram matrix (m, m) and right-hand side (m,) of one problem on the known columns."""
        return self._grams[problem], self._c[problem, self.known]

    def residuals(self, coefficients: Matrix) -> Matrix:
        """c_t - G_t b_t over all p columns, for each problem, shape (K + 1, p)."""
        products = np.zeros((len(self.folds.n), *self._c.shape))
        start = 0
        for block in self._blocks:
            rows = coefficients[start : start + block.shape[1]]
            start += block.shape[1]
            products += rows.T @ block  # (K + 1, m) times each fold's (m, p)
        fitted = products.sum(axis=0)
        for fold in range(len(self.folds.n)):
            fitted[fold + 1] -= products[fold, fold + 1]
        shifts = np.einsum("tm,mt->t", self._mean_z[:, self.known], coefficients)
        return np.asarray(self._c - fitted / self._n[:, None] + self._mean_z * shifts[:, None])

    def intercepts(self, coefficients: Matrix) -> Vector:
        """Unpenalised intercept of each problem, shape (K + 1,), in units of the standardised outcome."""
        return np.asarray(self._mean_y - np.einsum("tm,mt->t", self._mean_z[:, self.known], coefficients))

    def held_out_squares(self, coefficients: Matrix) -> Vector:
        """Sum of squared errors on fold k of the problem that left it out, shape (K,), from sums alone."""
        intercept = self.intercepts(coefficients)[1:]
        b = coefficients[:, 1:].T  # (K, m)
        z, xty = self.folds.sum_z[:, self.known], self.folds.xty[:, self.known]
        quadratic = np.einsum("km,kmj,kj->k", b, self._core, b, optimize=True)
        return np.asarray(
            self.folds.yy
            - 2 * intercept * self.folds.sum_y
            + self.folds.n * intercept**2
            + np.einsum("km,km->k", b, 2 * intercept[:, None] * z - 2 * xty)
            + quadratic
        )


def _all_and_without_each(by_fold: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums over all folds, then over all but each one: (K, ...) to (K + 1, ...)."""
    total = by_fold.sum(axis=0)
    return np.concatenate([total[None], total[None] - by_fold])
