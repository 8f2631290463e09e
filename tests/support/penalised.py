"""Firth's logistic regression of one pooled set of rows, by Newton's method with the score's exact derivative.

Slow and plain, to hold the federated one against: `flame_strategies.firth` steps by another matrix and in other units.
With I the information, V its inverse and T_k = sum w (1 - 2 mu) x_k x x' the derivative of I, the log-likelihood's
penalty is log|I| / 2, its gradient tr(V T_k) / 2, and the derivative of that (tr(V dT_k/db_j) - tr(V T_j V T_k)) / 2.
"""

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


def penalised(x: Float, y: Float, b: Float) -> tuple[float, Float, Float, Float]:
    """Penalised log-likelihood (over rows x (n, k), y (n,)) at b, its score (k,) and Hessian (k, k), and V."""
    eta = x @ b
    mu = 1 / (1 + np.exp(-eta))
    w = mu * (1 - mu)
    information = (x * w[:, None]).T @ x
    inverse = np.linalg.inv(information)
    of_w, of_of_w = w * (1 - 2 * mu), w * (1 - 6 * mu + 6 * mu**2)  # derivatives of w by eta
    quadratic = ((x @ inverse) * x).sum(axis=1)
    turned = np.array([inverse @ ((x * (of_w * column)[:, None]).T @ x) for column in x.T])  # V T_k
    score = x.T @ (y - mu) + np.einsum("kii->k", turned) / 2
    hessian = -information + (x * (of_of_w * quadratic)[:, None]).T @ x / 2
    hessian -= np.einsum("jab,kba->jk", turned, turned) / 2
    loglik = float((y * eta - np.logaddexp(0, eta)).sum())
    return loglik + float(np.linalg.slogdet(information)[1]) / 2, score, hessian, inverse


def firth(x: Float, y: Float, *, fixed: int = 0) -> tuple[Float, Float, float]:
    """Coefficients (k,), standard errors (k,) and penalised log-likelihood; the last `fixed` coefficients are 0."""
    b, free = np.zeros(x.shape[1]), slice(0, x.shape[1] - fixed)
    for _ in range(200):
        value, score, hessian, inverse = penalised(x, y, b)
        if np.abs(score[free]).max() < 1e-12 * len(y):
            return b, np.sqrt(np.diag(inverse)), value
        step = np.zeros_like(b)
        curvature = hessian[free, free]
        if np.linalg.eigvalsh(curvature)[-1] >= 0:  # far from the maximum
            curvature = -np.linalg.inv(inverse)[free, free]
        step[free] = -np.linalg.solve(curvature, score[free])
        while penalised(x, y, b + step)[0] < value - 1e-10:
            step /= 2
        b = b + step
    raise AssertionError("the oracle did not converge")
