"""`flame node …`, in this process: exit codes, JSON, and what a person reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.places import Places
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.workflow import Gate
from flame_fl.node.config import NodeFiles
from flame_fl.node.init import NODE_HELD
from flame_fl.node.wiring import Node
from tests.support.gates import make_fab, manifest_from, terms_table
from tests.unit.cli.conftest import Said
from tests.unit.cli.conftest import flame as _flame
from tests.unit.node.conftest import IMAGE, change
from tests.unit.node.decisions import LONG, ask, fab_of

Flame = Callable[..., Said]
flame = _flame  # the fixture of the command line's own tests


@pytest.fixture(autouse=True)
def _home(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAME_HOME", str(places.state))
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")


def asjson(said: Said) -> Any:
    assert len(said.out.splitlines()) == 1, said.out
    return json.loads(said.out)


def failed(said: Said, code: int) -> dict[str, Any]:
    """A failure in JSON: one sentence, the mend, the exit code; the same on standard error."""
    assert said.code == code, said
    answer: dict[str, Any] = asjson(said)
    assert answer["exit_code"] == code
    assert answer["error"]
    assert answer["error"] in said.err
    return answer


class TestInit:
    def test_says_what_to_send_and_what_comes_next(self, flame: Flame, places: Places, ca: Path) -> None:
        """The public key's file, on one line; nothing private."""
        said = flame("node", "init", "--name", "DIZ-1", "--hub", "localhost:8000", "--ca", ca)
        assert said.code == 0, said.err
        assert str(places.state / "keys" / "flower.pub") in said.out
        for word in ("flame node data add", "flame node image build", "flame node check", "flame node up"):
            assert word in said.out
        assert (places.state / "keys" / "superexec.secret").read_text() not in said.out + said.err
        assert "PRIVATE" not in said.out

    def test_json(self, flame: Flame, places: Places, ca: Path) -> None:
        said = flame("node", "init", "--name", "D", "--hub", "h:1", "--ca", ca, "--image", IMAGE, "--json")
        assert asjson(said) == {
            "config": str(places.config),
            "state": str(places.state),
            "public_key": str(places.state / "keys" / "flower.pub"),
        }
        assert IMAGE in places.config.read_text()

    def test_over_a_node_is_bad_input(self, flame: Flame, files: NodeFiles, ca: Path) -> None:
        said = flame("node", "init", "--name", "D", "--hub", "h:1", "--ca", ca, "--json")
        assert "a node here already" in failed(said, 2)["error"]

    def test_without_what_is_needed_is_usage(self, flame: Flame) -> None:
        assert flame("node", "init", "--name", "D").code == 2

    @pytest.mark.docker
    def test_a_tag_becomes_an_id(self, flame: Flame, places: Places, ca: Path) -> None:
        """A tag can be moved: what is written is the id it has now."""
        from tests.support.engine import engine

        wanted = engine().images.get("python:3.11-slim").id
        said = flame("node", "init", "--name", "D", "--hub", "h:1", "--ca", ca, "--image", "python:3.11-slim")
        assert said.code == 0, said.err
        assert wanted in places.config.read_text()

    @pytest.mark.docker
    def test_an_image_that_is_not_there(self, flame: Flame, places: Places, ca: Path) -> None:
        said = flame("node", "init", "--name", "D", "--hub", "h:1", "--ca", ca, "--image", "no-such-image:1", "--json")
        assert "no-such-image:1" in failed(said, 2)["error"]
        assert not places.state.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("status",), ("check",), ("requests",), ("approve", "abcdef"), ("reject", "abcdef"), ("data", "list"),
        ("down",), ("up",),
    ],
)  # fmt: skip
def test_without_a_node_every_command_says_how_to_make_one(flame: Flame, command: tuple[str, ...]) -> None:
    said = flame("node", *command)
    assert said.code == 2
    assert "flame node init" in said.err
    assert "Traceback" not in said.err


def test_settings_that_are_wrong_are_named(flame: Flame, node: Node, places: Places) -> None:
    change(places, "pids = 512", "pidz = 512")
    assert "limits.pidz" in failed(flame("node", "status", "--json"), 2)["error"]


