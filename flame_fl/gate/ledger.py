"""Step 2's budget: a release is admitted and debited in full before the sandbox sees data.

Two zCDP filters must both admit the event: the analysis's own `epsilon_max`, and the DIZ's lifetime cap, which all
analyses share. The unit is the site, so its account is one, whatever the data stores are called; the ledger notes them.
Events are debited per attempt; a crash, a failure or an unused release refunds nothing.
"""

from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Terms
from flame_fl.gate.release import event_of
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits, Verified
from flame_fl.privacy.accounting import rho_cap

NO_STORE = "(no data store)"


def debit(store: Store, limits: NodeLimits, verified: Verified, terms: Terms, attempt: int) -> None:
    """Debit one release, noted with every data store of the analysis.

    Call inside a transaction: a refusal must leave nothing behind.

    Raises:
        RefusedError: 903, a filter does not admit the event.
    """
    privacy, event = terms.privacy, event_of(terms.privacy)
    if event is not None:
        assert privacy.epsilon_max is not None  # noqa: S101  (Privacy checks both)
        assert privacy.delta is not None  # noqa: S101
        own = store.rho_spent(verified.approved.digest) + event.rho
        if own > rho_cap(privacy.epsilon_max, privacy.delta):
            raise RefusedError(RefusalCode.BUDGET_EXHAUSTED, "the analysis has spent its epsilon_max")
        if store.rho_spent() + event.rho > rho_cap(limits.epsilon_cap, limits.delta):
            raise RefusedError(RefusalCode.BUDGET_EXHAUSTED, "the site has spent its lifetime cap")
    for name in terms.data or [NO_STORE]:
        store.debit(
            name,
            project=terms.project.id,
            digest=verified.approved.digest,
            run_id=verified.run_id,
            leg_id=verified.task.leg_id,
            attempt=attempt,
            event=event,
        )
