"""Firth's tests over DIZ equal the pooled ones, at every size of a DIZ and whatever calls are missing."""

import numpy as np
import pytest
from gwas.results import FIRTH, NOT_CONVERGED, NUMBERS, OK, RARE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.support.penalised import firth
from tests.use_cases.gwas.logistic_study import asked, study
from tests.use_cases.gwas.test_logistic import tabled


@pytest.mark.parametrize("missing", ["exclude", "impute"])
def test_tests_are_the_pooled_ones(missing):
    of = study(seed=5, m=40, rare=0.5)
    table = tabled(of, asked(of, firth="always", missing=missing))
    assert (table["status"] == OK).all()
    assert (table["test"] == FIRTH).all()
    for variant in range(of.calls.shape[1]):
        estimate, error, _ = firth(*of.pooled(variant, impute=missing == "impute"))
        row = {name: column[variant] for name, column in table.items()}
        z = estimate[-1] / error[-1]
        assert row["beta"] == pytest.approx(estimate[-1], rel=1e-9, abs=1e-10)
        assert row["se"] == pytest.approx(error[-1], rel=1e-9)
        assert row["stat"] == pytest.approx(z, rel=1e-9, abs=1e-9)
        assert row["p"] == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-8)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
def test_a_fallback_is_the_firth_test_of_the_pooled_samples(seed):
    """Of variants with one to three carriers, most of them in cases or controls alone."""
    of = study(seed, n=150, m=6)
    rng = np.random.default_rng(seed)
    for variant in range(5):
        of.calls[:, variant] = 0
        of.calls[rng.permutation(np.flatnonzero(of.complete()))[: 1 + variant % 3], variant] = 1
    table = tabled(of, asked(of))
    assert (table["status"] == OK).all()
    assert table["test"][0] == FIRTH  # a single carrier is always on one side
    for variant in np.flatnonzero(table["test"] == FIRTH):
        estimate, error, _ = firth(*of.pooled(int(variant)))
        assert table["beta"][variant] == pytest.approx(estimate[-1], rel=1e-8, abs=1e-8)
        assert table["se"][variant] == pytest.approx(error[-1], rel=1e-8)


def test_only_the_variants_that_need_it_are_fitted_again():
    of = study(seed=5, m=60, rare=0.5)
    exchange = asked(of)
    table = tabled(of, exchange)
    again = [count for query, count in exchange.seen if query == "gwas_firth"]
    assert 0 < again[0] == (table["test"] == FIRTH).sum() < 30
    assert again == sorted(again, reverse=True)
    assert len(exchange.seen) < 60


def test_without_the_fallback_a_separated_variant_has_no_test():
    of = study(seed=5, m=60, rare=0.5)
    with_it, without = tabled(of, asked(of)), tabled(of, asked(of, firth="no"))
    lost = with_it["test"] == FIRTH
    np.testing.assert_array_equal(without["status"], np.where(lost, NOT_CONVERGED, with_it["status"]))
    for name in NUMBERS:
        np.testing.assert_array_equal(without[name][~lost], with_it[name][~lost])
        assert np.isnan(without[name][lost]).all()


def test_a_rare_variant_is_withheld_from_firth_s_method_as_well():
    of = study(seed=5, m=60, rare=0.5)
    rare = (of.calls[of.complete()] > 0).sum(axis=0) < 10
    table = tabled(of, asked(of, firth="always", missing="impute", min_total=10))
    assert rare.any()
    few = np.array([of.withheld(variant, 10) for variant in range(60)])
    assert not few.all()
    np.testing.assert_array_equal(table["status"] == RARE, rare | few)