class TestDecisions:
    @pytest.fixture
    def digest(self, gate: Gate) -> str:
        fab = fab_of()
        assert ask(gate, fab) is RefusalCode.PENDING_APPROVAL
        return manifest_from(fab).digest

    def test_show_before_deciding(self, flame: Flame, gate: Gate, digest: str) -> None:
        """Who asks, for what, which data, what leaves, in German too; for a program the sheet itself, which is kept."""
        said = " ".join(flame("node", "show", digest[:8]).out.replace("│", " ").split())
        for words in ("someone/an-app", "A purpose", "A basis", "cohort", "arrays/w", digest):
            assert words in said, words
        assert "Rechtsgrundlage" in flame("node", "show", digest[:8], "--german").out
        text = flame("node", "show", digest[:8], "--json").out.strip()
        assert json.loads(text)["digest"] == digest
        assert gate.store.sheet(sha256_hex(text.encode())) == text
        assert flame("node", "show", "abcdef12").code == 2

    def test_requests_approve_requests(self, flame: Flame, gate: Gate, digest: str) -> None:
        """Pending ones by default, decided ones with --all; the running gate knows at once."""
        (row,) = asjson(flame("node", "requests", "--json"))
        assert (row["digest"], row["status"], row["app"]) == (digest, "pending", "someone/an-app")
        assert digest[:12] in flame("node", "requests").out
        decided = asjson(flame("node", "approve", digest[:8], "--with-project", "--comment", "seen", "--json"))
        assert (decided["status"], decided["by"]) == ("approved", NODE_HELD)
        (entered,) = [e["body"] for e, _ in gate.store.audit_rows() if e["kind"] == "cli-decision"]
        assert (entered["user"], entered["act"], entered["digest"]) == ("ada", "approve", digest)
        assert ask(gate, fab_of(), leg="2") is RefusalCode.SANDBOX_FAILED
        assert asjson(flame("node", "requests", "--json")) == []
        assert [r["status"] for r in asjson(flame("node", "requests", "--all", "--json"))] == ["approved"]
        assert "Nothing waits for the steward." in flame("node", "requests").out

    def test_reject_and_withdraw(self, flame: Flame, gate: Gate, digest: str) -> None:
        assert "rejected" in flame("node", "reject", digest).out
        assert flame("node", "approve", digest, "--with-project").code == 0
        assert "withdrawn" in flame("node", "reject", digest).out
        assert ask(gate, fab_of(), leg="2") is RefusalCode.WITHDRAWN_OR_EXPIRED

    @pytest.mark.parametrize("word", ["abc", "f" * 20])
    def test_no_such_analysis_is_bad_input(self, flame: Flame, digest: str, word: str) -> None:
        for verb in ("approve", "reject"):
            failed(flame("node", verb, word, "--json"), 2)

    def test_an_app_without_terms(self, flame: Flame, gate: Gate, tmp_path: Path) -> None:
        """First the way on, then with the steward's own terms."""
        fab = make_fab({}, name="plain")
        ask(gate, fab)
        digest = manifest_from(fab).digest
        assert "--terms terms.toml" in failed(flame("node", "approve", digest, "--json"), 2)["mend"]
        (tmp_path / "terms.toml").write_text(tomli_w.dumps(terms_table(validity=LONG, run_config={})))
        said = flame("node", "approve", digest, "--terms", tmp_path / "terms.toml", "--with-project", "--json")
        assert asjson(said)["status"] == "approved"

    def test_what_an_app_calls_itself_is_escaped(self, flame: Flame, gate: Gate) -> None:
        """Control characters and markup of a stranger's do not reach the terminal."""
        fab = fab_of(project={**terms_table()["project"], "title": "[red]\x1b[31m A title"})
        assert ask(gate, fab) in {RefusalCode.PENDING_APPROVAL, RefusalCode.NOT_APPROVED}
        said = flame("node", "requests")
        assert "\x1b[31m" not in said.out


class TestStatus:
    def test_json(self, flame: Flame, node: Node, gate: Gate) -> None:
        """What runs, what is offered, what waits, what was spent, whether the chain holds."""
        ask(gate, fab_of())
        found = asjson(flame("node", "status", "--json"))
        assert found["gate"] == "does not run"
        assert found["data_stores"] == {"cohort": "(30 patients)"}
        assert found["analyses"] == {"pending": 1}
        assert found["epsilon_spent"] == "none"
        assert found["audit"].startswith("holds: ")
        assert found["sandbox"] == "subprocess, runc"

    def test_for_people(self, flame: Flame, node: Node) -> None:
        said = flame("node", "status")
        assert said.code == 0
        for word in ("DIZ-1", "localhost:8000", "does not run", "cohort (30 patients)"):
            assert word in said.out

    def test_a_broken_chain_is_exit_code_5(self, flame: Flame, node: Node) -> None:
        import sqlite3

        with sqlite3.connect(node.files.database) as database:
            database.execute("UPDATE audit SET entry=replace(entry, 'DIZ-1', 'DIZ-9')")
        failed(flame("node", "status", "--json"), 5)


class TestCheck:
    def test_one_failure_is_exit_code_1(self, flame: Flame, node: Node) -> None:
        """The hub is down here. Every finding is in the JSON, with its mend."""
        said = flame("node", "check", "--json")
        assert said.code == 1
        findings = {f["name"]: f for f in asjson(said)}
        assert [n for n, f in findings.items() if not f["holds"]] == ["hub"]
        assert findings["hub"]["mend"]

    def test_for_people(self, flame: Flame, node: Node) -> None:
        said = flame("node", "check")
        assert said.code == 1
        assert "FAILS  hub:" in said.out
        assert "holds  permissions:" in said.out


def test_down_without_a_gate(flame: Flame, node: Node) -> None:
    said = flame("node", "down")
    assert (said.code, said.out.strip()) == (0, "no gate of this node was running")


def test_up_with_an_untested_flower(flame: Flame, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, the versions that were tested, and the command; nothing was started."""
    from importlib import metadata

    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.43.1" if name == "flwr" else real(name))
    said = flame("node", "up")
    assert said.code == 2
    assert "Flower 1.43.1 is installed; this flame_fl was tested with 1.41 and 1.42." in said.err
    assert "pip install" in said.err
    assert not node.files.lock.exists()


def test_up_without_an_engine_is_exit_code_6(flame: Flame, node: Node, places: Places, tmp_path: Path) -> None:
    change(places, 'kind = "subprocess"', 'kind = "docker"')
    change(places, 'engine = ""', f'engine = "unix://{tmp_path}/dead.sock"')
    said = flame("node", "up", "--only", "gate")
    assert said.code == 6
    assert "dead.sock does not answer" in said.err


def test_up_of_one_part_only_knows_two(flame: Flame, node: Node) -> None:
    assert flame("node", "up", "--only", "hub").code == 2
