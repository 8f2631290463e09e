"""Federated linear, logistic and Poisson regression against statsmodels on the pooled rows."""

import numpy as np
import pytest
import statsmodels.api as sm
from federated_statistics.site_glm import ANSWERS
from federated_statistics.table import Request
from flame_strategies import GridExchange
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.glm import fit_glm
from flame_strategies.glm_design import INTERCEPT, Categorical, Collinear, Design, DesignError, Separated
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.testing import assert_allclose

from tests.support.tables import TableSites, split_table

GROUP = Categorical("group", ("a", "b", "c"), reference="b")
LEVELS = {"group": ("a", "b", "c")}
FAMILIES = ("gaussian", "logistic", "poisson")
SM = {"logistic": sm.families.Binomial, "poisson": sm.families.Poisson}
EXACT = 1e-8


def make(family, n=300, seed=0, *, missing=0.0):
    """Age and weight far from 0 in odd units, a group, an outcome, an exposure and an offset."""
    rng = np.random.default_rng(seed)
    data = {
        "age": rng.normal(60, 10, n),
        "weight": rng.normal(7e4, 1e4, n),
        "time": rng.uniform(0.5, 3, n),
        "shift": rng.normal(0, 0.3, n),
    }
    group = rng.integers(0, 3, n)
    linear = 0.04 * (data["age"] - 60) - 5e-5 * (data["weight"] - 7e4) + np.array([0.5, 0, -0.7])[group]
    data["y"] = {
        "gaussian": lambda: 100 + linear + rng.normal(size=n),
        "logistic": lambda: (rng.random(n) < 1 / (1 + np.exp(-linear))).astype(float),
        "poisson": lambda: rng.poisson(data["time"] * np.exp(linear)).astype(float),
    }[family]()
    if missing:
        for name in ("age", "y"):
            data[name] = np.where(rng.random(n) < missing, np.nan, data[name])
        group = np.where(rng.random(n) < missing, -1, group)
    return data, group, rng.integers(0, 4, n)


def sites(data, group, homes, **more):
    return TableSites(split_table(data, homes, {"group": group}, LEVELS), ANSWERS, **more)


def matrix(data, group, *, intercept=True):
    columns = [data["age"], data["weight"], group == 0, group == 2]
    return np.column_stack([np.ones(len(group)), *columns] if intercept else columns).astype(float)


def pooled(family, y, X, *, robust=False, **terms):
    kind = {"cov_type": "HC0", "use_t": family == "gaussian"} if robust else {}
    if family == "gaussian":
        return sm.OLS(y, X).fit(**kind)
    return sm.GLM(y, X, family=SM[family](), **terms).fit(tol=1e-14, maxiter=100, **kind)


DESIGN = Design("y", ("age", "weight"), (GROUP,))


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_pooled_fit(family, robust):
    """Coefficients, standard errors, tests, intervals, deviances and information criterion within 1e-8."""
    data, group, homes = make(family)
    design = Design("y", ("age", "weight"), (GROUP,), exposure="time" if family == "poisson" else "")
    fit = fit_glm(sites(data, group, homes), design, family, robust=robust)
    terms = {"exposure": data["time"]} if family == "poisson" else {}
    expected = pooled(family, data["y"], matrix(data, group), robust=robust, **terms)
    c = fit.coefficients
    assert c.names == (INTERCEPT, "age", "weight", "group[a]", "group[c]")
    assert_allclose(c.estimate, expected.params, rtol=EXACT)
    assert_allclose(c.standard_error, expected.bse, rtol=EXACT)
    assert_allclose(c.covariance, expected.cov_params(), rtol=EXACT)
    assert_allclose(c.statistic, expected.tvalues, rtol=EXACT)
    assert_allclose(c.p_value, expected.pvalues, rtol=1e-7, atol=1e-300)
    assert_allclose(np.column_stack([c.lower, c.upper]), expected.conf_int(), rtol=EXACT)
    assert fit.loglik == pytest.approx(expected.llf, rel=EXACT)
    assert fit.aic == pytest.approx(expected.aic, rel=EXACT)
    assert (fit.n, fit.degrees) == (expected.nobs, expected.df_resid)
    if family == "gaussian":
        assert fit.deviance == pytest.approx(expected.ssr, rel=EXACT)
        assert fit.null_deviance == pytest.approx(expected.centered_tss, rel=EXACT)
        assert fit.dispersion == pytest.approx(expected.ssr / expected.df_resid, rel=EXACT)
    else:
        assert fit.deviance == pytest.approx(expected.deviance, rel=EXACT)
        assert fit.null_deviance == pytest.approx(expected.null_deviance, rel=EXACT)
        assert fit.pearson == pytest.approx(expected.pearson_chi2, rel=EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_intercept(family):
    """Columns are then not centred, and there is no null deviance."""
    data, group, homes = make(family)
    data["age"] -= 60
    data["weight"] -= 7e4
    data["y"] -= 100 if family == "gaussian" else 0
    fit = fit_glm(sites(data, group, homes), Design("y", ("age", "weight"), (GROUP,), intercept=False), family)
    expected = pooled(family, data["y"], matrix(data, group, intercept=False))
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=EXACT)
    assert fit.null_deviance is None


