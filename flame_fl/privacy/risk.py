"""Privacy terms as risk: what somebody who sees every release can tell, at worst. Closed forms; nothing is simulated.

The attacker knows two possible contributions of the unit (here: two states of a whole site), sees all releases, and
decides which one was used. Two figures describe the best test there is:

- the *advantage*: the largest TPR − FPR of any test, 0 for a coin and 1 for certainty. Whoever guesses between two
  equally likely contributions is right with probability (1 + advantage) / 2;
- the *TPR at an FPR*: how often the attacker is right to say "this one" when false alarms are kept that rare.

Gaussian releases are described exactly: each is mu-Gaussian-DP, with mu = sensitivity / sigma, and k of them, chosen
adaptively or not, are sqrt(sum mu_i²)-Gaussian-DP (Dong, Roth, Su, "Gaussian Differential Privacy", Journal of the
Royal Statistical Society B 84, 2022). With rho = mu² / 2 that is mu = sqrt(2 · rho). The gate's noise is
the discrete Gaussian on a fine grid; these are the figures of the continuous one, whose zCDP bound is the same.

Of a pair (epsilon, delta) alone only a bound is known, the privacy region of Kairouz, Oh, Viswanath ("The Composition
Theorem for Differential Privacy", ICML 2015): every test has TPR ≤ e^epsilon · FPR + delta and
1 − FPR ≤ e^epsilon · (1 − TPR) + delta. It is the weaker of the two statements.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

FALSE_ALARMS = 0.01
"""The false positive rate at which the true positive rate is stated."""
_NORMAL = NormalDist()
_LARGEST_EXPONENT = 700.0


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


def _check(fpr: float) -> None:
    if not 0 < fpr < 1:
        raise ValueError("fpr must lie in (0, 1)")
