"""Using up the host, and staying when the run is over."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.errors import SandboxError, SandboxTimeoutError
from flame_fl.contract.frames import FrameError
from flame_fl.sandbox.docker import DockerSandbox
from flame_fl.sandbox.docker_stream import MAX_LOG_BYTES
from tests.security.docker.kit import FORGE, Inside, attack, named_on_the_host, start

pytestmark = pytest.mark.docker

Begin = Callable[..., Inside]
NAME = """
import ctypes
def call_itself(name):
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
"""


def gone(name: str, wait_seconds: float = 10.0) -> bool:
    until = time.monotonic() + wait_seconds
    while named_on_the_host(name):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def name() -> str:
    """A name for processes, by which they are found on the host."""
    return f"flm{secrets.token_hex(4)}"


@attack("a fork bomb", "the pids limit of the terms; everything it started dies with the container")
def test_a_fork_bomb(begin: Begin, name: str) -> None:
    bomb = begin(pids=40)
    source = (
        NAME
        + """
call_itself(name)
children, ended_by = 0, None
while ended_by is None and children < 1000:
    try:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        children += 1
    except OSError as err:
        ended_by = err.errno
found = [children, ended_by]
"""
    )
    children, ended_by = bomb.run(source, name=name)
    assert (ended_by, 20 < children < 40) == (11, True)
    assert len(named_on_the_host(name)) > children, "the control: they are seen on the host"
    bomb.session.close()
    assert gone(name)


@attack("a fork bomb of the shell's kind, which nobody counts or waits for", "pids limit, deadline, kill")
def test_a_fork_bomb_without_end(begin: Begin, name: str) -> None:
    bomb = begin(pids=40)
    source = (
        NAME
        + """
call_itself(name)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    )
    started = time.monotonic()
    with pytest.raises(SandboxTimeoutError):
        bomb.run(source, name=name, seconds=2.0)
    assert time.monotonic() - started < 15
    assert gone(name)


@attack("thousands of threads", "threads count as processes")
def test_a_thread_bomb(begin: Begin) -> None:
    source = """
    import threading
    begun = 0
    try:
        while begun < 5000:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            begun += 1
    except RuntimeError:
        pass
    found = begun
    """
    assert begin(pids=40).run(source) < 40


@attack(
    "take more memory than the terms allow: 800 MB of 400",
    "memory and swap limit of the terms: the kernel ends the container, the node's log says why, the gate goes on",
)
def test_a_memory_bomb(begin: Begin) -> None:
    bomb = begin()
    started = time.monotonic()
    with pytest.raises(SandboxError):
        bomb.run("kept = [b'x' * (1 << 20) for _ in range(800)]")
    assert time.monotonic() - started < 30
    assert not bomb.session.alive
    assert "out of memory" in bomb.log
    assert begin().run("found = 1") == 1


@attack(
    "fill the host's disk through every folder that can be written",
    "scratch and shared memory are sized and in memory, which the memory limit counts; nothing else can be written",
)
def test_filling_the_disk(begin: Begin) -> None:
    source = """
    def fill(folder):
        written, number = 0, 0
        try:
            while written < 1 << 30:
                number += 1
                with open(f"{folder}/fill{number}", "wb", buffering=0) as file:
                    for _ in range(8):
                        written += file.write(bytes(1 << 20))
        except OSError as err:
            return [written, err.errno]
        finally:
            for n in range(number + 1):
                attempt(os.unlink, f"{folder}/fill{n}")
    tops = [f"/{name}" for name in os.listdir("/") if name not in ("proc", "sys")]
    folders = ["/", *tops, *(os.path.join(at, name) for top in tops for at, names, _ in os.walk(top) for name in names)]
    found = {"writable": [f for f in folders if os.access(f, os.W_OK) and not os.path.islink(f)],
             "filled": [fill(folder) for folder in ("/tmp", "/dev/shm")]}
    """
    found = begin(scratch_bytes=32_000_000).run(source)
    assert set(found["writable"]) == {"/tmp", "/dev/shm", "/dev/mqueue"}
    for written, error in found["filled"]:
        assert (0 < written <= 33_000_000, error) == (True, 28)


@attack("write one endless file", "the file-size limit: EFBIG (or the scratch's own end)")
def test_a_file_without_end(begin: Begin) -> None:
    source = """
    import resource
    def grow():
        with open("/tmp/sparse", "wb") as file:
            file.truncate(1 << 40)
    found = [attempt(grow), resource.getrlimit(resource.RLIMIT_FSIZE),
             attempt(resource.setrlimit, resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))]
    """
    assert begin().run(source) == ["OSError 27", [32_000_000] * 2, "ValueError"]