@pytest.mark.parametrize("family", FAMILIES)
def test_an_offset_enters_with_coefficient_one(family):
    """In a linear regression it is taken off the outcome."""
    data, group, homes = make(family)
    fit = fit_glm(sites(data, group, homes), Design("y", ("age", "weight"), (GROUP,), offset="shift"), family)
    y = data["y"] - data["shift"] if family == "gaussian" else data["y"]
    terms = {} if family == "gaussian" else {"offset": data["shift"]}
    expected = pooled(family, y, matrix(data, group), **terms)
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=EXACT)
    if family == "poisson":
        assert fit.null_deviance == pytest.approx(expected.null_deviance, rel=EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_incomplete_rows_are_left_out_and_counted(family):
    """A missing number, outcome or level takes the row out, at whichever site it lies."""
    data, group, homes = make(family, missing=0.1)
    fit = fit_glm(sites(data, group, homes), DESIGN, family)
    complete = np.isfinite(data["age"]) & np.isfinite(data["y"]) & (group >= 0)
    expected = pooled(family, data["y"][complete], matrix(data, group)[complete])
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert (fit.n, fit.excluded) == (complete.sum(), (~complete).sum())
    assert fit.excluded > 30


def test_linear_regression_takes_two_exchanges():
    """Means, then centred moments."""
    data, group, homes = make("gaussian")
    exchange = sites(data, group, homes)
    assert fit_glm(exchange, DESIGN, "gaussian").exchanges == 2
    assert exchange.asked == ["query.glm_moments", "query.glm_step"]


@pytest.mark.parametrize("family", ["logistic", "poisson"])
def test_each_step_takes_one_exchange_and_few_suffice(family):
    """As many as Newton's method has steps, and one for the moments."""
    data, group, homes = make(family)
    exchange = sites(data, group, homes)
    assert fit_glm(exchange, DESIGN, family).exchanges == len(exchange.asked) <= 7
    assert set(exchange.asked[1:]) == {"query.glm_step"}


def test_nearly_collinear_columns_keep_their_digits():
    """A third exchange refines what the normal equations lose: against a least-squares fit by QR."""
    data, group, homes = make("gaussian")
    rng = np.random.default_rng(3)
    data["weight"] = data["age"] * 1000 + rng.normal(size=300)  # correlated to 1 - 5e-9
    fit = fit_glm(sites(data, group, homes), DESIGN, "gaussian")
    X = matrix(data, group)
    centred = X[:, 1:] - X[:, 1:].mean(axis=0)
    expected = np.linalg.lstsq(centred, data["y"] - data["y"].mean(), rcond=None)[0]
    assert fit.exchanges == 3
    assert_allclose(fit.coefficients.estimate[1:], expected, rtol=1e-7)


def test_a_nearly_perfect_fit_keeps_the_digits_of_its_residuals():
    """The residual sum of squares is a billionth of a billionth of the outcome's; a third exchange brings it."""
    data, group, homes = make("gaussian")
    noise = np.random.default_rng(4).normal(size=300)
    data["y"] = 1e4 * data["age"] + 1e-4 * noise
    fit = fit_glm(sites(data, group, homes), Design("y", ("age",)), "gaussian")
    centred = data["age"] - data["age"].mean()
    residual = 1e-4 * (noise - noise.mean())
    residual -= centred * (centred @ residual) / (centred @ centred)
    assert fit.exchanges == 3
    assert fit.deviance == pytest.approx(residual @ residual, rel=1e-5)  # y itself has 16 digits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_column_far_from_zero_keeps_its_digits(family):
    """A year-of-birth kind of column, shifted by 1e7 standard deviations: the slope is that of the unshifted one."""
    data, group, homes = make(family)
    plain = fit_glm(sites(data, group, homes), DESIGN, family)
    data["age"] = np.round(data["age"] * 2**10) / 2**10
    near = fit_glm(sites(data, group, homes), DESIGN, family)
    data["age"] = data["age"] + 2.0**27
    far = fit_glm(sites(data, group, homes), DESIGN, family)
    assert_allclose(far.coefficients.estimate[1:], near.coefficients.estimate[1:], rtol=EXACT)
    assert_allclose(far.coefficients.standard_error[1:], near.coefficients.standard_error[1:], rtol=EXACT)
    assert_allclose(near.coefficients.estimate[1:], plain.coefficients.estimate[1:], rtol=1e-2)


@pytest.mark.parametrize(
    ("family", "exchange"), [("gaussian", 2), ("gaussian", 3), *((f, e) for f in FAMILIES[1:] for e in (2, 3, 5))]
)
def test_a_lost_site_leaves_the_fit_of_the_others(family, exchange):
    """A site that is silent from some exchange on: the result is the pooled one of the rest, sums and all."""
    data, group, homes = make(family)
    if family == "gaussian":
        data["weight"] = data["age"] * 1000 + np.random.default_rng(3).normal(size=300)  # takes three exchanges
    lossy = sites(data, group, homes, lost={1: exchange})
    fit = fit_glm(lossy, DESIGN, family)
    rest = homes != 1
    expected = pooled(family, data["y"][rest], matrix(data, group)[rest])
    assert lossy.sites == (0, 2, 3)
    assert fit.n == rest.sum()
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=1e-7)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=1e-7)
    if family != "gaussian":
        assert fit.null_deviance == pytest.approx(expected.null_deviance, rel=EXACT)


