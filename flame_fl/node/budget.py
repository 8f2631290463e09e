"""The budget as a person reads it: per account and project what was spent, what is in flight, what is left.

Three kinds of figures, which are not the same:

- a *share of the filter*: the sum of the debits' Rényi divergences of the account's order over the most that its cap
  allows. It adds up over debits and projects, and it is what admission counts: the cap's guarantee holds through it,
  also where projects were chosen in the light of earlier answers;
- *epsilon* at the account's delta, by the best Rényi order or by privacy loss distributions: of the same debits as if
  the list had been fixed beforehand. It does not add up;
- the attacker's *advantage* and *TPR*, of such a list, too (`privacy.risk`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.gate.claims import Account
from flame_fl.gate.ledger_store import LIFETIME, LedgerEntry
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits
from flame_fl.node.accounts import account_now, is_opened
from flame_fl.privacy.accounting import Events, PrivacyEvent, Relation, conversion, epsilon_of, event_from, total_rdp
from flame_fl.privacy.filters import DISTANCE_SHARE, Filter, filter_for
from flame_fl.privacy.risk import risk_of, tight_epsilon


@dataclass(frozen=True)
class Amount:
    """Some debits.

    Attributes:
        debits: How many.
        share: Of the account's filter.
        epsilon: As if fixed beforehand, by the best Rényi order.
        epsilon_pld: The same by privacy loss distributions: smaller.
        advantage: The attacker's, of such a list.
        tpr: At 1 % FPR, of such a list.
    """

    debits: int
    share: float
    epsilon: float
    epsilon_pld: float
    advantage: float
    tpr: float


@dataclass(frozen=True)
class ProjectBudget:
    """One project's part of an account."""

    project: str
    spent: Amount
    cap: float | None
    share_of_cap: float | None


@dataclass(frozen=True)
class AccountBudget:
    """One account.

    Attributes:
        account: As it is written.
        opened: Whether its order and delta are fixed; until its first debit or cap they follow the node's settings.
        order: The Rényi order of its filter.
        cap: The epsilon that holds now: the smaller of the two that follow.
        cap_set: The one that was set for it, if one was.
        cap_of_node: `epsilon_cap` in node.toml.
        total: All debits: what is spent, whatever became of the attempts.
        committed: Of them, those whose answer left.
        reserved: Of them, those whose answer did not: in flight, or failed.
        left: Share of the filter that is left.
        left_epsilon: What one more Gaussian release may cost by itself at most.
        distance: Sum of the samplers' distances from ideal noise, and the most that the cap leaves for it.
    """

    account: str
    unit: str
    namespace: str
    opened: bool
    order: float
    delta: float
    cap: float
    cap_set: float | None
    cap_of_node: float
    total: Amount
    committed: Amount
    reserved: Amount
    left: float
    left_epsilon: float
    distance: tuple[float, float]
    projects: tuple[ProjectBudget, ...]

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return asdict(self)


def budget_of(store: Store, limits: NodeLimits, account: Account) -> AccountBudget:
    """An account's state.

    Raises:
        VerificationError: It holds an event that this version does not know.
    """
    lifetime = account_now(store, limits, account).lifetime
    entries = store.ledger(account)

    def amount(chosen: Iterable[LedgerEntry]) -> Amount:
        events = counted(chosen)
        risk = risk_of(events)
        epsilon, tight = epsilon_of(events, lifetime.delta), tight_epsilon(events, lifetime.delta)
        debits = sum(events.values())
        return Amount(debits, lifetime.share(events), epsilon, min(epsilon, tight), risk.advantage, risk.tpr)

    def project(name: str) -> ProjectBudget:
        own, cap = [entry for entry in entries if entry.project == name], store.cap(account, name)
        share = None if cap is None else filter_for(cap, lifetime.delta).share(counted(own))
        return ProjectBudget(name, amount(own), cap, share)

    total = amount(entries)
    return AccountBudget(
        account=str(account),
        unit=account.unit,
        namespace=account.namespace,
        opened=is_opened(store, account),
        order=lifetime.order,
        delta=lifetime.delta,
        cap=lifetime.epsilon,
        cap_set=store.cap(account),
        cap_of_node=limits.epsilon_cap,
        total=total,
        committed=amount(entry for entry in entries if entry.state == "committed"),
        reserved=amount(entry for entry in entries if entry.state != "committed"),
        left=max(0.0, 1.0 - total.share),
        left_epsilon=_left_epsilon(lifetime, counted(entries)),
        distance=(store.distance(account), lifetime.most_distance),
        projects=tuple(project(name) for name in store.debitors(account)),
    )


