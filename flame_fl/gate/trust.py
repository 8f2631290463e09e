"""Whose signatures make an approval at this node, and whether enough of them stand under one. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.statement import Statement
from flame_fl.gate.signatures import APPROVAL_NAMESPACE, fingerprint, verified_key


@dataclass(frozen=True)
class Trust:
    """A node's own identity, its stewards, and the rules that may decide in their place.

    Attributes:
        node_key: The node's identity, a public key of OpenSSH's. It signs what rules decide.
        stewards: Names by public key.
        needed: How many stewards must sign.
        rules: Digests of the rules that stand, by name.
    """

    node_key: str
    stewards: Mapping[str, str] = field(default_factory=dict)
    needed: int = 1
    rules: Mapping[str, str] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """The node's fingerprint, as statements name it."""
        return fingerprint(self.node_key)


@dataclass(frozen=True)
class Signed:
    """A statement and the signature under it. `by` is the steward's or the rule's name when it was entered."""

    statement: Statement
    signature: str
    by: str


@dataclass(frozen=True)
class Subject:
    """What a signature must be about, as this node computes it now."""

    subject: str
    project: str
    digest: str
    binding: str
    number: int


def signer(signed: Signed, subject: Subject, trust: Trust, today: date) -> str:
    """The public key under a statement that approves `subject` here and today.

    Raises:
        InputError: The signature does not hold; the sentence says why.
    """
    said = signed.statement
    key = verified_key(signed.signature, said.text, APPROVAL_NAMESPACE)
    if said.act != "approve":
        raise InputError("The statement does not approve.", mend="Sign the statement that approves.")
    for name, stated, expected in (
        ("node", said.node, trust.node),
        ("kind of subject", said.subject, subject.subject),
        ("project", said.project, subject.project),
        ("digest", said.digest, subject.digest),
        ("sandbox, data, participants or terms", said.binding, subject.binding),
    ):
        if stated != expected:
            raise InputError(f"The statement is about another {name}.", mend="Make a new statement here, and sign it.")
    if said.number != subject.number:
        raise InputError(
            "The statement is from before a rejection or withdrawal.", mend="Make a new statement here, and sign it."
        )
    if said.until < today:
        raise InputError("The statement's last day is over.", mend="Make a new statement here, and sign it.")
    if said.rule:
        if key != trust.node_key or trust.rules.get(said.rule) != said.rule_digest:
            raise InputError("No such rule stands at this node.", mend="See [[approval.rules]] in node.toml.")
    elif key not in trust.stewards:
        raise InputError(
            "The key is no steward's of this node.", mend="flame node steward list; flame node steward add"
        )
    return key


def holding(
    signatures: Iterable[Signed], subject: Subject, trust: Trust, today: date
) -> tuple[dict[str, Signed], list[tuple[Signed, str]]]:
    """The signatures that hold, by key, and those that do not, each with why."""
    kept: dict[str, Signed] = {}
    faults: list[tuple[Signed, str]] = []
    for signed in signatures:
        try:
            kept[signer(signed, subject, trust, today)] = signed
        except InputError as err:
            faults.append((signed, err.message))
    return kept, faults


def enough(kept: Mapping[str, Signed], trust: Trust) -> bool:
    """Whether these make an approval: one rule's, or those of as many different stewards as the node asks for."""
    return any(signed.statement.rule for signed in kept.values()) or len(kept) >= trust.needed


def require_signatures(signatures: Iterable[Signed], subject: Subject, trust: Trust, today: date) -> None:
    """Check that enough signatures hold.

    Raises:
        RefusedError: 907, a key or rule stands no longer or a last day is over; 901, too few for another reason.
    """
    kept, faults = holding(signatures, subject, trust, today)
    if enough(kept, trust):
        return
    lapsed = any(_lapsed(signed, trust, today) for signed, _ in faults)
    code = RefusalCode.WITHDRAWN_OR_EXPIRED if lapsed else RefusalCode.NOT_APPROVED
    why = "; ".join(f"{signed.by}: {message}" for signed, message in faults[:4])
    raise RefusedError(code, f"{len(kept)} of {trust.needed} signatures hold" + (f" ({why})" if why else ""))


def _lapsed(signed: Signed, trust: Trust, today: date) -> bool:
    """Whether the signature is good, and only its key, its rule or its day is not any more."""
    try:
        key = verified_key(signed.signature, signed.statement.text, APPROVAL_NAMESPACE)
    except InputError:
        return False
    gone = trust.rules.get(signed.statement.rule) if signed.statement.rule else trust.stewards.get(key)
    return gone is None or signed.statement.until < today
