"""Classification over five sites against the same on pooled rows; what enters a choice, and what does not."""

import json

import numpy as np
import pytest
from flame_strategies.glm_design import Categorical
from gene_expression.classify_model import ClassifySettings
from gene_expression.classify_run import run_classify, scoring, screen
from gene_expression.curves import roc
from gene_expression.errors import InputError
from gene_expression.phenotype_outcome import classify_outcome
from gene_expression.screen_run import screen_times
from gene_expression.validation import Population, patient_folds, site_folds
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ttest_ind
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

from tests.use_cases.gene_expression.phenotype_sites import (
    CLASSES,
    GENES,
    GRID,
    STAGES,
    Sites,
    Study,
    frozen_study,
    make,
    results,
)

SETTINGS = ClassifySettings(
    "group",
    CLASSES,
    ("age",),
    (Categorical("sex", ("F", "M")),),
    select=6,
    penalties=6,
    folds=3,
    outer_folds=3,
    bins=40,
)


def with_settings(**more):
    return ClassifySettings(**{**SETTINGS.__dict__, **more})


def probability(study: Study, model, level=0):
    """(n,) of a model on pooled rows."""
    columns = {f"gene:{gene}": study.genes[:, j] for j, gene in enumerate(GENES)}
    columns |= {"age": study.numbers["age"], "sex[M]": study.codes["sex"] == 1}
    X = np.column_stack([columns[name] for name in model.design.columns])
    return 1 / (1 + np.exp(-model.coefficients[level, 0] - X @ model.coefficients[level, 1:]))


def test_screen_is_the_two_sample_t_test():
    """Of the training samples, and of each fold's without it; pooled variance."""
    study = frozen_study()
    population = patient_folds(3, 5)
    found = screen(study.sites(), SETTINGS, GENES, population)["case"]
    train = study.codes["split"] == 0
    whole = screen(study.sites(), SETTINGS, GENES, Population())["case"]
    case = study.codes["group"] == 1
    expected = ttest_ind(study.genes[train & case], study.genes[train & ~case]).statistic
    assert_allclose(whole.statistic[0], expected, rtol=1e-9)
    assert found.statistic.shape == (3, 12)
    assert (found.n < whole.n).all()
    assert whole.top(0, 3) == tuple(GENES[j] for j in np.argsort(-np.abs(expected))[:3])


def test_screen_of_times_is_the_score_of_cox_s_model():
    """The sum of martingale residual times gene, as R has it; standardised as its permutation."""
    study, expected = frozen_study(), results()
    words = {"time": "time", "event": "died"}
    found, times = screen_times(study.sites(), GENES, words, GRID, Population(split="all"))
    died, n = study.numbers["died"], len(study.home)
    place = np.searchsorted(GRID, study.numbers["time"])
    assert_array_equal(times["events"][0], np.bincount(place[died == 1], minlength=len(GRID)))
    at_risk = np.array([(place >= k).sum() for k in range(len(GRID))])
    hazard = np.cumsum(times["events"][0] / np.maximum(at_risk, 1))
    m = died - hazard[place]
    score = m @ study.genes
    assert_allclose(score, [expected["null residual", gene][0] for gene in GENES], rtol=1e-8, atol=1e-9)
    spread = np.sqrt((m**2).sum() * study.genes.var(axis=0, ddof=1))
    assert_allclose(found.statistic[0], score / spread, rtol=1e-8)
    assert found.n[0] == n


def test_nothing_of_held_out_samples_enters_the_choice_of_genes():
    """With the held-out classes turned round, and their expression replaced, the fold's screen stays bit for bit."""
    study = make(120, 9)
    sites, nodes = study.sites(), study.sites().nodes
    population = site_folds(nodes)
    before = screen(sites, SETTINGS, GENES, population.one(1))["case"]
    held_out = np.isin(study.home, [home for home, group in enumerate(population.groups) if group == 1])
    study.genes[held_out] = 50 * np.random.default_rng(0).normal(size=(held_out.sum(), len(GENES)))
    study.codes["group"][held_out] ^= 1
    after = screen(study.sites(), SETTINGS, GENES, population.one(1))["case"]
    assert_array_equal(before.correlation, after.correlation)
    trained, changed = (screen(of, SETTINGS, GENES, population.one(0))["case"] for of in (sites, study.sites()))
    assert np.abs(trained.correlation - changed.correlation).max() > 0.01


