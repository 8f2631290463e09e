"""Kernel ridge regression at the hub, from encoded rows alone: no age is needed to know how ages are to be mixed.

With K the kernel matrix of the training rows and M = (K + lambda I)^-1, the predictions for rows with kernel values K*
are K* M y, and the leave-one-out predictions of the training rows y_i - (M y)_i / M_ii (Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, eq. 5.12). Both are a matrix, the *smoother*, times the ages y, which
the hub does not have: it hands each DIZ the columns for its own ages.
"""

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

WIDTHS = (0.01, 0.03, 0.1, 0.3)
"""Tried values of gamma times the median squared distance."""

PENALTIES = (1e-3, 1e-2, 1e-1)
"""Tried values of lambda."""


def squared_distances(a: Float, b: Float) -> Float:
    """(n, m) between the rows of `a` (n, k) and `b` (m, k)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
    return np.asarray(np.maximum(squares - 2.0 * (a @ b.T), 0.0))


def rbf(a: Float, b: Float, gamma: float) -> Float:
    """exp(-gamma |a_i - b_j|^2), (n, m)."""
    return np.exp(-gamma * squared_distances(a, b))


def median_distance(rows: Float) -> float:
    """The median squared distance of two different rows of (n, k)."""
    return float(np.median(squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]))


def regulariser(train: Float, gamma: float, penalty: float) -> Float:
    """M, (n, n)."""
    return np.asarray(np.linalg.inv(rbf(train, train, gamma) + penalty * np.eye(len(train))), dtype=np.float64)


def leave_one_out(m: Float) -> Float:
    """The smoother whose product with y predicts each training row from all others, (n, n)."""
    smoother = -m / m.diagonal()[:, None]
    np.fill_diagonal(smoother, 0.0)
    return smoother


def smoother_for(test: Float, train: Float, gamma: float, penalty: float) -> Float:
    """The smoother whose product with y predicts the test rows, (m, n)."""
    return rbf(test, train, gamma) @ regulariser(train, gamma, penalty)
