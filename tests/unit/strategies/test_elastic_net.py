"""The federated elastic net against pooled fits."""

import warnings

import numpy as np
import pytest
from flame_strategies import GridExchange, MessageTypes, SiteLost, UnusableReply, fit_elastic_net
from flame_strategies.in_memory import InMemorySites, SiteRows, fold_of
from flame_strategies.sums import to_records
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet


def make(n, p, *, seed=0, missing=0.0, constant=()):
    """Correlated columns in mixed units, a sparse truth, and patients with up to two rows each."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) @ rng.normal(size=(3, p)) * 0.5 + rng.normal(size=(n, p))
    y = X[:, : min(6, p)] @ rng.normal(size=min(6, p)) + 0.3 * rng.normal(size=n) + 40
    X = X * np.exp(rng.normal(size=p)) + rng.normal(size=p)
    X[:, list(constant)] = 0.7
    X[rng.random(X.shape) < missing] = np.nan
    return X, y, [f"P{i // 2}" if i % 3 else f"P{i}" for i in range(n)]


def split(X, y, ids, sites=3):
    return InMemorySites([SiteRows(X[i::sites], y[i::sites], ids[i::sites]) for i in range(sites)])


def pooled(X, y):
    """Standardised as the objective says: fill with the mean, then centre and scale."""
    filled = np.where(np.isnan(X), np.nanmean(X, axis=0), X)
    scale = filled.std(axis=0)
    constant = scale < 1e-9
    Z = (filled - filled.mean(axis=0)) / np.where(constant, 1, scale)
    Z[:, constant] = 0
    return Z, (y - y.mean()) / y.std()


def tight_sklearn(Z, v, penalty, l1_ratio):
    """Coordinate descent until nothing changes any more."""
    fit = ElasticNet(alpha=penalty, l1_ratio=l1_ratio, tol=1e-15, max_iter=30_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit.fit(np.asfortranarray(Z), v)


def optimality(Z, v, b, penalty, l1_ratio, factors):
    """Largest violation of the pooled optimality conditions, by a loop over the columns, as a share of penalty."""
    residual = (v - v.mean()) - (Z - Z.mean(axis=0)) @ b
    worst = 0.0
    for j in range(Z.shape[1]):
        g = (Z[:, j] - Z[:, j].mean()) @ residual / len(v) - penalty * (1 - l1_ratio) * factors[j] * b[j]
        limit = penalty * l1_ratio * factors[j]
        worst = max(worst, abs(g - np.sign(b[j]) * limit) if b[j] else abs(g) - limit)
    return worst / penalty


CASES = {
    "lasso": {"n": 120, "p": 30, "l1_ratio": 1.0},
    "elastic net": {"n": 120, "p": 30, "l1_ratio": 0.5},
    "missing values": {"n": 120, "p": 30, "l1_ratio": 0.5, "missing": 0.15},
    "constant columns": {"n": 90, "p": 20, "l1_ratio": 0.5, "constant": (0, 11)},
    "fewer rows than columns": {"n": 50, "p": 80, "l1_ratio": 0.5},
    "lasso with fewer rows than columns": {"n": 50, "p": 80, "l1_ratio": 1.0},
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    terms = dict(CASES[request.param])
    l1_ratio = terms.pop("l1_ratio")
    X, y, ids = make(**terms)
    path = fit_elastic_net(split(X, y, ids), l1_ratio=l1_ratio, num_lambdas=12, lambda_min_ratio=0.05, folds=4)
    return X, y, ids, l1_ratio, path


def test_the_whole_path_equals_the_pooled_one(case):
    """Same support, coefficients within 1e-8 relative of tightly converged coordinate descent, at every penalty."""
    X, y, _, l1_ratio, path = case
    Z, v = pooled(X, y)
    for penalty, b in zip(path.lambdas, path.coefficients, strict=True):
        expected = tight_sklearn(Z, v, penalty, l1_ratio).coef_
        scale = np.abs(expected).max(initial=0)
        assert (b != 0).tolist() == (np.abs(expected) > 1e-10).tolist()
        assert np.abs(b - expected).max() <= 1e-8 * scale
        assert optimality(Z, v, b, penalty, l1_ratio, np.ones(len(b))) < 1e-9


def test_the_first_penalty_is_the_least_that_empties_the_model(case):
    """At it all coefficients are 0, and just below it they are not."""
    X, y, _, l1_ratio, path = case
    Z, v = pooled(X, y)
    assert path.lambdas[0] == pytest.approx(np.abs(Z.T @ v).max() / len(v) / l1_ratio, rel=1e-10)
    assert (path.coefficients[0] == 0).all()
    assert (path.coefficients[1] != 0).any()


def test_cross_validation_equals_explicit_loops_over_pooled_folds(case):
    """Mean squared errors and standard errors from sums are those of predicting each held-out patient."""
    X, y, ids, l1_ratio, path = case
    Z, v = pooled(X, y)
    fold = fold_of(ids, 4)
    for index in (0, 4, 11):
        errors = np.empty(len(y))
        for k in range(4):
            fit = tight_sklearn(Z[fold != k], v[fold != k], path.lambdas[index], l1_ratio)
            errors[fold == k] = (y.std() * (v[fold == k] - fit.predict(Z[fold == k]))) ** 2
        by_fold = np.array([errors[fold == k].mean() for k in range(4)])
        share = np.array([(fold == k).mean() for k in range(4)])
        assert path.cv_mse[index] == pytest.approx(errors.mean(), rel=1e-7)
        assert path.cv_se[index] == pytest.approx(np.sqrt(share @ (by_fold - errors.mean()) ** 2 / 3), rel=1e-6)


def test_the_best_penalty_and_the_one_standard_error_rule(case):
    """`best` has the least error; `best_one_se` is the largest penalty within one standard error of it."""
    path = case[-1]
    assert path.cv_mse[path.best] == path.cv_mse.min()
    limit = path.cv_mse[path.best] + path.cv_se[path.best]
    assert path.cv_mse[path.best_one_se] <= limit
    assert (path.cv_mse[: path.best_one_se] > limit).all()


def test_predictions_are_in_the_outcomes_own_unit(case):
    """The model in the data's units predicts what the standardised one does, missing values at the mean."""
    X, y, _, _, path = case
    Z, _ = pooled(X, y)
    expected = y.mean() + y.std() * (Z @ path.coefficients[path.best])
    assert_allclose(path.model().predict(X), expected, rtol=1e-10)


