"""Who agreed: asks every node's gate before anything is computed.

A run reaches all connected nodes, also those whose hospital never approved it. A strategy therefore asks
first, ``query.flame_status``, which a gate answers itself without starting the researcher's code, and then
speaks only to the nodes that answered "approved".

Invariants:

* the wait is bounded, for nodes to connect and for their answers;
* a node without a gate is not used, unless the caller says `allow_ungated`: nothing at such a node checks
  what leaves;
* everything is in ascending order of the node id, so that nothing depends on who answered first.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from flame_strategies.deadlines import Told, read_told
from flame_strategies.errors import NotEnoughNodes

STATUS_MESSAGE = "query.flame_status"
GATE_RECORD = "flame"

REFUSAL_NAMES: Mapping[int, str] = {
    901: "NOT_APPROVED",
    902: "PENDING_APPROVAL",
    903: "BUDGET_EXHAUSTED",
    904: "RELEASE_REJECTED",
    905: "SANDBOX_FAILED",
    906: "SANDBOX_TIMEOUT",
    907: "WITHDRAWN_OR_EXPIRED",
    908: "TERMS_VIOLATED",
}
"""The gate's refusals, by the `Error.code` they travel in."""

FINAL_REFUSALS = frozenset({901, 902, 903, 907, 908})
"""Refusals that another message of the same run cannot lift: a person must decide, or the budget is spent."""

_UNDELIVERED = frozenset({3, 4, 5})
"""Flower's own codes for a message or reply that never arrived (message, reply or node unavailable)."""

_POLL_SECONDS = 0.5


@dataclass(frozen=True, order=True)
class Refusal:
    """One node did not do what it was asked.

    Attributes:
        node_id: Flower's id of the node.
        code: The gate's code (901..908), Flower's own error code, or 0 where no answer or no usable answer
            came.
        name: A word for the code.
        reason: The fixed text that travelled with it.
        leg: The message type, or what the strategy was doing.
        server_round: The round, 0 before the first.
    """

    node_id: int
    code: int
    name: str
    reason: str
    leg: str = STATUS_MESSAGE
    server_round: int = 0

    @property
    def is_final(self) -> bool:
        """Whether the node cannot come back within this run."""
        return self.code in FINAL_REFUSALS


@dataclass(frozen=True)
class Roster:
    """The gates' answers; every node asked is in exactly one of the four.

    Attributes:
        approved: Nodes to work with, ascending (with `allow_ungated`, those without a gate too).
        refusals: Nodes whose gate said no, with code and reason.
        silent: Nodes that did not answer in time.
        ungated: Nodes without a gate that are left out.
        told: What the gates of approved nodes tell of the terms.
    """

    approved: tuple[int, ...]
    refusals: Mapping[int, Refusal]
    silent: tuple[int, ...] = ()
    ungated: tuple[int, ...] = ()
    told: Mapping[int, Told] = field(default_factory=dict, compare=False)

    def require(self, min_nodes: int) -> tuple[int, ...]:
        """The approved nodes, if there are enough.

        Raises:
            NotEnoughNodes: Fewer than `min_nodes` approved; the text lists who refused and why.
        """
        if len(self.approved) >= min_nodes:
            return self.approved
        mend = "Ask the stewards to decide, or lower the minimum."
        raise NotEnoughNodes(f"{len(self.approved)} of the required {min_nodes} nodes approved.\n{self}\n{mend}")

    def __str__(self) -> str:
        """A table with one line per node."""
        lines = dict.fromkeys(self.approved, "approved")
        lines |= {node: f"{r.code} {r.name}: {r.reason}" for node, r in self.refusals.items()}
        lines |= dict.fromkeys(self.silent, "no answer in time")
        lines |= dict.fromkeys(self.ungated, "no gate, not used")
        return "\n".join(f"  node {node:>20}  {line}" for node, line in sorted(lines.items()))


