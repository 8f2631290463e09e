"""A hub that drives real gates under secure aggregation as it likes: one attack, one test.

`relay` is the hub's half of a minimum-count test; everything else is `MaskedGates`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import OWN_RECORD, Reply
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import KEY, TEST, TEST_RECORD, TestStep
from tests.support.gates import good_update
from tests.support.masked_gates import MaskedGates, masked_table, said_of

COUNTS = {
    "per_run": 20,
    "arrays": [
        {"record": "sums", "name": "counts", "dtype": "int64", "shape": [4], "kind": "count", "max_abs": 1000000.0}
    ],
}
DISCLOSURE = {
    "min_cell": 10,
    "significant_digits": 17,
    "max_numbers_per_patient": 1e6,
    "max_numbers_per_patient_in_total": 1e9,
    "exemption": "Made up.",
}
Build = Callable[..., MaskedGates]


def answering(counts: dict[int, list[int]]) -> Callable[[int], Content]:
    return lambda number: Content({"sums": {"counts": np.array(counts[number], np.int64)}})


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Gates that are asked for four counts."""
    made: list[MaskedGates] = []

    def go(sites: int, *, k: int | None = None, min_sites: int | None = None, **how: Any) -> MaskedGates:
        secure: dict[str, Any] = {"required": True, "dropouts": how.pop("dropouts", 0)}
        if k is not None:
            secure |= {"min_total": k, "min_total_of": ["sums/counts"]}
        secure |= {"colluding": how.pop("colluding", 0)}
        table = masked_table(
            sites=min_sites or sites,
            messages={"query.counts": COUNTS},
            secure_aggregation=secure,
            disclosure=DISCLOSURE,
        )
        made.append(MaskedGates(tmp_path / f"gates-{len(made)}", table, sites=sites, **how))
        return made[-1]

    yield go
    for gates in made:
        gates.close()


def relay(gates: MaskedGates, replies: dict[str, Content]) -> dict[str, Content] | Refusal:
    """Run a minimum-count test to its end: the masked answers, or the first refusal."""
    while steps := {name: content for name, content in replies.items() if TEST_RECORD in content.arrays}:
        found: dict[str, Content] = {}
        for name, own in steps.items():
            arrays = {
                gates.parties[other]: content.arrays[TEST_RECORD][gates.parties[name]]
                for other, content in steps.items()
                if other != name
            }
            said = TestStep.read(own.configs[OWN_RECORD][KEY]).model_copy(update={"party": None})
            content = Content(arrays={TEST_RECORD: arrays}, configs={OWN_RECORD: {KEY: said.text()}})
            reply = gates.ask(name, TEST, content)
            if not isinstance(reply, Reply):
                return reply
            found[name] = reply.content
        replies = found
    return replies


def total(gates: MaskedGates, replies: dict[str, Content]) -> list[int]:
    """The unmasked counts."""
    _, sums = gates.unmask(replies)
    return [int(number) for number in sums["sums", "counts"]]


FIVE = {1: [11, 0, 3, 20], 2: [12, 2, 3, 20], 3: [13, 0, 3, 20], 4: [14, 8, 3, 20], 5: [15, 8, 3, 20]}


def test_sites_that_are_asked_different_things_do_not_add_up(build) -> None:
    """One site gets the question, the others a trivial one: their masks do not cancel, and nothing is learned of it.

    The control is the same with one question: it adds up.
    """
    gates = build(5, answers=answering({n: [20 + n, 30 + n, 40 + n, 50 + n] for n in range(1, 6)}))
    gates.set_up()
    same = gates.send("query.counts")
    assert len({said_of(content).context for content in same.values()}) == 1
    expected = [115, 165, 215, 265]
    assert total(gates, same) == expected
    replies = {}
    for name in gates.worlds:
        asked = Content(arrays={"edges": {"e": np.array([1.0 if name == "DIZ-3" else 2.0])}})
        reply = gates.ask(name, "query.counts", gates.message(name, asked))
        assert isinstance(reply, Reply)
        replies[name] = reply.content
    assert len({said_of(content).context for content in replies.values()}) == 2
    found = total(gates, replies)
    assert not set(found) & set(expected)
    assert min(map(abs, found)) > 10**6  # noise of 64 bits


def test_tested_totals_are_unmasked_for_everybody_or_not_at_all(build) -> None:
    """The totals of five reach k, those of three would not: a hub that claims that two were lost gets nothing."""
    gates = build(5, k=10, dropouts=2, answers=answering(FIVE))
    gates.set_up()
    masked = relay(gates, gates.send("query.counts"))
    assert isinstance(masked, dict)
    with pytest.raises((AssertionError, MaskError)):
        gates.unmask({name: masked[name] for name in ("DIZ-1", "DIZ-2", "DIZ-3")})
    assert "tested over all its sites" in gates.worlds["DIZ-1"].detail


def test_tested_totals_are_those_of_everybody(build) -> None:
    """The control: 65, 18, 15 and 100 all reach 10, although no site's second count does."""
    gates = build(5, k=10, dropouts=2, answers=answering(FIVE))
    gates.set_up()
    masked = relay(gates, gates.send("query.counts"))
    assert isinstance(masked, dict)
    assert total(gates, masked) == [65, 18, 15, 100]


