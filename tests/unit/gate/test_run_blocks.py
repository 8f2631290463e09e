"""Sample and aggregate, driven through a gate: blocks of patients, each in a session of its own."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError, SandboxTimeoutError
from flame_fl.contract.ports import Envelope, SandboxSpec
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import Reply
from flame_fl.contract.terms import Resources
from flame_fl.gate.approval import Status
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.cohort_check import EVENT as COUNT
from flame_fl.gate.sessions import StoppedError
from flame_fl.privacy.accounting import PrivacyEvent, Relation
from flame_fl.privacy.clipping import CLIP_INT, clip
from tests.support.gates import (
    BLOCKS,
    LIMITS,
    TRAIN,
    FakeOffer,
    FakeOffers,
    FakeSession,
    NoNoise,
    World,
    make_fab,
    rows_of,
    terms_table,
)

Make = Callable[..., World]
Works = Callable[[SandboxSpec, Envelope], Content | bytes]
K = 4
NORM = 10.0  # of `update_of`, a number of rows is at most 100: its arrays' norm is below this
UNIT = NORM / CLIP_INT
PEOPLE = Account("patient", "patients")
STORE = terms_table()["data"]["cohort"]
MESSAGES = {"train": TRAIN | {"per_run": 9}}


def app(**privacy: Any) -> bytes:
    changes = {key: privacy.pop(key) for key in ("data", "limits", "messages") if key in privacy}
    stated = BLOCKS | {"clip_norm": NORM, "noise_multiplier": 4.0} | privacy
    return make_fab(terms_table(**{"privacy": stated, "messages": MESSAGES} | changes))


FAB = app()


def update_of(rows: Sequence[int]) -> Content:
    """What an honest app makes of its rows: their number, their mean and a loss."""
    w = np.array([len(rows) / 100, np.mean(rows) / 100 if rows else 0.0, 0.0, 0.0])
    loss = len(rows) / 10
    arrays = {"w": w, "b": np.array([0.5], np.float32)}
    return Content({"arrays": arrays}, {"metrics": {"num-examples": len(rows), "loss": loss}})


def honest(spec: SandboxSpec, message: Envelope) -> Content:
    return update_of(rows_of(spec))


def world_of(make_world: Make, fab: bytes = FAB, works: Works = honest, **fields: Any) -> World:
    """A DIZ whose app sees its rows, without noise, so that what noise would hide can be seen."""
    world = make_world(noise=NoNoise(), **fields)
    assert world.data is not None
    world.data["cohort"].shows_rows = True
    world.sandbox.works = works
    world.decide(fab)
    return world


def offer_of(world: World) -> FakeOffer:
    assert world.data is not None
    return world.data["cohort"]


def seen(world: World, first: int = 0) -> list[list[int]]:
    """The rows of each session that was started, as its view still has them."""
    return [rows_of(spec) for spec in world.sandbox.specs[first:]]


def views(world: World) -> list[str]:
    """The contents of all views that exist."""
    folder = world.folder / "views"
    return sorted(path.read_text() for path in folder.rglob("*.txt")) if folder.exists() else []


def mean_of(updates: Sequence[Content | None], blocks: int = K) -> tuple[np.ndarray, float]:
    """By hand: every update and its metric clipped as one vector, the mean over all blocks, a missing one is zero."""
    total = np.zeros(6)
    for update in updates:
        if update is not None:
            arrays = update.arrays["arrays"]
            loss = float(update.metrics["metrics"]["loss"])  # type: ignore[arg-type]
            total += clip(np.array([*arrays["w"], *arrays["b"], 0.1 * NORM * (loss - 5) / 5]), NORM)
    mean = total / blocks
    return mean[:5], mean[5] / (0.1 * NORM) * 5 + 5


def assert_mean(left: Content, updates: Sequence[Content | None], blocks: int = K) -> None:
    """One unit of the integers a block is lost at most."""
    arrays, loss = mean_of(updates, blocks)
    found = np.array([*left.arrays["arrays"]["w"], *left.arrays["arrays"]["b"]])
    assert found == pytest.approx(arrays, abs=1.01 * UNIT)
    assert left.metrics["metrics"]["loss"] == pytest.approx(loss, abs=1.01 * UNIT * 5 / (0.1 * NORM))
    assert left.metrics["metrics"]["num-examples"] == 1


class TestPartition:
    def test_every_block_has_a_session_that_sees_its_rows_and_no_others(self, make_world: Make) -> None:
        world = world_of(make_world)
        world.released(FAB)
        parts = seen(world)
        assert len(parts) == K
        assert sorted(row for part in parts for row in part) == list(range(100))
        assert len({spec.data["cohort"] for spec in world.sandbox.specs}) == K
        assert all(len(part) < 60 for part in parts)

    def test_no_block_hears_which_block_or_run_it_is(self, make_world: Make) -> None:
        """The same specification, the same message: all that differs is the view."""
        world = world_of(make_world)
        world.released(FAB)
        assert len({repr(replace(spec, data={})) for spec in world.sandbox.specs}) == 1
        assert len({(m.message_id, m.message_type, m.group_id, m.seed) for m in world.sandbox.messages}) == 1

    def test_it_stays_for_the_run_and_is_another_one_in_the_next(self, make_world: Make) -> None:
        fab = app(limits={"runs": 9})
        world = world_of(make_world, fab, limits=replace(LIMITS, max_block_sessions=0))
        parts = []
        for run_id, leg in ((1, "a"), (1, "b"), (2, "a")):
            before = len(world.sandbox.specs)
            world.released(fab, run_id=run_id, leg=leg)
            parts.append(seen(world, before))
        assert parts[0] == parts[1] != parts[2]
        assert sorted(chain(*parts[0])) == sorted(chain(*parts[2]))

    def test_it_is_the_same_after_a_restart(self, make_world: Make) -> None:
        world = world_of(make_world)
        world.released(FAB, leg="1")
        before = seen(world)
        world.gate.stop()
        again = world.replaced()
        again.sandbox.works = honest
        again.released(FAB, leg="2")
        assert seen(again) == before

    def test_samples_of_one_patient_stay_together(self, make_world: Make) -> None:
        world = world_of(make_world)
        offer_of(world).samples = 3
        world.released(FAB)
        parts = [{row // 3 for row in part} for part in seen(world)]
        assert sum(len(part) for part in parts) == 100
        assert sum(len(part) for part in seen(world)) == 300

    def test_two_stores_have_one_partition_and_one_debit(self, make_world: Make) -> None:
        """A patient is in the same block of both; one patient more changes one block, and is paid once."""
        fab = app(data={"cohort": STORE, "genomes": STORE})
        genomes = FakeOffer(Path("none"), patients=80, shows_rows=True)
        world = make_world(noise=NoNoise())
        assert world.data is not None
        world.data["cohort"].shows_rows, world.data["genomes"] = True, genomes
        world.sandbox.works = honest
        world.decide(fab)
        world.released(fab)
        for spec in world.sandbox.specs:
            assert set(rows_of(spec, "genomes")) == {row for row in rows_of(spec) if row < 80}
        assert [entry.account for entry in world.store.ledger() if entry.run_id] == [PEOPLE]

    @pytest.mark.parametrize("left_out", [0, 17, 99])
    def test_a_patient_less_changes_one_block_and_no_bit_of_the_others(self, make_world: Make, left_out: int) -> None:
        """The theorem's premise, on what is mounted."""
        whole, less = world_of(make_world), world_of(make_world)
        offer_of(less).people = [n for n in range(100) if n != left_out]
        for world in (whole, less):
            world.released(FAB)
        both = list(zip(bytes_of(whole), bytes_of(less), strict=True))
        assert sum(one != other for one, other in both) == 1
        ((one, other),) = [pair for pair in zip(seen(whole), seen(less), strict=True) if pair[0] != pair[1]]
        assert set(one) - set(other) == {left_out}

    @given(people=st.sets(st.integers(0, 500), max_size=40), more=st.integers(501, 999), blocks=st.integers(2, 30))
    def test_nobody_s_coming_moves_anybody(self, people: set[int], more: int, blocks: int) -> None:
        offer = FakeOffer(Path("none"))
        parts = []
        for people_now in (people, people | {more}):
            offer.people = sorted(people_now)
            parts.append(offer.blocks(offer.cohort(None, None), None, blocks, b"k"))  # type: ignore[arg-type]
        changed = [n for n in range(blocks) if parts[0][n].tolist() != parts[1][n].tolist()]
        assert len(changed) == 1
        assert set(parts[1][changed[0]]) - set(parts[0][changed[0]]) == {more}


