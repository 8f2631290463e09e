"""Penalised logistic and Poisson paths: optimality on the pooled rows, scikit-learn, statsmodels and glmnet."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from federated_statistics.site_glm import ANSWERS
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.glm_design import INTERCEPT, Design
from flame_strategies.glm_elastic_net import fit_glm_path
from flame_strategies.in_memory import fold_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from tests.support.tables import TableSites, split_table

FAMILIES = ("logistic", "poisson")
P = 15
NAMES = tuple(f"x{j}" for j in range(P))
DESIGN = Design("y", NAMES)


def make(family, n=200, seed=0):
    """Correlated columns in mixed units, of which five matter; two rows of each patient."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 3)) @ rng.normal(size=(3, P)) * 0.5 + rng.normal(size=(n, P))
    linear = Z[:, :5] @ np.array([1, -1, 0.5, 0.7, -0.3]) * 0.6
    y = (rng.random(n) < 1 / (1 + np.exp(-linear))) if family == "logistic" else rng.poisson(np.exp(linear))
    return Z * np.exp(rng.normal(size=P)) + rng.normal(size=P), y.astype(float), rng.integers(0, 4, n)


PATIENTS = [f"P{i // 2}" for i in range(200)]


def sites(X, y, homes, **more):
    return TableSites(
        split_table({"y": y, **dict(zip(NAMES, X.T, strict=True))}, homes, patients=PATIENTS), ANSWERS, **more
    )


