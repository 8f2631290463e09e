"""How a ServerApp's process speaks to its relay: over a real socket, patiently."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import httpx
import pytest
from flwr.proto.runtime_pb2 import GetNodesRequest, GetNodesResponse

from flame_fl.flower import server_client
from flame_fl.flower.server_client import Patient, RelayClient, RunOverError
from flame_fl.flower.server_wish import WaitLeft


class Server(ThreadingMixIn, UnixStreamServer):
    """Answers with the codes a test gives, then with 200."""

    daemon_threads = True
    codes: list[int]
    seen: list[tuple[str, str, bytes]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = b""
        if "content-length" in self.headers:
            body = self.rfile.read(int(self.headers["content-length"]))
        else:
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        server = self.server
        assert isinstance(server, Server)
        server.seen.append((self.command, self.path, body))
        answer = GetNodesResponse().SerializeToString()
        self.send_response(server.codes.pop(0) if server.codes else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.seen.append((self.command, self.path, b""))
        answer = WaitLeft(known=True, seconds_left=9.5).model_dump_json().encode()
        self.send_response(server.codes.pop(0) if server.codes else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self) -> str:
        return "app"

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=["r", "x" * 90 + "/r"], ids=["short", "long"])
def server(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch) -> Iterator[tuple[Server, Path]]:
    where = tmp_path / request.param
    where.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(where.parent)
    server = Server("r", Handler)
    server.codes, server.seen = [], []
    monkeypatch.chdir(tmp_path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, where
    server.shutdown()
    server.server_close()


def test_operations_events_and_artefacts(server: tuple[Server, Path], tmp_path: Path) -> None:
    """Each to its path, whole."""
    listening, where = server
    client = RelayClient(where, Patient())
    client.GetNodes(GetNodesRequest())
    client.send_events(b"{}\n")
    (tmp_path / "a #1?").write_bytes(b"content")
    client.send_artefact("plots/a #1?", tmp_path / "a #1?")
    client.close()
    assert listening.seen == [
        ("POST", "/v1/runtime/get-nodes", b""),
        ("POST", "/flame/events", b"{}\n"),
        ("PUT", "/flame/artefacts/plots/a%20%231%3F", b"content"),
    ]


def test_how_long_to_wait_is_asked_patiently(server: tuple[Server, Path], monkeypatch) -> None:
    """And that the run has begun is said so; a hub that restarts is waited for."""
    monkeypatch.setattr(server_client.time, "sleep", lambda seconds: None)
    listening, where = server
    listening.codes = [503, 200, 503, 200]
    client = RelayClient(where, Patient())
    assert client.wait_left() == WaitLeft(known=True, seconds_left=9.5)
    client.begin()
    client.close()
    assert [(method, path) for method, path, _ in listening.seen] == [("GET", "/flame/wait")] * 2 + [
        ("POST", "/flame/begun")
    ] * 2


def test_checkpoints_are_sent_and_fetched_patiently(server: tuple[Server, Path], tmp_path: Path, monkeypatch) -> None:
    """Whole files, by names that are quoted."""
    monkeypatch.setattr(server_client.time, "sleep", lambda seconds: None)
    listening, where = server
    client = RelayClient(where, Patient())
    (tmp_path / "kept").write_bytes(b"content")
    listening.codes = [503, 204, 503, 200]
    client.send_checkpoint("1/odd/a b", tmp_path / "kept")
    client.fetch_checkpoint("1/odd/a b", tmp_path / "fetched")
    assert (
        listening.seen
        == [("PUT", "/flame/checkpoint/1/odd/a%20b", b"content")] * 2
        + [("GET", "/flame/checkpoint/1/odd/a%20b", b"")] * 2
    )
    assert WaitLeft.model_validate_json((tmp_path / "fetched").read_bytes()).known
    listening.codes = [404]
    with pytest.raises(httpx.HTTPStatusError):
        client.fetch_checkpoint("gone", tmp_path / "gone")
    client.close()


@pytest.mark.parametrize("code", [502, 503, 504])
def test_a_hub_that_restarts_is_waited_for(server: tuple[Server, Path], monkeypatch, code: int) -> None:
    """Longer each time."""
    waits: list[float] = []
    monkeypatch.setattr(server_client.time, "sleep", waits.append)
    listening, where = server
    listening.codes = [code] * 8
    RelayClient(where, Patient()).GetNodes(GetNodesRequest())
    assert len(listening.seen) == 9
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_run_that_is_over_is_over(server: tuple[Server, Path]) -> None:
    """No signal, no second try: an error that says so."""
    listening, where = server
    listening.codes = [401]
    with pytest.raises(RunOverError):
        RelayClient(where, Patient()).GetNodes(GetNodesRequest())
    assert len(listening.seen) == 1


@pytest.mark.parametrize("code", [400, 403, 413, 500])
def test_what_will_not_get_better_is_not_repeated(server: tuple[Server, Path], code: int) -> None:
    """It is raised at once."""
    listening, where = server
    listening.codes = [code]
    with pytest.raises(httpx.HTTPStatusError):
        RelayClient(where, Patient()).GetNodes(GetNodesRequest())
    assert len(listening.seen) == 1


def test_patience_ends(tmp_path: Path) -> None:
    """A socket that is gone, for longer than it lasts."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "r"))
    with pytest.raises(httpx.ConnectError):
        RelayClient(tmp_path / "r", Patient(0.3)).GetNodes(GetNodesRequest())
