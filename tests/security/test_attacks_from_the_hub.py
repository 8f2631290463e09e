"""A hub (or a researcher) that means harm: it chooses bundle, overrides, run ids, legs, messages and their order."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply, Run
from flame_fl.gate.approval import Status
from flame_fl.gate.workflow import NodeLimits
from tests.support.gates import ENFORCED, TRAIN, FakeOffer, World, make_fab, terms_table

FAB = make_fab()
NOISY = make_fab(terms_table(privacy=ENFORCED, messages={"train": TRAIN | {"per_run": 1000}}))
Make = Callable[..., World]


def test_code_changed_after_approval_never_starts(world: World) -> None:
    world.decide(FAB)
    assert world.code(make_fab(files={"app/client.py": b"steal()\n"})) is RefusalCode.PENDING_APPROVAL
    assert world.sandbox.specs == []


def test_privacy_terms_changed_after_approval_never_hold(world: World) -> None:
    world.decide(NOISY)
    weaker = make_fab(terms_table(privacy=ENFORCED | {"noise_multiplier": 0.001}))
    assert world.code(weaker) is RefusalCode.PENDING_APPROVAL


def test_terms_taken_out_are_another_analysis(world: World) -> None:
    world.decide(FAB)
    assert world.code(make_fab({})) is RefusalCode.PENDING_APPROVAL


def test_a_run_config_outside_its_range_never_starts(world: World) -> None:
    world.decide(FAB)
    assert world.code(FAB, overrides={"rounds": 1000}) is RefusalCode.TERMS_VIOLATED
    assert world.sandbox.specs == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"rounds": 2**60},
        {"rounds": float("nan")},
        {"rounds": "\ud800"},
        {"\ud800": 1},
        {"rounds": [1]},
        {"rounds": None},
        {"rounds": b"x"},
    ],
)
@pytest.mark.parametrize("unsafe_open", [True, False])
def test_an_override_of_any_kind_is_refused_not_a_crash(
    overrides: dict[str, Any], unsafe_open: bool, world: World
) -> None:
    world.decide(FAB, unsafe_open=unsafe_open)
    assert world.code(FAB, overrides=overrides) is RefusalCode.TERMS_VIOLATED


@pytest.mark.parametrize("word", ["\ud800", "a\x1b[2J", "a\nb", "x" * 1000, "\u202e"])
@pytest.mark.parametrize("place", ["leg", "kind", "group"])
@pytest.mark.parametrize("unsafe_open", [True, False])
def test_a_word_that_no_log_or_table_can_hold_is_refused_not_a_crash(
    word: str, place: str, unsafe_open: bool, world: World
) -> None:
    world.decide(FAB, unsafe_open=unsafe_open)
    assert world.code(FAB, **{place: word}) is RefusalCode.TERMS_VIOLATED
    assert all(v.isprintable() for _, body in world.audit() for v in body.values() if isinstance(v, str))


@pytest.mark.parametrize(
    "content",
    [
        Content(configs={"c": {"x": "y" * (2 << 20)}}),
        Content({"r": {"a": np.array([object()])}}),
        Content({"r": {"a": np.array(["text"])}}),
    ],
    ids=["too large", "objects", "strings"],
)
def test_a_message_that_cannot_be_framed_is_refused_not_a_crash(content: Content, world: World) -> None:
    world.decide(FAB)
    assert world.code(FAB, content=content) is RefusalCode.TERMS_VIOLATED


def test_asking_again_does_not_average_the_noise_away(world: World) -> None:
    world.decide(NOISY)
    replies = [world.ask(NOISY) for _ in range(50)]
    assert len({reply.encoded for reply in replies if isinstance(reply, Reply)}) == 1
    assert len(world.releases) == 1
    assert len(world.store.ledger()) == 3  # the same release of the site's patients, and that they were counted


def test_asking_anew_for_every_noise_is_paid_until_nothing_is_left(make_world: Make) -> None:
    world = make_world(limits=NodeLimits(20.0, 1e-5, 5))
    world.decide(NOISY)
    codes = [world.code(NOISY, leg=str(leg)) for leg in range(20)]
    assert codes.index(RefusalCode.BUDGET_EXHAUSTED) == codes.count(None)
    assert set(codes[codes.count(None) :]) == {RefusalCode.BUDGET_EXHAUSTED}


def test_new_run_ids_give_no_new_budget(make_world: Make) -> None:
    fab = make_fab(terms_table(privacy=ENFORCED, limits={"runs": 1000}))
    world = make_world(limits=NodeLimits(20.0, 1e-5, 5))
    world.decide(fab)
    codes = [world.code(fab, run_id=run_id) for run_id in range(20)]
    assert 0 < codes.count(None) < 10


def test_another_analysis_gives_no_new_budget_of_the_store(make_world: Make) -> None:
    world = make_world(limits=NodeLimits(20.0, 1e-5, 5))
    codes = []
    for n in range(20):
        fab = make_fab(terms_table(privacy=ENFORCED), files={"app/n.py": str(n).encode()})
        world.decide(fab)
        codes.append(world.code(fab, run_id=n))
    assert 0 < codes.count(None) < 10


def test_a_storm_of_one_message_is_one_release_and_one_debit(world: World) -> None:
    world.decide(NOISY)
    answers: list[Reply | Refusal] = []
    threads = [threading.Thread(target=lambda: answers.append(world.ask(NOISY))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.encoded for answer in answers if isinstance(answer, Reply)}) == 1
    assert len(world.releases) == 1
    assert len(world.store.ledger()) == 3  # the same release of the site's patients, and that they were counted


def test_two_bundles_at_once_never_exchange_their_approvals(world: World) -> None:
    """One is approved, one is not; asked by many threads, only the approved one ever runs."""
    evil = make_fab(files={"app/client.py": b"steal()\n"})
    fab = make_fab(terms_table(messages={"train": TRAIN | {"per_run": 1000}}))
    assert world.data is not None
    world.data["cohort"].people = range(1000)  # many enough for forty answers
    world.decide(fab)
    wrong: list[object] = []

    def ask(which: bytes, wanted: RefusalCode | None, run_id: int, prefix: str) -> None:
        for leg in range(20):
            code = world.code(which, leg=f"{prefix}{leg}", run_id=run_id)
            status = world.gate.status(Run(run_id, which)).content.configs["flame"]["code"]
            if code is not wanted or status != int(wanted or 0):
                wrong.append((code, status))

    threads = [threading.Thread(target=ask, args=(fab, None, 1, f"{n}-")) for n in range(2)]
    threads += [threading.Thread(target=ask, args=(evil, RefusalCode.PENDING_APPROVAL, 2, f"{n}-")) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {spec.fab.files["app/client.py"] for spec in world.sandbox.specs} == {b"app = 1\n"}


def test_a_withdrawn_analysis_cannot_be_had_under_its_old_legs(world: World) -> None:
    world.decide(FAB)
    world.released(FAB)
    world.decide(FAB, Status.WITHDRAWN)
    assert world.code(FAB) is RefusalCode.WITHDRAWN_OR_EXPIRED


def test_knocking_again_files_nothing_twice_and_decides_nothing(world: World) -> None:
    for _ in range(5):
        world.code(FAB)
    assert [record.status for record in world.store.approvals()] == [Status.PENDING]


@pytest.mark.parametrize("kind", ["query.flame_sa_setup", "query.flame_anything", "train.flame_x"])
def test_the_gates_own_message_types_are_no_apps(kind: str, world: World) -> None:
    world.decide(FAB)
    assert world.code(FAB, kind=kind) is RefusalCode.TERMS_VIOLATED


def test_status_tells_nothing_of_the_data(make_world: Make) -> None:
    """The same answer at a node with a hundred patients and at one with a hundred and one, and no head of its log."""
    said = []
    for n in (100, 101):
        world = make_world()
        assert world.data is not None
        view = world.data["cohort"]
        world.data["cohort"] = FakeOffer(view.folder, f"{n:064}", n)
        world.decide(FAB)
        said.append(world.gate.status(Run(1, FAB)).content.configs["flame"])
    assert said[0] == said[1]
    assert "audit_head" not in said[0]
