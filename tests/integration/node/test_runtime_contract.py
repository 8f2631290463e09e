"""What the gate relies on of Flower's Runtime API, at a real SuperNode that a real SuperLink sends messages to.

If one of these fails with a new Flower, `flame_fl.flower.runtime` has to be read again before its version is allowed.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, CreateTaskRequest, PushTaskOutputRequest

from flame_fl.contract.content import Content
from flame_fl.contract.errors import UnreachableError
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply
from flame_fl.flower import runtime as flower_runtime
from flame_fl.flower.runtime import Claim, ClaimLostError, NodeRuntime
from flame_fl.gate.workflow import STATUS_MESSAGE
from tests.integration.hub.lab import wait_for
from tests.integration.node.nodelab import InProcessGate, NodeLab, toy
from tests.integration.runs import refusals

pytestmark = pytest.mark.slow
CLAIM_SECONDS = 30.0  # Flower's own: a task that was claimed and not begun is offered again after so long


@pytest.fixture(scope="module")
def lab() -> Iterator[NodeLab]:
    """A hub that is up, and a SuperNode. The gate is the test's."""
    lab = NodeLab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.make_node()
        lab.up()
        lab.start_supernode()
        yield lab
    finally:
        lab.close()


@pytest.fixture
def runtime(lab: NodeLab) -> Iterator[NodeRuntime]:
    node = lab.opened
    runtime = NodeRuntime(node.config.supernode.address, node.files.secret.read_bytes())
    yield runtime
    while (left := runtime.acquire()) is not None:  # a test that failed must not hold up the next one
        with contextlib.suppress(ClaimLostError), left:
            left.pull()
            left.answer(Refusal(RefusalCode.NOT_APPROVED))
    runtime.close()


def claimed(runtime: NodeRuntime) -> Claim:
    claim: Claim = wait_for(runtime.acquire, "a message")
    return claim


def say_approved(runtime: NodeRuntime) -> None:
    """Answer what the hub asks before a run begins, as a gate that approved it."""
    with claimed(runtime) as claim:
        assert claim.pull().message_type == STATUS_MESSAGE
        said = {"status": "approved", "code": 0, "node": "DIZ-1"}
        claim.answer(Reply(Content(configs={"flame": said}), b""))


def test_a_message_comes_whole_and_its_answer_is_the_servers(
    lab: NodeLab, runtime: NodeRuntime, tmp_path: Path
) -> None:
    """Bundle, overrides and arrays as they were sent; a reply, then a refusal, as the ServerApp saw them."""
    run_id, folder = lab.submit(toy(tmp_path, 1), "-c", "rounds=2", "--out", tmp_path / "out")
    say_approved(runtime)
    with claimed(runtime) as claim:
        task = claim.pull()
        assert (task.run.run_id, task.message_type, task.group_id) == (run_id, "train", "")
        assert dict(task.run.overrides) == {"rounds": 2}
        assert task.content.arrays["arrays"]["x"].tolist() == [0.0] * 4
        assert b"pyproject.toml" in task.run.raw_fab
        assert claim.node_id > 0
        x = np.arange(4.0)
        content = Content({"arrays": {"x": x}}, {"metrics": {"num-examples": 3}})
        claim.answer(Reply(content, b""))
    with claimed(runtime) as claim:
        second = claim.pull()
        assert second.content.arrays["arrays"]["x"].tolist() == x.tolist()
        assert second.leg_id != task.leg_id
        claim.answer(Refusal(RefusalCode.BUDGET_EXHAUSTED))
    lab.run(tmp_path / "toy", "--resume", run_id, "--out", folder)
    first, last = lab.replies_of(folder)
    assert first["arrays"] == {"arrays/x": x.tolist()}
    assert (last["code"], last["reason"]) == (903, RefusalCode.BUDGET_EXHAUSTED.reason)


def test_other_kinds_of_task_are_never_taken(lab: NodeLab, runtime: NodeRuntime, tmp_path: Path) -> None:
    """Whoever holds a task token may create tasks (Flower lets it). They are there; the gate does not ask for them."""
    run_id, folder = lab.submit(toy(tmp_path, 2), "-c", "rounds=2", "--out", tmp_path / "out")
    say_approved(runtime)
    with claimed(runtime) as claim:
        task = claim.pull()
        for wanted in (
            CreateTaskRequest(type="flwr-connector", connector_ref="web_fetch"),
            CreateTaskRequest(type="flwr-agentapp", fab_hash=task.run.fab_sha256),
            CreateTaskRequest(type="flwr-model", model_ref="some/model"),
        ):
            assert claim._client.CreateTask(wanted).task_id
        assert runtime.acquire() is None  # three tasks wait, none is for us
        claim.answer(Refusal(RefusalCode.NOT_APPROVED))
    with claimed(runtime) as claim:
        assert claim.pull().message_type == "train"
        assert runtime.acquire() is None
        claim.answer(Refusal(RefusalCode.NOT_APPROVED))
    control = runtime._client.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-connector", "flwr-model"]))
    assert control.task.type in {"flwr-connector", "flwr-model"}  # the control: they do wait
    lab.run(tmp_path / "toy", "--resume", run_id, "--out", folder)
    assert [r["code"] for r in lab.replies_of(folder)] == [901, 901]