def test_two_tests_do_not_differ_by_a_site(build) -> None:
    """With four sites on the roster a sum of three is refused before any count is made."""
    gates = build(4, k=10, min_sites=3, answers=answering(FIVE))
    gates.set_up(1, ["DIZ-1", "DIZ-2", "DIZ-3"])
    reply = gates.ask("DIZ-1", "query.counts", gates.message("DIZ-1", Content()))
    assert isinstance(reply, Refusal)
    assert reply.code == RefusalCode.TERMS_VIOLATED
    assert "all sites of the roster" in gates.worlds["DIZ-1"].detail


def test_made_up_counts_of_a_colluder_leave_k_of_the_others(build) -> None:
    """A site that has k in every cell, and tells the hub: what leaves minus its own is at least k, or 0."""
    counts = {1: [1, 0, 4, 9], 2: [0, 2, 4, 9], 3: [0, 0, 4, 9], 4: [0, 0, 0, 0], 5: [10, 10, 10, 10]}
    gates = build(5, k=10, colluding=1, answers=answering(counts))
    gates.set_up()
    masked = relay(gates, gates.send("query.counts"))
    assert isinstance(masked, dict)
    assert total(gates, masked) == [0, 0, 22, 37]


def test_a_patient_who_goes_during_a_test_is_in_no_sum(build) -> None:
    """The counts were made before, and leave after the last exchange: they do not."""
    gates = build(3, k=10, answers=answering(FIVE))
    gates.set_up()
    replies = gates.send("query.counts")
    gates.worlds["DIZ-2"].data["cohort"].people = range(1, 100)
    refused = relay(gates, replies)
    assert isinstance(refused, Refusal)
    assert refused.code == RefusalCode.WITHDRAWN_OR_EXPIRED


def test_a_lone_small_total_is_not_left_to_subtraction(build) -> None:
    """The third of four totals does not reach k; the fourth goes with it, although it does."""
    counts = {1: [20, 20, 1, 20], 2: [20, 20, 1, 20], 3: [20, 20, 1, 20]}
    gates = build(3, k=10, answers=answering(counts))
    gates.set_up()
    masked = relay(gates, gates.send("query.counts"))
    assert isinstance(masked, dict)
    assert total(gates, masked) == [60, 60, 0, 0]


ROWS = {
    "per_run": 20,
    "arrays": [
        {"record": "sums", "name": "by_row", "dtype": "float64", "shape": ["<=9", "<=9"], "kind": "sum",
         "max_abs": 1000.0, "guard": "carriers"},
        {"record": "sums", "name": "square", "dtype": "int64", "shape": ["<=9", "<=9"], "kind": "sum",
         "max_abs": 1000.0, "guard": "carriers", "guard_axes": 2},
        {"record": "sums", "name": "carriers", "dtype": "int64", "shape": ["<=9", 2], "kind": "count",
         "max_abs": 1000.0},
    ],
}  # fmt: skip
CARRIERS = {
    1: [[9, 9], [1, 90], [4, 40], [30, 2]],
    2: [[9, 9], [2, 90], [4, 40], [30, 2]],
    3: [[9, 9], [1, 90], [4, 40], [30, 6]],
}
"""Totals (27, 27), (4, 270), (12, 120), (90, 10): the second row is of four patients."""


def by_rows(number: int) -> Content:
    rows = np.arange(4.0)[:, None] + np.array([1.0, 2.0, 3.0]) + 0.25
    square = np.arange(16).reshape(4, 4) + 1
    return Content({"sums": {"by_row": rows, "square": square, "carriers": np.array(CARRIERS[number], np.int64)}})


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Build]:
    """Three gates that are asked for sums by row, which a count of patients guards."""
    made: list[MaskedGates] = []

    def go(*, tested: bool) -> MaskedGates:
        secure: dict[str, Any] = {"required": True}
        if tested:
            secure |= {"min_total": 10, "min_total_of": ["sums/carriers"]}
        table = masked_table(messages={"query.rows": ROWS}, secure_aggregation=secure, disclosure=DISCLOSURE)
        made.append(MaskedGates(tmp_path / f"gates-{len(made)}", table, answers=by_rows))
        return made[-1].set_up()

    yield go
    for gates in made:
        gates.close()


def test_a_row_of_few_patients_leaves_in_no_sum(rows) -> None:
    """Four carriers over all sites: their row is 0 at the hub, and row and column of the square; no count is there."""
    gates = rows(tested=True)
    masked = relay(gates, gates.send("query.rows"))
    assert isinstance(masked, dict)
    _, sums = gates.unmask(masked)
    assert set(sums) == {("sums", "by_row"), ("sums", "square")}
    expected = 3 * by_rows(1).arrays["sums"]["by_row"]
    expected[1] = 0
    assert np.array_equal(sums["sums", "by_row"], expected)
    square = 3 * by_rows(1).arrays["sums"]["square"]
    square[1] = 0
    square[:, 1] = 0
    assert np.array_equal(sums["sums", "square"], square)


