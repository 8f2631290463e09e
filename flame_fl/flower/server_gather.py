"""Before a ServerApp begins: asks every connected node's gate, waits if its researcher wished so, decides who is in.

Runs in the ServerApp's own process and is trusted by no DIZ: a gate refuses whatever is not approved, whoever asks.
What is told (`EventLog`):

* `standing`: what a node said, when it says something new: `node`, `name`, `status` (a word of `server_roster`),
  `code`, and `flame`, the gate's own record;
* `gather`: `phase` waiting (`until`, `waiting_for`: ids, `ready`, `min_sites`), begun (`sites`: ids, `min_sites`), or
  ended (`why`, `ready`, `min_sites`).

Waiting is cheap: a node that has decided is asked once more at the most, one that has not with growing pauses.
"""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo

from flame_fl.contract.errors import FlameError
from flame_fl.contract.task import STATUS_MESSAGE
from flame_fl.flower.server_events import EventLog, gate_record
from flame_fl.flower.server_roster import Answer, End, Go, Hold, Standing, answer_of, decide, pause_seconds
from flame_fl.flower.server_wish import WaitLeft

_ANSWER_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 60.0
_WISH_SECONDS: Final = 5.0  # so long a run whose stewards have not decided is held, until its researcher's wish is here
_LOOK_SECONDS: Final = 15.0  # at least so often, for nodes that connect and for another wish
_STALE_SECONDS: Final = 120.0  # an approval that was told longer ago is asked for again before the run begins
_UNTIL_SLACK_SECONDS: Final = 30.0


class NotBegunError(FlameError):
    """Fewer DIZ than the terms demand have approved, and are connected."""


class Nodes(Protocol):
    """The part of a grid that is needed."""

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Nodes that are connected."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Ask, and wait."""


class Hub(Protocol):
    """The relay."""

    def wait_left(self) -> WaitLeft:
        """How much longer the run may wait."""

    def begin(self) -> None:
        """The run no longer waits."""


@dataclass
class Gathering:
    """One run's beginning.

    Args:
        grid: Tells nobody of what is sent over it.
        hub: Knows the wish.
        events: Told of what is new.
        min_sites: From the terms.
        takes_ungated: A node without a gate counts as one that approved.
        clock: Seconds.
        sleep: Waits so many seconds.
    """

    grid: Nodes
    hub: Hub
    events: EventLog
    min_sites: int
    takes_ungated: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _standings: dict[int, Standing] = field(default_factory=dict)
    _asked: dict[int, float] = field(default_factory=dict)
    _told: tuple[Any, ...] = ()

    def gather(self) -> tuple[int, ...]:
        """The nodes that the run begins with.

        Raises:
            NotBegunError: There are too few.
        """
        begun = self.clock()
        while True:
            connected = self._look()
            waited = self.clock() - begun
            self._ask([n for n in connected if self._is_due(n, waited)])
            waited = self.clock() - begun
            left = self.hub.wait_left()
            seconds = left.seconds_left if left.known else _WISH_SECONDS - waited
            if len(connected) < self.min_sites:
                seconds = max(seconds, _CONNECT_SECONDS - waited)
            found = decide(
                self._standings.values(),
                self.min_sites,
                seconds_left=seconds,
                min_only=left.min_only,
                takes_ungated=self.takes_ungated,
            )
            if isinstance(found, End):
                raise self._ended(found)
            if isinstance(found, Go):
                if stale := [n for n in found.sites if self.clock() - self._asked[n] > _STALE_SECONDS]:
                    self._ask(stale)
                    continue
                self.hub.begin()
                self._tell("begun", sites=[str(n) for n in found.sites])
                return found.sites
            if left.known and left.seconds_left > 0:
                self._tell_waiting(found, left.seconds_left)
            self.sleep(min(self._pause(waited, quick=not left.known or not found.waiting_for), max(seconds, 0.1)))

    def _look(self) -> Collection[int]:
        names = {node.node_id: node.name for node in self.grid.get_nodes()}
        for node_id, name in names.items():
            self._standings.setdefault(node_id, Standing(node_id, name, "silent"))
        self._standings = {
            node_id: replace(standing, connected=node_id in names) for node_id, standing in self._standings.items()
        }
        return names.keys()

    def _is_due(self, node_id: int, waited: float) -> bool:
        if node_id not in self._asked:
            return True
        return self._standings[node_id].is_open and self.clock() - self._asked[node_id] >= pause_seconds(waited)

    def _pause(self, waited: float, *, quick: bool) -> float:
        return 0.5 if quick and waited < _CONNECT_SECONDS else min(_LOOK_SECONDS, pause_seconds(waited))

    def _ask(self, nodes: Collection[int]) -> None:
        """Ask, and note the answers. An answer is good for no longer than it is waited for."""
        if not nodes:
            return
        questions = [
            Message(RecordDict(), message_type=STATUS_MESSAGE, dst_node_id=node, ttl=_ANSWER_SECONDS) for node in nodes
        ]
        answers = {
            reply.metadata.src_node_id: _answer(reply)
            for reply in self.grid.send_and_receive(questions, timeout=_ANSWER_SECONDS)
        }
        now = self.clock()
        for node in nodes:
            first, self._asked[node] = node not in self._asked, now
            answer, before = answers.get(node, Answer("silent")), self._standings[node]
            if answer.word == "silent" and before.word == "pending":
                continue  # it is busy, and had not decided
            self._standings[node] = replace(before, word=answer.word, code=answer.code)
            if first or (before.word, before.code) != (answer.word, answer.code):
                self.events.write(
                    "standing",
                    node=str(node),
                    name=before.name,
                    status=answer.word,
                    code=answer.code,
                    flame=dict(answer.record),
                )

    def _ready(self) -> int:
        good = {"approved", "ungated"} if self.takes_ungated else {"approved"}
        return sum(node.word in good and node.connected for node in self._standings.values())

    def _tell_waiting(self, hold: Hold, seconds: float) -> None:
        """When something is new; the time of its end moves a little with each look, and is new when it moves more."""
        new = (hold.waiting_for, self._ready(), self.clock() + seconds)
        if self._told and new[:2] == self._told[:2] and abs(self._told[2] - new[2]) < _UNTIL_SLACK_SECONDS:
            return
        self._told = new
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
        self._tell("waiting", until=until, waiting_for=[str(node) for node in hold.waiting_for])

    def _tell(self, phase: str, **fields: Any) -> None:
        self.events.write("gather", phase=phase, ready=self._ready(), min_sites=self.min_sites, **fields)

    def _ended(self, end: End) -> NotBegunError:
        self._tell("ended", why=end.why)
        nodes = self._standings.values()
        said = "; ".join(f"{node.name}: {node.word}" + (f" ({node.code})" if node.code else "") for node in nodes)
        return NotBegunError(
            f"{self._ready()} of the {self.min_sites} DIZ that this run needs approved, nothing was computed"
            f" ({said or 'none is connected'})."
        )


def _answer(reply: Message) -> Answer:
    if reply.has_error():
        return answer_of(error=reply.error.code, record=None)
    return answer_of(error=None, record=gate_record(reply.content))