def standardised(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def mean(family, linear):
    return 1 / (1 + np.exp(-linear)) if family == "logistic" else np.exp(linear)


def violation(family, Z, y, b, penalty, l1_ratio, factors=None):
    """The largest violation of the optimality conditions by a loop over columns, as a share of the penalty."""
    factors = np.ones(Z.shape[1]) if factors is None else factors
    residual = y - mean(family, b[0] + Z @ b[1:])
    worst = abs(residual.mean())
    for j in range(Z.shape[1]):
        g = Z[:, j] @ residual / len(y) - penalty * (1 - l1_ratio) * factors[j] * b[1 + j]
        limit = penalty * l1_ratio * factors[j]
        worst = max(worst, abs(g - np.sign(b[1 + j]) * limit) if b[1 + j] else abs(g) - limit)
    return worst / penalty


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_path_is_optimal_for_the_pooled_rows(family, l1_ratio):
    """Every solution, and the first penalty is the least that empties the model."""
    X, y, homes = make(family)
    path = fit_glm_path(sites(X, y, homes), DESIGN, family, l1_ratio=l1_ratio)
    Z = standardised(X)
    for penalty, b in zip(path.lambdas, path.standardised, strict=True):
        assert violation(family, Z, y, b, penalty, l1_ratio) < 1e-8
    assert path.lambdas[0] == pytest.approx(np.abs(Z.T @ (y - y.mean())).max() / 200 / l1_ratio, rel=1e-10)
    assert path.support[0] == 0 < path.support[1]
    assert path.kkt_gap < 1e-8
    assert_array_equal(path.support, np.count_nonzero(path.standardised[:, 1:], axis=1))


@pytest.mark.parametrize("l1_ratio", [1.0, 0.4, 0.0])
def test_equals_scikit_learn(l1_ratio):
    """Logistic: lasso, elastic net and ridge within 1e-8 of the largest coefficient."""
    X, y, homes = make("logistic")
    lambdas = [0.1, 0.05, 0.02]
    path = fit_glm_path(sites(X, y, homes), DESIGN, "logistic", l1_ratio=l1_ratio, lambdas=lambdas)
    for penalty, b in zip(lambdas, path.standardised, strict=True):
        fit = LogisticRegression(C=1 / (200 * penalty), l1_ratio=l1_ratio, solver="saga", tol=1e-13, max_iter=100_000)
        fit.fit(standardised(X), y)
        expected = np.append(fit.intercept_, fit.coef_)
        assert_allclose(b, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_own_units_predict_the_same(family):
    """Coefficients in the data's units, the intercept first."""
    X, y, homes = make(family)
    path = fit_glm_path(sites(X, y, homes), DESIGN, family, num_lambdas=5)
    assert path.terms == (INTERCEPT, *NAMES)
    own = path.coefficients[:, :1] + path.coefficients[:, 1:] @ X.T
    assert_allclose(own, path.standardised[:, :1] + path.standardised[:, 1:] @ standardised(X).T, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vanishing_penalty_is_the_fit_without_one(family):
    """And the log-likelihood carries all constants."""
    X, y, homes = make(family)
    path = fit_glm_path(sites(X, y, homes), DESIGN, family, lambdas=[1e-3, 1e-11])
    kind = sm.families.Binomial() if family == "logistic" else sm.families.Poisson()
    expected = sm.GLM(y, sm.add_constant(X), family=kind).fit(tol=1e-14)
    assert_allclose(path.coefficients[-1], expected.params, rtol=1e-7)
    assert path.loglik[-1] == pytest.approx(expected.llf, rel=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_exchanges_do_not_grow_with_the_path(family):
    """All penalties and folds move at once: moments, the null model, and about as many as the slowest of them."""
    X, y, homes = make(family)
    for num_lambdas, folds in ((5, 0), (30, 0), (15, 3)):
        exchange = sites(X, y, homes)
        path = fit_glm_path(exchange, DESIGN, family, num_lambdas=num_lambdas, folds=folds)
        assert path.exchanges == len(exchange.asked) <= 12
        assert exchange.asked[:2] == ["query.glm_moments", "query.glm_step"]
        assert set(exchange.asked[2:]) == {"query.glm_path"}


def test_points_per_request_bounds_an_answer():
    """More exchanges, the same path."""
    X, y, homes = make("logistic")
    whole, sizes = sites(X, y, homes), []

    def exchange(message, content):
        sums = whole(message, content)
        if message == "query.glm_path":
            sizes.append(len(sums["gradient"]))
        return sums

    path = fit_glm_path(exchange, DESIGN, "logistic", points_per_request=3)
    assert max(sizes) == 3
    expected = fit_glm_path(sites(X, y, homes), DESIGN, "logistic")
    assert_allclose(path.standardised, expected.standardised, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_cross_validation_equals_explicit_loops(family):
    """Folds by patient; deviances of held-out rows at naive solutions for the other rows, all standardised alike."""
    X, y, homes = make(family)
    path = fit_glm_path(sites(X, y, homes), DESIGN, family, num_lambdas=6, folds=4)
    Z, fold, at = standardised(X), fold_of(PATIENTS, 4), 3
    deviance = np.empty(200)
    for k in range(4):
        train = fold != k
        b = descend(family, Z[train], y[train], path.lambdas[at])
        mu = mean(family, b[0] + Z[~train] @ b[1:])
        v = y[~train]
        if family == "logistic":
            deviance[~train] = -2 * np.log(np.where(v == 1, mu, 1 - mu))
        else:
            deviance[~train] = 2 * (v * np.log(np.where(v > 0, v, 1) / mu) - (v - mu))
    by_fold = np.array([deviance[fold == k].mean() for k in range(4)])
    share = np.array([(fold == k).mean() for k in range(4)])
    assert path.cv_deviance[at] == pytest.approx(deviance.mean(), rel=1e-7)
    assert path.cv_se[at] == pytest.approx(np.sqrt(share @ (by_fold - deviance.mean()) ** 2 / 3), rel=1e-6)
    assert path.best == np.argmin(path.cv_deviance)
    limit = path.cv_deviance[path.best] + path.cv_se[path.best]
    assert path.best_one_se == np.flatnonzero(path.cv_deviance <= limit)[0]


def descend(family, Z, y, penalty, l1_ratio=0.5):
    """A naive twin: coordinate descent on the second-order expansion, again and again."""
    b, A = np.zeros(1 + Z.shape[1]), np.column_stack([np.ones(len(y)), Z])
    for _ in range(40):
        mu = mean(family, A @ b)
        w = mu * (1 - mu) if family == "logistic" else mu
        working = A @ b + (y - mu) / w
        start = b.copy()
        for _ in range(300):
            before = b.copy()
            for j in range(len(b)):
                rest = working - A @ b + A[:, j] * b[j]
                c, h = (w * A[:, j]) @ rest / len(y), (w * A[:, j]) @ A[:, j] / len(y)
                l1, l2 = (penalty * l1_ratio, penalty * (1 - l1_ratio)) if j else (0, 0)
                b[j] = np.sign(c) * max(abs(c) - l1, 0) / (h + l2)
            if np.abs(b - before).max() < 1e-12:
                break
        if np.abs(b - start).max() < 1e-11:
            break
    return b


@pytest.mark.parametrize("family", FAMILIES)
def test_penalty_factors(family):
    """0 leaves a column unpenalised from the first penalty on, infinity leaves it out, others weigh."""
    X, y, homes = make(family)
    factors = np.random.default_rng(1).uniform(0.3, 3, size=P)
    factors[[5, 8]], factors[2] = 0, np.inf
    path = fit_glm_path(sites(X, y, homes), DESIGN, family, penalty_factors=factors, num_lambdas=6)
    keep = np.delete(np.arange(P), 2)
    for penalty, b in zip(path.lambdas, path.standardised, strict=True):
        kept = b[np.append(0, 1 + keep)]
        assert violation(family, standardised(X)[:, keep], y, kept, penalty, 0.5, factors[keep]) < 1e-7
    assert (path.standardised[:, 3] == 0).all()
    assert_array_equal(np.flatnonzero(path.standardised[0]), [0, 6, 9])


def test_a_constant_column_has_no_coefficient():
    """It stays in the arrays."""
    X, y, homes = make("logistic")
    X[:, 4] = 7.3
    path = fit_glm_path(sites(X, y, homes), DESIGN, "logistic", num_lambdas=5)
    assert (path.standardised[:, 5] == 0).all()
    assert path.support[-1] > 0


def test_a_separable_outcome_has_penalised_fits():
    """Where `fit_glm` has none."""
    X, _, homes = make("logistic")
    y = (X[:, 0] > np.median(X[:, 0])).astype(float)
    path = fit_glm_path(sites(X, y, homes), DESIGN, "logistic")
    assert violation("logistic", standardised(X), y, path.standardised[-1], path.lambdas[-1], 0.5) < 1e-7


def test_without_cross_validation_the_best_has_the_least_bic():
    """Counting non-zero coefficients and the intercept."""
    X, y, homes = make("poisson")
    path = fit_glm_path(sites(X, y, homes), DESIGN, "poisson")
    bic = -2 * path.loglik + np.log(200) * (1 + path.support)
    assert path.best == path.best_one_se == np.argmin(bic)
    assert path.cv_deviance is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lost_site_leaves_the_path_of_the_others(family):
    """Optimal for the rest in all points, in columns scaled as at the start; settled points move again."""
    X, y, homes = make(family)
    lambdas = [0.3, 0.1, 0.03]
    exchanges = fit_glm_path(sites(X, y, homes), DESIGN, family, lambdas=lambdas).exchanges
    path = fit_glm_path(sites(X, y, homes, lost={1: exchanges}), DESIGN, family, lambdas=lambdas)
    rest = homes != 1
    assert path.n == rest.sum()
    for penalty, b in zip(lambdas, path.standardised, strict=True):
        assert violation(family, standardised(X)[rest], y[rest], b, penalty, 0.5) < 1e-8


def test_arguments_out_of_range():
    """A `ValueError` for each."""
    X, y, homes = make("logistic")
    for family, terms in [
        ("gaussian", {}),
        ("logistic", {"folds": 1}),
        ("logistic", {"points_per_request": 0}),
        ("logistic", {"l1_ratio": 1.5}),
        ("logistic", {"l1_ratio": 0.0}),
        ("logistic", {"penalty_factors": [1, 2]}),
        ("logistic", {"lambdas": [0.1, 0.2]}),
    ]:
        with pytest.raises(ValueError, match=r"\w"):
            fit_glm_path(sites(X, y, homes), DESIGN, family, **terms)


def test_answers_of_another_shape_and_too_few_exchanges():
    """Both are told apart from a result."""
    X, y, homes = make("logistic")
    whole = sites(X, y, homes)

    def exchange(message, content):
        return (
            {name: array[:1] for name, array in whole(message, content).items()}
            if "path" in message
            else whole(message, content)
        )

    with pytest.raises(UnusableReply):
        fit_glm_path(exchange, DESIGN, "logistic")
    with pytest.raises(StrategyError, match="did not settle in 3"):
        fit_glm_path(whole, DESIGN, "logistic", max_exchanges=3)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_glmnet(family, tmp_path: Path):
    """R's glmnet, another program with the same objective: same support, within 1e-7 of the largest coefficient."""
    program = shutil.which("Rscript") or ""
    if not program or subprocess.run([program, "-e", "library(glmnet)"], capture_output=True, check=False).returncode:
        text = "Rscript with glmnet is not installed: apt-get install r-base-core r-cran-glmnet"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    X, y, homes = make(family)
    path = fit_glm_path(sites(X, y, homes), DESIGN, family)
    files = [str(tmp_path / name) for name in ("x.bin", "y.bin", "lambdas.bin", "out.bin")]
    for file, values in zip(files, (X.ravel(order="F"), y, path.lambdas), strict=False):
        Path(file).write_bytes(values.tobytes())
    kind = "binomial" if family == "logistic" else "poisson"
    script = str(Path(__file__).with_name("glmnet_family.R"))
    subprocess.run([program, script, *files[:2], "200", kind, "0.5", *files[2:]], check=True, capture_output=True)
    theirs = np.fromfile(files[3]).reshape(20, 1 + P)
    for ours, expected in zip(path.coefficients[1:], theirs[1:], strict=True):  # the first is where a column enters
        assert_array_equal(ours[1:] != 0, expected[1:] != 0)
        assert np.abs(ours - expected).max() <= 1e-7 * np.abs(expected).max()
