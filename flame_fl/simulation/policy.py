"""What a virtual DIZ's steward would do, as a written rule. Each decision is stored and audited `by=simulation-policy`.

`first-seen`        approves the first analysis of an app that this state folder sees, on the terms the app states; a
                    changed app is another analysis and stays pending (902).
`stated-terms`      approves every analysis that states terms, changed or not.
`open-simulation`   approves anything without terms: no release contract, no limits, no privacy. Only for one's own
                    data on one's own machine; every audit entry and report says so.
`nothing`           approves nothing.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import Field, ValidationError

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.statement import project_digest
from flame_fl.contract.terms import Frozen, Terms
from flame_fl.data.files import PRIVATE, replace
from flame_fl.gate.approval import SIMULATION_POLICY, ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.decisions import approve_by_rule, close_analysis
from flame_fl.gate.signatures import public_text, read_private_key
from flame_fl.gate.trust import Trust
from flame_fl.gate.workflow import Gate, NodeLimits


class Approve(StrEnum):
    """The rule by which virtual nodes approve."""

    FIRST_SEEN = "first-seen"
    STATED_TERMS = "stated-terms"
    OPEN_SIMULATION = "open-simulation"
    NOTHING = "nothing"


class PolicyFile(Frozen):
    """A policy as TOML: the rule and the node's own bounds."""

    approve: Approve = Approve.FIRST_SEEN
    epsilon_cap: Annotated[float, Field(gt=0)] = 10.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    min_patients: Annotated[int, Field(ge=1)] = 5
    deny: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What every virtual node applies."""

    approve: Approve
    limits: NodeLimits
    deny: frozenset[str]
    stated: str
    """The rule's name, or a file's path and hash: a resumed run must have the same."""


def load_policy(stated: str | None, deny: list[str]) -> Policy:
    """From `--policy` (a rule's name or a TOML file; None is `first-seen`) and `--deny`.

    Raises:
        InputError: Neither a rule nor a readable file.
    """
    if stated is None or stated in list(Approve):
        file = PolicyFile(approve=Approve(stated or Approve.FIRST_SEEN))
        named = file.approve.value
    else:
        path = Path(stated)
        if not path.is_file():
            raise InputError(
                f"--policy {stated!r} is neither a rule nor a file.",
                mend=f"Use one of {', '.join(Approve)}, or the path of a TOML file.",
            )
        try:
            text = path.read_text()
            file = PolicyFile.model_validate(tomllib.loads(text))
            named = f"{stated} ({sha256_hex(text.encode())[:16]})"
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
            raise InputError(f"The policy {path} is not TOML: {err}.") from err
        except ValidationError as err:
            first = err.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(p) for p in first["loc"])
            raise InputError(
                f"The policy {path} is malformed: {where}: {first['msg']}.",
                mend=f"Known settings: {', '.join(PolicyFile.model_fields)}.",
            ) from None
    limits = NodeLimits(file.epsilon_cap, file.delta, file.min_patients, max_block_sessions=64, fixed_slots=False)
    return Policy(file.approve, limits, frozenset(file.deny) | frozenset(deny), named)


def simulated_key(path: Path) -> Ed25519PrivateKey:
    """A virtual node's identity, made once for a state folder.

    Raises:
        InputError: It cannot be written.
    """
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            key = Ed25519PrivateKey.generate()
            text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            replace(path, text, PRIVATE)
    except OSError as err:
        raise InputError(
            f"{path} cannot be written ({err.strerror}).", mend="Choose another --state or --out."
        ) from err
    return read_private_key(path)


def simulated_trust(key: Ed25519PrivateKey) -> Trust:
    """A virtual node trusts one rule: the simulation's policy, which its own key signs."""
    return Trust(public_text(key.public_key()), rules={SIMULATION_POLICY: sha256_hex(SIMULATION_POLICY.encode())})


def identity_file(state: Path) -> Path:
    """Where a virtual node's key is, beside its state file."""
    return state.with_name("identity")


def apply(policy: Policy, gate: Gate, manifest: Manifest, roster: Mapping[str, str] | None = None) -> None:
    """Decide about an analysis at one virtual node, if nothing is decided there yet.

    Args:
        policy: The simulation's.
        gate: The node's.
        manifest: The analysis.
        roster: Public keys of all virtual nodes by name: who takes part, where answers are masked.
    """
    if roster and manifest.terms is not None and manifest.terms.secure_aggregation.required:
        _enter(gate, manifest.terms, roster)
    known = gate.store.approval(manifest.digest)
    if gate.node in policy.deny:
        if known is None or known.status is not Status.REJECTED:
            filed = known or ApprovalRecord(manifest.digest, Status.PENDING, manifest)
            close_analysis(gate.store, filed, by=SIMULATION_POLICY, comment="named by --deny", reject=True)
        return
    if known is not None and known.status is not Status.PENDING:
        return
    match policy.approve:
        case Approve.NOTHING:
            return
        case Approve.OPEN_SIMULATION:
            _approve(gate, manifest, "open-simulation: no terms hold", unsafe_open=True)
        case Approve.FIRST_SEEN:
            others = [r for r in gate.store.approvals(manifest.app) if r.analysis_digest != manifest.digest]
            if manifest.terms is not None and not any(r.status is not Status.PENDING for r in others):
                _approve(gate, manifest, "first analysis of this app here, on its stated terms")
        case Approve.STATED_TERMS:
            if manifest.terms is not None:
                _approve(gate, manifest, "states terms")


def _enter(gate: Gate, terms: Terms, roster: Mapping[str, str]) -> None:
    """Enter who takes part in the project, as a steward would."""
    project = gate.store.project(project_digest(terms.project))
    if project is None or dict(project.roster) != dict(roster):
        gate.store.put_project(
            ProjectRecord(terms.project, Status.PENDING, roster=dict(roster), by=SIMULATION_POLICY, comment="roster")
        )


def _approve(gate: Gate, manifest: Manifest, comment: str, *, unsafe_open: bool = False) -> None:
    if not unsafe_open and manifest.terms is not None and gate.today() > manifest.terms.validity.until:
        over = "past its last day"
        gate.store.put_approval(
            ApprovalRecord(manifest.digest, Status.EXPIRED, manifest, by=SIMULATION_POLICY, comment=over)
        )
        return
    binding = gate.binding(manifest.app, None if unsafe_open else manifest.terms)
    approve_by_rule(
        gate.store,
        gate.trust(),
        simulated_key(identity_file(gate.store.path)),
        manifest,
        binding,
        rule=SIMULATION_POLICY,
        comment=comment,
        today=gate.today(),
        unsafe_open=unsafe_open,
    )