def bytes_of(world: World) -> list[str]:
    """A digest of every session's whole view: names and bytes."""
    found = []
    for spec in world.sandbox.specs:
        digest = hashlib.sha256()
        for name, folder in sorted(spec.data.items()):
            for path in sorted(folder.rglob("*")):
                digest.update(f"{name}/{path.relative_to(folder)}\0".encode())
                digest.update(path.read_bytes() if path.is_file() else b"")
        found.append(digest.hexdigest())
    return found


class TestResult:
    def test_it_is_the_mean_of_the_clipped_updates_and_so_are_the_metrics(self, make_world: Make) -> None:
        world = world_of(make_world)
        assert_mean(world.released(FAB), [update_of(part) for part in seen(world)])

    def test_each_update_is_clipped_by_itself(self, make_world: Make) -> None:
        """One block a thousand times too large moves the mean by clip_norm / k."""
        loud: list[Content] = []

        def works(spec: SandboxSpec, message: Envelope) -> Content:
            update = update_of(rows_of(spec))
            if not loud:
                update.arrays["arrays"]["w"] = np.array([0.0, 0.0, 1e6, 0.0])
            loud.append(update)
            return update

        world = world_of(make_world, works=works)
        left = world.released(FAB)
        assert_mean(left, loud)
        assert left.arrays["arrays"]["w"][2] == pytest.approx(NORM / K, rel=1e-3)

    def test_the_reply_says_what_a_strategy_may_know(self, make_world: Make) -> None:
        said = world_of(make_world).released(FAB).configs["flame"]
        assert (said["unit"], said["ground"], said["blocks"], said["clip_norm"]) == ("patient", "enforced", K, NORM)
        assert said["noise_std"] == pytest.approx(4.0 * NORM / K)

    def test_a_delta_is_taken_block_by_block(self, make_world: Make) -> None:
        """Relative to what was sent; the mean is put back on top of it."""
        fab = app(messages={"train": MESSAGES["train"] | {"update": "delta"}})
        world = world_of(make_world, fab)
        left = world.released(fab)
        away = [np.array([*u.arrays["arrays"]["w"], *u.arrays["arrays"]["b"]]) - 1 for u in map(update_of, seen(world))]
        found = np.array([*left.arrays["arrays"]["w"], *left.arrays["arrays"]["b"]])
        assert found == pytest.approx(1 + np.mean(away, axis=0), abs=1e-5)

    def test_one_message_is_one_release_and_one_debit(self, make_world: Make) -> None:
        world = world_of(make_world)
        world.released(FAB)
        assert len(world.sandbox.messages) == K
        assert world.store.spent(PEOPLE) == {PrivacyEvent(2.0, Relation.ADD_OR_REMOVE_ONE_PATIENT): 1, COUNT: 1}
        assert world.store.spent(SITE) == {}
        assert [kind for kind, _ in world.audit()].count("released") == 1

    def test_messages_are_counted_once_for_all_blocks(self, make_world: Make) -> None:
        world = world_of(make_world)
        for leg in range(9):
            world.released(FAB, leg=str(leg))
        assert world.code(FAB, leg="9") is RefusalCode.TERMS_VIOLATED
        assert len(world.sandbox.messages) == 9 * K

    @pytest.mark.parametrize("patients", [31, 40])
    def test_more_blocks_than_patients(self, make_world: Make, patients: int) -> None:
        """Most are empty: no session, the zero vector, and the divisor stays."""
        fab = app(blocks=64)
        world = world_of(make_world, fab)
        offer_of(world).people = range(patients)
        left = world.released(fab)
        parts = seen(world)
        assert 0 < len(parts) <= patients
        assert all(parts)
        assert_mean(left, [update_of(part) for part in parts], 64)

    def test_nobody_at_all(self, make_world: Make) -> None:
        """After the first count everybody withdrew: what leaves is noise about nothing."""
        world = world_of(make_world)
        world.released(FAB, leg="1")
        offer_of(world).people = []
        assert_mean(world.released(FAB, leg="2"), [])
        assert len(world.sandbox.specs) == K


