"""The relay: all that a ServerApp can reach, and nothing else."""

import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from flame_fl.flower.server_operations import OPERATIONS, TOKEN_HEADER
from flame_fl.flower.server_wish import Wish, keep_wish
from flame_fl.hub.relay import Limits, Relay, is_plain_path
from flame_fl.hub.runs import RunFolder, RunRecord

TOKEN = "the task's own token"


class SuperLink:
    """Notes what reaches it, and answers as a test says."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: httpx.Response | Exception = httpx.Response(
            200, content=b"answer", headers={"content-type": "application/protobuf", "x-internal": "secret"}
        )

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class World:
    def __init__(self, root: Path) -> None:
        self.folder = RunFolder(root, 42)
        self.folder.make()
        self.superlink, self.over = SuperLink(), 0
        self.relay = Relay(
            self.folder,
            TOKEN,
            address="hub:1",
            context=ssl.create_default_context(),
            limits=Limits(out_bytes=1000, out_files=3, wait_seconds=100.0),
            on_over=self.end,
        )
        self.relay._client = httpx.AsyncClient(base_url="https://hub:1", transport=httpx.MockTransport(self.superlink))
        self.client = TestClient(self.relay.app(), raise_server_exceptions=False)

    def end(self) -> None:
        self.over += 1

    def kept(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder.out)): p.read_bytes() for p in self.folder.out.rglob("*") if p.is_file()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.client:
        yield world


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_operations_pass_with_the_task_s_token(world: World, operation: str) -> None:
    """The token is the relay's own, whatever the app sent; nothing else of the app's headers passes."""
    headers = {TOKEN_HEADER: "another's", "authorization": "Bearer x", "flwr-package-version": "1.41.0", "cookie": "y"}
    answer = world.client.post(f"/v1/runtime/{operation}", content=b"question", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"answer")
    (request,) = world.superlink.requests
    assert str(request.url) == f"https://hub:1/v1/runtime/{operation}"
    assert request.content == b"question"
    assert request.headers.get_list(TOKEN_HEADER) == [TOKEN]
    assert request.headers["flwr-package-version"] == "1.41.0"
    assert not {"authorization", "cookie"} & set(request.headers)
    assert "x-internal" not in answer.headers
    assert TOKEN not in str(answer.headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/runtime/create-task"),
        ("POST", "/v1/runtime/acquire-task"),
        ("POST", "/v1/runtime/start-automation"),
        ("POST", "/v1/runtime/get-connector"),
        ("POST", "/v1/runtime/push-object/../create-task"),
        ("POST", "/v1/runtime/push-object%2f..%2fcreate-task"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/fleet/pull-messages"),
        ("GET", "/v1/flame/runs/1"),
        ("GET", "/flame/artefacts/x"),
        ("GET", "/health"),
        ("GET", "/"),
        ("DELETE", "/flame/artefacts/x"),
        ("PUT", "/flame/wait"),
        ("GET", "/flame/begun"),
    ],
)
def test_everything_else_is_denied(world: World, method: str, path: str) -> None:
    """And the SuperLink hears nothing of it."""
    assert world.client.request(method, path).status_code in {403, 405}
    assert world.superlink.requests == []


def test_how_long_a_run_may_wait_is_told(world: World, monkeypatch) -> None:
    """Nobody has said so yet; then what is left, by the hub's own clock and bound. The SuperLink hears nothing."""
    monkeypatch.setattr("flame_fl.hub.relay.time.time", lambda: 1030.0)
    assert world.client.get("/flame/wait").json() == {"known": False, "seconds_left": 0.0, "min_only": False}
    keep_wish(world.folder.path, Wish(seconds=60, min_only=True), 1000.0)
    assert world.client.get("/flame/wait").json() == {"known": True, "seconds_left": 30.0, "min_only": True}
    keep_wish(world.folder.path, Wish(seconds=1e6), 1020.0)
    assert world.client.get("/flame/wait").json() == {"known": True, "seconds_left": 70.0, "min_only": False}
    assert world.superlink.requests == []


