"""The adapter against the stand-in Hub over HTTP: login, rows, reports, TLS, and a Hub that is broken or hostile.

Nothing here was tried against a live FLAME Hub; tests/support/flame_hub_server.py says what of it is faithful.
"""

import gzip
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flame_fl.cli import node_hub
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.store import Store
from flame_fl.node.config import NodeFiles
from flame_fl.node.external import FlameHubSection, HubIds, HubStatus, RunState, with_analysis, with_project
from flame_fl.node.external_files import HubFiles, read_ids, write_ids
from flame_fl.node.flame_hub import HubApi, HubError, Seen
from flame_fl.node.hub_approvals import FlameHub, open_external
from flame_fl.simulation.policy import simulated_key
from tests.support.fhir_server import Authority
from tests.support.flame_hub_server import Fault, HubServer

PROJECT, DIGEST = "blood-clock", "ab" * 32


@pytest.fixture(scope="module")
def running() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def server(running: HubServer) -> HubServer:
    running.reset()
    return running


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def files(tmp_path: Path, server: HubServer) -> HubFiles:
    return with_secret(tmp_path, server.secret)


def with_secret(state: Path, secret: str) -> HubFiles:
    files = HubFiles(state)
    files.secret.parent.mkdir(exist_ok=True)
    files.secret.write_text(secret + "\n")
    files.secret.chmod(0o600)
    return files


def section_of(server: HubServer, **changes: object) -> FlameHubSection:
    stated = {"core_url": f"{server.base}/core", "auth_url": f"{server.base}/auth", "client_id": server.client_id}
    return FlameHubSection.model_validate({**stated, "node_id": str(server.node.id), **changes})


@pytest.fixture
def api(server: HubServer, files: HubFiles) -> Iterator[HubApi]:
    api = HubApi(section_of(server), files, most_bytes=100_000, most_seconds=2.0)
    yield api
    api.close()


def failed(api: HubApi, server: HubServer, hub_id: str | None = None) -> HubError:
    """The error of a question; nothing hangs on it, and the secret is nowhere in it."""
    with pytest.raises(HubError) as caught:
        api.analysis_node(hub_id or str(uuid4()))
    err = caught.value
    assert err.__cause__ is None
    assert err.__context__ is None
    assert server.secret not in "".join(traceback.format_exception(err)) + repr(err) + err.mend
    return err