def turn(world: World, spec: SandboxSpec) -> int:
    """Which session of those that were started works."""
    return next(n for n, started in enumerate(world.sandbox.specs) if started is spec)


BAD: dict[str, Callable[[], Content | bytes]] = {}


def bad(function: Callable[[], Content | bytes]) -> Callable[[], Content | bytes]:
    BAD[function.__name__] = function
    return function


@bad
def raises() -> Content:
    raise SandboxError("it died")


@bad
def times_out() -> Content:
    raise SandboxTimeoutError("too slow")


@bad
def fault_of_the_sandbox() -> Content:
    raise RecursionError


@bad
def not_finite() -> Content:
    update = update_of([1])
    update.arrays["arrays"]["w"][1] = np.nan
    return update


@bad
def metric_not_finite() -> Content:
    return Content(update_of([1]).arrays, {"metrics": {"loss": float("inf")}})


@bad
def wrong_shape() -> Content:
    return Content({"arrays": {"w": np.ones(5), "b": np.ones(1, np.float32)}})


@bad
def wrong_dtype() -> Content:
    return Content({"arrays": {"w": np.ones(4, np.float32), "b": np.ones(1, np.float32)}})


@bad
def unlisted_metric() -> Content:
    return Content(update_of([1]).arrays, {"metrics": {"loss": 1.0, "patient-17": 1.0}})


