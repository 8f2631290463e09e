"""A steward's answer to a state that is older than what left: which releases are missing, and what they cost.

Nobody at the node knows: the ledger has forgotten them. Two honest answers:

- the steward states how many releases of which analyses are missing, from what the hub and the researchers hold; they
  are debited in full, and they must not be fewer than others showed;
- or every account is closed: its cap becomes what is spent, until somebody sets another one.

An answer without an arithmetic claim costs no budget. Which patients it was about is forgotten, too, so the rule that
nothing leaves about a cohort that differs by a few (`gate.cohorts`) does not know it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Terms
from flame_fl.gate.approval import ApprovalRecord
from flame_fl.gate.claims import PATIENTS, SITE, Account, accounts_of, event_of
from flame_fl.gate.cohort_check import EVENT, NOISE
from flame_fl.gate.heads import Head, is_signed_by
from flame_fl.gate.ledger import lifetime_of
from flame_fl.gate.ledger_store import Debit
from flame_fl.gate.noised import draws_of, sigma_of
from flame_fl.gate.rollback import FILE, Lock
from flame_fl.gate.workflow import Gate
from flame_fl.node.steward import find

MOST_LOST = 100_000


@dataclass(frozen=True)
class Lost:
    """So many releases of an analysis that the ledger has forgotten."""

    record: ApprovalRecord
    count: int


@dataclass(frozen=True)
class Plan:
    """What a reconciliation would do.

    Attributes:
        locks: What it answers to.
        heads: Releases that are missing for certain: their heads left and are not in the chain.
        lost: Releases that the steward states; none closes every account.
        accounts: Those that are debited or closed.
    """

    locks: tuple[Lock, ...]
    heads: tuple[str, ...]
    lost: tuple[Lost, ...]
    accounts: tuple[Account, ...]

    @property
    def stated(self) -> int:
        """How many releases the steward states."""
        return sum(lost.count for lost in self.lost)


def propose(gate: Gate, lost: Sequence[tuple[str, int]] = (), held: Iterable[Head] = ()) -> Plan:
    """What a reconciliation would do; nothing is changed.

    Args:
        gate: The node's.
        lost: Beginnings of digests, and how many releases of that analysis are missing.
        held: Heads that others hold. Of another node's none is taken; one without a signature goes by the name.

    Raises:
        InputError: Nothing is locked; an analysis or one of its data stores is not known here; fewer releases are
            stated than others showed.
    """
    locks = tuple(gate.store.locks.open())
    if not locks:
        raise InputError("The state is not locked.", mend="There is nothing to reconcile; `flame node status` tells.")
    heads = _missing(gate, held)
    stated = tuple(Lost(find(gate, word), _count(count)) for word, count in lost)
    plan = Plan(locks, heads, stated, ())
    if stated and plan.stated < len(heads):
        raise InputError(
            f"{plan.stated} missing releases are stated; others showed {len(heads)}.",
            mend="Count them in what the hub and the researchers hold, or close the accounts: leave out --lost.",
        )
    accounts = {account for one in stated for account in _accounts(gate, one)} if stated else _every_account(gate)
    return Plan(locks, heads, stated, tuple(sorted(accounts, key=str)))


def reconcile(gate: Gate, plan: Plan, *, by: str, comment: str) -> None:
    """Debit what is stated, or close every account; then the gate answers again.

    Args:
        gate: The node's.
        plan: From `propose`.
        by: The local user.
        comment: Why.
    """
    store, at = gate.store, datetime.now(UTC).isoformat(timespec="milliseconds")
    with store.transaction():
        if plan.lost:
            for lost in plan.lost:
                _debit(gate, lost, at)
        else:
            for account in plan.accounts:
                store.close_account(account, lifetime_of(store, gate.limits, account), by=by)
        body = {
            "heads": len(plan.heads),
            "lost": {lost.record.analysis_digest: lost.count for lost in plan.lost},
            "closed": [] if plan.lost else [str(account) for account in plan.accounts],
        }
        further = max(0, plan.stated - len(plan.heads))
        store.reconcile(body, by=by, comment=comment, heads=plan.heads, stated=further, closed=not plan.lost)


def _count(count: int) -> int:
    if not 1 <= count <= MOST_LOST:
        raise InputError(f"{count} releases cannot be missing.", mend=f"A number from 1 to {MOST_LOST}.")
    return count


def _missing(gate: Gate, held: Iterable[Head]) -> tuple[str, ...]:
    """Heads of releases that are not in the chain, and that no reconciliation has answered to yet."""
    there = {stored for _, stored in gate.store.audit_rows()}
    answered = {lock.head for lock in gate.store.locks.all() if lock.released_at}
    key, names = gate.trust().node_key, {gate.node, ""}
    mine = (h.head for h in held if (is_signed_by(h, key) if h.signature else h.node in names))
    found = [lock.head for lock in gate.store.locks.open() if lock.why != FILE]  # a checkpoint may be of any entry
    return tuple(dict.fromkeys(head for head in (*found, *mine) if head not in there | answered))


def _terms(lost: Lost) -> Terms:
    if lost.record.terms is None:
        raise InputError(
            f"{lost.record.manifest.app} states no terms.", mend="Leave it out: nothing of it can be debited."
        )
    return lost.record.terms


def _namespaces(gate: Gate, lost: Lost) -> dict[str, str]:
    """Whose patients an analysis's data stores are about, by store."""
    found = {}
    for name in _terms(lost).data:
        offer = gate.data.get(name, lost.record.data.get(name)) or gate.data.get(name)
        if offer is None:
            raise InputError(
                f"This node has no data store {name!r}, so whose budget is to be debited is not known.",
                mend="Register it again, under the namespace it had, or close the accounts: leave out --lost.",
            )
        found[name] = offer.namespace
    return found


