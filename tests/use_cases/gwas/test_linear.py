"""Federated linear association: PLINK 2's own numbers, statsmodels on the pooled samples, and what an answer holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from flame_strategies.glm_design import Collinear, DesignError
from gwas.errors import InputError
from gwas.linear_run import run
from gwas.moments_run import moments
from gwas.quality_run import run as quality_of
from gwas.results import COLUMNS, CONSTANT, FEW_MISSING, LINEAR, NO_TEST, OK, RARE
from gwas.site import Request
from gwas.site_linear import gwas_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gwas import made
from tests.use_cases.gwas.plink_files import (
    ANSWERS,
    SiteExchange,
    hub_of,
    made_up,
    read_plink,
    read_study,
    rows,
    settings_of,
)

FROZEN = Path(__file__).parent / "frozen" / "plink_linear"
PRINTED = {"beta": "BETA", "se": "SE", "stat": "T_STAT", "p": "P"}
LEVELS = {"batch": ("a", "b", "c")}


def scanned(study, folder, *, change=None, how=None, **changed):
    """All rows of the results, and the hub."""
    hub = hub_of(study.sites(folder, **(how or {})), settings_of(**changed), folder / "run")
    if change is not None:
        hub.exchange.change = change
    found = run(hub, quality_of(hub), None)
    return rows(found), found, hub


def must_be_plink_s(found: pd.DataFrame, table: pd.DataFrame) -> None:
    """To its six printed digits, and counts as integers."""
    assert len(found) == len(table)
    assert_array_equal(found["n"], table["OBS_CT"])
    assert_array_equal(found["alt_count"], table["A1_CT"])
    tested = (table["ERRCODE"] == ".").to_numpy()
    assert tested.sum() > 10
    assert_array_equal(found["status"][tested], OK)
    for ours, theirs in PRINTED.items():
        assert_allclose(found[ours][tested], table[theirs][tested], rtol=5e-6, err_msg=ours)


def with_statsmodels(study, place, columns, *, filled=None):
    """Effect, standard error, t and p of one variant, on the pooled samples; `filled`: calls where some are missing."""
    calls = study.calls[:, place].astype(np.float64)
    g = np.where(calls < 0, np.nan, calls) if filled is None else filled
    x = np.column_stack([np.ones(len(g)), columns, g])
    there = np.isfinite(x).all(axis=1)
    fit = sm.OLS(study.sheet["y"].to_numpy()[there], x[there]).fit()
    return fit.params[-1], fit.bse[-1], fit.tvalues[-1], fit.pvalues[-1]


def columns_of(study):
    batch = study.sheet["batch"].to_numpy()
    return np.column_stack([study.sheet["age"], batch == "b", batch == "c"])


@pytest.mark.parametrize("chunk", [11, 5000])
def test_is_plink_s(tmp_path, chunk):
    """Frozen: chromosomes 1, 2, X, the part that X and Y share, and mitochondria; samples without age or phenotype."""
    found, associations, hub = scanned(read_study(FROZEN), tmp_path, covariates=("age", "sex"), chunk=chunk)
    must_be_plink_s(found, read_plink(FROZEN / "study.y.glm.linear"))
    assert set(found["sites"]) == {3}
    assert set(found["test"]) == {LINEAR}
    assert (associations.samples, associations.sites) == (237, (0, 1, 2))
    assert associations.exchanges == len(hub.exchange.history)


@pytest.mark.parametrize("sites", [1, 2, 5])
def test_is_statsmodels_on_the_pooled_samples(tmp_path, sites):
    """However many DIZ they are at; a category among the covariates."""
    study = made_up(150, 25, 3, sites=sites, missing=0.05)
    found, *_ = scanned(study, tmp_path, how={"levels": LEVELS}, covariates=("age", "batch"), levels=LEVELS)
    expected = np.array([with_statsmodels(study, place, columns_of(study)) for place in range(25)])
    for name, column in zip(("beta", "se", "stat", "p"), expected.T, strict=True):
        assert_allclose(found[name], column, rtol=1e-10, atol=1e-12, err_msg=name)
    assert_allclose(found["log10p"], -np.log10(found["p"]), rtol=1e-12)


def test_an_imputed_call_is_the_most_frequent_of_its_diz(tmp_path):
    """And a DIZ without the variant is not in its test."""
    study = made_up(150, 25, 4, missing=0.1)
    how = {"levels": LEVELS, "lacks": {1: [2, 3]}}
    found, *_ = scanned(study, tmp_path, how=how, covariates=("age", "batch"), levels=LEVELS, missing="impute")
    site = study.sheet["site"].to_numpy()
    for place in range(25):
        g = np.where(study.calls[:, place] < 0, np.nan, study.calls[:, place].astype(np.float64))
        for number in range(3):
            known = g[(site == number) & ~np.isnan(g)].astype(int)
            g[(site == number) & np.isnan(g)] = np.bincount(known).argmax()
        if place in (2, 3):
            g[site == 1] = np.nan
        expected = with_statsmodels(study, place, columns_of(study), filled=g)
        assert_allclose(found.loc[place, ["beta", "se", "stat", "p"]].astype(float), expected, rtol=1e-10)
    called = (study.calls >= 0) & ~((site == 1)[:, None] & np.isin(np.arange(25), [2, 3]))
    assert_array_equal(found["n"], called.sum(axis=0))
    assert_array_equal(found["alt_count"], np.where(called, study.calls, 0).sum(axis=0))
    assert found["sites"].tolist() == [3, 3, 2, 2, *[3] * 21]


def test_a_p_below_the_smallest_number_keeps_its_logarithm(tmp_path):
    study = made_up(1500, 3, 5, missing=0.0)
    study.sheet["y"] = 20.0 * study.calls[:, 1] + study.sheet["y"]
    found, *_ = scanned(study, tmp_path, covariates=())
    assert found.loc[1, "p"] == 0
    assert 400 < found.loc[1, "log10p"] < 5000


@settings(max_examples=8)
@given(st.permutations(list(range(60))), st.integers(1, 4))
def test_how_samples_are_dealt_out_does_not_matter(tmp_path, order, sites):
    study = made_up(60, 6, 6, missing=0.05)
    once, *_ = scanned(study, tmp_path / "once", covariates=("age",))
    study.sheet["site"] = np.asarray(order) % sites
    again, *_ = scanned(study, tmp_path / "again", covariates=("age",))
    for name in ("beta", "se", "stat", "log10p"):
        assert_allclose(again[name], once[name], rtol=1e-9, atol=1e-12)


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    (tmp_path / "once").mkdir()
    (tmp_path / "again").mkdir()


def test_hidden_sums_are_no_result(tmp_path):
    """Zeros from the gates: too few carriers; or so few samples without a call that what they take away is hidden."""
    study = made_up(120, 8, 7, missing=0.05, chromosome=[1] * 8)

    def hide(what, sums):
        if what == "query.gwas_linear":
            for name in sums:
                sums[name][[2, 5]] = 0
        return sums

    study.calls[:, 2] = np.maximum(study.calls[:, 2], 0)
    found, *_ = scanned(study, tmp_path, change=hide)
    assert found["status"].tolist() == [OK, OK, RARE, OK, OK, FEW_MISSING, OK, OK]
    assert found.loc[[2, 5], ["beta", "se", "stat", "p", "log10p"]].isna().all(axis=None)
    assert found.loc[[2, 5], "test"].tolist() == [NO_TEST, NO_TEST]
    assert found.loc[[0, 1, 3, 4, 6, 7], ["beta", "se", "stat", "p", "log10p"]].notna().all(axis=None)


def test_a_small_diz_without_the_variant_may_hide_its_test(tmp_path):
    """Imputed calls: the variant is at two of three DIZ, and what the third takes away is hidden."""
    study = made_up(120, 4, 8, missing=0.05, chromosome=[1] * 4)

    def hide(what, sums):
        if what == "query.gwas_linear":
            assert sums["mzz"][1, 0] > 0
            for name in ("mzz", "mzy", "myy"):
                sums[name][1] = 0
        return sums

    found, *_ = scanned(study, tmp_path, change=hide, how={"lacks": {0: [1]}}, missing="impute")
    assert found["status"].tolist() == [OK, FEW_MISSING, OK, OK]


def test_the_guards_count_carriers_and_leaving_samples():
    calls = np.array([[0, 2, -1], [1, 2, 0], [-1, 2, 0], [0, -1, 0], [2, 2, -1]], dtype=np.int8)
    site = made.site(calls, numbers={"y": [1.0, 2.0, 4.0, 3.0, 5.0]})
    request = Request({"start": 0, "stop": 3}, {"centre": np.array([3.0]), "scale": np.array([1.0])})
    found = gwas_linear(site, request, settings_of(covariates=()))
    # carriers of alt and of ref, in the test, and as a DIZ; of those who leave, without the variant or a call
    assert found["carriers"].tolist() == [[2, 3, 4, 1], [4, 0, 4, 1], [0, 3, 3, 1]]
    assert found["classes"].tolist() == [[0, 1], [0, 1], [0, 2]]
    assert found["n"].tolist() == [4, 4, 3]
    assert found["g"].tolist() == [3, 8, 0]
    assert found["gg"].tolist() == [5, 16, 0]
    assert_allclose(found["gy"], [-1 + 2 * 2, 2 * (-2 - 1 + 1 + 2), 0])
    assert_allclose(found["myy"], [1, 0, 4 + 4])
    imputed = gwas_linear(site, request, settings_of(covariates=(), missing="impute"))
    assert imputed["classes"].tolist() == [[0], [0], [0]]
    assert not imputed["mzz"].any()
    assert imputed["copies"].tolist() == found["g"].tolist()
    assert imputed["g"].tolist() == [3, 10, 0]
    assert imputed["gg"].tolist() == [5, 20, 0]
    assert_allclose(imputed["gy"], [3, 0 + 2 * 0, 0])


def test_a_diz_without_samples_answers_with_zeros():
    site = made.site(np.ones((3, 2), dtype=np.int8), numbers={"y": [np.nan] * 3})
    arrays = {"centre": np.array([3.0]), "scale": np.array([1.0])}
    for name in ("gwas_samples", "gwas_counts", "gwas_centre", "gwas_moments", "gwas_linear"):
        found = ANSWERS[name](site, Request({"start": 0, "stop": 2}, arrays), settings_of(covariates=()))
        assert not any(array.any() for key, array in found.items() if key != "samples")


def test_another_analysis_takes_no_prediction_off_the_phenotype():
    site = made.site(np.ones((3, 2), dtype=np.int8), numbers={"y": [1.0, 2.0, 3.0]})
    arrays = {"centre": np.array([2.0]), "scale": np.array([1.0]), "loco_index": np.array([0])}
    with pytest.raises(InputError, match="prediction"):
        gwas_linear(site, Request({"start": 0, "stop": 2}, arrays), settings_of(covariates=()))


def moments_of(study, folder, **changed):
    asked = settings_of(analysis="logistic", cases="2", **changed)
    return moments(SiteExchange(study.sites(folder), asked), asked)


def test_a_disease_is_neither_centred_nor_scaled(tmp_path):
    study = made_up(60, 4, 9)
    study.sheet["y"] = 1.0 + (study.sheet["y"] > study.sheet["y"].median())
    found = moments_of(study, tmp_path)
    assert (found.y_centre, found.y_scale) == (0, 1)
    assert (found.arrays["centre"][-1], found.arrays["scale"][-1]) == (0, 1)
    assert found.yy == found.zy[0] == (study.sheet["y"] == 2).sum()
    assert_allclose(found.arrays["centre"][0], study.sheet["age"].mean())
    assert (found.n, found.sites, found.terms) == (60, 3, ("(intercept)", "age"))


def test_a_disease_that_everyone_has_is_constant(tmp_path):
    study = made_up(60, 4, 9)
    study.sheet["y"] = 2.0
    with pytest.raises(DesignError, match="'y' is the same for all"):
        moments_of(study, tmp_path)


@pytest.mark.parametrize("column", ["y", "age"])
def test_a_constant_column_is_named_before_the_scan(tmp_path, column):
    study = made_up(60, 4, 9)
    study.sheet[column] = 37.5
    with pytest.raises(DesignError, match=f"'{column}' is the same for all"):
        scanned(study, tmp_path)


def test_a_covariate_that_others_foretell_is_named(tmp_path):
    study = made_up(60, 4, 9)
    study.sheet["years"] = 2 * study.sheet["age"] + 3
    with pytest.raises(Collinear, match="'years'"):
        scanned(study, tmp_path, covariates=("age", "years"))


def test_a_level_that_nobody_has_is_named(tmp_path):
    study = made_up(60, 4, 9)
    levels = {"batch": ("a", "b", "c", "d")}
    with pytest.raises(Collinear, match=r"'batch\[d\]'"):
        scanned(study, tmp_path, how={"levels": levels}, covariates=("batch",), levels=levels)


def test_a_phenotype_that_is_a_covariate_leaves_nothing(tmp_path):
    study = made_up(60, 4, 9)
    study.sheet["again"] = study.sheet["y"] * 2 + 1
    with pytest.raises(DesignError, match="foretell 'y'"):
        scanned(study, tmp_path, covariates=("again",))


def test_too_few_samples_are_an_error(tmp_path):
    study = made_up(4, 4, 9, sites=1, missing=0.0)
    with pytest.raises(DesignError, match="need at least 5"):
        scanned(study, tmp_path, how={"levels": LEVELS}, covariates=("age", "sex"))


def test_constant_variants_have_rows_and_no_result(tmp_path):
    study = made_up(60, 4, 10, missing=0.0)
    study.calls[:, 1], study.calls[:, 3] = 1, 2
    found, *_ = scanned(study, tmp_path)
    assert found["status"].tolist() == [OK, CONSTANT, OK, CONSTANT]
    assert list(found.reset_index().columns) == list(COLUMNS)


def test_filtered_variants_have_no_row(tmp_path):
    study = made_up(60, 6, 10, missing=0.0)
    study.calls[:, 4] = 0
    found, *_ = scanned(study, tmp_path, maf=0.01)
    assert found.index.tolist() == [0, 1, 2, 3, 5]
