"""Logistic models of genes and clinical columns: glmnet, scikit-learn and R's glm on the pooled rows."""

import hashlib

import numpy as np
import pytest
from flame_strategies.glm import fit_glm
from flame_strategies.glm_design import Categorical, Design
from flame_strategies.glm_elastic_net import fit_glm_path
from gene_expression.classify_run import within
from gene_expression.errors import InputError
from gene_expression.site_glm import glm_moments
from gene_expression.site_rows import expression, view
from gene_expression.survival_model import SurvivalSettings
from gene_expression.survival_run import discrete
from gene_expression.table import COUNTS, Request
from gene_expression.validation import Population
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from tests.use_cases.gene_expression.phenotype_sites import (
    CLASSES,
    GENES,
    GRID,
    STAGES,
    Study,
    frozen_study,
    make,
    results,
    run_r,
)

LAMBDAS = (0.2, 0.1, 0.05, 0.02, 0.01)
WORDS = {"class_of": "group", "classes": list(CLASSES)}
COLUMNS = (*(f"gene:{gene}" for gene in GENES), "age")
DESIGN = Design("class:case", COLUMNS)
FREE = [1.0] * len(GENES) + [0.0]


def about(sites, population=Population()):  # noqa: B008 -- frozen
    return within(sites, {"phenotype": WORDS, "of": population.content()})


def path_of(study: Study, l1_ratio: float):
    return fit_glm_path(
        about(study.sites()), DESIGN, "logistic", l1_ratio=l1_ratio, lambdas=LAMBDAS, penalty_factors=FREE
    )


def equals_glmnet(l1_ratio, found):
    path = path_of(frozen_study(), l1_ratio)
    theirs = np.array([found["glmnet", f"{l1_ratio:g} {k}"] for k in range(len(LAMBDAS))])
    assert_array_equal(path.coefficients[:, 1:] != 0, theirs[:, 1:] != 0)
    assert np.abs(path.coefficients - theirs).max() <= 1e-7 * np.abs(theirs).max()
    assert path.n == (frozen_study().codes["split"] == 0).sum()


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_path_is_glmnet_s(l1_ratio):
    """Over five sites, clinical column unpenalised: the same support, coefficients within 1e-7 of the largest."""
    equals_glmnet(l1_ratio, results())


@pytest.mark.peer
@pytest.mark.slow
def test_path_is_live_glmnet_s(tmp_path):
    """The same with R beside."""
    live = run_r(tmp_path)
    for l1_ratio in (0.5, 1.0):
        equals_glmnet(l1_ratio, live)


def test_path_is_scikit_learn_s_saga():
    """A second solver, on standardised training rows, all columns penalised."""
    study = frozen_study()
    rows = study.codes["split"] == 0
    X, y = study.genes[rows], study.codes["group"][rows]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    path = fit_glm_path(about(study.sites()), Design("class:case", COLUMNS[:-1]), "logistic", lambdas=[0.05])
    saga = LogisticRegression(
        C=1 / (0.05 * len(y)), l1_ratio=0.5, solver="saga", tol=1e-12, max_iter=100_000, penalty="elasticnet"
    ).fit(Z, y)
    assert_array_equal(path.standardised[0, 1:] != 0, saga.coef_[0] != 0)
    assert_allclose(path.standardised[0], np.r_[saga.intercept_, saga.coef_[0]], rtol=1e-6, atol=1e-9)


def test_training_without_a_fold_is_the_fit_of_the_others():
    """Sums over the patients not held out, of any scheme, give what those patients alone give."""
    study = frozen_study()
    outer = Population("patients", folds=3, seed=4)
    digests = [hashlib.sha256(f"4/fold/{patient}".encode()).digest() for patient in study.patients]
    fold = np.array([int.from_bytes(digest, "big") % 3 for digest in digests])
    kept = fold != 1
    alone = Study(
        study.genes[kept],
        {name: column[kept] for name, column in study.numbers.items()},
        {name: column[kept] for name, column in study.codes.items()},
        study.home[kept],
        tuple(np.array(study.patients)[kept]),
    )
    design = Design("class:case", ("gene:G0", "gene:G2", "age"), (Categorical("stage", STAGES),))
    one, other = (
        fit_glm(about(sites, population), design, "logistic")
        for sites, population in ((study.sites(), outer.one(1)), (alone.sites(), Population()))
    )
    assert_allclose(one.coefficients.estimate, other.coefficients.estimate, rtol=1e-9)
    assert one.n == other.n < (study.codes["split"] == 0).sum()


