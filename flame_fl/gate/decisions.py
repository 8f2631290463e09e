"""How a decision is entered: what is to be signed, and what a signature makes of the stored record.

An approval is entered with a signature, of a steward or, where a rule decides, of the node's own key. To reject or to
withdraw needs none: it only ever closes. Each rejection or withdrawal makes every earlier signature worthless.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import Manifest, NodeBinding
from flame_fl.contract.statement import Statement, project_digest
from flame_fl.contract.terms import Terms
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.decision_store import Decision
from flame_fl.gate.signatures import APPROVAL_NAMESPACE, sign
from flame_fl.gate.store import Store
from flame_fl.gate.trust import Signed, Subject, Trust, enough, holding, signer

FRESH = timedelta(days=7)
_SKEW = timedelta(minutes=10)
_LONGEST = date(9999, 12, 31)


@dataclass(frozen=True)
class Wish:
    """What a person adds to an approval.

    Attributes:
        comment: Why; everybody who sees the audit chain sees it.
        until: Last day, if it should end before the terms do.
        sheet: Hash of the sheet that was shown.
        rule: Name of the rule that decides, and its digest.
    """

    comment: str = ""
    until: date | None = None
    sheet: str = ""
    rule: tuple[str, str] = ("", "")


def statement_for(
    record: ApprovalRecord | ProjectRecord, binding: NodeBinding | None, trust: Trust, wish: Wish
) -> Statement:
    """What is to be signed for an approval, now.

    Args:
        record: What is decided about; with the steward's terms in it, if there are any.
        binding: What the node has now, for an analysis.
        trust: The node's.
        wish: What the person adds.
    """
    subject = _subject(record, binding)
    terms = record.terms if isinstance(record, ApprovalRecord) else None
    last = min(wish.until or _LONGEST, terms.validity.until if terms is not None else _LONGEST)
    return Statement(
        act="approve",
        subject="analysis" if isinstance(record, ApprovalRecord) else "project",
        node=trust.node,
        project=subject.project,
        digest=subject.digest,
        binding=subject.binding,
        number=subject.number,
        sheet=wish.sheet,
        rule=wish.rule[0],
        rule_digest=wish.rule[1],
        at=_now(),
        until=last,
        comment=wish.comment,
    )


def enter_analysis(
    store: Store,
    trust: Trust,
    digest: str,
    binding: NodeBinding,
    signed: tuple[Statement, str],
    *,
    today: date,
    steward_terms: Terms | None = None,
    unsafe_open: bool = False,
) -> ApprovalRecord:
    """Enter one signature under an approval of an analysis. It is approved once enough have signed.

    Args:
        store: The node's.
        trust: The node's.
        digest: The analysis digest.
        binding: What the node has now.
        signed: The statement and the signature under it.
        today: The date in UTC.
        steward_terms: Terms that the steward wrote, already in `binding`.
        unsafe_open: No terms hold: simulations only.

    Raises:
        InputError: The signature does not hold for this, here and now; or that key has signed already.
    """
    with store.transaction():
        known = store.approval(digest)
        if known is None:
            raise InputError("There is no such analysis here.", mend="`flame node requests` lists them.")
        record = replace(known, steward_terms=steward_terms, unsafe_open=unsafe_open, data=binding.data)
        subject = _subject(record, binding)
        kept, made = _with(record.signatures, subject, trust, signed, today)
        status = Status.APPROVED if enough(kept, trust) else Status.PENDING
        record = replace(
            record,
            status=status,
            binding_digest=binding.digest,
            signatures=tuple(kept.values()),
            by=_names(kept),
            at=made.at,
            comment=made.comment,
        )
        store.put_approval(record, made)
    return record


def enter_project(
    store: Store, trust: Trust, record: ProjectRecord, signed: tuple[Statement, str], *, today: date
) -> ProjectRecord:
    """Enter one signature under an approval of a project; as `enter_analysis`. `record` carries the roster.

    Raises:
        InputError: As `enter_analysis`.
    """
    with store.transaction():
        known = store.project(record.digest)
        if known is not None and dict(known.roster) != dict(record.roster):
            raise InputError("The roster has changed since.", mend="Read the project again, then decide.")
        record = replace(record, number=known.number if known else 0, signatures=known.signatures if known else ())
        kept, made = _with(record.signatures, record.subject, trust, signed, today)
        status = Status.APPROVED if enough(kept, trust) else Status.PENDING
        record = replace(
            record,
            status=status,
            signatures=tuple(kept.values()),
            by=_names(kept),
            at=made.at,
            comment=made.comment,
        )
        store.put_project(record, made)
    return record


def close_analysis(
    store: Store, record: ApprovalRecord, *, by: str, comment: str, sheet: str = "", reject: bool = False
) -> ApprovalRecord:
    """Reject what waits, withdraw what was approved (`reject`: call that rejected, too). It holds from this moment."""
    with store.transaction():
        record = store.approval(record.analysis_digest) or record
        made = Decision("analysis", record.analysis_digest, "", by, _now(), comment, sheet)
        status, made = _closing(Status.PENDING if reject else record.status, made)
        closed = replace(
            record, status=status, by=by, at=made.at, comment=comment, signatures=(), number=record.number + 1
        )
        store.put_approval(closed, made)
        store.drop_bundle(record.fab_sha256)
    return closed


def close_project(store: Store, record: ProjectRecord, *, by: str, comment: str) -> ProjectRecord:
    """As `close_analysis`, for a project: none of its analyses runs from this moment."""
    with store.transaction():
        record = store.project(record.digest) or record
        status, made = _closing(record.status, Decision("project", record.digest, "", by, _now(), comment))
        closed = replace(
            record, status=status, by=by, at=made.at, comment=comment, signatures=(), number=record.number + 1
        )
        store.put_project(closed, made)
    return closed


def _closing(status: Status, made: Decision) -> tuple[Status, Decision]:
    was_approved = status is Status.APPROVED
    after, act = (Status.WITHDRAWN, "withdraw") if was_approved else (Status.REJECTED, "reject")
    return after, replace(made, act=act)


def approve_by_rule(
    store: Store,
    trust: Trust,
    key: Ed25519PrivateKey,
    manifest: Manifest,
    binding: NodeBinding,
    *,
    rule: str,
    comment: str,
    today: date,
    until: date | None = None,
    unsafe_open: bool = False,
    with_project: bool = True,
) -> ApprovalRecord:
    """What a written rule of the DIZ decides: the analysis, and its project if nobody has decided about that yet.

    Args:
        store: The node's.
        trust: The node's; `rule` must be one of its rules.
        key: The node's identity.
        manifest: The analysis; it is filed if it is not there.
        binding: What the node has now.
        rule: The rule's name.
        comment: What the audit chain says of it.
        today: The date in UTC.
        until: Last day, if it should end before the terms do.
        unsafe_open: No terms hold: simulations only.
        with_project: The rule approves the project, too, if it waits.

    Raises:
        InputError: No such rule stands.
    """
    wish = Wish(comment=comment, until=until, rule=(rule, trust.rules.get(rule, "")))
    with store.transaction():
        record = store.approval(manifest.digest)
        if record is None:
            record = ApprovalRecord(manifest.digest, Status.PENDING, manifest, by="gate", comment="first sight")
            store.put_approval(record)
        by_people = any(not signed.statement.rule for signed in record.signatures)
        if by_people or record.status in {Status.REJECTED, Status.WITHDRAWN}:
            raise InputError("People decide about this analysis.", mend="A rule decides what nobody looked at.")
        record = replace(record, unsafe_open=unsafe_open, steward_terms=None)
        if with_project and record.terms is not None and not unsafe_open:
            project = store.project(project_digest(record.terms.project))
            if project is None or project.status is Status.PENDING:
                project = project or ProjectRecord(record.terms.project, Status.PENDING)
                signed = by_key(statement_for(project, None, trust, wish), key)
                enter_project(store, trust, project, signed, today=today)
        signed = by_key(statement_for(record, binding, trust, wish), key)
        return enter_analysis(store, trust, manifest.digest, binding, signed, today=today, unsafe_open=unsafe_open)


def by_key(statement: Statement, key: Ed25519PrivateKey) -> tuple[Statement, str]:
    """A statement signed with a key that is at hand."""
    return statement, sign(key, statement.text, APPROVAL_NAMESPACE)


def _subject(record: ApprovalRecord | ProjectRecord, binding: NodeBinding | None) -> Subject:
    if isinstance(record, ProjectRecord):
        return record.subject
    if binding is None:
        raise ValueError("an analysis is approved with a binding")
    return record.subject(binding.digest)


def _with(
    signatures: tuple[Signed, ...], subject: Subject, trust: Trust, signed: tuple[Statement, str], today: date
) -> tuple[dict[str, Signed], Decision]:
    """The signatures that hold, by key, with the new one last, and the decision it makes."""
    statement, signature = signed
    new = Signed(statement, signature, "")
    key = signer(new, subject, trust, today)
    age = datetime.now(UTC) - datetime.fromisoformat(statement.at)
    if not -_SKEW <= age <= FRESH:
        raise InputError(
            f"The statement is of {statement.at}; one must be entered within {FRESH.days} days.",
            mend="Make a new statement here, and sign it.",
        )
    name = f"rule {statement.rule}" if statement.rule else trust.stewards[key]
    kept, _ = holding(signatures, subject, trust, today)
    if key in kept and statement.at <= kept.pop(key).statement.at:
        raise InputError(f"{name} has signed this already.", mend="Another steward must sign.")
    made = Decision(
        subject.subject,
        subject.digest,
        "approve",
        name,
        statement.at,
        statement.comment,
        statement.sheet,
        statement.text.decode(),
        signature,
        key,
    )
    return {**kept, key: replace(new, by=name)}, made


def _names(kept: Mapping[str, Signed]) -> str:
    return ", ".join(signed.by.removeprefix("rule ") for signed in kept.values())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