def counted(entries: Iterable[LedgerEntry]) -> Events:
    """Debits as events.

    Raises:
        VerificationError: One is of a kind that this version does not know.
    """
    found: dict[PrivacyEvent, int] = {}
    for entry in entries:
        if (event := known_event(entry.event)) is not None:
            found[event] = found.get(event, 0) + 1
    return found


def known_event(stored: Mapping[str, Any]) -> PrivacyEvent | None:
    """A stored event; None where nothing is claimed.

    Raises:
        VerificationError: It is of a kind that this version does not know.
    """
    try:
        return event_from(stored)
    except (ValueError, KeyError) as err:
        raise VerificationError(
            f"What was spent is not known: {err}.", mend="Install the version of flame_fl that wrote it."
        ) from err


def _left_epsilon(lifetime: Filter, spent: Events) -> float:
    """The epsilon of the largest Gaussian release that still fits, alone."""
    left = lifetime.most - total_rdp(spent, lifetime.order)
    if left <= 0:
        return 0.0
    multiplier = math.sqrt(lifetime.order / (2.0 * left))
    return epsilon_of({PrivacyEvent(multiplier, Relation.ADD_OR_REMOVE_ONE_PATIENT): 1}, lifetime.delta)


@dataclass(frozen=True)
class NewCap:
    """A cap that somebody is about to set.

    Attributes:
        account: Of which.
        project: Of which project there; "" is the lifetime cap of all.
        epsilon: The cap.
        before: What was set before, if something was.
        used: Which share of it is spent already; 1 or more admits nothing.
    """

    account: Account
    project: str
    epsilon: float
    before: float | None
    used: float


def propose_cap(store: Store, limits: NodeLimits, account: Account, epsilon: float, project: str = LIFETIME) -> NewCap:
    """What a cap would mean. Nothing is changed.

    Raises:
        InputError: It is no cap that could hold, or there is no such project here.
        VerificationError: What was spent is not known.
    """
    if not 0 < epsilon < math.inf:
        raise InputError("A cap is a positive number.", mend="For example --epsilon 5.")
    if epsilon > limits.epsilon_cap:
        raise InputError(
            f"ε = {epsilon:g} is more than epsilon_cap = {limits.epsilon_cap:g} in node.toml, and the smaller of the"
            " two holds.",
            mend="Change the settings first, if the DIZ wants that.",
        )
    if project and project not in store.debitors(account) and not store.projects(project):
        raise InputError(f"There is no project {project!r} here.", mend="`flame node project list` lists them.")
    now = account_now(store, limits, account, project=project)
    if project:
        cap, spent = filter_for(epsilon, now.lifetime.delta), now.of_project
    elif is_opened(store, account):
        cap, spent = Filter(epsilon, now.lifetime.delta, now.lifetime.order), now.spent
    else:
        cap, spent = filter_for(epsilon, limits.delta), now.spent
    if cap.most <= 0:
        least = conversion(cap.order, cap.delta * (1 - DISTANCE_SHARE))
        raise InputError(
            f"With ε = {epsilon:g} nothing at all would be admitted: the Rényi order of {account} was fixed at"
            f" {cap.order:.3g} when it was opened, and there the first release costs more than ε = {least:.3g}.",
            mend=f"Set more than {least:.3g}; or lower epsilon_max of analyses, or caps of projects.",
        )
    return NewCap(account, project, epsilon, store.cap(account, project), cap.share(spent))


def set_cap(store: Store, limits: NodeLimits, cap: NewCap, *, by: str, comment: str) -> None:
    """Set it. An account that was never used is opened with it: the Rényi order then suits the cap.

    Raises:
        InputError: There is no comment.
    """
    if not comment.strip():
        raise InputError("A cap needs a reason.", mend="Give it with --comment; it is kept in the audit chain.")
    with store.transaction():
        if not is_opened(store, cap.account):
            first = limits.epsilon_cap if cap.project else cap.epsilon
            store.lifetime(cap.account, first, limits.delta)
        store.set_cap(cap.account, cap.epsilon, by=by, comment=comment, project=cap.project)
