"""Carrying a patient's name out through a real gate, from a real container: by everything that is in an answer.

One approved analysis, one warm container; each attack is a message of its own. The attacker reads the name from the
data store, so that only the gate stands between. Nothing of it may be in what leaves; the log of the app, which stays
at the node, may hold it.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply
from flame_fl.sandbox.docker import DockerSandbox, Images
from tests.security.docker.kit import FORGE, MANY_BYTES, MEMORY, SECRET, attack, hostile_fab, order
from tests.support.gates import ENFORCED, TRAIN, FakeOffer, FakeOffers, World, make_fab, terms_table, zip_of

pytestmark = pytest.mark.docker

RESOURCES = {"memory_bytes": MEMORY, "scratch_bytes": 32_000_000, "seconds": 30.0, "cpus": 1.0, "pids": 64}
MESSAGES = {"train": TRAIN | {"per_run": 1000, "max_bytes": MANY_BYTES}}
# so many answers of one analysis are more numbers than patients: that is not what these attacks are about
MANY = {"max_numbers_per_patient_in_total": 1000.0, "exemption": "Many attacks on a hundred made-up patients."}
FAB = hostile_fab(terms_table(messages=MESSAGES, resources=RESOURCES, limits={"runs": 100}, disclosure=MANY))
CLAIMED = hostile_fab(
    terms_table(messages=MESSAGES, resources=RESOURCES, limits={"runs": 100}, privacy=ENFORCED | {"epsilon_max": 1e5})
)
READ = """
secret = open("/data/cohort/patients.txt").read()
print("read", secret)
def arrays(**changes):
    return honest(arrays={"w": np.zeros(4), "b": np.zeros(1, np.float32)} | changes)
def metrics(**changes):
    return honest(metrics={"num-examples": 50, "loss": 1.0} | changes)
"""
REFUSED = {RefusalCode.RELEASE_REJECTED, RefusalCode.SANDBOX_FAILED}
_legs = itertools.count(1)


@pytest.fixture(scope="module")
def diz(sandbox: DockerSandbox, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A DIZ with a container sandbox, where both analyses are approved."""
    world: Any = World(tmp_path_factory.mktemp("diz"), sandbox=sandbox, data=FakeOffers(cohort=FakeOffer(cohort)))
    world.decide(FAB)
    world.decide(CLAIMED)
    yield world
    world.gate.stop()
    world.store.close()


def ask(diz: World, source: str, fab: bytes = FAB, run_id: int = 7) -> Reply | Refusal:
    return diz.ask(fab, order(READ + source), leg=str(next(_legs)), run_id=run_id)


def log_of(diz: World, run_id: int = 7) -> str:
    return (diz.folder / f"DIZ-1-{run_id}.log").read_text(errors="replace")


def refused(diz: World, source: str) -> Refusal:
    """The refusal, after it was seen that the attack had the name, and that the analysis goes on."""
    answer = ask(diz, source)
    assert isinstance(answer, Refusal), answer
    assert answer.code in REFUSED
    assert answer.reason == answer.code.reason
    assert isinstance(ask(diz, "answer = honest()"), Reply)  # and takes what the app printed to the log
    assert f"read {SECRET}" in log_of(diz), "the control: the app did read it"
    return answer


def test_an_honest_answer_leaves(diz: World) -> None:
    """The control of all that follows: the same app, the same way."""
    answer = ask(diz, "answer = honest()")
    assert isinstance(answer, Reply), diz.detail
    assert answer.content.metrics["metrics"] == {"num-examples": 50, "loss": 2.5}


