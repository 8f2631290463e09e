"""Who takes part in a fit: the nodes that approved, those that are there, how many must contribute, for how long.

A part of `FlameFedAvg`: what it knows of the nodes, apart from what it does with their replies.
"""

import logging
from collections.abc import Iterable

from flwr.app import ArrayRecord, MessageType, RecordDict
from flwr.serverapp import Grid

from flame_strategies.approval import Refusal, Roster, ask_gates, refusal_table
from flame_strategies.attendance import Attendance
from flame_strategies.deadlines import DEFAULT_QUORUM, Told, quorum, reply_seconds, room_sentence, without_room
from flame_strategies.errors import MessageTooLarge, NotEnoughNodes
from flame_strategies.message_size import content_bytes, reply_flaw

log = logging.getLogger("flwr.flame_strategies")

_TERMS_VIOLATED = 908


class Participants:
    """The nodes of a fit.

    Attributes:
        min_nodes: So many must contribute; from the terms, once the gates were asked, if it was not given.
        node_timeout: Seconds to wait for nodes to connect, and for the gates' answers.
        timeout: Seconds to wait for replies; None: what the terms give a node, and what the model needs to travel.
        allow_ungated: Also work with nodes that have no gate.
        roster: The gates' answers, None before they were asked.
        refusals: Everything that nodes did not do, in order of time.
    """

    def __init__(
        self, *, min_nodes: int | None, node_timeout: float, timeout: float | None, allow_ungated: bool
    ) -> None:
        if min_nodes is not None and min_nodes < 1:
            raise ValueError(f"min_nodes is {min_nodes}; at least 1 node must contribute.")
        self.min_nodes = min_nodes or DEFAULT_QUORUM
        self.node_timeout, self.timeout, self.allow_ungated = node_timeout, timeout, allow_ungated
        self.roster: Roster | None = None
        self.refusals: list[Refusal] = []
        self._wants_quorum = min_nodes is None
        self._attendance = Attendance()
        self._sent: tuple[int, ...] = ()
        self._before: tuple[int, ...] = ()
        self._patience = 0.0
        self._rounds = 0
        self._has_room = False

    def begin(self, rounds: int) -> None:
        """Forget an earlier fit."""
        self.roster, self.refusals = None, []
        self._attendance, self._sent, self._before, self._patience = Attendance(), (), (), 0.0
        self._rounds, self._has_room = rounds, False

    def return_to(self, refusals: Iterable[Refusal], approved: Iterable[int], patience: float) -> None:
        """Take up a fit again, with what its nodes did and those that it had, and how long one of them may be busy."""
        self.refusals, self._before, self._patience = list(refusals), tuple(approved), patience

    def waits(self) -> tuple[str, str]:
        """The quorum and the deadlines, in words."""
        least = "as many as the terms say" if self._wants_quorum else f"at least {self.min_nodes}"
        replies = "as long as the terms say" if self.timeout is None else f"{self.timeout:g} s"
        return least, f"{self.node_timeout:g} s for nodes and gates, {replies} for replies"

    def reply_timeout(self, arrays: ArrayRecord, turns: int = 1) -> float:
        """Seconds to wait for the replies to what was just configured.

        Args:
            arrays: The model.
            turns: Messages that a node may have to answer until then.
        """
        if self.timeout is not None:
            return self.timeout
        told = () if self.roster is None else [self.roster.told.get(node, Told()) for node in self._sent]
        return reply_seconds(told, content_bytes(RecordDict({"arrays": arrays})), turns=turns)

    def _nodes(self, grid: Grid, server_round: int = 0) -> tuple[int, ...]:
        """The nodes to ask; in a round of training (not 0) also those that come late."""
        if self.roster is None:
            roster = self._ask(grid)
        elif server_round:
            roster = self._admit(grid, self.roster, server_round)
        else:
            roster = self.roster
        gone = {refusal.node_id for refusal in self.refusals if refusal.is_final}
        wanted = tuple(node for node in roster.approved if node not in gone)
        present = self._attendance.present(grid, wanted, self.node_timeout if server_round else 0.0)
        if server_round:
            self.refusals += [
                Refusal(node, 0, "NOT_CONNECTED", "the node is not connected", MessageType.TRAIN, server_round)
                for node in wanted
                if node not in present
            ]
        return present

    def _ask(self, grid: Grid) -> Roster:
        """Ask the gates; a fit that is taken up again waits for the nodes that it had, and for what they are doing."""
        least = max(self.min_nodes, len(self._before))
        roster = ask_gates(
            grid,
            min_nodes=least,
            timeout=self.node_timeout,
            answer_timeout=self.node_timeout + self._patience,
            allow_ungated=self.allow_ungated,
        )
        known = set(self.refusals)
        self.refusals += [refusal for refusal in roster.refusals.values() if refusal not in known]
        log.info("Approvals:\n%s", roster)
        if self._wants_quorum:
            self.min_nodes = quorum(roster.told.values())
        self.roster = roster
        roster.require(self.min_nodes)
        return roster

    def _admit(self, grid: Grid, before: Roster, server_round: int) -> Roster:
        """Take in who came late."""
        roster = self._attendance.admit(grid, before, server_round, allow_ungated=self.allow_ungated)
        if late := sorted({*roster.approved} - {*before.approved}):
            log.info("Round %d: came late, and approved: %s", server_round, ", ".join(map(str, late)))
        self.refusals += [refusal for node, refusal in roster.refusals.items() if node not in before.refusals]
        self.roster = roster
        return roster

    def _require_room(self, grid: Grid, server_round: int, nodes: tuple[int, ...], arrays: ArrayRecord) -> None:
        """The nodes' terms have room for what is to come, before their budgets are spent on a part of it.

        Raises:
            NotEnoughNodes: Too many gates would answer 908 before the last round.
            MessageTooLarge: No gate lets out an answer of the model's size.
        """
        if self.roster is None or not self._rounds:
            return
        told = {node: self.roster.told[node] for node in nodes if node in self.roster.told}
        allowed = {n: one.max_bytes[MessageType.TRAIN] for n, one in told.items() if MessageType.TRAIN in one.max_bytes}
        if len(allowed) == len(nodes) and (flaw := reply_flaw(arrays, allowed)) is not None:
            raise MessageTooLarge(flaw)
        if self._has_room or getattr(grid, "flame_replays", False):  # what is replayed is not counted again
            return
        self._has_room = True
        short = without_room(told, MessageType.TRAIN, self._rounds - server_round + 1)
        if short and len(nodes) - len(short) < self.min_nodes:
            left = ", ".join(f"node {node}: {count}" for node, count in short.items())
            raise NotEnoughNodes(
                f"Round {server_round} of {self._rounds}: the terms leave fewer messages than the fit has rounds "
                f"({left}). {room_sentence(MessageType.TRAIN, self._rounds)}"
            )

    def _shortage(self, server_round: int, contributed: int) -> str:
        table = refusal_table(self.refusals) if self.refusals else "  no refusals"
        said = f"Round {server_round}: {contributed} of the required {self.min_nodes} nodes contribute. Ask their "
        said += f"stewards, or lower min_nodes.\n{table}"
        violated = any(r.code == _TERMS_VIOLATED and r.server_round == server_round for r in self.refusals)
        if self._before and violated:
            said += f"\nThe fit was resumed, and gates answer 908. {room_sentence(MessageType.TRAIN, self._rounds)}"
        return said
