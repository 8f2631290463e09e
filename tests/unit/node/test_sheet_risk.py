"""What the sheet says of budgets is what the gate's own filter does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.workflow import NodeLimits
from flame_fl.node.sheet_risk import Spent, admitted, budget_of, claim_of
from tests.support.gates import ENFORCED, TRAIN, World, make_fab, make_terms, terms_table

LIMITS = NodeLimits(epsilon_cap=20.0, delta=1e-5, min_patients=5)


@given(spent=st.floats(0, 2), rho=st.floats(0.001, 1), cap=st.floats(0, 3))
def test_the_count_is_the_largest_that_the_filter_admits(spent: float, rho: float, cap: float) -> None:
    """One more would not fit."""
    count = admitted(spent, rho, cap)
    assert count == 0 or spent + count * rho <= cap
    assert spent + (count + 1) * rho > cap


@pytest.mark.parametrize("cap", [8.0, 20.0])
def test_the_gate_refuses_where_the_sheet_says(cap: float, make_world) -> None:
    """Message by message, through the gate."""
    limits = replace(LIMITS, epsilon_cap=cap)
    world: World = make_world(limits=limits)
    terms = terms_table(privacy=ENFORCED | {"epsilon_max": 1000.0}, messages={"train": TRAIN | {"per_run": 50}})
    claim = claim_of(make_terms(**{k: terms[k] for k in ("privacy", "messages")}), [], Spent(0.0, 0.0), limits)
    assert claim is not None
    assert claim.refused_by == "site"
    fab = make_fab(terms)
    world.decide(fab)
    codes = [world.code(fab, leg=str(leg)) for leg in range(claim.admitted + 1)]
    assert codes == [None] * claim.admitted + [RefusalCode.BUDGET_EXHAUSTED]


def test_the_analysis_own_limit_may_come_first() -> None:
    """A small epsilon_max."""
    claim = claim_of(make_terms(privacy=ENFORCED | {"epsilon_max": 5.0}), [], Spent(0.0, 0.0), LIMITS)
    assert claim is not None
    assert claim.refused_by == "analysis"
    assert claim.epsilon <= 5.0


def test_without_a_claim_the_budget_is_untouched() -> None:
    """Before and after are the same."""
    terms, spent = make_terms(), Spent(0.0, 0.5)
    assert claim_of(terms, [], spent, LIMITS) is None
    budget = budget_of(terms, None, spent, LIMITS)
    assert budget.spent == budget.after > 0


def test_after_is_never_above_the_cap() -> None:
    """What the filter admits fits."""
    terms, spent = make_terms(privacy=ENFORCED, limits={"runs": 1000}), Spent(0.0, 1.0)
    budget = budget_of(terms, claim_of(terms, [], spent, LIMITS), spent, LIMITS)
    assert budget.spent < budget.after <= LIMITS.epsilon_cap
