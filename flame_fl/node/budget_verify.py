"""`flame node budget verify`: everything recomputed from the stored events by dp-accounting, and compared.

1. Every event can be read, and its Rényi divergence is the one that dp-accounting computes.
2. The ledger is replayed debit by debit: each one fitted into the cap that was set then, at the account's order. Debits
   from before the account was opened (an older schema) count, but nobody asked its filter about them.
3. What projects and analyses debited fits into their caps.
4. The distances of the samplers fit into the part of delta that is kept for them.
5. Epsilon by dp-accounting's Rényi and privacy loss accountants lies below the cap.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flame_fl.gate.claims import Account
from flame_fl.gate.ledger import lifetime_now
from flame_fl.gate.ledger_store import LIFETIME, Cap, LedgerEntry
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits
from flame_fl.node.accounts import is_opened
from flame_fl.node.budget import counted, known_event
from flame_fl.privacy.accounting import ORDERS, SAMPLED_ORDERS, Events, PrivacyEvent, epsilon_of, pld_epsilon, total_rdp
from flame_fl.privacy.filters import Filter, filter_for
from flame_fl.privacy.risk import tight_epsilon

_CLOSE = 1e-6


@dataclass(frozen=True)
class Checked:
    """What came of one account.

    Attributes:
        account: As it is written.
        debits: How many were read.
        unasked: Of them, those from before the account was opened.
        cap: The cap that was set last.
        share: Of the filter of that cap.
        epsilon: By flame_fl's own arithmetic.
        epsilon_rdp: By dp-accounting's Rényi accountant, at the same orders.
        epsilon_pld: By dp-accounting's privacy loss accountant.
        problems: What does not hold; empty if all does.
    """

    account: str
    debits: int
    unasked: int
    cap: float
    share: float
    epsilon: float
    epsilon_rdp: float
    epsilon_pld: float
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return asdict(self)


def check_account(store: Store, limits: NodeLimits, account: Account) -> Checked:
    """Recompute one account.

    Raises:
        VerificationError: It holds an event that this version does not know.
    """
    entries, caps = store.ledger(account), store.caps(account)
    now = lifetime_now(store, limits, account)
    _, delta = store.opened(account) or (now.order, now.delta)  # what held then: settings may be lower now
    cap = Filter(store.cap(account) or now.epsilon, delta, now.order)
    events = counted(entries)
    opened = caps[0].at if caps and is_opened(store, account) else ""
    unasked = next((n for n, entry in enumerate(entries) if opened and entry.at >= opened), len(entries))
    before, asked = counted(entries[:unasked]), entries[unasked:]
    theirs, pld = _by_dp_accounting(events, delta)
    ours = epsilon_of(events, delta)
    problems = [*_wrong_divergences(events, now.order), *_replayed(asked, before, caps, cap)]
    problems += [*_overdrawn_projects(store, account, entries, delta), *_overdrawn_analyses(store, entries)]
    if (spent := store.distance(account)) > cap.most_distance:
        problems.append(f"the samplers' distances add up to {spent:.3g}, more than {cap.most_distance:.3g}")
    exact = all(event.gaussian for event in events)  # of sampled steps ours is an upper bound between whole orders
    if ours < theirs * (1 - _CLOSE) - _CLOSE or (
        exact and not math.isclose(ours, theirs, rel_tol=_CLOSE, abs_tol=_CLOSE)
    ):
        problems.append(f"epsilon is {ours:.6g} here and {theirs:.6g} by dp-accounting")
    if min(theirs, pld) > cap.epsilon and not any("cap of" in problem for problem in problems):
        problems.append(f"epsilon {min(theirs, pld):.4g} is above the cap of {cap.epsilon:g}")
    return Checked(
        str(account), len(entries), unasked, cap.epsilon, cap.share(events), ours, theirs, pld, tuple(problems)
    )


def _by_dp_accounting(events: Events, delta: float) -> tuple[float, float]:
    """(Rényi, privacy loss distributions)."""
    if not events:
        return 0.0, 0.0
    from dp_accounting import rdp  # noqa: PLC0415  (brings all of SciPy)

    orders = ORDERS if all(event.gaussian for event in events) else SAMPLED_ORDERS
    accountant = rdp.RdpAccountant(list(orders))
    for event, count in events.items():
        accountant.compose(event.as_dp_event(), count)
    # a distribution too wide for dp-accounting's grid is bounded by its closed form instead
    wide = any(event.multiplier < 0.1 for event in events)
    return float(accountant.get_epsilon(delta)), tight_epsilon(events, delta) if wide else pld_epsilon(events, delta)


def _wrong_divergences(events: Events, order: float) -> Iterable[str]:
    """Events whose divergence of the account's order dp-accounting computes otherwise."""
    from dp_accounting import rdp  # noqa: PLC0415  (as above)

    for event in events:
        # of sampled steps ours is exact at whole orders, and an upper bound between them
        orders = [order] if event.gaussian else [max(2, math.floor(order)), math.floor(order) + 1]
        accountant = rdp.RdpAccountant(orders)
        accountant.compose(event.as_dp_event())
        for at, value in zip(orders, accountant._rdp, strict=True):
            ours, theirs = event.rdp(at), float(value)
            if not math.isclose(ours, theirs, rel_tol=_CLOSE, abs_tol=1e-12):
                yield f"the Rényi divergence of {event} is {ours:.6g} here and {theirs:.6g} by dp-accounting"


