"""The allow-list, item by item: each update differs from an allowed one in exactly one thing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.allow_list import check
from tests.support.gates import good_update, message_terms

ARRAYS = good_update().arrays["arrays"]
METRICS = good_update().metrics["metrics"]


def update(arrays: Mapping[str, Any] = ARRAYS, metrics: Mapping[str, Any] = METRICS) -> Content:
    return Content({"arrays": arrays}, {"metrics": metrics})


def detail(content: Content, **terms: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        check(content, message_terms(**terms))
    assert caught.value.code is RefusalCode.RELEASE_REJECTED
    return caught.value.detail


def test_an_update_that_fits_passes() -> None:
    check(good_update(), message_terms())


def test_a_metric_may_be_missing() -> None:
    check(update(metrics={}), message_terms())


def test_a_record_without_metrics_may_be_missing() -> None:
    check(Content({"arrays": ARRAYS}), message_terms())


def test_an_array_may_not_be_missing() -> None:
    assert "missing" in detail(update({"w": ARRAYS["w"]}))


def test_an_unlisted_array_does_not_pass() -> None:
    assert "not listed" in detail(update({**ARRAYS, "extra": np.zeros(1)}))


def test_an_array_under_another_record_does_not_pass() -> None:
    assert "not listed" in detail(Content({"other": ARRAYS}))


def test_an_unlisted_metric_does_not_pass() -> None:
    assert "not listed" in detail(update(metrics={**METRICS, "extra": 1}))


@pytest.mark.parametrize("kind", ["arrays", "metrics"])
def test_an_empty_unlisted_record_does_not_pass(kind: str) -> None:
    base = good_update()
    records = {"arrays": dict(base.arrays), "metrics": dict(base.metrics)}
    records[kind]["smoker"] = {}
    assert "not listed" in detail(Content(**records))


def test_an_empty_array_record_in_place_of_a_listed_metric_record_does_not_pass() -> None:
    assert "not listed" in detail(Content({"arrays": ARRAYS, "metrics": {}}))


@pytest.mark.parametrize("value", ["text", b"bytes", 1, 1.0, True, ["text"]])
def test_a_config_record_never_passes(value: Any) -> None:
    assert "config" in detail(Content({"arrays": ARRAYS}, {}, {"config": {"x": value}}))


def test_an_empty_config_record_does_not_pass() -> None:
    assert "config" in detail(Content({"arrays": ARRAYS}, {}, {"config": {}}))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_another_dtype_does_not_pass(dtype: str) -> None:
    assert "may leave" in detail(update({**ARRAYS, "w": np.zeros(4, dtype)}))


@pytest.mark.parametrize("shape", [(), (3,), (5,), (4, 1), (1, 4), (0,)])
def test_another_shape_does_not_pass(shape: tuple[int, ...]) -> None:
    assert "may leave" in detail(update({**ARRAYS, "w": np.zeros(shape)}))


@pytest.mark.parametrize(("rows", "passes"), [(0, True), (5, True), (6, False)])
def test_a_bounded_dimension_is_a_bound(rows: int, passes: bool) -> None:
    rule = {"record": "arrays", "name": "w", "dtype": "float64", "shape": ["<=5", 2]}
    content = Content({"arrays": {"w": np.zeros((rows, 2))}})
    if passes:
        check(content, message_terms(arrays=[rule], metrics=[]))
    else:
        detail(content, arrays=[rule], metrics=[])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["w", "b"])
def test_no_array_with_a_value_that_is_not_finite_passes(name: str, bad: float) -> None:
    array = ARRAYS[name].copy()
    array[-1] = bad
    assert "not finite" in detail(update({**ARRAYS, name: array}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_metric_that_is_not_finite_passes(bad: float) -> None:
    assert "not finite" in detail(update(metrics={"loss": bad}))


@pytest.mark.parametrize("value", [-0.1, 10.1, 11, -1])
def test_a_metric_outside_its_range_does_not_pass(value: float) -> None:
    assert "range" in detail(update(metrics={"loss": value}))


@pytest.mark.parametrize("value", [-1, 50.0, 0.5])
def test_a_count_is_a_whole_number_from_zero(value: float) -> None:
    assert "count" in detail(update(metrics={"num-examples": value}))


def test_a_list_where_a_number_is_listed_does_not_pass() -> None:
    assert "length" in detail(update(metrics={"loss": [1.0]}))


@pytest.mark.parametrize(("value", "passes"), [([1, 2], True), ([], True), ([1, 2, 3], False), (1, False)])
def test_a_listed_length_is_a_bound_on_a_list(value: Any, passes: bool) -> None:
    rule = {"record": "metrics", "name": "history", "kind": "sum", "length": 2}
    content = update(metrics={"history": value})
    if passes:
        check(content, message_terms(metrics=[rule]))
    else:
        assert "length" in detail(content, metrics=[rule])


def test_the_total_size_is_a_bound() -> None:
    check(good_update(), message_terms(max_bytes=36))
    open_ = [{**rule, "shape": ["<=9"]} for rule in message_terms().model_dump()["arrays"]]
    assert "bytes" in detail(good_update(), arrays=open_, max_bytes=35)


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "\u202e", "x" * 500])
def test_a_refusals_detail_never_carries_what_a_terminal_obeys(name: str) -> None:
    said = detail(update({**ARRAYS, name: np.zeros(1)}))
    assert said.isprintable()
