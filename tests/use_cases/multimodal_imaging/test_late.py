"""Late fusion over five made-up DIZ: each modality's model, out-of-fold scores and the model on them, as pooled."""

import json

import numpy as np
import pytest
from multimodal_imaging import fusion_run, late_fit, late_run, oracles, views
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_model import ClassScores
from multimodal_imaging.site import Request
from multimodal_imaging.validation import TEST, TRAIN

from tests.use_cases.multimodal_imaging.fusion_sites import Memory, settings, sites

TASKS = {"regression": "number", "binary": "two", "multiclass": "three"}


def asked(task, **more):
    return settings(analysis="late", task=task, outcome=TASKS[task], **{"penalties": "0.1, 1", **more})


def pooled_late(found, about):
    """Pooled table, fitted rows, each modality's coefficients, and (n, M, q) scores, out of fold in training rows."""
    table = oracles.pool(found, about)
    fitted = table.train & np.isfinite(table.y)
    q = len(about.classes) if len(about.classes) > 2 else 1
    scores, own = np.full((len(table.y), 3, q), np.nan), []
    for name in range(3):
        of, rows = table.columns(name), fitted & table.there[:, name]
        X = oracles.design(table, rows).Z[:, of]
        b, _, by_fold = oracles.fit(X, table, rows, about)
        own.append(b)
        eta = b[0] + X @ b[1:]
        for k in range(about.folds):
            inside = table.train & (table.fold == k)
            eta[inside] = by_fold[k, 0] + X[inside] @ by_fold[k, 1:]
        eta = eta - eta.mean(axis=1, keepdims=True) if q > 1 else eta
        scores[table.there[:, name], name] = eta[table.there[:, name]]
    return table, fitted, own, scores


@pytest.mark.parametrize("task", TASKS)
def test_the_stack_is_that_of_the_pooled_patients(task):
    about, found = asked(task), sites(2, rows=70)
    model = late_fit.fit_late(Memory(found, about), about, TRAIN, "stack")

    table, fitted, own, scores = pooled_late(found, about)
    for mine, truth in zip(model.own.values(), own, strict=True):
        np.testing.assert_allclose(mine.coefficients[:-1], truth, rtol=0, atol=1e-7)
    stacked = oracles.Pooled(
        **{**table.__dict__, "values": scores.reshape(len(scores), -1), "widths": (scores.shape[2],) * 3}
    )
    design = oracles.design(stacked, fitted)
    truth, penalty, by_fold = oracles.fit(design.Z, stacked, fitted, about)
    assert model.fused.penalty == penalty
    np.testing.assert_allclose(model.fused.coefficients, truth, rtol=0, atol=2e-7)
    np.testing.assert_allclose(model.fused.fold_coefficients, by_fold, rtol=0, atol=2e-7)


@pytest.mark.parametrize("task", TASKS)
def test_the_mean_is_over_the_modalities_that_a_patient_has(task):
    about, found = asked(task, calibrate="none", penalties="0.1"), sites(2, rows=70)
    exchange = Memory(found, about)
    model = late_fit.fit_late(exchange, about, TRAIN, "log-mean")
    scores = late_fit.measure(exchange, about, model, TEST)

    table, _, _, each = pooled_late(found, about)
    rows = ~table.train & np.isfinite(table.y) & table.there.any(axis=1)
    eta, y = np.nanmean(each[rows], axis=1), table.y[rows]
    if not isinstance(scores, ClassScores):
        assert scores.mae == pytest.approx(np.abs(eta[:, 0] - y).mean(), abs=1e-9)
        assert scores.n == rows.sum()
        return
    full = np.concatenate([np.zeros_like(eta), eta], axis=1) if eta.shape[1] == 1 else eta
    log_p = full - np.logaddexp.reduce(full, axis=1)[:, None]
    assert scores.log_loss == pytest.approx(-log_p[np.arange(len(y)), y.astype(int)].mean(), abs=1e-7)
    assert scores.accuracy == pytest.approx((full.argmax(axis=1) == y).mean())


def test_a_mean_of_log_probabilities_is_a_mean_of_linear_predictors():
    """Normalised geometric means: softmax of the mean of log softmax."""
    rng = np.random.default_rng(0)
    eta = rng.normal(size=(3, 5, 4))
    log_p = eta - np.logaddexp.reduce(eta, axis=2)[..., None]
    geometric = np.exp(log_p.mean(axis=0))
    geometric /= geometric.sum(axis=1, keepdims=True)
    direct = np.exp(eta.mean(axis=0))
    np.testing.assert_allclose(geometric, direct / direct.sum(axis=1, keepdims=True), atol=1e-14)


def test_a_training_patient_is_scored_by_the_model_without_its_fold_and_a_test_patient_by_the_last():
    about, site = asked("regression"), sites(3)[0]
    b = np.zeros((about.folds + 1, 16, 1))
    b[:, [0, 4, 9], 0] = np.arange(about.folds + 1)[:, None]  # each model says its number
    arrays = {"late_coefficients": b, "late_centre": np.zeros(13), "late_scale": np.ones(13)}
    view = views.view(site, Request(about, {"view": "stack"}, arrays))
    wanted = np.where(site.train, site.fold(about.folds, about.seed), about.folds)
    for part in view.parts:
        np.testing.assert_array_equal(part.values[part.there, 0], wanted[part.there])
        assert np.isnan(part.values[~part.there]).all()


def test_models_of_other_shapes_and_survival_are_refused():
    about, site = asked("regression"), sites(3)[0]
    arrays = {"late_coefficients": np.zeros((3, 16, 1)), "late_centre": np.zeros(13), "late_scale": np.ones(13)}
    with pytest.raises(InputError, match="late_coefficients"):
        views.view(site, Request(about, {"view": "stack"}, arrays))
    survival = settings(analysis="late", task="survival", outcome="time", event="died", times="2:14:2")
    with pytest.raises(InputError, match="survival"):
        late_fit.fit_late(Memory([site], survival), survival, TRAIN, "stack")


@pytest.mark.parametrize(("rule", "task"), [("stack", "regression"), ("log-mean", "binary")])
def test_a_run_measures_both_rules_and_every_modality(tmp_path, rule, task):
    about, found = asked(task, late=rule, validation="patients", penalties="0.1"), sites(2, rows=70)
    result = late_run.run_late(Memory(found, about), about)
    assert list(result.test) == [rule, *({"stack", "log-mean"} - {rule})]
    assert set(result.ablation) == set(result.alone) == {"genome", "phenome", "T1"}
    assert len(result.by_set) == about.folds
    table = oracles.pool(found, about)
    known = table.train & np.isfinite(table.y) & (table.there.any(axis=1) | (rule == "stack"))
    assert result.validation.n == known.sum()
    assert result.alone["genome"].n == (~table.train & table.there[:, 0] & np.isfinite(table.y)).sum()
    fusion_run.save(tmp_path, result.model.fused, about)


def test_a_whole_run_over_the_client_app(run):
    folder, _ = run("late", task="regression", outcome="age")
    report = json.loads((folder / "report.json").read_text())
    assert any(entry["label"] == "Test MAE of age" for entry in report["headline"])
