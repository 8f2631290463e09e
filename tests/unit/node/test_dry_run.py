"""A dry run of what is to leave masked; the sandbox is a pretended one (real ones: tests/integration/node)."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.ports import Envelope
from flame_fl.contract.task import Run
from flame_fl.gate.workflow import Gate
from flame_fl.node import dry_run as module
from flame_fl.node.dry_run import dry_run
from flame_fl.node.dry_run_outcome import DryRunOutcome
from flame_fl.node.wiring import Node
from tests.support.gates import ENFORCED, TRAIN, FakeSandbox, make_fab, manifest_from
from tests.support.masked_gates import MASKED_TRAIN, masked_table
from tests.unit.node.decisions import LONG, fab_of

SHARES = ENFORCED | {"trust": "distributed", "noise_multiplier": 500.0, "epsilon_max": 1.0}


def shifted(message: Envelope) -> Content:
    """What an app might answer: what it was sent, and a little more."""
    arrays = {name: array + np.asarray(1, array.dtype) for name, array in message.content.arrays["arrays"].items()}
    return Content({"arrays": arrays}, {"metrics": {"num-examples": 40, "loss": 1.0}})


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> FakeSandbox:
    """In the place of the node's containers."""
    made = FakeSandbox(answer=shifted)

    def pretended(node: Node, root: Path, closing: ExitStack) -> FakeSandbox:
        return made

    monkeypatch.setattr(module, "_sandbox", pretended)
    return made


def tried(node: Node, gate: Gate, fab: bytes) -> DryRunOutcome:
    return dry_run(node, gate, gate.file(manifest_from(fab), Run(7, fab, submitter="alice")))


@pytest.mark.usefixtures("sandbox")
def test_what_would_leave_is_shown_before_it_is_masked(node: Node, gate: Gate) -> None:
    """One node has nobody to add up with; the outcome says so, and what is shown are the app's own arrays."""
    outcome = tried(node, gate, make_fab(masked_table(validity=LONG)))
    (message,) = outcome.messages
    assert (outcome.unmasked, message.outcome, message.detail) == (True, "released", "")
    assert [item.split()[0] for item in message.items] == [
        "arrays/w", "arrays/b", "metrics/num-examples", "metrics/loss",
    ]  # fmt: skip
    assert DryRunOutcome.read(outcome.text) == outcome


@pytest.mark.usefixtures("sandbox")
def test_noise_that_is_to_come_in_shares_is_all_this_nodes_own(node: Node, gate: Gate) -> None:
    """It is tried under the same claim, which needs no masks then."""
    table = masked_table(privacy=SHARES, messages={"train": TRAIN}, validity=LONG)
    del table["secure_aggregation"]["weight"]
    outcome = tried(node, gate, make_fab(table))
    assert [(outcome.unmasked, message.outcome) for message in outcome.messages] == [(True, "released")]


def test_what_exceeds_its_bound_is_refused_as_it_would_be(node: Node, gate: Gate, sandbox: FakeSandbox) -> None:
    """The masks are taken out, and nothing else of the terms."""
    sandbox.answer = lambda message: Content(
        {"arrays": {"w": np.full(4, 17.0), "b": np.zeros(1, np.float32)}}, {"metrics": {"num-examples": 1, "loss": 1.0}}
    )
    (message,) = tried(node, gate, make_fab(masked_table(validity=LONG))).messages
    assert (message.outcome, message.code, "max_abs" in message.detail) == ("refused", 904, True)


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("secure", [{}, {"dropouts": 2}])
def test_where_nothing_is_to_be_masked_nothing_is_said_of_it(secure: dict[str, Any], node: Node, gate: Gate) -> None:
    """The terms are the stated ones."""
    outcome = tried(node, gate, fab_of(messages={"train": MASKED_TRAIN}, secure_aggregation=secure))
    assert (outcome.unmasked, outcome.messages[0].outcome) == (False, "released")


def test_nothing_of_the_node_changes(node: Node, gate: Gate, sandbox: FakeSandbox) -> None:
    """No approval, no run, no key; the view is of made-up data."""
    fab = make_fab(masked_table(validity=LONG))
    record = gate.file(manifest_from(fab), Run(7, fab))
    before = [entry for entry, _ in gate.store.audit_rows()]
    dry_run(node, gate, record)
    assert [entry for entry, _ in gate.store.audit_rows()] == before
    assert gate.store.masked_runs() == []
    assert sandbox.sessions[0].closed
