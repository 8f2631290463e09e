"""Accounting: privacy events are stored as data, and read by dp-accounting.

Neighbouring relation: replace one site's whole contribution (unit site, local model). A site's clipped update is
arbitrary within a ball of radius `clip_norm`, so the L2 sensitivity is 2·clip_norm, and noise of standard deviation
`noise_multiplier · clip_norm` is a Gaussian event with multiplier `noise_multiplier / 2`.

The discrete Gaussian satisfies the same zCDP bound as the continuous one, rho = sensitivity² / (2 sigma²), for integer
queries in any dimension (Canonne, Kamath, Steinke 2020, theorem 14 and its corollaries), hence the same Rényi curve.

Admission is a zCDP privacy filter: events may be chosen adaptively, and are admitted while the sum of rho stays within
the cap (Feldman and Zrnic, "Individual Privacy Accounting via a Rényi Filter", NeurIPS 2021; Whitehouse et al., "Fully
Adaptive Composition in Differential Privacy", ICML 2023).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GaussianRelease:
    """One noisy release. `noise_multiplier` is sigma over the sensitivity of the stated relation."""

    noise_multiplier: float
    relation: str = "replace-one-site"

    @property
    def rho(self) -> float:
        """zCDP: 1 / (2 multiplier²)."""
        return 1.0 / (2.0 * self.noise_multiplier**2)

    def as_json(self) -> dict[str, str | float]:
        """The event as the ledger stores it. Fields are never removed and never change their meaning."""
        return {"event": "gaussian", "noise_multiplier": self.noise_multiplier, "relation": self.relation}


def site_release(noise_multiplier: float) -> GaussianRelease:
    """The event of one enforced release of unit site (`noise_multiplier` in units of clip_norm, as in the terms)."""
    return GaussianRelease(noise_multiplier / 2.0)


def _orders() -> list[float]:
    """Rényi orders: fine near 1 (large epsilon) and reaching far (small epsilon)."""
    return [*np.geomspace(1.0005, 2, 120).tolist(), *np.geomspace(2.02, 5000, 280).tolist()]


def epsilon(rho: float, delta: float) -> float:
    """The epsilon of a total zCDP `rho` at `delta`, by dp-accounting's Rényi accountant. 0 if nothing was released.

    Raises:
        ValueError: delta is not in (0, 1), or rho is negative.
    """
    if not 0 < delta < 1 or rho < 0:
        raise ValueError("delta must lie in (0, 1) and rho must not be negative")
    return 0.0 if rho == 0 else _epsilon(rho, delta)


@functools.lru_cache(maxsize=4096)
def _epsilon(rho: float, delta: float) -> float:
    from dp_accounting import dp_event, rdp  # noqa: PLC0415  (brings all of SciPy: only where something is claimed)

    accountant = rdp.RdpAccountant(_orders())
    accountant.compose(dp_event.GaussianDpEvent(math.sqrt(1.0 / (2.0 * rho))))
    return float(accountant.get_epsilon(delta))


def composed_epsilon(releases: Sequence[GaussianRelease], delta: float) -> float:
    """The epsilon of several releases at `delta`."""
    return epsilon(math.fsum(r.rho for r in releases), delta)


@functools.lru_cache(maxsize=256)
def rho_cap(epsilon_cap: float, delta: float) -> float:
    """The zCDP total whose epsilon at `delta` stays within `epsilon_cap`: what a filter compares with.

    The largest such total, less one part in 10^9: summing many rho in float64 must not admit one too many.
    """
    low, high = 0.0, 1.0
    while epsilon(high, delta) < epsilon_cap:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon(middle, delta) <= epsilon_cap else (low, middle)
    return low * (1 - 1e-9)


def noise_multiplier_for(epsilon_target: float, delta: float, releases: int) -> float:
    """The terms' noise multiplier (per clip_norm) for `releases` releases of unit site within `epsilon_target`.

    Rounded up in its fourth digit, so that the filter admits all of them.

    Raises:
        ValueError: No multiplier between 1e-4 and 1e6 will do.
    """
    from dp_accounting import dp_event, mechanism_calibration, rdp  # noqa: PLC0415  (as above)

    def event(multiplier: float) -> dp_event.DpEvent:
        return dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(multiplier / 2.0), releases)

    found = mechanism_calibration.calibrate_dp_mechanism(
        lambda: rdp.RdpAccountant(_orders()),
        event,
        epsilon_target,
        delta,
        mechanism_calibration.ExplicitBracketInterval(1e-4, 1e6),
    )
    found *= 1 + 1e-6  # well above the filter's own margin
    step = 10.0 ** (math.floor(math.log10(found)) - 3)
    return float(f"{math.ceil(found / step) * step:.10g}")
