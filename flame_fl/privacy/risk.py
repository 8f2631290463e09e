"""Privacy terms as risk: what somebody who sees every release can tell, at worst. Nothing is simulated.

The attacker knows two possible contributions of the unit (two states of a whole site; or that one patient's record is
there or not), sees all releases, and decides which one was used. Two figures describe the best test there is:

- the *advantage*: the largest TPR − FPR of any test, 0 for a coin and 1 for certainty. Whoever guesses between two
  equally likely contributions is right with probability (1 + advantage) / 2;
- the *TPR at an FPR*: how often the attacker is right to say "this one" when false alarms are kept that rare.

Gaussian releases are described exactly: each is mu-Gaussian-DP, with mu = sensitivity / sigma, and k of them, chosen
adaptively or not, are sqrt(sum mu_i²)-Gaussian-DP (Dong, Roth, Su, "Gaussian Differential Privacy", Journal of the
Royal Statistical Society B 84, 2022; with mu_i chosen adaptively under a bound of the sum: Smith and Thakurta, "Fully
Adaptive Composition for Gaussian Differential Privacy", 2022). With rho = mu² / 2 that is mu = sqrt(2 · rho). The
gate's noise is the discrete Gaussian on a fine grid; these are the figures of the continuous one, whose zCDP bound is
the same.

Sampled steps have no closed form. Their privacy loss distribution gives delta(epsilon) for every epsilon, rounded so
that it is never too small (Koskela, Jälkö, Honkela 2020; Doroshenko et al. 2022), and with it every test's

    TPR ≤ e^epsilon · FPR + delta(epsilon),    1 − FPR ≤ e^epsilon · (1 − TPR) + delta(epsilon),    epsilon ≥ 0.

The advantage is delta(0). The TPR is the least of these bounds over epsilon: the trade-off function of all tests is the
envelope of such lines (Dong, Roth, Su 2022, proposition 2.12), and a grid of epsilons can only make it larger. Kulynych
et al., "Attack-Aware Noise Calibration for Differential Privacy" (NeurIPS 2024), read privacy loss distributions in the
same way. Sampling never adds risk, so the closed form without it is a further bound.

Of a pair (epsilon, delta) alone only a bound is known, the privacy region of Kairouz, Oh, Viswanath ("The Composition
Theorem for Differential Privacy", ICML 2015): every test has TPR ≤ e^epsilon · FPR + delta and
1 − FPR ≤ e^epsilon · (1 − TPR) + delta. It is the weaker of the two statements.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from flame_fl.privacy.accounting import Events, PrivacyEvent

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

FALSE_ALARMS = 0.01
"""The false positive rate at which the true positive rate is stated."""
_NORMAL = NormalDist()
_LARGEST_EXPONENT = 700.0
_INTERVAL = 1e-3  # of privacy losses
_EPSILONS = (*np.linspace(0.0, 6.0, 2401).tolist(), *np.linspace(6.05, 40.0, 680).tolist())
_LEAST_MULTIPLIER, _LARGEST_MU = 0.1, 30.0


@dataclass(frozen=True)
class Risk:
    """What an attacker gains. Both lie in [0, 1]; without any release they are 0 and `FALSE_ALARMS`."""

    advantage: float
    """Largest TPR − FPR of any test."""
    tpr: float
    """TPR of the best test whose FPR is `FALSE_ALARMS`."""


def mu_of(rho: float) -> float:
    """The Gaussian-DP parameter of Gaussian releases whose zCDP adds up to `rho`.

    Raises:
        ValueError: rho is negative or no number.
    """
    if not rho >= 0:
        raise ValueError("rho must not be negative")
    return math.sqrt(2.0 * rho)


def gaussian_risk(rho: float, fpr: float = FALSE_ALARMS) -> Risk:
    """Exact, for Gaussian releases whose zCDP adds up to `rho`.

    Args:
        rho: Sum of the releases' rho; 0 if there is none.
        fpr: The false positive rate that the attacker allows, in (0, 1).

    Raises:
        ValueError: rho is negative, or fpr does not lie in (0, 1).
    """
    _check(fpr)
    mu = mu_of(rho)
    advantage = math.erf(mu / (2.0 * math.sqrt(2.0)))  # 2 Φ(mu/2) − 1, also for a small mu
    return Risk(advantage, _NORMAL.cdf(_NORMAL.inv_cdf(fpr) + mu) if mu > 0 else fpr)


def bound_risk(epsilon: float, delta: float, fpr: float = FALSE_ALARMS) -> Risk:
    """An upper bound, for anything that is (epsilon, delta)-DP and of which no more is known.

    Args:
        epsilon: 0 or more; may be infinite.
        delta: In [0, 1].
        fpr: The false positive rate that the attacker allows, in (0, 1).

    Raises:
        ValueError: One of them lies outside.
    """
    _check(fpr)
    if not epsilon >= 0 or not 0 <= delta <= 1:
        raise ValueError("epsilon must not be negative, and delta must lie in [0, 1]")
    # (e^ε − 1 + 2δ) / (e^ε + 1), written so that it does not overflow
    half = math.tanh(epsilon / 2.0)
    advantage = half + delta * (1.0 - half)
    grown = math.exp(min(epsilon, _LARGEST_EXPONENT)) * fpr + delta
    left = math.exp(-epsilon) * (1.0 - delta - fpr)
    return Risk(min(1.0, advantage), min(1.0, max(fpr, min(grown, 1.0 - left))))


def risk_of(events: Events, fpr: float = FALSE_ALARMS) -> Risk:
    """Of any events together: exact if all are Gaussian, else an upper bound that is close.

    Args:
        events: What was, or is to be, released, and how often.
        fpr: The false positive rate that the attacker allows, in (0, 1).

    Raises:
        ValueError: fpr does not lie in (0, 1).
    """
    _check(fpr)
    return _risk(_sorted(events), fpr)


def tight_epsilon(events: Events, delta: float) -> float:
    """The epsilon at `delta` of a list that is fixed beforehand, by privacy loss distributions. 0 if it is empty.

    All Gaussian releases are one Gaussian (mu, see above), so that mixed lists are quick. Where a distribution would
    not fit into memory (hardly any noise) it is the larger figure without sampling.
    """
    return _tight_epsilon(_sorted(events), delta)


_Counted = tuple[tuple[PrivacyEvent, int], ...]


def _sorted(events: Events) -> _Counted:
    return tuple(sorted(((event, count) for event, count in events.items() if count), key=repr))


@functools.lru_cache(maxsize=1024)
def _risk(events: _Counted, fpr: float) -> Risk:
    bound = gaussian_risk(_rho_unsampled(events), fpr)
    if all(event.gaussian for event, _ in events) or not _fits(events):
        return bound
    # what is subtracted from nearly the same rounds to a little less than 0
    deltas = np.clip(_distribution(events).get_delta_for_epsilon(_EPSILONS), 0.0, 1.0).tolist()
    return Risk(min(bound.advantage, deltas[0]), min(bound.tpr, _envelope(deltas, fpr)))


def _envelope(deltas: Sequence[float], fpr: float) -> float:
    """The least TPR that the pairs (epsilon, delta) of `_EPSILONS` leave."""
    pairs = zip(_EPSILONS, deltas, strict=True)
    return min(bound_risk(epsilon, delta, fpr).tpr for epsilon, delta in pairs)


@functools.lru_cache(maxsize=1024)
def _tight_epsilon(events: _Counted, delta: float) -> float:
    if not events:
        return 0.0
    mu = mu_of(_rho_unsampled(events))
    if all(event.gaussian for event, _ in events) or not _fits(events):
        return _gaussian_epsilon(mu, delta)
    return min(float(_distribution(events).get_epsilon_for_delta(delta)), _gaussian_epsilon(mu, delta))


def _gaussian_epsilon(mu: float, delta: float) -> float:
    """The least epsilon of mu-Gaussian-DP at `delta`, rounded up: Balle and Wang 2018, theorem 8, by bisection."""

    def exceeds(epsilon: float) -> bool:
        # far out `low` is 0: then what is subtracted is forgotten, and epsilon is rounded up
        low = _tail(epsilon / mu + mu / 2.0)
        return _tail(epsilon / mu - mu / 2.0) - (math.exp(epsilon + math.log(low)) if low > 0.0 else 0.0) > delta

    low, high = 0.0, 1.0
    if not exceeds(low):
        return 0.0
    while exceeds(high):
        low, high = high, 2.0 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high


def _tail(x: float) -> float:
    """P(N(0, 1) > x), also far out."""
    return math.erfc(x / math.sqrt(2.0)) / 2.0


def _rho_unsampled(events: _Counted) -> float:
    """What zCDP the same events would have if every patient were in every batch."""
    return math.fsum(count * event.steps / (2.0 * event.multiplier**2) for event, count in events)


def _fits(events: _Counted) -> bool:
    """Whether the distribution of losses is narrow enough to be computed."""
    squares = 0.0
    for event, count in events:
        if event.gaussian:
            squares += count * event.steps / event.multiplier**2
        elif event.multiplier < _LEAST_MULTIPLIER:
            return False
        else:  # the central limit of many steps: Bu, Dong, Long, Su 2020, theorem 5
            squares += count * event.steps * event.sample_rate**2 * math.expm1(event.multiplier**-2)
    return math.sqrt(squares) < _LARGEST_MU


@functools.lru_cache(maxsize=8)
def _distribution(events: _Counted) -> "PrivacyLossDistribution":
    """Of all events; both directions of the relation are in it, and what is asked of it is the worse one."""
    from dp_accounting.pld import privacy_loss_distribution  # noqa: PLC0415  (brings all of SciPy)

    def of(multiplier: float, rate: float, times: int) -> "PrivacyLossDistribution":
        made: PrivacyLossDistribution = privacy_loss_distribution.from_gaussian_mechanism(
            multiplier, sampling_prob=rate, value_discretization_interval=_INTERVAL
        )
        return made if times == 1 else made.self_compose(times)

    gaussian = tuple((event, count) for event, count in events if event.gaussian)
    parts = [of(e.multiplier, e.sample_rate, count * e.steps) for e, count in events if not e.gaussian]
    if gaussian:
        parts.append(of(1.0 / mu_of(_rho_unsampled(gaussian)), 1.0, 1))
    return functools.reduce(lambda one, other: one.compose(other), parts)


def _check(fpr: float) -> None:
    if not 0 < fpr < 1:
        raise ValueError("fpr must lie in (0, 1)")