class TestRows:
    @pytest.mark.parametrize(
        ("status", "seen"),
        [("approved", HubStatus.APPROVED), ("rejected", HubStatus.REJECTED), (None, HubStatus.PENDING)],
    )
    def test_both_kinds_in_each_status(
        self, api: HubApi, server: HubServer, status: str | None, seen: HubStatus
    ) -> None:
        """With the row's id, and the project of an analysis."""
        project = server.add_project(status)
        analysis = server.add_analysis(project.project_id, status)
        assert api.project_node(str(project.project_id)) == Seen(seen, str(project.id))
        assert api.analysis_node(str(analysis.analysis_id)) == Seen(seen, str(analysis.id), str(project.project_id))
        assert sum("token" in line for line in server.requests) == 1

    def test_a_row_of_another_node_is_not_ours(self, api: HubApi, server: HubServer) -> None:
        """Approved there, and unknown here."""
        row = server.add_analysis(uuid4(), "approved", node=server.other)
        assert api.analysis_node(str(row.analysis_id)) == Seen(HubStatus.GONE)

    @pytest.mark.parametrize("wrong", ["nodeId", "analysisId", "node_id", "analysis_id"])
    def test_a_hub_that_answers_with_another_row_is_not_believed(
        self, api: HubApi, server: HubServer, wrong: str
    ) -> None:
        """Another node's, or another analysis's: approved, and worth nothing."""
        row = server.add_analysis(uuid4(), "approved")
        camel = {"node_id": "nodeId", "analysis_id": "analysisId"}.get(wrong, wrong)

        def swap(answer: Any) -> Any:
            answer["data"][0][camel] = str(uuid4())
            return answer

        server.faults = [Fault("analysis-nodes", change=swap)]
        assert api.analysis_node(str(row.analysis_id)) == Seen(HubStatus.UNKNOWN)

    def test_a_hub_that_ignores_the_filter_is_not_believed(self, api: HubApi, server: HubServer) -> None:
        """The first of many rows is not ours by chance."""
        row = server.add_analysis(uuid4(), "approved")

        def doubled(answer: Any) -> Any:
            return {**answer, "data": answer["data"] * 2}

        server.faults = [Fault("analysis-nodes", change=doubled)]
        assert api.analysis_node(str(row.analysis_id)) == Seen(HubStatus.UNKNOWN)

    def test_an_analysis_nested_in_the_row_must_be_the_same(self, api: HubApi, server: HubServer) -> None:
        """Or its project would be another's."""
        row = server.add_analysis(uuid4(), "approved")

        def swap(answer: Any) -> Any:
            answer["data"][0]["analysis"]["id"] = str(uuid4())
            return answer

        server.faults = [Fault("analysis-nodes", change=swap)]
        assert api.analysis_node(str(row.analysis_id)) == Seen(HubStatus.UNKNOWN)

    @pytest.mark.parametrize("word", ["Approved", "approved ", "withdrawn", "", 1, True, ["approved"], {"a": 1}])
    def test_a_status_that_the_client_does_not_know(self, api: HubApi, server: HubServer, word: object) -> None:
        """Is an answer, and no approval."""
        row = server.add_analysis(uuid4(), "approved")

        def change(answer: Any) -> Any:
            answer["data"][0]["approvalStatus"] = word
            return answer

        server.faults = [Fault("analysis-nodes", change=change)]
        assert api.analysis_node(str(row.analysis_id)) == Seen(HubStatus.UNKNOWN)

    def test_what_it_asks(self, api: HubApi, server: HubServer) -> None:
        """For one row, by both ids; never for a list to page through."""
        hub_id = str(uuid4())
        api.analysis_node(hub_id)
        (asked,) = [line for line in server.requests if "analysis-nodes" in line]
        for part in (f"filter%5BanalysisId%5D={hub_id}", f"filter%5BnodeId%5D={server.node.id}", "page%5Blimit%5D=2"):
            assert part in asked


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "whole"), [(401, True), (403, False), (429, True), (500, False), (502, True), (503, True)]
    )
    def test_a_status_that_says_no(self, api: HubApi, server: HubServer, status: int, whole: bool) -> None:
        """Named by its number; the Hub's own words are not passed on, whatever its body says of the status."""
        server.faults = [
            Fault("analysis-nodes", status=status, body=b'{"message": "\\u001b[31mboo", "statusCode": 404}')
        ]
        err = failed(api, server)
        assert f"({status})" in str(err)
        assert "boo" not in str(err)
        assert err.whole is whole

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b"null",
            b"{}",
            b'{"data": {}, "meta": {}}',
            b'{"data": [1], "meta": {"total": 1, "limit": 1, "offset": 0, "schema": {}}}',
            b"\xff\xfe",
            b"[" * 50_000,
            b'{"a": ' * 9_000,
            b'{"data": ' + b"9" * 5_000 + b"}",
        ],
    )
    def test_garbage(self, api: HubApi, server: HubServer, body: bytes) -> None:
        """Is no answer."""
        server.faults = [Fault("analysis-nodes", status=200, body=body)]
        assert "cannot read" in str(failed(api, server))

    @pytest.mark.parametrize("body", [b"[]", b"x", b'{"access_token": "t"}', b'{"code": 7}', b"\xff"])
    @pytest.mark.parametrize("status", [200, 401, 403, 500])
    def test_garbage_from_the_login(self, api: HubApi, server: HubServer, status: int, body: bytes) -> None:
        """The token in it is in no error."""
        server.faults = [Fault("token", status=status, body=body)]
        assert "login service" in str(err := failed(api, server)) or "secret" in str(err)

    def test_a_wrong_secret(self, server: HubServer, tmp_path: Path) -> None:
        """Told by what to mend."""
        api = HubApi(section_of(server), with_secret(tmp_path, "wrong-" + server.secret))
        err = failed(api, server)
        assert err.whole
        assert "refuses this node's client or its secret" in err.message

    def test_a_login_that_echoes_the_secret(self, api: HubApi, server: HubServer, caplog: Any) -> None:
        """It is in no error and in no log."""
        echo = json.dumps({"code": server.secret, "message": server.secret}).encode()
        server.faults = [Fault("token", status=401, body=echo, headers={"x-echo": server.secret})]
        failed(api, server)
        assert server.secret not in caplog.text

    def test_a_login_that_sends_elsewhere_is_not_followed(self, api: HubApi, server: HubServer) -> None:
        """The secret goes to one address only."""
        location = {"location": f"{server.base}/auth/token?elsewhere"}
        server.faults = [Fault("token", status=307, body=b"{}", headers=location, times=1)]
        failed(api, server)
        assert len(server.requests) == 1

    def test_a_huge_answer_is_not_read(self, api: HubApi, server: HubServer) -> None:
        """Nor a small one that unpacks to a huge one; nor headers without end."""
        server.faults = [Fault("analysis-nodes", status=200, body=b" " * 200_000)]
        assert "too large" in str(failed(api, server))
        packed = gzip.compress(b" " * 50_000_000)
        server.faults = [Fault("analysis-nodes", status=200, body=packed, headers={"content-encoding": "gzip"})]
        assert "compressed" in str(failed(api, server))
        server.faults = [Fault("analysis-nodes", status=200, body=b"{}", headers={"x": "y" * 90_000})]
        failed(api, server)

    def test_a_slow_answer_is_not_waited_for(self, api: HubApi, server: HubServer) -> None:
        """Two seconds here, twenty at a node."""
        server.faults = [Fault("analysis-nodes", wait=6)]
        began = time.monotonic()
        assert failed(api, server).whole
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("prefix", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"])
    def test_an_answer_that_trickles_is_not_waited_for(self, files: HubFiles, server: HubServer, prefix: bytes) -> None:
        """Header by header, or byte by byte: each arrives in time, and the whole does not."""
        with trickling(prefix) as port:
            section = section_of(server, auth_url=f"http://localhost:{port}")
            api = HubApi(section, files, most_seconds=1.0)
            began = time.monotonic()
            err = failed(api, server)
            assert time.monotonic() - began < 5
            assert err.whole

    def test_nobody_there(self, files: HubFiles, server: HubServer) -> None:
        """The address is named as what to look at."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        err = failed(HubApi(section_of(server, core_url=f"http://127.0.0.1:{port}"), files), server)
        assert "core service does not answer" in err.message
        assert err.whole

    def test_what_the_environment_says_of_proxies_is_ignored(
        self, files: HubFiles, server: HubServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The secret would go there."""
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert HubApi(section_of(server), files).analysis_node(str(uuid4())) == Seen(HubStatus.GONE)


class trickling:
    """A server that sends something every tenth of a second, and never ends."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix, self._stop = prefix, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        peer, _ = self._socket.accept()
        try:
            peer.sendall(self._prefix or b"HTTP/1.1 200 OK\r\n")
            while not self._stop.wait(0.1):
                peer.sendall(b" " if self._prefix else b"x: y\r\n")
        except OSError:
            pass
        finally:
            peer.close()


class TestReports:
    def test_state_and_percentage_and_nothing_else(self, api: HubApi, server: HubServer) -> None:
        """The row's approval and comment stay as they are."""
        row = server.add_analysis(uuid4(), "approved")
        for state in RunState:
            api.report(str(row.id), state, 40)
        assert server.reports == [
            {"row": str(row.id), "executionStatus": state.value, "executionProgress": 40} for state in RunState
        ]
        assert server.analysis_nodes[0].approval_status == "approved"

    def test_a_row_that_is_not_there(self, api: HubApi) -> None:
        """Is an error of this one only."""
        with pytest.raises(HubError) as caught:
            api.report(str(uuid4()), RunState.RUNNING, 1)
        assert not caught.value.whole


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    def test_with_the_hubs_own_authority(self, authority: Authority, tmp_path: Path) -> None:
        """Given by a path below the state folder."""
        with HubServer(certificate=authority.issue()) as server:
            files = with_secret(tmp_path, server.secret)
            api = HubApi(section_of(server, ca=authority.pem.name), files)
            assert api.node() is not None

    @pytest.mark.parametrize("how", ["another authority", "the system's", "another host", "expired"])
    def test_any_other_certificate_gets_no_secret(self, authority: Authority, tmp_path: Path, how: str) -> None:
        """The connection ends before anything is sent."""
        pair = authority.issue("hub.example") if how == "another host" else authority.issue(expired=how == "expired")
        with HubServer(certificate=pair) as server:
            files = with_secret(tmp_path, server.secret)
            ca = {"another authority": Authority(tmp_path).pem.name, "the system's": ""}.get(how, authority.pem.name)
            err = failed(HubApi(section_of(server, ca=ca), files), server)
            assert "certificate" in err.message
            assert server.requests == []

    def test_no_authority_that_can_be_read(self, server: HubServer, files: HubFiles) -> None:
        """Is told at the start."""
        with pytest.raises(InputError, match="no certificate"):
            HubApi(section_of(server, ca="keys/flame-hub.secret"), files)


class TestWhole:
    """What a gate sees, from settings to answers, over HTTP."""

    @pytest.fixture
    def flame(self, server: HubServer, files: HubFiles) -> FlameHub:
        self.project = server.add_project("approved")
        self.analysis = server.add_analysis(self.project.project_id, "approved")
        write_ids(
            files,
            with_analysis(
                with_project(HubIds(), PROJECT, str(self.project.project_id)), DIGEST, str(self.analysis.analysis_id)
            ),
        )
        self.said: list[str] = []
        flame = open_external(section_of(server), files.state, self.said.append)
        assert isinstance(flame, FlameHub)
        return flame

    def decide(self, server: HubServer, status: str | None) -> None:
        server.analysis_nodes[0] = server.analysis_nodes[0].model_copy(update={"approval_status": status})

    def code(self, flame: FlameHub) -> RefusalCode | None:
        flame.refresh()
        return flame.verdict(PROJECT, DIGEST).code

    def test_approved_withdrawn_and_approved_again(self, flame: FlameHub, server: HubServer) -> None:
        """As the people with authority over the node decide in the Hub."""
        assert flame.verdict(PROJECT, DIGEST).code == RefusalCode.PENDING_APPROVAL
        assert self.code(flame) is None
        self.decide(server, "rejected")
        assert self.code(flame) == RefusalCode.WITHDRAWN_OR_EXPIRED
        self.decide(server, "approved")
        assert self.code(flame) is None
        server.analysis_nodes.clear()
        assert self.code(flame) == RefusalCode.WITHDRAWN_OR_EXPIRED

    def test_a_token_that_was_revoked_is_fetched_anew(self, flame: FlameHub, server: HubServer) -> None:
        """One round is lost; the last answers still count."""
        assert self.code(flame) is None
        server.revoke_tokens()
        assert self.code(flame) is None
        assert "token" in flame.failure
        assert self.code(flame) is None
        assert flame.failure == ""

    def test_a_token_that_ended_is_fetched_anew(self, flame: FlameHub, server: HubServer) -> None:
        """Without losing a round."""
        server.token_seconds = 0
        assert self.code(flame) is None
        assert self.code(flame) is None
        assert flame.failure == ""

    def test_progress_is_reported(self, flame: FlameHub, server: HubServer) -> None:
        """To the row of this node."""
        flame.refresh()
        flame.report(DIGEST, RunState.STARTING, 0)
        flame.deliver()
        flame.report(DIGEST, RunState.FINISHED, 99)
        flame.deliver()
        row = server.analysis_nodes[0]
        assert (row.execution_status, row.execution_progress) == ("executed", 100)
        assert [set(one) for one in server.reports] == [{"row", "executionStatus", "executionProgress"}] * 2

    def test_the_secret_is_nowhere(
        self, flame: FlameHub, server: HubServer, files: HubFiles, caplog: Any, capfd: Any
    ) -> None:
        """Not in a log of any library, not printed, not in an object's words, not in a file but its own."""
        self.code(flame)
        server.faults = [Fault("token", status=500, body=server.secret.encode()), Fault("", status=401, body=b"{}")]
        flame._disconnect()
        self.code(flame)
        flame.report(DIGEST, RunState.RUNNING, 1)
        flame.deliver()
        out, err = capfd.readouterr()
        words = caplog.text + out + err + repr(flame) + repr(vars(flame)) + "".join(self.said) + flame.failure
        kept = [path for path in files.state.rglob("*") if path.is_file() and path != files.secret]
        words += "".join(path.read_text() for path in kept)
        assert len(kept) == 2
        assert server.secret not in words
        assert server.secret not in "".join(server.requests)


class TestCommands:
    @pytest.fixture
    def run(self, server: HubServer, files: HubFiles, monkeypatch: pytest.MonkeyPatch) -> Any:
        self.config = SimpleNamespace(flame_hub=section_of(server))
        node = SimpleNamespace(config=self.config, files=NodeFiles(files.state))
        Store(node.files.database).close()
        simulated_key(node.files.identity_key)
        monkeypatch.setattr(node_hub, "open_here", lambda: node)
        monkeypatch.setenv("USER", "ada")
        monkeypatch.setenv("LOGNAME", "ada")

        def call(*words: str) -> Result:
            result = CliRunner().invoke(node_hub.hub, words)
            assert server.secret not in result.output
            return result

        return call

    def test_map_show_check_unmap(self, run: Any, server: HubServer, files: HubFiles) -> None:
        """The way of an administrator; who mapped what is in the audit chain."""
        project = server.add_project("approved")
        analysis = server.add_analysis(project.project_id, None)
        assert run("map", "--project", PROJECT, str(project.project_id).upper()).exit_code == 0
        mapped = run("map", "--analysis", DIGEST, str(analysis.analysis_id), "--json")
        assert json.loads(mapped.stdout) == {"analysis": DIGEST, "hub_id": str(analysis.analysis_id)}
        shown = json.loads(run("show", "--json").stdout)
        assert [(one["kind"], one["id"], one["status"]) for one in shown] == [
            ("project", PROJECT, None),
            ("analysis", DIGEST, None),
        ]
        checked = run("check", "--json")
        assert checked.exit_code == 1
        found = {one["name"]: one for one in json.loads(checked.stdout)}
        assert {name for name, one in found.items() if not one["holds"]} == {f"analysis {DIGEST[:12]}"}
        assert "pending" in found[f"analysis {DIGEST[:12]}"]["said"]
        assert set(found) == {"client", "node", "clock", f"project {PROJECT}", f"analysis {DIGEST[:12]}"}
        server.analysis_nodes[0] = server.analysis_nodes[0].model_copy(update={"approval_status": "approved"})
        assert run("check").exit_code == 0
        assert not files.answers.exists()  # a check stores nothing
        assert run("unmap", DIGEST).exit_code == 0
        assert read_ids(files).analyses == {}
        store = Store(NodeFiles(files.state).database)
        entries = [row for row, _ in store.audit_rows()]
        store.close()
        kinds = [entry["kind"] for entry in entries]
        assert kinds[-3:] == ["flame-hub-mapped", "flame-hub-mapped", "flame-hub-unmapped"]
        assert entries[-1]["body"]["by"] == "ada"

    @pytest.mark.parametrize("words", [("map", str(uuid4())), ("map", "--project", "a", "--analysis", "b", "c")])
    def test_map_wants_one_of_the_two(self, run: Any, words: tuple[str, ...]) -> None:
        """Else it says which there are."""
        assert isinstance(run(*words).exception, InputError)

    def test_a_node_without_the_section(self, run: Any) -> None:
        """Is told where to read on."""
        self.config.flame_hub = None
        assert isinstance(run("check").exception, InputError)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"node_id": str(uuid4())}, "knows no node"),
            ({"client_id": "wrong"}, "refuses this node's client"),
            ({"other": True}, "belongs to another client"),
            ({"aggregator": True}, "is an aggregator"),
            ({"skew": True}, "clock"),
        ],
    )
    def test_check_names_what_does_not_hold(
        self, run: Any, server: HubServer, change: dict[str, Any], said: str
    ) -> None:
        """Exit code 1, one sentence, and no traceback."""
        if change.pop("other", False):
            change["node_id"] = str(server.other.id)
        if change.pop("aggregator", False):
            server.nodes[server.node.id] = server.node.model_copy(update={"type": "aggregator"})
        if change.pop("skew", False):
            late = {"date": "Tue, 01 Jan 2019 00:00:00 GMT"}
            server.faults = [Fault("nodes", change=lambda answer: answer, headers=late)]
        self.config.flame_hub = section_of(server, **change)
        result = run("check", "--json")
        assert result.exit_code == 1
        assert any(said in one["said"] for one in json.loads(result.stdout) if not one["holds"])

    def test_check_of_a_hub_that_is_down(self, run: Any, server: HubServer) -> None:
        """Every question is answered by what failed."""
        server.faults = [Fault("", status=503, body=b"{}")]
        result = run("check")
        assert result.exit_code == 1
        assert "503" in result.stdout
        assert "clock" in result.stdout

    def test_check_without_a_secret(self, run: Any, files: HubFiles, server: HubServer) -> None:
        """Nothing is asked."""
        files.secret.unlink()
        assert run("check").exit_code == 1
        assert server.requests == []

    def test_unmap_of_nothing(self, run: Any) -> None:
        """Is an error."""
        assert isinstance(run("unmap", "x").exception, FlameError)
