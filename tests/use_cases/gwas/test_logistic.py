"""Logistic association over DIZ equals statsmodels on the pooled samples, variant by variant."""

from dataclasses import replace

import numpy as np
import pytest
from flame_strategies.errors import StrategyError, UnusableReply
from gwas import site_logistic
from gwas.errors import InputError
from gwas.logistic_fits import chunk_tests, null_model
from gwas.logistic_sums import LogisticSums
from gwas.results import CONSTANT, LOGISTIC, NO_TEST, NUMBERS, OK, RARE
from gwas.site import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.api import Logit

from tests.use_cases.gwas.logistic_study import Asked, Study, asked, settings_of, study


def tabled(of: Study, exchange: Asked, index: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The study's table, of one chunk."""
    index = np.arange(of.calls.shape[1]) if index is None else index
    null = LogisticSums.null(exchange, exchange.settings, of.design())
    coefficients = null_model(null)
    return chunk_tests(null.variants((0, of.calls.shape[1]), index), coefficients)


@pytest.mark.parametrize("missing", ["exclude", "impute"])
def test_tests_are_those_of_statsmodels(missing):
    of = study()
    table = tabled(of, asked(of, missing=missing))
    assert (table["status"] == OK).all()
    assert (table["test"] == LOGISTIC).all()
    for variant in range(of.calls.shape[1]):
        x, y = of.pooled(variant, impute=missing == "impute")
        theirs = Logit(y, x).fit(method="newton", tol=1e-13, disp=0)
        row = {name: column[variant] for name, column in table.items()}
        assert row["n"] == (of.calls[of.complete(), variant] >= 0).sum()
        assert row["beta"] == pytest.approx(theirs.params[-1], rel=1e-10, abs=1e-12)
        assert row["se"] == pytest.approx(theirs.bse[-1], rel=1e-10)
        assert row["stat"] == pytest.approx(theirs.tvalues[-1], rel=1e-10, abs=1e-10)
        assert row["p"] == pytest.approx(theirs.pvalues[-1], rel=1e-9)
        assert row["log10p"] == pytest.approx(-np.log10(theirs.pvalues[-1]), rel=1e-9, abs=1e-11)


def test_the_null_model_is_that_of_statsmodels():
    of = study()
    exchange = asked(of)
    sums = LogisticSums.null(exchange, exchange.settings, of.design())
    found = null_model(sums)
    x, y = of.pooled()
    theirs = Logit(y, x).fit(method="newton", tol=1e-13, disp=0)
    np.testing.assert_allclose(found, theirs.params, rtol=1e-10)
    assert sums.counts.tolist() == [[len(y), y.sum()]]


def test_counts_are_those_of_the_samples_with_a_call():
    of = study()
    table = tabled(of, asked(of))
    calls = of.calls[of.complete()]
    np.testing.assert_array_equal(table["n"], (calls >= 0).sum(axis=0))
    np.testing.assert_array_equal(table["alt_count"], np.maximum(calls, 0).sum(axis=0))


def test_only_variants_that_have_not_converged_are_asked_again():
    of = study(m=200)
    exchange = asked(of)
    tabled(of, exchange)
    rows = [count for query, count in exchange.seen if query == "gwas_logistic"]
    assert rows[0] == 200
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 200
    assert len(rows) <= 8


def test_some_variants_of_a_chunk_are_tested_as_all_are():
    of = study()
    everything = tabled(of, asked(of))
    index = np.array([2, 3, 11, 40])
    some = tabled(of, asked(of), index)
    assert some["index"].tolist() == index.tolist()
    for name in NUMBERS:
        np.testing.assert_allclose(some[name], everything[name][index], rtol=1e-12)


def test_a_p_value_below_the_smallest_number_keeps_its_logarithm():
    of = study(n=500, m=2)
    carriers = np.random.default_rng(0).random(500) < 0.5
    of.calls[:, 1] = carriers
    of.disease[:] = np.where(carriers ^ (np.random.default_rng(1).random(500) < 0.02), 2, 1)
    many = Study(*(np.concatenate([getattr(of, name)] * 30) for name in ("calls", "age", "batch", "disease", "owner")))
    table = tabled(many, asked(many))
    assert table["p"][1] == 0
    expected = -(stats.norm.logsf(abs(table["stat"][1])) + np.log(2)) / np.log(10)
    assert table["log10p"][1] == pytest.approx(expected, rel=1e-12)
    assert table["log10p"][1] > 400


def test_variants_without_variation_have_no_test():
    of = study(m=4)
    of.calls[:, 0] = np.where(of.calls[:, 0] < 0, -1, 0)
    of.calls[:, 1] = -1
    of.calls[:, 2] = of.batch.clip(0, 2) == 1  # a covariate says it all
    table = tabled(of, asked(of, min_total=0))
    assert table["status"].tolist() == [CONSTANT, RARE, CONSTANT, OK]
    assert table["test"].tolist() == [NO_TEST, NO_TEST, NO_TEST, LOGISTIC]
    assert all(np.isnan(table[name][:3]).all() for name in NUMBERS)


def test_a_variant_with_few_carriers_is_withheld_and_has_no_test():
    of = study(rare=0.1)
    carriers = (of.calls[of.complete()] > 0).sum(axis=0)
    few = np.array([of.withheld(variant, 10) for variant in range(of.calls.shape[1])])
    assert (carriers < 10).any()
    assert 0 < (few & (carriers >= 10)).sum() < 40
    table = tabled(of, asked(of, min_total=10, missing="impute"))
    np.testing.assert_array_equal(table["status"] == RARE, (carriers < 10) | few)
    assert (table["n"][(carriers < 10) | few] == 0).all()


@pytest.mark.parametrize("firth", ["fallback", "always"])
def test_sums_that_are_rounded_as_masked_ones_give_the_same_tests(firth):
    """Bounds of 1e8 over five DIZ in 63 bits leave a grid of 5e-11."""
    of = study(rare=0.3)
    exact, rounded = asked(of, firth=firth), asked(of, firth=firth, grid=1e8 * 5 / 2**63)
    expected, found = tabled(of, exact), tabled(of, rounded)
    np.testing.assert_array_equal(found["status"], expected["status"])
    np.testing.assert_array_equal(found["test"], expected["test"])
    for name in NUMBERS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-8)
    assert len(rounded.seen) <= len(exact.seen) + 5


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), parts=st.integers(1, 6))
def test_it_does_not_matter_who_has_which_patient(seed, parts):
    of = study(seed=3, n=200, m=8)
    dealt = replace(of, owner=1 + np.random.default_rng(seed).integers(0, parts, 200))
    found = tabled(dealt, asked(dealt))
    for name, column in tabled(of, asked(of)).items():
        np.testing.assert_allclose(found[name], column, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"disease": lambda of: np.ones(len(of.age))}, r"All \d+ analysed patients are controls"),
        ({"disease": lambda of: np.full(len(of.age), 2.0)}, r"All \d+ analysed patients are cases"),
        ({"batch": lambda of: np.zeros(len(of.age), dtype=np.int64)}, "depend on each other"),
        ({"disease": lambda of: np.where(of.age > 50, 2.0, 1.0)}, "without exception"),
        ({"disease": lambda of: np.full(len(of.age), np.nan)}, "withheld"),
    ],
    ids=["controls", "cases", "collinear", "foretold", "nobody"],
)
def test_without_a_null_model_there_is_a_clear_error(change, text):
    of = study()
    broken = replace(of, **{name: make(of) for name, make in change.items()})
    exchange = asked(broken)
    with pytest.raises(StrategyError, match=text):
        null_model(LogisticSums.null(exchange, exchange.settings, of.design()))


