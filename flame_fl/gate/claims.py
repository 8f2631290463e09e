"""What a release costs and whom: pure, from the approved terms alone, so that it is known before the data are seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flame_fl.contract.terms import Privacy
from flame_fl.privacy.accounting import PrivacyEvent, Relation

PATIENTS = "patients"
"""The namespace of patients that a store belongs to if nobody says otherwise."""


@dataclass(frozen=True, order=True)
class Account:
    """What has a budget: the site, or the patients whose ids one namespace names.

    A namespace outlives its data stores: whatever was released about its patients stays debited, whichever version or
    store it came from.
    """

    unit: Literal["site", "patient"]
    namespace: str = ""

    def __str__(self) -> str:
        return self.unit if not self.namespace else f"{self.unit}:{self.namespace}"


SITE = Account("site")


def event_of(privacy: Privacy) -> PrivacyEvent | None:
    """The privacy event one release costs; None where no arithmetic claim is made.

    Enforced, unit site: the update is anything within the ball, replaced by anything else: sensitivity 2 clip_norm.
    Enforced, unit patient: one patient more or less changes one block's update, likewise by 2 clip_norm in the sum.
    Vetted sums: one patient's contribution is there or not: clip_norm. DP-SGD: the same in each step's sampled batch.
    """
    multiplier = privacy.noise_multiplier
    if not privacy.claims or multiplier is None:
        return None
    if privacy.mechanism == "discrete-gaussian":
        relation = Relation.REPLACE_ONE_SITE if privacy.unit == "site" else Relation.ADD_OR_REMOVE_ONE_PATIENT
        return PrivacyEvent(multiplier / 2.0, relation)
    if privacy.mechanism == "sums":
        return PrivacyEvent(multiplier, Relation.ADD_OR_REMOVE_ONE_PATIENT)
    return PrivacyEvent(multiplier, Relation.ADD_OR_REMOVE_ONE_PATIENT, privacy.sample_rate or 1.0, privacy.steps or 1)


def accounts_of(privacy: Privacy, namespaces: Iterable[str]) -> tuple[Account, ...]:
    """The accounts that a release is debited from.

    What changes a whole site's contribution changes no more if only one patient of it changes: a release of unit site
    is debited from its patients' accounts too. A release of unit patient makes no claim about a site as a whole, and is
    not in the site's epsilon.
    """
    if not privacy.claims:
        return ()
    patients = tuple(Account("patient", namespace) for namespace in sorted(set(namespaces)))
    return (SITE, *patients) if privacy.unit == "site" else patients or (Account("patient", PATIENTS),)
