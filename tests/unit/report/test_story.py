"""The sentences and marks claim what the facts carry, and no more."""

import pytest
from pydantic import ValidationError

from flame_fl.report import AppReport, RefusalFacts, TermsFacts, story


def texts(facts, app=None):
    return [badge.text for badge in story.badges(facts, app)]


def test_the_sentence_names_who_refused_and_why(facts):
    """Approvals are counted, refusals named with their code."""
    expected = "The run finished after 26 rounds in 2 min 31 s. 4 of 5 DIZ approved; DIZ-3 refused (901)."
    assert story.what_happened(facts) == expected


def test_a_node_that_approved_and_then_refused_is_told_apart(make_facts, make_node):
    """A spent budget is not told as a rejection."""
    spent = RefusalFacts(code=903, name="BUDGET_EXHAUSTED", count=4, reason="r")
    told = story.what_happened(make_facts(nodes=(make_node(1), make_node(2, refusals=(spent,)))))
    assert told.endswith("2 of 2 DIZ approved; DIZ-2 refused 4 messages (903).")


def test_a_silent_node_is_named(make_facts, make_node):
    """A node that neither approved nor refused does not vanish."""
    told = story.what_happened(make_facts(nodes=(make_node(1), make_node(2, status="unknown"))))
    assert told.endswith("1 of 2 DIZ approved; DIZ-2 did not approve.")


def test_a_run_of_nothing_is_told(make_facts):
    """No node, no round, no end: still a sentence."""
    nothing = make_facts(nodes=(), rounds=(), status="failed", ended=None, reason="r")
    assert story.what_happened(nothing) == "The run failed before its first round. No DIZ took part."


def test_an_epsilon_under_seeded_noise_is_no_claim(make_facts, make_node):
    """Noise that can be predicted protects nobody, whatever the ledger says."""
    seeded = make_facts(noise_seeded=True)
    assert "SEEDED NOISE" in texts(seeded)
    assert not any(story.claims_bound(seeded, node) for node in seeded.nodes)
    assert "The bound holds" not in str(story.meanings(seeded))


@pytest.mark.parametrize(
    "changes",
    [{"epsilon_spent": None}, {"epsilon_spent": float("inf")}, {"ground": "reviewed"}, {"ground": "none"}],
)
def test_a_bound_needs_a_finite_epsilon_and_a_ground(make_facts, make_node, changes):
    """No figure, an infinite one, or a ground without arithmetic: no bound is claimed."""
    node = make_node(1, **changes)
    assert story.claim(make_facts(nodes=(node,)), node) == "no bound is claimed"


def test_an_enforced_bound_needs_noise(make_facts, make_node):
    """Clipping alone bounds no privacy loss; the mark says that the noise is off."""
    clipped = make_facts(terms=TermsFacts(unit="site", ground="enforced", mechanism="clip", clip_norm=1.0))
    assert not any(story.claims_bound(clipped, node) for node in clipped.nodes)
    assert "NOISE OFF" in texts(clipped)


def test_a_vetted_bound_does_not_depend_on_the_gates_noise(make_facts, make_node):
    """Vetted code adds its noise inside the sandbox; the page neither denies its bound nor says noise is off."""
    vetted = make_facts(terms=TermsFacts(ground="vetted"), nodes=(make_node(1, ground="vetted", unit="patient"),))
    assert story.claims_bound(vetted, vetted.nodes[0])
    assert "NOISE OFF" not in texts(vetted)


def test_the_marks_of_a_run_that_needs_none(make_facts, make_node):
    """A finished real run with enforced noise and verified audits carries no mark."""
    assert texts(make_facts(simulated=False, nodes=(make_node(1, patients=None),))) == []


def test_the_marks_of_a_run_that_needs_many(make_facts, make_node):
    """Grave marks come first; synthetic data are marked however the note spells it."""
    run = make_facts(
        status="interrupted", terms=TermsFacts(), nodes=(make_node(1, ground="none", audit_verified=False),)
    )
    marks = ["INTERRUPTED", "NOISE OFF", "SIMULATION", "SYNTHETIC DATA", "AUDIT NOT VERIFIED"]
    assert texts(run, AppReport(data_note="Synthetic cohort")) == marks


def test_grounds_are_explained_only_where_something_left(make_facts, make_node, make_refusing_node):
    """A node that refused needs no explanation of a claim about its updates."""
    told = story.meanings(make_facts(nodes=(make_node(1), make_refusing_node(2))))
    assert [term for term, _ in told] == ["Ground: enforced", "Unit: site"]


def test_patient_counts_of_real_nodes_cannot_be_reported(make_facts, make_node):
    """Exact cohort sizes are facts of a simulation only."""
    with pytest.raises(ValidationError, match="simulation only"):
        make_facts(simulated=False, nodes=(make_node(1, patients=7),))


def test_a_real_run_does_not_alarm_about_chains_that_stay_at_the_diz(make_facts, make_node) -> None:
    """Nobody but a DIZ can verify its chain; a simulation's can, and one that was not is an alarm."""
    unverified = {"audit_verified": False, "patients": None}
    real = make_facts(simulated=False, nodes=(make_node(1, **unverified),))
    assert "AUDIT NOT VERIFIED" not in texts(real, None)
    assert "AUDIT NOT VERIFIED" in texts(make_facts(nodes=(make_node(1, audit_verified=False),)), None)


def test_a_demonstration_says_that_no_person_approved(make_facts, make_node) -> None:
    """A rule in the place of a steward shows on the first screen."""
    nodes = (make_node(1, approved_by="DEMO policy", patients=None), make_node(2, approved_by="steward", patients=None))
    assert "DEMO" in texts(make_facts(simulated=False, nodes=nodes), None)
    assert "DEMO" not in texts(make_facts(simulated=False, nodes=nodes[1:]), None)