def test_genes_that_a_sample_lacks_or_that_do_not_vary_are_not_chosen():
    """One that a whole site did not measure, and a constant one."""
    study = make(100, 10)
    study.genes[study.home == 2, 0] = np.nan
    study.genes[:, 2] = 7.25
    found = screen(study.sites(), SETTINGS, GENES, Population())["case"]
    assert_array_equal(found.statistic[0, [0, 2]], 0)
    assert not {"G0", "G2"} & set(found.top(0, 12))
    assert len(found.top(0, 12)) == 10
    study.genes[0] = np.nan
    study.codes["split"][0] = 0
    with pytest.raises(InputError, match="No gene"):
        run_classify(study.sites(), SETTINGS, GENES)


@pytest.mark.parametrize("validation", ["patients", "sites"])
def test_five_sites_are_as_good_as_one(validation):
    """Model and held-out counts equal those of the pooled rows, parted into the same folds."""
    study = make(200, 11)
    sites, settings = study.sites(), with_settings(validation=validation)
    found = run_classify(sites, settings, GENES, sites=sites.nodes, ask=sites.ask)
    if validation == "patients":
        pooled = run_classify(study.pooled(), settings, GENES)
    else:  # a group's rows pooled, as one site that bears the id of its first
        group = np.array(site_folds(sites.nodes).groups)[study.home]
        whole = Sites([study.table(group == g, sites.nodes[g]) for g in (0, 1)])
        pooled = run_classify(whole, settings, GENES, sites=sites.nodes)
    assert_allclose(found.model.coefficients, pooled.model.coefficients, rtol=1e-7, atol=1e-9)
    assert_array_equal(found.validation.counts, pooled.validation.counts)
    assert found.validation.samples == (study.codes["split"] == 0).sum()
    assert found.validation.curves["case"].auc > 0.7
    assert max(path.kkt_gap for path in found.model.paths) < 1e-8


def test_test_samples_are_scored_as_pooled_ones():
    """ROC, area, confusion, Brier's score and log loss of the same model on the pooled test samples; and by site."""
    study = make(200, 12)
    sites = study.sites()
    found = run_classify(sites, with_settings(validation="none"), GENES, ask=sites.ask)
    rows = study.codes["split"] == 1
    p, truth = probability(study, found.model)[rows], study.codes["group"][rows]
    curve = found.test.curves["case"]
    assert curve.auc == pytest.approx(roc_auc_score(truth, np.floor(p * 40)), abs=1e-14)
    assert curve.low <= roc_auc_score(truth, p) <= curve.high
    assert_array_equal(found.test.confusion, confusion_matrix(truth, p >= 0.5))
    assert found.test.brier["case"] == pytest.approx(((p - truth) ** 2).mean(), rel=1e-12)
    assert found.test.loss[0, 1] / rows.sum() == pytest.approx(log_loss(truth, p), rel=1e-12)
    assert found.validation is None
    home = study.home[rows]
    for name, scores in found.test_by_site.items():
        own = home == int(name.removeprefix("DIZ "))
        assert_array_equal(scores.counts[0].sum(axis=1), np.bincount(truth[own], minlength=2))
    assert sum(scores.samples for scores in found.test_by_site.values()) == rows.sum()


def test_fine_bins_give_the_exact_area():
    """With a thousand bins, the interval is at most a few pairs wide here."""
    study = make(150, 13)
    found = run_classify(study.sites(), with_settings(validation="none", bins=1000), GENES)
    rows = study.codes["split"] == 1
    exact = roc_auc_score(study.codes["group"][rows], probability(study, found.model)[rows])
    curve = found.test.curves["case"]
    assert curve.low <= exact <= curve.high
    assert curve.high - curve.low < 0.01


