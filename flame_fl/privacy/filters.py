"""Admission: privacy filters, which stay valid when projects and releases are chosen in the light of earlier ones.

A filter holds one Rényi order, fixed when its cap is set. Events are admitted while the sum of their Rényi divergences
of that order stays within what converts to the cap's epsilon at delta. With one fixed order the sum is a valid filter
under full adaptivity: Feldman and Zrnic, "Individual Privacy Accounting via a Rényi Filter" (NeurIPS 2021), theorem
3.1; Lécuyer, "Practical Privacy Filters and Odometers with Rényi Differential Privacy" (2021). Choosing the
best of many orders afterwards would not be; nor is composing privacy loss distributions.

The samplers' statistical distances from the ideal noise are paid for beside: of the cap's delta one part in a thousand
is kept for (1 + e^epsilon) times their sum.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from flame_fl.privacy.accounting import ORDERS, Events, PrivacyEvent, conversion, total_rdp

DISTANCE_SHARE = 1e-3
"""The share of delta that is kept for the samplers' distances."""
_MARGIN = 1e-9  # summing many figures in float64 must not admit one too many
_LEAST, _MOST = 1e-4, 1e6


@dataclass(frozen=True)
class Filter:
    """A cap: (epsilon, delta), watched at one Rényi order."""

    epsilon: float
    delta: float
    order: float

    @property
    def most(self) -> float:
        """The largest total Rényi divergence; 0 or less admits nothing."""
        return (self.epsilon - conversion(self.order, self.delta * (1 - DISTANCE_SHARE))) * (1 - _MARGIN)

    @property
    def most_distance(self) -> float:
        """The largest sum of statistical distances. Beyond epsilon 40, which bounds nothing of use, as at 40."""
        return DISTANCE_SHARE * self.delta / (1.0 + math.exp(min(self.epsilon, 40.0)))

    def admits(self, spent: Events, distance: float, event: PrivacyEvent, more_distance: float = 0.0) -> bool:
        """Whether `event` fits on top of what was debited."""
        fits = total_rdp(spent, self.order) + event.rdp(self.order) <= self.most
        return fits and distance + more_distance <= self.most_distance

    def share(self, spent: Events) -> float:
        """How much of the filter is used, from 0 to 1."""
        return total_rdp(spent, self.order) / self.most if self.most > 0 else 1.0

    def admitted(self, spent: Events, event: PrivacyEvent) -> int:
        """How many further events of this kind it admits: the largest n that fits."""
        cost, left = event.rdp(self.order), self.most - total_rdp(spent, self.order)
        if left < cost:
            return 0
        count = math.floor(left / cost)
        while count and total_rdp({**spent, event: spent.get(event, 0) + count}, self.order) > self.most:
            count -= 1
        return count


@functools.lru_cache(maxsize=256)
def order_for(epsilon: float, delta: float) -> float:
    """The order at which a cap admits most Gaussian releases. It depends on the cap alone, never on releases."""
    inner = delta * (1 - DISTANCE_SHARE)
    best: float = max(ORDERS, key=lambda order: (epsilon - conversion(order, inner)) / order)
    return best


def filter_for(epsilon: float, delta: float) -> Filter:
    """The filter of a cap that is set now."""
    return Filter(epsilon, delta, order_for(epsilon, delta))


def multiplier_for(cap: Filter, events: Callable[[float], Events]) -> float:
    """The smallest noise multiplier whose events a fresh filter admits, rounded up in its fourth digit.

    Args:
        cap: The filter.
        events: All events of a plan, from the multiplier that is looked for.

    Raises:
        ValueError: No multiplier between 1e-4 and 1e6 will do.
    """

    def fits(multiplier: float) -> bool:
        return total_rdp(events(multiplier), cap.order) <= cap.most * (1 - 1e-6)

    low, high = _LEAST, _MOST
    if not fits(high):
        raise ValueError(f"no noise makes this cost epsilon {cap.epsilon:g}")
    while high / low > 1 + 1e-7:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    step = 10.0 ** (math.floor(math.log10(high)) - 3)
    return float(f"{math.ceil(high / step) * step:.10g}")