def test_an_answer_of_another_shape_is_named():
    of = study(m=3)
    exchange = asked(of)

    def short(message, content):
        return {name: array[:, :-1] if array.ndim > 1 else array for name, array in exchange(message, content).items()}

    with pytest.raises(UnusableReply, match="gwas_null without counts"):
        null_model(LogisticSums.null(short, exchange.settings, of.design()))


# --- what a DIZ refuses, or withholds ---


def request(of: Study, **arrays: np.ndarray) -> Request:
    m = of.calls.shape[1]
    said = {"index": np.arange(m), "coefficients": np.zeros((m, 5)), **of.design(), **arrays}
    return Request({"start": 0, "stop": m}, said)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"coefficients": np.zeros((3, 4))}, "one for each variant and column"),
        ({"coefficients": np.zeros((2, 5))}, "one for each variant and column"),
        ({"coefficients": np.full((3, 5), np.inf)}, "not finite"),
        ({"coefficients": np.full((3, 5), 31.0)}, "go beyond 30"),
        ({"index": np.array([0, 0, 1])}, "once each"),
        ({"index": np.array([2, 1, 0])}, "once each"),
        ({"index": np.array([0, 1, 3])}, "within its chunk"),
        ({"index": np.array([], dtype=np.int64), "coefficients": np.zeros((0, 5))}, "within its chunk"),
        ({"index": np.zeros(3)}, "once each"),
    ],
)
def test_a_message_that_no_fit_needs_is_refused(arrays, text):
    of = study(m=3)
    site = of.sites()[0]
    with pytest.raises(InputError, match=text):
        site_logistic.gwas_logistic(site, request(of, **arrays), settings_of())


