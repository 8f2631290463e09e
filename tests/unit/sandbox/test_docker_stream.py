"""The engine's stream: frames on one side, words on the other, cut wherever the network likes."""

import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import SandboxTimeoutError
from flame_fl.contract.frames import FrameError, FrameType, pack
from flame_fl.sandbox.docker_stream import DockerStream, note

STDOUT, STDERR = 1, 2


def piece(kind: int, data: bytes) -> bytes:
    """As the engine sends it."""
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def frame(kind: FrameType, sequence: int, payload: bytes) -> bytes:
    return b"".join(bytes(part) for part in pack(kind, sequence, [payload]))


class Engine:
    """The other end, and the stream of ours."""

    def __init__(self, log: Path, **options: int) -> None:
        ours, self.end = socket.socketpair()
        self.log, self.stream = log, DockerStream(ours, log, **options)

    def words(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""

    def exchange(self, seconds: float = 10.0, most: int = 1 << 20) -> bytes:
        _, payload = self.stream.exchange(FrameType.MESSAGE, 1, [b""], time.monotonic() + seconds, most)
        return bytes(payload)

    def close(self) -> None:
        self.stream.close()
        self.end.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "app.log")
    yield engine
    engine.close()


pieces = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40)), max_size=12)


@given(words=pieces, payload=st.binary(max_size=200), splits=st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_any_split_of_any_pieces_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[tuple[int, bytes]],
    payload: bytes,
    splits: list[int],
) -> None:
    """A frame cut into pieces at will, words between, the whole cut into packets at will: both sides arrive whole."""
    answer = frame(FrameType.REPLY, 1, payload)
    kinds = [kind for kind, _ in words]
    out = kinds.count(STDOUT) + 1
    cuts = [len(answer) * i // out for i in range(out + 1)]
    parts = iter([answer[a:b] for a, b in pairwise(cuts)])
    sent = b"".join(piece(kind, next(parts) if kind == STDOUT else data) for kind, data in words)
    sent += piece(STDOUT, next(parts))
    engine = Engine(tmp_path_factory.mktemp("stream") / "app.log")

    def send() -> None:
        left, i = sent, 0
        while left:
            size = splits[i % len(splits)]
            engine.end.sendall(left[:size])
            left, i = left[size:], i + 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert engine.exchange() == payload
        thread.join()
        engine.stream.drain()
        assert engine.words() == b"".join(data for kind, data in words if kind == STDERR)
    finally:
        engine.close()


def test_what_is_sent_arrives_plain(engine: Engine) -> None:
    """Only what comes back is multiplexed."""
    engine.end.sendall(piece(STDOUT, frame(FrameType.REPLY, 1, b"answer")))
    assert engine.exchange() == b"answer"
    assert engine.end.recv(100) == frame(FrameType.MESSAGE, 1, b"")


def test_two_answers_in_one_piece(engine: Engine) -> None:
    """The second waits for its question."""
    engine.end.sendall(piece(STDOUT, frame(FrameType.REPLY, 1, b"one") + frame(FrameType.REPLY, 1, b"two")))
    assert engine.exchange() == b"one"
    assert engine.exchange() == b"two"


@pytest.mark.parametrize("kind", [0, 3, 4, 255])
def test_a_stream_that_is_neither(engine: Engine, kind: int) -> None:
    """Not guessed at."""
    engine.end.sendall(piece(kind, b"x"))
    with pytest.raises(FrameError, match="engine's stream"):
        engine.exchange()


def test_words_before_the_end_are_kept(engine: Engine) -> None:
    """A traceback, and then the container is gone."""
    engine.end.sendall(piece(STDERR, b"Traceback: its last words"))
    engine.end.shutdown(socket.SHUT_WR)
    with pytest.raises(FrameError, match="ended before it answered"):
        engine.exchange()
    assert engine.words() == b"Traceback: its last words"
    assert not engine.stream.open


def test_words_of_a_container_that_takes_no_message(engine: Engine) -> None:
    """It was gone before it was asked: what it said is kept when the session ends."""
    engine.end.sendall(piece(STDERR, b"Killed"))
    engine.end.close()
    with pytest.raises(FrameError, match="closed its pipe"):
        engine.exchange()
    engine.stream.drain()
    assert engine.words() == b"Killed"


def test_a_header_that_comes_alone_is_not_the_end(engine: Engine) -> None:
    """The network cut between the engine's eight bytes and the piece."""
    whole = piece(STDOUT, frame(FrameType.REPLY, 1, b"answer"))
    engine.end.sendall(whole[:8])

    def rest() -> None:
        time.sleep(0.05)
        engine.end.sendall(whole[8:])

    thread = threading.Thread(target=rest)
    thread.start()
    assert engine.exchange() == b"answer"
    thread.join()


def test_the_end_in_the_middle_of_a_header(engine: Engine) -> None:
    engine.end.sendall(piece(STDOUT, b"abc")[:5])
    engine.end.shutdown(socket.SHUT_WR)
    with pytest.raises(FrameError, match="ended before it answered"):
        engine.exchange()


def test_open_costs_nothing_and_takes_nothing(engine: Engine) -> None:
    """Looked at between messages; what has come meanwhile is still there."""
    assert engine.stream.open
    engine.end.sendall(piece(STDOUT, frame(FrameType.REPLY, 1, b"x")))
    assert engine.stream.open
    assert engine.exchange() == b"x"
    engine.end.close()
    assert not engine.stream.open


def test_the_log_has_a_limit(tmp_path: Path) -> None:
    """What is beyond is dropped, and that is said once."""
    engine = Engine(tmp_path / "app.log", max_log_bytes=100)
    for _ in range(10):
        engine.end.sendall(piece(STDERR, b"x" * 30))
    engine.end.sendall(piece(STDOUT, frame(FrameType.REPLY, 1, b"ok")))
    assert engine.exchange() == b"ok"
    assert engine.words().count(b"x") == 100
    assert engine.words().count(b"the log's limit is reached") == 1
    engine.close()


def test_a_flood_of_words_meets_the_deadline(engine: Engine) -> None:
    """An app that only prints is not waited for."""
    over = threading.Event()

    def flood() -> None:
        block = piece(STDERR, b"x" * 65536)
        while not over.is_set():
            try:
                engine.end.sendall(block)
            except OSError:
                return

    thread = threading.Thread(target=flood)
    thread.start()
    started = time.monotonic()
    with pytest.raises(SandboxTimeoutError):
        engine.exchange(seconds=0.5)
    assert time.monotonic() - started < 5
    over.set()
    engine.stream.close()
    thread.join(10)


def test_a_log_that_cannot_be_written_costs_only_the_words(tmp_path: Path) -> None:
    """A full disk must not fail a run."""
    engine = Engine(tmp_path / "no" / "such" / "app.log")
    engine.end.sendall(piece(STDERR, b"words") + piece(STDOUT, frame(FrameType.REPLY, 1, b"ok")))
    assert engine.exchange() == b"ok"
    engine.close()


def test_drain_never_waits(engine: Engine) -> None:
    """Not for a container that is silent, not for one that never ends."""
    started = time.monotonic()
    engine.stream.drain()
    engine.end.sendall(piece(STDERR, b"late"))
    engine.stream.drain()
    assert engine.words() == b"late"
    assert time.monotonic() - started < 2


def test_a_note_of_our_own(tmp_path: Path) -> None:
    """Marked as ours; a folder that is missing is made; a place that cannot be written is passed over."""
    note(tmp_path / "logs" / "app.log", "the container ended")
    assert (tmp_path / "logs" / "app.log").read_text() == "[flame] the container ended\n"
    (tmp_path / "file").write_text("")
    note(tmp_path / "file" / "app.log", "x")
