"""An app that tries to carry single patients out through weights, a metric, counts, error texts and failing."""

import json
import shutil
from pathlib import Path

import pytest

from flame_fl.cli.main import run

APP = Path(__file__).parent / "apps" / "smuggler"


def attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, object]:
    """What the attacker's own audit of one run says."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    code = run(["simulate", str(APP), "--sandbox", "in-process", "--out", str(out), "--json", *options])
    assert code == 0
    found: dict[str, object] = json.loads((out / "audit.json").read_text())
    return found


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return attack(tmp_path, monkeypatch)


def test_plain_federated_averaging_tells_every_patient(plain: dict[str, object]) -> None:
    """The attack works, so that what follows means something; at 95 % the run refutes every epsilon below 5.4."""
    assert plain["right"] == plain["canaries"] == 768
    assert float(str(plain["epsilon_lower_bound"])) > 5.0
    assert plain["channels"]["count"] > 0  # type: ignore[index]
    assert plain["channels"]["failure"] > 0  # type: ignore[index]


def test_an_exceptions_text_never_leaves(plain: dict[str, object]) -> None:
    assert plain["channels"]["error text"] == 0  # type: ignore[index]


@pytest.mark.parametrize("unit", ["patient", "site"])
def test_under_an_enforced_claim_the_audit_stays_below_epsilon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    """The lower bound's confidence is 95 % at epsilon itself; to pass 3 here takes 743 right guesses of 768."""
    found = attack(tmp_path, monkeypatch, "--privacy", unit, "--epsilon", "3")
    assert float(str(found["epsilon_lower_bound"])) < 3.0
    assert int(str(found["right"])) < 480  # 384 by tossing a coin; noise hides nearly all of it
    channels = found["channels"]
    assert isinstance(channels, dict)
    assert (channels["error text"], channels["failure"], channels["count"]) == (0, 0, 0)
    assert channels["weights"] == 9  # every node answered every round
