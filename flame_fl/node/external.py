"""A FLAME Hub's approvals as this node sees them: settings, which id is which, and what an answer means. No I/O.

A project or an analysis runs here only if the FLAME Hub's row for *this* node says `approved` for both, in an answer
that is young enough. Everything else is no: not mapped, never asked, pending, a word we do not know, too old. What was
approved once and no longer is counts as withdrawn. Ids of the Hub only state what is meant; what binds is the digest
that this DIZ's own stewards approved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from flame_fl.contract.addresses import service_url
from flame_fl.contract.errors import InputError
from flame_fl.contract.ports import Verdict
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.words import Frozen

_CLOCK_SLACK_SECONDS = 5.0


def _url(url: str) -> str:
    return service_url(
        url,
        example="https://core.hub.example",
        login="the secret belongs into keys/flame-hub.secret",
        risk="the secret and the answers could be read and changed on their way",
    )


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a UUID such as 2f1c6a52-7a0e-4b0e-9d0c-0d6c5b1d9f10") from None


Url = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_url)]
HubId = Annotated[str, StringConstraints(max_length=64), AfterValidator(_uuid)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ProjectId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class FlameHubSection(Frozen):
    """`[flame_hub]` of node.toml: which FLAME Hub is asked, and as whom."""

    core_url: Url
    """Of the Hub's core service."""
    auth_url: Url
    """Of its login service, where the node gets its token."""
    client_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._\-]{1,128}$")]
    """The node's client there; its secret lies in keys/flame-hub.secret, never here."""
    node_id: HubId
    """The Hub's id of this node."""
    ca: str = ""
    """A PEM file of the authority that signed the Hub's certificate, relative to the state folder; then nothing else
    is trusted. Empty: what the system trusts."""
    poll_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    max_age_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    """An older answer no longer counts."""
    report_progress: bool = True

    @model_validator(mode="after")
    def _asked_often_enough(self) -> "FlameHubSection":
        if self.max_age_seconds <= self.poll_seconds:
            raise ValueError("max_age_seconds must be more than poll_seconds, or no answer would ever count for long")
        return self


# --- which id is which ---------------------------------------------------------------------------------------------