def _accounts(gate: Gate, lost: Lost) -> set[Account]:
    """Those that its releases, and the noised count of its cohorts, are debited from."""
    privacy, namespaces = _terms(lost).privacy, _namespaces(gate, lost).values()
    patients = {Account("patient", namespace) for namespace in namespaces} if privacy.claims else set()
    return {*accounts_of(privacy, namespaces), *patients}


def _every_account(gate: Gate) -> set[Account]:
    found = {SITE, Account("patient", PATIENTS), *gate.store.accounts()}
    offers = (gate.data.get(name) for name in gate.data.names())
    return found | {Account("patient", offer.namespace) for offer in offers if offer is not None}


def _debit(gate: Gate, lost: Lost, at: str) -> None:
    """In full, whatever the caps say: it was spent. The noised count of each cohort once more, as it may be missing."""
    store, terms, namespaces = gate.store, _terms(lost), _namespaces(gate, lost)
    accounts, event = accounts_of(terms.privacy, namespaces.values()), event_of(terms.privacy)
    distance = 0.0
    if terms.privacy.claims:
        draws = max((draws_of(rules, terms.privacy) for rules in terms.messages.values()), default=1)
        distance = gate.noise.distance(sigma_of(terms.privacy), draws)
    whose = (terms.project.id, lost.record.analysis_digest, "")
    for number in range(1, lost.count + 1):
        debit = Debit(*whose, f"lost, stated {at}, {number} of {lost.count}", 1, tuple(terms.data))
        store.debit(accounts, debit, event, distance)
        store.commit_debit("", debit.leg_id, 1)
    for name, namespace in namespaces.items() if terms.privacy.claims else ():
        debit = Debit(*whose, f"cohort of {name}, lost, stated {at}", 1, (name,))
        store.debit((Account("patient", namespace),), debit, EVENT, gate.noise.distance((NOISE**2, 1), 1))
        store.commit_debit("", debit.leg_id, 1)
