"""Federated Cox regression against statsmodels' PHReg and lifelines on the pooled rows."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from federated_statistics.site_cox import ANSWERS
from flame_strategies.cox import fit_cox
from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import Categorical, Collinear, Design, DesignError, Separated
from lifelines import CoxPHFitter
from numpy.testing import assert_allclose, assert_array_equal

from tests.support.tables import TableSites, split_table

GROUP = Categorical("group", ("a", "b", "c"), reference="b")
DESIGN = Design("time", ("age", "weight"), (GROUP,))
GRID = np.arange(1.0, 41)
EXACT = 1e-8


def make(n=300, seed=0, *, tied=True):
    """Times in whole units up to 40, many tied, about two thirds of them events."""
    rng = np.random.default_rng(seed)
    age, weight, group = rng.normal(60, 10, n), rng.normal(7e4, 1e4, n), rng.integers(0, 3, n)
    risk = np.exp(0.04 * (age - 60) - 5e-5 * (weight - 7e4) + np.array([0.5, 0, -0.7])[group])
    time, end = rng.exponential(20 / risk), rng.uniform(1, 40, n)
    event = (time <= end).astype(float)
    time = np.minimum(time, end)
    data = {"time": np.ceil(time) if tied else time, "event": event, "age": age, "weight": weight}
    return data, group, rng.integers(0, 4, n)


def sites(data, group, homes, **more):
    return TableSites(split_table(data, homes, {"group": group}, {"group": GROUP.levels}), ANSWERS, **more)


def matrix(data, group):
    return np.column_stack([data["age"], data["weight"], group == 0, group == 2]).astype(float)


def phreg(data, group, ties, strata=None):
    model = sm.PHReg(data["time"], matrix(data, group), status=data["event"], ties=ties, strata=strata)
    return model.fit(method="newton", tol=1e-14, maxiter=100, disp=0)


def lifelines(data, group, homes=None):
    frame = pd.DataFrame(matrix(data, group), columns=DESIGN.columns)
    frame["time"], frame["event"] = data["time"], data["event"]
    strata = None
    if homes is not None:
        frame["home"], strata = homes, ["home"]
    return CoxPHFitter().fit(frame, "time", "event", strata=strata, fit_options={"precision": 1e-14})


def grid(strata_by_site, declared=GRID):
    return {"strata_by_site": True} if strata_by_site else {"grid": declared}


@pytest.mark.parametrize("strata_by_site", [False, True])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_equals_statsmodels(ties, strata_by_site):
    """Log hazard ratios, standard errors, tests and likelihood within 1e-8, with many ties."""
    data, group, homes = make()
    fit = fit_cox(sites(data, group, homes), DESIGN, "event", ties=ties, **grid(strata_by_site))
    expected = phreg(data, group, ties, homes if strata_by_site else None)
    c = fit.coefficients
    assert c.names == ("age", "weight", "group[a]", "group[c]")
    assert_allclose(c.estimate, expected.params, rtol=EXACT)
    assert_allclose(c.covariance, expected.cov_params(), rtol=EXACT)
    assert_allclose(c.statistic, expected.tvalues, rtol=EXACT)
    assert_allclose(c.p_value, expected.pvalues, rtol=1e-7)
    assert fit.loglik == pytest.approx(expected.llf, rel=EXACT)
    assert (fit.n, fit.events) == (300, data["event"].sum())
    assert (fit.excluded, fit.off_grid, fit.beyond) == (0, 0, 0)


@pytest.mark.parametrize("strata_by_site", [False, True])
def test_equals_lifelines(strata_by_site):
    """Efron's ties, with the likelihood-ratio test, information criterion and baseline hazard."""
    data, group, homes = make()
    fit = fit_cox(sites(data, group, homes), DESIGN, "event", **grid(strata_by_site))
    expected = lifelines(data, group, homes if strata_by_site else None)
    assert_allclose(fit.coefficients.estimate, expected.params_, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.standard_errors_, rtol=EXACT)
    assert fit.loglik == pytest.approx(expected.log_likelihood_, rel=EXACT)
    test = expected.log_likelihood_ratio_test()
    assert fit.test.statistic == pytest.approx(test.test_statistic, rel=EXACT)
    assert fit.test.p_value == pytest.approx(test.p_value, rel=1e-6)
    assert fit.aic == pytest.approx(expected.AIC_partial_, rel=EXACT)
    if not strata_by_site:
        baseline = expected.baseline_cumulative_hazard_
        assert_allclose(fit.baseline, baseline.loc[fit.times].to_numpy()[:, 0], rtol=1e-7)
        assert_allclose(fit.centre, matrix(data, group).mean(axis=0))


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_without_ties_both_are_the_same_and_any_grid_of_the_times_is_exact(ties):
    """Times with all their digits, each on the grid."""
    data, group, homes = make(120, tied=False)
    exchange = sites(data, group, homes)
    fit = fit_cox(exchange, DESIGN, "event", grid=np.unique(data["time"]), ties=ties)
    expected = phreg(data, group, "breslow")
    assert fit.off_grid == 0
    assert "query.cox_efron" not in exchange.asked
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=EXACT)