@bad
def unlisted_record() -> Content:
    return Content({**update_of([1]).arrays, "more": {}})


@bad
def words() -> Content:
    return Content(update_of([1]).arrays, {}, {"words": {"a": "b"}})


@bad
def too_large() -> Content:
    return Content({"arrays": {"w": np.ones(4), "b": np.ones(1, np.float32), "x": np.ones(1 << 20)}})


@bad
def no_frame() -> bytes:
    return b"\x00\xff not a frame"


@bad
def nothing() -> Content:
    return Content()


class TestFailure:
    """Of one block: its zero vector, and nothing else that anybody could tell."""

    @pytest.mark.parametrize("which", [0, 2, K - 1])
    @pytest.mark.parametrize("how", sorted(BAD))
    def test_is_the_zero_vector_of_that_block_alone(self, make_world: Make, how: str, which: int) -> None:
        def works(spec: SandboxSpec, message: Envelope) -> Content | bytes:
            return BAD[how]() if turn(world, spec) == which else honest(spec, message)

        world = world_of(make_world, works=works)
        left = world.released(FAB)
        parts = seen(world)
        assert len(parts) == K
        assert_mean(left, [None if n == which else update_of(part) for n, part in enumerate(parts)])

    @pytest.mark.parametrize("how", ["raises", "not_finite"])
    def test_does_not_restart_any_other_block(self, make_world: Make, how: str) -> None:
        """In the next round that block has a session again: a new one if its own had ended."""

        def works(spec: SandboxSpec, message: Envelope) -> Content | bytes:
            first_round = message.message_id == "1"
            return BAD[how]() if turn(world, spec) == 1 and first_round else honest(spec, message)

        world = world_of(make_world, works=works)
        world.released(FAB, leg="1")
        left = world.released(FAB, leg="2")
        assert len(world.sandbox.specs) == (K + 1 if how == "raises" else K)
        assert [s.closed for s in world.sandbox.sessions[:K]] == [False, how == "raises", False, False]
        parts = seen(world)
        assert_mean(left, [update_of(part) for part in (parts[0], parts[-1 if how == "raises" else 1], *parts[2:K])])

    def test_of_all_blocks_leaves_like_any_other_answer(self, make_world: Make) -> None:
        def works(spec: SandboxSpec, message: Envelope) -> Content:
            raise SandboxError("it died")

        failing, fine = world_of(make_world, works=works), world_of(make_world)
        one, other = (world.released(FAB) for world in (failing, fine))
        assert_mean(one, [])
        for mine, theirs in zip(one.array_items(), other.array_items(), strict=True):
            assert (mine[0], mine[1], mine[2].dtype, mine[2].shape) == (
                theirs[0], theirs[1], theirs[2].dtype, theirs[2].shape,
            )  # fmt: skip
        assert one.metrics["metrics"].keys() == other.metrics["metrics"].keys()
        hidden = {"audit_head", "audit_signature"}
        assert {k: v for k, v in one.configs["flame"].items() if k not in hidden} == {
            k: v for k, v in other.configs["flame"].items() if k not in hidden
        }

    def test_to_start_is_one_too(self, make_world: Make) -> None:
        world = world_of(make_world)
        start, started = world.sandbox.start, []

        def third_fails(spec: SandboxSpec) -> FakeSession:
            started.append(spec)
            if len(started) == 3:
                raise SandboxError("no memory")
            return start(spec)

        world.sandbox.start = third_fails  # type: ignore[method-assign]
        left = world.released(FAB)
        assert_mean(left, [update_of(rows_of(spec)) for n, spec in enumerate(started) if n != 2])

    def test_why_is_in_the_node_s_own_log_and_nowhere_else(self, make_world: Make) -> None:
        def works(spec: SandboxSpec, message: Envelope) -> Content:
            raise SandboxError("patient 17 has the disease")

        world = world_of(make_world, works=works)
        answer = world.ask(FAB)
        assert isinstance(answer, Reply)
        assert b"patient 17" not in answer.encoded
        assert "block 1: patient 17" in world.detail

    def test_of_one_patient_s_record_is_the_zero_vector_of_that_patient_s_block_alone(self, make_world: Make) -> None:
        """A file that cannot be read: had it been in no block, the others would have counted. So they count."""
        world = world_of(make_world)
        offer_of(world).unreadable = frozenset({17})
        left = world.released(FAB)
        parts = seen(world)
        assert len(parts) == K - 1
        assert 17 not in set(chain(*parts))
        assert_mean(left, [update_of(part) for part in parts])

    def test_of_a_data_store_as_a_whole_is_no_refusal(self, make_world: Make) -> None:
        world = world_of(make_world)
        offer_of(world).unreadable = frozenset(range(100))
        assert_mean(world.released(FAB), [])
        assert views(world) == []