@pytest.mark.parametrize(
    "inverse", [np.zeros((3, 14)), np.full((3, 15), np.nan), np.zeros((2, 15)), np.full((3, 15), 1e9)]
)
def test_inverse_informations_that_do_not_fit_are_refused(inverse):
    of = study(m=3)
    with pytest.raises(InputError, match="inverse informations"):
        site_logistic.gwas_firth(of.sites()[0], request(of, inverse=inverse), settings_of())


def alone(of: Study) -> tuple[Study, int, np.ndarray]:
    """A study in which one patient is much older than all others, and coefficients that leave him alone a weight."""
    row = int(np.flatnonzero(of.complete() & (of.calls[:, 0] >= 0))[0])
    of.age[row] = 300.0
    x, _ = of.pooled()
    b = np.zeros((1, 5))
    b[0, 1] = 12.0
    b[0, 0] = -12.0 * x[:, 1].max()
    return of, row, b


def test_coefficients_that_saturate_everybody_else_show_nothing():
    """Without the guard the sum of w x x' over w is the products of one patient's columns, his genotype among them."""
    of, row, b = alone(study(m=1))
    limit = {"coefficient_limit": 1000.0}  # the guard is what this is about
    message = {"variants": {"start": 0, "stop": 1}, "design": of.design()}
    fit = {"fit": {"index": np.array([0]), "coefficients": b}}
    bare = asked(of, min_total=0, **limit)("query.gwas_logistic", {**message, **fit})
    last_column = bare["hessian"][0][[4, 8, 11, 13, 14]] / bare["hessian"][0][0]
    g, x = of.calls[row, 0], of.pooled(0)[0]
    assert last_column[0] == pytest.approx(g, abs=1e-6)
    assert last_column[1] == pytest.approx(g * x[:, 1].max(), abs=1e-6)

    guarded = asked(of, min_total=10, missing="impute", **limit)("query.gwas_logistic", {**message, **fit})
    assert not any(array.any() for array in guarded.values())
    fit["fit"]["coefficients"] = np.zeros((1, 5))
    assert asked(of, min_total=10, missing="impute")("query.gwas_logistic", {**message, **fit})["counts"].any()


def test_the_null_model_s_sums_are_guarded_as_well():
    of, _, b = alone(study(m=1))
    message = {"design": of.design(), "fit": {"coefficients": b[:, :4]}}
    assert not asked(of, min_total=10, coefficient_limit=1000.0)("query.gwas_null", message)["hessian"].any()


def test_a_refusal_tells_nothing_of_a_patient():
    """Whether a message is refused depends on the message: nobody's linear predictor makes a DIZ refuse."""
    of, _, b = alone(study(m=1))
    usual = study(m=1)
    for coefficients, refused in ((b / 100, False), (b * 100, True)):
        for one in (of, usual):
            message = request(one, coefficients=coefficients)
            if refused:
                with pytest.raises(InputError, match="go beyond"):
                    site_logistic.gwas_logistic(one.sites()[0], message, settings_of())
            else:
                site_logistic.gwas_logistic(one.sites()[0], message, settings_of())


def test_no_inverse_information_singles_a_patient_out():
    """The answer is linear in it, whatever matrix it is: a bound on hat values would make a selector of it."""
    of = study(m=1)
    site = of.sites()[0]
    generator = np.random.default_rng(0)
    b, first, second = generator.normal(size=(1, 5)) / 3, *(1e3 * generator.normal(size=(1, 15)) for _ in range(2))

    def answer(inverse: np.ndarray) -> dict[str, np.ndarray]:
        return site_logistic.gwas_firth(site, request(of, coefficients=b, inverse=inverse), settings_of())

    none, one, other, both = (answer(inverse) for inverse in (0 * first, first, second, first + second))
    for name in ("score", "curvature", "left_score", "left_curvature"):
        np.testing.assert_allclose(both[name] - none[name], one[name] + other[name] - 2 * none[name], atol=1e-6)
        assert np.abs(one[name] - none[name]).max() > 1