def test_a_large_answer_waits_for_its_test_like_a_small_one(tmp_path: Path) -> None:
    """410,000 numbers: more than the text of any message may have."""
    size = 640
    arrays = [dict(rule) for rule in ROWS["arrays"]]
    for rule in arrays:
        rule["shape"] = [size, 2] if rule["name"] == "carriers" else [size, size]
    counts = np.full((size, 2), 5, np.int64)
    counts[7] = 3
    sent = {"by_row": np.ones((size, size)), "square": np.ones((size, size), np.int64), "carriers": counts}
    table = masked_table(
        messages={"query.rows": {"per_run": 1, "arrays": arrays}},
        secure_aggregation={"required": True, "min_total": 10, "min_total_of": ["sums/carriers"]},
        disclosure=DISCLOSURE,
    )
    gates = MaskedGates(tmp_path / "gates", table, answers=lambda number: Content({"sums": sent})).set_up()
    masked = relay(gates, gates.send("query.rows"))
    assert isinstance(masked, dict)
    _, sums = gates.unmask(masked)
    expected = np.full((size, size), 3.0)
    expected[7] = 0
    assert np.array_equal(sums["sums", "by_row"], expected)
    expected[:, 7] = 0
    assert np.array_equal(sums["sums", "square"], expected)
    gates.close()


def test_an_app_that_needs_its_state_can_be_masked(tmp_path: Path) -> None:
    """The set-up's legs are no messages that a session could have lost; one that ends is still noticed."""
    limits = {"runs": 2, "requires_state": True}
    gates = MaskedGates(tmp_path / "gates", masked_table(limits=limits), answers=lambda number: good_update()).set_up()
    gates.sum()
    gates.sum()
    gates.worlds["DIZ-1"].sandbox.sessions[-1].alive = False
    reply = gates.ask("DIZ-1", "train", gates.message("DIZ-1"))
    assert isinstance(reply, Refusal)
    assert reply.code == RefusalCode.SANDBOX_FAILED
    gates.close()


ZERO = {1: [[0, 5], [0, 1], [0, 0], [4, 9]], 2: [[0, 5], [0, 2], [0, 0], [4, 9]], 3: [[0, 5], [0, 1], [1, 0], [4, 9]]}
"""Totals (0, 15), (0, 4), (1, 0), (12, 27): nobody is in some cells, and one patient or four are in two others."""


@pytest.mark.parametrize("colluding", [0, 1])
def test_a_cell_may_be_empty_and_not_small(tmp_path: Path, colluding: int) -> None:
    """Rows with four patients, or one, in a cell are in no sum; with nobody in one of theirs the others are.

    Against a colluder everything needs twice as many: there 15 are too few, and the last row has one cell of 12.
    """
    sites = 3 if not colluding else 5
    rule = {"record": "sums", "name": "s", "dtype": "int64", "shape": ["<=9"], "kind": "sum", "max_abs": 1e3}
    cells = {"record": "sums", "name": "cells", "dtype": "int64", "shape": ["<=9", 2], "kind": "count", "max_abs": 1e3}
    table = masked_table(
        sites=sites,
        messages={"query.rows": {"per_run": 1, "arrays": [rule | {"guard_zero": "cells"}, cells]}},
        secure_aggregation={"required": True, "min_total": 10, "min_total_of": ["sums/cells"], "colluding": colluding},
        disclosure=DISCLOSURE,
    )

    def answer(number: int) -> Content:
        found = np.array(ZERO.get(number, np.zeros((4, 2))), np.int64)
        return Content({"sums": {"s": np.array([1, 2, 3, 4], np.int64), "cells": found}})

    gates = MaskedGates(tmp_path / "gates", table, sites=sites, answers=answer).set_up()
    masked = relay(gates, gates.send("query.rows"))
    assert isinstance(masked, dict)
    _, sums = gates.unmask(masked)
    assert list(sums["sums", "s"]) == ([3, 0, 0, 12] if not colluding else [0, 0, 0, 0])
    gates.close()


def test_without_a_test_each_gate_guards_its_own_rows(rows) -> None:
    """The rows that are small at a site, and would reach k together, are lost too: what the test is for."""
    gates = rows(tested=False)
    _, sums = gates.unmask(gates.send("query.rows"))
    assert not sums["sums", "by_row"][:3].any()  # 9, 1 or 2, 4 carriers at a site
    assert not sums["sums", "by_row"][3].any()  # 2 or 6 without


def test_a_guard_has_as_many_rows_as_what_it_guards(rows, monkeypatch) -> None:
    """An app that leaves a row's count out gets nothing out at all."""
    short = {number: found[:3] for number, found in CARRIERS.items()}
    monkeypatch.setitem(globals(), "CARRIERS", short)
    gates = rows(tested=True)
    reply = gates.ask("DIZ-1", "query.rows", gates.message("DIZ-1"))
    assert isinstance(reply, Refusal)
    assert reply.code == RefusalCode.RELEASE_REJECTED
