"""What the gate knows of the patients behind an answer: pure decisions about stores, cohorts and their changes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.terms import DataStore
from flame_fl.data.cohort import Cohort
from flame_fl.data.layout import Wanted
from flame_fl.data.offer import Offer

Members = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class StoreUse:
    """One data store in one message: which version of it, what of it, and whose records.

    Attributes:
        offer: The store.
        stated: What the approved terms say of it.
        wanted: What the app will see.
        cohort: Whose records it may use now.
    """

    offer: Offer
    stated: DataStore
    wanted: Wanted
    cohort: Cohort


def namespaces(uses: Mapping[str, StoreUse]) -> tuple[str, ...]:
    """Whose patients a message is about."""
    return tuple(sorted({use.offer.namespace for use in uses.values()}))


def cohorts_sha256(uses: Mapping[str, StoreUse]) -> str:
    """Changes when the records behind a message change."""
    return sha256_hex(repr(sorted(fingerprints(uses).items())).encode())


def fingerprints(uses: Mapping[str, StoreUse]) -> dict[str, str]:
    """The cohorts, by store, in a form that is compared and recorded."""
    return {name: use.cohort.fingerprint for name, use in uses.items()}
