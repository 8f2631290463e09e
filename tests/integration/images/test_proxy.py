"""deploy/hub/nginx.conf in a real nginx, before a hub that answers everything."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flame_fl.hub.tls import make_certificates
from tests.architecture.tree import ROOT

pytestmark = pytest.mark.slow
CONF = ROOT / "deploy/hub/nginx.conf"


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Proxy:
    """A running nginx."""

    hospitals: int
    researchers: int
    seen: list[str]
    context: ssl.SSLContext

    def ask(self, port: int, path: str, body: bytes = b"x", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """POST to a path exactly as it is written."""
        connection = HTTPSConnection("localhost", port, timeout=20, context=self.context)
        try:
            connection.request("POST", path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The shipped configuration with other ports and paths."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if not nginx:
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    folder.parent.chmod(0o711)  # nginx's workers are nobody
    made = make_certificates(["localhost"])
    for name, data in {"ca.crt": made.ca, "server.crt": made.server, "server.key": made.server_key}.items():
        (folder / name).write_bytes(data)
    seen: list[str] = []
    hub = _hub(folder, seen)
    hospitals, researchers = free_port(), free_port()
    conf = CONF.read_text().replace("/var/lib/flame/tls/", f"{folder}/")
    for old, new in {
        "127.0.0.1:8000": f"127.0.0.1:{hub.server_address[1]}",
        "listen 443 ssl": f"listen 127.0.0.1:{hospitals} ssl",
        "listen 8443 ssl": f"listen 127.0.0.1:{researchers} ssl",
    }.items():
        assert conf.count(old) == 1
        conf = conf.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{conf}\n}}"
    )
    process = subprocess.Popen([str(nginx), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
    try:
        _await(researchers, folder / "error.log")
        yield Proxy(hospitals, researchers, seen, ssl.create_default_context(cafile=folder / "ca.crt"))
    finally:
        process.terminate()
        process.wait(20)
        hub.shutdown()


def _hub(folder: Path, seen: list[str]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.path)
            said = f"{len(body)} {self.headers.get('Authorization', '')}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _await(port: int, log: Path) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
            time.sleep(0.05)
        else:
            return


def test_each_side_reaches_its_own(proxy: Proxy) -> None:
    assert proxy.ask(proxy.hospitals, "/v1/fleet/pull-messages")[0] == 200
    assert proxy.ask(proxy.hospitals, "/health")[0] == 200
    assert proxy.ask(proxy.researchers, "/v1/control/start-run")[0] == 200
    assert proxy.ask(proxy.researchers, "/v1/flame/runs/1/events?after=2")[0] == 200
    assert "/v1/flame/runs/1/events?after=2" in proxy.seen


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runtime/acquire-task",
        "/v1/fleet/../runtime/acquire-task",
        "/v1/fleet/..%2fruntime/acquire-task",
        "/v1/fleet/%2e%2e/runtime/acquire-task",
        "/v1/control/../runtime/acquire-task",
        "//v1/runtime/acquire-task",
        "/V1/fleet/pull-messages",
        "/v1/fleet",
        "/docs",
        "/openapi.json",
        "/",
    ],
)
def test_what_nobody_reaches(proxy: Proxy, path: str) -> None:
    for port in (proxy.hospitals, proxy.researchers):
        before = len(proxy.seen)
        assert proxy.ask(port, path)[0] in {301, 400, 404}
        assert len(proxy.seen) == before


def test_neither_side_reaches_the_others(proxy: Proxy) -> None:
    before = len(proxy.seen)
    assert proxy.ask(proxy.hospitals, "/v1/control/start-run")[0] == 404
    assert proxy.ask(proxy.hospitals, "/v1/flame/runs/1")[0] == 404
    assert proxy.ask(proxy.researchers, "/v1/fleet/pull-messages")[0] == 404
    assert len(proxy.seen) == before


def test_what_a_run_sends_fits_through(proxy: Proxy) -> None:
    """An object of 5 MB, a bundle of 10 MB, and the login."""
    body = os.urandom(10_000_000)
    status, said = proxy.ask(proxy.researchers, "/v1/control/start-run", body, {"Authorization": "Bearer t"})
    assert (status, said) == (200, b"10000000 Bearer t")


def test_what_is_too_large_stops_at_the_proxy(proxy: Proxy) -> None:
    before = len(proxy.seen)
    assert proxy.ask(proxy.hospitals, "/v1/fleet/push-object", bytes(1), {"Content-Length": str(65 << 20)})[0] == 413
    assert len(proxy.seen) == before


def test_the_proxy_shows_the_hubs_certificate(proxy: Proxy) -> None:
    """Nodes trust the hub's authority and no other."""
    with pytest.raises(ssl.SSLCertVerificationError):
        Proxy(proxy.hospitals, 0, [], ssl.create_default_context()).ask(proxy.hospitals, "/health")
