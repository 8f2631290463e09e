"""What hospitals' files are like: each oddity gives the pooled study's result, or an error that says what to do."""

import numpy as np
import pytest
from gwas.linear_run import run
from gwas.quality_rules import FEW_SITES, HIDDEN, MISSING
from gwas.quality_run import run as quality_of
from gwas.results import OK
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gwas.plink_files import hub_of, made_up, rows, settings_of

NUMBERS = ["n", "alt_count", "beta", "se", "stat", "log10p"]


@pytest.fixture
def study():
    return made_up(150, 30, 2, chromosome=[1] * 12 + [2] * 18, missing=0.03)


def scanned(study, folder, *, how=None, **changed):
    folder.mkdir()
    hub = hub_of(study.sites(folder, **(how or {})), settings_of(**changed), folder / "run")
    quality = quality_of(hub)
    return rows(run(hub, quality, None)), quality


def must_be_equal(found, expected):
    for name in NUMBERS:
        assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def without(study, number, variants):
    """The pooled study in which one DIZ's samples have no call of some variants."""
    calls = study.calls.copy()
    calls[np.ix_(study.sheet["site"] == number, variants)] = -1
    return type(study)(calls, study.panel, study.sheet)


@pytest.mark.parametrize("missing", ["exclude", "impute"])
def test_swapped_alleles_at_one_diz(study, tmp_path, missing):
    expected, known = scanned(study, tmp_path / "a", missing=missing)
    how = {"swapped": {0: range(0, 30, 2), 2: [1, 2, 3]}}
    found, quality = scanned(study, tmp_path / "b", how=how, missing=missing)
    must_be_equal(found, expected)
    assert_array_equal(quality.alt_frequency, known.alt_frequency)


def test_another_order_of_samples_and_variants_in_every_file(study, tmp_path):
    expected, _ = scanned(study, tmp_path / "a")
    found, _ = scanned(study, tmp_path / "b", how={"shuffled": True, "swapped": {1: [5, 6]}})
    must_be_equal(found, expected)


def test_a_diz_without_a_chromosome(study, tmp_path):
    """Its samples are in the tests of the other chromosome alone."""
    expected, _ = scanned(without(study, 1, range(12, 30)), tmp_path / "a")
    found, quality = scanned(study, tmp_path / "b", how={"lacks": {1: range(12, 30)}})
    must_be_equal(found, expected)
    assert found["sites"].tolist() == [3] * 12 + [2] * 18
    assert (quality.missing < 0.2).all()
    assert len(found) == 30


def test_diz_whose_variants_overlap_in_part(study, tmp_path):
    lacks = {0: range(10), 1: range(5, 20), 2: range(18, 30)}
    pooled = study
    for number, variants in lacks.items():
        pooled = without(pooled, number, variants)
    expected, _ = scanned(pooled, tmp_path / "a")
    found, quality = scanned(study, tmp_path / "b", how={"lacks": lacks}, min_sites=2)
    assert_array_equal(np.flatnonzero(quality.reason == FEW_SITES), [5, 6, 7, 8, 9, 18, 19])
    must_be_equal(found, expected.loc[found.index])
    assert len(found) == 23


def test_diz_that_share_no_variant(study, tmp_path):
    lacks = {0: range(10, 30), 1: [*range(10), *range(20, 30)], 2: range(20)}
    found, quality = scanned(study, tmp_path / "a", how={"lacks": lacks}, min_sites=1)
    assert_array_equal(quality.sites, 1)
    assert (found["n"] < 100).all()
    assert (found["status"] == OK).all()
    folder = tmp_path / "b"
    folder.mkdir()
    hub = hub_of(study.sites(folder, lacks=lacks), settings_of(min_sites=2), folder / "run")
    quality = quality_of(hub)
    assert not quality.passed.any()
    assert quality.reasons["at too few DIZ"] == 30
    assert list(run(hub, quality, None).parts()) == []


@pytest.mark.parametrize("missing", ["exclude", "impute"])
def test_a_diz_where_a_variant_has_no_call_at_all(study, tmp_path, missing):
    """It has the variant, but nobody's call: as if it lacked it, except that its calls count as missing."""
    pooled = without(study, 0, [4])
    found, quality = scanned(pooled, tmp_path / "a", missing=missing)
    expected, other = scanned(study, tmp_path / "b", how={"lacks": {0: [4]}}, missing=missing)
    must_be_equal(found, expected)
    share = (study.sheet["site"] == 0).mean()
    assert quality.missing[4] > share > other.missing[4]
    strict, control = scanned(pooled, tmp_path / "c", missing=missing, geno=0.1)
    assert control.reason[4] == MISSING
    assert 4 not in strict.index


def test_a_variant_without_any_call(study, tmp_path):
    study.calls[:, 7] = -1
    found, quality = scanned(study, tmp_path / "a")
    assert quality.reason[7] == HIDDEN
    assert found.index.tolist() == [place for place in range(30) if place != 7]
    assert (found["status"] == OK).all()


def test_a_sample_without_any_call(study, tmp_path):
    study.calls[3] = -1
    found, quality = scanned(study, tmp_path / "a", mind=0.5)
    assert quality.samples["too many genotypes missing"] == 1
    assert (found["n"] <= 149).all()
    kept = np.arange(150) != 3
    rest = type(study)(study.calls[kept], study.panel, study.sheet[kept].reset_index(drop=True))
    must_be_equal(found, scanned(rest, tmp_path / "b")[0])


def test_a_diz_with_one_sample(study, tmp_path):
    expected, _ = scanned(study, tmp_path / "a")
    study.sheet["site"] = np.where(np.arange(150) == 0, 1, 0)
    found, _ = scanned(study, tmp_path / "b")
    must_be_equal(found, expected)


def test_a_phenotype_in_large_units_far_from_zero(study, tmp_path):
    expected, _ = scanned(study, tmp_path / "a")
    study.sheet["y"] = 1e6 + 1e3 * study.sheet["y"]
    found, _ = scanned(study, tmp_path / "b")
    assert_allclose(found["beta"], 1e3 * expected["beta"], rtol=1e-8)
    assert_allclose(found["stat"], expected["stat"], rtol=1e-8)