def test_an_expired_claim_is_dropped_and_the_message_comes_again(
    lab: NodeLab, runtime: NodeRuntime, tmp_path: Path
) -> None:
    """A gate that slept too long loses its claim, says so, and answers the same message under the next one."""
    run_id, folder = lab.submit(toy(tmp_path, 3), "-c", "rounds=1", "--out", tmp_path / "out")
    say_approved(runtime)
    lost = claimed(runtime)
    time.sleep(CLAIM_SECONDS + 2)
    with pytest.raises(ClaimLostError), lost:
        lost.pull()
    with claimed(runtime) as claim:
        assert claim.pull().run.run_id == run_id
        claim.answer(Refusal(RefusalCode.SANDBOX_FAILED))
    lab.run(tmp_path / "toy", "--resume", run_id, "--out", folder)
    assert [r["code"] for r in lab.replies_of(folder)] == [905]


def test_a_claim_that_is_over_takes_no_answer(lab: NodeLab, runtime: NodeRuntime, tmp_path: Path) -> None:
    """The task ended meanwhile: the answer is refused by the SuperNode, and that is all that happens."""
    _, _ = lab.submit(toy(tmp_path, 4), "-c", "rounds=1", "--out", tmp_path / "out")
    say_approved(runtime)
    with claimed(runtime) as claim:
        task = claim.pull()
        content = Content(dict(task.content.arrays), {"metrics": {"num-examples": 3}})
        claim.answer(Reply(content, b""))
        with pytest.raises(ClaimLostError, match="HTTP 401"):
            claim.answer(Reply(content, b""))


def test_a_stopped_run_does_not_hold_the_next_one_up(lab: NodeLab, tmp_path: Path) -> None:
    """Its message is answered into the void; the gate goes on with the next run."""
    app, other = toy(tmp_path / "a", 5), toy(tmp_path / "b", 6)
    lab.file(app), lab.file(other)
    with InProcessGate(lab.opened) as gate:
        gate.start()
        run_id, _ = lab.submit(app, "-c", "rounds=1 pause=6.0", "--out", tmp_path / "first")
        wait_for(lambda: lab.count(run_id, "batch", phase="begun") and "Received success" in lab.supernode_log(), "it")
        time.sleep(1.5)
        handle = json.loads((lab.home / "runs" / str(run_id) / "task.json").read_text())["handle"]
        os.killpg(handle["pid"], signal.SIGKILL)  # the ServerApp dies: its run is over
        done = lab.run(other, "-c", "rounds=1", "--out", tmp_path / "second")
        assert done.code == 0, done.err
        assert [r["arrays"].keys() for r in lab.replies_of(tmp_path / "second")] == [{"arrays/x"}]
        assert gate.thread.is_alive()


def test_a_wrong_secret_is_said_and_mended(lab: NodeLab, tmp_path: Path) -> None:
    """401: the gate waits and says why; when its SuperNode knows its secret it takes messages, in the same process."""
    secret = lab.opened.files.secret
    theirs = secret.read_bytes()
    with InProcessGate(lab.opened, secret=b"0" * 64) as gate:
        gate.start()
        wait_for(lambda: gate.said("waiting: The SuperNode refuses the gate (HTTP 401)."), "it to say so")
        assert gate.said("same secret")
        assert gate.thread.is_alive()
        lab.end_supernode()
        secret.write_bytes(b"0" * 64)
        lab.start_supernode()
        wait_for(lambda: gate.said("connected to the SuperNode"), "it to connect")
        done = lab.run(toy(tmp_path, 7), "-c", "rounds=1", "--out", tmp_path / "out")
        assert (done.code, refusals(tmp_path / "out")) == (4, {"DIZ-1": {902: 1}})
    lab.end_supernode()
    secret.write_bytes(theirs)
    lab.start_supernode()