def test_a_site_lost_at_the_robust_exchange_is_fitted_again():
    """Both halves of the sandwich come from the sites whose maximum it is."""
    data, group, homes = make("logistic")
    plain = fit_glm(sites(data, group, homes), DESIGN, "logistic")
    fit = fit_glm(sites(data, group, homes, lost={2: plain.exchanges + 1}), DESIGN, "logistic", robust=True)
    rest = homes != 2
    expected = pooled("logistic", data["y"][rest], matrix(data, group)[rest], robust=True)
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=EXACT)


@pytest.mark.parametrize(("family", "resolution"), [(f, r) for f in FAMILIES for r in (1e-3, 1e-6)])
def test_rounded_sums_end_at_their_resolution(family, resolution):
    """Fixed-point sums: it ends in about as many exchanges, as near as the last digit of the gradient allows."""
    data, group, homes = make(family)
    whole, asked = sites(data, group, homes), []

    def rounded(message, content):
        asked.append(message)
        found = whole(message, content)
        if message == "query.glm_moments":
            return found
        return {k: np.round(v / resolution) * resolution if v.dtype.kind == "f" else v for k, v in found.items()}

    exact, fit = fit_glm(sites(data, group, homes), DESIGN, family), fit_glm(rounded, DESIGN, family)
    error = np.abs(fit.coefficients.estimate - exact.coefficients.estimate) / exact.coefficients.standard_error
    assert error.max() < resolution
    assert len(asked) <= exact.exchanges + 2


