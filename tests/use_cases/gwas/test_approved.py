"""What a message may ask under the approved run config."""

import numpy as np
import pytest
from gwas import approved, client_app
from gwas.approved import MOST_OF_A_COMPONENT, QUERIES, check, check_loadings
from gwas.errors import InputError
from gwas.settings import ANALYSES
from gwas.site import Request
from hypothesis import given
from hypothesis import strategies as st

from tests.use_cases.gwas.made import panel

PANEL = panel([1] * 600 + [2] * 400, np.where(np.arange(1000) == 998, 0.01, 0.4))


def components(count: int = 300, k: int = 4) -> dict[str, np.ndarray]:
    return {
        "pc_index": np.arange(count),
        "pc_mean": np.ones(count),
        "pc_scale": np.ones(count),
        "loadings": np.random.default_rng(0).normal(size=(count, k)),
        "pc_spread": np.ones(k),
    }


def design(**more: np.ndarray) -> dict[str, np.ndarray]:
    """Of the covariates age (a number) and sex (a category)."""
    return {"centre": np.zeros(2), "scale": np.ones(2), **components(), **more}


def ask(settings, query="gwas_linear", start=0, stop=100, arrays=None, **more) -> None:
    arrays = design() if arrays is None else arrays
    check(query, Request({"start": start, "stop": stop}, arrays), settings(**more), PANEL)


def test_every_query_of_the_app_is_asked_by_some_analysis(settings):
    asked = {name for names in QUERIES.values() for name in names}
    asked |= {*approved._ALWAYS, *approved._COMPONENTS, "gwas_sex"}
    assert asked == set(client_app.ANSWERS)
    assert set(QUERIES) == set(ANALYSES)


def test_what_a_fit_sends_is_let_through(settings):
    ask(settings)
    ask(settings, start=600, stop=1000)
    ask(settings, "gwas_counts", arrays={})
    ask(settings, "gwas_logistic", analysis="logistic", arrays=design(index=np.array([0, 7, 99])))


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("gwas_logistic", {}),
        ("gwas_ridge", {}),
        ("score_check", {"analysis": "two-step"}),
        ("gwas_linear", {"analysis": "logistic"}),
        ("gwas_pca", {"pcs": 0}),
        ("gwas_ld", {"pcs": 0}),
        ("gwas_sex", {"sex_check": False}),
        ("train", {}),
    ],
)
def test_another_analysis_s_queries_are_refused(settings, query, more):
    with pytest.raises(InputError, match="does not ask"):
        check(query, Request({}, {}), settings(**more), PANEL)


@pytest.mark.parametrize(
    "span", [(-1, 5), (0, 0), (5, 4), (900, 1001), (0, 301), (True, 5), (0.0, 5), (None, 5), ("0", 5), ([0], [5])]
)
def test_a_range_is_a_chunk_of_the_panel(settings, span):
    with pytest.raises(InputError, match="range of variants"):
        ask(settings, start=span[0], stop=span[1], chunk=300)


def test_a_range_is_of_one_chromosome(settings):
    with pytest.raises(InputError, match="two chromosomes"):
        ask(settings, start=590, stop=610)


@pytest.mark.parametrize("name", [*approved.WEIGHED, "index"])
def test_only_common_variants_take_weights(settings, name):
    query = "score_check" if name == "index" else "gwas_linear"
    chosen = settings(analysis="score" if name == "index" else "linear")
    if name != "pc_index":  # whose other arrays belong to it
        check(query, Request({}, {"centre": np.zeros(2), name: np.array([997])}), chosen, PANEL)
    with pytest.raises(InputError, match="1 of the 2 variants"):
        check(query, Request({}, {"centre": np.zeros(2), name: np.array([997, 998])}), chosen, PANEL)
    rows = {"centre": np.zeros(2), "index": np.array([998])}  # rows of a chunk, which the guard protects
    check("gwas_linear", Request({}, rows), chosen, PANEL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pc_mean": np.full(300, 2.1)}, "outside 0 to 2"),
        ({"pc_mean": np.full(300, -0.1)}, "outside 0 to 2"),
        ({"mean": np.full(3, 1e300)}, "outside 0 to 2"),
        ({"pc_scale": np.full(300, 1e-3)}, "outside 0.01 to 10"),
        ({"ridge_scale": np.full(300, 11.0)}, "outside 0.01 to 10"),
        ({"pc_spread": np.full(4, 1e308)}, "outside 0.001 to 10000"),
        ({"loadings": np.full((300, 4), 1e200)}, "'loadings' lies outside"),
        ({"loadings": np.full((300, 4), 1e-200)}, "'loadings' lies outside"),
        ({"basis": np.full((300, 4), 1e4)}, "'basis' lies outside"),
        ({"loco_weights": np.full((3, 5), -101.0)}, "'loco_weights' is beyond 100"),
        ({"loco_z": np.full((5, 3), 1e9)}, "'loco_z' is beyond 100"),
        ({"centre": np.array([1e7, 0.0])}, "beyond 1e"),
        ({"scale": np.array([1e-7, 1.0])}, "scales are not from"),
        ({"scale": np.array([1e7, 1.0])}, "scales are not from"),
    ],
)
def test_numbers_are_of_a_size_that_a_fit_has(settings, change, message):
    with pytest.raises(InputError, match=message):
        ask(settings, arrays=design(**change))


