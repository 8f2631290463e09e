"""Curves from counts: ROC, concordance, Kaplan-Meier, log-rank.

Scores and times come in declared bins. What binning can hide is stated: two samples in one bin of the score are taken
as tied, and count one half; were they apart, they could count 0 or 1. So the area under the curve, and the concordance
index, of the scores themselves lie between `low` and `high`, for certain.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flame_strategies.glm_inference import chi2_upper

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Roc:
    """A ROC curve.

    Attributes:
        fpr: (B + 1,) false positive rates, from 0 to 1, one for each bound between bins from the highest score down.
        tpr: (B + 1,) true positive rates.
        auc: Area under the curve, ties counted one half; NaN without both classes.
        low: The unbinned scores' area is at least this.
        high: And at most this.
        negative: Samples without the class.
        positive: Samples with it.
    """

    fpr: Float
    tpr: Float
    auc: float
    low: float
    high: float
    negative: int
    positive: int


@dataclass(frozen=True)
class Concordance:
    """Harrell's concordance index.

    Attributes:
        index: Share of comparable pairs in which who has the event first has the higher score; NaN without pairs.
        low: The unbinned scores' index, over the same binned times, is at least this.
        high: And at most this.
        pairs: Comparable pairs.
    """

    index: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, eq=False)
class Survival:
    """A Kaplan-Meier curve.

    Attributes:
        time: (T,) the declared times.
        survival: (T,) share without event after each.
        at_risk: (T,) at each.
        events: (T,) at each.
        error: (T,) Greenwood's standard error of the logarithm.
        lower: (T,) of the 95 % interval, on the scale of the logarithm.
        upper: (T,) at most 1.
    """

    time: Float
    survival: Float
    at_risk: Int
    events: Int
    error: Float
    lower: Float
    upper: Float

    @property
    def median(self) -> float:
        """The first time at which at most half are without event; NaN if there is none."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.time[below[0]]) if below.size else math.nan


@dataclass(frozen=True)
class LogRank:
    """The log-rank test: chi-squared statistic, degrees of freedom, p; NaN, 0 and NaN with fewer than two groups."""

    statistic: float
    degrees: int
    p_value: float


def roc(counts: npt.ArrayLike) -> Roc:
    """From counts (2, B): samples without and with the class, by bin of the score, rising."""
    negative, positive = np.asarray(counts, dtype=np.int64)
    totals = int(negative.sum()), int(positive.sum())
    down = np.stack([np.cumsum(negative[::-1]), np.cumsum(positive[::-1])])
    rates = np.concatenate([np.zeros((2, 1)), down / np.maximum(np.array(totals), 1)[:, None]], axis=1)
    if not all(totals):
        return Roc(rates[0], rates[1], math.nan, math.nan, math.nan, *totals)
    pairs = totals[0] * totals[1]
    higher = int((positive * (np.cumsum(negative) - negative)).sum())
    tied = int((positive * negative).sum())
    area = (higher + tied / 2) / pairs
    return Roc(rates[0], rates[1], area, higher / pairs, (higher + tied) / pairs, *totals)


def concordance(counts: npt.ArrayLike) -> Concordance:
    """From counts (2, T + 1, B): without and with event, by time, the last being beyond the grid, and bin of the score.

    A pair is comparable if the earlier time is that of an event; at equal times, if one alone is (Harrell et al., JAMA
    247, 1982; observation that ends at the time of an event ends after it).
    """
    censored, events = np.asarray(counts, dtype=np.int64)
    from_here = np.cumsum((censored + events)[::-1], axis=0)[::-1]
    later = from_here - events  # those with the event at the same time are not comparable
    lower = np.cumsum(later, axis=1) - later
    concordant, tied, pairs = (
        int((events * lower).sum()),
        int((events * later).sum()),
        int((events.sum(axis=1) * later.sum(axis=1)).sum()),
    )
    if not pairs:
        return Concordance(math.nan, math.nan, math.nan, 0)
    return Concordance((concordant + tied / 2) / pairs, concordant / pairs, (concordant + tied) / pairs, pairs)


def kaplan_meier(time: npt.ArrayLike, counts: npt.ArrayLike) -> Survival:
    """From counts (2, T + 1): without and with event, by time, the last being beyond the grid.

    Kaplan and Meier, J. Am. Stat. Assoc. 53, 1958. Whose observation ends at a time is at risk at it.
    """
    events, at_risk = _at_risk(counts)
    hazard = np.divide(events, at_risk, out=np.zeros(len(events)), where=at_risk > 0)
    terms = np.divide(events, at_risk * (at_risk - events), out=np.zeros(len(events)), where=at_risk > events)
    survival, error = np.cumprod(1 - hazard), np.sqrt(np.cumsum(terms))
    reach = 1.959963984540054 * error
    lower, upper = survival * np.exp(-reach), np.minimum(survival * np.exp(reach), 1.0)
    return Survival(np.asarray(time, dtype=np.float64), survival, at_risk, events, error, lower, upper)


def log_rank(counts: npt.ArrayLike) -> LogRank:
    """From counts (G, 2, T + 1): by group, without and with event, and time.

    Mantel, Cancer Chemother. Rep. 50, 1966. Groups without anybody are left out.
    """
    table = np.asarray(counts, dtype=np.int64)
    table = table[table.sum(axis=(1, 2)) > 0]
    if len(table) < 2:
        return LogRank(math.nan, 0, math.nan)
    parts = [_at_risk(group) for group in table]
    events, at_risk = (np.stack([part[i] for part in parts]).astype(np.float64) for i in (0, 1))
    d, n = events.sum(axis=0), at_risk.sum(axis=0)
    used = (d > 0) & (n > 1)
    share = at_risk[:, used] / n[used]
    d, n = d[used], n[used]
    difference = (events[:, used] - share * d).sum(axis=1)
    weight = d * (n - d) / (n - 1)
    variance = np.diag((share * weight).sum(axis=1)) - (share * weight) @ share.T
    degrees = len(table) - 1
    if not np.trace(variance) > 0:
        return LogRank(math.nan, 0, math.nan)
    kept = slice(0, degrees)  # the last group's difference is the others' with the sign turned
    statistic = float(difference[kept] @ np.linalg.pinv(variance[kept, kept], hermitian=True) @ difference[kept])
    return LogRank(statistic, degrees, chi2_upper(statistic, degrees))


def _at_risk(counts: npt.ArrayLike) -> tuple[Int, Int]:
    """Events and those at risk, each (T,)."""
    censored, events = np.asarray(counts, dtype=np.int64)
    leaving = censored + events
    return events[:-1], np.cumsum(leaving[::-1])[::-1][:-1]