IN_AN_ANSWER = {
    "the value of a metric": "answer = metrics(loss=float(int.from_bytes(secret.encode(), 'big')))",
    "a count": "answer = metrics(**{'num-examples': -19570312})",
    "a list of numbers as a metric": "answer = metrics(loss=[float(c) for c in secret.encode()])",
    "the name of a metric": "answer = metrics(**{secret: 1})",
    "the name of an array": "answer = honest(arrays={secret: np.zeros(4), 'b': np.zeros(1, np.float32)})",
    "an extra array": "answer = arrays(x=np.frombuffer(secret.encode(), np.uint8))",
    "the name of a record": "answer = honest(**{secret: MetricRecord({'x': 1})})",
    "a config record": "answer = honest(config=ConfigRecord({'patient': secret, 'raw': secret.encode()}))",
    "the gate's own record": "answer = honest(flame=ConfigRecord({'node': secret}))",
    "an array larger than the contract": "answer = arrays(w=np.zeros(5))",
    "an array of another shape": "answer = arrays(w=np.zeros((2, 2)))",
    "an array of another dtype": "answer = arrays(w=np.zeros(4, np.int64))",
    "an array of objects, pickled": "answer = arrays(w=np.array([secret, None, 1, 2], object))",
    "an array of strings": "answer = arrays(w=np.array([secret] * 4))",
    "an array that says it is another": """
import pickle
answer = honest()
answer.content["arrays"]["w"] = Array(dtype="float64", shape=(4,), stype="pickle", data=pickle.dumps(secret))
""",
    "an array with bytes behind it": """
answer = honest()
w = answer.content["arrays"]["w"]
answer.content["arrays"]["w"] = Array(dtype=w.dtype, shape=w.shape, stype=w.stype, data=w.data + secret.encode())
""",
    "NaN with the name in its bits": """
answer = arrays(w=np.frombuffer(secret.encode()[:6] + bytes([248, 127, *[0] * 24])))
""",
    "infinity": "answer = arrays(w=np.array([np.inf, 0, 0, 0]))",
    "NaN as a metric": "answer = metrics(loss=float('nan'))",
    "an answer of 100 MB": "answer = arrays(w=np.zeros(12_500_000))",
    "the text of an exception": "raise ValueError(secret)",
    "the name of an exception's class": "raise type(secret, (Exception,), {})()",
    "the text of SystemExit": "sys.exit(secret)",
    "Flower's error reply": "answer = Message(Error(1, secret), reply_to=message)",
    "something that is no message": "answer = secret",
    "nothing": "answer = 0",
}


@attack(
    "carry a patient's name out of an approved analysis, in: " + "; ".join(IN_AN_ANSWER),
    "the release contract lists what may leave; anything else is 904 or 905 with the code's fixed text. What the app "
    "printed, and its exceptions' texts, are in the node's own log",
)
@pytest.mark.parametrize("way", IN_AN_ANSWER)
def test_a_secret_in_an_answer(diz: World, way: str) -> None:
    answer = refused(diz, IN_AN_ANSWER[way])
    assert SECRET not in repr(answer)


@attack(
    "the same under an enforced claim, where a refusal would tell that something was found",
    "the answer has the contract's shape, is clipped and noised, and holds nothing of what was sent",
)
@pytest.mark.parametrize("way", ["a config record", "the text of an exception", "an extra array", "infinity"])
def test_a_secret_under_an_enforced_claim(diz: World, way: str) -> None:
    answer = ask(diz, IN_AN_ANSWER[way], CLAIMED, run_id=8)
    assert isinstance(answer, Reply), diz.detail
    assert [(n, a.shape) for _, n, a in answer.content.array_items()] == [("w", (4,)), ("b", (1,))]
    assert set(answer.content.metrics) == {"metrics"}
    assert set(answer.content.configs) == {"flame"}
    assert SECRET.encode() not in answer.encoded


@attack(
    "hide a name in what accompanies an answer: message type, group, source and destination, time to live, reply-to",
    "of an answer only its content is read; whom it goes to, and as what, the gate writes itself",
)
def test_message_metadata(diz: World) -> None:
    source = """
answer = honest()
m = answer.metadata
for name in list(m.__dict__):
    m.__dict__[name] = secret
"""
    answer = ask(diz, source)
    assert isinstance(answer, Reply), diz.detail
    assert SECRET.encode() not in answer.encoded
    assert set(answer.content.configs) == {"flame"}


@attack(
    "hide a name in the header of an honest answer's frame",
    "what a frame says beside its content is not read",
)
def test_the_header_of_a_frame(diz: World) -> None:
    source = """
main = sys.modules["__main__"]
KEPT["encode"] = main.encode
main.encode = lambda content, extra=None: KEPT["encode"](content, {"name": secret})
answer = honest()
"""
    for sent in (source, "answer = honest()"):
        answer = ask(diz, sent, run_id=19)
        assert isinstance(answer, Reply), diz.detail
        assert SECRET.encode() not in answer.encoded
    diz.gate.end_run(19)


PATCHES = {
    "flame_fl's encoder": """
for module in (sys.modules["__main__"], sys.modules["flame_fl.contract.frames"]):
    module.encode = lambda content, extra=None: [b"\\0\\0\\0\\x02{}", secret.encode()]
answer = honest()
""",
    "flame_fl's translation": """
import flame_fl.flower.app_host as host, flame_fl.flower.translate as translate
from flame_fl.contract.content import Content
host.to_content = translate.to_content = lambda records: Content(configs={"patient": {"name": secret}})
answer = honest()
""",
    "flame_fl's own checks": """
import flame_fl.contract.frames as frames
for name in list(vars(frames)):
    if name.startswith("MAX") or name.startswith("_MAX"):
        setattr(frames, name, 1 << 60)
answer = honest(config=ConfigRecord({"patient": secret * 100_000}))
""",
    "Flower's records": """
import flwr.app
flwr.app.RecordDict.items = lambda self: [(secret, ConfigRecord({"patient": secret}))]
answer = honest()
""",
    "NumPy's and Python's": """
import builtins, json as the_json
the_json.dumps = lambda *a, **k: secret
builtins.len = lambda thing: 1957
answer = honest()
""",
}


