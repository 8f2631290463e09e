"""Robust rules against naive twins and a general optimiser, their breakdown points, and what they refuse."""

import math

import numpy as np
import pytest
from flame_strategies.robust import FlameRobust, breakdown, geometric_median, median, trimmed_mean
from flwr.app import ConfigRecord
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from tests.support.sums_only import sums_only

numbers = st.floats(-100, 100, allow_subnormal=False)
points = st.integers(3, 9).flatmap(
    lambda n: st.lists(st.tuples(numbers, numbers, numbers), min_size=n, max_size=n, unique=True)
)
trims = st.floats(0.05, 0.49)
RULES = ["median", "trimmed-mean", "geometric-median"]


def updates(rows):
    """Each row as a model of two arrays."""
    return [{"w": np.array(row[:2]), "b": np.array([row[2]], np.float32)} for row in rows]


def joined(combined):
    return np.concatenate([combined["w"], combined["b"]])


def rows_of(rows):
    """As they are after the way through float32."""
    return [(*row[:2], float(np.float32(row[2]))) for row in rows]


def combine(rule, rows, trim=0.3):
    if rule == "trimmed-mean":
        return joined(trimmed_mean(updates(rows), trim))
    return joined((median if rule == "median" else geometric_median)(updates(rows)))


@given(rows=points)
def test_the_median_equals_its_twin(rows):
    """The middle of the sorted numbers, or the mean of both middles."""
    expected = []
    for column in zip(*rows_of(rows), strict=True):
        ordered, half = sorted(column), len(column) // 2
        expected.append(ordered[half] if len(column) % 2 else (ordered[half - 1] + ordered[half]) / 2)
    assert_allclose(combine("median", rows), expected, rtol=1e-12)


@given(rows=points, trim=trims)
def test_the_trimmed_mean_equals_its_twin(rows, trim):
    """Take away the largest and the smallest, floor(trim n) times, then the mean."""
    expected = []
    for column in zip(*rows_of(rows), strict=True):
        left = list(column)
        for _ in range(math.floor(trim * len(column))):
            left.remove(max(left))
            left.remove(min(left))
        expected.append(sum(left) / len(left))
    assert_allclose(combine("trimmed-mean", rows, trim), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60)
@given(rows=points)
def test_the_geometric_median_has_the_least_sum_of_distances(rows):
    """Within 1e-4 of what a general optimiser finds on the smoothed sum, and of that at any site's own point."""
    data = np.array(rows_of(rows))
    scale = np.ptp(data, axis=0).max()
    assume(scale > 1e-3)

    def total(point):
        return float(np.sqrt(((data - point) ** 2).sum(axis=1)).sum())

    def smoothed(point):
        lengths = np.sqrt(((data - point) ** 2).sum(axis=1) + (1e-5 * scale) ** 2)
        return lengths.sum(), ((point - data) / lengths[:, None]).sum(axis=0)

    found = minimize(smoothed, data.mean(axis=0), jac=True, method="BFGS", options={"maxiter": 100}).x
    assert total(combine("geometric-median", rows)) <= min(total(found), *map(total, data)) * (1 + 1e-4)


def test_the_geometric_median_of_a_triangle_is_its_fermat_point():
    """Of an equilateral triangle the centre; of one with an angle above 120 degrees that corner."""
    corners = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.5, math.sqrt(3) / 2, 0.0)]
    assert_allclose(combine("geometric-median", corners), [0.5, math.sqrt(3) / 6, 0], atol=1e-5)
    flat = [(-5.0, 0.5, 0.0), (0.0, 0.0, 0.0), (5.0, 0.5, 0.0)]
    assert_allclose(combine("geometric-median", flat), [0, 0, 0], atol=1e-4)


def test_the_geometric_median_stays_where_it_starts_if_that_is_it():
    """The median by coordinate is here the middle site's own point, and the pull of the others is below 1."""
    rows = [(-5.0, -1.0, 0.0), (0.0, 0.0, 0.0), (5.0, 0.5, 0.0)]
    assert_allclose(combine("geometric-median", rows), [0, 0, 0], atol=1e-12)