class TestWhatTheDataDoNotAllow:
    """Each error names the column and says what to change."""

    def test_a_combination_of_columns(self):
        data, group, homes = make("logistic")
        data["weight"] = 3 * data["age"] + 2
        for family in ("gaussian", "logistic"):
            with pytest.raises(Collinear, match="age, weight"):
                fit_glm(sites(data, group, homes), DESIGN, family)

    def test_a_constant_column(self):
        data, group, homes = make("gaussian")
        data["age"] = np.full(300, 61.7)
        with pytest.raises(DesignError, match=r"same in all .*: age\."):
            fit_glm(sites(data, group, homes), DESIGN, "gaussian")

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_level_that_nobody_has(self, family):
        data, group, homes = make(family)
        with pytest.raises(DesignError, match=r"level group\[c\]\. Do not declare"):
            fit_glm(sites(data, np.where(group == 2, 0, group), homes), DESIGN, family)
        with pytest.raises(DesignError, match=r"level group\[b\]"):
            fit_glm(sites(data, np.where(group == 1, 0, group), homes), DESIGN, family)

    @pytest.mark.parametrize(("family", "value"), [("logistic", 2.0), ("poisson", -1.0), ("poisson", 1.5)])
    def test_an_outcome_that_the_family_does_not_have(self, family, value):
        data, group, homes = make(family)
        data["y"][:3] = value
        with pytest.raises(DesignError, match="There are 3 outcomes that are not"):
            fit_glm(sites(data, group, homes), DESIGN, family)

    def test_an_exposure_of_zero(self):
        data, group, homes = make("poisson")
        data["time"][7] = 0
        design = Design("y", ("age",), exposure="time")
        with pytest.raises(DesignError, match=r"1 outcomes .* or values of time that are not above 0"):
            fit_glm(sites(data, group, homes), design, "poisson")

    @pytest.mark.parametrize(("family", "value"), [("gaussian", 4.2), ("logistic", 1.0), ("poisson", 0.0)])
    def test_a_constant_outcome(self, family, value):
        data, group, homes = make(family)
        data["y"] = np.full(300, value)
        with pytest.raises(DesignError, match="y is the same"):
            fit_glm(sites(data, group, homes), DESIGN, family)

    def test_a_number_that_separates(self):
        data, group, homes = make("logistic")
        data["y"] = (data["age"] > 65).astype(float)
        with pytest.raises(Separated, match="without end: age"):
            fit_glm(sites(data, group, homes), DESIGN, "logistic")

    def test_a_number_that_separates_all_but_a_few(self):
        """Quasi-complete separation: the outcome is certain for a few rows; the likelihood stays far from 1."""
        data, group, homes = make("logistic")
        data["flag"] = (data["age"] > 75).astype(float)
        data["y"] = np.where(data["flag"] == 1, 1.0, data["y"])
        with pytest.raises(Separated, match=r"without end: flag\."):
            fit_glm(sites(data, group, homes), Design("y", ("flag", "weight"), (GROUP,)), "logistic")

    @pytest.mark.parametrize("level", [1, 2])
    def test_a_level_with_one_outcome_is_named_at_once(self, level):
        """In the first exchange, the reference level (1) too."""
        data, group, homes = make("logistic")
        data["y"] = np.where(group == level, 1.0, data["y"])
        exchange = sites(data, group, homes)
        with pytest.raises(Separated, match=rf"level group\[{'abc'[level]}\]"):
            fit_glm(exchange, DESIGN, "logistic")
        assert len(exchange.asked) == 1

    def test_a_nearly_separated_outcome_has_a_fit(self):
        """One row against the rule is enough for finite coefficients."""
        data, group, homes = make("logistic")
        data["y"] = (data["age"] > 60).astype(float)
        data["y"][np.argsort(data["age"])[-20]] = 0
        fit = fit_glm(sites(data, group, homes), Design("y", ("age",)), "logistic")
        expected = pooled("logistic", data["y"], sm.add_constant(data["age"]))
        assert_allclose(fit.coefficients.estimate, expected.params, rtol=1e-7)

    def test_one_huge_value_is_no_separation(self):
        """Its row alone decides the first steps; the maximum for the others is far away, and is found."""
        data, group, homes = make("logistic")
        data["age"] -= 60
        data["age"][3], data["y"][3] = 1e6, 1.0
        fit = fit_glm(sites(data, group, homes), Design("y", ("age",)), "logistic")
        rest = np.arange(300) != 3
        expected = pooled("logistic", data["y"][rest], sm.add_constant(data["age"][rest]))
        assert_allclose(fit.coefficients.estimate, expected.params, rtol=1e-6)

    def test_more_coefficients_than_rows(self):
        data, _, homes = make("gaussian", n=4)
        with pytest.raises(DesignError, match="4 complete rows cannot determine 5"):
            fit_glm(sites(data, np.array([0, 1, 2, 0]), homes), DESIGN, "gaussian")

    def test_no_complete_row(self):
        data, group, homes = make("gaussian")
        data["age"] = np.full(300, np.nan)
        with pytest.raises(DesignError, match="No row"):
            fit_glm(sites(data, group, homes), DESIGN, "gaussian")


