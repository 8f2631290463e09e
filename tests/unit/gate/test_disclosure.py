"""Disclosure control of an update: how much, dominated by whom, with how many digits; and what it does not hold."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.contract.content import Content
from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.release_contract import MessageTerms
from flame_fl.gate.allow_list import check
from flame_fl.gate.disclosure import (
    Disclosed,
    DisclosureFacts,
    Hidden,
    disclose,
    numbers_in,
    unguarded,
    without_companions,
)
from flame_fl.gate.disclosure_differences import Members, small_difference

EVERYTHING = {
    "min_cell": 1, "complementary": False, "max_numbers_per_patient": 1e9, "max_numbers_per_patient_in_total": 1e9,
    "dominance": 1.0, "significant_digits": None, "compare_with": "analysis", "exemption": "A test.",
}  # fmt: skip


COUNTS = {"name": "n", "kind": "count", "dtype": "int64", "shape": ["<=8", 2]}
"""What guards the rows of a sum."""


def contract(arrays: list[dict[str, Any]] | None = None, metrics: list[dict[str, Any]] | None = None) -> MessageTerms:
    listed = [{"record": "a", "dtype": "float64", "shape": ["<=1000"]} | rule for rule in arrays or []]
    named = [{"record": "m"} | rule for rule in metrics or []]
    return MessageTerms.model_validate({"per_run": 1, "arrays": listed, "metrics": named})


def sums(**changes: Any) -> MessageTerms:
    """A sum with both companions."""
    return contract(
        [
            {"name": "s", "kind": "sum", "contributors": "n", "largest_share": "top"} | changes,
            {"name": "n", "dtype": "int64"},
            {"name": "top"},
        ]
    )


def facts(patients: int = 1000, before: int = 0) -> DisclosureFacts:
    return DisclosureFacts(patients, before, "c" * 64, "m" * 64, b"k" * 32)


def let_go(
    rules: MessageTerms,
    arrays: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    *,
    patients: int = 1000,
    before: int = 0,
    **terms: Any,
) -> Disclosed:
    """What leaves; and it fits what the next step checks."""
    update = Content({"a": arrays} if arrays else {}, {"m": metrics} if metrics else {})
    done = disclose(update, rules, Disclosure.model_validate(terms), facts(patients, before))
    check(done.content, rules.leaving)
    return done


def refused(rules: MessageTerms, *args: Any, **how: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        let_go(rules, *args, **how)
    assert caught.value.code is RefusalCode.RELEASE_REJECTED
    return caught.value.detail


class TestNumbers:
    RULES = contract([{"name": "w"}], [{"name": "loss", "kind": "mean"}, {"name": "n", "kind": "count", "length": 5}])

    def test_every_element_of_arrays_and_metrics_counts(self) -> None:
        done = let_go(self.RULES, {"w": np.ones(7)}, {"loss": 1.0, "n": [20, 30, 40]})
        assert done.notes.numbers == 11

    def test_companions_do_not_leave_and_do_not_count(self) -> None:
        done = let_go(sums(), {"s": np.ones(7), "n": np.full(7, 50), "top": np.full(7, 0.1)})
        assert done.notes.numbers == 7
        assert list(done.content.arrays["a"]) == ["s"]

    def test_a_third_per_patient_in_one_answer(self) -> None:
        let_go(self.RULES, {"w": np.ones(33)}, patients=100)
        assert "34 numbers about 100 patients" in refused(self.RULES, {"w": np.ones(34)}, patients=100)

    def test_fewer_than_patients_in_all_answers(self) -> None:
        """With as many equations as unknowns there would be one solution."""
        let_go(self.RULES, {"w": np.ones(10)}, patients=100, before=89)
        assert "100 numbers" in refused(self.RULES, {"w": np.ones(10)}, patients=100, before=90)

    def test_nobody_allows_nothing(self) -> None:
        refused(self.RULES, {"w": np.ones(0)}, patients=0)

    def test_an_exemption_allows_a_model(self) -> None:
        loose = {"max_numbers_per_patient": 10.0, "max_numbers_per_patient_in_total": 100.0, "exemption": "A model."}
        let_go(self.RULES, {"w": np.ones(1000)}, patients=100, before=8999, **loose)
        refused(self.RULES, {"w": np.ones(1000)}, patients=99, **loose)

    @given(patients=st.integers(1, 400), size=st.integers(0, 300), before=st.integers(0, 400))
    def test_it_is_refused_exactly_beyond_the_ratios(self, patients: int, size: int, before: int) -> None:
        within = 100 * size <= 33 * patients and before + size < patients
        try:
            let_go(self.RULES, {"w": np.ones(size)}, patients=patients, before=before)
        except RefusedError:
            assert not within
        else:
            assert within


class TestDominance:
    def values(self, **changes: Any) -> dict[str, Any]:
        arrays = {"s": np.array([1.0, 2.0, -3.0]), "n": np.array([50, 50, 50]), "top": np.array([0.1, 0.2, 0.5])}
        return arrays | changes

    def test_what_nobody_dominates_leaves_bit_for_bit(self) -> None:
        done = let_go(sums(), self.values())
        assert done.content.arrays["a"]["s"].tobytes() == self.values()["s"].tobytes()
        assert done.notes.hidden == ()

    def test_few_contributors_and_one_who_outweighs_the_others(self) -> None:
        done = let_go(sums(), self.values(n=np.array([9, 10, 0]), top=np.array([0.9, 0.51, 0.0])))
        assert done.content.arrays["a"]["s"].tolist() == [0.0, 0.0, 0.0]
        assert done.notes.hidden == (Hidden("array 'a'/'s'", "few", 2), Hidden("array 'a'/'s'", "dominance", 1))

    @pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8"])
    def test_an_array_keeps_its_dtype(self, dtype: str) -> None:
        values = self.values(s=np.array([1, 2, 3], dtype), n=np.array([50, 50, 1]))
        left = let_go(sums(dtype=dtype), values).content.arrays["a"]["s"]
        assert (left.dtype.name, left.tolist()) == (dtype, [1, 2, 0])

    def test_one_companion_alone_is_looked_at(self) -> None:
        only = contract([{"name": "s", "kind": "mean", "contributors": "n"}, {"name": "n", "dtype": "uint16"}])
        left = let_go(only, {"s": np.ones(2), "n": np.array([9, 10], np.uint16)})
        assert left.content.arrays["a"]["s"].tolist() == [0, 1]
        other = contract([{"name": "s", "kind": "mean", "largest_share": "t"}, {"name": "t", "dtype": "float32"}])
        left = let_go(other, {"s": np.ones(2), "t": np.array([0.6, 0.5], np.float32)})
        assert left.content.arrays["a"]["s"].tolist() == [0, 1]

    def test_without_companions_nothing_can_be_looked_at(self) -> None:
        left = let_go(contract([{"name": "s", "kind": "sum"}]), {"s": np.array([19570312.0])})
        assert left.content.arrays["a"]["s"].tolist() == [19570312.0]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"n": np.array([1001, 50, 50])}, "more contributors than there are patients"),
            ({"n": np.array([-1, 50, 50])}, "is no count"),
            ({"top": np.array([1.1, 0.1, 0.1])}, "no share"),
            ({"top": np.array([-0.1, 0.1, 0.1])}, "no share"),
            ({"n": np.array([50])}, "has not the shape"),
            ({"top": np.array([0.5])}, "has not the shape"),
        ],
        ids=lambda v: v if isinstance(v, str) else "",
    )
    def test_companions_that_cannot_be_are_refused(self, change: dict[str, Any], said: str) -> None:
        assert said in refused(sums(), self.values(**change))

    def test_a_share_computed_in_single_precision_may_pass_one_by_a_little(self) -> None:
        loose = {"dominance": 1.0, "exemption": "A test."}
        refused(sums(), self.values(top=np.array([1.0 + 2e-6, 0, 0])), **loose)
        let_go(sums(), self.values(top=np.array([1.0 + 1e-7, 0, 0])), **loose)

    def test_a_missing_companion_is_refused(self) -> None:
        assert "missing" in refused(sums(), {"s": np.ones(3), "n": np.full(3, 50)})


class TestCells:
    RULES = contract(
        [{"name": "h", "kind": "histogram", "dtype": "int32"}],
        [{"name": "n", "kind": "count"}, {"name": "by-sex", "kind": "count", "length": 3}],
    )

    def test_arrays_and_metrics_of_counts(self) -> None:
        done = let_go(self.RULES, {"h": np.array([3, 40, 50], np.int32)}, {"n": 7, "by-sex": [5, 60, 70]})
        assert done.content.arrays["a"]["h"].tolist() == [0, 0, 50]
        assert done.content.metrics["m"] == {"n": 0, "by-sex": [0, 0, 70]}
        assert done.notes.as_json() == {
            "numbers": 7,
            "hidden": [
                ["array 'a'/'h'", "cell", 1],
                ["array 'a'/'h'", "complement", 1],
                ["metric 'm'/'n'", "cell", 1],
                ["metric 'm'/'by-sex'", "cell", 1],
                ["metric 'm'/'by-sex'", "complement", 1],
            ],
        }

    def test_counts_in_floats_must_be_whole(self) -> None:
        rules = contract([{"name": "h", "kind": "count"}])
        assert let_go(rules, {"h": np.array([20.0])}).content.arrays["a"]["h"].dtype == np.float64
        assert "is no count" in refused(rules, {"h": np.array([20.5])})

    def test_what_does_not_fit_the_dtype_any_more_is_its_largest(self) -> None:
        rules = contract([{"name": "h", "kind": "count", "dtype": "uint8"}])
        left = let_go(rules, {"h": np.array([255, 15], np.uint8)}, counts="round", round_to=64)
        assert left.content.arrays["a"]["h"].tolist() == [255, 0]

    def test_what_was_hidden_is_still_in_the_contracts_range(self) -> None:
        """Else the next step would refuse it, and the refusal would tell."""
        rules = contract(metrics=[{"name": "n", "kind": "count", "min": 1.5, "max": 100.5}])
        assert let_go(rules, metrics={"n": 5}).content.metrics["m"]["n"] == 2
        assert let_go(rules, metrics={"n": 97}, counts="round", round_to=50).content.metrics["m"]["n"] == 100

    def test_refused_by_policy(self) -> None:
        assert "1 cells" in refused(self.RULES, {"h": np.array([3, 50], np.int32)}, counts="refuse")

    def test_the_places_of_two_arrays_have_noise_of_their_own(self) -> None:
        rules = contract([{"name": n, "kind": "count", "dtype": "int64"} for n in ("g", "h")])
        same = np.arange(100, 200)
        left = let_go(rules, {"g": same, "h": same}, counts="noise").content.arrays["a"]
        assert not np.array_equal(left["g"], left["h"])


class TestRates:
    RULES = contract(
        [{"name": "r", "kind": "rate", "contributors": "n"}, {"name": "n", "dtype": "int64"}],
        [{"name": "k", "kind": "count"}, {"name": "auc", "kind": "rate", "denominator": "k"}],
    )

    def array(self, rate: float, over: int) -> float:
        left = let_go(self.RULES, {"r": np.array([rate]), "n": np.array([over])}, patients=1000)
        return float(left.content.arrays["a"]["r"][0])

    def metric(self, rate: float, over: int) -> Any:
        arrays = {"r": np.array([0.5]), "n": np.array([100])}
        return let_go(self.RULES, arrays, {"auc": rate, "k": over}).content.metrics["m"].get("auc")

    @pytest.mark.parametrize(("rate", "over"), [(0.5, 9), (0.09, 100), (0.91, 100), (0.001, 1000), (0.5, 19)])
    def test_few_in_above_or_beside_it(self, rate: float, over: int) -> None:
        assert self.array(rate, over) == 0
        assert self.metric(rate, over) is None

    @pytest.mark.parametrize(("rate", "over"), [(0.1, 100), (0.9, 100), (0.5, 20), (1.0, 10), (0.25, 1000)])
    def test_enough_everywhere_or_none(self, rate: float, over: int) -> None:
        assert self.array(rate, over) == rate
        assert self.metric(rate, over) == rate

    @pytest.mark.parametrize("rate", [-0.01, 1.01])
    def test_what_is_no_share_is_refused(self, rate: float) -> None:
        assert "no share" in refused(self.RULES, {"r": np.array([rate]), "n": np.array([100])})
        arrays = {"r": np.array([0.5]), "n": np.array([100])}
        assert "no share" in refused(self.RULES, arrays, {"auc": rate, "k": 100})

    def test_a_rate_without_its_denominator_is_refused(self) -> None:
        arrays = {"r": np.array([0.5]), "n": np.array([100])}
        assert "without its denominator" in refused(self.RULES, arrays, {"auc": 0.5})

    def test_a_denominator_beyond_any_count_is_refused(self) -> None:
        arrays = {"r": np.array([0.5]), "n": np.array([100])}
        assert "is no count" in refused(self.RULES, arrays, {"auc": 0.5, "k": 2**63})

    def test_a_list_has_one_denominator_or_one_for_each(self) -> None:
        rules = contract(
            metrics=[
                {"name": "k", "kind": "count", "length": 3},
                {"name": "x", "kind": "mean", "denominator": "k", "length": 3},
            ]
        )
        left = let_go(rules, metrics={"x": [1.0, 2.0], "k": [10, 20]}).content.metrics["m"]
        assert left == {"x": [1.0, 2.0], "k": [10, 20]}
        assert "x" not in let_go(rules, metrics={"x": [1.0, 2.0], "k": [10, 9]}).content.metrics["m"]
        assert "not as many" in refused(rules, metrics={"x": [1.0, 2.0], "k": [10, 20, 30]})

    def test_a_mean_over_few_does_not_leave_either(self) -> None:
        rules = contract(
            metrics=[{"name": "k", "kind": "count"}, {"name": "age", "kind": "mean", "denominator": "k", "length": 2}]
        )
        assert "age" in let_go(rules, metrics={"age": [50.0, 60.0], "k": 10}).content.metrics["m"]
        done = let_go(rules, metrics={"age": [50.0, 60.0], "k": 9})
        assert done.content.metrics["m"] == {"k": 0}
        assert Hidden("metric 'm'/'age'", "few", 2) in done.notes.hidden


class TestDigits:
    @pytest.mark.parametrize("kind", ["mean", "sum", "score", "rate"])
    def test_six_and_no_more(self, kind: str) -> None:
        rules = contract(metrics=[{"name": "x", "kind": kind}])
        assert let_go(rules, metrics={"x": 0.123456789}).content.metrics["m"]["x"] == 0.123457

    @pytest.mark.parametrize(
        ("value", "left"),
        [
            (0.0, 0.0), (-1234567.0, -1234570.0), (1e-300 / 3, 3.33333e-301), (12, 12), (123456789, 123457000),
            (-7654321, -7654320), ([1.23456789, 2], [1.23457, 2]), (1.7976931348623157e308, 1.79769e308),
        ],
        ids=str,
    )  # fmt: skip
    def test_whatever_its_size(self, value: Any, left: Any) -> None:
        rules = contract(metrics=[{"name": "x", "kind": "sum"} | ({"length": 2} if isinstance(value, list) else {})])
        got = let_go(rules, metrics={"x": value}).content.metrics["m"]["x"]
        assert got == left
        assert type(got) is type(left)

    def test_rounded_up_beyond_every_number_it_is_the_largest(self) -> None:
        rules = contract(metrics=[{"name": "x", "kind": "sum"}])
        left = let_go(rules, metrics={"x": -1.797e308}, significant_digits=2).content.metrics["m"]["x"]
        assert left == -np.finfo(float).max

    def test_rounded_beyond_its_range_it_is_the_end_of_the_range(self) -> None:
        rules = contract(metrics=[{"name": "x", "kind": "score", "min": -0.12345678, "max": 0.12345678}])
        for value in (0.12345678, -0.12345678):
            assert let_go(rules, metrics={"x": value}).content.metrics["m"]["x"] == value

    def test_exact_by_exemption(self) -> None:
        rules = contract(metrics=[{"name": "x", "kind": "mean"}])
        loose = {"significant_digits": None, "exemption": "A test."}
        assert let_go(rules, metrics={"x": 0.1 + 0.2}, **loose).content.metrics["m"]["x"] == 0.1 + 0.2

    @given(x=st.floats(allow_nan=False, allow_infinity=False), digits=st.integers(1, 17))
    def test_it_is_near(self, x: float, digits: int) -> None:
        rules = contract(metrics=[{"name": "x", "kind": "sum"}])
        loose = {"significant_digits": digits} | ({"exemption": "A test."} if digits > 6 else {})
        left = let_go(rules, metrics={"x": x}, **loose).content.metrics["m"]["x"]
        assert left == pytest.approx(x, rel=10.0 ** (1 - digits), abs=1e-322)


class TestGuard:
    """Rows that too few patients stand behind, as one DIZ judges them by itself."""

    counts = np.array([[20, 30], [9, 30], [0, 30], [20, 1]])
    square = np.arange(1.0, 17).reshape(4, 4)

    def rules(self, axes: int) -> MessageTerms:
        guarded = {"name": "s", "kind": "sum", "guard": "n", "shape": ["<=8", "<=8"], "guard_axes": axes}
        return contract([guarded, COUNTS])

    def test_a_row_with_a_small_count_leaves_as_0(self) -> None:
        done = let_go(self.rules(1), arrays={"s": self.square, "n": self.counts})
        assert np.array_equal(done.content.arrays["a"]["s"], self.square * [[1], [0], [1], [0]])
        assert set(done.content.arrays["a"]) == {"s"}
        assert done.notes.numbers == 16

    def test_and_its_column_where_both_axes_are_guarded(self) -> None:
        done = let_go(self.rules(2), arrays={"s": self.square, "n": self.counts})
        kept = np.array([1, 0, 1, 0])
        assert np.array_equal(done.content.arrays["a"]["s"], self.square * np.outer(kept, kept))

    def test_a_sum_with_more_axes_is_guarded_along_the_first_ones(self) -> None:
        guarded = {"name": "s", "kind": "sum", "guard": "n", "shape": ["<=8", "<=8", 2], "guard_axes": 2}
        cube = np.stack([self.square, -self.square], axis=2)
        done = let_go(contract([guarded, COUNTS]), arrays={"s": cube, "n": self.counts})
        kept = np.outer([1, 0, 1, 0], [1, 0, 1, 0])
        assert np.array_equal(done.content.arrays["a"]["s"], cube * kept[..., None])

    @pytest.mark.parametrize("counts", [counts[:3], counts - 1, counts + 10**6], ids=["rows", "negative", "many"])
    def test_what_counts_no_patients_lets_nothing_leave(self, counts: np.ndarray) -> None:
        assert "n" in refused(self.rules(1), arrays={"s": self.square, "n": counts})

    def test_two_guards_of_one_array_both_hold(self) -> None:
        other = COUNTS | {"name": "cells"}
        guarded = {"name": "s", "kind": "sum", "guard": "n", "guard_zero": "cells", "shape": ["<=8", "<=8"]}
        cells = np.array([[0, 0], [0, 0], [0, 4], [0, 0]])
        done = let_go(contract([guarded, COUNTS, other]), arrays={"s": self.square, "n": self.counts, "cells": cells})
        assert np.array_equal(done.content.arrays["a"]["s"], self.square * [[1], [0], [0], [0]])
        assert set(done.content.arrays["a"]) == {"s"}

    @pytest.mark.parametrize("axes", [1, 2])
    def test_without_a_patient_there_is_no_small_count(self, axes: int) -> None:
        done = let_go(self.rules(axes), arrays={"s": self.square, "n": np.zeros((4, 2), np.int64)})
        assert np.array_equal(done.content.arrays["a"]["s"], self.square)

    @pytest.mark.parametrize(
        ("changes", "counts", "why"),
        [
            ({}, None, "must be a listed array"),
            ({"guard": None, "guard_axes": 2}, COUNTS, "no guard"),
            ({"kind": "mean"}, COUNTS, "of a sum"),
            ({"shape": []}, COUNTS, "of a sum"),
            ({}, COUNTS | {"kind": "sum"}, "must be a listed array"),
            ({}, COUNTS | {"dtype": "float64"}, "must be a listed array"),
            ({}, COUNTS | {"shape": ["<=8"]}, "must be a listed array"),
            ({"shape": ["<=9"]}, COUNTS, "as many rows"),
            ({"shape": ["<=8", "<=9"], "guard_axes": 2}, COUNTS, "as many rows"),
            ({"guard_axes": 2}, COUNTS, "of a sum"),
        ],
        ids=["unlisted", "axes", "mean", "number", "a sum", "floats", "flat", "other rows", "not square", "one axis"],
    )
    def test_a_guard_that_does_not_fit(self, changes: dict[str, Any], counts: dict[str, Any] | None, why: str) -> None:
        rule = {"name": "s", "kind": "sum", "guard": "n", "shape": ["<=8"]} | changes
        with pytest.raises(ValidationError, match=why):
            contract([rule, *([counts] if counts else [])])

    def test_it_guards(self) -> None:
        assert unguarded(self.rules(1)) == ()


class TestContract:
    def test_what_leaves_fits_the_contract_without_companions(self) -> None:
        leaving = sums().leaving
        assert [r.name for r in leaving.arrays] == ["s"]
        assert leaving.companions == frozenset()
        assert contract([{"name": "w"}]).leaving == contract([{"name": "w"}])

    def test_companions_are_taken_out_of_any_update(self) -> None:
        """Also of one that fits no contract: under an enforced claim it is still to become the zero vector."""
        rules = sums()
        update = Content({"a": {"n": np.zeros(2), "other": np.ones(1)}, "b": {"n": np.ones(1)}})
        left = without_companions(update, rules)
        assert [(r, n) for r, n, _ in left.array_items()] == [("a", "other"), ("b", "n")]
        plain = contract([{"name": "w"}])
        assert without_companions(update, plain) is update

    @pytest.mark.parametrize(
        "arrays",
        [
            [{"name": "s", "kind": "sum", "contributors": "n"}],
            [{"name": "s", "kind": "sum", "contributors": "n"}, {"name": "n"}],
            [{"name": "s", "kind": "sum", "largest_share": "n"}, {"name": "n", "dtype": "int64"}],
            [{"name": "s", "kind": "model", "contributors": "n"}, {"name": "n", "dtype": "int64"}],
            [{"name": "s", "kind": "count", "contributors": "n"}, {"name": "n", "dtype": "int64"}],
            [{"name": "s", "kind": "rate", "largest_share": "n"}, {"name": "n"}],
            [{"name": "s", "kind": "sum", "dtype": "int64", "contributors": "s"}],
        ],
        ids=[
            "not listed", "no integers", "no floats", "of a model", "of a count", "share of a rate", "itself",
        ],
    )  # fmt: skip
    def test_companions_that_do_not_fit(self, arrays: list[dict[str, Any]]) -> None:
        with pytest.raises(ValidationError):
            contract(arrays)

    @pytest.mark.parametrize(
        "metrics",
        [
            [{"name": "x", "kind": "mean", "denominator": "k"}],
            [{"name": "x", "kind": "mean", "denominator": "k"}, {"name": "k", "kind": "sum"}],
            [{"name": "x", "kind": "count", "denominator": "k"}, {"name": "k", "kind": "count"}],
            [{"name": "x", "kind": "mean", "denominator": "k"}, {"name": "k", "kind": "count", "record": "other"}],
        ],
        ids=["not listed", "no count", "of a count", "another record"],
    )
    def test_denominators_that_do_not_fit(self, metrics: list[dict[str, Any]]) -> None:
        with pytest.raises(ValidationError):
            contract(metrics=metrics)

    def test_a_steward_is_told_what_no_rule_looks_at(self) -> None:
        rules = contract(
            [
                {"name": "w"},
                {"name": "h", "kind": "histogram", "dtype": "int64"},
                {"name": "bare", "kind": "sum"},
                {"name": "half", "kind": "mean", "contributors": "n"},
                {"name": "full", "kind": "mean", "contributors": "n", "largest_share": "top"},
                {"name": "rate", "kind": "rate", "contributors": "n"},
                {"name": "n", "dtype": "int64"},
                {"name": "top"},
            ]
        )
        assert unguarded(rules) == (("a", "w"), ("a", "bare"), ("a", "half"))

    def test_what_does_not_fit_the_allow_list_is_refused_first(self) -> None:
        assert "not listed" in refused(contract([{"name": "w"}]), {"w": np.ones(1), "x": np.ones(1)})

    def test_with_every_rule_loosened_an_update_leaves_bit_for_bit(self) -> None:
        rules = contract(
            [{"name": "w"}, {"name": "h", "kind": "histogram"}, {"name": "s", "kind": "sum"}],
            [{"name": "x", "kind": "mean"}, {"name": "n", "kind": "count"}],
        )
        update = {"w": np.array([np.pi]), "h": np.array([1.0, 2.0]), "s": np.array([-0.0])}
        left = let_go(rules, update, {"x": 0.1 + 0.2, "n": 1}, patients=3, **EVERYTHING).content
        assert {n: a.tobytes() for _, n, a in left.array_items()} == {n: a.tobytes() for n, a in update.items()}
        assert left.metrics["m"] == {"x": 0.1 + 0.2, "n": 1}

    def test_numbers_are_counted_over_all_records(self) -> None:
        assert numbers_in(Content({"a": {"w": np.ones((2, 3))}, "b": {}}, {"m": {"x": 1, "y": [1.0, 2.0]}})) == 9

    def test_the_nodes_key_is_in_no_text(self) -> None:
        assert "kkkk" not in repr(facts())


class TestLimits:
    """What these rules do not hold, as docs/disclosure.md says. Where one is held some day, that page changes too."""

    def test_two_questions_that_weigh_one_patient_differently(self) -> None:
        """Each is about everybody, nobody dominates, and their difference is one patient. Only noise holds it."""
        values = np.random.default_rng(1).normal(50, 10, 200)

        def mean(weights: Any) -> float:
            parts = weights * values
            arrays = {
                "s": np.array([parts.sum()]),
                "n": np.array([np.count_nonzero(parts)]),
                "top": np.array([np.abs(parts).max() / np.abs(parts).sum()]),
            }
            return float(let_go(sums(), arrays, patients=200).content.arrays["a"]["s"][0])

        once, twice = np.ones(200), np.ones(200)
        twice[7] = 2
        assert mean(twice) - mean(once) == pytest.approx(values[7])

    def test_three_cohorts_that_are_far_apart_in_pairs(self) -> None:
        """Everybody; all without ten; all without ten others; all without these twenty and one more."""

        def people(*without: range) -> Members:
            gone = {p for r in without for p in r}
            return np.array(sorted(set(range(100)) - gone), np.uint64)

        asked = [people(), people(range(10)), people(range(10, 20)), people(range(21))]
        for at, cohort in enumerate(asked):
            assert small_difference(cohort, asked[:at], 10) == 0
        values = np.random.default_rng(2).normal(size=100)
        total, first, second, last = (values[cohort.astype(int)].sum() for cohort in asked)
        assert (total - last) - (total - first) - (total - second) == pytest.approx(values[20])

    def test_an_app_that_lies_about_its_companions(self) -> None:
        left = let_go(sums(), {"s": np.array([19570312.0]), "n": np.array([1000]), "top": np.array([0.001])})
        assert left.content.arrays["a"]["s"].tolist() == [19570312.0]

    def test_a_table_whose_edges_move_over_one_patient(self) -> None:
        """Of exact counts, two tables of everybody differ by one where a patient is."""
        rules = contract([{"name": "h", "kind": "histogram", "dtype": "int64"}])
        ages = np.arange(100)
        tables = [np.histogram(ages, [0, edge, 100])[0] for edge in (50, 51)]
        left = [let_go(rules, {"h": table}).content.arrays["a"]["h"] for table in tables]
        assert (left[1] - left[0]).tolist() == [1, -1]

    def test_everybody_in_one_cell(self) -> None:
        """No cell is small, and everybody's answer is known."""
        rules = contract([{"name": "h", "kind": "histogram", "dtype": "int64"}])
        assert let_go(rules, {"h": np.array([100, 0])}, patients=100).content.arrays["a"]["h"].tolist() == [100, 0]
