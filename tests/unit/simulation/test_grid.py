"""The in-process grid: what a ServerApp may rely on, with gates that do what a test tells them."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.flower.identity import FlowerRun, take_identity
from flame_fl.flower.metrics import mean_metrics
from flame_fl.gate.workflow import STATUS_MESSAGE, Event
from flame_fl.simulation.grid import LocalGrid
from flame_fl.simulation.tally import Tally

RUN_ID = 7
LONG = 60.0  # seconds until a test gives up; none waits so long unless something is broken


class FakeGate:
    """Answers with what `act` returns for a task; the number of the leg if there is none."""

    def __init__(self, name: str, act: Callable[[Task], Any] | None = None) -> None:
        self.node, self.tasks = name, []
        self._act = act or (lambda task: task.leg_id)

    def handle(self, task: Task) -> Any:
        self.tasks.append(task)
        said = self._act(task)
        return said if isinstance(said, Reply | Refusal) else replied(said)


class Crowd:
    """An `act` that counts how many are in it at once, and answers with the number of the leg."""

    def __init__(self) -> None:
        self._inside, self.most, self._lock = 0, 0, threading.Lock()

    def __call__(self, task: Task) -> str:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        threading.Event().wait(0.01)  # room for a second one to come in
        with self._lock:
            self._inside -= 1
        return task.leg_id


def replied(value: object) -> Reply:
    return Reply(Content(configs={"said": {"value": str(value)}}), b"")


def said(reply: Message) -> str:
    return str(reply.content["said"]["value"])


def message(node: int, kind: str = "train", content: RecordDict | None = None) -> Message:
    return Message(content or RecordDict({"m": MetricRecord({"n": 1})}), node, kind, group_id="1")


@pytest.fixture
def make_grid() -> Iterator[Callable[..., LocalGrid]]:
    """A grid of gates 1, 2, ...; every node may work at once."""
    take_identity(RUN_ID)
    grids: list[LocalGrid] = []

    def make(*acts: Callable[[Task], Any] | None, **options: Any) -> LocalGrid:
        gates = {i: FakeGate(f"DIZ-{i}", act) for i, act in enumerate(acts, start=1)}
        grid = LocalGrid(Run(RUN_ID, b""), FlowerRun.create_empty(RUN_ID), gates, len(acts), **options)
        grid.gates = gates
        grids.append(grid)
        return grid

    yield make
    for grid in grids:
        grid.close(cancel=True)


def test_replies_come_in_the_order_of_the_messages(make_grid) -> None:
    """The first node answers last, and its reply is first all the same."""
    others = threading.Barrier(3)
    late = threading.Event()

    def last(task: Task) -> str:
        assert late.wait(LONG)
        return "late"

    def quick(task: Task) -> str:
        others.wait(LONG)
        return "quick"

    grid = make_grid(last, quick, quick)
    waiter = threading.Thread(target=lambda: (others.wait(LONG), late.set()))
    waiter.start()
    replies = grid.send_and_receive([message(node) for node in (1, 2, 3)])
    waiter.join()
    assert [(r.metadata.src_node_id, said(r)) for r in replies] == [(1, "late"), (2, "quick"), (3, "quick")]


def test_nodes_work_at_the_same_time(make_grid) -> None:
    """Three nodes meet at a barrier that lets nobody through alone."""
    meeting = threading.Barrier(3)
    grid = make_grid(*[lambda task: meeting.wait(LONG)] * 3)
    assert len(list(grid.send_and_receive([message(node) for node in (1, 2, 3)]))) == 3


def test_no_more_nodes_work_at_once_than_there_are_workers(make_grid) -> None:
    """With one worker the nodes take turns."""
    act = Crowd()
    gates = {node: FakeGate(str(node), act) for node in range(1, 6)}
    grid = LocalGrid(Run(RUN_ID, b""), FlowerRun.create_empty(RUN_ID), gates, 1)
    grid.send_and_receive([message(node) for node in gates])
    grid.close()
    assert act.most == 1


def test_a_node_handles_one_message_at_a_time_in_the_order_sent(make_grid) -> None:
    """Ten messages to one node, with workers to spare, are handled one after the other."""
    act = Crowd()
    grid = make_grid(act, None, None, None)
    replies = list(grid.send_and_receive([message(1) for _ in range(10)]))
    assert act.most == 1
    assert [task.leg_id for task in grid.gates[1].tasks] == [str(n) for n in range(1, 11)]
    assert [said(r) for r in replies] == [str(n) for n in range(1, 11)]


def test_a_busy_node_keeps_no_other_waiting(make_grid) -> None:
    """Two messages for one node occupy one worker, so that another node can answer meanwhile."""
    free = threading.Event()
    grid = make_grid(lambda task: free.wait(LONG), None)
    first, second, other = grid.push_messages([message(1), message(1), message(2)])
    while not (replies := list(grid.pull_messages([other]))):
        free.wait(0.001)
    assert not list(grid.pull_messages([first, second]))
    free.set()
    assert said(replies[0]) == "1"


def test_legs_are_numbered_by_node(make_grid) -> None:
    """A leg's id does not depend on what other nodes were sent: a restarted server asks for the same ones."""
    grid = make_grid(None, None)
    grid.send_and_receive([message(1), message(2)])
    grid.send_and_receive([message(2)])
    grid.send_and_receive([message(1), message(2)])
    assert [t.leg_id for t in grid.gates[1].tasks] == ["1", "2"]
    assert [t.leg_id for t in grid.gates[2].tasks] == ["1", "2", "3"]