def test_the_geometric_median_does_not_depend_on_the_axes():
    """Turned points have the turned median; medians by coordinate do not."""
    rng = np.random.default_rng(3)
    rows, turn = rng.normal(size=(5, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]

    def of(rule, points):
        both = [{"w": p} for p in points]
        return (geometric_median if rule else median)(both)["w"]

    assert_allclose(of(True, rows @ turn), of(True, rows) @ turn, atol=1e-4)
    assert np.abs(of(False, rows @ turn) - of(False, rows) @ turn).max() > 0.01


@pytest.mark.parametrize("rule", RULES)
@given(rows=points, data=st.data())
def test_up_to_the_breakdown_point_nobody_moves_the_result_at_will(rule, rows, data):
    """Coordinates stay between those of the others; the geometric median within the known bound of their distance."""
    trim = data.draw(trims)
    bad = breakdown(rule, len(rows), trim)
    assume(bad)
    huge = st.sampled_from([-1e300, 1e300, 1e6, -1e6, 0.0])
    lies = data.draw(st.lists(st.tuples(huge, huge, st.sampled_from([1e30, -1e30])), min_size=bad, max_size=bad))
    honest = rows[bad:]
    result = combine(rule, [*lies, *honest], trim)
    true = np.array(rows_of(honest))
    if rule != "geometric-median":
        assert (result >= true.min(axis=0) - 1e-9).all()
        assert (result <= true.max(axis=0) + 1e-9).all()
        return
    # Lopuhaä and Rousseeuw (1991): with b of n points moved, at most 2 (n - b) / (n - 2b) times as far as the others
    n = len(rows)
    reach = np.linalg.norm(true - true[0], axis=1).max()
    assert np.linalg.norm(result - true[0]) <= 2 * (n - bad) / (n - 2 * bad) * reach * 1.01 + 1e-3


@pytest.mark.parametrize("rule", RULES)
def test_one_more_than_the_breakdown_point_moves_it_at_will(rule):
    """So the number that is stated is not too small either."""
    rows = [(float(i), 0.0, 0.0) for i in range(7)]
    bad = breakdown(rule, 7, 0.3) + 1
    lies = [(1e9, 0.0, 0.0)] * bad
    assert combine(rule, [*lies, *rows[bad:]])[0] > 1e8


def test_breakdown_points():
    """As the document has them."""
    assert [breakdown("median", n, 0) for n in (3, 4, 5, 10)] == [1, 1, 2, 4]
    assert [breakdown("geometric-median", n, 0) for n in (3, 4, 5, 10)] == [1, 1, 2, 4]
    assert [breakdown("trimmed-mean", n, 0.2) for n in (4, 5, 9, 10)] == [0, 1, 1, 2]
    assert breakdown("trimmed-mean", 100, 0.29) == 29  # 0.29 * 100 is 28.999999999999996


def moving(flower, by, examples=1):
    return flower.behind_gate(lambda m: flower.update({"w": m.content["arrays"]["w"].numpy() + by}, examples, loss=1.0))


@pytest.mark.parametrize(("rule", "expected"), [("median", 2.0), ("trimmed-mean", 2.0), ("geometric-median", 2.0)])
def test_the_rule_takes_the_means_place_and_examples_do_not_count(flower, rule, expected):
    """Three rounds with three sites of which one lies about its model and its size."""
    nodes = {1: moving(flower, 1.0), 2: moving(flower, 2.0), 3: moving(flower, 1e12, examples=10**9)}
    strategy = FlameRobust(rule=rule, trim=0.34, evaluate=False)
    arrays = strategy.start(flower.Grid(nodes), flower.model(w=np.zeros(1)), num_rounds=3).arrays
    assert arrays["w"].numpy() == pytest.approx(3 * expected, rel=1e-5)
    assert strategy.noise[1].shares == (1 / 3, 1 / 3, 1 / 3)


@pytest.mark.parametrize("rule", RULES)
def test_masked_replies_are_refused_with_the_reason(flower, rule):
    """Of a sum no median can be told."""
    grid = sums_only(flower.Grid({n: moving(flower, float(n)) for n in (1, 2, 3)}))
    with pytest.raises(ValueError, match=f"only sums over sites exist, and a {rule} is no function of a sum"):
        FlameRobust(rule=rule, trim=0.34, evaluate=False).start(grid, flower.model(w=np.zeros(1)), num_rounds=1)


def noising(flower, by):
    def app(message):
        content = flower.update({"w": message.content["arrays"]["w"].numpy() + by})
        content["flame"] = ConfigRecord({"ground": "enforced", "noise_std": 0.5, "clip_norm": 1.0})
        return content

    return flower.behind_gate(app)


def test_noised_replies_are_used_and_what_is_left_of_the_noise_is_said_to_be_unknown(flower):
    """The mean's figure would be wrong for a median."""
    grid = flower.Grid({n: noising(flower, float(n)) for n in (1, 2, 3)})
    strategy = FlameRobust(evaluate=False)
    result = strategy.start(grid, flower.model(w=np.zeros(1)), num_rounds=1)
    assert result.arrays["w"].numpy() == pytest.approx(2.0)
    assert dict(result.train_metrics_clientapp[1]) == {"noise_unknown_nodes": 3.0}
    assert strategy.noise[1].noise_std is None


def test_without_noise_the_apps_metrics_are_as_ever(flower):
    """Nothing is added and nothing taken away."""
    grid = flower.Grid({n: moving(flower, float(n)) for n in (1, 2, 3)})
    result = FlameRobust(evaluate=False).start(grid, flower.model(w=np.zeros(1)), num_rounds=1)
    assert dict(result.train_metrics_clientapp[1]) == {"loss": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"min_nodes": 2}, "none is in the middle"),
        ({"rule": "krum"}, "The rule is"),
        ({"weigh_by_noise": True}, "no rule has weights"),
        ({"rule": "trimmed-mean", "trim": 0.2, "min_nodes": 4}, "cut at least one of 4"),
        ({"rule": "trimmed-mean", "trim": 0.5, "min_nodes": 4}, "below 1/2"),
        ({"rule": "trimmed-mean", "trim": 0.0, "min_nodes": 4}, "below 1/2"),
        ({"rule": "trimmed-mean", "trim": float("nan"), "min_nodes": 4}, "below 1/2"),
    ],
    ids=["two sites", "rule", "weights", "cuts none", "half", "zero", "nan"],
)
def test_terms_that_make_no_sense_are_refused(terms, why):
    """Before any site is asked."""
    with pytest.raises(ValueError, match=why):
        FlameRobust(**terms)
