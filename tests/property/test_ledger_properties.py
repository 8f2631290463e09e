"""The ledger under every interleaving: what was debited never exceeds the cap, and nothing that left is unpaid."""

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope
from flame_fl.contract.task import Reply
from flame_fl.gate.workflow import NodeLimits
from flame_fl.privacy.accounting import epsilon, rho_cap
from tests.support.gates import ENFORCED, TRAIN, FakeSandbox, NoNoise, World, good_update, make_fab, terms_table

CAP = 30.0
LIMITS = NodeLimits(CAP, 1e-5, 5)
FABS = [
    make_fab(
        terms_table(
            privacy=ENFORCED | {"noise_multiplier": multiplier, "epsilon_max": 20.0},
            messages={"train": TRAIN | {"per_run": 1000}},
            limits={"runs": 1000},
        )
    )
    for multiplier in (0.7, 1.0, 3.0)
]
OWN_CAP = rho_cap(20.0, 1e-5)


class Spending(RuleBasedStateMachine):
    """Messages of three analyses, repeated, failing, and a node that dies and comes back, in any order."""

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

    @invariant()
    def no_cap_is_exceeded(self) -> None:
        assert epsilon(self.world.store.rho_spent(), 1e-5) <= CAP
        for record in self.world.store.approvals():
            assert self.world.store.rho_spent(record.analysis_digest) <= OWN_CAP

    @invariant()
    def everything_that_left_is_committed(self) -> None:
        paid = {(int(e.run_id), e.leg_id) for e in self.world.store.ledger() if e.state == "committed"}
        assert paid == set(self.left)

    @invariant()
    def the_chain_holds(self) -> None:
        self.world.store.verify_audit()

    def teardown(self) -> None:
        self.world.store.close()
        self.folder.cleanup()


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


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
    assert epsilon(store.rho_spent(), 1e-5) <= CAP
    released = [entry for entry, _ in store.audit_rows() if entry["kind"] == "released"]
    refused = [entry for entry, _ in store.audit_rows() if entry["kind"] == "refused"]
    assert len(released) + len(refused) == 12 * count
    assert refused  # the cap was reached, so the race was for something
    assert store.verify_audit()[0] == len(list(store.audit_rows()))
    for world in racers.worlds:
        world.store.close()


@given(st.lists(st.floats(min_value=0.5, max_value=1e4), min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_no_order_of_debits_passes_the_cap(multipliers: list[float], shuffle: Callable[..., None]) -> None:
    """The filter's own arithmetic: float64 sums in any order, against an exact sum."""
    from fractions import Fraction

    from flame_fl.privacy.accounting import site_release

    shuffle.shuffle(multipliers)  # type: ignore[attr-defined]
    cap, spent, exact = rho_cap(8.0, 1e-5), 0.0, Fraction(0)
    for multiplier in multipliers:
        rho = site_release(multiplier).rho
        if spent + rho <= cap:
            spent += rho
            exact += Fraction(rho)
    assert epsilon(float(exact), 1e-5) <= 8.0