class TestWithdrawal:
    """A patient who withdraws is in no sandbox from then on; only the block that held them notices."""

    def block_of(self, world: World, patient: int) -> int:
        return next(n for n, part in enumerate(seen(world)) if patient in part)

    def test_between_rounds_restarts_only_that_block(self, make_world: Make) -> None:
        world = world_of(make_world)
        world.released(FAB, leg="1")
        which, parts = self.block_of(world, 17), seen(world)
        offer_of(world).people = [n for n in range(100) if n != 17]
        left = world.released(FAB, leg="2")
        assert [session.closed for session in world.sandbox.sessions] == [n == which for n in range(K + 1)]
        parts[which] = [n for n in parts[which] if n != 17]
        assert rows_of(world.sandbox.specs[-1]) == parts[which]
        assert_mean(left, [update_of(part) for part in parts])
        assert not any("17" in text.split() for text in views(world))

    def test_the_last_patient_of_a_block_leaves_no_view_behind(self, make_world: Make) -> None:
        """The block is empty then: no session, no view, the zero vector."""
        fab = app(blocks=64)
        world = world_of(make_world, fab, limits=replace(LIMITS, max_block_sessions=64))
        world.released(fab, leg="1")
        alone = next(part[0] for part in seen(world) if len(part) == 1)
        offer_of(world).people = [n for n in range(100) if n != alone]
        world.released(fab, leg="2")
        assert str(alone) not in views(world)
        assert len(views(world)) == sum(session.alive for session in world.sandbox.sessions)

    @pytest.mark.parametrize("when", ["at work", "before its turn", "after its turn"])
    def test_in_the_middle_of_a_message_zeroes_only_that_block(self, make_world: Make, when: str) -> None:
        """Whenever somebody withdraws: the others' updates are in the sum, as if that patient had never been there."""
        trial = world_of(make_world)
        trial.released(FAB)
        parts = seen(trial)
        offset = {"at work": 0, "before its turn": -1, "after its turn": 1}[when]
        moment = 1  # the withdrawal happens while this block works
        which = moment - offset
        gone = parts[which][0]
        worked: list[list[int]] = []

        def works(spec: SandboxSpec, message: Envelope) -> Content:
            rows = rows_of(spec)
            worked.append(rows)
            if rows == parts[moment]:
                offer_of(world).people = [n for n in range(100) if n != gone]
            return update_of(rows)

        world = world_of(make_world, works=works)
        left = world.released(FAB)
        assert_mean(left, [update_of(part) for n, part in enumerate(parts) if n != which])
        if when == "before its turn":
            assert not any(gone in rows for rows in worked)
        assert len(world.sandbox.messages) >= K - 1

    def test_in_the_middle_deletes_views_that_wait_for_their_turn(self, make_world: Make) -> None:
        """As the node's watch does it: at once."""
        trial = world_of(make_world)
        trial.released(FAB)
        gone, left = seen(trial)[3][0], []

        def works(spec: SandboxSpec, message: Envelope) -> Content:
            if len(world.sandbox.messages) == 1:
                offer_of(world).people = [n for n in range(100) if n != gone]
                world.gate.end_changed()
                left.extend(views(world))
            return honest(spec, message)

        world = world_of(make_world, works=works)
        world.released(FAB)
        assert not any(str(gone) in text.split() for text in left)

    @pytest.mark.parametrize("most", [0, 32], ids=["cold", "warm"])
    def test_between_messages_the_watch_deletes_the_view(self, make_world: Make, most: int) -> None:
        world = world_of(make_world, limits=replace(LIMITS, max_block_sessions=most))
        world.released(FAB)
        offer_of(world).people = [n for n in range(100) if n != 17]
        world.gate.end_changed()
        assert not any("17" in text.split() for text in views(world))
        assert len(views(world)) == K - 1

    def test_the_watch_ends_only_that_block(self, make_world: Make) -> None:
        world = world_of(make_world)
        world.released(FAB)
        which = self.block_of(world, 17)
        offer_of(world).people = [n for n in range(100) if n != 17]
        assert world.gate.end_changed() == 1
        assert [session.closed for session in world.sandbox.sessions] == [n == which for n in range(K)]


