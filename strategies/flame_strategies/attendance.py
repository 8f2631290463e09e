"""Which of the approved nodes are there for a round, and which come late.

A node that was away, failed or was silent is asked again in the next round. What an outage may cost is bounded: a node
that is not connected is waited for once, for as long as nodes are given to connect, and then left out until it is back;
a node that is connected and does not tell whether its steward approved is asked in rounds that lie further and further
apart.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from flame_strategies.approval import STATUS_MESSAGE, Roster, read_roster

_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 15.0


@dataclass
class Attendance:
    """Who is away, and who has not told yet.

    Attributes:
        away: Nodes that were waited for and did not come.
    """

    away: set[int] = field(default_factory=set)
    _tries: dict[int, int] = field(default_factory=dict)
    _due: dict[int, int] = field(default_factory=dict)

    def present(self, grid: Grid, wanted: Collection[int], wait_seconds: float) -> tuple[int, ...]:
        """Those of `wanted` that are connected, ascending.

        Args:
            grid: Flower's grid.
            wanted: The nodes that a round would use.
            wait_seconds: So long those are waited for that were here until now.
        """
        here = set(grid.get_node_ids())
        self.away -= here
        expected = set(wanted) - self.away
        end = time.monotonic() + wait_seconds
        while not expected <= here and (left := end - time.monotonic()) > 0:
            time.sleep(min(_POLL_SECONDS, left))
            here = set(grid.get_node_ids())
        self.away = (self.away | expected) - here
        return tuple(sorted(here & set(wanted)))

    def admit(self, grid: Grid, roster: Roster, server_round: int, *, allow_ungated: bool) -> Roster:
        """The roster with the nodes that have come since, and with those that had not answered, if they do now."""
        told = {*roster.approved, *roster.refusals, *roster.ungated}
        due = [n for n in sorted(grid.get_node_ids()) if n not in told and server_round >= self._due.get(n, 0)]
        if not due:
            return roster
        questions = [Message(RecordDict(), message_type=STATUS_MESSAGE, dst_node_id=node) for node in due]
        replies = grid.send_and_receive(questions, timeout=_ANSWER_SECONDS)
        found = read_roster(due, replies, allow_ungated=allow_ungated)
        for node in found.silent:
            self._tries[node] = self._tries.get(node, 0) + 1
            self._due[node] = server_round + 2 ** self._tries[node]
        return replace(
            roster,
            approved=tuple(sorted({*roster.approved, *found.approved})),
            refusals=dict(sorted({**roster.refusals, **found.refusals}.items())),
            silent=tuple(sorted({*roster.silent, *found.silent} - {*found.approved, *found.refusals, *found.ungated})),
            ungated=tuple(sorted({*roster.ungated, *found.ungated})),
            told={**roster.told, **found.told},
        )
