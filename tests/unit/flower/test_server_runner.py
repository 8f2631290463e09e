"""What runs in a hub's container, with a relay that a test plays."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import context_to_proto, run_to_proto
from flwr.proto.fab_pb2 import Fab
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import GetNodesResponse, PullTaskInputResponse
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from flame_fl.contract.fab import read_fab
from flame_fl.flower.bundle import build_fab
from flame_fl.flower.server_client import RunOverError
from flame_fl.flower.server_events import EventLog
from flame_fl.flower.server_grid import RelayGrid
from flame_fl.flower.server_runner import _run
from flame_fl.flower.server_wish import WaitLeft
from flame_fl.simulation.server import forget_app
from tests.unit.flower.folders import PYPROJECT, write_app

RUN = 2**63 + 5
NO_TERMS = {**PYPROJECT, "tool": {"flwr": PYPROJECT["tool"]["flwr"]}}
HEAD = """
import json, os, random, sys
from pathlib import Path
from flwr.serverapp import ServerApp
from flwr.supercore.task_identity import TaskIdentity
app = ServerApp()
@app.main()
def main(grid, context):
    out = Path(os.environ["FLAME_OUT"])
"""


class Relay:
    """Gives one run, and notes what it is told."""

    def __init__(self, raw_fab: bytes, **overrides: Any) -> None:
        self.run = Run.create_empty(RUN)
        self.run.override_config = dict(overrides)
        self.run.fab_hash = read_fab(raw_fab).sha256
        self.raw_fab, self.outputs, self.artefacts, self.lines = raw_fab, [], {}, b""
        self.refused: set[str] = set()
        self.checkpoint: dict[str, bytes] = {}
        self.over = False
        self.begun = 0
        self.nodes = {7: "DIZ-1", 8: "DIZ-2"}
        self.stand = {7: ("approved", 0), 8: ("approved", 0)}

    def GetNodes(self, request: Any) -> Any:
        return GetNodesResponse(nodes=[NodeInfo(node_id=i, name=n) for i, n in self.nodes.items()])

    def wait_left(self) -> WaitLeft:
        return WaitLeft(known=True)

    def begin(self) -> None:
        self.begun += 1

    def PullTaskInput(self, request: Any) -> Any:
        context = Context(RUN, 1, {}, RecordDict(), {})
        fab = Fab(hash_str=self.run.fab_hash, content=self.raw_fab)
        return PullTaskInputResponse(context=context_to_proto(context), run=run_to_proto(self.run), fab=fab, task_id=77)

    def PushTaskOutput(self, request: Any) -> Any:
        if self.over:
            raise RunOverError
        self.outputs.append((request.sub_status, request.details))

    def PushLogs(self, request: Any) -> Any:
        return None

    def send_events(self, lines: bytes) -> None:
        self.lines += lines

    def send_artefact(self, name: str, path: Path) -> None:
        if name in self.refused:
            raise httpx.HTTPError("413")
        self.artefacts[name] = path.read_bytes()

    def send_checkpoint(self, name: str, path: Path) -> None:
        self.checkpoint[name] = path.read_bytes()

    def checkpoint_files(self) -> list[str]:
        return sorted(self.checkpoint)

    def fetch_checkpoint(self, name: str, target: Path) -> None:
        target.write_bytes(self.checkpoint[name])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.splitlines()]


def gates(relay: Relay, asked: list[Message]) -> list[Message]:
    """What the nodes' gates say."""
    replies = []
    for message in asked:
        assert message.metadata.message_type == "query.flame_status"
        message.metadata.__dict__["_message_id"] = "x"
        status, code = relay.stand[message.metadata.dst_node_id]
        content = RecordDict({"flame": ConfigRecord({"status": status, "code": code, "by": "eve"})})
        replies.append(Message(content, reply_to=message))
    return replies


