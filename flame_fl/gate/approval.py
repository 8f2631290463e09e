"""Approval: default deny, by digest, signed. Pure decisions over stored records.

An analysis runs if its project is approved here, the analysis is, both for what the node has now, and both under
signatures that hold today. What is stored says what was decided; the signatures make it so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property

from flame_fl.contract.canonical import digest
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.statement import project_digest
from flame_fl.contract.terms import Project, Terms
from flame_fl.gate.trust import Signed, Subject, Trust, require_signatures

SIMULATION_POLICY, DEMO_POLICY = "simulation-policy", "DEMO policy"
_RULES = frozenset({SIMULATION_POLICY, DEMO_POLICY})


class Status(StrEnum):
    """States of a project or an analysis at one DIZ."""

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
    signatures: tuple[Signed, ...] = ()
    """What stewards, or a rule, have signed."""
    number: int = 0
    """How often it was rejected or withdrawn here."""
    fab_sha256: str = ""
    """The bundle that was filed, "" if none is kept."""
    submitter: str = ""
    """Who sent it, as the hub says."""

    @property
    def by_whom(self) -> str:
        """Who decided, as others may know it: a rule by its name, a person never."""
        rules = {signed.statement.rule for signed in self.signatures if signed.statement.rule}
        return min(rules) if rules else self.by if self.by in _RULES else "steward"

    @property
    def terms(self) -> Terms | None:
        """The terms that hold: the steward's own where supplied, else those the app states."""
        return self.steward_terms or self.manifest.terms

    @property
    def project_id(self) -> str:
        """Its project's id, "" without terms."""
        return self.terms.project.id if self.terms is not None and not self.unsafe_open else ""

    def subject(self, binding_digest: str) -> Subject:
        """What signatures under it must be about."""
        return Subject("analysis", self.project_id, self.analysis_digest, binding_digest, self.number)


@dataclass(frozen=True)
class ProjectRecord:
    """What is stored of a project: what it says of itself, who takes part, and what was decided."""

    project: Project
    status: Status
    roster: Mapping[str, str] = field(default_factory=dict)
    """Public identity keys of the sites that take part, by name, as the node's administrator entered them."""
    by: str = ""
    at: str = ""
    comment: str = ""
    signatures: tuple[Signed, ...] = ()
    number: int = 0

    @cached_property
    def digest(self) -> str:
        """The project's digest: the same at every DIZ."""
        return project_digest(self.project)

    @property
    def binding(self) -> str:
        """Digest of what only this node knows: the roster."""
        return digest({"roster_version": 1, "roster": dict(self.roster)})

    @property
    def subject(self) -> Subject:
        """What signatures under it must be about."""
        return Subject("project", self.project.id, self.digest, self.binding, self.number)


@dataclass(frozen=True)
class Approved:
    """An approval that holds now, for this manifest, at this node. The constructor is `check_approval`."""

    record: ApprovalRecord
    terms: Terms | None  # None only for `unsafe_open`

    @property
    def digest(self) -> str:
        """The analysis digest."""
        return self.record.analysis_digest


def status_on(record: ApprovalRecord | ProjectRecord, today: date) -> Status:
    """The stored status, with time taken into account."""
    if record.status is not Status.APPROVED:
        return record.status
    last = [signed.statement.until for signed in record.signatures]
    if isinstance(record, ApprovalRecord) and record.terms is not None:
        last.append(record.terms.validity.until)
    return Status.EXPIRED if any(today > day for day in last) else Status.APPROVED


def check_approval(record: ApprovalRecord | None, binding_digest: str, today: date, trust: Trust) -> Approved:
    """Whether the analysis may run now.

    Raises:
        RefusedError: 902 unknown or pending, 901 rejected or not signed, 907 withdrawn or expired, 908 approved for
            other data, another sandbox or other participants, or not valid yet.
    """
    if record is None:
        raise RefusedError(RefusalCode.PENDING_APPROVAL, "first sight of this analysis")
    _check_status(record, today, "")
    if record.binding_digest != binding_digest:
        raise RefusedError(
            RefusalCode.TERMS_VIOLATED, "approved for another sandbox, data or participants than the node has now"
        )
    terms = record.terms
    if terms is None and not record.unsafe_open:
        raise RefusedError(RefusalCode.NOT_APPROVED, "approved without terms: nothing is allowed")
    require_signatures(record.signatures, record.subject(binding_digest), trust, today)
    if terms is not None and today < terms.validity.from_:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, "before its first day")
    return Approved(record, None if record.unsafe_open else terms)


def check_project(record: ProjectRecord | None, today: date, trust: Trust) -> None:
    """Whether analyses of a project may run now.

    Raises:
        RefusedError: 901, no approved project; 907, withdrawn or expired.
    """
    if record is None or record.status is Status.PENDING:
        raise RefusedError(RefusalCode.NOT_APPROVED, "its project is not approved here")
    _check_status(record, today, "its project was ")
    require_signatures(record.signatures, record.subject, trust, today)


def _check_status(record: ApprovalRecord | ProjectRecord, today: date, what: str) -> None:
    match status_on(record, today):
        case Status.PENDING:
            raise RefusedError(RefusalCode.PENDING_APPROVAL, "waiting for the steward")
        case Status.REJECTED:
            raise RefusedError(RefusalCode.NOT_APPROVED, f"{what}rejected by the steward")
        case Status.WITHDRAWN:
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, f"{what}withdrawn by the steward")
        case Status.EXPIRED:
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, f"{what}past its last day")
        case Status.APPROVED:
            return
