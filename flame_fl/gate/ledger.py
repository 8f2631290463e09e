"""Step 2's budget: a release is admitted and debited in full before the sandbox sees data.

Of every account that it is debited from (`claims.accounts_of`), three filters must admit the event: the account's
lifetime cap, which all projects share; the project's cap there, if one was set; and the analysis's own `epsilon_max`.
Events are debited per attempt; a crash, a failure or an unused release refunds nothing.
"""

from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Privacy
from flame_fl.gate.claims import Account, accounts_of, event_of
from flame_fl.gate.ledger_store import Debit
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits
from flame_fl.privacy.accounting import PrivacyEvent
from flame_fl.privacy.filters import Filter, filter_for, order_for


def debit_release(
    store: Store, limits: NodeLimits, privacy: Privacy, debit: Debit, *, namespaces: tuple[str, ...], distance: float
) -> None:
    """Debit one release of an analysis.

    Call inside a transaction: a refusal must leave nothing behind.

    Args:
        store: The node's.
        limits: The node's.
        privacy: The approved terms.
        debit: What it is debited for.
        namespaces: Whose patients the analysis's data stores are about.
        distance: The sampler's statistical distance from ideal noise, over the whole release.

    Raises:
        RefusedError: 903, a filter does not admit the event.
    """
    accounts = accounts_of(privacy, namespaces)
    event = event_of(privacy)
    if event is not None:
        assert privacy.epsilon_max is not None  # noqa: S101  (Privacy checks both)
        assert privacy.delta is not None  # noqa: S101
        own = filter_for(privacy.epsilon_max, privacy.delta)
        for account in accounts:
            require_room(store, limits, account, debit, event=event, distance=distance, own=own)
    store.debit(accounts, debit, event, distance)


def require_room(
    store: Store,
    limits: NodeLimits,
    account: Account,
    debit: Debit,
    *,
    event: PrivacyEvent,
    distance: float,
    own: Filter | None = None,
) -> None:
    """Ask an account's filters.

    Raises:
        RefusedError: 903.
    """
    try:
        everything = store.spent(account)
        of_analysis = store.spent(account, digest=debit.digest)
    except ValueError as err:
        raise RefusedError(RefusalCode.BUDGET_EXHAUSTED, f"{err}, so what was spent is not known") from err
    before = store.distance(account)
    if own is not None and not own.admits(of_analysis, before, event, distance):
        raise RefusedError(RefusalCode.BUDGET_EXHAUSTED, f"the analysis has spent its epsilon_max ({account})")
    lifetime = lifetime_of(store, limits, account)
    if not lifetime.admits(everything, before, event, distance):
        raise RefusedError(RefusalCode.BUDGET_EXHAUSTED, f"the lifetime cap of {account} is spent")
    cap = project_filter(store, account, debit.project, lifetime)
    if cap is not None and not cap.admits(store.spent(account, project=debit.project), before, event, distance):
        raise RefusedError(RefusalCode.BUDGET_EXHAUSTED, f"the project has spent its cap of {account}")


def lifetime_of(store: Store, limits: NodeLimits, account: Account) -> Filter:
    """The account's filter; one that was never used is opened."""
    store.lifetime(account, limits.epsilon_cap, limits.delta)
    return lifetime_now(store, limits, account)


def lifetime_now(store: Store, limits: NodeLimits, account: Account) -> Filter:
    """The account's filter: its own cap, and never more than the node's settings allow now.

    Reading only: of an account that was never used it is the one that it would get.
    """
    epsilon = min(store.cap(account) or limits.epsilon_cap, limits.epsilon_cap)
    if (opened := store.opened(account)) is None:
        return filter_for(epsilon, limits.delta)
    order, delta = opened
    return Filter(epsilon, min(delta, limits.delta), order)


def project_filter(store: Store, account: Account, project: str, lifetime: Filter) -> Filter | None:
    """The project's own cap on an account, if one was set.

    Only the account's cap is a proven filter: its order is fixed before the first release. A project's cap, like an
    analysis's `epsilon_max`, divides it, and is a guarantee of its own if it is set before the first release and stays.
    """
    caps = [cap.epsilon for cap in store.caps(account) if cap.project == project]
    if not project or not caps:
        return None
    return Filter(caps[-1], lifetime.delta, order_for(caps[0], lifetime.delta))