def test_constant_columns_have_no_coefficient():
    """A column without variation stays in the arrays with coefficient 0, and entirely missing ones too."""
    X, y, ids = make(80, 10, constant=(3,))
    X[:, 7] = np.nan
    path = fit_elastic_net(split(X, y, ids), num_lambdas=5)
    assert path.coefficients.shape == (5, 10)
    assert (path.coefficients[:, [3, 7]] == 0).all()
    assert np.isfinite(path.model().predict(X)).all()


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_penalty_factors(l1_ratio):
    """Factors weigh both parts; 0 leaves a column unpenalised from the first penalty on, infinity leaves it out."""
    X, y, ids = make(70, 90, seed=4)
    factors = np.random.default_rng(1).uniform(0.3, 3, size=90)
    factors[[5, 8]], factors[2] = 0.0, np.inf
    path = fit_elastic_net(split(X, y, ids), l1_ratio=l1_ratio, penalty_factors=factors, num_lambdas=8)
    Z, v = pooled(X, y)
    keep = np.delete(np.arange(90), 2)
    for penalty, b in zip(path.lambdas, path.coefficients, strict=True):
        assert b[2] == 0
        assert (b[[5, 8]] != 0).all()
        assert optimality(Z[:, keep], v, b[keep], penalty, l1_ratio, factors[keep]) < 1e-10
    assert np.count_nonzero(path.coefficients[0]) == 2
    residual = v - Z[:, [5, 8]] @ np.linalg.lstsq(Z[:, [5, 8]], v, rcond=None)[0]
    penalised = np.delete(np.arange(90), [2, 5, 8])
    first = np.abs(Z[:, penalised].T @ residual / len(v) / factors[penalised]).max() / l1_ratio
    assert path.lambdas[0] == pytest.approx(first, rel=1e-10)


def test_a_path_takes_fewer_rounds_than_penalties_and_few_columns():
    """On 1,000 columns with 40 penalties; every column of the path's support was asked for, each once."""
    X, y, ids = make(150, 1000, seed=2)
    sites = split(X, y, ids)
    path = fit_elastic_net(sites, num_lambdas=40, lambda_min_ratio=0.1)
    assert path.rounds == len(sites.asked) <= 42
    assert sites.asked[:2] == ["query.moments", "query.target"]
    assert len(path.columns_requested) < 400
    assert len(set(path.columns_requested.tolist())) == len(path.columns_requested)
    assert set(np.flatnonzero(path.coefficients.any(axis=0))) <= set(path.columns_requested.tolist())
    assert path.kkt_gap < 1e-10


def test_the_size_of_requests_changes_rounds_and_not_the_result():
    """At most as many columns in a request as allowed, down to one."""
    X, y, ids = make(60, 80, seed=6)
    paths, asked = {}, {}
    for size in (1, 7, 64):
        sites = split(X, y, ids)
        widths = asked[size] = []

        def exchange(message_type, content, sites=sites, widths=widths):
            widths.append(len(content["reference"].get("columns", ())) if "reference" in content else 0)
            return sites(message_type, content)

        paths[size] = fit_elastic_net(exchange, num_lambdas=10, columns_per_request=size)
        assert max(widths) <= size
    assert paths[1].rounds > paths[7].rounds > paths[64].rounds
    for size in (7, 64):
        assert_allclose(paths[size].coefficients, paths[1].coefficients, atol=1e-11)