def test_a_fit_that_may_not_take_enough_steps_says_so():
    """No half-converged coefficients."""
    data, group, homes = make("logistic")
    with pytest.raises(StrategyError, match="did not converge"):
        fit_glm(sites(data, group, homes), DESIGN, "logistic", max_exchanges=2)


def test_arguments_out_of_range():
    """Before anything is asked."""
    data, group, homes = make("poisson")
    exchange = sites(data, group, homes)
    with pytest.raises(ValueError, match="no family"):
        fit_glm(exchange, DESIGN, "gamma")
    with pytest.raises(ValueError, match="no exposure"):
        fit_glm(exchange, Design("y", exposure="time"), "gaussian")
    assert exchange.asked == []


@pytest.mark.parametrize("lacking", ["sum_x", "outcome", "hessian", "fit"])
def test_answers_that_lack_an_array(lacking):
    """An app of another version is told apart from a fit."""
    data, group, homes = make("logistic")
    whole = sites(data, group, homes)

    def exchange(message, content):
        return {name: array for name, array in whole(message, content).items() if name != lacking}

    with pytest.raises(UnusableReply):
        fit_glm(exchange, DESIGN, "logistic")


def test_progress_tells_a_likelihood_that_rises():
    """After each step."""
    data, group, homes = make("poisson")
    seen = []
    fit = fit_glm(sites(data, group, homes), DESIGN, "poisson", progress=lambda *step: seen.append(step))
    assert seen[-1][0] == fit.exchanges
    assert (np.diff([loglik for _, loglik in seen]) >= -1e-9).all()


def test_over_flower_messages(flower):
    """The same fit through records: words in the config record, arrays beside them, int64 and float64 back."""
    data, group, homes = make("logistic")
    tables = split_table(data, homes, {"group": group}, LEVELS)

    def node(table):
        def answer(message):
            content = message.content
            config = {key: value for part in content.config_records.values() for key, value in part.items()}
            arrays = {key: value.numpy() for part in content.array_records.values() for key, value in part.items()}
            found = ANSWERS[message.metadata.message_type.removeprefix("query.")](table, Request(config, arrays))
            return RecordDict({"sums": ArrayRecord({name: Array(array) for name, array in found.items()})})

        return answer

    nodes = {10 + number: flower.behind_gate(node(table)) for number, table in enumerate(tables)}
    grid = flower.Grid(nodes, backwards=True)
    fit = fit_glm(GridExchange(grid, grid.get_node_ids()), DESIGN, "logistic")
    expected = fit_glm(sites(data, group, homes), DESIGN, "logistic")
    assert_allclose(fit.coefficients.estimate, expected.coefficients.estimate, rtol=1e-14)
    assert fit.exchanges == expected.exchanges