class TestApproval:
    @pytest.mark.parametrize("most", [0, 32], ids=["cold", "warm"])
    @pytest.mark.parametrize(
        ("status", "code"), [(Status.WITHDRAWN, 907), (Status.REJECTED, 901), (Status.PENDING, 902)]
    )
    @pytest.mark.parametrize("fails", [False, True], ids=["works on", "fails then"])
    def test_withdrawn_in_the_middle_nothing_leaves_and_no_view_stays(
        self, make_world: Make, status: Status, code: int, fails: bool, most: int
    ) -> None:
        def works(spec: SandboxSpec, message: Envelope) -> Content:
            if len(world.sandbox.messages) == 2:
                world.decide(FAB, status)
                if fails:
                    raise SandboxError("its session was ended")
            return honest(spec, message)

        world = world_of(make_world, works=works, limits=replace(LIMITS, max_block_sessions=most))
        assert world.code(FAB) == code
        assert all(session.closed for session in world.sandbox.sessions)
        assert views(world) == []
        assert [entry.state for entry in world.store.ledger() if entry.run_id] == ["reserved"]
        if fails:
            assert len(world.sandbox.messages) == 2

    @pytest.mark.parametrize("most", [0, 32], ids=["cold", "warm"])
    def test_an_ended_run_leaves_no_session_and_no_view(self, make_world: Make, most: int) -> None:
        world = world_of(make_world, limits=replace(LIMITS, max_block_sessions=most))
        world.released(FAB)
        assert len(views(world)) == K
        world.gate.end_run(7)
        assert views(world) == []
        assert all(session.closed for session in world.sandbox.sessions)

    def test_a_stop_in_the_middle_is_no_answer_and_the_leg_can_be_asked_again(self, make_world: Make) -> None:
        def works(spec: SandboxSpec, message: Envelope) -> Content:
            if len(world.sandbox.messages) == 2:
                world.gate.stop()
                raise SandboxError("its pipe was closed")
            return honest(spec, message)

        world = world_of(make_world, works=works)
        with pytest.raises(StoppedError):
            world.ask(FAB)
        assert views(world) == []
        again = world.replaced()
        again.sandbox.works = honest
        left = again.released(FAB)
        assert_mean(left, [update_of(part) for part in seen(again)])
        assert [entry.attempt for entry in again.store.ledger() if entry.run_id] == [1, 2]

    def test_a_death_in_the_middle_is_paid_twice_and_answered_once(self, make_world: Make) -> None:
        """Killed between two blocks. The partition is the run's, so no patient is in two blocks of one run."""
        parts: list[list[int]] = []

        def works(spec: SandboxSpec, message: Envelope) -> Content:
            parts.append(rows_of(spec))
            if len(parts) == 3:
                raise KeyboardInterrupt
            return honest(spec, message)

        world = world_of(make_world, works=works)
        with pytest.raises(KeyboardInterrupt):
            world.ask(FAB)
        again = world.replaced()
        again.sandbox.works = honest
        first, second = again.ask(FAB), again.ask(FAB)
        assert isinstance(first, Reply)
        assert isinstance(second, Reply)
        assert first.encoded == second.encoded
        assert len(again.sandbox.messages) == K
        assert seen(again)[:3] == parts
        assert [entry.state for entry in again.store.ledger() if entry.run_id] == ["reserved", "committed"]
        assert again.store.spent(PEOPLE)[COUNT] == 1

    def test_a_resent_message_runs_nothing_and_gets_the_same_bytes(self, make_world: Make) -> None:
        world = world_of(make_world)
        first, again = world.ask(FAB), world.ask(FAB)
        assert isinstance(first, Reply)
        assert isinstance(again, Reply)
        assert first.encoded == again.encoded
        assert len(world.sandbox.messages) == K


