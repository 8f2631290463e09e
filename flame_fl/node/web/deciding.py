"""What a click on a form does: one decision, through `flame_fl.node.steward`, and who clicked, in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.errors import InputError
from flame_fl.contract.statement import Statement, parse_statement
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.decisions import Wish, by_key
from flame_fl.gate.signatures import APPROVAL_NAMESPACE, public_text, read_private_key, verified_key
from flame_fl.node import steward
from flame_fl.node.steward import Prepared
from flame_fl.node.web.access import Caller
from flame_fl.node.web.desk import Desk

MAX_COMMENT_CHARS = 2000
_CHANGED = "What would be approved has changed since you looked."
_LOOK = "Look at the sheet again, then decide."


@dataclass(frozen=True)
class Choice:
    """How the caller can approve something now.

    Attributes:
        prepared: What would be approved; None if it cannot be, as `fault` says.
        project: Its project, as it is stored.
        with_project: The project is not approved, but would be with this signature: both are signed together.
        project_first: The project is not approved, and would not be.
        node_key: The key kept at the node may sign.
        own_key: A steward's key has the caller's name.
        needed: How many stewards must sign.
        signed: Who has.
    """

    prepared: Prepared | None
    fault: InputError | None
    project: ProjectRecord | None
    with_project: bool
    project_first: bool
    node_key: bool
    own_key: bool
    needed: int
    signed: tuple[str, ...]


def choice_for(desk: Desk, caller: Caller, record: ApprovalRecord) -> Choice:
    """How the caller can approve an analysis."""
    prepared, fault = None, None
    try:
        prepared = steward.prepare(desk.gate, record.analysis_digest, record.steward_terms)
    except InputError as err:
        fault = err
    project, needed = steward.project_of(desk.gate, record), desk.gate.trust().needed
    missing = project is not None and not steward.project_is_approved(desk.gate, record)
    enough = (
        missing
        and project is not None
        and project.status is Status.PENDING  # one that people closed is decided about on its own page
        and len({s.by for s in project.signatures}) + 1 >= needed
    )
    return Choice(
        prepared,
        fault,
        project,
        with_project=enough,
        project_first=missing and not enough,
        node_key=may_use_node_key(desk, caller),
        own_key=has_own_key(desk, caller),
        needed=needed,
        signed=tuple(signed.by for signed in record.signatures) if record.status is Status.PENDING else (),
    )


def may_use_node_key(desk: Desk, caller: Caller) -> bool:
    """Whether the caller may sign with the key that the node keeps, and there is one that counts."""
    return caller.node_key and node_key(desk) is not None


def has_own_key(desk: Desk, caller: Caller) -> bool:
    """Whether a steward's key is registered under the caller's name."""
    return caller.name in desk.store.stewards().values()


def node_key(desk: Desk) -> Ed25519PrivateKey | None:
    """The steward's key that the node keeps, if its public half counts here."""
    path = desk.node.files.steward_key
    if not path.is_file():
        return None
    key = read_private_key(path)
    return key if public_text(key.public_key()) in desk.store.stewards() else None


def approve_with_node_key(desk: Desk, caller: Caller, record: ApprovalRecord, wish: Wish, seen: str) -> None:
    """Sign, with the key at the node, what the caller has seen; its project, too, if `choice_for` says so.

    Raises:
        InputError: The caller may not, something changed since, or the core says no.
    """
    key = _key_for(desk, caller)
    choice, prepared = _as_seen(desk, caller, record, wish, seen)
    with _noted(desk, caller, "approve", "analysis", record.analysis_digest):
        steward.approve_with_key(desk.gate, prepared, key, wish, with_project=choice.with_project)


def approve_project_with_node_key(desk: Desk, caller: Caller, record: ProjectRecord, wish: Wish) -> None:
    """As `approve_with_node_key`, for a project.

    Raises:
        InputError: As there.
    """
    key = _key_for(desk, caller)
    with _noted(desk, caller, "approve", "project", record.digest):
        steward.approve_project(desk.gate, record, by_key(steward.statement_of(desk.gate, record, wish), key))


def _key_for(desk: Desk, caller: Caller) -> Ed25519PrivateKey:
    key = node_key(desk) if caller.node_key else None
    if key is None:
        raise InputError("This account does not sign with the node's key.", mend="Sign on your own device.")
    return key


def _as_seen(desk: Desk, caller: Caller, record: ApprovalRecord, wish: Wish, seen: str) -> tuple[Choice, Prepared]:
    """What would be approved now, which must be what the caller saw: the same binding, after the same decisions."""
    choice = choice_for(desk, caller, record)
    if choice.prepared is None:
        raise choice.fault or InputError(_CHANGED, mend=_LOOK)
    if seen != seen_mark(record, choice) or not desk.shelf.was_shown(wish.sheet, record.analysis_digest):
        raise InputError(_CHANGED, mend=_LOOK)
    return choice, choice.prepared


