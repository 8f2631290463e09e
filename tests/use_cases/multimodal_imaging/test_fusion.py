"""Exact fusion over five made-up DIZ, some without modalities: the model of the pooled patients."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from flame_strategies.output import load_model
from multimodal_imaging import fusion_fit, fusion_run, oracles, site_block, site_scores, site_survival, views
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_model import ClassScores, RankScores, ValueScores
from multimodal_imaging.results import text
from multimodal_imaging.site import Request
from multimodal_imaging.validation import TEST, TRAIN, Population, outer_sets

from tests.use_cases.multimodal_imaging.fusion_sites import Memory, settings, sites

TASKS = {"regression": "number", "binary": "two", "multiclass": "three"}


@cache
def study(seed=1, gain=0.0):
    return tuple(sites(seed, gain=gain))


def asked(task, **more):
    return settings(task=task, outcome=TASKS[task], **more)


def pooled(found, about, view="all"):
    """scikit-learn's coefficients, penalty and those by fold, and the pooled patients and design."""
    table = oracles.pool(found, about)
    fitted = table.train & np.isfinite(table.y)
    if view == "complete":
        fitted &= table.there.all(axis=1)
    if about.harmonise == "combat":
        table = oracles.harmonise(table, table.train)
    design = oracles.design(table, fitted)
    if about.missing == "impute":
        design = oracles.impute(table, design, fitted, about)
    return *oracles.fit(design.Z, table, fitted, about), table, design


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("missing", ["indicator", "impute"])
def test_coefficients_are_those_of_the_pooled_patients(task, missing):
    about, found = asked(task, missing=missing), study()
    model = fusion_fit.fit(Memory(found, about), about, TRAIN)

    truth, penalty, by_fold, table, design = pooled(found, about)
    assert 0 < table.marks.mean() < 1
    assert model.penalty == penalty
    np.testing.assert_allclose(model.coefficients, truth, rtol=0, atol=1e-7)
    np.testing.assert_allclose(model.fold_coefficients, by_fold, rtol=0, atol=1e-7)
    np.testing.assert_allclose(model.scaling.centre, design.centre, rtol=1e-12)
    np.testing.assert_allclose(model.scaling.scale, design.scale, rtol=1e-10)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_complete_cases_are_the_pooled_ones(task):
    about, found = asked(task), study()
    model = fusion_fit.fit(Memory(found, about), about, TRAIN, view="complete")
    truth, *_, table, _ = pooled(found, about, "complete")
    np.testing.assert_allclose(model.coefficients, truth, rtol=0, atol=1e-7)
    complete = table.train & table.there.all(axis=1) & np.isfinite(table.y)
    assert model.scaling.n == complete.sum() < 0.7 * table.train.sum()


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_the_pooled_test_patients(task):
    about, found = asked(task), study()
    exchange = Memory(found, about)
    model = fusion_fit.fit(exchange, about, TRAIN)
    scores = fusion_fit.measure(exchange, about, model, TEST)

    truth, *_, table, design = pooled(found, about)
    rows = ~table.train & np.isfinite(table.y)
    eta, y = truth[0] + design.Z[rows] @ truth[1:], table.y[rows]
    if task == "regression":
        assert isinstance(scores, ValueScores)
        assert scores.mae == pytest.approx(np.abs(eta[:, 0] - y).mean(), abs=1e-9)
        assert scores.r == pytest.approx(np.corrcoef(eta[:, 0], y)[0, 1], abs=1e-9)
        assert scores.r2 == pytest.approx(1 - ((eta[:, 0] - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-9)
        return
    assert isinstance(scores, ClassScores)
    mended = model.mend.slope * eta + (model.mend.shift if task == "binary" else 0)
    p = np.concatenate([np.zeros_like(mended), mended], axis=1) if task == "binary" else mended
    p = np.exp(p - p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    predicted = p.argmax(axis=1)
    recall = [(predicted[y == c] == c).mean() for c in range(p.shape[1])]
    assert scores.balanced_accuracy == pytest.approx(np.mean(recall))
    assert scores.log_loss == pytest.approx(-np.log(p[np.arange(len(p)), y.astype(int)]).mean(), abs=1e-8)
    assert scores.brier == pytest.approx(((p - np.eye(p.shape[1])[y.astype(int)]) ** 2).sum(axis=1).mean(), abs=1e-8)
    from sklearn.metrics import roc_auc_score

    for c, area in enumerate(scores.auc):  # of 50 bins
        assert area == pytest.approx(roc_auc_score(y == c, p[:, c]), abs=0.02)


def test_a_modality_that_is_taken_away_counts_as_absent():
    about, found = asked("regression"), study()
    exchange = Memory(found, about)
    model = fusion_fit.fit(exchange, about, TRAIN)
    scores = fusion_fit.measure(exchange, about, model, TEST, drop=["T1"])

    truth, *_, table, design = pooled(found, about)
    Z = design.Z.copy()
    Z[:, table.columns(2)], Z[:, -1] = 0, 1
    rows = ~table.train & np.isfinite(table.y)
    error = truth[0, 0] + Z[rows] @ truth[1:, 0] - table.y[rows]
    assert scores.mae == pytest.approx(np.abs(error).mean(), abs=1e-9)


def test_a_rare_absence_is_not_marked_and_a_rare_presence_is_none():
    about = asked("regression")
    lone = [*sites(3, absent=0.0, lacks={4: ("T1",)})]
    first, fourth = lone[0].blocks["T1"], lone[3].blocks["T1"]
    first.there[:4], fourth.there[:4] = False, True
    first.values[:4], fourth.values[:4] = np.nan, 1e6

    request = Request(about, {"scheme": "all"}, {})
    of_first, of_fourth = views.view(lone[0], request), views.view(lone[3], request)
    assert not of_first.parts[2].marked.any()
    known = np.isfinite(lone[3].numbers["number"])
    assert not of_fourth.parts[2].there[known].any()
    assert of_fourth.parts[2].marked[known].all()
    moments = site_block.mm_moments(lone[3], request)
    assert moments["there"][2] == 0
    assert not moments["sum_x"][-6:].any()
    model = fusion_fit.fit(Memory(lone, about), about, TRAIN)
    np.testing.assert_allclose(model.coefficients, pooled(lone, about)[0], rtol=0, atol=1e-9)


def test_cox_fusion_has_the_score_of_its_penalty():
    """statsmodels' gradient of the pooled patients' partial likelihood at our coefficients is n penalty b."""
    from statsmodels.duration.hazard_regression import PHReg

    about = settings(task="survival", outcome="time", event="died", times="2:14:2")
    found = study()
    exchange = Memory(found, about)
    model = fusion_fit.fit(exchange, about, TRAIN)
    table = oracles.pool(found, about)
    died = np.concatenate([site.numbers["died"] for site in found])
    grid = np.arange(2, 15, 2)
    merged = [site_survival.merged_bins(site, Request(about)) for site in found]
    raw = np.searchsorted(grid, table.y)
    bins = np.concatenate([of[raw[table.node == node]] for node, of in enumerate(merged, start=1)])
    assert (bins != raw).any()
    happened = (died == 1) & (raw < len(grid))
    design = oracles.design(table, table.train)
    of = PHReg(
        bins[table.train], design.Z[table.train], status=happened[table.train].astype(int), ties="breslow"
    )  # fmt: skip
    b = model.coefficients[1:, 0]
    np.testing.assert_allclose(of.score(b), table.train.sum() * model.penalty * b, rtol=0, atol=1e-6)

    scores = fusion_fit.measure(exchange, about, model, TEST)
    assert isinstance(scores, RankScores)
    eta, rows = design.Z @ b, ~table.train
    bins = raw
    won = pairs = 0.0
    for i in np.flatnonzero(rows & happened):
        later = rows & (table.node == table.node[i]) & ((bins > bins[i]) | ((bins == bins[i]) & ~happened))
        pairs += later.sum()
        won += (eta[i] > eta[later]).sum() + 0.5 * (eta[i] == eta[later]).sum()
    assert scores.n == rows.sum()
    assert scores.pairs[2] == pairs
    assert scores.concordance == pytest.approx(won / pairs)


@pytest.mark.parametrize("scheme", ["patients", "sites", "leave-one-out"])
def test_what_is_held_out_is_scored_by_a_model_without_it(scheme):
    about, found = asked("regression", validation=scheme), study()
    exchange = Memory(found, about)
    result = fusion_run.run_fusion(exchange, about, [site.node for site in found])

    table = oracles.pool(found, about)
    group = {"patients": table.fold, "sites": (table.node - 1) % 2, "leave-one-out": table.node - 1}[scheme]
    assert len(result.by_set) == {"patients": 3, "sites": 2, "leave-one-out": 5}[scheme]
    for k, scores in enumerate(result.by_set):
        fitted = table.train & np.isfinite(table.y) & (group != k)
        held_out = table.train & np.isfinite(table.y) & (group == k)
        design = oracles.design(table, fitted)
        b, *_ = oracles.fit(design.Z, table, fitted, about, folds=False)
        error = b[0, 0] + design.Z[held_out] @ b[1:, 0] - table.y[held_out]
        assert scores.n == held_out.sum()
        assert scores.mae == pytest.approx(np.abs(error).mean(), abs=1e-9)
    assert result.validation.n == (table.train & np.isfinite(table.y)).sum()
    told = " ".join(fusion_run.division_note(about))
    assert ("that DIZ's own sums" in told) == (scheme == "leave-one-out")


@pytest.mark.parametrize(
    ("approved", "config", "why"),
    [
        ("split", {"scheme": "leave-one-out", "nodes": list("12345")}, "not approved"),
        ("split", {"scheme": "patients"}, "not approved"),
        ("sites", {"scheme": "leave-one-out", "nodes": list("12345")}, "not approved"),
        ("sites", {"scheme": "sites", "nodes": list("12345"), "groups": [0, 1, 1, 1, 1]}, "at least 2"),
        ("leave-one-out", {"scheme": "leave-one-out", "nodes": list("123")}, "more than 3"),
        ("leave-one-out", {"scheme": "leave-one-out", "nodes": list("11123")}, "once"),
        ("leave-one-out", {"scheme": "leave-one-out", "nodes": list("23456")}, "this one"),
        ("leave-one-out", {"scheme": "leave-one-out", "nodes": list("12345"), "set": 5}, "none of number 5"),
        ("patients", {"scheme": "patients", "set": 3}, "none of number 3"),
        ("patients", {"scheme": "patients", "held_out": True}, "not to those held out"),
        ("split", {"split": "test"}, "not to those held out"),
        ("split", {"view": "only:pixels"}, "no view"),
        ("split", {"view": "some"}, "no view"),
    ],
)
def test_patients_of_the_hub_s_choice_are_refused(approved, config, why):
    about = asked("regression", validation=approved)
    with pytest.raises(InputError, match=why):
        site_block.mm_moments(study()[0], Request(about, config, {}))


def test_scores_are_of_no_patient_that_a_model_was_fitted_to():
    about, found = asked("regression", validation="patients"), study()
    model = fusion_fit.fit(Memory(found, about), about, TRAIN)
    for population in (TRAIN, Population("patients"), Population("patients", split="test", held_out=True)):
        with pytest.raises(InputError, match="measured on test patients"):
            fusion_fit.measure(Memory(found, about), about, model, population)


def test_numbers_of_other_shapes_are_refused():
    about, found = asked("binary"), study()
    exchange = Memory(found, about)
    columns = {"scaling": {"centre": np.zeros(13), "scale": np.ones(13)}}
    points = {"coefficients": np.zeros((1, 17, 1)), "fold": np.array([-1])}
    exchange("query.mm_gradient", {**columns, "points": points})
    for bad in (
        {"coefficients": np.zeros((1, 16, 1))},
        {"coefficients": np.zeros((65, 17, 1)), "fold": np.full(65, -1)},
        {"fold": np.array([3])},
        {"fold": np.array([-2])},
        {"fold": np.array([0.5])},
    ):
        with pytest.raises(InputError):
            exchange("query.mm_gradient", {**columns, "points": {**points, **bad}})
    with pytest.raises(InputError, match="not 'impute'"):
        exchange("query.mm_block", {**columns, "impute": {"impute_columns": np.zeros((17, 13))}})
    with pytest.raises(InputError, match="not 'combat'"):
        exchange("query.mm_block", {**columns, "combat": {"combat_mean": np.zeros(6)}})


def test_a_class_of_few_patients_ends_the_run():
    about = asked("multiclass")
    few = [replace(site, codes={**site.codes, "three": np.minimum(site.codes["three"], 1)}) for site in study()]
    few[0].codes["three"][:2] = 2
    with pytest.raises(InputError, match="three = c"):
        fusion_fit.fit(Memory(few, about), about, TRAIN)


def test_fewer_than_four_diz_are_not_divided():
    with pytest.raises(InputError, match="do not make 2 groups"):
        outer_sets("sites", [1, 2, 3], folds=5, site_groups=2)
    with pytest.raises(InputError, match="more than 3"):
        outer_sets("leave-one-out", [1, 2, 3], folds=5, site_groups=2)
    assert outer_sets("split", [1, 2, 3], folds=5, site_groups=2) is None


def test_a_run_compares_the_fused_model_with_its_parts_and_leaves_it(tmp_path):
    about, found = asked("multiclass"), study()
    result = fusion_run.run_fusion(Memory(found, about), about, [1, 2, 3, 4, 5])
    fusion_run.save(tmp_path, result.model, about)
    outcome = fusion_run.outcome(tmp_path, result, [1, 2, 3, 4, 5])

    arrays, told = load_model(tmp_path)
    np.testing.assert_array_equal(arrays["coefficients"], result.model.coefficients)
    assert told["columns"] == {"genome": 3, "phenome": 4, "T1": 6}
    assert outcome.headline[0]["label"] == f"Test balanced accuracy of {about.outcome}"
    assert "the most frequent class for all 0.3333" in outcome.headline[0]["note"]
    assert list(outcome.numbers) == [
        "fused", "without genome", "without phenome", "without T1",
        "genome alone", "phenome alone", "T1 alone", "complete cases",
    ]  # fmt: skip
    assert outcome.numbers["complete cases"]["patients"] == outcome.numbers["fused"]["patients"]
    assert all((tmp_path / figure["file"]).exists() for figure in outcome.figures)
    assert json.loads(json.dumps(outcome.details))["calibration"]["patients"] == result.model.scaling.n
    assert "what is absent is the mean, and marked" in " ".join(outcome.notes)
    assert outcome.exchanges == result.exchanges


def test_a_whole_run_over_the_client_app_agrees_with_memory(run):
    """Through messages, stores on disk and the server app."""
    folder, grid = run("fusion", task="regression", outcome="age")
    report = json.loads((folder / "report.json").read_text())
    (line,) = (entry for entry in report["headline"] if entry["label"] == "Test MAE of age")
    numbers = json.loads((folder / "analysis.json").read_text())["numbers"]["fused"]
    assert line["value"] == text(numbers["MAE"])
    mean = float(line["note"].split("these patients' mean ")[1])
    assert 1 - (numbers["RMSE"] / mean) ** 2 == pytest.approx(numbers["R2"], abs=1e-3)
    about = load_model(folder)[1]
    assert {name: len(names) for name, names in about["features"].items()} == about["columns"]
    assert about["features"]["phenome"][0] == "sbp"
    assert {reply.metadata.message_type for reply in grid.replies} >= {"query.mm_block", "query.mm_values"}
    assert load_model(folder)[1]["view"] == "all"


def test_a_number_is_told_with_its_unit_and_what_predicting_the_mean_would_give(tmp_path):
    y, predicted = np.array([60.0, 70.0, 80.0, 90.0]), np.array([61.0, 69.0, 82.0, 92.0])
    sums = site_scores.value_sums(y, predicted)
    about = settings(set="brain", outcome="age")
    models, about_run = {"fused": ValueScores.of(sums)}, {"title": "", "notes": (), "sites": (), "exchanges": 1}
    told = fusion_run.tell(tmp_path, about, models, None, (), details={}, **about_run)
    (line,) = told.headline
    assert (line["label"], line["value"]) == ("Test MAE of age", "1.5 years")
    rmse, mean = text(float(np.sqrt(((predicted - y) ** 2).mean()))), text(float(y.std()))
    assert line["note"] == f"4 test patients; RMSE {rmse} years, predicting these patients' mean {mean} years"
    assert told.tables[0]["caption"].startswith("MAE of age, years")
