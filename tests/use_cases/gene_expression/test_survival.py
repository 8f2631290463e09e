"""Survival over five sites against the same on pooled rows, lifelines and R."""

import json

import numpy as np
import pandas as pd
import pytest
from gene_expression.curves import kaplan_meier
from gene_expression.errors import InputError
from gene_expression.phenotype_outcome import survival_outcome
from gene_expression.survival_model import SurvivalSettings
from gene_expression.survival_run import run_survival, score_risk
from gene_expression.validation import Population
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.utils import concordance_index
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gene_expression.phenotype_sites import GENES, GRID, Study, make

SETTINGS = SurvivalSettings(
    "time",
    "died",
    tuple(GRID),
    numeric=("age",),
    cox_select=3,
    select=5,
    penalties=5,
    folds=3,
    outer_folds=3,
    bins=400,
    stability=4,
)


def with_settings(**more):
    return SurvivalSettings(**{**SETTINGS.__dict__, **more})


def score(study, model):
    """(n,) of pooled rows, 0 at the training mean."""
    columns = {f"gene:{gene}": study.genes[:, j] for j, gene in enumerate(GENES)} | {"age": study.numbers["age"]}
    X = np.column_stack([columns[name] for name in model.design.columns])
    return (X - model.centre) @ model.coefficients


def test_cox_model_is_lifelines_on_the_genes_that_the_screen_chose():
    """Log hazard ratios within 1e-8; the score is 0 at the training samples' mean."""
    study = make(220, 21)
    found = run_survival(study.sites(), with_settings(validation="none", stability=0), GENES)
    train = study.codes["split"] == 0
    frame = pd.DataFrame({f"gene:{gene}": study.genes[:, j] for j, gene in enumerate(GENES)} | study.numbers)
    frame = frame.loc[train, [*found.model.design.columns, "time", "died"]]
    expected = CoxPHFitter().fit(frame, "time", "died", fit_options={"precision": 1e-14})
    assert_allclose(found.model.coefficients, expected.params_, rtol=1e-8)
    assert_allclose(score(study, found.model)[train].mean(), 0, atol=1e-10)
    assert len(found.model.design.columns) == 4
    assert found.stability is None


@pytest.mark.parametrize("model", ["cox", "discrete"])
def test_five_sites_are_as_good_as_one(model):
    """Model, counts, concordance, curves and stability equal those of the pooled rows."""
    study = make(240, 22)
    sites, settings = study.sites(), with_settings(model=model)
    found, pooled = run_survival(sites, settings, GENES, ask=sites.ask), run_survival(study.pooled(), settings, GENES)
    assert_allclose(found.model.coefficients, pooled.model.coefficients, rtol=1e-7, atol=1e-9)
    assert_array_equal(found.validation.counts, pooled.validation.counts)
    assert_array_equal(found.validation.groups, pooled.validation.groups)
    assert_array_equal(found.overall, pooled.overall)
    assert_array_equal(found.stability.frequency, pooled.stability.frequency)
    assert found.validation.counts.sum() == (study.codes["split"] == 0).sum()
    assert found.validation.concordance.index > 0.6


def test_test_samples_are_scored_as_pooled_ones():
    """Concordance as lifelines has it within the interval, curves by risk group, log-rank of the counts."""
    study = make(260, 23)
    found = run_survival(study.sites(), with_settings(validation="none"), GENES)
    rows = study.codes["split"] == 1
    eta, time, died = score(study, found.model)[rows], study.numbers["time"][rows], study.numbers["died"][rows]
    exact, ours = concordance_index(time, -eta, died), found.test.concordance
    assert ours.low <= exact <= ours.high
    assert ours.high - ours.low < 0.02
    curves = found.test.curves(GRID)
    for name, group in (("low risk", eta < 0), ("high risk", eta >= 0)):
        fitter = KaplanMeierFitter().fit(time[group], died[group])
        assert_allclose(curves[name].survival, fitter.survival_function_at_times(GRID), atol=1e-12)
    assert curves["low risk"].survival[10] > curves["high risk"].survival[10]
    assert found.test.test.degrees == 1


def test_curve_of_all_samples_and_of_each_site():
    """Training and test samples; sites add up."""
    study = make(120, 24)
    sites = study.sites()
    found = run_survival(sites, with_settings(validation="none", stability=0), GENES, ask=sites.ask)
    fitter = KaplanMeierFitter().fit(study.numbers["time"], study.numbers["died"])
    ours = kaplan_meier(GRID, found.overall)
    assert_allclose(ours.survival, fitter.survival_function_at_times(GRID), atol=1e-12)
    assert_array_equal(sum(found.overall_by_site.values()), found.overall)
    assert len(found.overall_by_site) == 5


