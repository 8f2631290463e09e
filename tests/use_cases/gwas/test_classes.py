"""Groups of people that sums tell apart."""

import numpy as np
import pytest
from gwas.site_calls import most_frequent
from gwas.site_classes import by_site, everyone, groups, with_a_call
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from tests.use_cases.gwas import made

CALLS = stn.arrays(np.int8, st.tuples(st.integers(1, 30), st.integers(1, 6)), elements=st.integers(-1, 2))


def test_groups_are_all_levels_and_both_outcomes(settings):
    here = made.site(
        np.zeros((5, 2), dtype=np.int8),
        numbers={"disease": [1, 2, 2, 1, 2], "trait": range(5)},
        codes={"batch": [0, 2, 2, 0, 0]},
        levels={"batch": ("a", "b", "c")},
    )
    keep = np.array([True, True, True, True, False])
    of = {"covariates": "batch", "levels": "batch=a|b|c"}
    disease = settings(analysis="logistic", phenotype="disease", cases="2", **of)
    assert everyone(groups(here, disease, keep)).tolist() == [[2, 0, 2, 2, 2]]
    assert everyone(groups(here, settings(phenotype="trait", **of), keep)).tolist() == [[2, 0, 2]]
    assert everyone(groups(here, settings(phenotype="trait", covariates="age", levels=""), keep)).tolist() == [[4]]


@how(max_examples=30)
@given(CALLS)
def test_people_with_a_call_are_counted_by_group(calls):
    of = np.column_stack([np.ones(len(calls)), np.arange(len(calls)) % 2])
    found = with_a_call(np.asfortranarray(calls), of)
    np.testing.assert_array_equal(found[:, 0], (calls >= 0).sum(axis=0))
    np.testing.assert_array_equal(found[:, 1], (calls[1::2] >= 0).sum(axis=0))


@how(max_examples=30)
@given(CALLS)
def test_the_most_frequent_call_is_one_that_nobody_else_s_outnumbers(calls):
    for own, found in zip(calls.T, most_frequent(calls), strict=True):
        often = [(own == copies).sum() for copies in range(3)]
        assert often[found] == max(often)
        assert max(often[:found], default=-1) < max(often)


@pytest.mark.parametrize(("diz", "reached"), [(2, False), (3, True), (5, True)])
def test_fewer_diz_than_wanted_do_not_reach_the_minimum(settings, diz, reached):
    chosen = settings(min_carriers=10, min_sites=3)
    total = sum(by_site(np.array([1000]), chosen) for _ in range(diz))
    assert (total[0, 0] >= 10) == reached
