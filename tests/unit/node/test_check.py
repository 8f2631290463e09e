"""`flame node check`: every failure is a sentence that names the thing, with what to do; no check ends the others."""

import datetime
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flame_fl.contract.places import Places
from flame_fl.hub.tls import Certificates, make_certificates
from flame_fl.node import check as module
from flame_fl.node.check import Finding, check
from flame_fl.node.wiring import Node, open_node
from tests.unit.node.conftest import IMAGE, change, cohort, offer

Hub = Callable[..., int]


@pytest.fixture
def hub(authority: Certificates, tmp_path: Path) -> Iterator[Hub]:
    """Something that answers over TLS at a port, with a clock of its own."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def serve(certificates: Certificates = authority, ahead_seconds: float = 0.0) -> int:
        class Handler(BaseHTTPRequestHandler):
            def date_time_string(self, timestamp: float | None = None) -> str:
                now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead_seconds)
                return format_datetime(now, usegmt=True)

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        (tmp_path / "server.crt").write_bytes(certificates.server)
        (tmp_path / "server.key").write_bytes(certificates.server_key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
        server = HTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda request, address: None  # type: ignore[method-assign, assignment]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return int(server.server_address[1])

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def found(node: Node) -> dict[str, Finding]:
    findings = {f.name: f for f in check(node)}
    assert all(f.said for f in findings.values())
    return findings


def at(places: Places, port: int) -> Node:
    change(places, '"localhost:8000"', f'"localhost:{port}"')
    return open_node(places)


def test_a_node_that_is_right_holds_everywhere(node: Node, places: Places, hub: Hub) -> None:
    findings = found(at(places, hub()))
    assert [name for name, f in findings.items() if not f.holds] == []
    assert list(findings) == ["Flower", "permissions", "state", "disk", "data stores", "hub", "sandbox"]
    assert "cohort: 30 patients" in findings["data stores"].said


def test_a_hub_that_is_down(node: Node, places: Places) -> None:
    """The address and the firewall are named; all other checks are made all the same."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    findings = found(at(places, port))
    assert not findings["hub"].holds
    assert f"localhost:{port} cannot be reached" in findings["hub"].said
    assert "firewall" in findings["hub"].mend
    assert [n for n, f in findings.items() if not f.holds] == ["hub"]


def test_a_hub_whose_name_is_unknown(node: Node, places: Places) -> None:
    change(places, '"localhost:8000"', '"no-such-host.invalid:8000"')
    finding = found(open_node(places))["hub"]
    assert not finding.holds
    assert "no-such-host.invalid:8000 cannot be reached" in finding.said


def test_a_certificate_of_another_authority(node: Node, places: Places, hub: Hub) -> None:
    """Somebody in between, or the wrong ca.crt."""
    finding = found(at(places, hub(make_certificates(("localhost",)))))["hub"]
    assert not finding.holds
    assert "shows a certificate that keys/hub-ca.crt did not sign" in finding.said
    assert "nobody is in between" in finding.mend


def test_a_certificate_for_another_name(node: Node, places: Places, hub: Hub) -> None:
    """Signed by the right authority, for another host."""
    port = hub()
    change(places, '"localhost:8000"', f'"127.1:{port}"')
    finding = found(open_node(places))["hub"]
    assert not finding.holds


@pytest.mark.parametrize("seconds", [120.0, -120.0])
def test_clocks_that_differ(node: Node, places: Places, hub: Hub, seconds: float) -> None:
    """Flower's signatures hold a time; the difference and the mend are said."""
    finding = found(at(places, hub(ahead_seconds=seconds)))["hub"]
    assert not finding.holds
    assert "clock and the hub's differ by 1" in finding.said
    assert "NTP" in finding.mend


