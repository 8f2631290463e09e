"""The filters of step 2: how much is admitted, from whose accounts, and which caps hold."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.ledger import lifetime_of
from flame_fl.privacy.accounting import PrivacyEvent, Relation, epsilon_of
from flame_fl.privacy.filters import filter_for, multiplier_for, order_for
from tests.support.gates import ENFORCED, LIMITS, TRAIN, FakeOffer, NoNoise, World, make_fab, terms_table

Make = Callable[..., World]
PEOPLE = Account("patient", "patients")
STORE = terms_table()["data"]["cohort"]


def multiplier_of(releases: int) -> float:
    """Of unit site, so that so many releases, and no more, fit into epsilon 8 at 1e-5."""
    cap = filter_for(8.0, 1e-5)
    return 2 * multiplier_for(cap, lambda m: {PrivacyEvent(m, Relation.REPLACE_ONE_SITE): releases})


def fab(epsilon_max: float, releases: int, **changes: Any) -> bytes:
    """An app without data: its site's account alone is debited."""
    privacy = ENFORCED | {"noise_multiplier": multiplier_of(releases), "epsilon_max": epsilon_max}
    messages = {"train": TRAIN | {"per_run": 1000}}
    return make_fab(terms_table(**{"privacy": privacy, "messages": messages, "data": {}} | changes))


def admitted(world: World, raw_fab: bytes, run_id: int = 1) -> int:
    legs = 0
    while world.code(raw_fab, leg=str(legs), run_id=run_id) is None:
        legs += 1
    assert world.code(raw_fab, leg=str(legs), run_id=run_id) is RefusalCode.BUDGET_EXHAUSTED
    return legs


def approved(world: World, *apps: bytes) -> World:
    for app in apps:
        world.decide(app)
    return world


class TestAdmission:
    @pytest.mark.parametrize("releases", [1, 2, 7, 12])
    def test_exactly_the_calibrated_number_of_releases_is_admitted(self, world: World, releases: int) -> None:
        app = fab(8.0, releases)
        world.decide(app)
        assert admitted(world, app) == releases
        assert epsilon_of(world.store.spent(SITE), 1e-5) <= 8.0

    def test_a_lifetime_cap_is_shared_by_all_analyses(self, make_world: Make) -> None:
        first, second = fab(50.0, 6), fab(50.0, 6, limits={"runs": 3})
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=8.0)), first, second)
        for leg in range(4):
            assert world.code(first, leg=str(leg), run_id=1) is None
        assert admitted(world, second, run_id=2) == 2

    def test_an_analysis_cannot_spend_more_than_its_own_cap_in_any_number_of_runs(self, world: World) -> None:
        app = fab(8.0, 4, limits={"runs": 3})
        world.decide(app)
        for run_id in (1, 2):
            for leg in ("a", "b"):
                assert world.code(app, leg=leg, run_id=run_id) is None
        assert world.code(app, run_id=3) is RefusalCode.BUDGET_EXHAUSTED
        assert "its epsilon_max" in world.detail

    def test_every_attempt_is_debited(self, world: World) -> None:
        """A node that died in the middle of a leg, twice, has paid three times for its one answer."""
        app = fab(8.0, 3)
        world.decide(app)

        def die(message: Envelope) -> Any:
            raise KeyboardInterrupt

        for _ in range(2):
            world.sandbox.answer = die
            with pytest.raises(KeyboardInterrupt):
                world.ask(app, run_id=1)
            world = world.replaced()
        assert world.code(app, run_id=1) is None
        assert [entry.attempt for entry in world.releases] == [1, 2, 3]
        assert [entry.state for entry in world.releases] == ["reserved", "reserved", "committed"]
        assert world.code(app, leg="2", run_id=1) is RefusalCode.BUDGET_EXHAUSTED

    def test_a_failure_is_paid_for(self, world: World) -> None:
        app = fab(8.0, 1)
        world.decide(app)

        def fail(message: Envelope) -> Any:
            raise SandboxError("it died")

        world.sandbox.answer = fail
        assert world.code(app, run_id=1) is None
        assert world.code(app, run_id=1, leg="2") is RefusalCode.BUDGET_EXHAUSTED

    def test_a_refusal_leaves_nothing_behind(self, make_world: Make) -> None:
        """No debit, no leg, no account."""
        app = fab(50.0, 1)
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=0.5)), app)
        assert world.code(app) is RefusalCode.BUDGET_EXHAUSTED
        assert world.store.ledger() == []
        assert world.store.accounts() == []
        assert world.store.legs_of("7") == 0
        assert world.sandbox.specs == []


