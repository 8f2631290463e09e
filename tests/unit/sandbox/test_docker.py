"""Containers at a real engine: their limits are the terms', and none is left, however a session or the gate ends."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError, SandboxTimeoutError, UnreachableError
from flame_fl.contract.ports import SandboxSpec
from flame_fl.contract.terms import Resources
from flame_fl.sandbox import docker_stream
from flame_fl.sandbox.container import OWNER, ROLE
from flame_fl.sandbox.docker import DockerSandbox, Images, connect
from tests.support.engine import ROOT, engine, test_image
from tests.unit.sandbox.conftest import WARM_SECONDS, docker_sandbox, envelope, readable_folder

SpecOf = Callable[..., SandboxSpec]
# Runs the message's own words: one app for all tests here.
RUN = """
import json, os, sys, time
@app.train()
def train(message, context):
    names = {"context": context, "os": os, "time": time, "sys": sys}
    exec(str(message.content["do"]["code"]), names)
    return reply(message, said=ConfigRecord({"json": json.dumps(names.get("found"))}))
"""


def test_images_by_app() -> None:
    """An app's own, else the default, else none."""
    images = Images("d", {"a/b": "x"})
    assert [images.of(app) for app in ("a/b", "a/c")] == ["x", "d"]
    assert Images().of("a/b") is None


def test_no_engine_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its address, or by DOCKER_HOST."""
    with pytest.raises(UnreachableError, match=r"dead\.sock does not answer"):
        connect(f"unix://{tmp_path}/dead.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(UnreachableError, match="default socket"):
        connect()


def test_without_an_engine_a_session_is_a_sandbox_error(tmp_path: Path, spec_of: SpecOf) -> None:
    """Waited for a while, then said; the bundle that was unpacked is gone again."""
    sandbox = DockerSandbox(
        Images("sha256:" + "0" * 64), owner="x", folder=tmp_path / "bundles", engine=f"unix://{tmp_path}/dead.sock",
        patience_seconds=0.6,
    )  # fmt: skip
    started = time.monotonic()
    with pytest.raises(SandboxError, match="could not be started"):
        sandbox.start(spec_of(RUN))
    assert 0.5 < time.monotonic() - started < 10
    assert list((tmp_path / "bundles").iterdir()) == []


def test_without_an_image_nothing_is_started(tmp_path: Path, spec_of: SpecOf) -> None:
    """No engine is asked."""
    sandbox = DockerSandbox(Images(), owner="x", folder=tmp_path, engine=f"unix://{tmp_path}/dead.sock")
    with pytest.raises(SandboxError, match="No image is configured"):
        sandbox.start(spec_of(RUN))


class Lab:
    """Sessions of one owner, and what the engine knows of them."""

    def __init__(self, folder: Path, spec_of: SpecOf, image: str) -> None:
        self.folder, self.owner, self.client, self.image = folder, secrets.token_hex(6), engine(), image
        self.spec = replace(spec_of(RUN), data={"cohort": readable_folder(folder / "cohort")})
        self.sandbox = self.another()
        self.sessions: list[Any] = []

    def another(self) -> DockerSandbox:
        """The same installation after a restart."""
        return docker_sandbox(self.folder, self.image, self.owner)

    def start(self, **resources: object) -> Any:
        """A session with these limits."""
        spec = replace(self.spec, resources=Resources.model_validate(resources))
        self.sessions.append(self.sandbox.start(spec))
        return self.sessions[-1]

    def run(self, session: Any, code: str, seconds: float = WARM_SECONDS) -> Any:
        """What `found` is after the code."""
        import json

        message = envelope(Content(configs={"do": {"code": code}}))
        return json.loads(str(session.handle(message, seconds, 1 << 20).configs["said"]["json"]))

    def containers(self) -> list[Any]:
        found: list[Any] = self.client.containers.list(all=True, filters={"label": f"{OWNER}={self.owner}"})
        return found

    @property
    def log(self) -> str:
        return self.spec.log_path.read_text(errors="replace") if self.spec.log_path.exists() else ""

    @property
    def bundles(self) -> list[Path]:
        return list((self.folder / "bundles").iterdir())


@pytest.fixture
def lab(tmp_path: Path, spec_of: SpecOf) -> Iterator[Lab]:
    lab = Lab(tmp_path, spec_of, test_image())
    yield lab
    for session in lab.sessions:
        session.close()
    for container in lab.containers():
        container.remove(force=True)


@pytest.mark.docker
@pytest.mark.slow
class TestLimits:
    def test_each_is_the_terms(self, lab: Lab) -> None:
        """Processes, file size, scratch and memory as seen from inside."""
        session = lab.start(pids=30, scratch_bytes=5_000_000, memory_bytes=300_000_000, cpus=0.5)
        code = """