def test_discrete_time_is_a_logistic_regression_of_periods():
    """Equal to R's glm on the person-periods, a level for each period with events."""
    study, expected = frozen_study(), results()
    settings = SurvivalSettings("time", "died", tuple(GRID))
    times, died = study.numbers["time"], study.numbers["died"]
    kept = np.flatnonzero(np.isin(GRID, times[died == 1]))
    levels = tuple(str(k + 1) for k in range(len(kept)))
    design = Design("period:event", ("gene:G0", "gene:G1", "age"), (Categorical("period", levels),))
    exchange = discrete(study.sites(), settings, Population(split="all"), kept)
    fit = fit_glm(exchange, design, "logistic")
    assert_allclose(fit.coefficients.estimate, expected["discrete", "estimate"], rtol=1e-9, atol=1e-10)
    assert fit.deviance == pytest.approx(expected["discrete", "deviance"][0], rel=1e-12)


def test_rows_with_something_missing_are_left_out_and_counted():
    """A gene, a clinical column, or the class; so are samples of other classes."""
    study = make(60, 1)
    study.genes[3, 0], study.numbers["age"][5], study.codes["group"][7] = np.nan, np.nan, -1
    exchange = about(study.sites(), Population(split="all"))
    content = {"design": {**DESIGN.content(), "family": "logistic"}}
    sums = exchange("query.glm_moments", content)
    assert (sums["n"], sums["excluded"]) == (57, 3)
    stages = {"class_of": "stage", "classes": ["I", "II"]}
    sites = within(study.sites(), {"phenotype": stages, "of": Population(split="all").content()})
    named = {"design": {**Design("class:II", ("gene:G1",)).content(), "family": "logistic"}}
    sums = sites("query.glm_moments", named)
    assert sums["n"] == (study.codes["stage"] < 2).sum()
    assert sums["outcome"][0] == (study.codes["stage"] == 1).sum()


def test_counts_become_logarithms_of_counts_per_million():
    """By the sample's own sum, over all genes of the panel."""
    counts = np.array([[0.0, 10, 90], [5, 5, 0]])
    study = Study(
        counts,
        {},
        {"split": np.zeros(2, dtype=np.int64)},
        np.zeros(2, dtype=np.int64),
        ("a", "b"),
        ("x", "y", "z"),
        COUNTS,
    )
    table = study.table(np.ones(2, dtype=bool), 1)
    assert_allclose(expression(table, ["z", "x"])[0], np.log2(np.array([90.5, 0.5]) / 101 * 1e6))
    assert_allclose(expression(table, ["y"])[1], np.log2(5.5 / 11 * 1e6))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"numeric": ["gene:nobody"]}, "panel"),
        ({"outcome": "class:Z"}, "none of the classes"),
        ({"classes": ["case", "other"]}, "no declared level"),
        ({"numeric": ["weight"]}, "no numeric column"),
        ({"family": "poisson"}, "logistic"),
    ],
)
def test_what_is_not_there_is_said_without_values(config, says):
    """Names of the request only."""
    table = make(20).table(np.ones(20, dtype=bool), 1)
    content = {**DESIGN.content(), "family": "logistic", **WORDS, **Population().content(), **config}
    with pytest.raises(InputError, match=says):
        glm_moments(table, Request(content))


def test_a_view_has_no_expression_beside_the_named_genes():
    """What a model does not name is not at hand."""
    table = make(20).table(np.ones(20, dtype=bool), 1)
    rows = view(table, Request({**DESIGN.content(), **WORDS, **Population(split="all").content()}))
    assert rows.genes.shape == (20, 0)
    assert set(rows.numbers) == {*COLUMNS, "class:case"}
