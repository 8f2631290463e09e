"""The minimum-count test: its answers, its bounds, hostile bytes, and that t parties see uniform numbers only."""

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2, chisquare

from flame_fl.contract.errors import InputError
from flame_fl.secagg.field import PRIME, Elements, Field, expanded
from flame_fl.secagg.threshold_plan import best_plan
from flame_fl.secagg.threshold_terms import MOST_CELLS, CountTest
from flame_fl.secagg.threshold_test import Party, Step, relayed
from tests.support.minimum_counts import a_test, exchanges, names, played, started, stepped

ALPHA = 1e-9
"""Of each statistical test here: the chance that it fails though nothing is wrong. There are fewer than 100 of them."""
HEADER_BYTES = 41


class TestAnswers:
    @pytest.mark.parametrize("threshold", [1, 2, 5, 10, 31, 200])
    @pytest.mark.parametrize(("parties", "colluding"), [(3, 1), (4, 1), (5, 2), (7, 2)])
    def test_every_party_gets_the_plain_comparison(self, parties: int, colluding: int, threshold: int) -> None:
        totals = [0, 1, threshold - 1, threshold, threshold + 1, 10 * threshold, 1 << 40]
        counts = np.zeros((parties, len(totals)), dtype=np.int64)
        for cell, total in enumerate(totals):
            for party in range(parties):
                counts[party, cell] = (total + party) // parties
        assert (counts.sum(axis=0) == totals).all()
        results = played(a_test(parties, threshold, len(totals), colluding), counts)
        assert len(results) == parties
        for result in results:
            assert result is not None
            assert result.tolist() == [total >= threshold for total in totals]

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
    def test_counts_of_any_integer_type_and_size(self, dtype: type[np.integer]) -> None:
        counts = np.array([[0, np.iinfo(dtype).max], [0, np.iinfo(dtype).max], [1, 0]], dtype=dtype)
        result = played(a_test(3, 150, 2), counts)[0]
        assert result is not None
        assert result.tolist() == [False, True]

    def test_small_cells_of_a_pooled_table_are_dropped_before_it_is_summed(self) -> None:
        tables = np.array([[3, 0, 40], [1, 1, 0], [2, 1, 0]])
        reached = played(a_test(3, 5, 3), tables)[0]
        assert reached is not None
        kept = np.where(reached, tables, 0)
        assert kept.sum(axis=0).tolist() == [6, 0, 40]

    def test_so_many_messages_as_stated(self) -> None:
        for threshold, colluding in itertools.product((1, 2, 7, 8, 12), (1, 2)):
            test = a_test(5, threshold, 1, colluding)
            fan = 4 // colluding
            levels = next(level for level in range(20) if fan**level >= threshold + 1)
            assert test.legs == levels + 2
            seen = list(exchanges(test, np.zeros((5, 1), dtype=int)))
            assert len(seen) == test.legs
            sent = sum(len(step.send["DIZ-01"]) - HEADER_BYTES for steps in seen[:-1] for step in [steps["DIZ-00"]])
            assert sent == 8 * test.elements + 16

    def test_large_tests_are_computed_in_pieces(self) -> None:
        cells = (1 << 14) + 3
        counts = np.random.default_rng(0).integers(0, 2, size=(3, cells))
        result = played(a_test(3, 2, cells), counts)[0]
        assert (result == (counts.sum(axis=0) >= 2)).all()


