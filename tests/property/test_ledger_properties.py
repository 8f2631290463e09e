"""The ledger under every interleaving: what was debited never exceeds the cap, and nothing that left is unpaid."""

import tempfile
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope
from flame_fl.contract.task import Reply
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.cohort_check import EVENT as COUNT
from flame_fl.privacy.accounting import epsilon_of
from tests.support.gates import (
    BLOCKS,
    ENFORCED,
    TRAIN,
    FakeSandbox,
    NoNoise,
    World,
    good_update,
    make_fab,
    terms_table,
)
from tests.support.gates import LIMITS as USUAL

CAP, OWN_CAP, PROJECT_CAP = 30.0, 20.0, 25.0
LIMITS = replace(USUAL, epsilon_cap=CAP)
PEOPLE = Account("patient", "patients")
FABS = [
    make_fab(
        terms_table(
            privacy=claim | {"noise_multiplier": multiplier, "epsilon_max": OWN_CAP},
            messages={"train": TRAIN | {"per_run": 1000}},
            limits={"runs": 1000},
        )
    )
    for claim, multiplier in ((ENFORCED, 0.7), (ENFORCED, 1.0), (BLOCKS | {"blocks": 2}, 1.5))
]


class Spending(RuleBasedStateMachine):
    """Messages of three analyses (one of unit patient), repeated, failing; a node that dies and comes back; caps that
    are set: in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.left: dict[tuple[int, str], bytes] = {}
        self.world = World(Path(self.folder.name), limits=LIMITS, noise=NoNoise())
        for raw_fab in FABS:
            self.world.decide(raw_fab)

    def ask(self, which: int, leg: str) -> None:
        answer = self.world.ask(FABS[which], leg=leg, run_id=which)
        if isinstance(answer, Reply):
            assert self.left.setdefault((which, leg), answer.encoded) == answer.encoded

    @rule(which=st.integers(0, 2), leg=st.sampled_from("abcdefgh"))
    def a_message(self, which: int, leg: str) -> None:
        self.ask(which, leg)

    @rule(which=st.integers(0, 2), leg=st.sampled_from("abcdefgh"))
    def a_message_whose_app_fails(self, which: int, leg: str) -> None:
        def fail(message: Envelope) -> Content:
            raise SandboxError("it died")

        self.world.sandbox.answer = fail
        self.ask(which, leg)
        self.world.sandbox.answer = lambda message: good_update()

    @rule(which=st.integers(0, 2), leg=st.sampled_from("abcdefgh"))
    def the_node_dies_in_the_middle_of_a_message(self, which: int, leg: str) -> None:
        class Death(BaseException):
            """Nothing in the gate may catch it, like SIGKILL."""

        def die(message: Envelope) -> Content:
            raise Death

        self.world.sandbox.answer = die
        try:
            self.ask(which, leg)
        except Death:
            self.world = self.world.replaced(sandbox=FakeSandbox())
        self.world.sandbox.answer = lambda message: good_update()

    @rule(account=st.sampled_from([SITE, PEOPLE]), epsilon=st.sampled_from([5.0, 50.0]))
    def a_steward_sets_a_lifetime_cap(self, account: Account, epsilon: float) -> None:
        """The node's settings are above none of them."""
        self.world.store.set_cap(account, epsilon, by="ada")

    @rule()
    def a_steward_sets_a_cap_for_the_project(self) -> None:
        self.world.store.set_cap(SITE, PROJECT_CAP, by="ada", project="a-project")
        self.project_cap = max(PROJECT_CAP, epsilon_of(self.world.store.spent(SITE), 1e-5))

    project_cap = CAP

    @invariant()
    def no_cap_is_exceeded(self) -> None:
        store = self.world.store
        for account in (SITE, PEOPLE):
            assert epsilon_of(store.spent(account), 1e-5) <= CAP
            for record in store.approvals():
                assert epsilon_of(store.spent(account, digest=record.analysis_digest), 1e-5) <= OWN_CAP
        assert epsilon_of(store.spent(SITE), 1e-5) <= self.project_cap

    @invariant()
    def everything_that_left_is_committed(self) -> None:
        """By every account that its analysis debits."""
        for account, which in ((SITE, {0, 1}), (PEOPLE, {0, 1, 2})):
            entries = [e for e in self.world.store.ledger(account) if e.run_id]  # the others are counts of patients
            paid = [(int(e.run_id), e.leg_id) for e in entries if e.state == "committed"]
            assert sorted(paid) == sorted(key for key in self.left if key[0] in which)

    @invariant()
    def patients_are_counted_once_for_an_analysis(self) -> None:
        assert self.world.store.spent(PEOPLE).get(COUNT, 0) <= len(FABS)

    @invariant()
    def the_chain_holds(self) -> None:
        self.world.store.verify_audit()

    def teardown(self) -> None:
        self.world.store.close()
        self.folder.cleanup()


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)


@dataclass
class Racers:
    """Gates of several processes on one state file, as far as the file can tell: each has its own connection."""

    folder: Path
    worlds: list[World] = field(default_factory=list)

    def run(self, count: int, messages: int) -> None:
        self.worlds = [World(self.folder, limits=LIMITS, noise=NoNoise()) for _ in range(count)]
        for raw_fab in FABS:
            self.worlds[0].decide(raw_fab)
        threads = [threading.Thread(target=self._race, args=(n, messages)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _race(self, number: int, messages: int) -> None:
        for leg in range(messages):
            self.worlds[number].ask(FABS[leg % 3], leg=f"{number}-{leg}", run_id=leg % 3)


@pytest.mark.parametrize("count", [2, 4])
def test_gates_that_race_for_one_store_never_overspend_it(tmp_path: Path, count: int) -> None:
    racers = Racers(tmp_path)
    racers.run(count, 12)
    store = racers.worlds[0].store
    for account in (SITE, PEOPLE):
        assert epsilon_of(store.spent(account), 1e-5) <= CAP
    assert store.spent(PEOPLE)[COUNT] <= len(FABS)
    released = [entry for entry, _ in store.audit_rows() if entry["kind"] == "released"]
    refused = [entry for entry, _ in store.audit_rows() if entry["kind"] == "refused"]
    assert len(released) + len(refused) == 12 * count
    assert refused  # the cap was reached, so the race was for something
    assert store.verify_audit()[0] == len(list(store.audit_rows()))
    for world in racers.worlds:
        world.store.close()
