"""What a run told of its beginning: who is waited for and until when, who is in, why it did not begin. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from flame_fl.contract.errors import FlameError
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.researcher.errors import WaitingForApprovalError

_MAX_NODES = 10_000
_CODES = frozenset(int(code) for code in RefusalCode)


@dataclass(frozen=True)
class Gathering:
    """The last that was told. Nodes are named by their ids.

    Attributes:
        phase: Whether it waits, has begun, or ended without.
        ready: How many had approved and were connected.
        min_sites: How many the terms demand.
        until: When the waiting ends.
        waiting_for: Nodes that have not decided.
        sites: Nodes that the run began with.
        why: What the missing ones did.
    """

    phase: Literal["waiting", "begun", "ended"]
    ready: int
    min_sites: int
    until: datetime | None = None
    waiting_for: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    why: Literal["", "pending", "refused", "few"] = ""

    def seconds_left(self, now: datetime) -> float:
        """How much longer it waits."""
        return 0.0 if self.until is None else max(0.0, (self.until - now).total_seconds())


def gathering_of(event: Mapping[str, Any]) -> Gathering:
    """Read a `gather` event.

    Raises:
        ValueError, KeyError, TypeError: It is malformed.
    """
    phase, why, until = event["phase"], event.get("why", ""), event.get("until")
    if phase not in {"waiting", "begun", "ended"} or why not in {"", "pending", "refused", "few"}:
        raise ValueError("no gathering")
    when = None if until is None else datetime.fromisoformat(str(until))
    return Gathering(
        phase,
        max(0, int(event["ready"])),
        max(0, int(event["min_sites"])),
        when if when is None or when.tzinfo else when.replace(tzinfo=UTC),
        tuple(str(node) for node in event.get("waiting_for", ())[:_MAX_NODES]),
        tuple(str(node) for node in event.get("sites", ())[:_MAX_NODES]),
        why,
    )


def not_begun(gathering: Gathering, standings: Mapping[str, tuple[str, int]]) -> FlameError:
    """The error of a run that ended before its app began.

    Args:
        gathering: What was told at the end.
        standings: Status and code of every node by its name.
    """
    asked = len(standings)
    said = f"{gathering.ready} of {asked} DIZ approved, and the app needs {gathering.min_sites}"
    pending = sorted(name for name, (status, _) in standings.items() if status == "pending")
    codes = [f"{code} {RefusalCode(code).name} at {name}" for name, (_, code) in standings.items() if code in _CODES]
    if gathering.why == "pending":
        return WaitingForApprovalError(
            f"{said}: {listed(pending) or 'the others'} {'has' if len(pending) == 1 else 'have'} not decided; "
            "nothing was computed.",
            mend="The request is filed there: run the same command again once the stewards have decided, or with "
            "`--wait 2d`.",
        )
    if gathering.why == "refused":
        least = min((code for _, code in standings.values() if code in _CODES), default=RefusalCode.NOT_APPROVED)
        error = RefusedError(RefusalCode(least))
        error.message = f"{said}: {listed(codes) or 'the others refused'}; nothing was computed."
        error.mend = "Ask their stewards; `flame app check` shows the terms."
        return error
    return FlameError(
        f"{said}; no other DIZ answered, nothing was computed.", mend="Ask whether their nodes are up, or use `--wait`."
    )


def listed(names: list[str], most: int = 5) -> str:
    """Names for a sentence."""
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    )