def test_that_a_run_has_begun_is_kept(world: World) -> None:
    """Once: a later word does not move it."""
    file = world.folder.path / "begun"
    assert world.client.post("/flame/begun").status_code == 204
    os.utime(file, (5, 5))
    assert world.client.post("/flame/begun").status_code == 204
    assert file.stat().st_mtime == 5


def test_a_hub_that_is_away_is_503(world: World) -> None:
    """The runner waits and calls again."""
    world.superlink.answer = httpx.ConnectError("refused")
    assert world.client.post("/v1/runtime/get-nodes").status_code == 503
    assert world.over == 0


def test_a_task_that_is_over_is_told_to_the_agent(world: World) -> None:
    """When the SuperLink does not know it, and when its output was taken."""
    world.superlink.answer = httpx.Response(401)
    assert world.client.post("/v1/runtime/get-nodes").status_code == 401
    assert world.over == 1
    world.superlink.answer = httpx.Response(200)
    world.client.post("/v1/runtime/push-logs")
    assert world.over == 1
    world.client.post("/v1/runtime/push-task-output")
    assert world.over == 2
    world.superlink.answer = httpx.Response(500)
    world.client.post("/v1/runtime/push-task-output")
    assert world.over == 2


def test_events_are_kept_one_a_line(world: World) -> None:
    """Written anew: no app decides what a line of the file is."""
    assert world.client.post("/flame/events", content=b'{"kind":"run"}\n{"a":"x\\ny"}\n').status_code == 204
    assert world.client.post("/flame/events", content='{"b":"ü\u2028"}'.encode()).status_code == 204
    lines = world.folder.events.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"kind": "run"}, {"a": "x\ny"}, {"b": "ü\u2028"}]


@pytest.mark.parametrize("body", [b"no json", b"[1]", b"1", b'{"a":1}\nx', b'{"a":' + b"[" * 100_000])
def test_what_is_no_event_is_not_kept(world: World, body: bytes) -> None:
    """The whole request is refused."""
    assert world.client.post("/flame/events", content=body).status_code in {400, 413}
    assert not world.folder.events.exists()


def test_events_have_an_end(world: World, monkeypatch) -> None:
    """A flood fills no disk."""
    monkeypatch.setattr("flame_fl.hub.relay._MAX_EVENTS_BYTES", 100)
    answers = [world.client.post("/flame/events", content=b'{"a":"0123456789"}').status_code for _ in range(20)]
    assert answers[0] == 204
    assert answers[-1] == 413
    assert world.folder.events.stat().st_size <= 100
    assert world.client.post("/flame/events", content=b'{"a":"' + b"x" * 70_000 + b'"}').status_code == 413


def test_artefacts_are_kept_and_replaced(world: World) -> None:
    """In folders, too; a file sent again counts once."""
    assert world.client.put("/flame/artefacts/plots/a.svg", content=b"x" * 900).status_code == 204
    assert world.client.put("/flame/artefacts/plots/a.svg", content=b"y" * 950).status_code == 204
    assert world.kept() == {"plots/a.svg": b"y" * 950}


def test_artefacts_have_limits(world: World) -> None:
    """Of bytes, all together, and of number; what is refused leaves nothing."""
    assert world.client.put("/flame/artefacts/a", content=b"x" * 600).status_code == 204
    assert world.client.put("/flame/artefacts/b", content=b"x" * 401).status_code == 413
    assert world.kept() == {"a": b"x" * 600}
    for name in ("b", "c"):
        assert world.client.put(f"/flame/artefacts/{name}", content=b"x").status_code == 204
    assert world.client.put("/flame/artefacts/d", content=b"x").status_code == 413
    assert set(world.kept()) == {"a", "b", "c"}


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "a/../x", "/x", "a//b", "a/", ".hidden", "a/.hidden", "a\\b", "a\x00b", "a\nb",
        "x" * 300, "/".join("abcdefghi"), "a/./b", ".arriving",
    ],
)  # fmt: skip
def test_names_are_plain(world: World, name: str) -> None:
    """No way out, nothing hidden, nothing that a terminal would act on."""
    assert not is_plain_path(name)
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    assert world.client.put(f"/flame/artefacts/{quoted}", content=b"x").status_code in {400, 403, 404, 405}
    assert world.kept() == {}
    assert not list(world.folder.path.glob("x*"))