import resource, threading
def fill(path, most):
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < most:
                written += file.write(bytes(100_000))
    except OSError as err:
        return [written, err.errno]
one = fill("/tmp/one", 20_000_000)
os.unlink("/tmp/one")
many = []
for n in range(10):
    many.append(fill(f"/tmp/{n}", 1_000_000))
begun = []
try:
    while len(begun) < 100:
        begun.append(threading.Thread(target=time.sleep, args=(5,), daemon=True))
        begun[-1].start()
except RuntimeError:
    pass
found = {"file": one, "scratch": [m for m in many if m], "threads": len(begun)}
"""
        found = lab.run(session, code)
        assert found["file"][0] <= 5_000_000
        assert found["file"][1] in {27, 28}  # EFBIG, or the scratch's own end
        assert found["scratch"]
        assert found["scratch"][0][1] == 28
        assert found["threads"] < 30
        (container,) = lab.containers()
        limits = container.attrs["HostConfig"]
        assert (limits["Memory"], limits["MemorySwap"], limits["NanoCpus"]) == (300_000_000, 300_000_000, 500_000_000)

    def test_memory_ends_the_session_and_says_so(self, lab: Lab) -> None:
        """The node's log says why; nothing is left."""
        session = lab.start(memory_bytes=200_000_000)
        with pytest.raises(SandboxError):
            lab.run(session, "kept = [b'x' * (1 << 20) for _ in range(1000)]")
        assert not session.alive
        assert "out of memory" in lab.log
        assert lab.containers() == []

    def test_the_deadline_ends_the_session(self, lab: Lab) -> None:
        """On time, with everything it started."""
        session = lab.start()
        assert lab.run(session, "found = 1") == 1
        started = time.monotonic()
        with pytest.raises(SandboxTimeoutError):
            lab.run(session, "time.sleep(600)", seconds=1.0)
        assert time.monotonic() - started < 10
        assert (session.alive, lab.containers(), lab.bundles) == (False, [], [])

    def test_what_it_prints_is_capped(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """Dropped beyond the limit; the answer arrives all the same."""
        monkeypatch.setattr(docker_stream.DockerStream.__init__, "__defaults__", (10_000,))
        session = lab.start()
        assert lab.run(session, "print('word ' * 20_000); found = 1") == 1
        session.close()  # what it prints may come after what it answers
        assert 10_000 <= len(lab.log) < 10_200
        assert "the log's limit is reached" in lab.log


@pytest.mark.docker
@pytest.mark.slow
class TestNothingIsLeft:
    def test_after_close(self, lab: Lab) -> None:
        session = lab.start()
        assert lab.run(session, "found = context.node_config['data-cohort']") == "/data/cohort"
        assert len(lab.containers()) == 1
        assert session.alive
        session.close()
        session.close()
        assert (session.alive, lab.containers(), lab.bundles) == (False, [], [])

    def test_after_the_app_ended(self, lab: Lab) -> None:
        """It ends itself: noticed before the deadline, its exit code is in the node's log."""
        session = lab.start()
        started = time.monotonic()
        with pytest.raises(SandboxError):
            lab.run(session, "os._exit(7)")
        assert time.monotonic() - started < 30
        assert "exit code 7" in lab.log
        assert (session.alive, lab.containers(), lab.bundles) == (False, [], [])

    def test_after_it_was_killed_from_outside(self, lab: Lab) -> None:
        """By an administrator, or the kernel: between two messages it is seen at once."""
        session = lab.start()
        assert lab.run(session, "found = 1") == 1
        (container,) = lab.containers()
        container.kill()
        until = time.monotonic() + 10
        while session.alive and time.monotonic() < until:
            time.sleep(0.02)
        assert not session.alive
        with pytest.raises(SandboxError):
            lab.run(session, "found = 1")
        assert lab.containers() == []

    def test_after_the_gate_was_killed_and_started_again(self, lab: Lab) -> None:
        """kill -9 leaves a container; the next start of the same installation removes it, and nobody else's."""
        neighbour = docker_sandbox(lab.folder / "neighbour", lab.image)
        theirs = neighbour.start(lab.spec)
        lab.sessions.append(theirs)
        code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from flame_fl.contract.ports import SandboxSpec
from flame_fl.contract.fab import read_fab
from flame_fl.contract.terms import Resources
from tests.unit.sandbox.conftest import PYPROJECT, bundle, docker_sandbox
fab = bundle({{"body/__init__.py": "", "body/client_app.py": "", "pyproject.toml": PYPROJECT}})
spec = SandboxSpec(fab, "body.client_app:app", 1, 2, {{}}, {{}}, Resources(), Path({str(lab.folder / "x.log")!r}))
session = docker_sandbox(Path({str(lab.folder)!r}), {lab.image!r}, {lab.owner!r}).start(spec)
print("started", flush=True)
time.sleep(60)
"""
        gate = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert gate.stdout is not None
        assert gate.stdout.readline() == "started\n"
        gate.kill()
        gate.communicate()
        assert len(lab.containers()) == 1, "the control: it outlives its gate"
        assert len(lab.bundles) == 1
        assert lab.another().remove_orphans() == 1
        assert (lab.containers(), lab.bundles) == ([], [])
        assert lab.another().remove_orphans() == 0
        assert lab.run(theirs, "found = 2") == 2

    def test_other_containers_with_our_label_but_another_role_stay(self, lab: Lab) -> None:
        """A hub on the same machine is another installation; so is what only looks like ours."""
        others = [
            lab.client.containers.create(lab.image, ["-c", "pass"], entrypoint=["python3"], labels=labels)
            for labels in ({OWNER: lab.owner, ROLE: "serverapp"}, {ROLE: "sandbox"}, {ROLE: "sandbox", OWNER: "x"})
        ]
        try:
            assert lab.another().remove_orphans() == 0
            for container in others:
                container.reload()
        finally:
            for container in others:
                container.remove(force=True)

    def test_after_a_start_that_failed(self, lab: Lab) -> None:
        """The image is not there: why is in the node's log, not in the error that could leave."""
        missing = docker_sandbox(lab.folder, "sha256:" + "ab" * 32, lab.owner)
        with pytest.raises(SandboxError) as err:
            missing.start(lab.spec)
        assert "abab" not in str(err.value)
        assert "No such image" in lab.log
        assert (lab.containers(), lab.bundles) == ([], [])

    def test_after_a_tag_was_asked_for(self, lab: Lab) -> None:
        """A bug of ours, not a message for a user; and nothing runs."""
        with pytest.raises(ValueError, match="named by its id"):
            docker_sandbox(lab.folder, "flame-test-sandbox:latest", lab.owner).start(lab.spec)
        assert (lab.containers(), lab.bundles) == ([], [])


@pytest.mark.docker
@pytest.mark.slow
def test_gvisor_runs_an_app(lab: Lab) -> None:
    """`runtime = "runsc"`: another kernel between the app and ours; a smoke test, where the engine has it."""
    if "runsc" not in lab.client.info()["Runtimes"]:
        pytest.skip("the engine has no runtime runsc")
    sandbox = DockerSandbox(Images(lab.image), owner=lab.owner, folder=lab.folder / "bundles", runtime="runsc")
    assert sandbox.kind_of("a/b") == f"runsc:{lab.image}"
    session = sandbox.start(lab.spec)
    lab.sessions.append(session)
    found = lab.run(session, "found = [os.getuid(), open('/proc/version').read(), os.listdir('/data')]", seconds=120)
    assert found[0] == 65534
    assert found[1] != Path("/proc/version").read_text()
    assert found[2] == ["cohort"]
    session.close()
    assert lab.containers() == []
