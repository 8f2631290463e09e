"""A DIZ's part of linear, logistic and Poisson regression: sums over its complete rows.

Let x be a row's columns, z the same centred and scaled as the hub says with a 1 before it if there is an intercept, b
the coefficients that the hub sends, eta = z'b + offset, mu the mean of the outcome at eta, and w its variance:

=========  ==============  ================  =====================
family     outcome y       mu                w
=========  ==============  ================  =====================
gaussian   any number      eta               1
logistic   0 or 1          1/(1 + e^-eta)    mu (1 - mu)
poisson    0, 1, 2, ...    e^eta             mu
=========  ==============  ================  =====================

All three links are canonical, so the gradient of the log-likelihood is the sum of z (y - mu), and the negative Hessian
the sum of w z z' (McCullagh and Nelder, "Generalized Linear Models", 2nd ed. 1989, §2.5). The outcome of a linear
regression is (y - offset - y_centre) / y_scale here, with nothing left in eta but z'b.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from federated_statistics.errors import InputError
from federated_statistics.site_design import Rows, build, has_intercept, moments, pack, standardise
from federated_statistics.table import Answer, Arrays, Float, Request, Table

_MOST = {"logistic": 300.0, "poisson": 60.0}
"""Linear predictors are cut here, far beyond any that fits: sums stay finite, and the hub sees that it went too far."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Rows at given coefficients, each (n,): y - mu, w, log-likelihood, deviance, and squared Pearson residual."""

    residual: Float
    weight: Float
    loglik: Float
    deviance: Float
    pearson: Float


def glm_moments(table: Table, request: Request) -> Arrays:
    """What centring, scaling and the checks need; see `flame_strategies.glm`."""
    rows = build(table, request)
    y = rows.y - rows.offset if _family(request) == "gaussian" else rows.y
    return {
        **moments(rows),
        "sum_xy": rows.X.T @ y,
        "outcome": _outcome(_family(request), y, rows.offset),
        "invalid": np.array([rows.invalid + _invalid(_family(request), rows.y)], dtype=np.int64),
    }


def glm_step(table: Table, request: Request) -> Arrays:
    """Log-likelihood, gradient and Hessian at the coefficients sent; see `flame_strategies.glm`."""
    rows, y, Z = _standardised(table, request)
    family = _family(request)
    if request.config.get("start", False):
        return {**_start(family, y, rows.offset, Z, request), "n": np.array([len(y)], dtype=np.int64)}
    fitted = _fit(family, y, rows.offset, Z @ request.arrays["coefficients"])
    return {
        "n": np.array([len(y)], dtype=np.int64),
        "outcome": _outcome(family, y, rows.offset),
        "fit": np.array([fitted.loglik.sum(), fitted.deviance.sum(), fitted.pearson.sum()]),
        "gradient": Z.T @ fitted.residual,
        "hessian": pack((Z * fitted.weight[:, None]).T @ Z),
    }


def glm_robust(table: Table, request: Request) -> Arrays:
    """Both halves of the sandwich: the sums of w z z' and of (y - mu)^2 z z'."""
    rows, y, Z = _standardised(table, request)
    fitted = _fit(_family(request), y, rows.offset, Z @ request.arrays["coefficients"])
    return {
        "n": np.array([len(y)], dtype=np.int64),
        "hessian": pack((Z * fitted.weight[:, None]).T @ Z),
        "meat": pack((Z * fitted.residual[:, None] ** 2).T @ Z),
    }


def glm_path(table: Table, request: Request) -> Arrays:
    """`glm_step` at m points at once, each without one fold's rows; see `flame_strategies.glm_elastic_net`.

    Point i leaves out the rows of fold ``fold[i]``, none if that is -1, and gives their deviance apart.
    """
    rows, y, Z = _standardised(table, request)
    family, points = _family(request), request.arrays["coefficients"]
    folds = int(request.config.get("folds", 0))
    own = _folds(table, rows, folds)
    numbers, gradients, hessians = np.zeros((len(points), 2)), np.zeros_like(points), []
    for index, (point, fold) in enumerate(zip(points, request.arrays["fold"].tolist(), strict=True)):
        fitted = _fit(family, y, rows.offset, Z @ point)
        inside = own != fold
        numbers[index] = fitted.loglik[inside].sum(), fitted.deviance[~inside].sum()
        gradients[index] = Z[inside].T @ fitted.residual[inside]
        hessians.append(pack((Z[inside] * fitted.weight[inside, None]).T @ Z[inside]))
    return {
        "n": np.array([len(y), *((own == fold).sum() for fold in range(folds))], dtype=np.int64),
        "fit": numbers,
        "gradient": gradients,
        "hessian": np.array(hessians),
    }


