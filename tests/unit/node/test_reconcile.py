"""A steward's answer to a state that is older than what left: what is stated is debited, or every account closed."""

from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.claims import SITE, Account, event_of
from flame_fl.gate.cohort_check import EVENT as COHORT
from flame_fl.gate.heads import Head, sign_head
from flame_fl.gate.ledger import lifetime_of
from flame_fl.gate.rollback import KEYS, LEFT
from flame_fl.gate.store import Store
from flame_fl.node.reconcile import Plan, propose, reconcile
from flame_fl.simulation.policy import identity_file, simulated_key
from tests.support import gates
from tests.support.chains import OTHER_KEY
from tests.support.gates import ENFORCED, TRAIN, FakeOffer, NodeLimits, World, make_fab, manifest_from, terms_table
from tests.support.killing import open_store

MESSAGES = {"train": TRAIN | {"per_run": 100}}
CLAIM = ENFORCED | {"noise_multiplier": 40.0, "epsilon_max": 10.0}
FAB = make_fab(terms_table(privacy=CLAIM, messages=MESSAGES))
BLOCKS = make_fab(
    terms_table(privacy=CLAIM | {"unit": "patient", "blocks": 3, "slot_seconds": 9.0}, messages=MESSAGES), name="blocks"
)
OPEN = make_fab(terms_table(messages=MESSAGES), name="no-claim")
PATIENTS = Account("patient", "patients")
LIMITS = NodeLimits(epsilon_cap=20.0, delta=1e-5, min_patients=5, fixed_slots=False)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A locked node that knows three analyses."""
    monkeypatch.setattr(gates, "Store", lambda file, durable: open_store(file.parent))
    world = World(tmp_path, limits=LIMITS)
    for fab in (FAB, BLOCKS, OPEN):
        world.decide(fab)
    world.released(FAB)
    world.store.lock(KEYS, "ab" * 32)
    return world


def word(fab: bytes) -> str:
    """What a steward types."""
    return manifest_from(fab).digest[:10]


def signed(world: World, head: str) -> Head:
    """A head as it left this node."""
    return Head("DIZ-1", head, sign_head(simulated_key(identity_file(world.store.path)), head))


def answer(world: World, plan: Plan) -> None:
    reconcile(world.gate, plan, by="ada", comment="a disk failed")


def debited(store: Store, account: Account, fab: bytes) -> dict[str, int]:
    """How often each kind of event of an analysis was debited."""
    terms = manifest_from(fab).terms
    assert terms is not None
    events = store.spent(account, digest=manifest_from(fab).digest)
    own = event_of(terms.privacy)
    names = {COHORT: "cohort", own: "release"}
    return {names[event]: count for event, count in events.items()}


class TestStated:
    def test_releases_are_debited_from_every_account_and_so_are_the_counts_of_cohorts(self, world: World) -> None:
        answer(world, propose(world.gate, [(word(FAB), 3), (word(BLOCKS), 2)]))
        assert debited(world.store, SITE, FAB) == {"release": 4}
        assert debited(world.store, PATIENTS, FAB) == {"release": 4, "cohort": 2}
        assert debited(world.store, SITE, BLOCKS) == {}
        assert debited(world.store, PATIENTS, BLOCKS) == {"release": 2, "cohort": 1}
        assert {entry.state for entry in world.store.ledger() if "lost" in entry.leg_id} == {"committed"}
        assert world.code(FAB, leg="2") is None
        assert world.code(BLOCKS, leg="2", run_id=8) is None

    def test_the_samplers_distance_is_debited_too(self, world: World) -> None:
        (released, *_) = world.store.ledger(SITE)
        answer(world, propose(world.gate, [(word(FAB), 1)]))
        assert world.store.ledger(SITE)[-1].distance == released.distance > 0

    def test_they_are_debited_whatever_the_cap_says(self, world: World) -> None:
        """What was spent was spent; nothing more is admitted then."""
        answer(world, propose(world.gate, [(word(FAB), 5_000)]))
        assert lifetime_of(world.store, LIMITS, SITE).share(world.store.spent(SITE)) > 1
        assert world.code(FAB, leg="2") == RefusalCode.BUDGET_EXHAUSTED

    def test_what_claims_nothing_costs_nothing(self, world: World) -> None:
        before = world.store.spent(SITE), world.store.spent(PATIENTS)
        answer(world, propose(world.gate, [(word(OPEN), 5)]))
        assert (world.store.spent(SITE), world.store.spent(PATIENTS)) == before
        assert sum(entry.account is None for entry in world.store.ledger()) == 5

    def test_it_is_audited(self, world: World) -> None:
        answer(world, propose(world.gate, [(word(FAB), 3)]))
        (body,) = [body for kind, body in world.audit() if kind == "state-reconciled"]
        assert body == {
            "heads": 1,
            "lost": {manifest_from(FAB).digest: 3},
            "closed": [],
            "by": "ada",
            "comment": "a disk failed",
        }

    def test_fewer_than_others_showed_are_not_believed(self, world: World) -> None:
        """Each head that left is one release; the same head twice is one."""
        heads = [signed(world, f"{n:064x}") for n in range(1, 5)]
        world.store.look_at(heads[:1])
        with pytest.raises(InputError, match="3 missing releases are stated; others showed 5"):
            propose(world.gate, [(word(FAB), 3)], [*heads, *heads])
        assert propose(world.gate, [(word(FAB), 3), (word(BLOCKS), 2)], heads).stated == 5

    def test_releases_beyond_those_that_were_stated_lock_again(self, world: World) -> None:
        heads = [signed(world, f"{n:064x}") for n in range(1, 5)]
        answer(world, propose(world.gate, [(word(FAB), 4)], heads[:1]))
        world.store.look_at(heads[:3])
        assert world.store.locks.open() == []
        world.store.look_at(heads)
        assert [lock.why for lock in world.store.locks.open()] == [LEFT]

    @pytest.mark.parametrize("count", [0, -1, 100_001])
    def test_a_number_that_is_none(self, world: World, count: int) -> None:
        with pytest.raises(InputError, match="cannot be missing"):
            propose(world.gate, [(word(FAB), count)])

    def test_an_analysis_that_is_not_known_here(self, world: World) -> None:
        with pytest.raises(InputError, match="No analyses begin"):
            propose(world.gate, [("0123456789", 1)])

    def test_a_store_that_is_not_known_here(self, world: World) -> None:
        """Whose budget it was is then not known."""
        assert world.data is not None
        world.data.clear()
        with pytest.raises(InputError, match="whose budget"):
            propose(world.gate, [(word(FAB), 1)])


class TestHeadsOfOthers:
    def test_other_nodes_heads_and_those_in_the_chain_are_not_counted(self, world: World) -> None:
        there = list(world.store.audit_rows())[-1][1]
        heads = [Head("DIZ-2", "1" * 64), signed(world, there), Head("DIZ-1", "2" * 64, sign_head(OTHER_KEY, "2" * 64))]
        assert propose(world.gate, (), heads).heads == ("ab" * 32,)

    def test_one_without_a_signature_goes_by_the_name(self, world: World) -> None:
        """A result.json holds none: the steward brought it, and more missing releases only cost more."""
        heads = [Head("DIZ-1", "1" * 64), Head("", "2" * 64), Head("DIZ-2", "3" * 64)]
        assert propose(world.gate, (), heads).heads == ("ab" * 32, "1" * 64, "2" * 64)

    def test_they_do_not_lock_again(self, world: World) -> None:
        head = signed(world, "1" * 64)
        answer(world, propose(world.gate, (), [head]))
        world.store.look_at([head])
        assert world.store.locks.open() == []


class TestClosed:
    def test_every_account_admits_nothing_until_somebody_sets_a_cap(self, world: World) -> None:
        plan = propose(world.gate)
        assert plan.accounts == (PATIENTS, SITE)
        answer(world, plan)
        assert world.code(FAB, leg="2") == RefusalCode.BUDGET_EXHAUSTED
        assert "lifetime cap of site" in world.detail
        assert world.code(BLOCKS, leg="2", run_id=8) == RefusalCode.BUDGET_EXHAUSTED
        for account in (SITE, PATIENTS):
            world.store.set_cap(account, 15.0, by="ada")
        assert world.code(FAB, leg="3") is None

    def test_what_claims_nothing_goes_on(self, world: World) -> None:
        answer(world, propose(world.gate))
        assert world.code(OPEN, leg="2", run_id=8) is None

    def test_the_cap_is_what_is_spent(self, world: World) -> None:
        """No single release fits, however little it costs; and the figure is no more than before."""
        spent = world.store.spent(SITE)
        answer(world, propose(world.gate))
        closed = lifetime_of(world.store, LIMITS, SITE)
        (event,) = spent
        assert closed.share(spent) >= 1
        assert closed.admitted(spent, type(event)(1e5, event.relation)) == 0
        assert closed.epsilon < 20.0

    def test_an_account_that_was_over_its_cap_is_not_raised(self, world: World) -> None:
        world.store.set_cap(SITE, 0.01, by="ada")
        answer(world, propose(world.gate))
        assert world.store.cap(SITE) == 0.01

    def test_an_account_that_is_opened_later_is_closed_as_well(self, world: World) -> None:
        """The state may have forgotten that it was ever open; a cap that somebody sets opens it."""
        answer(world, propose(world.gate))
        wing = Account("patient", "another-wing")
        event = next(iter(world.store.spent(SITE)))
        assert not lifetime_of(world.store, LIMITS, wing).admits({}, 0.0, event)
        world.store.set_cap(wing, 15.0, by="ada")
        assert lifetime_of(world.store, LIMITS, wing).admits({}, 0.0, event)

    def test_accounts_of_stores_that_nothing_was_debited_for_are_closed(self, world: World) -> None:
        assert world.data is not None
        world.data["other"] = FakeOffer(world.folder)
        world.data["other"].namespace = "wing"
        assert Account("patient", "wing") in propose(world.gate).accounts

    def test_it_is_audited_with_every_account(self, world: World) -> None:
        answer(world, propose(world.gate))
        (body,) = [body for kind, body in world.audit() if kind == "state-reconciled"]
        assert (body["lost"], body["closed"]) == ({}, ["patient:patients", "site"])


def test_a_state_that_is_not_locked_is_left_alone(world: World) -> None:
    answer(world, propose(world.gate, [(word(FAB), 1)]))
    with pytest.raises(InputError, match="not locked"):
        propose(world.gate)
