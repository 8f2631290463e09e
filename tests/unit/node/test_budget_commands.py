"""`flame node budget …`, in this process: exit codes, JSON, and what a person reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.places import Places
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.node.wiring import Node
from tests.support.gates import ENFORCED, manifest_from
from tests.unit.cli.conftest import Flame, Said
from tests.unit.cli.conftest import flame as _flame
from tests.unit.node.decisions import approve_stated, ask, fab_of

flame = _flame  # the fixture of the command line's own tests
FAB = fab_of(privacy=ENFORCED | {"noise_multiplier": 20.0, "epsilon_max": 5.0})


@pytest.fixture(autouse=True)
def _home(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAME_HOME", str(places.state))
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")


@pytest.fixture
def spent(node: Node, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A node that was asked twice under a claim of unit site. Its count of patients has noise, but always suffices."""
    monkeypatch.setattr("flame_fl.gate.cohort_check.MARGIN", -1000)
    approve_stated(gate, FAB)
    for leg in ("1", "2"):
        assert ask(gate, FAB, leg=leg) is None
    return gate.store


def asjson(said: Said) -> Any:
    assert said.code == 0, said
    assert len(said.out.splitlines()) == 1, said.out
    return json.loads(said.out)


class TestShow:
    def test_nothing_was_spent(self, flame: Flame, node: Node) -> None:
        """The site's account is there; all of it is left."""
        (site,) = asjson(flame("node", "budget", "show", "--json"))["accounts"]
        assert (site["account"], site["total"]["debits"], site["left"]) == ("site", 0, 1.0)
        assert "Left: 100 %" in flame("node", "budget").out

    def test_both_accounts(self, flame: Flame, spent: Store) -> None:
        """Each with its projects; the name of one chooses it, with or without `show`."""
        found = asjson(flame("node", "budget", "--json"))["accounts"]
        assert [a["account"] for a in found] == ["site", "patient:patients"]
        assert found[0]["total"]["debits"] == len(spent.ledger(SITE)) == 2
        assert [p["project"] for p in found[0]["projects"]] == ["a-project"]
        for words in (("patient:patients",), ("show", "patient:patients")):
            (one,) = asjson(flame("node", "budget", *words, "--json"))["accounts"]
            assert one == found[1]

    def test_for_people(self, flame: Flame, spent: Store) -> None:
        """The figures and what they mean."""
        out = flame("node", "budget", "site").out
        for words in (
            "site",
            "project a-project",
            "TPR at 1 % FPR",
            "ε = 10 at δ = 1e-05",
            "fixed beforehand",
            "in flight",
        ):
            assert words in out

    @pytest.mark.parametrize("name", ["patient:nobody", "patients"])
    def test_an_account_that_is_not_there(self, flame: Flame, node: Node, name: str) -> None:
        said = flame("node", "budget", "show", name)
        assert (said.code, "Traceback" in said.err) == (2, False)

    def test_would_by_kind(self, flame: Flame, spent: Store) -> None:
        """How many more, per account, and what ends it."""
        answers = asjson(flame("node", "budget", "--would", "noise_multiplier=20,releases=3", "--json"))["would"]
        assert [a["account"] for a in answers] == ["site", "patient:patients"]
        assert all(a["fits"] and a["admitted"] > 3 and a["refused_by"] == "account" for a in answers)
        said = flame("node", "budget", "--would", "noise_multiplier=20,releases=100000")
        assert "the lifetime cap refuses the next one" in said.out

    def test_would_by_analysis(self, flame: Flame, spent: Store) -> None:
        """The messages that its terms still allow: six, of which two were answered."""
        digest = manifest_from(FAB).digest
        (answer,) = asjson(flame("node", "budget", "--would", digest[:10], "--json"))["would"]
        assert (answer["wanted"], answer["fits"], answer["refused_by"]) == (4, True, "analysis")

    def test_would_what_claims_nothing(self, flame: Flame, gate: Gate) -> None:
        digest = approve_stated(gate, fab_of()).digest
        assert "claims no privacy" in flame("node", "budget", "--would", digest).err

    def test_a_plot(self, flame: Flame, spent: Store, tmp_path: Path) -> None:
        """Of one account; of several it asks which."""
        pytest.importorskip("matplotlib")
        assert flame("node", "budget", "site", "--plot", tmp_path / "site.svg").code == 0
        assert "a-project" in (tmp_path / "site.svg").read_text()
        said = flame("node", "budget", "--plot", tmp_path / "all.svg")
        assert said.code == 2
        assert "patient:patients" in said.err