def _replayed(asked: Sequence[LedgerEntry], before: Events, caps: Sequence[Cap], last: Filter) -> Iterable[str]:
    """The first debit that did not fit into the cap of its time."""
    lifetime = [cap for cap in caps if cap.project == LIFETIME]
    total = total_rdp(before, last.order)
    costs: dict[PrivacyEvent, float] = {}
    for entry in asked:
        event = known_event(entry.event)
        if event is None:
            continue
        total += costs.setdefault(event, event.rdp(last.order))
        held = max(cap.epsilon for cap in _held(lifetime, entry.at))
        if total > Filter(held, last.delta, last.order).most:
            yield f"the debit of {entry.at} (run {entry.run_id}) did not fit into the cap of {held:g} that held then"
            return


def _held(caps: Sequence[Cap], at: str) -> Sequence[Cap]:
    """The cap that held then; several if they were set in the same millisecond."""
    earlier = [cap for cap in caps if cap.at < at][-1:] or caps[:1]
    return [*earlier, *(cap for cap in caps if cap.at == at)]


def _overdrawn_projects(store: Store, account: Account, entries: Sequence[LedgerEntry], delta: float) -> Iterable[str]:
    """Projects that debited more than the largest cap that was ever theirs."""
    for project in store.debitors(account):
        caps = [cap for cap in store.caps(account) if cap.project == project]
        theirs = [entry for entry in entries if entry.project == project]
        if not caps or not any(entry.at > caps[0].at for entry in theirs):
            continue
        largest = max(cap.epsilon for cap in caps)
        share = filter_for(largest, delta).share(counted(theirs))
        if share > 1:
            yield f"project {project} has spent {100 * share:.0f} % of its largest cap of {largest:g}"


def _overdrawn_analyses(store: Store, entries: Sequence[LedgerEntry]) -> Iterable[str]:
    """Analyses that debited more than their epsilon_max."""
    for digest in sorted({entry.digest for entry in entries}):
        record = store.approval(digest)
        privacy = record.terms.privacy if record is not None and record.terms is not None else None
        if privacy is None or privacy.epsilon_max is None or privacy.delta is None:
            continue
        share = filter_for(privacy.epsilon_max, privacy.delta).share(
            counted(entry for entry in entries if entry.digest == digest)
        )
        if share > 1:
            yield f"analysis {digest[:12]} has spent {100 * share:.0f} % of its epsilon_max of {privacy.epsilon_max:g}"