def test_a_file_is_no_folder(world: World) -> None:
    """Nor the other way round."""
    assert world.client.put("/flame/artefacts/a", content=b"x").status_code == 204
    assert world.client.put("/flame/artefacts/a/b", content=b"x").status_code == 409
    assert world.client.put("/flame/artefacts/c/d", content=b"x").status_code == 204
    assert world.client.put("/flame/artefacts/c", content=b"x").status_code == 409
    assert world.kept() == {"a": b"x", "c/d": b"x"}


def test_it_serves_on_a_socket_in_a_deep_folder(tmp_path: Path) -> None:
    """Longer than a socket's name may be; anybody inside may connect; stopping takes it away, starting brings it."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    for _ in range(2):
        world = World(deep)
        world.relay.start()
        where = world.folder.socket_folder / "r"
        assert where.stat().st_mode & 0o777 == 0o666
        assert where.parent.stat().st_mode & 0o777 == 0o755
        assert where.parent.parent.stat().st_mode & 0o777 == 0o700
        descriptor = os.open(where.parent, os.O_DIRECTORY)
        with httpx.Client(transport=httpx.HTTPTransport(uds=f"/proc/self/fd/{descriptor}/r")) as client:
            for _ in range(100):
                try:
                    assert client.get("http://relay/x").status_code == 403
                    break
                except httpx.ConnectError:
                    continue
        os.close(descriptor)
        world.relay.stop()
        assert not where.exists()
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="AF_UNIX path too long"):
        probe.connect(str(where))


def test_checkpoints_are_kept_and_given_back(world: World) -> None:
    """To this run's own ServerApp, by the names that are there; they take nothing of the artefacts' room."""
    assert world.client.get("/flame/checkpoint/").json() == {"files": []}
    assert world.client.put("/flame/checkpoint/1/odd/state.json", content=b"{}").status_code == 204
    assert world.client.put("/flame/checkpoint/begun.json", content=b"x" * 900).status_code == 204
    assert world.client.put("/flame/checkpoint/1/odd/state.json", content=b"{1}").status_code == 204
    assert world.client.get("/flame/checkpoint/").json() == {"files": ["1/odd/state.json", "begun.json"]}
    answer = world.client.get("/flame/checkpoint/1/odd/state.json")
    assert (answer.status_code, answer.content) == (200, b"{1}")
    assert world.client.put("/flame/artefacts/a", content=b"x" * 999).status_code == 204
    assert world.kept() == {"a": b"x" * 999}
    assert world.folder.has_checkpoint
    assert world.superlink.requests == []


def test_checkpoints_have_the_same_limits(world: World) -> None:
    """In bytes, in files, and in their names."""
    assert world.client.put("/flame/checkpoint/a", content=b"x" * 1001).status_code == 413
    for name in "abc":
        assert world.client.put(f"/flame/checkpoint/{name}", content=b"x").status_code == 204
    assert world.client.put("/flame/checkpoint/d", content=b"x").status_code == 413
    for name in ("..%2f..%2ftask.json", ".hidden", "%2fetc%2fpasswd", "a%00"):
        assert world.client.put(f"/flame/checkpoint/{name}", content=b"x").status_code in {400, 403, 404}


@pytest.mark.parametrize("name", ["../task.json", "..%2ftask.json", "%2fetc%2fpasswd", "x", "1", "link"])
def test_nothing_else_is_given(world: World, name: str) -> None:
    """The run's folder holds its token."""
    (world.folder.path / "task.json").write_text("secret")
    (world.folder.checkpoint / "1").mkdir()
    (world.folder.checkpoint / "1" / "kept").write_text("kept")
    answer = world.client.get(f"/flame/checkpoint/{name}")
    assert answer.status_code in {403, 404}
    assert b"secret" not in answer.content


def test_a_run_that_is_over_has_no_checkpoint(world: World) -> None:
    """There is nothing to go on with."""
    world.client.put("/flame/checkpoint/1/odd/state.json", content=b"{}")
    world.folder.end(RunRecord(1, 42, "f", TOKEN, 0.0), "ended")
    assert not world.folder.has_checkpoint
    assert not world.folder.checkpoint.exists()