def test_a_coarse_grid_is_the_fit_of_rounded_times():
    """Times rounded up to it, those after its end without event at its end."""
    data, group, homes = make(tied=False)
    edges = np.array([2.0, 5, 9, 14, 20, 30])
    fit = fit_cox(sites(data, group, homes), DESIGN, "event", grid=edges)
    place = np.searchsorted(edges, data["time"])
    beyond = place == 6
    rounded = {**data, "time": np.append(edges, 31)[place], "event": np.where(beyond, 0, data["event"])}
    expected = phreg(rounded, group, "efron")
    assert fit.off_grid == (~beyond).sum()
    assert fit.beyond == beyond.sum() > 5
    assert fit.events == rounded["event"].sum()
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=EXACT)


def test_bins_without_events_do_not_keep_rows_at_risk():
    """Those whose observation ended in one are not compared with later events."""
    data, group, homes = make()
    data["event"] = np.where(data["time"] % 5 == 0, data["event"], 0)
    fit = fit_cox(sites(data, group, homes), DESIGN, "event", grid=GRID)
    expected = phreg(data, group, "efron")
    assert_array_equal(fit.times % 5, 0)
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert fit.loglik == pytest.approx(expected.llf, rel=EXACT)


@pytest.mark.parametrize("strata_by_site", [False, True])
def test_few_exchanges(strata_by_site):
    """One for counts and one for each step of Newton's method; sums by time only where strata share it."""
    data, group, homes = make()
    exchange = sites(data, group, homes)
    fit = fit_cox(exchange, DESIGN, "event", **grid(strata_by_site))
    assert fit.exchanges == len(exchange.asked) <= 6
    first, step = ("moments", "site_step") if strata_by_site else ("counts", "efron")
    assert exchange.asked == [f"query.cox_{first}"] + [f"query.cox_{step}"] * (fit.exchanges - 1)


@pytest.mark.parametrize("strata_by_site", [False, True])
@pytest.mark.parametrize("exchange", [2, 4])
def test_a_lost_site_leaves_the_fit_of_the_others(strata_by_site, exchange):
    """Its risk sets, events and rows are gone from the next step on."""
    data, group, homes = make()
    lossy = sites(data, group, homes, lost={1: exchange})
    fit = fit_cox(lossy, DESIGN, "event", **grid(strata_by_site))
    rest = homes != 1
    left = {name: column[rest] for name, column in data.items()}
    expected = phreg(left, group[rest], "efron", homes[rest] if strata_by_site else None)
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, expected.bse, rtol=EXACT)
    assert fit.loglik == pytest.approx(expected.llf, rel=EXACT)
    assert (fit.n, fit.events) == (rest.sum(), left["event"].sum())
    assert (fit.test is None) == (exchange > 2)


@pytest.mark.parametrize("strata_by_site", [False, True])
def test_a_site_without_events_or_without_rows(strata_by_site):
    """It takes part with what it has."""
    data, group, homes = make()
    data["event"] = np.where(homes == 2, 0, data["event"])
    homes = np.where(homes == 3, 4, homes)  # nobody is at site 3
    fit = fit_cox(sites(data, group, homes), DESIGN, "event", **grid(strata_by_site))
    expected = phreg(data, group, "efron", homes if strata_by_site else None)
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)