class TestPlans:
    @pytest.mark.parametrize("fan", [2, 3, 6])
    def test_all_roots_are_there_once_and_nothing_is_multiplied_beyond_the_fan(self, fan: int) -> None:
        for threshold in [*range(1, 40), 255, 1000]:
            plan = best_plan(threshold, fan)
            taken = [root for level in plan.powers for part in level.taken for root in part]
            assert sorted(taken + [root for part in plan.roots for root in part]) == list(range(threshold))
            held = 1
            for level in plan.powers:
                assert len(level.taken) < fan
                assert all(len(part) <= held for part in level.taken)
                assert [sum(group) for group in level.groups] == list(range(held + 1, held + 1 + len(level.groups)))
                assert all(len(group) <= fan and max(group) <= held for group in level.groups)
                held += len(level.groups)
            assert all(len(part) <= held for part in plan.roots)
            assert len(plan.products) == math.ceil(round(math.log(threshold + 1, fan), 9)) - 1 or threshold < fan

    def test_the_cheapest_is_taken(self) -> None:
        assert [sum(best_plan(threshold, 2).products) for threshold in (1, 3, 5, 10, 255)] == [0, 2, 3, 5, 33]

    def test_expanded_polynomials(self) -> None:
        assert expanded([]) == (1,)
        assert expanded([0, 1, 2]) == (0, 2, -3, 1)


class TestBounds:
    @pytest.mark.parametrize(
        ("parties", "threshold", "cells", "session", "colluding", "says"),
        [
            (names(2), 5, 1, bytes(16), None, "between 3 and"),
            (names(101), 5, 1, bytes(16), None, "between 3 and"),
            (["a", "a", "b"], 5, 1, bytes(16), None, "named twice"),
            (["", "a", "b"], 5, 1, bytes(16), None, "name of a party"),
            (names(3), 0, 1, bytes(16), None, "minimum count"),
            (names(3), 1001, 1, bytes(16), None, "minimum count"),
            (names(3), 5, 0, bytes(16), None, "cells"),
            (names(3), 5, MOST_CELLS + 1, bytes(16), None, "cells"),
            (names(3), 5, 1, bytes(15), None, "name of a test"),
            (names(3), 5, 1, bytes(65), None, "name of a test"),
            (names(3), 5, 1, bytes(16), 0, "may collude"),
            (names(4), 5, 1, bytes(16), 2, "may collude"),
        ],
    )
    def test_a_test_out_of_its_bounds(
        self, parties: list[str], threshold: int, cells: int, session: bytes, colluding: int | None, says: str
    ) -> None:
        with pytest.raises(InputError, match=says):
            CountTest.of(parties, threshold, cells, session, colluding)

    def test_a_field_that_counts_could_wrap_around_in(self) -> None:
        with pytest.raises(InputError, match="field"):
            replace(a_test(3, 5, 1), prime=13).check()

    @pytest.mark.parametrize(
        ("counts", "says"),
        [
            ([1, -1], "negative"),
            ([1], "2 integers"),
            ([1.0, 2.0], "2 integers"),
            ([True, False], "2 integers"),
            ([[1, 2]], "2 integers"),
        ],
    )
    def test_counts_that_are_none(self, counts: list[object], says: str) -> None:
        with pytest.raises(InputError, match=says):
            Party.start(a_test(3, 5, 2), "DIZ-00", counts)

    def test_somebody_else(self) -> None:
        with pytest.raises(InputError, match="does not take part"):
            Party.start(a_test(3, 5, 1), "DIZ-77", [1])

    def test_the_chance_of_an_error(self) -> None:
        assert a_test(3, 5, 1000).error == 1000 / (2**61 - 1)