class HubIds(Frozen):
    """Which of ours is which of the Hub's; written by the node's administrator, one to one."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    projects: dict[ProjectId, HubId] = Field(default_factory=dict, max_length=1000)
    analyses: dict[Digest, HubId] = Field(default_factory=dict, max_length=1000)

    @model_validator(mode="after")
    def _one_to_one(self) -> "HubIds":
        for table in (self.projects, self.analyses):
            if len(set(table.values())) != len(table):
                raise ValueError("one id of the Hub stands for two of ours")
        return self


def with_project(ids: HubIds, project: str, hub_id: str) -> HubIds:
    """One more project, or the same ids if it is mapped so already.

    Raises:
        InputError: One of the two is mapped to another, or is no such id.
    """
    return HubIds(projects=_added(ids.projects, project, hub_id, "project"), analyses=ids.analyses)


def with_analysis(ids: HubIds, digest: str, hub_id: str) -> HubIds:
    """One more analysis, or the same ids if it is mapped so already.

    Raises:
        InputError: One of the two is mapped to another, or is no such id.
    """
    return HubIds(projects=ids.projects, analyses=_added(ids.analyses, digest, hub_id, "analysis"))


def without(ids: HubIds, word: str) -> HubIds:
    """Without a project (its id), an analysis (its digest), or whatever has this id at the Hub.

    Raises:
        InputError: There is none.
    """
    word = word.lower()
    kept = [{k: v for k, v in table.items() if word not in {k, v}} for table in (ids.projects, ids.analyses)]
    if kept == [ids.projects, ids.analyses]:
        raise InputError("Nothing is mapped under this id.", mend="`flame node flame-hub show` lists what is.")
    return HubIds(projects=kept[0], analyses=kept[1])


def _added(table: Mapping[str, str], ours: str, hub_id: str, what: str) -> dict[str, str]:
    try:
        theirs = _uuid(hub_id)
    except ValueError as err:
        raise InputError(f"The Hub's id of the {what} {err}.", mend="Copy it from the Hub's page.") from None
    try:
        HubIds.model_validate({"projects" if what == "project" else "analyses": {ours: theirs}})
    except ValueError:
        wanted = "a project's id as its app states it" if what == "project" else "the analysis's digest, 64 hex digits"
        raise InputError(f"That is not {wanted}.", mend="`flame node requests --json` shows both.") from None
    if table.get(ours, theirs) != theirs or any(k != ours and v == theirs for k, v in table.items()):
        raise InputError(
            f"This {what}, or this id of the Hub, is mapped to another already.",
            mend="`flame node flame-hub show` lists what is mapped; `flame node flame-hub unmap` removes one.",
        )
    return {**table, ours: theirs}


# --- what an answer means ------------------------------------------------------------------------------------------


class HubStatus(StrEnum):
    """What the Hub last said of one row: a project at this node, or an analysis at this node."""

    APPROVED = "approved"
    REJECTED = "rejected"
    PENDING = "pending"  # the row is there and nobody decided
    GONE = "gone"  # the Hub has no such row
    UNKNOWN = "unknown"  # it answered, and not with a status of this row that we know


@dataclass(frozen=True)
class HubAnswer:
    """The last answer about one row.

    Attributes:
        status: What it said.
        asked_at: When it was asked, in seconds since 1970: before the question left.
        was_approved: Whether this or an earlier answer said `approved`.
        row: The Hub's id of the row, for reports; "" if there is none.
        project: For an analysis, the Hub's project it belongs to, if the Hub said so.
    """

    status: HubStatus
    asked_at: float
    was_approved: bool = False
    row: str = ""
    project: str = ""


_TAKEN_BACK = frozenset({HubStatus.REJECTED, HubStatus.PENDING, HubStatus.GONE})
_DENIED = {
    HubStatus.REJECTED: (RefusalCode.NOT_APPROVED, "is rejected at the FLAME Hub"),
    HubStatus.PENDING: (RefusalCode.PENDING_APPROVAL, "is pending at the FLAME Hub"),
    HubStatus.GONE: (RefusalCode.PENDING_APPROVAL, "is not assigned to this node at the FLAME Hub"),
    HubStatus.UNKNOWN: (RefusalCode.PENDING_APPROVAL, "has no status at the FLAME Hub that this node knows"),
}


def hub_verdict(what: str, answer: HubAnswer | None, now: float, max_age_seconds: float) -> Verdict:
    """What one answer comes to.

    Args:
        what: "project" or "analysis", for the detail.
        answer: The last one; None if the Hub was never asked.
        now: Seconds since 1970.
        max_age_seconds: How old an answer may be.
    """
    if answer is None:
        return refused(RefusalCode.PENDING_APPROVAL, what, "was not asked of the FLAME Hub yet")
    if answer.was_approved and answer.status in _TAKEN_BACK:
        return refused(
            RefusalCode.WITHDRAWN_OR_EXPIRED, what, f"was approved at the FLAME Hub and is now {answer.status}"
        )
    if answer.status is not HubStatus.APPROVED:
        return refused(_DENIED[answer.status][0], what, _DENIED[answer.status][1])
    if not -_CLOCK_SLACK_SECONDS <= now - answer.asked_at <= max_age_seconds:
        return refused(RefusalCode.PENDING_APPROVAL, what, "has an answer of the FLAME Hub that is too old to count")
    return Verdict()


def refused(code: RefusalCode, what: str, said: str) -> Verdict:
    """A verdict against it, in one short sentence for the node's log."""
    return Verdict(code, f"the {what} {said}")


# --- what is reported back -----------------------------------------------------------------------------------------


class RunState(StrEnum):
    """How far a run is at this node; the values are the Hub's own words (its ProcessStatus)."""

    STARTING = "starting"
    RUNNING = "executing"
    FINISHED = "executed"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in {RunState.FINISHED, RunState.STOPPED, RunState.FAILED}


_NO_LONGER = frozenset({RefusalCode.NOT_APPROVED, RefusalCode.PENDING_APPROVAL, RefusalCode.WITHDRAWN_OR_EXPIRED})
_FAILED = frozenset({RefusalCode.SANDBOX_FAILED, RefusalCode.SANDBOX_TIMEOUT})


def progress_of(answered: int, most: int) -> int:
    """Percent of the messages that the terms allow a run; 100 is kept for the end."""
    return 0 if most < 1 else max(0, min(99, 100 * answered // most))


def report_of(kind: str, code: int, answered: int, most: int) -> tuple[RunState, int] | None:
    """What a step of the gate says of a run, or None if nothing that the Hub should be told.

    Args:
        kind: Of the gate's event: released, refused or resent.
        code: Its refusal code, 0 if there is none.
        answered: How many messages the run has had.
        most: How many its terms allow.
    """
    if answered < 1:
        return None  # it never ran here
    progress = progress_of(answered, most)
    if kind == "released":
        return (RunState.FINISHED, 100) if 0 < most <= answered else (RunState.RUNNING, progress)
    if kind == "refused" and code in _NO_LONGER:
        return RunState.STOPPED, progress
    return (RunState.FAILED, progress) if kind == "refused" and code in _FAILED else None