def test_several_classes_are_each_against_the_others():
    """Three models; the most probable class is predicted; areas are those of each class."""
    study = make(240, 14)
    found = run_classify(study.sites(), with_settings(outcome="stage", classes=STAGES, validation="none"), GENES)
    assert found.model.scored == STAGES
    rows = study.codes["split"] == 1
    p = np.column_stack([probability(study, found.model, k) for k in range(3)])[rows]
    truth = study.codes["stage"][rows]
    for k, level in enumerate(STAGES):
        assert found.test.curves[level].auc == pytest.approx(
            roc_auc_score(truth == k, np.floor(p[:, k] * 40)), abs=1e-14
        )
    assert_array_equal(found.test.confusion, confusion_matrix(truth, p.argmax(axis=1)))
    assert {level for level, _, _ in found.model.table()} == set(STAGES)


def test_no_test_samples_no_scores():
    """Rather than curves of nobody."""
    study = make(80, 15)
    study.codes["split"][:] = 0
    found = run_classify(study.sites(), with_settings(validation="none"), GENES)
    assert found.test is None
    assert found.test_by_site == {}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"classes": ("control",)}, "two different classes"),
        ({"validation": "leave one out"}, "by patients, by sites or none"),
        ({"bins": 1}, "2 or more"),
    ],
)
def test_settings_say_what_is_wrong(more, says):
    """Before anything is asked."""
    with pytest.raises(InputError, match=says):
        with_settings(**more)


@pytest.mark.parametrize("validation", ["patients", "sites"])
def test_under_masks_the_result_stays(validation):
    """Every answer keeps to the release contract, and its fixed point moves coefficients by less than 1e-6."""
    study = make(160, 16)
    plain, masked = study.sites(), study.sites()
    masked.masked = True
    settings = with_settings(validation=validation, stability=4)
    one, other = (run_classify(sites, settings, GENES, sites=sites.nodes) for sites in (plain, masked))
    largest = np.abs(one.model.coefficients).max()
    assert np.abs(one.model.coefficients - other.model.coefficients).max() <= 1e-6 * largest
    assert_array_equal(one.validation.counts, other.validation.counts)
    assert_array_equal(one.stability["case"].frequency, other.stability["case"].frequency)


def test_everything_is_asked_of_all_sites_alike():
    """Masks are bound to the message: no site's id but in a list of all."""
    study = make(120, 17)
    sites = study.sites()
    run_classify(sites, with_settings(validation="sites"), GENES, sites=sites.nodes)
    listed = [tuple(content["of"]["of_nodes"]) for content in sites.sent if content["of"]["of_nodes"]]
    assert set(listed) == {tuple(str(node) for node in sites.nodes)}


def test_outcome_is_json_and_has_the_report_s_tables():
    """Curves by class, by site where they can be read, no number that JSON does not have."""
    study = make(120, 18)
    sites = study.sites()
    result = run_classify(sites, with_settings(stability=2), GENES, ask=sites.ask)
    outcome = classify_outcome(result, sites.nodes, len(sites.asked))
    details = json.loads(json.dumps(outcome.details, allow_nan=False))
    assert set(details["roc"]["by_site"]) == set(result.test_by_site)
    assert details["roc"]["overall"]["case"]["auc"] == result.test.curves["case"].auc
    assert details["stability"]["case"]["choices"] == 2
    assert outcome.numbers["test samples"]["AUC of case"] == result.test.curves["case"].auc
    assert all(len(row) == len(table["columns"]) for table in outcome.tables for row in table["rows"])


@pytest.mark.parametrize("validation", ["patients", "sites"])
def test_noise_is_not_told_apart(validation):
    """Of 300 genes without meaning the screen finds ten that fit the classes; the validation is not fooled by them."""
    rng = np.random.default_rng(3)
    study = make(120, 19)
    panel = tuple(f"N{j}" for j in range(300))
    codes = {**study.codes, "group": rng.integers(0, 2, 120), "split": np.zeros(120, dtype=np.int64)}
    noise = Study(rng.normal(8, 1, (120, 300)), study.numbers, codes, study.home, study.patients, panel)
    settings = with_settings(numeric=(), categorical=(), select=10, validation=validation)
    sites = noise.sites()
    found = run_classify(sites, settings, panel, sites=sites.nodes)
    assert found.validation.curves["case"].auc < 0.65
    on_training = sites("query.classify_scores", scoring(settings, found.model, Population()))
    assert roc(on_training["scores"][0]).auc > 0.8
