"""What gates know after a run, as the report's values."""

import sqlite3

import pytest

from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.approval import Status
from flame_fl.gate.claims import SITE
from flame_fl.gate.workflow import Event
from flame_fl.privacy.accounting import PrivacyEvent, Relation, epsilon_of
from flame_fl.simulation import facts
from flame_fl.simulation.tally import Tally
from tests.support.gates import ENFORCED, World, make_fab, manifest_from, terms_table

FAB = make_fab()
NOISY = make_fab(terms_table(privacy=ENFORCED))


def facts_of(world: World, raw: bytes, *events: Event):
    tally = Tally()
    for event in events:
        tally.event(event)
    return facts.node_facts(world.gate, manifest_from(raw), tally)


def test_terms_are_told_as_stated() -> None:
    """Every number of the claim."""
    told = facts.terms_facts(manifest_from(NOISY), open_simulation=False)
    assert {k: v for k, v in told.model_dump().items() if v is not None} == ENFORCED


def test_under_open_simulation_no_terms_are_told() -> None:
    """They did not hold, so a report must not show them."""
    told = facts.terms_facts(manifest_from(NOISY), open_simulation=True)
    assert (told.ground, told.epsilon_max) == ("none", None)


def test_a_node_that_never_heard_of_the_analysis_is_unknown(world: World) -> None:
    """Neither approved nor refused."""
    assert facts_of(world, FAB).status == "unknown"


@pytest.mark.parametrize("status", [Status.APPROVED, Status.REJECTED, Status.WITHDRAWN, Status.PENDING])
def test_the_approval_is_told_with_who_gave_it(world: World, status: Status) -> None:
    """As the node's state has it."""
    world.decide(FAB, status)
    told = facts_of(world, FAB)
    assert (told.status, told.approved_by) == (status.value, "steward")


def test_refusals_are_told_with_their_fixed_text(world: World) -> None:
    """The report shows what left the node, and no detail."""
    world.decide(FAB)
    events = [Event("DIZ-1", "refused", 7, code=code, detail="patient Mustermann") for code in (905, 904, 905)]
    told = facts_of(world, FAB, *events)
    assert [(r.code, r.count, r.reason) for r in told.refusals] == [
        (904, 1, RefusalCode(904).reason),
        (905, 2, RefusalCode(905).reason),
    ]
    assert "Mustermann" not in told.model_dump_json()


def test_without_a_claim_no_epsilon_is_told(world: World) -> None:
    """None, never 0: nobody claims anything."""
    world.decide(FAB)
    world.released(FAB)
    told = facts_of(world, FAB)
    assert (told.epsilon_spent, told.epsilon_cap, told.delta, told.accounts) == (None, None, None, ())


def test_the_epsilon_told_is_that_of_the_ledger(world: World) -> None:
    """Two releases of the terms' noise, at their delta, beside the node's own cap."""
    world.decide(NOISY)
    for leg in ("1", "2"):
        world.released(NOISY, leg=leg)
    told = facts_of(world, NOISY)
    two = {PrivacyEvent(0.5, Relation.REPLACE_ONE_SITE): 2}  # sensitivity 2 clip_norm, noise clip_norm
    assert told.epsilon_spent == pytest.approx(epsilon_of(two, 1e-5))
    assert (told.epsilon_cap, told.delta, told.unit) == (world.limits.epsilon_cap, 1e-5, "site")


def test_each_account_is_told(world: World) -> None:
    """A release about the site is debited from its patients, too, who were counted besides."""
    world.decide(NOISY)
    world.released(NOISY)
    site, patients = facts_of(world, NOISY).accounts
    assert [site.name, patients.name] == ["site", "patient:patients"]
    assert site.epsilon_spent == pytest.approx(epsilon_of(world.store.spent(SITE), 1e-5))
    assert patients.epsilon_spent > site.epsilon_spent
    assert 0.01 < site.tpr < patients.tpr < 1


def test_the_epsilon_told_counts_earlier_runs(world: World) -> None:
    """A DIZ's account is one: what stands beside its lifetime cap is all that was spent."""
    world.decide(NOISY)
    world.released(NOISY, run_id=7)
    first = facts_of(world, NOISY).epsilon_spent
    world.released(NOISY, run_id=8)
    assert facts_of(world, NOISY).epsilon_spent > first


def test_the_chain_is_recomputed(world: World) -> None:
    """Entries and head are those that were verified just now."""
    world.decide(FAB)
    told = facts_of(world, FAB)
    assert told.audit_verified
    assert (told.audit_entries, told.audit_head) == world.store.verify_audit()


def test_a_broken_chain_is_told_as_broken(world: World) -> None:
    """One changed character, and the report says so instead of failing."""
    world.decide(FAB)
    with sqlite3.connect(world.store.path) as database:
        database.execute("UPDATE audit SET entry=replace(entry, 'approved', 'Approved') WHERE seq=1")
    database.close()
    told = facts_of(world, FAB)
    assert (told.audit_verified, told.audit_head) == (False, "")


def test_the_gates_own_time_is_what_the_sandbox_did_not_take(world: World) -> None:
    """And it is never negative, whatever the clocks did."""
    told = facts_of(world, FAB, Event("DIZ-1", "released", 7, seconds=3.0, sandbox_seconds=2.0))
    assert (told.seconds_sandbox, told.seconds_gate) == (2.0, 1.0)
    told = facts_of(world, FAB, Event("DIZ-1", "released", 7, seconds=1.0, sandbox_seconds=2.0))
    assert told.seconds_gate == 0.0


def test_rounds_are_told_in_order() -> None:
    """Each exchange with its counts and metrics."""
    tally = Tally()
    for kind in ("train", "evaluate"):
        tally.batch(kind, 0, 1)
        tally.event(Event("DIZ-1", "released", 7, "1", kind, bytes_in=1, bytes_out=2))
        tally.batch(kind, 1, 1, {"loss": 0.5})
    told = facts.round_facts(tally)
    assert [(r.index, r.message_type, r.replied, r.refused) for r in told] == [
        (1, "train", 1, 0),
        (2, "evaluate", 1, 0),
    ]
    assert [(r.bytes_in, r.bytes_out, r.metrics) for r in told] == [(1, 2, {"loss": 0.5})] * 2


def test_a_run_config_is_told_in_key_order() -> None:
    """So that two reports can be compared line by line."""
    assert list(facts.plain_config({"b": 1, "a": 2, "c": 3})) == ["a", "b", "c"]


def test_versions_name_what_a_result_depends_on() -> None:
    """Python and the installed distributions."""
    assert {"python", "flame-fl", "flwr", "numpy"} <= set(facts.versions())
