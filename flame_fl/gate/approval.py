"""Approval: default deny, by digest. Pure decisions over stored records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from flame_fl.contract.manifest import Manifest
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Terms

SIMULATION_POLICY, DEMO_POLICY = "simulation-policy", "DEMO policy"
_RULES = frozenset({SIMULATION_POLICY, DEMO_POLICY})


class Status(StrEnum):
    """States of an analysis at one DIZ."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


@dataclass(frozen=True)
class ApprovalRecord:
    """What is stored of an analysis: the manifest as it was shown, and what was decided."""

    analysis_digest: str
    status: Status
    manifest: Manifest
    binding_digest: str | None = None
    steward_terms: Terms | None = None
    unsafe_open: bool = False
    by: str = ""
    at: str = ""
    comment: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    """Which version of each data store it was approved for."""

    @property
    def by_whom(self) -> str:
        """Who decided, as others may know it: a rule by its name, a person never."""
        return self.by if self.by in _RULES else "steward"

    @property
    def terms(self) -> Terms | None:
        """The terms that hold: the steward's own where supplied, else those the app states."""
        return self.steward_terms or self.manifest.terms


@dataclass(frozen=True)
class Approved:
    """An approval that holds now, for this manifest, at this node. The constructor is `check_approval`."""

    record: ApprovalRecord
    terms: Terms | None  # None only for `unsafe_open`

    @property
    def digest(self) -> str:
        """The analysis digest."""
        return self.record.analysis_digest


def status_on(record: ApprovalRecord, today: date) -> Status:
    """The stored status, with time taken into account."""
    terms = record.terms
    if record.status is Status.APPROVED and terms is not None and today > terms.validity.until:
        return Status.EXPIRED
    return record.status


def check_approval(record: ApprovalRecord | None, binding_digest: str, today: date) -> Approved:
    """Whether the analysis may run now.

    Raises:
        RefusedError: 902 unknown or pending, 901 rejected, 907 withdrawn or expired, 908 approved for other data,
            another sandbox, or not valid yet.
    """
    if record is None:
        raise RefusedError(RefusalCode.PENDING_APPROVAL, "first sight of this analysis")
    match status_on(record, today):
        case Status.PENDING:
            raise RefusedError(RefusalCode.PENDING_APPROVAL, "waiting for the steward")
        case Status.REJECTED:
            raise RefusedError(RefusalCode.NOT_APPROVED, "rejected by the steward")
        case Status.WITHDRAWN:
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, "withdrawn by the steward")
        case Status.EXPIRED:
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, "past its last day")
        case Status.APPROVED:
            pass
    if record.binding_digest != binding_digest:
        raise RefusedError(
            RefusalCode.TERMS_VIOLATED, "approved for another sandbox or other data than the node has now"
        )
    terms = record.terms
    if terms is None and not record.unsafe_open:
        raise RefusedError(RefusalCode.NOT_APPROVED, "approved without terms: nothing is allowed")
    if terms is not None and today < terms.validity.from_:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, "before its first day")
    return Approved(record, None if record.unsafe_open else terms)
