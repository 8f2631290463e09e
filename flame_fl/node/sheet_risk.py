"""What an analysis may cost, and what it leaves of the site's budget. Pure: the gate's filters, asked beforehand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flame_fl.contract.terms import Terms
from flame_fl.gate.release import event_of
from flame_fl.gate.store import RunRow
from flame_fl.gate.verify import NodeLimits
from flame_fl.node.sheet_model import Budget, Claim, Figures
from flame_fl.privacy.accounting import epsilon, rho_cap
from flame_fl.privacy.risk import Risk, bound_risk, gaussian_risk


@dataclass(frozen=True)
class Spent:
    """What the ledger holds now: zCDP of this analysis and of the whole site."""

    own: float
    site: float


def claim_of(terms: Terms | None, runs: Sequence[RunRow], spent: Spent, limits: NodeLimits) -> Claim | None:
    """An enforced claim in figures; None where no arithmetic claim is made.

    Args:
        terms: Those that hold.
        runs: All runs of the analysis here.
        spent: The ledger.
        limits: The node's.
    """
    event = event_of(terms.privacy) if terms is not None else None
    if terms is None or event is None:
        return None
    privacy = terms.privacy
    assert privacy.epsilon_max is not None  # noqa: S101  (Privacy checks both)
    assert privacy.delta is not None  # noqa: S101
    had = sum(run.released + run.refused + run.working for run in runs)
    left = max(0, terms.limits.runs * sum(message.per_run for message in terms.messages.values()) - had)
    by_analysis = admitted(spent.own, event.rho, rho_cap(privacy.epsilon_max, privacy.delta))
    by_site = admitted(spent.site, event.rho, rho_cap(limits.epsilon_cap, limits.delta))
    count = min(left, by_analysis, by_site)
    total = spent.own + count * event.rho
    return Claim(
        had=had,
        left=left,
        admitted=count,
        refused_by="" if count == left else "analysis" if by_analysis <= by_site else "site",
        epsilon=epsilon(total, privacy.delta),
        risk=_figures(gaussian_risk(total)),
        bound=_figures(bound_risk(privacy.epsilon_max, privacy.delta)),
    )


def budget_of(terms: Terms | None, claim: Claim | None, spent: Spent, limits: NodeLimits) -> Budget:
    """The site's account before and after."""
    event = event_of(terms.privacy) if terms is not None else None
    after = spent.site + (claim.admitted * event.rho if claim is not None and event is not None else 0.0)
    return Budget(
        cap=limits.epsilon_cap,
        delta=limits.delta,
        spent=epsilon(spent.site, limits.delta),
        after=epsilon(after, limits.delta),
        risk_spent=_figures(gaussian_risk(spent.site)),
        risk_after=_figures(gaussian_risk(after)),
    )


def admitted(spent: float, rho: float, cap: float) -> int:
    """How many further releases of `rho` a filter admits: the largest n with spent + n · rho ≤ cap."""
    if spent + rho > cap:
        return 0
    count = math.floor((cap - spent) / rho)
    while spent + count * rho > cap:
        count -= 1
    while spent + (count + 1) * rho <= cap:
        count += 1
    return count


def _figures(risk: Risk) -> Figures:
    return Figures(advantage=risk.advantage, tpr=risk.tpr)