def test_validation_by_groups_of_sites():
    """Each site's training samples are scored once, by a model that saw none of its group."""
    study = make(200, 25)
    sites = study.sites()
    found = run_survival(sites, with_settings(validation="sites", stability=0), GENES, sites=sites.nodes)
    assert len(found.by_fold) == 2
    group = study.home % 2  # dealt out by turns
    for fold, scores in enumerate(found.by_fold):
        assert scores.counts.sum() == ((group == fold) & (study.codes["split"] == 0)).sum()


def test_a_baseline_hazard_for_each_site():
    """Screen and curves take the grid all the same."""
    study = make(220, 26)
    found = run_survival(study.sites(), with_settings(strata_by_site=True, validation="none", stability=0), GENES)
    assert found.model.fit.strata_by_site
    assert found.model.fit.times.size == 0


@pytest.mark.parametrize(
    ("more", "says"), [({"grid": ()}, "grid"), ({"grid": (0.0, 30.0)}, "grid"), ({"model": "aft"}, "cox or discrete")]
)
def test_settings_say_what_is_wrong(more, says):
    """Before anything is asked."""
    with pytest.raises(InputError, match=says):
        with_settings(**more)


@pytest.mark.parametrize("more", [{}, {"ties": "breslow"}, {"strata_by_site": True}, {"model": "discrete"}])
def test_under_masks_the_result_stays(more):
    """Every answer keeps to the release contract, and its fixed point moves coefficients by less than 1e-6."""
    study = make(150, 27)
    plain, masked = study.sites(), study.sites()
    masked.masked = True
    settings = with_settings(validation="sites", **more)
    one, other = (run_survival(sites, settings, GENES, sites=sites.nodes) for sites in (plain, masked))
    largest = np.abs(one.model.coefficients).max()
    assert np.abs(one.model.coefficients - other.model.coefficients).max() <= 1e-6 * largest
    assert_array_equal(one.validation.counts, other.validation.counts)
    assert_array_equal(one.stability.frequency, other.stability.frequency)


@pytest.mark.parametrize("model", ["cox", "discrete"])
def test_outcome_is_json_and_has_the_report_s_curves(model):
    """Of all samples, by site, and by risk; no number that JSON does not have."""
    study = make(150, 28)
    sites = study.sites()
    result = run_survival(sites, with_settings(model=model), GENES, ask=sites.ask)
    outcome = survival_outcome(result, sites.nodes, len(sites.asked))
    details = json.loads(json.dumps(outcome.details, allow_nan=False))
    assert set(details["kaplan_meier"]) == {"overall", "by_site", "cross-validation", "test samples"}
    assert set(details["kaplan_meier"]["cross-validation"]) == {"low risk", "high risk"}
    assert len(details["kaplan_meier"]["by_site"]) == 5
    assert outcome.numbers["test samples"]["C"] == result.test.concordance.index
    assert all(len(row) == len(table["columns"]) for table in outcome.tables for row in table["rows"])


def test_noise_is_not_told_apart():
    """Of 200 genes without meaning the screen finds eight that fit the times; the validation is not fooled by them."""
    study = make(120, 29)
    rng = np.random.default_rng(30)
    order = rng.permutation(120)
    numbers = {"age": study.numbers["age"], **{name: study.numbers[name][order] for name in ("time", "died")}}
    codes = {**study.codes, "split": np.zeros(120, dtype=np.int64)}
    panel = tuple(f"N{j}" for j in range(200))
    noise = Study(rng.normal(8, 1, (120, 200)), numbers, codes, study.home, study.patients, panel)
    settings = with_settings(numeric=(), cox_select=8, stability=0)
    sites = noise.sites()
    found = run_survival(sites, settings, panel)
    assert found.validation.concordance.index < 0.6
    assert score_risk(sites, settings, found.model, Population()).concordance.index > 0.7


@pytest.mark.parametrize("model", ["cox", "discrete"])
def test_each_fold_is_fitted_without_those_that_it_scores(model):
    """Whom the messages are about, in order: all training samples, then each fold's training set and its rest."""
    sites = make(200, 31).sites()
    run_survival(sites, with_settings(model=model, stability=0), GENES)
    about = [
        (content["of"]["of_scheme"], content["of"]["of_first"], content["of"]["of_held_out"])
        for message_type, content in zip(sites.asked, sites.sent, strict=True)
        if message_type.removeprefix("query.") not in {"phenotype_screen", "phenotype_times", "survival_curve"}
    ]
    steps = [step for step, before in zip(about, [None, *about], strict=False) if step != before]
    folds = [("patients", fold, held_out) for fold in range(3) for held_out in (False, True)]
    assert steps == [("all", 0, False), *folds, ("all", 0, False)]  # the last are the test samples
