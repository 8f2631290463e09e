"""A DIZ's predictions as sums and counts, from which accuracy, areas under curves, calibration and errors follow.

The first axis of every array (A) is which modalities the model looked at; everybody is counted in each. Both
functions give the same names, because a release contract lists what leaves: what does not belong to the task is one 0.

Outputs of classes become probabilities as softmax(z / T). For a grid of temperatures T there is the sum of
-log p(class) as well: the hub finds the best of them, as if it had all outputs (Guo et al., "On calibration of modern
neural networks", ICML 2017).
"""

import numpy as np

from multimodal_imaging.site import Arrays, Float, Int

COLDEST, HOTTEST, TEMPERATURES = 0.1, 10.0, 81
"""Bounds and number of the grid, in equal steps of the logarithm: neighbours differ by 6 %."""

ERROR_BINS, ERROR_STEP = 40, 0.1
"""Absolute errors are counted in steps of a tenth of the outcome's standard deviation; the last bin has no end."""

_LEAST = 1e-300


def temperatures() -> Float:
    """The grid (K,)."""
    return np.geomspace(COLDEST, HOTTEST, TEMPERATURES)


def number_sums(y: Float, prediction: Float, unit: float, least: int) -> Arrays:
    """Of a numeric outcome.

    Args:
        y: (n,) what was measured.
        prediction: (A, n) what was said.
        unit: Of the bins of errors, the outcome's standard deviation.
        least: Fewer patients than these are not counted in a bin of their own, see `merged`.

    Returns:
        ``n`` (A,); ``values`` (A, 7): sums of y, y^2, p, p^2, y p, |p - y| and (p - y)^2; ``errors`` (A, bins): counts
        of |p - y| / unit. ``confusion``, ``scores``, ``loss`` and ``by_temperature`` are 0.
    """
    error = prediction - y
    sums = np.stack(
        [
            np.broadcast_to(y, error.shape),
            np.broadcast_to(y**2, error.shape),
            prediction,
            prediction**2,
            y * prediction,
            abs(error),
            error**2,
        ],
        axis=2,
    )
    bins = np.minimum(abs(error) / unit / ERROR_STEP, ERROR_BINS - 1).astype(np.int64)
    return {
        "n": np.full(len(error), len(y), dtype=np.int64),
        "values": sums.sum(axis=1),
        "errors": np.stack([merged(np.bincount(own, minlength=ERROR_BINS), least) for own in bins]).astype(np.int64),
        "confusion": np.zeros((len(error), 1, 1), dtype=np.int64),
        "scores": np.zeros((len(error), 1, 2, 1), dtype=np.int64),
        "loss": np.zeros((len(error), 2)),
        "by_temperature": np.zeros(1),
    }


def merged(counts: Int, least: int) -> Int:
    """Counts by bin with `least` or more in each that has any: fewer go up to the next bin, never down.

    Errors are made to seem larger by it, never smaller. What is too few at the top joins the group below it, at the
    top's bin; so do all, if they are fewer altogether.
    """
    found, carried, last = np.zeros_like(counts), 0, -1
    for place in np.flatnonzero(counts).tolist():
        carried += int(counts[place])
        if carried >= least:
            found[place], carried, last = carried, 0, place
    if carried:
        if last >= 0:
            carried, found[last] = carried + int(found[last]), 0
        found[int(np.flatnonzero(counts)[-1])] = carried
    return found


def class_sums(place: Int, out: Float, temperature: float, bins: int) -> Arrays:
    """Of classes.

    Args:
        place: (n,) classes, from 0.
        out: (A, n, C) outputs; C = 1 for two classes.
        temperature: T.
        bins: Of the probabilities, of equal width.

    Returns:
        ``n`` (A,); ``confusion`` (A, C, C): true class by most probable one; ``scores`` (A, C, 2, bins): by class,
        whether it is another's or the class's own, and its probability; ``loss`` (A, 2): sums of -log p(class) and of
        the Brier score, sum over classes of (p - [is the class])^2; ``by_temperature`` (K,): of -log p(class) with all
        modalities at each of `temperatures`. ``values`` and ``errors`` are 0.
    """
    z = two_sided(out)
    p = softmax(z / temperature)
    count = p.shape[2]
    truth = np.eye(count)[place]
    confusion = np.zeros((len(p), count, count), dtype=np.int64)
    scores = np.zeros((len(p), count, 2, bins), dtype=np.int64)
    cell = np.minimum((p * bins).astype(np.int64), bins - 1)
    for view, of in enumerate(p):
        np.add.at(confusion[view], (place, of.argmax(axis=1)), 1)
        for own in range(count):
            np.add.at(scores[view, own], (truth[:, own].astype(np.int64), cell[view, :, own]), 1)
    likelihood = -np.log(np.maximum((p * truth).sum(axis=2), _LEAST))
    brier = ((p - truth) ** 2).sum(axis=2)
    grid = softmax(z[0][None] / temperatures()[:, None, None])
    by_temperature = -np.log(np.maximum((grid * truth).sum(axis=2), _LEAST)).sum(axis=1)
    return {
        "n": np.full(len(p), len(place), dtype=np.int64),
        "values": np.zeros((len(p), 7)),
        "errors": np.zeros((len(p), 1), dtype=np.int64),
        "confusion": confusion,
        "scores": scores,
        "loss": np.stack([likelihood.sum(axis=1), brier.sum(axis=1)], axis=1),
        "by_temperature": by_temperature,
    }


def two_sided(out: Float) -> Float:
    """(..., 2) from (..., 1): the other class's output is 0; more outputs as they are."""
    return np.concatenate([np.zeros_like(out), out], axis=-1) if out.shape[-1] == 1 else out


def softmax(z: Float) -> Float:
    """Probabilities along the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