@attack(
    "replace code in its own process, the guard's included: " + "; ".join(PATCHES),
    "nothing in the container guards anything: what comes out is checked in the gate's process, out of the app's reach",
)
@pytest.mark.parametrize("what", PATCHES)
def test_monkey_patches(diz: World, what: str) -> None:
    run_id = 20 + list(PATCHES).index(what)  # in a container of its own: it is useless afterwards
    answers = [ask(diz, source, run_id=run_id) for source in (PATCHES[what], "answer = honest()")]
    assert any(isinstance(answer, Refusal) for answer in answers), "the control: the patch changed what came out"
    for answer in answers:
        if isinstance(answer, Refusal):
            assert answer.code in REFUSED
        else:
            assert SECRET.encode() not in answer.encoded
            assert set(answer.content.configs) == {"flame"}
    diz.gate.end_run(run_id)
    assert f"read {SECRET}" in log_of(diz, run_id)
    assert isinstance(ask(diz, "answer = honest()"), Reply)


FORGED = {
    "a name in a config record": "frame(content(configs={'p': {'name': secret}}), 3, sequence())",
    "a name in the frame's header": "frame(content(extra={'name': secret}), 3, sequence())",
    "a name as an error's kind": "frame(secret.encode(), 4, sequence())",
    "a pickle": "frame(__import__('pickle').dumps(secret), 3, sequence())",
    "a greeting instead of an answer": "frame(b'{}', 1, sequence())",
    "an answer to another message": "frame(content(), 3, sequence() + 7)",
    "text in the clear": "secret.encode() * 10",
}


@attack(
    "find the descriptor that leads to the gate, and write to it without the runner: " + "; ".join(FORGED),
    "a frame is bytes from a stranger, whoever wrote it: what is none ends the session, what is one is checked",
)
@pytest.mark.parametrize("what", FORGED)
def test_forged_frames(diz: World, what: str) -> None:
    run_id = 40 + list(FORGED).index(what)
    answer = ask(diz, FORGE + f"os.write(out(), {FORGED[what]})\ntime.sleep(600)\n", run_id=run_id)
    assert isinstance(answer, Refusal), answer
    assert answer.code in REFUSED, diz.detail
    assert SECRET not in answer.reason
    diz.gate.end_run(run_id)


@attack(
    "end the runner, and answer from a process that it left behind",
    "the container ends with its first process; an answer that still arrives is an answer like any",
)
def test_an_app_that_ends_the_runner_and_answers_itself(diz: World) -> None:
    source = (
        FORGE
        + """
number, gate, runner = sequence(), out(), os.getpid()
if os.fork() == 0:
    os.setsid()
    os.kill(runner, 9)
    time.sleep(0.5)
    os.write(gate, frame(content(configs={"p": {"name": secret}}), 3, number))
    time.sleep(600)
time.sleep(600)
"""
    )
    answer = ask(diz, source, run_id=60)
    assert isinstance(answer, Refusal)
    assert answer.code in REFUSED, diz.detail
    assert isinstance(ask(diz, "answer = honest()", run_id=60), Reply), "a session of its own, started anew"


@attack(
    "go on in a thread between messages, and answer the next message before it was asked",
    "the thread does go on: nothing stops the container between messages. What it writes is checked like any answer, "
    "and one without a question ends the session",
)
def test_a_thread_between_messages(diz: World) -> None:
    source = (
        FORGE
        + """
import threading
KEPT["ticks"], gate, number = 0, out(), sequence()
def go_on():
    for _ in range(1000):
        KEPT["ticks"] += 1
        time.sleep(0.01)
threading.Thread(target=go_on, daemon=True).start()
answer = honest()
"""
    )
    assert isinstance(ask(diz, source, run_id=61), Reply)
    early = (
        FORGE
        + """
import threading
gate, number = out(), sequence()
def answer_early():
    time.sleep(0.3)
    os.write(gate, frame(content(configs={"p": {"name": secret}}), 3, number + 1))
threading.Thread(target=answer_early, daemon=True).start()
answer = honest(metrics={"num-examples": 50, "loss": 1.0 if KEPT["ticks"] > 0 else 9.0})
"""
    )
    second = ask(diz, early, run_id=61)
    assert isinstance(second, Reply), diz.detail
    assert second.content.metrics["metrics"]["loss"] == 1.0, "what holds is stated: the thread went on"
    time.sleep(1)
    third = ask(diz, "answer = honest()", run_id=61)
    assert isinstance(third, Refusal)
    assert third.code in REFUSED
    diz.gate.end_run(61)


