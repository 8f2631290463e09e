"""Accounting: privacy events are stored as data, and read by dp-accounting.

An event says what was released and never what it cost: a later, tighter accountant reads the same ledger. Two kinds:

- a Gaussian release of multiplier m = sigma / sensitivity;
- T steps, each a Gaussian release of multiplier m over a Poisson sample of the patients at rate q.

The discrete Gaussian satisfies the same zCDP bound as the continuous one, rho = sensitivity² / (2 sigma²), for integer
queries in any dimension (Canonne, Kamath, Steinke 2020, theorem 14 and its corollaries), hence the same Rényi curve,
and at whole orders the bound of Poisson-sampled steps (Mironov, Talwar, Zhang 2019) holds for it too (docs/vetted.md).

The relation is part of every event: a changed contribution of one *site* is any other contribution within the ball
(replace), a *patient* is there or not (add or remove).
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dp_accounting import dp_event


class Relation(StrEnum):
    """What two neighbouring sets of data differ in."""

    REPLACE_ONE_SITE = "replace-one-site"
    ADD_OR_REMOVE_ONE_PATIENT = "add-or-remove-one-patient"


@dataclass(frozen=True)
class PrivacyEvent:
    """One noisy release, or `steps` sampled ones.

    Attributes:
        multiplier: Sigma over the L2 sensitivity under the relation.
        relation: What neighbours differ in.
        sample_rate: The chance of a patient to be in a step's batch; 1 is everybody.
        steps: How many such steps one release holds.
    """

    multiplier: float
    relation: Relation
    sample_rate: float = 1.0
    steps: int = 1

    @property
    def gaussian(self) -> bool:
        """Whether its privacy curve is that of a Gaussian release, exactly."""
        return self.sample_rate == 1.0

    @property
    def rho(self) -> float:
        """zCDP: steps / (2 multiplier²).

        Raises:
            ValueError: It is sampled; zCDP would lose what sampling gains.
        """
        if not self.gaussian:
            raise ValueError("a sampled release is not accounted by zCDP")
        return self.steps / (2.0 * self.multiplier**2)

    def rdp(self, order: float) -> float:
        """An upper bound of the Rényi divergence of this order, rounded up."""
        value = (
            order * self.rho if self.gaussian else _sampled_rdp(self.multiplier, self.sample_rate, order) * self.steps
        )
        return value * (1 + 1e-12)

    def as_json(self) -> dict[str, str | float]:
        """The event as the ledger stores it. Fields are never removed and never change their meaning."""
        if self.gaussian and self.steps == 1:
            return {"event": "gaussian", "noise_multiplier": self.multiplier, "relation": str(self.relation)}
        return {
            "event": "sampled-gaussian",
            "noise_multiplier": self.multiplier,
            "sample_rate": self.sample_rate,
            "steps": self.steps,
            "relation": str(self.relation),
        }

    def as_dp_event(self) -> "dp_event.DpEvent":
        """The event as dp-accounting reads it."""
        from dp_accounting import dp_event  # noqa: PLC0415  (brings all of SciPy: only where something is claimed)

        event: dp_event.DpEvent = dp_event.GaussianDpEvent(self.multiplier)
        if not self.gaussian:
            event = dp_event.PoissonSampledDpEvent(self.sample_rate, event)
        return event if self.steps == 1 else dp_event.SelfComposedDpEvent(event, self.steps)


def event_from(stored: Mapping[str, Any]) -> PrivacyEvent | None:
    """What the ledger stored; None for a release about which nothing is claimed.

    Raises:
        ValueError: It is of a kind that this version does not know: the spend is then unknown, and nothing may be
            admitted.
    """
    if stored.get("event") == "no-claim":
        return None
    try:
        rate, steps = (1.0, 1) if stored["event"] == "gaussian" else (stored["sample_rate"], stored["steps"])
        event = PrivacyEvent(float(stored["noise_multiplier"]), Relation(stored["relation"]), float(rate), int(steps))
    except (KeyError, TypeError, ValueError) as err:
        raise ValueError(f"the ledger holds an event that cannot be read ({str(stored.get('event'))[:40]!r})") from err
    known = stored["event"] in {"gaussian", "sampled-gaussian"}
    if not known or not event.multiplier > 0 or not 0 < event.sample_rate <= 1 or event.steps < 1:
        raise ValueError(f"the ledger holds an event that cannot be read ({str(stored['event'])[:40]!r})")
    return event


Events = Mapping[PrivacyEvent, int]
"""Events, and how often each was debited."""


def total_rdp(events: Events, order: float) -> float:
    """The Rényi divergence of this order of all events together."""
    return math.fsum(count * event.rdp(order) for event, count in events.items())


def epsilon_of(events: Events, delta: float) -> float:
    """The epsilon at `delta` of events that were fixed beforehand, by the best Rényi order. 0 if there are none.

    Raises:
        ValueError: delta is not in (0, 1).
    """
    if not 0 < delta < 1:
        raise ValueError("delta must lie in (0, 1)")
    counted = tuple(sorted(((e, n) for e, n in events.items() if n), key=repr))
    return _epsilon(counted, delta) if counted else 0.0


@functools.lru_cache(maxsize=4096)
def _epsilon(events: tuple[tuple[PrivacyEvent, int], ...], delta: float) -> float:
    orders = ORDERS if all(event.gaussian for event, _ in events) else SAMPLED_ORDERS
    totals = dict(events)
    return max(0.0, min(total_rdp(totals, order) + conversion(order, delta) for order in orders))


def pld_epsilon(events: Events, delta: float) -> float:
    """The same by privacy loss distributions: tighter, and valid only for a list that is fixed beforehand.

    Koskela, Jälkö, Honkela 2020; Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022 (connect the dots).
    """
    return (
        _pld(tuple(sorted(((e, n) for e, n in events.items() if n), key=repr)), delta) if any(events.values()) else 0.0
    )


@functools.lru_cache(maxsize=256)
def _pld(events: tuple[tuple[PrivacyEvent, int], ...], delta: float) -> float:
    from dp_accounting import NeighboringRelation, pld  # noqa: PLC0415  (as above)

    accountant = pld.PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-3)
    for event, count in events:
        accountant.compose(event.as_dp_event(), count)
    return float(accountant.get_epsilon(delta))


def conversion(order: float, delta: float) -> float:
    """What turns a Rényi divergence of this order into epsilon at `delta`, by addition.

    Canonne, Kamath, Steinke 2020, proposition 12 (v4); Asoodeh, Liao, Calmon, Kosut, Sankar 2020, equation 20.
    """
    return math.log1p(-1.0 / order) - math.log(delta * order) / (order - 1.0)


def _sampled_rdp(multiplier: float, rate: float, order: float) -> float:
    """Of one sampled step. At whole orders the continuous bound holds for the discrete noise (docs/vetted.md).

    Between them (order - 1) · divergence is convex in the order (van Erven and Harremoës 2014, corollary 2), so that a
    line between the neighbours bounds it; it is 0 at order 1.
    """
    low = math.floor(order)
    if low == order:
        return _whole_order_rdp(multiplier, rate, int(order))
    left = (low - 1) * _whole_order_rdp(multiplier, rate, low) if low > 1 else 0.0
    right = low * _whole_order_rdp(multiplier, rate, low + 1)
    return (left + (order - low) * (right - left)) / (order - 1)


@functools.lru_cache(maxsize=4096)
def _whole_order_rdp(multiplier: float, rate: float, order: int) -> float:
    """Mironov, Talwar, Zhang 2019, at a whole order a ≥ 2, as a sum of positive terms, so that nothing cancels.

    (a - 1) · R(a) = log(1 + Σ_{k=2..a} C(a, k) (1 - q)^(a-k) q^k (exp((k² - k) / (2 sigma²)) - 1))
    """
    total = -math.inf
    for k in range(2, order + 1):
        exponent = (k * k - k) / (2.0 * multiplier**2)
        grown = math.log(math.expm1(exponent)) if exponent < 30 else exponent + math.log1p(-math.exp(-exponent))
        ways = math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
        term = ways + (order - k) * math.log1p(-rate) + k * math.log(rate) + grown
        total = _log_sum(total, term)
    # log(1 + e^total)
    value = total + math.log1p(math.exp(-total)) if total > 0 else math.log1p(math.exp(total))
    return value / (order - 1) * (1 + 1e-10)


def _log_sum(one: float, other: float) -> float:
    larger, smaller = max(one, other), min(one, other)
    return larger if smaller == -math.inf else larger + math.log1p(math.exp(smaller - larger))


# Fine near 1 (large epsilon) and reaching far (small epsilon).
ORDERS = (*np.geomspace(1.05, 2, 60).tolist(), *np.geomspace(2.02, 5000, 280).tolist())
SAMPLED_ORDERS = (1.25, 1.5, 1.75, *np.arange(2, 12, 0.25).tolist(), *range(12, 64), *range(64, 512, 8))