Serve = Callable[..., tuple[int, Relay]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch) -> Iterator[Serve]:
    """Runs a ServerApp whose main function has this body."""
    before = [getattr(TaskIdentity, field) for field in ("_task_id", "_run_id", "_node_id")]
    states = random.getstate(), np.random.get_state()  # noqa: NPY002

    def go(body: str, prepare: Callable[[Relay], None] = lambda relay: None, **overrides: Any) -> tuple[int, Relay]:
        text = HEAD + "".join(f"    {line}\n" for line in body.splitlines())
        files = {"small_app/server_app.py": text}
        relay = Relay(build_fab(write_app(tmp_path / "small-app", files, pyproject=NO_TERMS)), **overrides)
        prepare(relay)
        monkeypatch.setattr(RelayGrid, "send_and_receive", lambda grid, asked, timeout: gates(relay, asked))
        folders = tmp_path / "out", tmp_path / "checkpoint"
        return _run(relay, EventLog(relay.send_events), Queue(), *folders), relay  # type: ignore[arg-type]

    yield go
    for path in [p for p in sys.path if "flame-app-" in p]:
        forget_app(Path(path))
    for field, value in zip(("_task_id", "_run_id", "_node_id"), before, strict=True):
        setattr(TaskIdentity, field, value)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def test_a_serverapp_runs_as_in_a_simulation(serve: Serve) -> None:
    """Its configuration with the run's overrides, a seed, its own identity, a place to write."""
    code, relay = serve(
        "said = [context.run_id, context.run_config, random.random(), TaskIdentity.task_id]\n"
        "(out / 'said.json').write_text(json.dumps(said))",
        rounds=9,
    )
    assert (code, relay.outputs) == (0, [("completed", "")])
    run_id, config, drawn, task_id = json.loads(relay.artefacts["said.json"])
    random.seed(1)
    assert (run_id, config["rounds"], drawn, task_id) == (RUN, 9, random.random(), 77)
    begun, *_, ended = relay.events
    assert (begun["phase"], begun["seed"], begun["run_config"]["rounds"]) == ("begun", 1, 9)
    assert begun["fab_sha256"] == relay.run.fab_hash
    assert (ended["phase"], ended["status"]) == ("ended", "completed")
    assert "FLAME_OUT" not in os.environ


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck"),
        ("sys.exit(3)", "sys.exit(3)"),
        ("import there_is_no_such_module", "No module named"),
    ],
)
def test_one_that_fails_says_why(serve: Serve, body: str, said: str) -> None:
    """It is the researcher's own code on the hub; what it had written by then is kept."""
    code, relay = serve("(out / 'half').write_text('x')\n" + body)
    assert code == 1
    ((status, details),) = relay.outputs
    assert status == "failed"
    assert said in details
    assert "--debug" not in details
    assert relay.artefacts == {"half": b"x"}
    assert relay.events[-1]["details"] == details


def test_it_begins_with_those_that_approved(serve: Serve) -> None:
    """The app is shown no other node; who was left out is told."""

    def one(relay: Relay) -> None:
        relay.stand[7] = ("pending", 902)

    code, relay = serve("(out / 'nodes').write_text(str(list(grid.get_node_ids())))", one)
    assert (code, relay.begun, relay.artefacts) == (0, 1, {"nodes": b"[8]"})
    told = [event for event in relay.events if event["kind"] == "standing"]
    assert [(e["node"], e["name"], e["status"], e["code"]) for e in told] == [
        ("7", "DIZ-1", "pending", 902),
        ("8", "DIZ-2", "approved", 0),
    ]
    assert told[1]["flame"]["by"] == "eve"
    (gathered,) = [event for event in relay.events if event["kind"] == "gather"]
    assert (gathered["phase"], gathered["sites"], gathered["ready"]) == ("begun", ["8"], 1)


def test_it_does_not_begin_with_nobody(serve: Serve) -> None:
    """The researcher's code is not even imported; the run has failed, and says who has not decided."""

    def none(relay: Relay) -> None:
        relay.stand = {7: ("pending", 902), 8: ("rejected", 901)}

    code, relay = serve("(out / 'ran').write_text('x')", none)
    assert (code, relay.begun, relay.artefacts) == (1, 0, {})
    ((status, details),) = relay.outputs
    assert status == "failed"
    assert "DIZ-1: pending (902); DIZ-2: refused (901)" in details
    assert relay.events[-2]["why"] == "pending"


