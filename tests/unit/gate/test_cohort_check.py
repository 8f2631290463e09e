"""The smallest cohort under a claim: counted once, with noise, paid for, and never compared exactly."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import Reply, Run
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.cohort_check import EVENT, MARGIN, NOISE
from flame_fl.gate.workflow import STATUS_MESSAGE
from flame_fl.privacy.accounting import PrivacyEvent, Relation
from flame_fl.privacy.filters import filter_for, multiplier_for
from tests.support.gates import BLOCKS, ENFORCED, LIMITS, FakeOffer, FakeOffers, NoNoise, World, make_fab, terms_table

Make = Callable[..., World]
PEOPLE = Account("patient", "patients")
NOISY = make_fab(terms_table(privacy=ENFORCED, limits={"runs": 9}))
LEAST = 10  # of the terms
ENOUGH = LEAST + MARGIN


class Counting(NoNoise):
    """Zero noise, but for counts, which are off by so much; it remembers how often they were drawn."""

    def __init__(self, off: int = 0) -> None:
        self.off, self.counts = off, 0

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        if sigma_squared != (NOISE**2, 1):
            return super().discrete_gaussian(sigma_squared, count)
        self.counts += 1
        return np.full(count, self.off)


def world_of(make_world: Make, patients: int, off: int = 0, **fields: Any) -> World:
    """With an approved analysis of unit site; its store has so many patients."""
    world = make_world(noise=Counting(off), **fields)
    assert world.data is not None
    world.data["cohort"].people = range(patients)
    world.decide(NOISY)
    return world


@pytest.mark.parametrize("privacy", [ENFORCED, BLOCKS], ids=["site", "patient"])
@pytest.mark.parametrize(
    ("patients", "off", "enough"),
    [
        (ENOUGH, 0, True),
        (ENOUGH - 1, 0, False),
        (ENOUGH - 5, 5, True),
        (100, ENOUGH - 101, False),
        (0, ENOUGH, True),
        (0, 0, False),
    ],
)
def test_what_is_compared_is_the_count_with_its_noise(
    make_world: Make, patients: int, off: int, enough: bool, privacy: dict[str, Any]
) -> None:
    """So nobody can tell from a refusal on which side of the line the true number is."""
    world = world_of(make_world, patients, off)
    fab = make_fab(terms_table(privacy=privacy))
    world.decide(fab)
    assert world.code(fab) is (None if enough else RefusalCode.TERMS_VIOLATED)
    assert enough == (patients + off >= ENOUGH)


def test_it_is_drawn_once_for_an_analysis_and_a_version(make_world: Make) -> None:
    world = world_of(make_world, 100)
    for run_id in (1, 2):
        for leg in "ab":
            world.released(NOISY, run_id=run_id, leg=leg)
    assert isinstance(world.noise, Counting)
    assert world.noise.counts == 1
    assert world.store.spent(PEOPLE)[EVENT] == 1
    assert world.replaced().code(NOISY, leg="c") is None
    assert world.noise.counts == 1


def test_a_refusal_is_not_drawn_again(make_world: Make) -> None:
    """Whoever asks until it is admitted, or to hear the true number in the mean, hears the first draw for ever."""
    world = world_of(make_world, 15, off=-10)
    for leg in "abc":
        assert world.code(NOISY, leg=leg) is RefusalCode.TERMS_VIOLATED
    world = world.replaced(noise=Counting(off=1000))
    assert world.code(NOISY, run_id=8) is RefusalCode.TERMS_VIOLATED
    assert world.store.spent(PEOPLE) == {EVENT: 1}
    assert world.sandbox.specs == []


def test_another_version_of_the_store_and_another_analysis_are_counted_anew(make_world: Make) -> None:
    world = world_of(make_world, 100)
    world.released(NOISY)
    other = make_fab(terms_table(privacy=ENFORCED, limits={"runs": 2}))
    world.decide(other)
    world.released(other, run_id=8)
    assert world.store.spent(PEOPLE)[EVENT] == 2
    world = world.replaced(data=FakeOffers(cohort=FakeOffer(world.folder / "cohort", "6" * 64)))
    world.decide(NOISY)
    world.released(NOISY, leg="2")
    assert world.store.spent(PEOPLE)[EVENT] == 3


def test_what_was_drawn_is_committed(make_world: Make) -> None:
    """Admitted or refused: the answer tells."""
    for patients in (0, 100):
        world = world_of(make_world, patients)
        world.ask(NOISY)
        assert [entry.state for entry in world.store.ledger() if not entry.run_id] == ["committed"]


def test_it_is_paid_by_the_patients_and_only_by_them(make_world: Make) -> None:
    world = world_of(make_world, 100)
    world.released(NOISY)
    (count,) = [entry for entry in world.store.ledger() if not entry.run_id]
    assert (count.account, count.project, count.stores) == (PEOPLE, "a-project", ("cohort",))
    assert count.event == EVENT.as_json()
    assert EVENT not in world.store.spent(SITE)


def test_an_account_that_cannot_pay_for_it_is_not_counted(make_world: Make) -> None:
    """903, nothing drawn, and nothing decided: with a larger cap it is counted."""
    limits = replace(LIMITS, epsilon_cap=0.1)
    assert not filter_for(0.1, 1e-5).admits({}, 0.0, EVENT)
    world = world_of(make_world, 100, limits=limits)
    assert world.code(NOISY) is RefusalCode.BUDGET_EXHAUSTED
    assert isinstance(world.noise, Counting)
    assert world.noise.counts == 0
    assert world.store.ledger() == []
    assert world.replaced(limits=LIMITS).code(NOISY) is None


def test_an_analysis_pays_for_it_within_its_own_cap(make_world: Make) -> None:
    """Where an epsilon_max is just enough for one release, nothing is left for it after the count."""
    cap = filter_for(8.0, 1e-5)
    multiplier = 2 * multiplier_for(cap, lambda m: {PrivacyEvent(m, Relation.REPLACE_ONE_SITE): 1})
    privacy = ENFORCED | {"epsilon_max": 8.0, "noise_multiplier": multiplier}
    counted, without_data = make_fab(terms_table(privacy=privacy)), make_fab(terms_table(privacy=privacy, data={}))
    world = world_of(make_world, 100)
    for fab in (counted, without_data):
        world.decide(fab)
    assert world.code(without_data, run_id=1) is None
    assert world.code(counted, run_id=2) is RefusalCode.BUDGET_EXHAUSTED
    assert "its epsilon_max (patient:patients)" in world.detail


@pytest.mark.parametrize(("patients", "code"), [(LEAST, None), (LEAST - 1, RefusalCode.TERMS_VIOLATED)])
def test_without_a_claim_it_is_compared_exactly_and_costs_nothing(
    make_world: Make, patients: int, code: RefusalCode | None
) -> None:
    world = world_of(make_world, patients)
    rule = {"record": "arrays", "name": "w", "dtype": "float64", "shape": [2]}
    fab = make_fab(terms_table(messages={"train": {"per_run": 1, "arrays": [rule]}}))
    world.decide(fab)
    world.sandbox.answer = lambda message: Content({"arrays": {"w": np.ones(2)}})
    assert world.code(fab) is code
    assert isinstance(world.noise, Counting)
    assert (world.noise.counts, world.store.spent(PEOPLE)) == (0, {})


@pytest.mark.parametrize("patients", [0, LEAST - 1, LEAST, ENOUGH - 1, ENOUGH, 100])
def test_status_and_approval_do_not_compare_exactly_either(make_world: Make, patients: int) -> None:
    """What the hub hears before the count is the same for every number of patients."""
    world = world_of(make_world, patients)
    said = world.gate.status(Run(7, NOISY)).content.configs["flame"]
    assert (said["code"], said["status"]) == (0, "approved")
    assert world.store.ledger() == []


def test_what_leaves_says_nothing_of_the_count(make_world: Make) -> None:
    """Two nodes whose counts were refused answer with the same words; one that was admitted tells no number."""
    refusals = []
    for patients in (0, ENOUGH - 1):
        world = world_of(make_world, patients)
        answer = world.ask(NOISY)
        assert not isinstance(answer, Reply)
        refusals.append((answer.code, answer.reason))
    assert refusals[0] == refusals[1]
    world = world_of(make_world, 77)
    said = world.released(NOISY).configs["flame"]
    assert not {"77", str(ENOUGH), str(LEAST)} & {str(value) for value in said.values()}


def test_the_chain_tells_that_it_was_counted_and_what_it_cost(make_world: Make) -> None:
    world = world_of(make_world, 100)
    world.released(NOISY)
    (body,) = [body for kind, body in world.audit() if kind == "cohort-counted"]
    assert (body["store"], body["least"], body["enough"], body["event"]) == ("cohort", LEAST, True, EVENT.as_json())


def test_the_node_s_own_minimum_counts(make_world: Make) -> None:
    limits = replace(LIMITS, min_patients=101 - MARGIN)
    world = world_of(make_world, 100, limits=limits)
    assert world.code(NOISY) is RefusalCode.TERMS_VIOLATED
    world = world_of(make_world, 101, limits=limits)
    assert world.code(NOISY) is None


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_counting_leaves_nine_tenths_of_a_budget(epsilon: float) -> None:
    """The epsilons that ethics committees are asked for, at 1e-5."""
    assert filter_for(epsilon, 1e-5).share({EVENT: 1}) <= 0.1


def test_a_status_question_is_no_first_message(make_world: Make) -> None:
    world = world_of(make_world, 100)
    world.ask(NOISY, kind=STATUS_MESSAGE)
    assert world.store.ledger() == []
