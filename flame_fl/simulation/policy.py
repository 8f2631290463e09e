"""What a virtual DIZ's steward would do, as a written rule. Each decision is stored and audited `by=simulation-policy`.

`first-seen`        approves the first analysis of an app that this state folder sees, on the terms the app states; a
                    changed app is another analysis and stays pending (902).
`stated-terms`      approves every analysis that states terms, changed or not.
`open-simulation`   approves anything without terms: no release contract, no limits, no privacy. Only for one's own
                    data on one's own machine; every audit entry and report says so.
`nothing`           approves nothing.
"""

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.terms import Frozen
from flame_fl.gate.approval import SIMULATION_POLICY, ApprovalRecord, Status
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
    limits = NodeLimits(file.epsilon_cap, file.delta, file.min_patients)
    return Policy(file.approve, limits, frozenset(file.deny) | frozenset(deny), named)


def apply(policy: Policy, gate: Gate, manifest: Manifest) -> None:
    """Decide about an analysis at one virtual node, if nothing is decided there yet."""
    known = gate.store.approval(manifest.digest)
    if gate.node in policy.deny:
        if known is None or known.status is not Status.REJECTED:
            _decide(gate, manifest, Status.REJECTED, "named by --deny")
        return
    if known is not None and known.status is not Status.PENDING:
        return
    match policy.approve:
        case Approve.NOTHING:
            return
        case Approve.OPEN_SIMULATION:
            _decide(gate, manifest, Status.APPROVED, "open-simulation: no terms hold", unsafe_open=True)
        case Approve.FIRST_SEEN:
            others = [r for r in gate.store.approvals(manifest.app) if r.analysis_digest != manifest.digest]
            if manifest.terms is not None and not any(r.status is not Status.PENDING for r in others):
                _decide(gate, manifest, Status.APPROVED, "first analysis of this app here, on its stated terms")
        case Approve.STATED_TERMS:
            if manifest.terms is not None:
                _decide(gate, manifest, Status.APPROVED, "states terms")


def _decide(gate: Gate, manifest: Manifest, status: Status, comment: str, *, unsafe_open: bool = False) -> None:
    binding = gate.binding(manifest.app, None if unsafe_open else manifest.terms)
    gate.store.put_approval(
        ApprovalRecord(
            manifest.digest,
            status,
            manifest,
            binding.digest,
            unsafe_open=unsafe_open,
            by=SIMULATION_POLICY,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            comment=comment,
            data=binding.data,
        )
    )
