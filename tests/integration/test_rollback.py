"""A node whose state comes back from a backup: refused with 903, reconciled by a steward, and on it goes."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.places import Places
from flame_fl.contract.refusal import Refusal
from flame_fl.contract.task import Run, Task
from flame_fl.gate.claims import SITE
from flame_fl.hub.tls import make_certificates
from flame_fl.node import up
from flame_fl.node.init import NewNode, init_node
from flame_fl.node.wiring import Node, open_gate, open_node, open_store
from tests.support.gates import ENFORCED, TRAIN, manifest_from, sent_message
from tests.unit.node.conftest import change, cohort, offer
from tests.unit.node.decisions import fab_of

pytestmark = pytest.mark.slow
# The app cannot be imported: under an enforced claim that is a zero vector with noise, and a release like any other.
FAB = fab_of(
    privacy=ENFORCED | {"noise_multiplier": 40.0, "epsilon_max": 9.0}, messages={"train": TRAIN | {"per_run": 99}}
)
DIGEST = manifest_from(FAB).digest


@dataclass
class Diz:
    """A real node's files; its gate lives as long as it answers one message."""

    places: Places

    @property
    def node(self) -> Node:
        """Opened."""
        return open_node(self.places)

    def ask(self, leg: str) -> int | Content:
        """What leaves, or the code."""
        with ExitStack() as closing:
            gate = open_gate(self.node, open_store(self.node, closing))
            closing.callback(gate.stop)
            answer = gate.handle(Task(Run(7, FAB), leg, "train", "1", sent_message()))
        return int(answer.code) if isinstance(answer, Refusal) else answer.content

    def legs(self) -> list[str]:
        """What the site's account was debited for."""
        with ExitStack() as closing:
            return [entry.leg_id for entry in open_store(self.node, closing).ledger(SITE)]


@pytest.fixture
def diz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flame) -> Diz:
    """A node that has let one answer out; a backup of its folder was made then."""
    places = Places(tmp_path / "home" / "node.toml", tmp_path / "home")
    (tmp_path / "ca.crt").write_bytes(make_certificates(("localhost",)).ca)
    init_node(places, NewNode("DIZ-1", "localhost:8000", tmp_path / "ca.crt"))
    change(places, 'kind = "docker"', 'kind = "subprocess"')
    monkeypatch.setenv("FLAME_HOME", str(places.state))
    diz = Diz(places)
    offer(diz.node, "cohort", cohort(tmp_path / "cohort", 60))
    assert diz.ask("0") == 902
    assert flame("node", "approve", DIGEST[:12], "--with-project").code == 0
    assert isinstance(diz.ask("1"), Content)
    shutil.copytree(places.state, tmp_path / "backup")
    return diz


def put_back(diz: Diz, *, keys: bool) -> None:
    """What an administrator does with a backup: the whole folder, or all but the keys."""
    home = diz.places.state
    kept = home.with_name("kept-keys")
    shutil.copytree(home / "keys", kept)
    shutil.rmtree(home)
    shutil.copytree(home.with_name("backup"), home)
    if not keys:
        shutil.rmtree(home / "keys")
        shutil.copytree(kept, home / "keys")


def test_a_restored_state_is_locked_until_a_steward_states_what_is_missing(diz: Diz, flame, tmp_path: Path) -> None:
    """What the researcher holds is compared: one release is missing, so one is debited."""
    left = diz.ask("2")
    assert isinstance(left, Content)
    record = {"name": "DIZ-1", "audit_head": left.configs["flame"]["audit_head"]}
    (tmp_path / "result.json").write_text(json.dumps({"nodes": [record]}))
    put_back(diz, keys=False)
    assert [diz.ask(leg) for leg in ("1", "2", "3")] == [903, 903, 903]
    assert diz.legs() == ["1"]

    asked = flame("node", "reconcile", "--comment", "a disk failed", "--json")
    assert (asked.code, "--yes" in asked.out) == (2, True)
    done = flame(
        "node", "reconcile", "--comment", "a disk failed", "--lost", f"{DIGEST[:12]}=1", "--from",
        tmp_path / "result.json", "--yes", "--json",
    )  # fmt: skip
    assert (done.code, json.loads(done.out)) == (0, {"heads": 1, "lost": {DIGEST: 1}, "closed": []})

    assert isinstance(diz.ask("3"), Content)
    first, lost, third = diz.legs()
    assert (first, "lost" in lost, third) == ("1", True, "3")
    assert flame("node", "audit", "verify").code == 0
    missing = flame("node", "audit", "verify", "--against", tmp_path / "result.json")
    assert (missing.code, "rewritten" in missing.err) == (5, True)  # the head that others hold tells for ever


def test_without_a_statement_every_account_is_closed_until_a_cap_is_set(
    diz: Diz, flame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person is told what would be done, and asked."""
    diz.ask("2")
    put_back(diz, keys=False)
    assert diz.ask("3") == 903
    monkeypatch.setattr("typer.confirm", lambda text, *, abort: True)
    done = flame("node", "reconcile", "--comment", "a disk failed")
    assert done.code == 0, done.err
    for said in ("last-head", "missing for certain: 1.", "Closed, as nobody states", "patient:patients, site"):
        assert said in done.out
    assert "flame node budget set" in done.out
    assert diz.ask("3") == 903
    for account in ("site", "patient:patients"):
        said = flame("node", "budget", "set", account, "--epsilon", "9", "--comment", "counted with the hub", "--yes")
        assert said.code == 0, said.err
    assert isinstance(diz.ask("3"), Content)


def test_a_gate_starts_with_a_state_file_that_was_put_back_and_says_that_it_is_locked(diz: Diz) -> None:
    """Instead of not starting: its answers then say why nothing runs."""
    home, said = diz.places.state, list[str]()
    with ExitStack() as closing:
        up._agent(diz.node, said.append, closing)
    assert not any("LOCKED" in line for line in said)
    shutil.copy(home.with_name("backup") / "state.db", home / "state.db")
    said.clear()
    with ExitStack() as closing:
        up._agent(diz.node, said.append, closing)
    assert any("LOCKED" in line and "flame node reconcile" in line for line in said)
    assert diz.ask("3") == 903


def test_a_folder_that_was_put_back_as_a_whole_shows_nothing_by_itself(diz: Diz) -> None:
    """docs/audit.md says so: then only a head that others hold can tell."""
    diz.ask("2")
    put_back(diz, keys=True)
    assert isinstance(diz.ask("3"), Content)


def test_what_cannot_be_reconciled_is_said(diz: Diz, flame) -> None:
    """Nothing is locked; a word that is no DIGEST=N; no reason."""
    assert "not locked" in flame("node", "reconcile", "--comment", "x", "--yes").err
    put_back(diz, keys=True)
    for lost in ("abcdef", "abcdef=", "abcdef=x", "abcdef=-1", "=3", "abcdef=99999999"):
        assert flame("node", "reconcile", "--comment", "x", "--lost", lost, "--yes").code == 2
    assert flame("node", "reconcile", "--comment", " ", "--yes").code == 2