def test_a_task_says_what_the_message_says(make_grid) -> None:
    """Run, type, group and content reach the gate."""
    grid = make_grid(None)
    records = RecordDict({"a": ArrayRecord({"x": Array(np.arange(3.0))}), "c": ConfigRecord({"word": "a"})})
    grid.send_and_receive([Message(records, 1, "query.count", group_id="9")])
    (task,) = grid.gates[1].tasks
    assert (task.run.run_id, task.message_type, task.group_id) == (RUN_ID, "query.count", "9")
    assert task.content.arrays["a"]["x"].tolist() == [0, 1, 2]
    assert task.content.configs == {"c": {"word": "a"}}


def test_an_unknown_node_is_flowers_error_5(make_grid) -> None:
    """As from a SuperLink: an answer with a code, beside those of the nodes that are there."""
    grid = make_grid(None)
    unknown, known = grid.send_and_receive([message(99), message(1)])
    assert (unknown.error.code, unknown.metadata.src_node_id) == (5, 99)
    assert known.has_content()


def test_two_messages_to_an_unknown_node_are_two_errors(make_grid) -> None:
    """Each message has an answer of its own."""
    replies = list(make_grid(None).send_and_receive([message(99), message(99)]))
    assert [reply.error.code for reply in replies] == [5, 5]


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_refusal_is_an_error_with_the_fixed_text(make_grid, code: RefusalCode) -> None:
    """The code and its reason, and no content."""
    (reply,) = make_grid(lambda task: Refusal(code)).send_and_receive([message(1)])
    assert (reply.error.code, reply.error.reason) == (int(code), code.reason)
    assert not reply.has_content()


def test_a_reply_answers_its_message(make_grid) -> None:
    """Sender, receiver, type and group are the message's, so that strategies can match them."""
    sent = message(1, "query.count")
    (reply,) = make_grid(None).send_and_receive([sent])
    assert reply.metadata.reply_to_message_id == sent.metadata.message_id
    assert (reply.metadata.src_node_id, reply.metadata.message_type, reply.metadata.group_id) == (1, "query.count", "1")


def test_late_replies_are_left_out(make_grid) -> None:
    """After the timeout only what is there comes back."""
    free = threading.Event()
    grid = make_grid(lambda task: free.wait(LONG), None)
    replies = list(grid.send_and_receive([message(1), message(2)], timeout=1.0))
    free.set()
    assert [reply.metadata.src_node_id for reply in replies] == [2]


