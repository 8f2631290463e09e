"""Whether there are enough patients, under a claim: decided once, on a count with noise, which is debited.

An exact comparison would tell, at the threshold, whether one patient is there. The count's sensitivity to one patient
is 1; its noise has standard deviation `NOISE`, and so much above the minimum it must be that a cohort that is too small
passes with a chance of one in seventeen at most. The decision is stored, and holds for the analysis and that version
of the store.
"""

from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.claims import Account
from flame_fl.gate.ledger import require_room
from flame_fl.gate.ledger_store import Debit
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits, Verified
from flame_fl.privacy.accounting import PrivacyEvent, Relation

NOISE = 13
MARGIN = 20
EVENT = PrivacyEvent(float(NOISE), Relation.ADD_OR_REMOVE_ONE_PATIENT)
"""What one such count costs: rho = 1 / (2 · 13²) = 0.003, a tenth of a budget of epsilon 1."""


def require_enough(
    store: Store, limits: NodeLimits, noise: NoiseSource, verified: Verified, name: str, *, least: int
) -> None:
    """Check it, or look up what was decided.

    Raises:
        RefusedError: 908, there are too few; 903, the patients' account does not cover the count.
    """
    terms, digest, use = verified.terms, verified.approved.digest, verified.uses[name]
    assert terms is not None  # noqa: S101  (a claim is a term)
    with store.transaction():
        enough = store.cohort_check(digest, name, use.offer.binding)
        if enough is None:
            account = Account("patient", use.offer.namespace)
            debit = Debit(terms.project.id, digest, "", f"cohort of {name}", 1, (name,))
            distance = noise.distance((NOISE**2, 1), 1)
            require_room(store, limits, account, debit, event=EVENT, distance=distance)
            store.debit((account,), debit, EVENT, distance)
            noised = use.cohort.patients + int(noise.discrete_gaussian((NOISE**2, 1), 1)[0])
            store.commit_debit(debit.run_id, debit.leg_id, debit.attempt)
            enough = noised >= least + MARGIN
            store.note_cohort_check(digest, name, use.offer.binding, enough=enough, noised=noised)
            store.record(
                "cohort-counted",
                {"analysis": digest, "store": name, "least": least, "enough": enough, "event": EVENT.as_json()},
            )
    if not enough:
        raise RefusedError(
            RefusalCode.TERMS_VIOLATED,
            f"data store {name!r} has fewer than {least} patients, or not surely more (counted with noise)",
        )