def ask_gates(
    grid: Grid,
    *,
    min_nodes: int = 1,
    timeout: float = 60.0,
    answer_timeout: float | None = None,
    allow_ungated: bool = False,
) -> Roster:
    """Ask every connected node whether its steward approved this analysis.

    Args:
        grid: Flower's grid.
        min_nodes: Wait until so many nodes are connected, or until the time is over.
        timeout: Seconds for nodes to connect, and again for them to answer.
        answer_timeout: Seconds for them to answer, if that is to be another time: a node that is computing answers
            afterwards.
        allow_ungated: Also work with nodes that have no gate. Nothing checks there what leaves.

    Returns:
        The roster. Call `Roster.require` to go on only with enough nodes.
    """
    asked = wait_for_nodes(grid, min_nodes=min_nodes, timeout=timeout)
    questions = [Message(RecordDict(), message_type=STATUS_MESSAGE, dst_node_id=node) for node in asked]
    answer_timeout = timeout if answer_timeout is None else answer_timeout
    replies = grid.send_and_receive(questions, timeout=answer_timeout) if questions else []
    return read_roster(asked, replies, allow_ungated=allow_ungated)


def wait_for_nodes(grid: Grid, *, min_nodes: int, timeout: float) -> tuple[int, ...]:
    """The connected nodes, ascending, once there are `min_nodes` or once `timeout` seconds are over.

    A grid of a FLAME hub shows the nodes that had approved when the run began, and says how many those are
    (`flame_sites`): no other will come, so none is waited for.
    """
    most = getattr(grid, "flame_sites", None)
    min_nodes = min(min_nodes, most) if isinstance(most, int) else min_nodes
    deadline = time.monotonic() + timeout
    while len(nodes := tuple(sorted(grid.get_node_ids()))) < min_nodes and time.monotonic() < deadline:
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    return nodes


def read_roster(asked: Collection[int], replies: Iterable[Message], *, allow_ungated: bool = False) -> Roster:
    """Sort the nodes by what they answered (see `ask_gates`)."""
    approved: set[int] = set()
    ungated: set[int] = set()
    silent = set(asked)
    refusals: dict[int, Refusal] = {}
    told: dict[int, Told] = {}
    for reply in replies:
        node = reply.metadata.src_node_id
        if node not in silent:  # not asked, or a second answer: the first counts
            continue
        if reply.has_error() and reply.error.code in _UNDELIVERED:
            continue
        silent.discard(node)
        if reply.has_error() and reply.error.code not in REFUSAL_NAMES:
            ungated.add(node)
        elif (refusal := read_refusal(reply)) is not None:
            refusals[node] = refusal
        elif (status := _status(reply)) is None:
            ungated.add(node)
        elif status == ("approved", 0):
            approved.add(node)
            told[node] = read_told(reply.content.config_records[GATE_RECORD])
        else:
            word, code = status
            refusals[node] = Refusal(node, code, REFUSAL_NAMES.get(code, "UNKNOWN"), f"the approval is {word}")
    if allow_ungated:
        approved |= ungated
        ungated = set()
    return Roster(
        approved=tuple(sorted(approved)),
        refusals=dict(sorted(refusals.items())),
        silent=tuple(sorted(silent)),
        ungated=tuple(sorted(ungated)),
        told=dict(sorted(told.items())),
    )


def read_refusal(reply: Message, *, server_round: int = 0) -> Refusal | None:
    """The refusal that a reply carries, or None if it carries content."""
    if not reply.has_error():
        return None
    code = reply.error.code
    name = REFUSAL_NAMES.get(code, "UNDELIVERED" if code in _UNDELIVERED else "APP_ERROR")
    # Only a gate's reasons are fixed texts; an ungated node's may quote an exception, and with it data.
    reason = (reply.error.reason or "") if code in REFUSAL_NAMES else "no gate answered for this node"
    return Refusal(reply.metadata.src_node_id, code, name, reason, reply.metadata.message_type, server_round)


def missing_answers(
    asked: Iterable[int], answered: Collection[int], leg: str, *, server_round: int = 0
) -> list[Refusal]:
    """One refusal for each node that was asked and did not answer in time."""
    return [
        Refusal(node, 0, "NO_ANSWER", "no answer in time", leg, server_round)
        for node in sorted(asked)
        if node not in answered
    ]


def refusal_table(refusals: Iterable[Refusal]) -> str:
    """Refusals as text, one line each."""
    return "\n".join(
        f"  round {r.server_round:>3}  node {r.node_id:>20}  {r.leg:<20}  {r.code:>3} {r.name}: {r.reason}"
        for r in refusals
    )


def _status(reply: Message) -> tuple[str, int] | None:
    """Status word and code from a gate's answer, None if a gate did not write it."""
    record = reply.content.config_records.get(GATE_RECORD)
    if record is None:
        return None
    word, code = record.get("status"), record.get("code")
    return (word, code) if isinstance(word, str) and isinstance(code, int) else None