def _standardised(table: Table, request: Request) -> tuple[Rows, Float, Float]:
    rows = build(table, request)
    y = rows.y
    if _family(request) == "gaussian":
        y = (y - rows.offset - request.arrays["y_centre"][0]) / request.arrays["y_scale"][0]
    return rows, y, standardise(rows, request, intercept=has_intercept(request))


def _family(request: Request) -> str:
    family = str(request.config["family"])
    if family not in _FITS:
        raise InputError(f"There is no family {family!r}; choose one of {', '.join(_FITS)}.")
    return family


def _fit(family: str, y: Float, offset: Float, linear: Float) -> Fitted:
    return _FITS[family](y, offset, linear)


def _gaussian(y: Float, _offset: Float, linear: Float) -> Fitted:
    residual = y - linear
    return Fitted(residual, np.ones_like(y), -(residual**2) / 2, residual**2, residual**2)


def _logistic(y: Float, offset: Float, linear: Float) -> Fitted:
    eta = np.clip(linear + offset, -_MOST["logistic"], _MOST["logistic"])
    sign = 2 * y - 1
    odds = np.exp(-sign * eta)  # against what was observed
    miss = odds / (1 + odds)
    loglik = -np.log1p(odds)
    return Fitted(sign * miss, miss / (1 + odds), loglik, -2 * loglik, odds)


def _poisson(y: Float, offset: Float, linear: Float) -> Fitted:
    eta = np.clip(linear + offset, -_MOST["poisson"], _MOST["poisson"])
    mu = np.exp(eta)
    distinct, where = np.unique(y, return_inverse=True)
    constant = np.array([math.lgamma(value + 1) if value >= 0 else math.nan for value in distinct])[where]
    log_y = np.log(np.maximum(y, 1))  # times y, so that 0 log 0 is 0
    deviance = 2 * (y * (log_y - eta) - (y - mu))
    return Fitted(y - mu, mu, y * eta - mu - constant, deviance, (y - mu) ** 2 / mu)


_FITS: dict[str, Callable[[Float, Float, Float], Fitted]] = {
    "gaussian": _gaussian,
    "logistic": _logistic,
    "poisson": _poisson,
}


def _start(family: str, y: Float, offset: Float, Z: Float, request: Request) -> Arrays:
    """Weighted least squares of the working outcome at means near the data, as a step from coefficients of 0."""
    if family != "poisson":
        raise InputError("Only a Poisson regression starts from its data; start the others at 0.")
    mu = (y + request.arrays["y_centre"][0] * np.exp(offset)) / 2
    working = np.log(mu) - offset + (y - mu) / mu
    return {
        "outcome": _outcome(family, y, offset),
        "fit": np.zeros(3),
        "gradient": Z.T @ (mu * working),
        "hessian": pack((Z * mu[:, None]).T @ Z),
    }


def _outcome(family: str, y: Float, offset: Float) -> Float:
    """(4,) sums of y, of its square, of e^offset, and (Poisson) of y log(y / e^offset)."""
    if family != "poisson":
        return np.array([y.sum(), (y**2).sum(), float(len(y)), 0.0])
    saturated = y * (np.log(np.maximum(y, 1)) - offset)
    return np.array([y.sum(), (y**2).sum(), np.exp(offset).sum(), saturated.sum()])


def _invalid(family: str, y: Float) -> int:
    """How many outcomes the family cannot have."""
    if family == "logistic":
        return int(((y != 0) & (y != 1)).sum())
    if family == "poisson":
        return int(((y < 0) | (y != np.floor(y))).sum())
    return 0


def _folds(table: Table, rows: Rows, folds: int) -> Float:
    """(n,) each row's fold: SHA-256 of the patient's id as one big-endian number, modulo `folds`; 0 without folds."""
    if not folds:
        return np.zeros(len(rows.y))
    if len(table.patients) != table.rows:
        raise InputError("Cross-validation needs to know whose row is whose; declare the patient's column.")
    digests = (hashlib.sha256(str(patient).encode()).digest() for patient in table.patients)
    return np.array([int.from_bytes(digest, "big") % folds for digest in digests], dtype=np.float64)[rows.kept]


ANSWERS: dict[str, Answer] = {
    "glm_moments": glm_moments,
    "glm_step": glm_step,
    "glm_robust": glm_robust,
    "glm_path": glm_path,
}
