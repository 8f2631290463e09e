"""The budget's accounts as they are now. Reading only: to look at an account must not open it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.ledger import lifetime_now, project_filter
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits
from flame_fl.privacy.accounting import Events, PrivacyEvent
from flame_fl.privacy.filters import Filter

Refuser = Literal["", "analysis", "account", "project"]


@dataclass(frozen=True)
class AccountNow:
    """What the gate's filters would look at now, of one account and, where one is asked for, of a project there.

    Attributes:
        account: Whose.
        lifetime: The cap that all projects share, as it holds now.
        spent: Everything that was debited.
        project: The project's id; "" if none is asked for.
        project_cap: Its own cap, if one was set.
        of_project: What the project debited.
        of_analysis: What the analysis debited.
        distance: Of all noise in the account from the ideal, which the filters watch beside.
    """

    account: Account
    lifetime: Filter
    spent: Events = field(default_factory=dict)
    project: str = ""
    project_cap: Filter | None = None
    of_project: Events = field(default_factory=dict)
    of_analysis: Events = field(default_factory=dict)
    distance: float = 0.0

    def after(self, event: PrivacyEvent, count: int, distance: float = 0.0) -> "AccountNow":
        """The same once an analysis of the project has debited so many more, each with such a distance."""
        return replace(
            self,
            distance=self.distance + count * distance,
            spent=more(self.spent, event, count),
            of_project=more(self.of_project, event, count),
            of_analysis=more(self.of_analysis, event, count),
        )


def more(events: Events, event: PrivacyEvent, count: int) -> Events:
    """The events, and `count` further ones of a kind."""
    return {**events, event: events.get(event, 0) + count} if count else dict(events)


def account_now(
    store: Store, limits: NodeLimits, account: Account, *, project: str = "", digest: str = ""
) -> AccountNow:
    """An account as it is now.

    Raises:
        VerificationError: It holds an event that this version does not know.
    """
    try:
        lifetime = lifetime_now(store, limits, account)
        return AccountNow(
            account,
            lifetime,
            store.spent(account),
            project,
            project_filter(store, account, project, lifetime) if project else None,
            store.spent(account, project=project) if project else {},
            store.spent(account, digest=digest) if digest else {},
            store.distance(account),
        )
    except ValueError as err:
        raise VerificationError(
            f"What {account} has spent is not known: {err}.",
            mend="Install the version of flame_fl that wrote it. Until then the gate admits nothing (903).",
        ) from err


def is_opened(store: Store, account: Account) -> bool:
    """Whether its Rényi order and delta are fixed already."""
    return store.opened(account) is not None


def all_accounts(store: Store) -> list[Account]:
    """The site's, and every other that was debited or given a cap."""
    return sorted({SITE, *store.accounts()}, key=lambda account: (account.unit != "site", account.namespace))


def account_from(text: str) -> Account:
    """An account as it is written: `site`, `patient:patients`.

    Raises:
        InputError: It is none.
    """
    unit, _, namespace = text.partition(":")
    if unit == "site" and not namespace and ":" not in text:
        return SITE
    if unit == "patient" and namespace:
        return Account("patient", namespace)
    raise InputError(f"{text!r} is no account.", mend='"site", or "patient:" and a namespace, as in patient:patients.')


def room(
    accounts: Sequence[AccountNow], event: PrivacyEvent, own: Filter | None = None, distance: float = 0.0
) -> tuple[int | None, Refuser, str]:
    """How many further releases of a kind the gate would admit, and what refuses the next one, in which account.

    Args:
        accounts: All that a release is debited from, in the gate's order.
        event: One release.
        own: The analysis's filter, if it has one.
        distance: Of one release's noise from the ideal.

    Returns:
        (count, what refuses, the account); the count is None if there is no account.
    """
    asked = [
        (min(cap.admitted(spent, event), _within(cap, account.distance, distance)), by, str(account.account))
        for account in accounts
        for cap, spent, by in _filters(account, own)
    ]
    if not asked:
        return None, "", ""
    least = min(count for count, _, _ in asked)
    return next(one for one in asked if one[0] == least)


def _filters(account: AccountNow, own: Filter | None) -> Iterable[tuple[Filter, Events, Refuser]]:
    """In the order in which the gate asks."""
    if own is not None:
        yield own, account.of_analysis, "analysis"
    yield account.lifetime, account.spent, "account"
    if account.project_cap is not None:
        yield account.project_cap, account.of_project, "project"


def _within(cap: Filter, before: float, each: float) -> int:
    """How many more a filter admits by their distances."""
    if before > cap.most_distance:
        return 0
    return math.floor(min(1e15, (cap.most_distance - before) / each)) if each > 0 else 10**15
