"""Which samples are analysed and what their columns are."""

import numpy as np
import pytest
from gwas.errors import InputError
from gwas.site import Request
from gwas.site_cache import digest, remember
from gwas.site_design import REASONS, analysed, design, terms, why
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gwas import made
from tests.use_cases.gwas.plink_files import settings_of

AGE = [30.0, 40.0, np.nan, 50.0, 60.0, 70.0]
LEVELS = {"batch": ("a", "b", "c")}
CALLS = np.array([[0, 1, 2], [0, 0, -1], [1, 1, 1], [2, -1, -1], [1, 0, 2], [2, 2, 2]], dtype=np.int8)
COLUMNS = settings_of(covariates=("age", "batch", "sex"), levels=LEVELS)


def a_site(**changed):
    of = {"y": [1.0, 2.0, 3.0, 4.0, 5.0, np.nan], "age": AGE}
    return made.site(
        CALLS, numbers=of, codes={"batch": [0, 1, 2, -1, 2, 0]}, levels=LEVELS, sex=[1, 2, 1, 2, 1, 2], **changed
    )


def a_request(**changed):
    arrays = {"centre": np.array([50.0, 1.5, 3.0]), "scale": np.array([10.0, 0.5, 2.0]), **changed}
    return Request({}, {name: array for name, array in arrays.items() if array is not None})


def test_the_columns_are_those_of_the_run_config_in_its_order():
    found = design(a_site(), a_request(), COLUMNS)
    assert terms(COLUMNS) == ("(intercept)", "age", "batch[b]", "batch[c]", "sex")
    assert_array_equal(found.keep, [True, True, False, False, True, False])
    assert_allclose(found.z, [[1, -2, 0, 0, -1], [1, -1, 1, 0, 1], [1, 1, 0, 1, -1]])
    assert_allclose(found.y, [-1, -0.5, 1])
    assert found.rows == 3


def test_each_sample_counts_for_the_first_reason_that_holds():
    site = a_site(train=[True, True, True, True, True, False])
    assert [REASONS[code] for code in why(site, COLUMNS)] == [
        *("analysed", "analysed", "covariate missing", "covariate missing", "analysed", "no phenotype"),
    ]
    strict = settings_of(covariates=("age", "batch"), levels=LEVELS, mind=0.4)
    assert REASONS[why(site, strict)[3]] == "too many genotypes missing"
    assert_array_equal(analysed(site, COLUMNS, "train") & analysed(site, COLUMNS, "test"), [False] * 6)
    assert REASONS[why(site, COLUMNS, "train")[5]] == "held out to test the score"


@pytest.mark.parametrize(("mind", "kept"), [(0.0, 3), (0.34, 4), (0.67, 5), (1.0, 5)])
def test_a_sample_at_the_limit_of_missing_genotypes_stays(mind, kept):
    """Shares of a third and of two thirds; the sixth sample has no phenotype."""
    assert analysed(a_site(), settings_of(covariates=(), mind=mind)).sum() == kept
    assert analysed(a_site(), settings_of(covariates=(), mind=1 / 3)).sum() == 4


def test_a_disease_is_0_or_1_and_nothing_else():
    site = made.site(CALLS, numbers={"y": [1, 2, 2, 0, -9, 3]})
    found = design(
        site,
        a_request(centre=np.zeros(1), scale=np.ones(1)),
        settings_of(analysis="logistic", cases="2", covariates=()),
    )
    assert_array_equal(found.keep, [True, True, True, False, False, False])
    assert_array_equal(found.y, [0, 1, 1])
    with pytest.raises(InputError, match="centres or scales"):
        design(
            site,
            a_request(centre=np.ones(1), scale=np.ones(1)),
            settings_of(analysis="logistic", cases="2", covariates=()),
        )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"centre": np.zeros(2)}, "centre must be 3"),
        ({"scale": np.array([1.0, 0.0, 1.0])}, "above 0"),
        ({"scale": np.array([1.0, np.nan, 1.0])}, "finite"),
        ({"centre": None}, "no centre"),
    ],
)
def test_arrays_that_are_no_centres_and_scales_are_refused(changed, said):
    with pytest.raises(InputError, match=said):
        design(a_site(), a_request(**changed), COLUMNS)


def components(**changed):
    of = {
        "pc_index": np.array([0, 2]),
        "pc_mean": np.array([1.0, 0.5]),
        "pc_scale": np.array([0.5, 2.0]),
        "loadings": np.array([[1.0, 0.0], [0.5, 2.0]]),
        "pc_spread": np.array([1.0, 4.0]),
        **changed,
    }
    return a_request(centre=np.zeros(1), scale=np.ones(1), **of)


def test_principal_components_are_made_of_the_diz_s_genotypes():
    found = design(a_site(), components(), settings_of(covariates=(), pcs=2))
    x = np.column_stack([(CALLS[:5, 0] - 1.0) / 0.5, (np.where(CALLS[:5, 2] < 0, 2, CALLS[:5, 2]) - 0.5) / 2])
    assert_allclose(found.z[:, 1:], x @ [[1, 0], [0.5, 2]] / [1, 4])


@pytest.mark.parametrize(
    "changed",
    [
        {"pc_index": np.array([2, 0])},
        {"pc_index": np.array([1, 1])},
        {"pc_index": np.array([0, 9])},
        {"pc_index": np.array([-1, 1])},
        {"pc_index": np.array([0.0, 1.0])},
        {"loadings": np.ones((2, 1))},
        {"loadings": np.array([[1.0, np.inf], [0.0, 1.0]])},
        {"pc_scale": np.array([1.0, -1.0])},
        {"pc_spread": np.zeros(2)},
        {"pc_mean": None},
    ],
)
def test_components_that_are_none_are_refused(changed):
    with pytest.raises(InputError):
        design(a_site(), components(**changed), settings_of(covariates=(), pcs=2))


def test_components_of_x_are_refused():
    site = made.site(CALLS, of=made.panel([1, 1, 23]), numbers={"y": np.arange(6)})
    with pytest.raises(InputError, match="autosomal"):
        design(site, components(), settings_of(covariates=(), pcs=2))


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(InputError, match="'height'"):
        design(a_site(), a_request(), settings_of(covariates=("height",)))


@given(st.integers(0, 3))
def test_another_question_has_another_design(place):
    """What is remembered of one message is not taken for another's."""
    site, first = a_site(), a_request()
    before = design(site, first, COLUMNS)
    assert design(site, a_request(), COLUMNS) is before
    if place < 3:
        centre = first.arrays["centre"].copy()
        centre[place] += 1
        assert design(site, a_request(centre=centre), COLUMNS) is not before
    else:
        assert design(a_site(), first, COLUMNS) is not before


def test_only_a_few_results_are_kept():
    site, made_of = a_site(), []
    for number in (1, 2, 3, 4, 5, 1):
        remember(site, digest("test", number), lambda number=number: made_of.append(number))
    assert made_of == [1, 2, 3, 4, 5, 1]
    remember(site, digest("test", 5), lambda: made_of.append(5))
    assert len(made_of) == 6


def test_what_depends_on_no_message_is_not_made_again():
    site, made_of = a_site(), []
    for number in (*range(9), 0):
        remember(site, digest("test", number), lambda number=number: made_of.append(number) or number, lasting=True)
    assert made_of == list(range(9))
