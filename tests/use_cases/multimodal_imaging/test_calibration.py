"""Reliability tables and their mend: those of the scores themselves, from counts and sums."""

from itertools import pairwise

import numpy as np
import pytest
from flame_strategies.errors import StrategyError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from multimodal_imaging import fusion_fit, oracles, site_scores
from multimodal_imaging.calibration import Reliability, fit_mend
from multimodal_imaging.fusion_model import ClassScores
from multimodal_imaging.validation import TRAIN

from tests.use_cases.multimodal_imaging.fusion_sites import Memory, settings, sites


def own_scores(found, about):
    """Out-of-fold linear predictors of the pooled training patients under scikit-learn's models, and their classes."""
    table = oracles.pool(found, about)
    design = oracles.design(table, table.train)
    _, _, by_fold = oracles.fit(design.Z, table, table.train, about)
    b = by_fold[table.fold[table.train]]
    return b[:, 0] + np.einsum("np,npq->nq", design.Z[table.train], b[:, 1:]), table.y[table.train].astype(int)


def test_platt_s_two_numbers_are_an_unpenalised_logistic_regression_on_the_scores():
    import statsmodels.api as sm

    about, found = settings(task="binary", outcome="two"), sites(1)
    model = fusion_fit.fit(Memory(found, about), about, TRAIN)
    eta, y = own_scores(found, about)
    truth = sm.Logit(y, sm.add_constant(eta)).fit(disp=0, tol=1e-13)
    assert model.mend.shift == pytest.approx(truth.params[0], abs=1e-6)
    assert model.mend.slope == pytest.approx(truth.params[1], abs=1e-6)
    assert model.mend.after == pytest.approx(-truth.llf / len(y), abs=1e-9)
    assert model.mend.after < model.mend.before


def test_the_temperature_is_that_of_least_loss():
    from scipy.optimize import minimize_scalar

    about, found = settings(task="multiclass", outcome="three", penalties="0.001, 0.01"), sites(1)
    model = fusion_fit.fit(Memory(found, about), about, TRAIN)
    eta, y = own_scores(found, about)

    def loss(slope):
        return (np.logaddexp.reduce(slope * eta, axis=1) - slope * eta[np.arange(len(y)), y]).mean()

    best = minimize_scalar(loss, bounds=(0.01, 5), method="bounded", options={"xatol": 1e-10})
    assert model.mend.shift == 0
    assert model.mend.slope == pytest.approx(best.x, abs=1e-6)
    assert model.mend.after == pytest.approx(best.fun, abs=1e-10)


def test_scores_that_are_too_sure_are_mended():
    rng = np.random.default_rng(0)
    eta = rng.normal(size=(4000, 1))
    y = (rng.random((4000, 1)) < 1 / (1 + np.exp(-eta))).astype(float)

    def answer(_, content):
        shift, slope = content["mend"]["calibration"]
        loss, residual = site_scores.loss_of(shift + slope * 4 * eta - 1.5 * slope, y)
        X = np.concatenate([np.ones_like(eta), 4 * eta - 1.5], axis=1)
        mu = residual + y
        h = (X * mu * (1 - mu)).T @ X
        return {
            "n": np.array([4000]), "loss": np.array([loss.sum()]), "gradient": X.T @ residual[:, 0],
            "hessian": h[[0, 0, 1], [0, 1, 1]],
        }  # fmt: skip

    found = fit_mend(answer, {})
    assert found.slope == pytest.approx(0.25, abs=0.03)
    assert found.shift == pytest.approx(1.5 * 0.25, abs=0.1)


def test_a_loss_that_nothing_lowers_is_an_error():
    def answer(*_):
        answer.calls += 1
        slope = float(answer.calls)
        return {"n": np.array([1]), "loss": np.array([-slope]), "gradient": np.array([0.0, -1.0]),
                "hessian": np.array([0.0, 0.0, 1e-3])}  # fmt: skip

    answer.calls = 0
    with pytest.raises(StrategyError, match="did not converge"):
        fit_mend(answer, {})


@hypothesis_settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 200), classes=st.integers(2, 4), bins=st.integers(2, 20))
def test_what_is_counted_at_a_diz_is_the_calibration_error(seed, n, classes, bins):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    place = rng.integers(0, classes, n)
    found = ClassScores.of(site_scores.class_sums(place, p, bins, 1))

    predicted = (p[:, 1] >= 0.5).astype(int) if classes == 2 else p.argmax(axis=1)
    score, hit = (p[:, 1], place == 1) if classes == 2 else (p.max(axis=1), predicted == place)
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for low, high in pairwise(edges.tolist()):
        inside = (score >= low) & ((score < high) | (high == 1))
        if inside.any():
            error += inside.mean() * abs(hit[inside].mean() - score[inside].mean())
    assert found.reliability.error == pytest.approx(error, abs=1e-9)
    assert found.accuracy == pytest.approx((predicted == place).mean())
    assert found.n == n
    assert found.loss[0] == pytest.approx(((p - np.eye(classes)[place]) ** 2).sum())


def test_counts_of_two_diz_add_up_to_those_of_both():
    rng = np.random.default_rng(3)
    p, place = rng.dirichlet(np.ones(3), 90), rng.integers(0, 3, 90)
    both, one, two = (ClassScores.of(site_scores.class_sums(place[of], p[of], 10, 1))
                      for of in (slice(None), slice(0, 40), slice(40, None)))  # fmt: skip
    added = one + two
    np.testing.assert_array_equal(added.counts, both.counts)
    np.testing.assert_array_equal(added.confusion, both.confusion)
    assert added.reliability.error == pytest.approx(both.reliability.error)


def test_of_nobody_there_is_no_error():
    nobody = site_scores.class_sums(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), 10, 1)
    someone = site_scores.class_sums(np.zeros(1, dtype=np.int64), np.ones((1, 3)) / 3, 10, 1)
    assert {name: array.dtype for name, array in nobody.items()} == {n: array.dtype for n, array in someone.items()}
    assert np.isnan(ClassScores.of(nobody).reliability.error)
    assert np.isnan(Reliability.of([0, 0], [0, 0], [0.0, 0.0]).mean).all()
