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
    assert epsilon(world.store.rho_spent(), 1e-5) <= 8.0


def test_the_sites_lifetime_cap_is_shared_by_all_analyses(make_world: Make) -> None:
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


def with_two_stores(make_world: Make, **limits: float) -> World:
    world = make_world(limits=NodeLimits(limits.get("cap", 1000.0), 1e-5, 5))
    assert world.data is not None
    world.data["other"] = world.data["cohort"]
    return world


def test_one_site_has_one_account_whatever_its_stores_are_called(make_world: Make) -> None:
    """The unit is the site: two releases from two stores cost what two releases from one store cost."""
    world, store = with_two_stores(make_world, cap=8.0), terms_table()["data"]["cohort"]
    apps = [fab(1e6, 1, data={name: store}) for name in ("cohort", "other")]
    for app in apps:
        world.decide(app)
    world.released(apps[0], run_id=1)
    assert world.code(apps[1], run_id=2) is RefusalCode.BUDGET_EXHAUSTED
    assert world.store.legs_of("2") == 0
    assert [entry.store for entry in world.store.ledger()] == ["cohort"]


def test_a_release_from_two_stores_is_one_release(make_world: Make) -> None:
    """It is noted with both, and costs the site its event once."""
    world, store = with_two_stores(make_world), terms_table()["data"]["cohort"]
    app = fab(8.0, 4, data={"cohort": store, "other": store})
    world.decide(app)
    world.released(app)
    (first, second) = world.store.ledger()
    assert world.store.rho_spent() == first.rho == second.rho