def test_a_late_reply_can_be_pulled_afterwards(make_grid) -> None:
    """It is not lost: its message id still stands for it."""
    free = threading.Event()
    grid = make_grid(lambda task: free.wait(LONG))
    sent = message(1)
    assert list(grid.send_and_receive([sent], timeout=0.05)) == []
    free.set()
    while not (replies := list(grid.pull_messages([sent.metadata.message_id]))):
        threading.Event().wait(0.001)
    assert [reply.metadata.src_node_id for reply in replies] == [1]


def test_no_messages_are_no_replies(make_grid) -> None:
    """A strategy that asks nobody hears nothing, at once."""
    assert list(make_grid(None).send_and_receive([])) == []


def test_the_server_may_change_what_it_sent(make_grid) -> None:
    """A gate works on a copy: arrays and records that the server changes afterwards reach nobody."""
    begin, seen = threading.Event(), []

    def act(task: Task) -> str:
        assert begin.wait(LONG)
        seen.append((task.content.arrays["a"]["x"].tolist(), dict(task.content.configs["c"])))
        return ""

    grid = make_grid(act)
    x = np.arange(3.0)
    records = RecordDict({"a": ArrayRecord({"x": Array(x)}), "c": ConfigRecord({"n": 1})})
    ids = list(grid.push_messages([message(1, content=records)]))
    x[:] = -1
    records["a"]["x"] = Array(x)
    records["c"]["n"] = 2
    begin.set()
    while not list(grid.pull_messages(ids)):
        begin.wait(0.001)
    assert seen == [([0, 1, 2], {"n": 1})]


def test_the_server_may_change_what_it_got(make_grid) -> None:
    """What the gate holds of a reply stays as it was stored."""
    content = Content({"a": {"x": np.arange(3.0)}}, {"m": {"n": 1}}, {"c": {"n": 1}})
    (reply,) = make_grid(lambda task: Reply(content, b"")).send_and_receive([message(1)])
    reply.content["a"]["x"].numpy()[:] = -1
    reply.content["m"]["n"] = 2
    reply.content["c"]["n"] = 2
    assert content.arrays["a"]["x"].tolist() == [0, 1, 2]
    assert (content.metrics, content.configs) == ({"m": {"n": 1}}, {"c": {"n": 1}})


@pytest.mark.parametrize("kind", ["metrics", "configs"])
def test_a_list_that_the_server_got_is_its_own(make_grid, kind: str) -> None:
    """Appending to a list in a reply changes nothing at the gate."""
    content = Content(**{kind: {"r": {"list": [1, 2]}}})
    (reply,) = make_grid(lambda task: Reply(content, b"")).send_and_receive([message(1)])
    reply.content["r"]["list"].append(3)
    assert getattr(content, kind)["r"]["list"] == [1, 2]


@pytest.mark.parametrize(
    "record",
    [
        MetricRecord({"list": [1, 2]}),
        pytest.param(ConfigRecord({"list": [1, 2]})),
    ],
    ids=["metrics", "configs"],
)
def test_a_list_that_the_server_sent_is_sent_as_it_was(make_grid, record: MetricRecord | ConfigRecord) -> None:
    """Appending to it while the message waits for its node changes nothing of the message."""
    begin, seen = threading.Event(), []

    def act(task: Task) -> str:
        assert begin.wait(LONG)
        seen.append([*task.content.metrics.values(), *task.content.configs.values()])
        return ""

    grid = make_grid(act)
    grid.push_messages([message(1, content=RecordDict({"r": record}))])
    record["list"].append(3)
    begin.set()
    grid.close()
    assert seen == [[{"list": [1, 2]}]]


def test_one_node_cannot_change_what_another_is_sent(make_grid) -> None:
    """The same content sent to two nodes reaches each as a copy of its own, or as one that nobody can write to."""
    grid = make_grid(None, None)
    records = RecordDict({"a": ArrayRecord({"x": Array(np.arange(3.0))})})
    grid.send_and_receive([message(1, content=records), message(2, content=records)])
    first, second = (grid.gates[node].tasks[0].content.arrays["a"]["x"] for node in (1, 2))
    assert not np.shares_memory(first, second) or not (first.flags.writeable or second.flags.writeable)


