"""The filters of step 2: how much is admitted, and that the answer never depends on the order or the rounding."""

from collections.abc import Callable

import pytest

from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.ledger import NO_STORE
from flame_fl.gate.workflow import NodeLimits
from flame_fl.privacy.accounting import epsilon, noise_multiplier_for
from tests.support.gates import ENFORCED, TRAIN, World, make_fab, terms_table

Make = Callable[..., World]


def fab(epsilon_max: float, releases: int, **changes: object) -> bytes:
    multiplier = noise_multiplier_for(8.0, 1e-5, releases)
    privacy = ENFORCED | {"noise_multiplier": multiplier, "epsilon_max": epsilon_max}
    messages = {"train": TRAIN | {"per_run": 1000}}
    return make_fab(terms_table(privacy=privacy, messages=messages, **changes))


def admitted(world: World, raw_fab: bytes, run_id: int = 1) -> int:
    legs = 0
    while world.code(raw_fab, leg=str(legs), run_id=run_id) is None:
        legs += 1
    assert world.code(raw_fab, leg=str(legs), run_id=run_id) is RefusalCode.BUDGET_EXHAUSTED
    return legs


@pytest.mark.parametrize("releases", [1, 2, 7, 12])
def test_exactly_the_calibrated_number_of_releases_is_admitted(world: World, releases: int) -> None:
    app = fab(8.0, releases)
    world.decide(app)
    assert admitted(world, app) == releases
    assert epsilon(world.store.rho_spent("cohort"), 1e-5) <= 8.0


def test_the_stores_lifetime_cap_is_shared_by_all_analyses(make_world: Make) -> None:
    world = make_world(limits=NodeLimits(8.0, 1e-5, 5))
    first, second = fab(1e6, 6), fab(1e6, 6, limits={"runs": 3})
    for app in (first, second):
        world.decide(app)
    for leg in range(4):
        assert world.code(first, leg=str(leg), run_id=1) is None
    assert admitted(world, second, run_id=2) == 2


def test_an_analysis_cannot_spend_more_than_its_own_cap_in_any_number_of_runs(make_world: Make) -> None:
    world = make_world()
    app = fab(8.0, 4, limits={"runs": 3})
    world.decide(app)
    for run_id in (1, 2):
        for leg in ("a", "b"):
            assert world.code(app, leg=leg, run_id=run_id) is None
    assert world.code(app, run_id=3) is RefusalCode.BUDGET_EXHAUSTED


def test_every_store_of_the_analysis_is_debited(make_world: Make) -> None:
    world = make_world()
    assert world.data is not None
    world.data["other"] = world.data["cohort"]
    store = terms_table()["data"]["cohort"]
    app = fab(8.0, 4, data={"cohort": store, "other": store})
    world.decide(app)
    world.released(app)
    assert sorted(entry.store for entry in world.store.ledger()) == ["cohort", "other"]


def test_an_analysis_without_a_store_is_debited_too(world: World) -> None:
    app = fab(8.0, 4, data={})
    world.decide(app)
    world.released(app)
    assert [entry.store for entry in world.store.ledger()] == [NO_STORE]


def test_a_refusal_by_one_store_debits_none(make_world: Make) -> None:
    world = make_world()
    assert world.data is not None
    world.data["other"] = world.data["cohort"]
    store = terms_table()["data"]["cohort"]
    both, one = fab(8.0, 1, data={"cohort": store, "other": store}), fab(1e6, 1, data={"other": store})
    world = world.replaced(limits=NodeLimits(8.0, 1e-5, 5))
    for app in (both, one):
        world.decide(app)
    world.released(one, run_id=1)
    assert world.code(both, run_id=2) is RefusalCode.BUDGET_EXHAUSTED
    assert world.store.rho_spent("cohort") == 0.0
    assert world.store.legs_of("2") == 0