def test_own_penalties_and_progress():
    """Given penalties are used as they are; each is reported once."""
    X, y, ids = make(80, 12)
    steps = []
    path = fit_elastic_net(split(X, y, ids), lambdas=[0.5, 0.1, 0.02], progress=steps.append)
    assert_array_equal(path.lambdas, [0.5, 0.1, 0.02])
    assert [(s.index, s.count, s.penalty) for s in steps] == [(0, 3, 0.5), (1, 3, 0.1), (2, 3, 0.02)]
    assert steps[-1].rounds == path.rounds
    assert steps[-1].support == np.count_nonzero(path.coefficients[-1])


def test_a_fold_without_patients_weighs_nothing():
    """Few patients leave folds empty; the error is that of the patients there are."""
    X, y, _ = make(30, 5)
    ids = [f"P{i % 3}" for i in range(30)]
    path = fit_elastic_net(split(X, y, ids), folds=8, num_lambdas=5)
    assert np.isfinite(path.cv_mse).all()
    assert path.cv_mse[0] == pytest.approx(((y - y.mean()) ** 2).mean(), rel=0.5)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"l1_ratio": 0.0}, "l1_ratio"),
        ({"folds": 1}, "folds"),
        ({"columns_per_request": 0}, "columns_per_request"),
        ({"lambdas": [0.1, 0.5]}, "lambdas"),
        ({"lambda_min_ratio": 1.0}, "lambda_min_ratio"),
        ({"penalty_factors": [1, -1, 1]}, "penalty_factors"),
        ({"penalty_factors": [0, 0, 0]}, "No penalised column"),
    ],
)
def test_arguments_out_of_range_are_refused(terms, message):
    """Each names the argument."""
    with pytest.raises(ValueError, match=message):
        fit_elastic_net(split(*make(30, 3)), **terms)


def test_data_with_nothing_to_learn_are_refused():
    """A constant outcome, or only constant columns, is said and not divided by."""
    X, y, ids = make(30, 3)
    with pytest.raises(ValueError, match="outcome is the same"):
        fit_elastic_net(split(X, np.full(30, 41.3), ids))
    with pytest.raises(ValueError, match="No penalised column varies"):
        fit_elastic_net(split(np.full((30, 3), 0.3), y, ids))


@pytest.mark.parametrize(("message_type", "name"), [("query.target", "xty"), ("query.columns", "gram")])
def test_sums_of_a_wrong_shape_are_refused(message_type, name):
    """A ClientApp that answers otherwise than agreed is named by its array."""
    sites = split(*make(40, 6))

    def exchange(asked, content):
        sums = dict(sites(asked, content))
        if asked == message_type:
            sums[name] = sums[name][..., :-1]
        return sums

    with pytest.raises(UnusableReply, match=name):
        fit_elastic_net(exchange)


def over_flower(flower, X, y, ids, **answers):
    """Three nodes behind gates; `answers` replaces what node 2 says to a message type."""

    def app(site, node):
        def reply(message):
            kind = message.metadata.message_type
            if node == 2 and kind in answers:
                return answers[kind]
            content = {
                name: {key: value.numpy() if hasattr(value, "numpy") else value for key, value in record.items()}
                for name, record in message.content.items()
            }
            return to_records({"sums": site.answer(kind.removesuffix("_mine"), content)})

        return reply

    return flower.Grid({n: app(SiteRows(X[n::3], y[n::3], ids[n::3]), n) for n in range(3)}, ungated=True)


def test_over_flower_equals_in_memory(flower):
    """The same bits come out of Flower's messages, also under other message types."""
    X, y, ids = make(60, 15, missing=0.1)
    grid = over_flower(flower, X, y, ids)
    types = MessageTypes("query.moments_mine", "query.target_mine", "query.columns_mine")
    path = fit_elastic_net(GridExchange(grid, [0, 1, 2], min_nodes=3), num_lambdas=6, messages=types)
    assert_array_equal(path.coefficients, fit_elastic_net(split(X, y, ids), num_lambdas=6).coefficients)
    assert {leg for _, leg in grid.sent} == {types.moments, types.target, types.columns}


def test_losing_a_site_ends_the_fit(flower):
    """A node that answered the moments and then not the columns is named."""
    grid = over_flower(flower, *make(60, 15), **{"query.columns": None})
    with pytest.raises(SiteLost, match="Nodes 2 "):
        fit_elastic_net(GridExchange(grid, [0, 1, 2]), num_lambdas=6)
