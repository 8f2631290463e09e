"""What the gate knows of the patients behind an answer: pure decisions about stores, cohorts and their changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_fl.contract.refusal import RefusalCode, RefusedError
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


def fingerprints(uses: Mapping[str, StoreUse]) -> dict[str, str]:
    """The cohorts, by store, in a form that is compared and recorded."""
    return {name: use.cohort.fingerprint for name, use in uses.items()}


def require_no_difference(name: str, cohort: Cohort, released: Sequence[Members], least: int) -> None:
    """Check that an answer, laid beside an earlier one, does not show what a few patients contributed.

    Raises:
        RefusedError: 907: since something left about an earlier cohort, some patients went or came, but fewer than
            `least`. Whoever has both answers would have the difference.
    """
    for members in released:
        if 0 < (differing := cohort.differs_by(members)) < least:
            raise RefusedError(
                RefusalCode.WITHDRAWN_OR_EXPIRED,
                f"the cohort of data store {name!r} differs by {differing} patients from one that something was "
                f"released about; nothing leaves until {least} differ",
            )