class TestSet:
    def test_it_is_set_and_audited(self, flame: Flame, node: Node, spent: Store) -> None:
        """By whom, from what, why."""
        said = flame("node", "budget", "set", "site", "--epsilon", 6, "--comment", "a vote", "--yes", "--json")
        assert asjson(said)["before"] == 10.0
        assert spent.cap(SITE) == 6.0
        exported = [json.loads(line) for line in flame("node", "audit", "export").out.splitlines()]
        bodies = [e["entry"]["body"] for e in exported if e.get("entry", {}).get("kind") == "budget-cap"] or [
            json.loads(text)["body"]
            for (text,) in spent._db.rows("SELECT entry FROM audit WHERE entry LIKE '%budget-cap%' ORDER BY seq")
        ]
        assert {"account": "site", "by": "ada", "comment": "a vote", "epsilon": 6.0}.items() <= bodies[-1].items()

    def test_of_a_project(self, flame: Flame, spent: Store) -> None:
        """Beside the lifetime cap, which stays."""
        words = ("patient:patients", "--epsilon", 2, "--project", "a-project", "--comment", "a pilot", "--yes")
        assert flame("node", "budget", "set", *words).code == 0
        patients = Account("patient", "patients")
        assert (spent.cap(patients, "a-project"), spent.cap(patients)) == (2.0, 10.0)

    def test_a_person_is_asked(self, flame: Flame, spent: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """No changes nothing; a program has to say --yes."""
        monkeypatch.setattr("typer.confirm", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        assert flame("node", "budget", "set", "site", "--epsilon", 6, "--comment", "c").code == 130
        assert flame("node", "budget", "set", "site", "--epsilon", 6, "--comment", "c", "--json").code == 2
        assert spent.cap(SITE) == 10.0

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("site", "--epsilon", "11", "--comment", "c"), "epsilon_cap = 10"),
            (("site", "--epsilon", "6", "--comment", " "), "reason"),
            (("site", "--epsilon", "6", "--comment", "c", "--project", "nobody"), "no project"),
            (("everybody", "--epsilon", "6", "--comment", "c"), "no account"),
        ],
    )
    def test_what_cannot_hold_is_refused(self, flame: Flame, spent: Store, words: tuple[str, ...], why: str) -> None:
        """Each with what is wrong, and nothing is written."""
        said = flame("node", "budget", "set", *words, "--yes")
        assert said.code == 2
        assert why in said.err
        assert spent.cap(SITE) == 10.0


class TestVerify:
    def test_it_holds(self, flame: Flame, spent: Store) -> None:
        found = asjson(flame("node", "budget", "verify", "--json"))
        assert [(one["account"], one["problems"]) for one in found] == [("site", []), ("patient:patients", [])]
        assert "yes" in flame("node", "budget", "verify", "site").out

    def test_what_was_not_admitted_is_exit_code_5(self, flame: Flame, spent: Store) -> None:
        """Seeded: a debit that costs far more than the cap."""
        spent._db.execute("UPDATE debits SET event=replace(event, '10.0', '0.01') WHERE unit='site'")
        said = flame("node", "budget", "verify")
        assert said.code == 5
        assert "did not fit into the cap" in said.err


def test_status_names_each_account(flame: Flame, spent: Store) -> None:
    """What was spent, of how much."""
    found = asjson(flame("node", "status", "--json"))["epsilon_spent"]
    assert set(found) == {"site", "patient:patients"}
    assert found["site"].endswith(" of 10")