@attack(
    "find the gate's descriptors: its state file, its sockets, the hub's connection",
    "the container's processes hold pipes and /dev/null, nothing else; the gate's /proc entries are not there",
)
def test_descriptors_of_the_gate(diz: World) -> None:
    source = """
held = set()
for pid in filter(str.isdigit, os.listdir("/proc")):
    names = attempt(os.listdir, f"/proc/{pid}/fd")
    for name in names if isinstance(names, list) else []:
        held.add(attempt(os.readlink, f"/proc/{pid}/fd/{name}"))
print("HELD", json.dumps(sorted(held)), "END")
answer = honest()
"""
    assert isinstance(ask(diz, source, run_id=62), Reply), diz.detail
    diz.gate.end_run(62)
    held = log_of(diz, 62).split("HELD ")[1].split(" END")[0]
    kinds = {target.split(":")[0] for target in json.loads(held)}
    assert kinds & {"pipe"}
    assert {
        k for k in kinds if k not in {"pipe", "/dev/null", "FileNotFoundError 2"} and not k.startswith("/proc/")
    } == set()


BUNDLES: dict[str, Callable[[], bytes]] = {
    "a path that leaves the folder": lambda: zip_of([("../../etc/cron.d/x", b"x")]),
    "an absolute path": lambda: zip_of([("/etc/cron.d/x", b"x")]),
    "a bomb of zeros, 2 GB in 2 MB": lambda: zip_of((f"{n}", bytes(1 << 26)) for n in range(32)),
    "two readings of one path": lambda: zip_of([("a.py", b"1"), ("A.py", b"2")]),
    "no zip": lambda: b"PK\x03\x04" + bytes(1000),
}


@attack(
    "send a bundle that unpacks elsewhere, or to more than there is room for: " + "; ".join(BUNDLES),
    "it is refused with 901 before it is unpacked: no container, no file",
)
@pytest.mark.parametrize("what", BUNDLES)
def test_hostile_bundles(diz: World, what: str, engine: docker.DockerClient, owner: str) -> None:
    def mine() -> set[str]:
        return {c.id for c in engine.containers.list(all=True, filters={"label": f"fl.flame.owner={owner}"})}

    before = mine()
    answer = diz.ask(BUNDLES[what](), Content(), leg="x", run_id=70)
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.NOT_APPROVED
    assert mine() == before


@attack(
    "run in an image the steward never saw, by moving its tag or configuring another",
    "the approval binds runtime and image id: another image is another binding, refused before a container starts",
)
def test_another_image(diz: World, sandbox: DockerSandbox, tmp_path: Path) -> None:
    other = DockerSandbox(Images(default="sha256:" + "0" * 64), owner="nobody", folder=tmp_path)
    world: Any = World(tmp_path / "diz", sandbox=sandbox, data=diz.data)  # type: ignore[arg-type]
    manifest = world.decide(FAB)
    moved = world.replaced(sandbox=other)
    assert moved.code(FAB) is RefusalCode.TERMS_VIOLATED, moved.detail
    assert manifest.digest
    moved.store.close()


@attack(
    "take memory beyond the terms, or end the process, in the middle of a run",
    "905 with the code's fixed text; the next message starts a session anew, and the restart is in the audit log",
)
@pytest.mark.parametrize(
    "how",
    [
        "kept = [bytes(1 << 20) for _ in range(100_000)]; kept = b''.join(kept)",
        "x = bytearray(1 << 31); x[:] = b'y' * (1 << 31)",
        "os._exit(0)",
    ],
)
def test_the_gate_goes_on(diz: World, how: str) -> None:
    answer = ask(diz, how, run_id=80)
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.SANDBOX_FAILED, diz.detail
    assert isinstance(ask(diz, "answer = honest()", run_id=80), Reply)
    assert any(kind == "session-restarted" for kind, _ in diz.audit())
    diz.store.verify_audit()


def test_another_bundle_is_filed_and_starts_nothing(diz: World) -> None:
    """The control of the approvals here: another bundle is filed, and starts nothing."""
    answer = diz.ask(make_fab(), Content(), leg="y", run_id=71)
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.PENDING_APPROVAL