def test_incomplete_rows_are_left_out():
    """A missing event takes its row out as well."""
    data, group, homes = make()
    rng = np.random.default_rng(9)
    for name in ("age", "event"):
        data[name] = np.where(rng.random(300) < 0.1, np.nan, data[name])
    fit = fit_cox(sites(data, group, homes), DESIGN, "event", grid=GRID)
    complete = np.isfinite(data["age"]) & np.isfinite(data["event"])
    expected = phreg({name: column[complete] for name, column in data.items()}, group[complete], "efron")
    assert_allclose(fit.coefficients.estimate, expected.params, rtol=EXACT)
    assert fit.excluded == (~complete).sum() > 30


class TestWhatTheDataDoNotAllow:
    """Each error names the column and says what to change."""

    def test_no_events(self):
        data, group, homes = make()
        data["event"] = np.zeros(300)
        for terms in (grid(strata_by_site=True), grid(strata_by_site=False)):
            with pytest.raises(DesignError, match="event = 1"):
                fit_cox(sites(data, group, homes), DESIGN, "event", **terms)

    def test_times_and_events_that_are_none(self):
        data, group, homes = make()
        data["time"][:2], data["event"][5] = -1, 2
        with pytest.raises(DesignError, match="3 rows have time below 0, or event neither"):
            fit_cox(sites(data, group, homes), DESIGN, "event", grid=GRID)

    def test_a_level_without_events(self):
        data, group, homes = make()
        data["event"] = np.where(group == 1, 0, data["event"])
        with pytest.raises(Separated, match=r"level group\[b\]"):
            fit_cox(sites(data, group, homes), DESIGN, "event", grid=GRID)

    def test_a_level_that_nobody_has(self):
        data, group, homes = make()
        with pytest.raises(DesignError, match=r"level group\[c\]"):
            fit_cox(sites(data, np.where(group == 2, 0, group), homes), DESIGN, "event", grid=GRID)

    @pytest.mark.parametrize("strata_by_site", [False, True])
    def test_a_column_that_orders_the_events(self, strata_by_site):
        """A monotone likelihood: whoever has the event has the largest value at risk."""
        data, group, homes = make()
        data["age"] = -data["time"]
        data["event"] = np.ones(300)
        with pytest.raises(Separated, match="without end: age"):
            fit_cox(sites(data, group, homes), DESIGN, "event", **grid(strata_by_site))

    def test_columns_that_depend_or_do_not_vary(self):
        data, group, homes = make()
        with pytest.raises(Collinear, match="age, weight"):
            fit_cox(sites({**data, "weight": 2 * data["age"]}, group, homes), DESIGN, "event", grid=GRID)
        with pytest.raises(DesignError, match=": age"):
            fit_cox(sites({**data, "age": np.full(300, 60.1)}, group, homes), DESIGN, "event", grid=GRID)


def test_arguments_out_of_range():
    """Before anything is asked."""
    data, group, homes = make()
    exchange = sites(data, group, homes)
    for terms in ({}, {"grid": [2, 1]}, {"grid": GRID, "strata_by_site": True}):
        with pytest.raises(ValueError, match="rising times"):
            fit_cox(exchange, DESIGN, "event", **terms)
    with pytest.raises(ValueError, match="ties"):
        fit_cox(exchange, DESIGN, "event", grid=GRID, ties="exact")
    with pytest.raises(ValueError, match="a column"):
        fit_cox(exchange, Design("time"), "event", grid=GRID)
    assert exchange.asked == []


@pytest.mark.parametrize("lacking", ["sum_x_events", "risk_rzz", "tied_r"])
def test_answers_that_lack_an_array(lacking):
    """An app of another version is told apart from a fit."""
    data, group, homes = make()
    whole = sites(data, group, homes)

    def exchange(message, content):
        return {name: array for name, array in whole(message, content).items() if name != lacking}

    with pytest.raises(UnusableReply):
        fit_cox(exchange, DESIGN, "event", grid=GRID)