def test_a_hub_that_speaks_no_tls(node: Node, places: Places) -> None:
    """Something else listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"SSH-2.0-x\r\n"), daemon=True).start()
        finding = found(at(places, server.getsockname()[1]))["hub"]
    assert not finding.holds
    assert finding.mend


@pytest.mark.parametrize("name", ["flower_key", "identity_key", "data_key", "secret", "keys"])
@pytest.mark.parametrize("bits", [0o040, 0o004])
def test_a_key_that_others_can_read(node: Node, name: str, bits: int) -> None:
    """The file and the command."""
    path = getattr(node.files, name)
    path.chmod(path.stat().st_mode | bits)
    finding = found(node)["permissions"]
    assert (finding.holds, finding.mend) == (False, f"chmod go-rwx {path}")
    assert str(path) in finding.said


def test_a_key_that_is_gone(node: Node) -> None:
    node.files.identity_key.unlink()
    finding = found(node)["permissions"]
    assert not finding.holds
    assert "identity" in finding.said


def test_a_chain_that_does_not_hold(node: Node) -> None:
    import sqlite3

    with sqlite3.connect(node.files.database) as database:
        database.execute("UPDATE audit SET entry=replace(entry, 'DIZ-1', 'DIZ-9')")
    assert not found(node)["state"].holds


def test_a_disk_that_is_full(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**8))
    finding = found(node)["disk"]
    assert (finding.holds, finding.said) == (False, "Only 0.1 GB are free for the state.")


def test_a_store_that_was_touched(node: Node, tmp_path: Path) -> None:
    """The commands that say whether its content changed, and that register the change."""
    cohort(tmp_path / "cohort", patients=31)
    finding = found(node)["data stores"]
    assert not finding.holds
    assert "Files of data store 'cohort' were touched" in finding.said
    assert finding.mend == "flame node data check cohort, then flame node data refresh cohort"


def test_a_store_that_is_gone(node: Node, tmp_path: Path) -> None:
    """Its folder is named."""
    (tmp_path / "cohort").rename(tmp_path / "moved")
    finding = found(node)["data stores"]
    assert not finding.holds
    assert "cohort" in finding.said


def test_a_flower_that_was_not_tested(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.0.0")
    finding = found(node)["Flower"]
    assert not finding.holds
    assert "Flower 2.0.0 is installed" in finding.said


def test_a_sandbox_that_confines_nothing_and_real_data(node: Node, tmp_path: Path) -> None:
    offer(node, "real", tmp_path / "cohort", mock=False)
    finding = found(node)["sandbox"]
    assert not finding.holds
    assert "'real' holds real data" in finding.said


def test_no_engine(node: Node, places: Places, tmp_path: Path) -> None:
    """Three checks fail, each says why; the socket's path is named."""
    change(places, 'kind = "subprocess"', 'kind = "docker"')
    change(places, 'engine = ""', f'engine = "unix://{tmp_path}/dead.sock"')
    findings = found(open_node(places))
    for name in ("Docker Engine", "images", "isolation"):
        assert not findings[name].holds
        assert "dead.sock does not answer" in findings[name].said
        assert "Start it" in findings[name].mend


def test_docker_host_is_the_default(
    node: Node, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DOCKER_HOST at a dead socket is found out."""
    change(places, 'kind = "subprocess"', 'kind = "docker"')
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    assert not found(open_node(places))["Docker Engine"].holds


@pytest.mark.docker
class TestAtAnEngine:
    @pytest.fixture(autouse=True)
    def _engine(self) -> None:
        from tests.support.engine import engine

        engine().close()

    def test_an_image_that_is_not_there(self, node: Node, places: Places) -> None:
        """Its id is named; isolation cannot be shown either."""
        change(places, 'kind = "subprocess"', 'kind = "docker"')
        findings = found(open_node(places))
        assert findings["Docker Engine"].holds
        assert not findings["images"].holds
        assert IMAGE[7:19] in findings["images"].said
        assert not findings["isolation"].holds
        assert findings["images"].mend

    def test_no_image_at_all(self, node: Node, places: Places) -> None:
        change(places, 'kind = "subprocess"', 'kind = "docker"')
        change(places, f'default = "{IMAGE}"', 'default = ""')
        findings = found(open_node(places))
        assert "flame node image build" in findings["images"].mend
        assert not findings["isolation"].holds

    def test_isolation_is_seen_from_inside(self, node: Node, places: Places) -> None:
        """With any image that has python3; and no container is left."""
        from tests.support.engine import engine

        client = engine()
        change(places, 'kind = "subprocess"', 'kind = "docker"')
        change(places, IMAGE, str(client.images.get("python:3.11-slim").id))
        node = open_node(places)
        findings = found(node)
        assert [n for n, f in findings.items() if not f.holds] == ["hub"]
        assert "properties seen from inside" in findings["isolation"].said
        owned = {"label": f"fl.flame.owner={node.config.node.id}"}
        assert client.containers.list(all=True, filters=owned) == []

    def test_a_container_that_is_not_confined_is_found_out(
        self, node: Node, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control: with one hardening left out the check fails and names the property."""
        from flame_fl.sandbox import self_test
        from tests.support.engine import engine

        real = self_test.hardened_options

        def softer(*arguments: object, **options: object) -> dict[str, object]:
            return {**real(*arguments, **options), "read_only": False, "user": "0:0"}  # type: ignore[arg-type]

        monkeypatch.setattr(self_test, "hardened_options", softer)
        change(places, 'kind = "subprocess"', 'kind = "docker"')
        change(places, IMAGE, str(engine().images.get("python:3.11-slim").id))
        finding = found(open_node(places))["isolation"]
        assert not finding.holds
        assert "user: 0" in finding.said
        assert "write to /etc: 'ALLOWED'" in finding.said
        assert "Do not start the node" in finding.mend


def test_no_check_raises(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one of them does, the others are made."""

    def breaks(node: Node) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "_disk", breaks)
    findings = found(node)
    assert (findings["disk"].holds, findings["disk"].said) == (False, "RuntimeError: a bug")
    assert findings["data stores"].holds