class TestSessions:
    def test_warm_ones_serve_all_messages_of_a_run_and_one_runs_at_a_time(self, make_world: Make) -> None:
        world = world_of(make_world)
        for leg in "abc":
            world.released(FAB, leg=leg)
        assert len(world.sandbox.specs) == K
        assert world.sandbox.awake == [1] * 3 * K
        assert all(session.paused and session.alive for session in world.sandbox.sessions)

    def test_more_than_the_node_keeps_are_started_anew_each_time_on_the_same_views(self, make_world: Make) -> None:
        world = world_of(make_world, limits=replace(LIMITS, max_block_sessions=K - 1))
        for leg in "ab":
            world.released(FAB, leg=leg)
        assert len(world.sandbox.specs) == 2 * K
        assert world.sandbox.awake == [1] * 2 * K
        assert all(session.closed for session in world.sandbox.sessions)
        assert [s.data for s in world.sandbox.specs[:K]] == [s.data for s in world.sandbox.specs[K:]]
        assert "session-restarted" not in [kind for kind, _ in world.audit()]

    def test_a_failed_one_is_paused_too(self, make_world: Make) -> None:
        """An app that raises in one message may still have threads."""

        class Survives(FakeSession):
            def handle(self, message: Envelope, deadline_seconds: float, max_reply_bytes: int) -> Content:
                raise SandboxError("the app failed; its process lives")

        world = world_of(make_world)
        sessions: list[FakeSession] = []

        def start(spec: SandboxSpec) -> FakeSession:
            sessions.append(Survives(lambda message: Content()))
            return sessions[-1]

        world.sandbox.start = start  # type: ignore[method-assign]
        world.released(FAB)
        assert [(s.alive, s.paused) for s in sessions] == [(True, True)] * K

    def test_of_other_runs_stay_frozen_while_blocks_work(self, make_world: Make) -> None:
        """A second run of the same researcher, without a claim, must not listen to the blocks of the first."""
        open_ = make_fab()
        world = world_of(make_world)
        world.decide(open_)
        world.sandbox.works = lambda spec, message: update_of(rows_of(spec))
        world.released(open_, run_id=1)
        world.released(FAB, run_id=2)
        assert world.sandbox.awake == [1] * (1 + K)

    def test_no_more_runs_are_warm_than_the_node_allows(self, make_world: Make) -> None:
        fab = app(limits={"runs": 9})
        world = world_of(make_world, fab, limits=replace(LIMITS, max_sessions=1))
        for run_id in (1, 2, 3):
            world.released(fab, run_id=run_id)
        assert [session.closed for session in world.sandbox.sessions] == [True] * 2 * K + [False] * K
        assert len(views(world)) == K

    def test_lost_state_is_a_failure_of_that_block_where_the_terms_need_it(self, make_world: Make) -> None:
        fab = app(limits={"runs": 1, "requires_state": True})
        world = world_of(make_world, fab)
        world.released(fab, leg="1")
        parts = seen(world)
        world.sandbox.sessions[1].alive = False
        left = world.released(fab, leg="2")
        assert_mean(left, [update_of(part) for n, part in enumerate(parts) if n != 1])
        assert [body["block"] for kind, body in world.audit() if kind == "session-restarted"] == [2]


