"""A DIZ's part of logistic and multinomial fusion: losses and gradients at coefficients that the hub sends.

With a row z after a 1, coefficients b (1 + p, q) and eta = b'z: for two classes the loss is log(1 + e^eta) - y eta, for
more log sum_c e^eta_c - eta_y. Answers are described in `flame_strategies.multinomial`. Sums at coefficients of the
hub's choice tell the more, the more of them are asked: how many is in the terms.
"""

import numpy as np

from multimodal_imaging import validation
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Answer, Arrays, Float, Request, Site
from multimodal_imaging.site_block import DESIGN, design

MOST_POINTS = 64
"""In one message; the release contract states the same number."""

_MOST = 300.0
"""Linear predictors are cut here, far beyond any that fits, so that sums stay finite."""


def mm_gradient(site: Site, request: Request) -> Arrays:
    """At m points, each without the patients of one fold (-1: of none): losses inside and outside, and gradients."""
    if not request.settings.classes:
        raise InputError("The approved run config has no classes, so there is no gradient to ask for.")
    found = design(site, request, validation.fitted(site, request))
    fold = validation.folds(site, request)[found.rows]
    points, left_out = points_of(request, found.Z.shape[1], found.y.shape[1])
    Z = np.concatenate([np.ones((len(found.Z), 1)), found.Z], axis=1)
    losses, gradients = np.zeros((len(points), 2)), np.zeros(points.shape)
    for number, (b, without) in enumerate(zip(points, left_out.tolist(), strict=True)):
        loss, residual = loss_of(Z @ b, found.y)
        inside = fold != without
        losses[number] = loss[inside].sum(), loss[~inside].sum()
        gradients[number] = Z[inside].T @ residual[inside]
    return {
        "n": np.bincount(fold, minlength=request.settings.folds).astype(np.int64),
        "loss": losses,
        "gradient": gradients,
    }


def points_of(request: Request, p: int, q: int) -> tuple[Float, "np.typing.NDArray[np.int64]"]:
    """Coefficients (m, 1 + p, q) and the fold (m,) that each leaves out.

    Raises:
        InputError: They are of other shapes, or too many.
    """
    points, fold = request.arrays.get("coefficients"), request.arrays.get("fold")
    m = 0 if points is None else len(points)
    if fold is None or not 1 <= m <= MOST_POINTS or fold.shape != (m,) or fold.dtype.kind != "i":
        raise InputError(f"Losses are asked at 1 to {MOST_POINTS} points, each with its fold.")
    if not ((fold >= -1) & (fold < request.settings.folds)).all():
        raise InputError("A point leaves out a fold that the approved run config does not have.")
    return request.array("coefficients", (m, 1 + p, q)), fold.astype(np.int64)


def loss_of(eta: Float, y: Float) -> tuple[Float, Float]:
    """Losses (n,) and their derivatives by eta (n, q)."""
    eta = np.clip(eta, -_MOST, _MOST)
    if y.shape[1] == 1:
        sign = 2 * y - 1
        miss = np.exp(-np.logaddexp(0, sign * eta))
        return np.logaddexp(0, -sign * eta)[:, 0], -sign * miss
    top = eta.max(axis=1, keepdims=True)
    total = top + np.log(np.exp(eta - top).sum(axis=1, keepdims=True))
    return total[:, 0] - (eta * y).sum(axis=1), np.exp(eta - total) - y


ANSWERS: dict[str, Answer] = {"mm_gradient": mm_gradient}
ASKED: dict[str, tuple[str, ...]] = {"mm_gradient": (*DESIGN, "coefficients", "fold")}