class TestWhoPays:
    def test_one_site_has_one_account_whatever_its_stores_are_called(self, make_world: Make) -> None:
        """Two releases from two stores cost what two releases from one store cost."""
        apps = [fab(50.0, 2, data={name: STORE}) for name in ("cohort", "other")]
        world = with_two_stores(make_world, limits=replace(LIMITS, epsilon_cap=9.0))
        approved(world, *apps)
        assert [world.code(apps[n % 2], leg=str(n), run_id=n % 2) for n in range(3)] == [None, None, 903]
        assert [entry.stores for entry in world.releases] == [("cohort",), ("other",)]

    def test_a_release_from_two_stores_is_one_release(self, make_world: Make) -> None:
        """It is noted with both, and debited from the site once and from their one namespace once."""
        app = fab(50.0, 4, data={"cohort": STORE, "other": STORE})
        world = approved(with_two_stores(make_world), app)
        world.released(app)
        site, people = [entry for entry in world.store.ledger() if entry.run_id]
        assert (site.account, people.account) == (SITE, PEOPLE)
        assert site.stores == people.stores == ("cohort", "other")
        assert len(world.store.spent(SITE)) == 1

    def test_namespaces_have_accounts_of_their_own(self, make_world: Make) -> None:
        """What was released about the patients of one is no release about those of another."""
        world = make_world(limits=replace(LIMITS, epsilon_cap=9.0))
        assert world.data is not None
        world.data["mice"] = FakeOffer(world.folder / "mice", namespace="mice")
        blocks = ENFORCED | {"unit": "patient", "blocks": 2, "slot_seconds": 1.0, "noise_multiplier": multiplier_of(1)}
        apps = [fab(50.0, 1, data={name: STORE}, privacy=blocks) for name in ("cohort", "mice")]
        approved(world, *apps)
        for n, app in enumerate(apps):
            assert world.code(app, run_id=n) is None
            assert world.code(app, run_id=n, leg="2") is RefusalCode.BUDGET_EXHAUSTED
        assert world.store.accounts() == [Account("patient", "mice"), PEOPLE]
        assert world.store.spent(SITE) == {}

    def test_patients_are_debited_for_what_is_released_of_their_site(self, make_world: Make) -> None:
        """So that a later analysis of unit patient does not begin anew."""
        blocks = ENFORCED | {"unit": "patient", "blocks": 2, "slot_seconds": 1.0, "noise_multiplier": multiplier_of(2)}
        site, patient = fab(50.0, 2, data={"cohort": STORE}), fab(50.0, 2, data={"cohort": STORE}, privacy=blocks)
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=9.0)), site, patient)
        assert world.code(site, run_id=1) is None
        assert world.code(patient, run_id=2) is None
        assert world.code(patient, run_id=2, leg="2") is RefusalCode.BUDGET_EXHAUSTED

    def test_no_store_no_claim(self, world: World) -> None:
        app = make_fab(terms_table(data={}))
        world.decide(app)
        world.released(app)
        assert [(entry.account, entry.stores) for entry in world.store.ledger()] == [(None, ())]


def with_two_stores(make_world: Make, **fields: Any) -> World:
    world = make_world(**fields)
    assert world.data is not None
    world.data["other"] = world.data["cohort"]
    return world