class TestSlots:
    SLOT = 0.04

    def timed(self, make_world: Make, works: Works, **fields: Any) -> tuple[float, World]:
        fab = app(slot_seconds=self.SLOT)
        world = world_of(make_world, fab, works, **{"limits": replace(LIMITS, fixed_slots=True)} | fields)
        begun = time.monotonic()
        world.released(fab)
        return time.monotonic() - begun, world

    @pytest.mark.parametrize("how", ["fast", "dead"])
    def test_a_turn_takes_its_slot_whatever_the_app_does(self, make_world: Make, how: str) -> None:
        """Slot 0 is for the views, and then one for each block."""
        seconds, _ = self.timed(make_world, honest if how == "fast" else lambda spec, message: raises())
        assert seconds >= (K + 1) * self.SLOT

    def test_an_empty_block_takes_its_slot_too(self, make_world: Make) -> None:
        world = world_of(make_world, app(slot_seconds=self.SLOT), limits=replace(LIMITS, fixed_slots=True))
        world.released(app(slot_seconds=self.SLOT), leg="1")
        offer_of(world).people = []
        begun = time.monotonic()
        world.released(app(slot_seconds=self.SLOT), leg="2")
        assert time.monotonic() - begun >= (K + 1) * self.SLOT

    def test_a_deadline_lies_within_the_slot(self, make_world: Make) -> None:
        _, world = self.timed(make_world, honest)
        deadlines = [seconds for session in world.sandbox.sessions for seconds in session.deadlines]
        assert len(deadlines) == K
        assert all(0 < seconds <= self.SLOT for seconds in deadlines)

    def test_a_block_that_hangs_does_not_delay_the_reply(self, make_world: Make) -> None:
        """Its session needs half a slot to start; what is left of the slot then is its deadline. The reply of a DIZ
        with a patient who makes the app hang must not come later than another one's."""

        def hangs(session: FakeSession, message: Envelope, deadline_seconds: float, max_reply_bytes: int) -> Content:
            time.sleep(deadline_seconds)
            raise SandboxTimeoutError("too slow")

        slot, blocks = 0.5, 2
        fab = app(slot_seconds=slot, blocks=blocks)
        world = world_of(make_world, fab, limits=replace(LIMITS, fixed_slots=True))
        start = world.sandbox.start

        def slowly(spec: SandboxSpec) -> FakeSession:
            time.sleep(slot / 2)
            session = start(spec)
            session.handle = hangs.__get__(session)  # type: ignore[method-assign]
            return session

        world.sandbox.start = slowly  # type: ignore[method-assign]
        begun = time.monotonic()
        world.released(fab)
        assert time.monotonic() - begun < (blocks + 1.4) * slot

    def test_a_simulation_does_not_wait(self, make_world: Make) -> None:
        fab = app(slot_seconds=60.0)
        begun = time.monotonic()
        world_of(make_world, fab).released(fab)
        assert time.monotonic() - begun < 30

    def test_a_stop_ends_the_wait(self, make_world: Make) -> None:
        fab = app(slot_seconds=600.0)

        def works(spec: SandboxSpec, message: Envelope) -> Content:
            raise AssertionError("slot 1 begins after ten minutes")

        world = world_of(make_world, fab, works, limits=replace(LIMITS, fixed_slots=True))
        begun = time.monotonic()
        prepare = world.gate._sessions.prepare

        def prepare_and_stop(*arguments: Any) -> dict[int, str]:
            failed = prepare(*arguments)
            world.gate.stop()
            return failed

        world.gate._sessions.prepare = prepare_and_stop  # type: ignore[method-assign]
        with pytest.raises(StoppedError):
            world.ask(fab)
        assert time.monotonic() - begun < 30

    def test_a_slot_longer_than_a_sandbox_may_work_here_is_refused(self, make_world: Make) -> None:
        """A slot is a block's deadline: the DIZ's own bound on one message holds for it."""
        fab = app(slot_seconds=3600.0)
        world = world_of(make_world, fab, limits=replace(LIMITS, most=Resources(seconds=600)))
        assert world.code(fab) is RefusalCode.TERMS_VIOLATED
        assert world.sandbox.specs == []


class TestCodes:
    """Only codes that look at no patient leave under a claim."""

    @pytest.mark.parametrize("how", sorted(BAD))
    def test_whatever_every_block_does_something_leaves(self, make_world: Make, how: str) -> None:
        world = world_of(make_world, works=lambda spec, message: BAD[how]())
        assert world.code(FAB) is None

    @settings(max_examples=12)
    @given(
        st.lists(
            st.sampled_from([*sorted(BAD), "", "withdraw patient", "withdraw approval", "stop run"]),
            min_size=K,
            max_size=3 * K,
        )
    )
    def test_any_course_of_events_ends_with_such_a_code(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[str]
    ) -> None:
        world = World(tmp_path_factory.mktemp("diz"), noise=NoNoise())
        offer_of(world).shows_rows = True
        world.decide(FAB)
        left = iter(steps)

        def works(spec: SandboxSpec, message: Envelope) -> Content | bytes:
            step = next(left, "")
            if step in BAD:
                return BAD[step]()
            if step == "withdraw patient":
                offer_of(world).people = offer_of(world).people[1:]
            elif step == "withdraw approval":
                world.decide(FAB, Status.WITHDRAWN)
            elif step == "stop run":
                world.store.stop_run("7", "ada")
            return honest(spec, message)

        world.sandbox.works = works
        for leg in "abc":
            code = world.code(FAB, leg=leg)
            assert code in {None, 901, 902, 903, 907, 908}
            expected = {"withdraw approval": {907}, "stop run": {907}}
            done = steps[: len(world.sandbox.messages)]
            assert code is None or any(int(code) in expected.get(step, set()) for step in done)
        world.store.close()


def test_a_store_that_changed_versions_is_908_before_any_block(make_world: Make) -> None:
    world = world_of(make_world)
    world.released(FAB, leg="1")
    other = FakeOffer(world.folder / "cohort", "6" * 64, shows_rows=True)
    world = world.replaced(data=FakeOffers(cohort=other))
    assert world.code(FAB, leg="2") is RefusalCode.TERMS_VIOLATED
    assert world.sandbox.specs == []