def test_a_logistic_model_s_covariates_have_no_small_scale(settings):
    """Within the limit of coefficients, a small one cuts between neighbouring ages."""
    small = design(scale=np.array([0.4, 1.0]))
    ask(settings, arrays=small)
    with pytest.raises(InputError, match=r"scales are not from 0\.5"):
        ask(settings, "gwas_null", arrays=small, analysis="logistic")


@pytest.mark.parametrize("name", approved.INDICES)
@pytest.mark.parametrize(
    "index",
    [
        np.array([3, 3]),
        np.array([4, 3]),
        np.array([-1, 3]),
        np.array([3, 1000]),
        np.array([[1, 2]]),
        np.array([1.0, 2.0]),
        np.array([1, 2], dtype=np.int32),
    ],
)
def test_lists_of_variants_are_in_order_and_each_once(settings, name, index):
    with pytest.raises(InputError, match="list of variants"):
        ask(settings, arrays={name: index})


def test_a_list_lies_in_its_range(settings):
    with pytest.raises(InputError, match="outside its range"):
        ask(settings, arrays=design(index=np.array([5, 100])))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["centre", "loadings", "coefficients", "anything"])
def test_numbers_are_finite(settings, name, value):
    with pytest.raises(InputError, match="not finite"):
        ask(settings, arrays=design(**{name: np.full(2, value)}))


def test_words_are_no_numbers(settings):
    with pytest.raises(InputError, match="no numbers"):
        ask(settings, arrays=design(centre=np.array(["a", "b"])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centre": np.zeros(3)}, "'centre' does not belong"),
        ({"scale": np.ones(1)}, "'scale' does not belong"),
        ({"scale": np.array([1.0, 0.0])}, "scales are not from"),
        ({"pc_scale": np.full(300, -1.0)}, "outside 0.01"),
        ({"pc_spread": np.zeros(4)}, "outside 0.001"),
        ({"pc_spread": np.ones(5)}, "not those of the approved run config"),
        ({"loadings": np.ones((300, 5))}, "not those of the approved run config"),
        ({"loadings": np.ones((299, 4))}, "not those of the approved run config"),
        ({"pc_mean": np.ones(2)}, "not those of the approved run config"),
    ],
)
def test_a_design_is_the_approved_one(settings, change, message):
    with pytest.raises(InputError, match=message):
        ask(settings, arrays=design(**change))


def test_components_need_all_of_their_arrays(settings):
    for name in ("pc_mean", "pc_scale", "loadings", "pc_spread"):
        arrays = design()
        del arrays[name]
        with pytest.raises(InputError, match="not those of the approved run config"):
            ask(settings, arrays=arrays)


def test_components_are_not_there_where_none_is_approved(settings):
    with pytest.raises(InputError, match="not those of the approved run config"):
        ask(settings, arrays=design(), pcs=0)


@given(st.integers(0, 299), st.floats(1.001, 1e6))
def test_no_variant_is_a_component(row, more):
    loadings = np.ones((300, 2))
    share = MOST_OF_A_COMPONENT
    loadings[row, 1] = np.sqrt(more * share / (1 - share) * 299)
    with pytest.raises(InputError, match="that variant's genotypes"):
        check_loadings(loadings)
    loadings[row, 1] = np.sqrt(share / (1 - share) * 299) / 1.001
    check_loadings(loadings)


def test_a_component_of_a_few_variants_is_refused(settings):
    with pytest.raises(InputError, match="fewer than 100 variants"):
        ask(settings, arrays={"centre": np.zeros(2), "scale": np.ones(2), **components(99)})


def test_a_component_of_nothing_is_no_genotype():
    """Zeros are a column of zeros: nothing to learn, and no share of anything."""
    check_loadings(np.zeros((300, 1)))