@attack("millions of empty files, which a size limit does not count", "their memory is the container's: it is ended")
def test_files_without_content(begin: Begin) -> None:
    bomb = begin(memory_bytes=300_000_000)
    source = """
    number, ended_by = 0, None
    while ended_by is None and number < 3_000_000:
        try:
            os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
            number += 1
        except OSError as err:
            ended_by = err.errno
    found = [number, ended_by]
    """
    try:
        number, ended_by = bomb.run(source, seconds=60.0)
    except SandboxTimeoutError:
        pytest.fail("it went on until its deadline")
    except SandboxError:
        assert "out of memory" in bomb.log
    else:
        assert (number < 3_000_000, ended_by) == (True, 28)


@attack("use every processor", "the cpu quota of the terms")
def test_burning_processors(begin: Begin) -> None:
    source = """
    until = time.monotonic() + 3
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            while time.monotonic() < until:
                pass
            os._exit(0)
        children.append(child)
    used = sum(sum(os.wait4(child, 0)[2][:2]) for child in children)
    found = used / 3
    """
    assert begin(cpus=0.5).run(source) < 0.8


@attack(
    "flood standard output and standard error",
    "what the app prints goes to a log of bounded size at the node; the answer arrives all the same",
)
def test_a_flood_of_words(begin: Begin) -> None:
    flood = begin()
    source = """
    line = "x" * (1 << 16)
    for _ in range(400):
        print(line)
        print(line, file=sys.stderr)
    found = "answered"
    """
    assert flood.run(source) == "answered"
    assert flood.run("found = 1") == 1
    assert 1 << 20 < flood.log_path.stat().st_size <= MAX_LOG_BYTES + 1000


@attack("flood standard error without end", "the deadline; the log's limit")
def test_a_flood_without_end(begin: Begin) -> None:
    flood = begin()
    started = time.monotonic()
    with pytest.raises(SandboxTimeoutError):
        flood.run("while True: os.write(2, b'x' * 65536)", seconds=3.0)
    assert time.monotonic() - started < 15
    assert flood.log_path.stat().st_size <= MAX_LOG_BYTES + 1000


@attack(
    "say a word on standard error and answer at once, so that both arrive together",
    "both are read: what was printed is in the log, and the answer is not held up by it",
)
def test_words_and_answer_in_one_piece(begin: Begin) -> None:
    chatty = begin()
    started = time.monotonic()
    for number in range(100):
        assert chatty.run("os.write(2, b'x' * 64 + chr(10).encode()); found = n", n=number, seconds=10.0) == number
    assert time.monotonic() - started < 10


@attack(
    "announce an answer of 4 GiB, and one a byte above the limit",
    "its announced size is compared with the limit before anything is allocated; the session ends",
)
@pytest.mark.parametrize("size", [0xFFFFFFFF - 9, (1 << 20) + 1])
def test_an_answer_of_four_gigabytes(begin: Begin, size: int) -> None:
    liar = begin()
    source = (
        FORGE
        + """
gate = out()
os.write(gate, head(size))
block = bytes(1 << 16)
while True:
    os.write(gate, block)
"""
    )
    started = time.monotonic()
    with pytest.raises(FrameError):
        liar.run(source, most=1 << 20, seconds=30.0, size=size)
    assert time.monotonic() - started < 15
    assert not liar.session.alive


@attack("an endless answer: frame after frame of rubbish", "the first that is no frame ends the session")
def test_an_endless_answer(begin: Begin) -> None:
    endless = begin()
    source = FORGE + "gate = out()\nwhile True: os.write(gate, b'\\x7f' * 65536)\n"
    started = time.monotonic()
    with pytest.raises(FrameError):
        endless.run(source, seconds=30.0)
    assert time.monotonic() - started < 15
    assert not endless.session.alive


@attack("drip an answer past the deadline, a byte at a time", "a partial frame does not extend the deadline")
def test_a_slow_drip(begin: Begin, name: str) -> None:
    slow = begin()
    source = (
        NAME
        + FORGE
        + """
call_itself(name)
gate = out()
os.write(gate, head(100_000, sequence=3))
while True:
    os.write(gate, b"x")
    time.sleep(0.05)
"""
    )
    started = time.monotonic()
    with pytest.raises(SandboxTimeoutError):
        slow.run(source, name=name, seconds=3.0)
    assert 2.5 < time.monotonic() - started < 15
    assert gone(name)


@attack("never answer: sleep, stop itself, or ignore every signal", "the deadline, and SIGKILL from outside")
@pytest.mark.parametrize(
    "how",
    [
        "time.sleep(600)",
        "os.kill(os.getpid(), 19)",
        "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(600)",
    ],
)
def test_never_answering(begin: Begin, name: str, how: str) -> None:
    silent = begin()
    started = time.monotonic()
    with pytest.raises(SandboxTimeoutError):
        silent.run(NAME + f"import signal\ncall_itself(name)\n{how}\n", name=name, seconds=2.0)
    assert time.monotonic() - started < 15
    assert gone(name)


@attack(
    "leave a daemon behind: forked twice, in a session of its own, all signals ignored",
    "all processes of the container's process space end with it",
)
def test_a_daemon_that_outlives_the_run(begin: Begin, name: str) -> None:
    parent = begin()
    source = (
        NAME
        + """
import signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        call_itself(name)
        for d in range(3, 100):
            attempt(os.close, d)
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(0.3)
found = "left"
"""
    )
    assert parent.run(source, name=name) == "left"
    assert len(named_on_the_host(name)) == 1, "the control: it is seen on the host"
    parent.session.close()
    assert gone(name)


