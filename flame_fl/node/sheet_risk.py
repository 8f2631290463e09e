"""What an analysis may cost, and what it leaves of the budgets. Pure: the gate's filters, asked beforehand."""

from collections.abc import Sequence

from flame_fl.contract.terms import Terms
from flame_fl.gate.claims import accounts_of, event_of
from flame_fl.gate.cohort_check import EVENT as COUNT
from flame_fl.gate.cohort_check import NOISE
from flame_fl.gate.noised import draws_of, sigma_of
from flame_fl.gate.store import RunRow
from flame_fl.gate.workflow import Gate
from flame_fl.node.accounts import AccountNow, account_now, all_accounts, more, room
from flame_fl.node.sheet_model import Budget, Claim, Figures
from flame_fl.privacy.accounting import Events, epsilon_of
from flame_fl.privacy.filters import filter_for
from flame_fl.privacy.risk import Risk, bound_risk, risk_of


def accounts_for(gate: Gate, terms: Terms | None, digest: str) -> tuple[AccountNow, ...]:
    """The accounts that an analysis is debited from, in the gate's order; every account if it is debited from none.

    Counts of cohorts that the gate will have to make (with noise, once per data store) are in them already.
    """
    store, limits = gate.store, gate.limits
    if terms is None or event_of(terms.privacy) is None:
        return tuple(account_now(store, limits, account) for account in all_accounts(store))
    offers = {name: offer for name in terms.data if (offer := gate.data.get(name)) is not None}
    found = []
    for account in accounts_of(terms.privacy, [offer.namespace for offer in offers.values()]):
        now = account_now(store, limits, account, project=terms.project.id, digest=digest)
        counts = sum(
            store.cohort_check(digest, name, offer.binding) is None
            for name, offer in offers.items()
            if account.unit == "patient" and offer.namespace == account.namespace
        )
        if terms.privacy.ground in {"vetted", "enforced"}:
            now = now.after(COUNT, counts, gate.noise.distance((NOISE**2, 1), 1))
        found.append(now)
    return tuple(found)


def distance_of(gate: Gate, terms: Terms | None) -> float:
    """How far the noise of one release is from the ideal, at most: of the message with most coordinates."""
    if terms is None or not terms.privacy.claims:
        return 0.0
    sigma = sigma_of(terms.privacy)
    return max((gate.noise.distance(sigma, draws_of(m, terms.privacy)) for m in terms.messages.values()), default=0.0)


def claim_of(
    terms: Terms | None, runs: Sequence[RunRow], accounts: Sequence[AccountNow], distance: float = 0.0
) -> Claim | None:
    """A claim in figures; None where no arithmetic claim is made.

    Args:
        terms: Those that hold.
        runs: All runs of the analysis here.
        accounts: Those that it is debited from. The figures are of those of the claim's own unit.
        distance: From `distance_of`.
    """
    event = event_of(terms.privacy) if terms is not None else None
    if terms is None or event is None:
        return None
    privacy = terms.privacy
    assert privacy.epsilon_max is not None  # noqa: S101  (Privacy checks both)
    assert privacy.delta is not None  # noqa: S101
    had = sum(run.released + run.refused + run.working for run in runs)
    left = max(0, terms.limits.runs * sum(message.per_run for message in terms.messages.values()) - had)
    most, refuser, where = room(accounts, event, filter_for(privacy.epsilon_max, privacy.delta), distance)
    count = left if most is None else min(left, most)
    theirs = [account for account in accounts if account.account.unit == privacy.unit]
    totals = [more(account.of_analysis, event, count) for account in theirs] or [{event: count}]
    dearest: Events = max(totals, key=lambda events: epsilon_of(events, privacy.delta or 0.0))
    return Claim(
        had=had,
        left=left,
        admitted=count,
        refused_by="" if count == left else refuser,
        refused_in="" if count == left else where,
        epsilon=epsilon_of(dearest, privacy.delta),
        risk=_figures(risk_of(dearest)),
        bound=_figures(bound_risk(privacy.epsilon_max, privacy.delta)),
    )


def budget_of(terms: Terms | None, claim: Claim | None, accounts: Sequence[AccountNow]) -> tuple[Budget, ...]:
    """Each account before and after."""
    event = event_of(terms.privacy) if terms is not None else None
    return tuple(
        _budget(now, now.after(event, claim.admitted) if claim is not None and event is not None else now)
        for now in accounts
    )


def _budget(now: AccountNow, after: AccountNow) -> Budget:
    delta = now.lifetime.delta
    return Budget(
        unit=now.account.unit,
        namespace=now.account.namespace,
        cap=now.lifetime.epsilon,
        delta=delta,
        project_cap=None if now.project_cap is None else now.project_cap.epsilon,
        spent=epsilon_of(now.spent, delta),
        after=epsilon_of(after.spent, delta),
        used=now.lifetime.share(now.spent),
        used_after=now.lifetime.share(after.spent),
        risk_spent=_figures(risk_of(now.spent)),
        risk_after=_figures(risk_of(after.spent)),
    )


def _figures(risk: Risk) -> Figures:
    return Figures(advantage=risk.advantage, tpr=risk.tpr)
