"""A DIZ's part of measuring a model, and of calibrating it: counts by bin of the score, sums of errors.

No score leaves. Models are measured on test patients, or on those held out of the training set; calibrated on training
patients, each scored by the model that was fitted without the patient's fold. A model is one of

* ``coefficients`` (1 + p, q) on the design of a view;
* in the view ``stack`` without coefficients, the mean of the scores of the modalities that a patient has: of
  probabilities, their normalised geometric mean.

``calibration`` (2,), shift and slope: eta becomes shift + slope eta for two classes (Platt, 1999) and slope eta for
more, which is temperature scaling with temperature 1 / slope (Guo et al., ICML 2017).
"""

import numpy as np

from multimodal_imaging import validation, views
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Answer, Arrays, Bool, Float, Int, Request, Site
from multimodal_imaging.site_block import DESIGN, MEASURED, design, outcome
from multimodal_imaging.site_gradient import loss_of

_LEAST = 1e-15
"""Probabilities are at least this in a logarithm."""


def mm_scores(site: Site, request: Request) -> Arrays:
    """Of a model of classes: see `class_sums`; and how many patients are left out."""
    classes = request.settings.classes
    if not classes:
        raise InputError("The approved run config has no classes to count.")
    chosen = validation.measured(site, request)
    eta, y = calibrated(*_scores(site, request, chosen), request)
    place = y[:, 0].astype(np.int64) if len(classes) == 2 else y.argmax(axis=1)
    counted = class_sums(place, probabilities(eta), request.settings.score_bins, request.settings.min_cell)
    return {**counted, "excluded": np.array([chosen.sum() - len(y)], dtype=np.int64)}


def mm_values(site: Site, request: Request) -> Arrays:
    """Of a model of a number: see `value_sums`; and how many patients are left out."""
    if request.settings.classes or request.settings.event:
        raise InputError("The approved run config's outcome is not a number.")
    chosen = validation.measured(site, request)
    eta, y = _scores(site, request, chosen)
    return {**value_sums(y[:, 0], eta[:, 0]), "excluded": np.array([chosen.sum() - len(y)], dtype=np.int64)}


def mm_calibrate(site: Site, request: Request) -> Arrays:
    """Loss, gradient (2,) and Hessian (3,) by shift and slope at ``calibration``, of the training patients' own scores.

    The message brings ``fold_coefficients`` (K, 1 + p, q), the models without each fold.
    """
    if not request.settings.classes:
        raise InputError("The approved run config has no classes to calibrate.")
    eta, y = _scores(site, request, validation.fitted(site, request), own=True)
    shift, slope = request.array("calibration", (2,)).tolist()
    if y.shape[1] == 1:
        loss, residual = loss_of(shift + slope * eta, y)
        mu = residual + y
        X = np.concatenate([np.ones_like(eta), eta], axis=1)
        hessian = (X * mu * (1 - mu)).T @ X
        gradient = X.T @ residual[:, 0]
    else:
        loss, residual = loss_of(slope * eta, y)
        p = residual + y
        mean = (p * eta).sum(axis=1)
        gradient = np.array([0.0, (residual * eta).sum()])
        hessian = np.array([[0.0, 0.0], [0.0, ((p * eta**2).sum(axis=1) - mean**2).sum()]])
    return {
        "n": np.array([len(y)], dtype=np.int64),
        "loss": np.array([loss.sum()]),
        "gradient": gradient,
        "hessian": np.array([hessian[0, 0], hessian[0, 1], hessian[1, 1]]),
    }