class TestHostileBytes:
    """What a party does with messages that are not what they should be: refuse, and stay as it is."""

    @pytest.fixture
    def steps(self) -> dict[str, Step]:
        return started(a_test(3, 5, 2), [[1, 2], [3, 4], [5, 6]])

    def refused(self, steps: dict[str, Step], changes: dict[str, object], says: str) -> None:
        received: dict[str, object] = {**relayed({name: step.send for name, step in steps.items()})["DIZ-00"]}
        party = steps["DIZ-00"].party
        assert party.step(received).send  # type: ignore[arg-type] # unchanged, they are taken
        received.update(changes)
        with pytest.raises(InputError, match=says):
            party.step({name: raw for name, raw in received.items() if raw is not None})  # type: ignore[misc]

    def test_a_party_that_stops_ends_the_test(self, steps: dict[str, Step]) -> None:
        self.refused(steps, {"DIZ-01": None}, "DIZ-01 sent nothing")

    def test_a_stranger(self, steps: dict[str, Step]) -> None:
        self.refused(steps, {"DIZ-77": b""}, "does not take part")

    def test_another_length(self, steps: dict[str, Step]) -> None:
        right = steps["DIZ-01"].send["DIZ-00"]
        for raw in (b"", right[:-1], right + b"\0", right[:HEADER_BYTES], right * 2):
            self.refused(steps, {"DIZ-01": raw}, "another length")

    def test_no_bytes(self, steps: dict[str, Step]) -> None:
        self.refused(steps, {"DIZ-01": "text"}, "not bytes")

    def test_every_bit_of_the_header_counts(self, steps: dict[str, Step]) -> None:
        right = steps["DIZ-01"].send["DIZ-00"]
        for bit in range(8 * HEADER_BYTES):
            raw = bytearray(right)
            raw[bit // 8] ^= 1 << bit % 8
            self.refused(steps, {"DIZ-01": bytes(raw)}, "belongs to another")

    @pytest.mark.parametrize("number", [PRIME, PRIME + 1, 2**64 - 1])
    def test_a_number_outside_of_the_field(self, steps: dict[str, Step], number: int) -> None:
        raw = steps["DIZ-01"].send["DIZ-00"][:-8] + number.to_bytes(8, "little")
        self.refused(steps, {"DIZ-01": raw}, "outside of the field")

    def test_a_message_for_somebody_else_or_from_somebody_else(self, steps: dict[str, Step]) -> None:
        self.refused(steps, {"DIZ-01": steps["DIZ-01"].send["DIZ-02"]}, "belongs to another")
        self.refused(steps, {"DIZ-01": steps["DIZ-02"].send["DIZ-00"]}, "belongs to another")

    def test_a_message_of_another_test(self, steps: dict[str, Step]) -> None:
        test = steps["DIZ-00"].party.kept.test
        others = [replace(test, session=bytes(16)), replace(test, threshold=6), replace(test, parties=(*names(2), "x"))]
        for other in others:
            raw = Party.start(other, "DIZ-01", [0, 0]).send["DIZ-00"]
            self.refused(steps, {"DIZ-01": raw}, "belongs to another")

    def test_a_message_of_an_earlier_exchange(self, steps: dict[str, Step]) -> None:
        assert steps["DIZ-00"].party.kept.test.rows(2) == 1
        later = stepped(steps)
        self.refused(later, {"DIZ-01": steps["DIZ-01"].send["DIZ-00"]}, "another length")

    def test_a_party_that_began_twice_is_found_out(self, steps: dict[str, Step]) -> None:
        """A hub that shows others an earlier beginning: what follows doesn't fit together."""
        test = steps["DIZ-00"].party.kept.test
        again = {**steps, "DIZ-01": Party.start(test, "DIZ-01", [3, 4])}
        first, second = stepped(steps), stepped(again)
        self.refused(first, {"DIZ-01": second["DIZ-01"].send["DIZ-00"]}, "belongs to another")

    def test_after_the_end(self, steps: dict[str, Step]) -> None:
        *_, last = exchanges(a_test(3, 1, 2), [[1, 2], [3, 4], [5, 6]])
        party = last["DIZ-00"].party
        assert party.over
        assert not last["DIZ-00"].send
        with pytest.raises(InputError, match="is over"):
            Party.from_bytes(party.to_bytes()).step({})


class TestKept:
    def test_nothing_of_the_counts_is_kept_at_the_end(self) -> None:
        *_, last = exchanges(a_test(3, 5, 2), [[1, 2], [3, 4], [5, 6]])
        kept = last["DIZ-00"].party.kept
        assert kept.held.size == kept.own.size == 0

    @pytest.mark.parametrize(
        "change",
        [
            {"place": 3},
            {"place": -1},
            {"place": "0"},
            {"exchange": 0},
            {"exchange": 99},
            {"tag": "00"},
            {"nonce": "zz"},
            {"nonce": None},
            {"test": None},
            {"test": {}},
            {"test": {"parties": 3}},
        ],
    )
    def test_a_head_that_is_none(self, change: dict[str, object]) -> None:
        raw = Party.start(a_test(3, 5, 2), "DIZ-00", [1, 2]).party.to_bytes()
        size = int.from_bytes(raw[4:8], "little")
        head = json.loads(raw[8 : 8 + size]) | change
        text = json.dumps(head).encode()
        with pytest.raises(InputError, match="can't be read"):
            Party.from_bytes(raw[:4] + len(text).to_bytes(4, "little") + text + raw[8 + size :])

    def test_bytes_that_are_none(self) -> None:
        raw = Party.start(a_test(3, 5, 2), "DIZ-00", [1, 2]).party.to_bytes()
        deep = b"[" * 60_000
        for wrong in (b"", raw[:3], raw[:7], raw[:-1], raw[:-8], raw + bytes(8), b"x" + raw[1:], raw[:-8] + b"\xff" * 8,
                      raw[:4] + len(deep).to_bytes(4, "little") + deep):  # fmt: skip
            with pytest.raises(InputError):
                Party.from_bytes(wrong)


class TestWhatACoalitionSees:
    """Over a small field, many cells with the same counts: each cell is an independent run of the protocol."""

    def test_t_shares_are_uniform_and_t_plus_one_give_the_value(self) -> None:
        field, runs = Field(7), 20_000
        for value in (0, 5):
            shares = field.deal(np.full((1, runs), value, dtype=np.uint64), 2, 5)[:, 0, :]
            for who in itertools.combinations(range(5), 2):
                assert _not_uniform(shares[list(who)], 7) > ALPHA
            for who in itertools.combinations(range(5), 3):
                assert _not_uniform(shares[list(who)], 7) < ALPHA
                weights = [_weight(place, who, 7) for place in who]
                found = sum(weight * shares[place].astype(int) for weight, place in zip(weights, who, strict=True)) % 7
                assert (found == value).all()

    @pytest.mark.parametrize(
        ("first", "second"), [([0, 0, 0], [1, 0, 0]), ([2, 0, 0], [2, 2, 0])], ids=["both below", "both reach it"]
    )
    def test_one_party_of_three_can_not_tell_counts_with_the_same_answer_apart(
        self, first: list[int], second: list[int]
    ) -> None:
        views = [_view(counts, coalition=[2]) for counts in (first, second)]
        assert len(views[0]) > 15
        assert _told_apart(views) > ALPHA

    def test_two_parties_of_three_can(self) -> None:
        """Beyond what is promised: so the test above could fail."""
        views = [_view(counts, coalition=[1, 2], runs=4_000) for counts in ([0, 0, 0], [1, 0, 0])]
        assert _told_apart(views) < 1e-100

    def test_the_answer_itself_can_be_told(self) -> None:
        views = [_view(counts, coalition=[2], runs=4_000) for counts in ([1, 0, 0], [2, 0, 0])]
        assert _told_apart(views) < 1e-100

    @pytest.mark.parametrize("total", [0, 1, 2])
    def test_what_is_opened_is_uniform_but_for_the_answer(self, total: int) -> None:
        """The polynomial through what all sent last has, below k, the value 0 at 0; nothing else is fixed."""
        assert _opened(total) > ALPHA

    def test_without_the_shares_of_zero_it_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Field.deal

        def nothing(field: Field, values: Elements, degree: int, parties: int) -> Elements:
            dealt = right(field, values, degree, parties)
            return np.zeros_like(dealt) if degree == parties - 1 else dealt

        monkeypatch.setattr(Field, "deal", nothing)
        assert _opened(0) < ALPHA


def _small_test(threshold: int, cells: int) -> CountTest:
    return replace(a_test(3, threshold, cells), prime=7)


def _view(counts: Sequence[int], coalition: Sequence[int], runs: int = 8_000) -> list[npt.NDArray[np.uint64]]:
    """All numbers that the coalition gets from others or holds, each of shape (runs,)."""
    test, seen = _small_test(2, runs), []
    for steps in exchanges(test, np.repeat(np.array(counts)[:, np.newaxis], runs, axis=1)):
        for place, name in enumerate(test.parties):
            if place in coalition:
                seen += [*steps[name].party.kept.own, *steps[name].party.kept.held]
                continue
            for receiver in coalition:
                if raw := steps[name].send.get(test.parties[receiver]):
                    start = HEADER_BYTES + (16 if steps[name].party.kept.exchange == 1 else 0)
                    seen += [*np.frombuffer(raw, "<u8", offset=start).reshape(-1, runs)]
    return seen


def _opened(total: int) -> float:
    """The p-value of uniformity of the values sent last, of three parties with t = 1, given their value at 0."""
    runs = 20_000
    test = _small_test(1, runs)
    counts = np.zeros((3, runs), dtype=int)
    counts[0] = total
    *_, opening, last = exchanges(test, counts)
    values = np.stack([opening[name].party.kept.own[0] for name in test.parties])
    at_zero = Field(7).recover(values[:, np.newaxis, :])[0]
    reached = last["DIZ-00"].reached
    assert reached is not None
    assert (reached == (at_zero != 0)).all()
    if total == 0:
        assert not reached.any()
        return _not_uniform(values[:2], 7)  # the third follows from these and the 0
    return _not_uniform(values, 7)


def _not_uniform(rows: npt.NDArray[np.uint64], prime: int) -> float:
    """The p-value of uniformity of the columns of rows."""
    codes = Counter(_codes(rows, prime).tolist())
    bins = prime ** len(rows)
    return float(chisquare([codes[code] for code in range(bins)]).pvalue)


def _told_apart(views: Sequence[Sequence[npt.NDArray[np.uint64]]]) -> float:
    """The smallest p-value of "three numbers are drawn alike in both views", times how many threes there are."""
    codes = [np.stack(view).astype(np.int64) for view in views]
    threes = list(itertools.combinations(range(len(views[0])), 3))
    smallest = 1.0
    for three in threes:
        one, other = (np.bincount([49, 7, 1] @ code[list(three)], minlength=343) for code in codes)
        seen = one + other > 0
        statistic = (((one - other) ** 2)[seen] / (one + other)[seen]).sum()
        smallest = min(smallest, float(chi2.sf(statistic, seen.sum() - 1)) if seen.sum() > 1 else 1.0)
        if smallest < 1e-200:
            break
    return smallest * len(threes)


def _codes(rows: Sequence[npt.NDArray[np.uint64]] | npt.NDArray[np.uint64], prime: int) -> npt.NDArray[np.int64]:
    codes = np.zeros(len(rows[0]), dtype=np.int64)
    for row in rows:
        codes = codes * prime + row.astype(np.int64)
    return codes


def _weight(place: int, who: Sequence[int], prime: int) -> int:
    """Lagrange's coefficient at 0, computed here from its definition."""
    weight = 1
    for other in who:
        if other != place:
            weight = weight * (other + 1) * pow(other - place, -1, prime)
    return weight % prime


class TestMpyc:
    def test_its_import_changes_nothing_of_the_process(self) -> None:
        program = """
import asyncio, logging, os, sys
sys.argv += ["-h", "-M", "many", "-V"]
before = list(sys.argv), dict(os.environ), type(asyncio.get_event_loop_policy()), list(logging.getLogger().handlers)
from flame_fl.secagg.field import Field
Field(11).recover(Field(11).deal(__import__("numpy").ones((1, 1), dtype="uint64"), 1, 3))
assert "mpyc.thresha" in sys.modules and "mpyc.runtime" not in sys.modules
after = list(sys.argv), dict(os.environ), type(asyncio.get_event_loop_policy()), list(logging.getLogger().handlers)
assert before == after, (before, after)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_without_it_the_sentence_says_what_to_install(self) -> None:
        program = """
import sys
sys.modules["mpyc"] = None
from flame_fl.contract.errors import InputError
from flame_fl.secagg.field import Field
try:
    Field().deal(__import__("numpy").ones((1, 1), dtype="uint64"), 1, 3)
except InputError as err:
    print(err)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.stdout == "A minimum-count test needs mpyc. Install flame-fl[mpc].\n"