def test_a_reply_is_pulled_once(make_grid) -> None:
    """The second pull gives nothing."""
    grid = make_grid(None)
    ids = list(grid.push_messages([message(1)]))
    while not (replies := list(grid.pull_messages(ids))):
        threading.Event().wait(0.001)
    assert len(replies) == 1
    assert list(grid.pull_messages(ids)) == []


def test_pulling_an_unknown_id_gives_nothing(make_grid) -> None:
    """As with a SuperLink."""
    assert list(make_grid(None).pull_messages(["no-such-id"])) == []


def test_an_id_asked_for_twice_gives_its_reply_once(make_grid) -> None:
    """Each reply is given once, however often its id is in the list."""
    grid = make_grid(None)
    sent = message(1)
    assert len(list(grid.send_and_receive([sent]))) == 1
    ids = list(grid.push_messages([message(1)]))
    grid.close()  # waits for the node
    assert len(list(grid.pull_messages(ids * 2))) == 1


def test_messages_of_one_push_are_pulled_one_by_one(make_grid) -> None:
    """An id stands for its own reply and no other."""
    grid = make_grid(None, None)
    ids = list(grid.push_messages([message(1), message(2)]))
    assert len(set(ids)) == 2
    grid.close()  # waits for the nodes
    assert [[r.metadata.src_node_id for r in grid.pull_messages([i])] for i in reversed(ids)] == [[2], [1]]


def test_all_nodes_are_offered_with_their_names(make_grid) -> None:
    """Approved or not: asking is what the gates are for."""
    grid = make_grid(None, None)
    assert list(grid.get_node_ids()) == [1, 2]
    assert [(info.node_id, info.name) for info in grid.get_nodes()] == [(1, "DIZ-1"), (2, "DIZ-2")]


def test_a_bug_of_a_gate_reaches_who_pulls(make_grid) -> None:
    """It is raised, not swallowed: a simulation ends instead of going on with a node less."""

    def broken(task: Task) -> Reply:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_grid(broken).send_and_receive([message(1)])


def test_a_node_whose_gate_raised_takes_the_next_message(make_grid) -> None:
    """One message's end starts the next, however it ended."""
    grid = make_grid(lambda task: replied("") if task.leg_id == "2" else 1 / 0)
    first, second = grid.push_messages([message(1), message(1)])
    while not (replies := list(grid.pull_messages([second]))):
        threading.Event().wait(0.001)
    assert said(replies[0]) == ""
    with pytest.raises(ZeroDivisionError):
        grid.pull_messages([first])


def test_closing_with_cancel_drops_what_has_not_begun(make_grid) -> None:
    """The message in progress is finished, the next one never begins."""
    begun, free = threading.Event(), threading.Event()

    def act(task: Task) -> str:
        begun.set()
        assert free.wait(LONG)
        return ""

    grid = make_grid(act)
    grid.push_messages([message(1), message(1)])
    assert begun.wait(LONG)
    closing = threading.Thread(target=lambda: grid.close(cancel=True))
    closing.start()
    while not grid._pool._shutdown:
        threading.Event().wait(0.001)
    free.set()
    closing.join()
    assert [task.leg_id for task in grid.gates[1].tasks] == ["1"]


def test_a_batch_is_told_from_its_start_to_its_end(make_grid) -> None:
    """A watcher hears of the start with none done, and of the end with all of them and their mean metrics."""
    told: list[tuple[Any, ...]] = []
    content = Content(metrics={"m": {"loss": 2.0}})
    grid = make_grid(*[lambda task: Reply(content, b"")] * 2, on_batch=lambda *said: told.append(said))
    grid.send_and_receive([message(1), message(2)])
    assert told[0][:3] == ("train", 0, 2)
    assert told[-1] == ("train", 2, 2, {"loss": 2.0})