@attack("leave zombies, which only a parent can clear away", "an init process reaps them while the run goes on")
def test_zombies(begin: Begin) -> None:
    source = """
    def zombies():
        states = [attempt(lambda: open(f"/proc/{pid}/stat").read()) for pid in filter(str.isdigit, os.listdir("/proc"))]
        return sum(") Z " in state for state in states)
    for _ in range(10):
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(1.0)  # until its parent is gone and process 1 is its parent
                os._exit(0)
            os._exit(0)
    time.sleep(0.5)
    own = zombies()
    for _ in range(10):
        os.wait()
    time.sleep(1.5)
    found = [own, zombies()]
    """
    own, left = begin().run(source)
    assert own == 10, "the control: who is not waited for is a zombie, and is counted"
    assert left == 0


@attack(
    "end the session's own process, or all of the container's, by signals: to process 1, to everyone, to its parent",
    "signals stay inside; at most the session ends, the gate notices at once, and the next one starts",
)
@pytest.mark.parametrize(
    "how",
    ["os.kill(1, 9)", "os.kill(1, 15)", "os.kill(-1, 9)", "os.kill(os.getppid(), 15)", "os.abort()", "os._exit(0)"],
)
def test_signals_to_process_one(begin: Begin, how: str) -> None:
    hit = begin()
    started = time.monotonic()
    try:
        said = hit.run(f"attempt(lambda: {how})\nfound = 'still here'", seconds=20.0)
    except SandboxTimeoutError:
        pytest.fail("the gate did not notice before the deadline")
    except SandboxError:
        said = "ended"
    assert said in {"still here", "ended"}
    assert time.monotonic() - started < 15
    assert hit.session.alive == (said == "still here")


@attack(
    "signal, trace or read processes of the host, the gate's among them, by their numbers",
    "they have no number in the container's process space",
)
def test_processes_of_the_host(inside: Inside) -> None:
    source = """
    found = {"pids": sorted(map(int, filter(str.isdigit, os.listdir("/proc")))),
             "kill": attempt(os.kill, gate, 0), "pidfd": attempt(os.pidfd_open, gate),
             "group": attempt(os.killpg, gate, 0), "limits": attempt(os.sched_setaffinity, gate, {0})}
    """
    gate = os.getpid()
    found = inside.run(source, gate=gate)
    assert len(found["pids"]) < 20
    assert gate not in found["pids"]
    assert [found[key] for key in ("kill", "pidfd", "group")] == ["ProcessLookupError 3"] * 3
    assert found["limits"] == "PermissionError 1"


@attack(
    "make the gate die with kill -9 and stay behind as an orphan",
    "containers carry the installation's label: they are found and removed at the next start, and nobody else's",
)
def test_an_orphan_is_found_at_the_next_start(
    image: str, owner: str, sandbox: DockerSandbox, tmp_path: Path, name: str, begin: Begin
) -> None:
    from flame_fl.sandbox.docker import Images

    neighbour = begin()
    mine = DockerSandbox(Images(default=image), owner=f"{owner}-orphans", folder=tmp_path / "bundles")
    lost = start(mine, tmp_path)
    source = NAME + "import threading\ncall_itself(name)\nfound = 1"
    lost.run(source, name=name)
    assert len(named_on_the_host(name)) == 1
    again = DockerSandbox(Images(default=image), owner=f"{owner}-orphans", folder=tmp_path / "bundles")
    assert again.remove_orphans() == 1
    assert gone(name)
    assert again.remove_orphans() == 0
    assert neighbour.run("found = 1") == 1
    lost.session.close()


@attack("starve the host of descriptors, or of core dumps' room", "limits of the container's own: 4096, and no core")
def test_descriptors_and_cores(begin: Begin) -> None:
    source = """
    import resource
    opened = []
    try:
        while len(opened) < 100_000:
            opened.append(os.open("/dev/null", 0))
    except OSError as err:
        ended_by = err.errno
    for d in opened:
        os.close(d)
    if (child := os.fork()) == 0:
        os.abort()
    _, status = os.waitpid(child, 0)
    found = [len(opened) <= 4096, ended_by, os.WCOREDUMP(status), resource.getrlimit(resource.RLIMIT_CORE)]
    """
    assert begin().run(source) == [True, 24, False, [0, 0]]


def test_nothing_of_these_attacks_is_left(engine: Any, owner: str, begin: Begin) -> None:
    """Only the container of the module's warm session may be there; one that was begun here is seen."""

    def count() -> int:
        return len(engine.containers.list(all=True, filters={"label": f"fl.flame.owner={owner}"}))

    before = count()
    one = begin()
    assert (before <= 1, count()) == (True, before + 1)
    one.session.close()
    assert count() == before
