"""Membership inference: how well a model's own losses tell on whose records it was trained.

An attack gives every patient a score; the higher, the likelier the patient was in the training. Two attacks are here:

- the *threshold* on the negative loss (Yeom, Giacomelli, Fredrikson, Jha, "Privacy Risk in Machine Learning", CSF
  2018): no further model is needed;
- the *likelihood ratio* (Carlini, Chien, Nasr, Song, Terzis, Tramèr, "Membership Inference Attacks From First
  Principles", IEEE S&P 2022): shadow models, each trained on a random half of the patients, tell how this patient's
  score is distributed if in and if not; two Gaussians are compared.

What is reported: the area under the ROC curve, and the true positive rate where hardly anybody is accused wrongly,
which is what harms a patient. Both with intervals. An attack that finds nothing shows that this attack finds nothing;
only the claim bounds every attack.

The held-out patients must be drawn like the members. If they differ (another hospital, another year), an attack that
tells the two apart has found that difference and not membership; the likelihood ratio compares each patient with
itself and is hurt less.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from flame_fl.privacy.risk import FALSE_ALARMS

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
LEAST = 2
"""Patients of each kind, at least."""


@dataclass(frozen=True)
class Attack:
    """What one attack achieves on so many patients.

    Attributes:
        members: How many were trained on.
        held_out: How many were not.
        auroc: Chance that a member scores higher than one held out; a tie counts half.
        auroc_interval: Of the AUROC of such patients (DeLong, DeLong, Clarke-Pearson 1988, on the logit scale).
        tpr: Share of members above the threshold.
        tpr_interval: Clopper and Pearson, for the threshold as it is.
        fpr: Share of those held out above the threshold; at most what was asked for.
        fpr_interval: Clopper and Pearson: with few held out, the threshold's own false positive rate is hardly known.
        advantage: Largest TPR − FPR over all thresholds; chosen with the scores in hand, so it errs upwards.
    """

    members: int
    held_out: int
    auroc: float
    auroc_interval: Interval
    tpr: float
    tpr_interval: Interval
    fpr: float
    fpr_interval: Interval
    advantage: float


def measure(members: Floats, held_out: Floats, *, fpr: float = FALSE_ALARMS, confidence: float = CONFIDENCE) -> Attack:
    """Judge an attack by its scores.

    Args:
        members: Shape (n,), one score per patient who was trained on.
        held_out: Shape (m,), one per patient who was not.
        fpr: The false positive rate that is allowed, in (0, 1).
        confidence: Of the intervals, each by itself.

    Raises:
        ValueError: A score is not finite, there are fewer than `LEAST` of a kind, or a rate is not in (0, 1).
    """
    if not 0 < fpr < 1 or not 0 < confidence < 1:
        raise ValueError("fpr and confidence must lie in (0, 1)")
    _check(members, held_out)
    false, true = roc(members, held_out)
    at = int(np.flatnonzero(false <= fpr)[-1])  # the lowest threshold that keeps false alarms this rare
    accused, wrongly = round(true[at] * len(members)), round(false[at] * len(held_out))
    area, interval = _auroc(members, held_out, confidence)
    return Attack(
        members=len(members),
        held_out=len(held_out),
        auroc=area,
        auroc_interval=interval,
        tpr=accused / len(members),
        tpr_interval=clopper_pearson(accused, len(members), confidence),
        fpr=wrongly / len(held_out),
        fpr_interval=clopper_pearson(wrongly, len(held_out), confidence),
        advantage=float(np.max(true - false)),
    )


def roc(members: Floats, held_out: Floats) -> tuple[Floats, Floats]:
    """FPR and TPR of every threshold, from nobody accused to everybody, shapes (t,).

    Patients of one score are accused together.

    Raises:
        ValueError: As `measure`.
    """
    _check(members, held_out)
    thresholds = np.unique(np.concatenate([members, held_out]))[::-1]
    false, true = (
        (len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")) / len(scores)
        for scores in (held_out, members)
    )
    return np.append(0.0, false), np.append(0.0, true)


def likelihood_ratios(observed: Floats, shadow: Floats, trained_on: npt.NDArray[np.bool_]) -> Floats:
    """Scores (n,) from shadow models: log density of what was observed if trained on, minus that if not.

    Each patient has two means; the two variances are shared by all patients, as one patient's few shadows tell little.

    Args:
        observed: Shape (n,), the model's score of each patient; best on a scale where it is about Gaussian.
        shadow: Shape (s, n), the same by each shadow model.
        trained_on: Shape (s, n), whether the shadow model was trained on the patient.

    Raises:
        ValueError: Shapes differ, a score is not finite, or a patient is in all of the shadows or in none.
    """
    if shadow.shape != trained_on.shape or shadow.shape[1:] != observed.shape:
        raise ValueError("shadow scores, memberships and observed scores must be of the same patients")
    if not (np.isfinite(observed).all() and np.isfinite(shadow).all()):
        raise ValueError("a score is not finite")
    inside = trained_on.sum(axis=0)
    if (inside == 0).any() or (inside == len(shadow)).any():
        raise ValueError("every patient must be in some of the shadow models and not in others")
    scores = np.zeros_like(observed)
    for sign, chosen in ((1.0, trained_on), (-1.0, ~trained_on)):
        count = chosen.sum(axis=0)
        mean = np.where(chosen, shadow, 0.0).sum(axis=0) / count
        squares = float(np.where(chosen, (shadow - mean) ** 2, 0.0).sum())
        variance = max(squares / max(1, int((count - 1).sum())), 1e-300)
        scores -= sign * ((observed - mean) ** 2 / variance + math.log(variance)) / 2
    return scores


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a chance from independent trials.

    Raises:
        ValueError: There is no trial, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError("successes must lie between 0 and the number of trials")
    tail = (1 - confidence) / 2
    counts = np.arange(1, trials + 1)
    logs = np.append(0.0, np.cumsum(np.log((trials - counts + 1) / counts)))  # log of "trials choose k"

    def at_least(chance: float, least: int) -> float:
        ks = np.arange(least, trials + 1)
        with np.errstate(under="ignore"):
            terms = np.exp(logs[least:] + ks * math.log(chance) + (trials - ks) * math.log1p(-chance))
        return float(terms.sum())

    low = 0.0 if successes == 0 else _solve(lambda p: at_least(p, successes) - tail)
    high = 1.0 if successes == trials else _solve(lambda p: at_least(p, successes + 1) - (1 - tail))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function of a chance crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _auroc(members: Floats, held_out: Floats, confidence: float) -> tuple[float, Interval]:
    """The area and its interval."""
    above = _placements(members, held_out)
    below = 1.0 - _placements(held_out, members)
    area = float(above.mean())
    variance = float(above.var(ddof=1)) / len(members) + float(below.var(ddof=1)) / len(held_out)
    pairs = min(len(members), len(held_out))
    if variance <= 0 or not 0 < area < 1:  # disjoint pairs are independent trials, whichever way they are made up
        return area, clopper_pearson(round(area * pairs), pairs, confidence)
    logit, step = math.log(area / (1 - area)), _quantile(confidence) * math.sqrt(variance) / (area * (1 - area))
    return area, (1 / (1 + math.exp(step - logit)), 1 / (1 + math.exp(-step - logit)))


def _placements(scores: Floats, others: Floats) -> Floats:
    """For each score, the share of the others that lie below it; ties count half."""
    ordered = np.sort(others)
    left, right = np.searchsorted(ordered, scores, side="left"), np.searchsorted(ordered, scores, side="right")
    placed: Floats = (left + right) / (2.0 * len(others))
    return placed


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _check(members: Floats, held_out: Floats) -> None:
    if min(len(members), len(held_out)) < LEAST:
        raise ValueError(f"an attack is judged on at least {LEAST} members and {LEAST} patients held out")
    if not (np.isfinite(members).all() and np.isfinite(held_out).all()):
        raise ValueError("a score is not finite")