def class_sums(place: Int, probability: Float, bins: int, least: int) -> Arrays:
    """What leaves of probabilities.

    Args:
        place: (n,) the class of each, 0 to C - 1.
        probability: (n, C).
        bins: B of equal width, from 0 to 1.
        least: Probabilities of fewer patients in a bin are added as if they were the bin's middle.

    Returns:
        ``confusion`` (C, C) by class and predicted class, the most probable one, of two from 1/2 on the second;
        ``scores`` (C, 2, B) without and with each class, by bin of its probability, and ``sum_p`` (C, B) the
        probabilities' sums there; ``top`` (2, B) by bin of the predicted class's probability, all and those predicted
        rightly, and ``sum_top`` (B,); ``loss`` (2,) sums of squared errors over all classes (Brier) and of negative
        logarithms of the probability of what was observed.
    """
    n, classes = probability.shape
    cuts = np.linspace(0, 1, bins + 1)[1:-1]
    truth = np.equal(place[:, None], np.arange(classes))
    of = np.searchsorted(cuts, probability, side="right").astype(np.int64)
    scores, sums = np.zeros((classes, 2, bins), dtype=np.int64), np.zeros((classes, bins))
    for level in range(classes):
        np.add.at(scores[level], (truth[:, level].astype(np.int64), of[:, level]), 1)
        sums[level] = _rounded(of[:, level], probability[:, level], bins, least)
    chosen = (probability[:, 1] >= 0.5).astype(np.int64) if classes == 2 else probability.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (place, chosen), 1)
    rows = np.arange(n)
    top, top_p = of[rows, chosen], probability[rows, chosen]
    right = chosen == place
    return {
        "confusion": confusion,
        "scores": scores,
        "sum_p": sums,
        "top": np.stack([np.bincount(top, minlength=bins), np.bincount(top[right], minlength=bins)]).astype(np.int64),
        "sum_top": _rounded(top, top_p, bins, least),
        "loss": np.array(
            [((truth - probability) ** 2).sum(), -np.log(np.maximum(probability[rows, place], _LEAST)).sum()]
        ),
    }


def _rounded(of: Int, probability: Float, bins: int, least: int) -> Float:
    """(B,) sums by bin; of fewer than `least` patients, of the bin's middle."""
    count = np.bincount(of, minlength=bins)
    total = np.bincount(of, probability, minlength=bins).astype(np.float64)  # of nobody it counts in integers
    return np.where(count >= least, total, count * (np.arange(bins) + 0.5) / bins)


def value_sums(y: Float, predicted: Float) -> Arrays:
    """What leaves of predictions of a number, both (n,).

    Returns:
        ``n`` (1,); ``values`` (8,): sums of |e|, e^2, e (e = prediction - y), y, y^2, prediction, its square, product.
    """
    e = predicted - y
    products = (np.abs(e), e**2, e, y, y**2, predicted, predicted**2, predicted * y)
    return {
        "n": np.array([len(y)], dtype=np.int64),
        "values": np.array([float(part.sum()) for part in products]),
    }


def probabilities(eta: Float) -> Float:
    """(n, C) from linear predictors (n, q)."""
    full = np.concatenate([np.zeros_like(eta), eta], axis=1) if eta.shape[1] == 1 else eta
    raised = np.exp(full - full.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def calibrated(eta: Float, y: Float, request: Request) -> tuple[Float, Float]:
    """Linear predictors after the message's calibration, if it brings one."""
    if "calibration" in request.arrays:
        shift, slope = request.array("calibration", (2,)).tolist()
        eta = slope * eta + (shift if eta.shape[1] == 1 else 0.0)
    return eta, y


def _scores(site: Site, request: Request, chosen: Bool, *, own: bool = False) -> tuple[Float, Float]:
    """Linear predictors (n, q) of a model, and the outcome (n, q), of those of whom both are known."""
    if str(request.config.get("rule", "")) == "mean":
        return _mean(site, request, chosen)
    found = design(site, request, chosen)
    Z = np.concatenate([np.ones((len(found.Z), 1)), found.Z], axis=1)
    shape = (Z.shape[1], found.y.shape[1])
    if not own:
        return Z @ request.array("coefficients", shape), found.y
    b = request.array("fold_coefficients", (request.settings.folds, *shape))
    return np.einsum("np,npq->nq", Z, b[validation.folds(site, request)[found.rows]]), found.y


def _mean(site: Site, request: Request, chosen: Bool) -> tuple[Float, Float]:
    """Means over the modalities that a patient has."""
    if str(request.config.get("view", "")) != "stack":
        raise InputError("A mean of the modalities' scores is of the view 'stack'.")
    view, y = views.view(site, request), outcome(site, request)
    there = np.stack([part.there for part in view.parts])
    rows = np.flatnonzero(chosen & there.any(axis=0) & np.isfinite(y).all(axis=1))
    values = np.stack([np.where(part.there[:, None], part.values, 0.0) for part in view.parts])
    return values.sum(axis=0)[rows] / there.sum(axis=0)[rows, None], y[rows]


ANSWERS: dict[str, Answer] = {"mm_scores": mm_scores, "mm_values": mm_values, "mm_calibrate": mm_calibrate}
ASKED: dict[str, tuple[str, ...]] = {
    "mm_scores": (*MEASURED, "rule", "coefficients", "calibration"),
    "mm_values": (*MEASURED, "rule", "coefficients"),
    "mm_calibrate": (*DESIGN, "rule", "fold_coefficients", "calibration"),
}
