"""A DIZ's part of logistic regression, with and without an elastic net: sums over its complete rows.

The rows are `site_rows.view`'s: samples of a population with genes and clinical columns, the outcome a class or, in a
discrete-time survival model, the event of a period. Let z be a row's columns, centred and scaled as the hub says after
a 1, b the coefficients that the hub sends, eta = z'b, mu = 1 / (1 + e^-eta), w = mu (1 - mu). The link is canonical, so
the gradient of the log-likelihood is the sum of z (y - mu), and the negative Hessian the sum of w z z' (McCullagh and
Nelder, "Generalized Linear Models", 2nd ed. 1989, §2.5).

Answers are described in `flame_strategies.glm` and `flame_strategies.glm_elastic_net`.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from gene_expression.errors import InputError
from gene_expression.site_design import build, standardise
from gene_expression.site_rows import values, view
from gene_expression.table import Answer, Arrays, Float, Int, Request, Table
from gene_expression.validation import check_folds

MOST_POINTS = 64
"""In one message; the release contract states the same number."""

_MOST = 300.0
"""Linear predictors are cut here, far beyond any that fits: sums stay finite, and the hub sees that it went too far."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Complete rows of a design.

    Attributes:
        X: (n, p) columns in their own units.
        y: (n,) outcome.
        Z: (n, q) a 1, and the columns as the hub centres and scales them; empty before it said how.
        patients: (n,) whose row it is.
        excluded: How many rows are left out because something is missing.
    """

    X: Float
    y: Float
    Z: Float
    patients: tuple[str, ...]
    excluded: int


def glm_moments(table: Table, request: Request) -> Arrays:
    """What centring, scaling and the checks need."""
    rows = _rows(table, request)
    return {
        "n": np.array([len(rows.y)], dtype=np.int64),
        "excluded": np.array([rows.excluded], dtype=np.int64),
        "invalid": np.array([((rows.y != 0) & (rows.y != 1)).sum()], dtype=np.int64),
        "sum_x": rows.X.sum(axis=0),
        "sum_xx": (rows.X**2).sum(axis=0),
        "sum_xy": rows.X.T @ rows.y,
        "outcome": _outcome(rows.y),
    }


def glm_step(table: Table, request: Request) -> Arrays:
    """Log-likelihood, deviance, Pearson's chi-square, gradient and Hessian at the coefficients sent."""
    rows = _rows(table, request)
    loglik, residual, weight, pearson = _fit(rows.y, rows.Z @ request.arrays["coefficients"])
    return {
        "n": np.array([len(rows.y)], dtype=np.int64),
        "outcome": _outcome(rows.y),
        "fit": np.array([loglik.sum(), -2 * loglik.sum(), pearson.sum()]),
        "gradient": rows.Z.T @ residual,
        "hessian": pack((rows.Z * weight[:, None]).T @ rows.Z),
    }


def glm_path(table: Table, request: Request) -> Arrays:
    """`glm_step` at m points at once, each without one fold's rows.

    Point i leaves out the patients of fold ``fold[i]``, none if that is -1, and gives their deviance apart.
    """
    rows, points = _rows(table, request), request.arrays["coefficients"]
    folds = int(request.config.get("folds", 0))
    check_folds(request, folds)
    if points.ndim != 2 or len(points) > MOST_POINTS or request.arrays["fold"].shape != (len(points),):
        raise InputError(f"A path is asked at {MOST_POINTS} points or fewer, each with its fold.")
    own = _folds(rows.patients, folds)
    fit, gradients = np.zeros((len(points), 2)), np.zeros_like(points)
    hessians = np.zeros((len(points), points.shape[1] * (points.shape[1] + 1) // 2))
    for index, (point, fold) in enumerate(zip(points, request.arrays["fold"].tolist(), strict=True)):
        loglik, residual, weight, _ = _fit(rows.y, rows.Z @ point)
        inside = own != fold
        fit[index] = loglik[inside].sum(), -2 * loglik[~inside].sum()
        gradients[index] = rows.Z[inside].T @ residual[inside]
        hessians[index] = pack((rows.Z[inside] * weight[inside, None]).T @ rows.Z[inside])
    return {
        "n": np.array([len(rows.y), *((own == fold).sum() for fold in range(folds))], dtype=np.int64),
        "fit": fit,
        "gradient": gradients,
        "hessian": hessians,
    }


def pack(matrix: Float) -> Float:
    """(q (q + 1) / 2,) the upper triangle of a symmetric matrix (q, q), row by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def _rows(table: Table, request: Request) -> Rows:
    if str(request.config["family"]) != "logistic":
        raise InputError("Phenotype models are logistic: a class, or the event of a period.")
    rows = view(table, request)
    samples, y = build(rows, request), values(rows, str(request.config["outcome"]))
    known = np.isfinite(y[samples.kept])
    kept = np.flatnonzero(samples.kept)[known]
    Z = standardise(samples, request)[known] if "centre" in request.arrays else np.empty((len(kept), 0))
    patients = tuple(rows.patients[row] for row in kept.tolist())
    return Rows(samples.X[known], y[kept], Z, patients, rows.rows - len(kept))


def _fit(y: Float, linear: Float) -> tuple[Float, Float, Float, Float]:
    """Log-likelihood, y - mu, w and squared Pearson residual of each row, each (n,)."""
    sign = 2 * y - 1
    odds = np.exp(-sign * np.clip(linear, -_MOST, _MOST))  # against what was observed
    miss = odds / (1 + odds)
    return -np.log1p(odds), sign * miss, miss / (1 + odds), odds


def _outcome(y: Float) -> Float:
    """(4,) sums of y and of its square, rows, and 0: what the strategy expects of every family."""
    return np.array([y.sum(), (y**2).sum(), float(len(y)), 0.0])


def _folds(patients: tuple[str, ...], folds: int) -> Int:
    """(n,) each row's fold: SHA-256 of the patient's id as one big-endian number, modulo `folds`; 0 without folds."""
    if not folds:
        return np.zeros(len(patients), dtype=np.int64)
    digests = (hashlib.sha256(patient.encode()).digest() for patient in patients)
    return np.array([int.from_bytes(digest, "big") % folds for digest in digests], dtype=np.int64)


ANSWERS: dict[str, Answer] = {"glm_moments": glm_moments, "glm_step": glm_step, "glm_path": glm_path}