def seen_mark(record: ApprovalRecord, choice: Choice) -> str:
    """What a form holds so that nothing else is approved than what was looked at: analysis, project, and how."""
    parts = ["" if choice.prepared is None else choice.prepared.binding.digest, str(record.number)]
    if (project := choice.project) is not None:
        parts += [project.status.value, str(project.number), project.binding]
    return "-".join([*parts, str(choice.with_project)])


def statements_for(desk: Desk, caller: Caller, record: ApprovalRecord, wish: Wish, seen: str) -> list[Statement]:
    """What the caller is to sign on a device of their own: the project's statement first, if it is needed.

    Raises:
        InputError: It could not be approved now, or changed since the caller looked.
    """
    choice, prepared = _as_seen(desk, caller, record, wish, seen)
    analysis = steward.statement_of(desk.gate, prepared, wish)
    if not choice.with_project or choice.project is None:
        return [analysis]
    return [steward.statement_of(desk.gate, choice.project, wish), analysis]


def enter_signed(desk: Desk, caller: Caller, record: ApprovalRecord, signed: list[tuple[str, str]]) -> None:
    """Enter what was signed elsewhere: texts of statements and signatures, the project's first if it is there.

    Raises:
        InputError: One of them does not hold for this, here, now and for the caller. Nothing is entered then.
    """
    pairs = [_own(desk, caller, statement, signature) for statement, signature in signed]
    prepared = steward.prepare(desk.gate, record.analysis_digest, record.steward_terms)  # reads data: not while locked
    with _noted(desk, caller, "approve", "analysis", record.analysis_digest):
        for pair in pairs:
            if pair[0].subject == "project":
                project = steward.project_of(desk.gate, record)
                if project is None:
                    raise InputError(
                        "The statement is about another project.", mend="Make a new statement here, and sign it."
                    )
                steward.approve_project(desk.gate, project, pair)
        analyses = [pair for pair in pairs if pair[0].subject == "analysis"]
        if len(analyses) != 1:
            raise InputError("There is no statement about the analysis.", mend="Paste the statement and its signature.")
        steward.approve(desk.gate, prepared, analyses[0])


def enter_signed_project(desk: Desk, caller: Caller, record: ProjectRecord, statement: str, signature: str) -> None:
    """As `enter_signed`, for a project alone.

    Raises:
        InputError: As there.
    """
    pair = _own(desk, caller, statement, signature)
    with _noted(desk, caller, "approve", "project", record.digest):
        steward.approve_project(desk.gate, record, pair)


def _own(desk: Desk, caller: Caller, text: str, signature: str) -> tuple[Statement, str]:
    """A statement and its signature, which the key under the caller's name must have made."""
    statement = parse_statement(text)
    key = verified_key(signature, statement.text, APPROVAL_NAMESPACE)
    name = desk.store.stewards().get(key)
    if name is None or statement.rule:
        raise InputError("The key is no steward's of this node.", mend="flame node steward list")
    if name != caller.name:
        raise InputError(
            "The signature is another steward's.", mend="Each steward enters their own, logged in as themselves."
        )
    return statement, signature


def close(desk: Desk, caller: Caller, record: ApprovalRecord | ProjectRecord, comment: str, sheet: str = "") -> None:
    """Reject what waits, withdraw what was approved.

    Raises:
        InputError: Nobody said why.
    """
    if not comment:
        raise InputError("Say why.", mend="The comment is kept, and others will read it.")
    act = "withdraw" if record.status is Status.APPROVED else "reject"
    if isinstance(record, ProjectRecord):
        with _noted(desk, caller, act, "project", record.digest):
            steward.reject_project(desk.gate, record.digest, by=caller.name, comment=comment)
        return
    with _noted(desk, caller, act, "analysis", record.analysis_digest):
        steward.reject(desk.gate, record.analysis_digest, by=caller.name, comment=comment, sheet=sheet)


def stop_run(desk: Desk, caller: Caller, run_id: str) -> None:
    """End one run here; its analysis stays approved.

    Raises:
        InputError: There is no such run.
    """
    if not desk.store.stop_run(run_id, caller.name):
        raise InputError(f"There is no run {run_id} here.", mend="")


def wish_of(comment: str, until: str, sheet: str = "") -> Wish:
    """From a form's fields.

    Raises:
        InputError: The day is none, or the comment is too long or cannot be kept.
    """
    if len(comment) > MAX_COMMENT_CHARS:
        raise InputError(f"The comment has more than {MAX_COMMENT_CHARS} characters.", mend="Make it shorter.")
    try:
        last = date.fromisoformat(until) if until else None
    except ValueError:
        raise InputError("The last day is no date.", mend="Write it as YYYY-MM-DD.") from None
    return Wish(comment, last, sheet)


@contextmanager
def _noted(desk: Desk, caller: Caller, act: str, subject: str, digest: str) -> Iterator[None]:
    """Which account clicked, from where: the decision itself names the key, or the account where nothing is signed."""
    with desk.store.transaction():
        yield
        desk.store.record(
            "web-decision",
            {
                "account": caller.name,
                "method": caller.session.method,
                "address": caller.address,
                "act": act,
                "subject": subject,
                "digest": digest,
            },
        )