def test_a_batch_is_told_before_any_node_begins(make_grid) -> None:
    """Or what a quick node does is counted with the batch before, or not at all."""
    order: list[str] = []
    handled = threading.Event()

    class Patient(RecordDict):
        """The second message: it is read when the first node is done, as on a busy machine."""

        def items(self) -> Any:
            assert handled.wait(LONG)
            return super().items()

    def act(task: Task) -> str:
        order.append("node")
        handled.set()
        return ""

    grid = make_grid(act, None, on_batch=lambda kind, done, total, metrics: order.append("batch"))
    grid.send_and_receive([message(1), message(2, content=Patient({"m": MetricRecord({"n": 1})}))])
    assert order[0] == "batch"


def test_one_exchange_is_one_batch(make_grid) -> None:
    """The report counts an exchange once, with everybody's reply."""
    tally = Tally()
    grid = make_grid(None, None, on_batch=tally.batch)
    grid.send_and_receive([message(1), message(2)])
    grid.send_and_receive([message(2)])
    assert [batch.index for batch in tally.batches] == [1, 2]


def test_an_exchange_that_nobody_answers_in_time_is_one_batch(make_grid) -> None:
    """The report does not show a second, empty round for it."""
    tally, free = Tally(), threading.Event()
    grid = make_grid(lambda task: free.wait(LONG), on_batch=tally.batch)
    grid.send_and_receive([message(1)], timeout=0.05)
    free.set()
    assert len(tally.batches) == 1


def test_status_questions_are_no_batch(make_grid) -> None:
    """What the gate answers itself is no round."""
    tally = Tally()
    grid = make_grid(None, on_batch=tally.batch)
    grid.send_and_receive([message(1, STATUS_MESSAGE)])
    assert tally.batches == []


def test_pushed_batches_are_told_too(make_grid) -> None:
    """A ServerApp that pushes and pulls itself is reported as one that sends and receives."""
    tally = Tally()
    grid = make_grid(None, None, on_batch=tally.batch)
    ids = list(grid.push_messages([message(1), message(2)]))
    grid.close()
    list(grid.pull_messages(ids))
    assert [(b.index, b.message_type) for b in tally.batches] == [(1, "train")]


def replies_with(*records: dict[str, dict[str, Any]]) -> list[Message]:
    take_identity(RUN_ID)
    sent = Message(RecordDict(), 1, "train")
    return [
        Message(RecordDict({name: MetricRecord(values) for name, values in each.items()}), reply_to=sent)
        for each in records
    ]


def test_mean_metrics_are_plain_means_over_those_that_sent_one() -> None:
    """A node without the metric does not count, lists are left out, and records are looked through."""
    replies = replies_with({"a": {"loss": 1.0, "n": 3}}, {"b": {"loss": 4.0, "list": [1.0, 2.0]}}, {"a": {"n": 5}})
    assert mean_metrics(replies) == {"loss": 2.5, "n": 4.0}


def test_mean_metrics_pass_over_refusals() -> None:
    """An error has no metrics."""
    (reply,) = replies_with({"a": {"loss": 1.0}})
    refusal = Message(Error(905, "fixed"), reply_to=Message(RecordDict(), 1, "train"))
    assert mean_metrics([refusal, reply]) == {"loss": 1.0}
    assert mean_metrics([refusal]) == {}


def test_a_quick_nodes_release_is_counted_with_its_batch(make_grid) -> None:
    """What a gate tells the tally lands in the batch whose message it answered."""
    tally = Tally()

    def act(task: Task) -> str:
        tally.event(Event("DIZ-1", "released", RUN_ID, task.leg_id, "train", bytes_out=8))
        return ""

    grid = make_grid(act, on_batch=tally.batch)
    for _ in range(3):
        ids = list(grid.push_messages([message(1)]))
        while not list(grid.pull_messages(ids)):
            threading.Event().wait(0.001)
    assert [batch.replied for batch in tally.batches] == [1, 1, 1]
