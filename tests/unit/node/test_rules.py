"""Rules approve what they state, marked, on the stated terms, once; everything else is a person's."""

from datetime import date

import pytest

from flame_fl.contract.places import Places
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import Run
from flame_fl.gate.approval import DEMO_POLICY as BY
from flame_fl.gate.approval import Status
from flame_fl.gate.signatures import read_private_key, read_public_key
from flame_fl.gate.trust import Trust
from flame_fl.gate.workflow import Gate
from flame_fl.node.config import DemoSection, NodeFiles, RuleSection, load_config
from flame_fl.node.rules import decide_by_rules, fulfils, rules_of
from flame_fl.node.steward import reject
from tests.support.gates import ENFORCED, NO_CLAIM, make_fab, manifest_from
from tests.unit.node.decisions import ask, fab_of


def by_demo(gate: Gate, run: Run, contents: frozenset[str]) -> str | None:
    """As `flame federation up --demo` sets a node up."""
    files = NodeFiles(gate.store.path.parent)
    config = load_config(Places(files.state / "node.toml", files.state))
    config = config.model_copy(update={"demo": DemoSection(approve_content=tuple(sorted(contents)))})
    gate.trust = lambda: Trust(node_key(files), gate.store.stewards(), 1, rules_of(config))
    gate._verifier.trust = gate.trust
    return decide_by_rules(gate, run, config, read_private_key(files.identity_key))


def node_key(files: NodeFiles) -> str:
    return read_public_key(files.identity_key.with_suffix(".pub").read_text())


def content_of(fab: bytes) -> frozenset[str]:
    return frozenset({manifest_from(fab).fab_content_sha256})


def test_its_own_content_is_approved_and_marked(gate: Gate) -> None:
    fab = fab_of()
    by_demo(gate, Run(7, fab), content_of(fab))
    record = gate.store.approval(manifest_from(fab).digest)
    assert record is not None
    assert (record.status, record.by) == (Status.APPROVED, BY)
    assert "DEMO" in record.by
    assert "no person" in record.comment
    assert ask(gate, fab) is RefusalCode.SANDBOX_FAILED  # it was run


@pytest.mark.parametrize(
    "other",
    [
        lambda: fab_of(limits={"runs": 3}),
        lambda: make_fab(files={"app/more.py": b"x = 1"}),
        lambda: make_fab({}, name="plain"),
        lambda: b"no bundle",
    ],
    ids=["other terms", "one file more", "no terms", "no bundle"],
)
def test_anything_else_stays_with_the_steward(gate: Gate, other) -> None:  # type: ignore[no-untyped-def]
    """The hash is of the whole content: not one byte may differ."""
    by_demo(gate, Run(7, other()), content_of(fab_of()))
    assert gate.store.approvals() == []


def test_an_app_without_terms_is_not_approved_even_by_its_hash(gate: Gate) -> None:
    """There is nothing that it would be bound to."""
    plain = make_fab({}, name="plain")
    by_demo(gate, Run(7, plain), content_of(plain))
    assert gate.store.approvals() == []
    assert ask(gate, plain) is RefusalCode.PENDING_APPROVAL


@pytest.mark.parametrize("after", [1, 2])
def test_a_persons_no_stands(gate: Gate, after: int) -> None:
    """Rejected or withdrawn by a person: the rule does not approve it again."""
    fab = fab_of()
    contents = content_of(fab)
    by_demo(gate, Run(7, fab), contents)
    for _ in range(after):
        reject(gate, manifest_from(fab).digest, by="ada", comment="")
    before = gate.store.approvals()
    by_demo(gate, Run(8, fab), contents)
    assert gate.store.approvals() == before
    assert ask(gate, fab) in {RefusalCode.NOT_APPROVED, RefusalCode.WITHDRAWN_OR_EXPIRED}


def test_what_was_filed_before_is_approved(gate: Gate) -> None:
    """Pending is no decision."""
    fab = fab_of()
    assert ask(gate, fab) is RefusalCode.PENDING_APPROVAL
    by_demo(gate, Run(7, fab), content_of(fab))
    assert ask(gate, fab, leg="2") is RefusalCode.SANDBOX_FAILED


def test_it_decides_once(gate: Gate) -> None:
    """Not with every message."""
    fab = fab_of()
    for run_id in range(3):
        by_demo(gate, Run(run_id, fab), content_of(fab))
    kinds = [entry["kind"] for entry, _ in gate.store.audit_rows()]
    assert kinds.count("approval-approved") == 1


RULE = RuleSection(name="r", projects=("a-project",), max_epsilon=1.0, until=date(2099, 1, 1))


@pytest.mark.parametrize(
    ("privacy", "holds"),
    [
        ({**ENFORCED, "epsilon_max": 1.0}, True),
        ({**ENFORCED, "epsilon_max": 1.1}, False),
        (NO_CLAIM, False),
        ({**NO_CLAIM, "epsilon_max": 0.1, "delta": 1e-5}, False),
    ],
)
def test_an_epsilon_counts_if_the_gate_enforces_it(privacy: dict[str, object], holds: bool) -> None:
    """A figure in the terms that nothing enforces bounds nothing."""
    assert fulfils(RULE, manifest_from(fab_of(privacy=privacy)), date(2026, 1, 1)) is holds


def test_a_rule_ends_on_its_day() -> None:
    manifest = manifest_from(fab_of(privacy={**ENFORCED, "epsilon_max": 1.0}))
    assert not fulfils(RULE, manifest, date(2099, 1, 2))


def test_a_rule_names_projects_or_contents() -> None:
    """One that approves whatever comes is no approval."""
    with pytest.raises(ValueError, match="names projects or contents"):
        RuleSection(name="all", until=date(2099, 1, 1))