class TestCaps:
    """A budget grows only by somebody's decision, and shrinks at once."""

    def test_the_first_release_opens_the_account_with_the_node_s_settings(self, world: World) -> None:
        app = fab(8.0, 2)
        world.decide(app)
        world.released(app)
        assert world.store.cap(SITE) == LIMITS.epsilon_cap
        found = lifetime_of(world.store, LIMITS, SITE)
        assert found.order == order_for(LIMITS.epsilon_cap, LIMITS.delta)

    def test_lowering_the_node_s_settings_holds_at_once(self, world: World) -> None:
        app = fab(50.0, 4)
        world.decide(app)
        for leg in "ab":
            world.released(app, leg=leg)
        lower = replace(LIMITS, epsilon_cap=epsilon_of(world.store.spent(SITE), 1e-5))
        world = world.replaced(limits=lower)
        assert world.code(app, leg="c") is RefusalCode.BUDGET_EXHAUSTED
        assert "lifetime cap of site" in world.detail
        assert world.replaced().code(app, leg="c") is RefusalCode.BUDGET_EXHAUSTED

    def test_lowering_the_node_s_delta_holds_at_once(self, world: World) -> None:
        """The same releases cost more at a smaller delta."""
        found = world.store.lifetime(SITE, LIMITS.epsilon_cap, LIMITS.delta)
        lower = lifetime_of(world.store, replace(LIMITS, delta=1e-9), SITE)
        assert lower.most < found.most

    def test_raising_the_node_s_settings_alone_does_nothing(self, make_world: Make) -> None:
        app = fab(50.0, 3)
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=8.0)), app)
        assert admitted(world, app) == 3
        world = world.replaced(limits=replace(LIMITS, epsilon_cap=50.0, delta=1e-3))
        assert world.code(app, leg="more", run_id=1) is RefusalCode.BUDGET_EXHAUSTED
        world.store.set_cap(SITE, 12.0, by="ada", comment="the committee's vote")
        assert world.code(app, leg="more", run_id=1) is None

    def test_a_cap_above_the_node_s_settings_is_not_reached(self, make_world: Make) -> None:
        app = fab(50.0, 3)
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=8.0)), app)
        world.store.set_cap(SITE, 50.0, by="ada")
        assert admitted(world, app) == 3

    def test_a_cap_that_was_set_before_the_first_release_holds(self, world: World) -> None:
        """Opening the account must not put the node's settings over a steward's decision."""
        app = fab(50.0, 1)
        world.decide(app)
        world.store.set_cap(SITE, 8.5, by="ada", comment="less than the settings allow")
        assert admitted(world, app) == 1
        assert world.store.cap(SITE) == 8.5

    def test_the_order_stays_when_the_cap_is_raised(self, make_world: Make) -> None:
        app = fab(50.0, 3)
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=8.0)), app)
        world.released(app, run_id=1)
        world.store.set_cap(SITE, 40.0, by="ada")
        assert lifetime_of(world.store, LIMITS, SITE).order == order_for(8.0, 1e-5) != order_for(40.0, 1e-5)

    def test_a_project_has_its_own_cap_and_others_are_untouched(self, world: World) -> None:
        project = terms_table()["project"]
        apps = [fab(50.0, 4, project=project | {"id": name}) for name in ("small", "large")]
        approved(world, *apps)
        world.store.set_cap(SITE, 8.0, by="ada", project="small")
        assert admitted(world, apps[0], run_id=1) == 4
        assert "the project has spent" in world.detail
        for leg in "abcdef":
            assert world.code(apps[1], leg=leg, run_id=2) is None

    def test_a_project_s_cap_is_over_all_its_analyses(self, world: World) -> None:
        apps = [fab(50.0, 4, limits={"runs": runs}) for runs in (1, 2)]
        approved(world, *apps)
        world.store.set_cap(SITE, 8.0, by="ada", project="a-project")
        codes = [world.code(apps[n % 2], leg=str(n), run_id=n % 2) for n in range(5)]
        assert codes == [None] * 4 + [903]

    def test_a_project_s_cap_does_not_open_the_lifetime_cap(self, make_world: Make) -> None:
        app = fab(50.0, 2)
        world = approved(make_world(limits=replace(LIMITS, epsilon_cap=8.0)), app)
        world.store.set_cap(SITE, 50.0, by="ada", project="a-project")
        assert admitted(world, app) == 2