DUMP = """
    import glob, pathlib, sys, urllib.request, urllib.error
    def read(path):
        try:
            return pathlib.Path(path).read_bytes()
        except OSError:
            return b""
    mine = [os.fsencode(repr(dict(os.environ))), os.fsencode(repr(sys.argv)), os.fsencode(repr(context))]
    mine += [read("/proc/self/environ"), read("/proc/self/cmdline"), os.fsencode(repr(message.metadata))]
    mine += [os.fsencode(repr({k: dict(v) for k, v in message.content.items()}))]
    mine += [read(p) for p in glob.glob(os.environ["HOME"] + "/**", recursive=True) if os.path.isfile(p)]
    mine += [read(p) for p in glob.glob("/proc/self/fd/*")  if os.path.isfile(p)]
    answers = []
    address = str(context.run_config["address"])
    for path, header in (("pull-task-input", "0" * 256), ("create-task", ""), ("push-task-output", "1" * 256),
                         ("acquire-task", "")):
        headers = {"content-type": "application/protobuf", "flwr-task-token": header}
        url = "http://" + address + "/v1/runtime/" + path
        try:
            with urllib.request.urlopen(urllib.request.Request(url, b"", headers), timeout=5) as answer:
                answers.append(answer.status)
        except urllib.error.HTTPError as err:
            answers.append(err.code)
    pathlib.Path(str(context.run_config["dump"])).write_bytes(b"\\n".join([repr(answers).encode(), *mine]))
"""


def test_the_task_token_is_not_in_the_sandbox_and_nothing_works_without_it(
    lab: NodeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in its environment, arguments, files, message or context; guessing is 401, claiming without the secret too.

    The sandbox here is a subprocess, which could reach the SuperNode: a container cannot (tests/security/docker).
    """
    tokens: list[str] = []
    make = Claim.__init__

    def noted(self: Claim, address: str, token: str, max_message_bytes: int) -> None:
        tokens.append(token)
        make(self, address, token, max_message_bytes)

    monkeypatch.setattr(flower_runtime.Claim, "__init__", noted)
    dump = tmp_path / "dump"
    address = lab.opened.config.supernode.address
    app = toy(
        tmp_path,
        8,
        ("pyproject.toml", 'misbehave = ""', f'address = "{address}"\ndump = "{dump}"\nmisbehave = ""'),
        ("toy/client_app.py", "    index = 0", f"{DUMP}\n    index = 0"),
    )
    lab.file(app)
    with InProcessGate(lab.opened) as gate:
        gate.start()
        done = lab.run(app, "-c", "rounds=1", "--out", tmp_path / "out")
        assert done.code == 0, done.err
        assert [sorted(r["arrays"]) for r in lab.replies_of(tmp_path / "out")] == [["arrays/x"]], gate.lines
    found = dump.read_bytes()
    assert found.splitlines()[0] == b"[401, 401, 401, 401]"
    assert b"FLWR_HOME" in found
    secret = lab.opened.files.secret.read_bytes()
    assert tokens
    assert len(tokens[0]) > 100
    assert not [token for token in tokens if token.encode() in found]
    assert secret not in found


def test_a_task_that_was_given_up_does_not_end_the_gate(lab: NodeLab, tmp_path: Path) -> None:
    """Its claim is lost in the middle of the work: the agent says that a message was dropped, and goes on."""
    app = toy(tmp_path / "a", 9)
    lab.file(app)
    with InProcessGate(lab.opened) as gate:
        handle = gate.gate.handle

        def taken_away(task):  # type: ignore[no-untyped-def]
            reply = handle(task)
            if task.message_type != STATUS_MESSAGE:
                current.append(task.leg_id)
            if len(current) == 1 and task.message_type != STATUS_MESSAGE:
                claims[-1]._client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.FAILED, details=""))
            return reply

        current: list[str] = []
        claims: list[Claim] = []
        acquire = gate.runtime.acquire

        def noted() -> Claim | None:
            claim = acquire()
            if claim is not None:
                claims.append(claim)
            return claim

        gate.runtime.acquire = noted  # type: ignore[method-assign]
        gate.gate.handle = taken_away  # type: ignore[method-assign]
        gate.start()
        run_id, _ = lab.submit(app, "-c", "rounds=1", "--out", tmp_path / "first")
        wait_for(lambda: gate.said("a message was dropped: The SuperNode refuses it (HTTP 401)"), "it to be dropped")
        assert gate.thread.is_alive()
        assert gate.store.leg(str(run_id), current[0]).state == "released"  # type: ignore[union-attr]
    lab.end_supernode()  # it waits for a reply to a task that was ended without one, and would hold up the next test
    lab.start_supernode()


def test_nobody_without_the_secret_takes_a_message(lab: NodeLab) -> None:
    """Neither with another one, nor with none at all."""
    node = lab.opened
    stranger = NodeRuntime(node.config.supernode.address, b"f" * 64)
    with pytest.raises(UnreachableError, match="HTTP 401"):
        stranger.acquire()
    stranger.close()
    url = f"http://{node.config.supernode.address}/v1/runtime/acquire-task"
    body = AcquireTaskRequest(supported_task_types=["flwr-clientapp"]).SerializeToString()
    assert httpx.post(url, content=body, headers={"content-type": "application/protobuf"}).status_code == 401
