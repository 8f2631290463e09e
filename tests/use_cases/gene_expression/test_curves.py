"""Curves from counts against scikit-learn, lifelines and R on the same bins."""

import math

import numpy as np
import pytest
from gene_expression.curves import concordance, kaplan_meier, log_rank, roc
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from sklearn.metrics import roc_auc_score, roc_curve

from tests.use_cases.gene_expression.phenotype_sites import GRID, frozen_study, results


def binned(score, bins):
    """(2, B) of both classes is left to the caller: the bin of each score in [0, 1]."""
    return np.minimum((score * bins).astype(int), bins - 1)


def counts_of(bins, truth, count):
    return np.stack([np.bincount(bins[truth == value], minlength=count) for value in (0, 1)])


def by_time(time, event, grid):
    """(2, T + 1) without and with event."""
    place = np.searchsorted(grid, time)
    happened = (event == 1) & (place < len(grid))
    return np.stack([np.bincount(place[happened == value], minlength=len(grid) + 1) for value in (False, True)])


@given(st.integers(0, 2**31), st.integers(2, 40))
def test_area_under_the_curve_is_that_of_the_binned_scores(seed, bins):
    """To the last digits; and that of the scores themselves lies in the interval."""
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 1, rng.integers(0, 2, 40)]
    score = np.clip(rng.random(42) * 0.7 + 0.3 * truth * rng.random(42), 0, 1)
    found = roc(counts_of(binned(score, bins), truth, bins))
    assert found.auc == pytest.approx(roc_auc_score(truth, binned(score, bins)), abs=1e-14)
    assert found.low - 1e-14 <= roc_auc_score(truth, score) <= found.high + 1e-14
    assert (found.negative, found.positive) == ((truth == 0).sum(), (truth == 1).sum())


def test_fine_bins_give_the_exact_area():
    """Where no bin has both classes, nothing is lost."""
    rng = np.random.default_rng(1)
    score, truth = rng.random(60), rng.integers(0, 2, 60)
    found = roc(counts_of(binned(score, 10**6), truth, 10**6))
    assert found.low == found.auc == found.high == pytest.approx(roc_auc_score(truth, score), abs=1e-14)


def test_the_curve_is_scikit_learn_s():
    """All of its points, from the highest bin down."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 80)
    place = binned(np.clip(rng.random(80) + 0.2 * truth, 0, 1), 12)
    found = roc(counts_of(place, truth, 12))
    fpr, tpr, _ = roc_curve(truth, place, drop_intermediate=False)
    kept = [0, *(1 + np.flatnonzero(np.diff(found.fpr + found.tpr)))]  # bins without samples are points twice
    np.testing.assert_allclose(found.fpr[kept], fpr)
    np.testing.assert_allclose(found.tpr[kept], tpr)


def test_one_class_has_no_area():
    """Nothing to compare."""
    found = roc([[3, 1], [0, 0]])
    assert math.isnan(found.auc)
    assert (found.negative, found.positive) == (4, 0)


def by_pairs(time, event, score):
    """Concordant, tied and comparable pairs, one after the other."""
    concordant = tied = pairs = 0
    for i in np.flatnonzero(event == 1):
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and event[j] == 0):
                pairs += 1
                concordant += score[i] > score[j]
                tied += score[i] == score[j]
    return concordant, tied, pairs


@given(st.integers(0, 2**31))
def test_concordance_counts_pairs(seed):
    """Ties of time and score, and times beyond the grid."""
    rng = np.random.default_rng(seed)
    time, event, score = rng.integers(0, 8, 30), rng.integers(0, 2, 30), rng.integers(0, 5, 30)
    event = np.where(time < 7, event, 0)  # the last is beyond the grid
    table = np.zeros((2, 8, 5), dtype=int)
    np.add.at(table, (event, time, score), 1)
    found, (concordant, tied, pairs) = concordance(table), by_pairs(time, event, score)
    assert found.pairs == pairs
    if pairs:
        assert found.index == pytest.approx((concordant + tied / 2) / pairs, abs=1e-14)
        assert (found.low, found.high) == pytest.approx((concordant / pairs, (concordant + tied) / pairs))


def test_concordance_is_r_s():
    """Of a gene and the times, every distinct value a bin."""
    study = frozen_study()
    values, score = np.unique(study.genes[:, 0], return_inverse=True)
    place = np.searchsorted(GRID, study.numbers["time"])
    table = np.zeros((2, len(GRID) + 1, len(values)), dtype=int)
    np.add.at(table, (study.numbers["died"].astype(int), place, score), 1)
    found = concordance(table)
    assert found.index == pytest.approx(results()["concordance", "index"][0], abs=1e-14)
    assert found.pairs == results()["concordance", "pairs"][0]


def test_curve_by_group_is_r_s():
    """Kaplan-Meier with its intervals, by class, on the same times."""
    study, expected = frozen_study(), results()
    curves = []
    for level in (0, 1):
        rows = study.codes["group"] == level
        curves.append(kaplan_meier(GRID, by_time(study.numbers["time"][rows], study.numbers["died"][rows], GRID)))
    np.testing.assert_allclose(np.r_[curves[0].survival, curves[1].survival], expected["km", "survival"], rtol=1e-12)
    np.testing.assert_array_equal(np.r_[curves[0].at_risk, curves[1].at_risk], expected["km", "at risk"])
    for name in ("lower", "upper"):
        ours, theirs = np.r_[getattr(curves[0], name), getattr(curves[1], name)], np.array(expected["km", name])
        known = np.isfinite(theirs)  # R has no interval at 0
        np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-12)


@given(st.integers(0, 2**31))
def test_curve_is_lifelines_on_the_same_binning(seed):
    """Times rounded up to the grid, those beyond it without event."""
    rng = np.random.default_rng(seed)
    grid, time, event = np.array([1.0, 2, 4, 7]), rng.exponential(3, 25), rng.integers(0, 2, 25)
    found = kaplan_meier(grid, by_time(time, event, grid))
    place = np.searchsorted(grid, time)
    fitter = KaplanMeierFitter().fit(np.append(grid, 9)[place], np.where(place < 4, event, 0))
    np.testing.assert_allclose(found.survival, fitter.survival_function_at_times(grid), atol=1e-12)


def test_log_rank_is_r_s_and_lifelines():
    """Three stages."""
    study, expected = frozen_study(), results()
    time, event, stage = study.numbers["time"], study.numbers["died"], study.codes["stage"]
    found = log_rank(np.stack([by_time(time[stage == s], event[stage == s], GRID) for s in range(3)]))
    assert found.statistic == pytest.approx(expected["log-rank", "statistic"][0], rel=1e-12)
    assert found.p_value == pytest.approx(expected["log-rank", "p"][0], rel=1e-9)
    assert found.degrees == 2
    assert found.statistic == pytest.approx(multivariate_logrank_test(time, stage, event).test_statistic, rel=1e-9)


def test_log_rank_needs_two_groups_with_events():
    """Groups without anybody do not count."""
    group = [[3, 0, 1], [1, 1, 0]]
    empty = np.zeros((2, 3))
    for table in ([group, empty], [[[1, 1, 1], [0, 0, 0]]] * 2):
        assert math.isnan(log_rank(table).statistic)
    assert log_rank([group, empty, [[0, 0, 4], [3, 0, 0]]]).degrees == 1


def test_median_survival():
    """The first time with at most half left; none if more than half are left."""
    assert kaplan_meier([1, 2, 3], [[0, 0, 0, 2], [1, 1, 0, 0]]).median == 2
    assert math.isnan(kaplan_meier([1, 2], [[0, 0, 5], [1, 0, 0]]).median)