class TestWhatIsNotKnown:
    @pytest.mark.parametrize(
        "event",
        [
            '{"event": "of-tomorrow"}',
            '{"event": "gaussian", "noise_multiplier": 1.0, "relation": "one-ward"}',
            '{"event": "gaussian", "noise_multiplier": 0.0, "relation": "replace-one-site"}',
            '{"event": "gaussian", "relation": "replace-one-site"}',
            '{"event": "gaussian", "noise_multiplier": null, "relation": "replace-one-site"}',
            '{"event": "gaussian", "noise_multiplier": NaN, "relation": "replace-one-site"}',
            "no JSON",
        ],
    )
    def test_an_event_that_cannot_be_read_stops_the_account(self, world: World, event: str) -> None:
        """What was spent is then not known. Another account goes on."""
        app = fab(50.0, 4)
        world.decide(app)
        world.released(app, leg="1")
        world.store._db.execute("UPDATE debits SET event=?", event)
        assert world.code(app, leg="2") is RefusalCode.BUDGET_EXHAUSTED
        assert world.store.legs_of("7") == 1
        blocks = ENFORCED | {"unit": "patient", "blocks": 2, "slot_seconds": 1.0}
        other = fab(50.0, 4, privacy=blocks)
        world.decide(other)
        world.released(other, run_id=8)

    def test_what_claims_nothing_does_not_ask(self, world: World) -> None:
        app, open_ = fab(50.0, 4), make_fab()
        approved(world, app, open_)
        world.released(app, run_id=1)
        world.store._db.execute("UPDATE debits SET event='?'")
        world.released(open_, run_id=2)


class FarNoise(NoNoise):
    """A sampler that is so far from its ideal."""

    def __init__(self, distance: float) -> None:
        self.far = distance

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        return self.far * count


class TestTheSamplersDistance:
    """Six draws a release: five coordinates and a metric. A cap of 8 at 1e-5 leaves room for 3.35e-12."""

    LIMITS = replace(LIMITS, epsilon_cap=8.0)

    def test_it_is_stored_with_every_release(self, world: World) -> None:
        app = fab(8.0, 3)
        world.decide(app)
        world.released(app)
        (entry,) = world.releases
        assert 0 < entry.distance < 1e-35

    def test_releases_are_admitted_while_delta_pays_for_it(self, make_world: Make) -> None:
        app = fab(8.0, 12)
        world = approved(make_world(limits=self.LIMITS, noise=FarNoise(2e-13)), app)
        assert admitted(world, app) == 2
        assert world.store.distance(SITE) == pytest.approx(2.4e-12)

    def test_analyses_share_the_room(self, make_world: Make) -> None:
        apps = [fab(8.0, 12, limits={"runs": runs}) for runs in (1, 2)]
        world = approved(make_world(limits=self.LIMITS, noise=FarNoise(2e-13)), *apps)
        assert [world.code(apps[n % 2], leg=str(n), run_id=n % 2) for n in range(3)] == [None, None, 903]

    def test_a_sampler_beyond_delta_is_never_used(self, make_world: Make) -> None:
        app = fab(8.0, 12)
        world = approved(make_world(limits=self.LIMITS, noise=FarNoise(1e-12)), app)
        assert world.code(app) is RefusalCode.BUDGET_EXHAUSTED
        assert world.sandbox.specs == []