def test_another_bundle_than_the_run_s_is_not_run(serve: Serve) -> None:
    """Its bytes are hashed here."""

    def swap(relay: Relay) -> None:
        relay.run.fab_hash = "0" * 64

    code, relay = serve("(out / 'ran').write_text('x')", swap)
    assert code == 1
    assert "not the one that the run names" in relay.outputs[0][1]
    assert relay.artefacts == {}


def test_hidden_files_and_links_stay(serve: Serve, tmp_path: Path) -> None:
    """Only plain files are handed over."""
    (tmp_path / "secret").write_text("x")
    _, relay = serve(
        "(out / 'plots').mkdir()\n(out / 'plots' / 'a').write_text('a')\n(out / '.b').write_text('b')\n"
        f"os.symlink({str(tmp_path / 'secret')!r}, out / 'c')\nos.mkfifo(out / 'd')"
    )
    assert relay.artefacts == {"plots/a": b"a"}


def test_what_the_hub_does_not_keep_is_told(serve: Serve) -> None:
    """The run has finished all the same."""

    def refuse(relay: Relay) -> None:
        relay.refused.add("large")

    code, relay = serve("(out / 'large').write_text('x')\n(out / 'small').write_text('y')", refuse)
    assert code == 0
    assert relay.outputs == [("completed", "Not kept, beyond the hub's limits: large")]
    assert set(relay.artefacts) == {"small"}


def test_a_hub_that_has_the_output_already_is_no_failure(serve: Serve) -> None:
    """Its first answer was lost."""

    def over(relay: Relay) -> None:
        relay.over = True

    assert serve("pass", over)[0] == 0


def test_what_a_process_before_it_left_is_there_again(serve: Serve) -> None:
    """With the nodes that the run began with: nobody is gathered anew, and no gate is asked."""

    def before(relay: Relay) -> None:
        relay.checkpoint = {"begun.json": b'{"sites": ["8"]}', "1/odd/state.json": b"{}", "../x": b"no"}
        relay.stand = {}

    code, relay = serve(
        "kept = Path(os.environ['FLAME_CHECKPOINT'])\n"
        "said = [sorted(map(str, (p.relative_to(kept) for p in kept.rglob('*.json')))), list(grid.get_node_ids())]\n"
        "(out / 'said.json').write_text(json.dumps(said))",
        before,
    )
    assert code == 0
    assert json.loads(relay.artefacts["said.json"]) == [["1/odd/state.json", "begun.json"], [8]]
    assert not [event for event in relay.events if event["kind"] in {"gather", "standing"}]
    assert "FLAME_CHECKPOINT" not in os.environ


def test_what_a_failed_run_had_is_handed_over(serve: Serve) -> None:
    """The model of its last complete round; of a run that finished there is nothing to go on from."""
    body = (
        "slot = Path(os.environ['FLAME_CHECKPOINT']) / '1' / 'odd'\nslot.mkdir(parents=True)\n"
        "(slot / 'state.json').write_text('{}')\n"
    )
    _, relay = serve(body)
    assert relay.artefacts == {}
    _, relay = serve(body.replace("1", "2") + "raise ValueError('no')")
    assert set(relay.artefacts) == {"checkpoint/1/odd/state.json", "checkpoint/2/odd/state.json"}


def test_it_is_told_a_socket_and_its_folders_and_no_more() -> None:
    """No token, no address: there is nowhere to give one."""
    done = subprocess.run(
        [sys.executable, "-m", "flame_fl.flower.server_runner", "--help"], capture_output=True, text=True, check=True
    )
    words = done.stdout.replace("[", " ").split()
    assert {word for word in words if word.startswith("--")} == {"--socket", "--out", "--checkpoint", "--help"}
