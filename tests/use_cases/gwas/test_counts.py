"""Numbers of genotypes and samples: PLINK 2's own, and what happens on X, Y and in mitochondria."""

from pathlib import Path

import numpy as np
import pytest
from gwas import quality_run
from gwas.errors import InputError
from gwas.quality_rules import HIDDEN
from gwas.site import Request
from gwas.site_calls import read_calls, tally
from gwas.site_counts import gwas_counts, gwas_sex, inbreeding, sex_of_x
from gwas.site_quality import missing_share
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from numpy.testing import assert_allclose, assert_array_equal

from tests.use_cases.gwas import made
from tests.use_cases.gwas.plink_files import hub_of, made_up, plink, read_plink, read_study, settings_of

FROZEN = Path(__file__).parent / "frozen" / "plink_linear"

SEX = [1, 1, 2, 2, 0]
"""Two males, two females, one of unknown sex."""

ONE = np.array([[0], [1], [1], [2], [2]], dtype=np.int8)


def ask(site, asked, start=0, stop=None):
    return gwas_counts(site, Request({"start": start, "stop": stop or site.panel.size}), asked)


@settings(max_examples=40)
@given(stn.arrays(np.int8, st.tuples(st.integers(1, 40), st.integers(1, 9)), elements=st.integers(-1, 2)))
def test_tallies_are_counts(calls):
    found = tally(calls.copy(order="F"))
    none, one, two = found.genotypes(len(calls))
    for number, counted in ((-1, found.missing), (0, none), (1, one), (2, two)):
        assert_array_equal(counted, (calls == number).sum(axis=0))


def test_calls_are_read_as_they_are_of_the_samples_that_are_kept():
    rng = np.random.default_rng(0)
    calls = rng.integers(-1, 3, (13, 5)).astype(np.int8)
    keep = rng.random(13) < 0.5
    assert_array_equal(read_calls(made.site(calls), 1, 4, keep), calls[keep, 1:4])


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        (1, [0, 1, 1, 2, 2]),
        (23, [0, -1, 1, 2, 2]),
        (24, [0, -1, -1, -1, -1]),
        (25, [0, 1, 1, 2, 2]),
        (26, [0, -1, -1, 2, 2]),
    ],
)
def test_calls_on_x_y_and_in_mitochondria(code, calls):
    site = made.site(ONE, of=made.panel([code]), sex=SEX)
    assert read_calls(site, 0, 1, np.ones(5, dtype=np.bool_)).ravel().tolist() == calls


@pytest.mark.parametrize("span", [(0, 99), (-1, 2), (3, 3), (1, 4)])
def test_spans_beyond_the_panel_or_of_two_chromosomes_are_refused(span):
    site = made.site(np.zeros((3, 6), dtype=np.int8), of=made.panel([1, 1, 2, 2, 2, 2]))
    with pytest.raises(InputError):
        read_calls(site, *span, np.ones(3, dtype=np.bool_))


@pytest.mark.parametrize(
    ("code", "counts", "males"),
    [
        (1, [1, 2, 2, 0], [0, 0, 0]),
        (25, [1, 2, 2, 0], [0, 0, 0]),
        (23, [0, 1, 2, 0], [1, 0, 1]),
        (24, [0, 0, 0, 0], [1, 0, 1]),
        (26, [0, 0, 0, 0], [1, 2, 2]),
    ],
)
def test_a_haploid_call_of_one_copy_is_missing(code, counts, males):
    site = made.site(ONE, of=made.panel([code]), numbers={"y": np.arange(5)}, sex=SEX)
    found = ask(site, settings_of(covariates=()))
    assert found["counts"].tolist() == [counts]
    assert found["males"].tolist() == [males]
    alt, ref = counts[1] + counts[2] + males[1], counts[0] + counts[1] + males[0]
    assert found["carriers"].tolist() == [[alt, ref, 1]]


def test_controls_are_counted_where_they_are_asked_for():
    site = made.site(ONE, numbers={"y": [1, 1, 2, 2, 1]}, sex=SEX)
    disease = {"analysis": "logistic", "cases": "2", "covariates": ()}
    found = ask(site, settings_of(**disease, hwe_in="controls"))
    assert found["controls"].tolist() == [[1, 1, 1]]
    assert found["carriers"].tolist() == [[4, 3, 3, 2, 1]]  # and controls, cases, a DIZ
    assert ask(site, settings_of(**disease))["controls"].tolist() == [[0, 0, 0]]


def test_a_variant_that_a_diz_lacks_is_not_missing_there():
    site = made.site(np.ones((4, 3), dtype=np.int8), numbers={"y": np.arange(4)}, absent=[1])
    assert ask(site, settings_of(covariates=()))["counts"].tolist() == [[0, 4, 0, 0], [0, 0, 0, 0], [0, 4, 0, 0]]
    assert_array_equal(missing_share(site), [0, 0, 0, 0])


def test_a_diz_without_any_of_the_variants_has_no_sample_with_calls():
    site = made.site(np.ones((4, 2), dtype=np.int8), absent=[0, 1])
    assert_array_equal(missing_share(site), [1, 1, 1, 1])


def test_numbers_are_plink_s(tmp_path):
    """Frozen: allele counts and missing calls are equal as integers, p of the exact test but for printed digits."""
    study = read_study(FROZEN)
    sites = study.sites(tmp_path)
    hub = hub_of(sites, settings_of(covariates=("age", "sex"), chunk=13), tmp_path / "run")
    found = quality_run.run(hub)
    alleles = read_plink(FROZEN / "study.acount")
    assert len(alleles) == study.panel.size
    assert_allclose(found.alt_frequency, alleles["ALT_CTS"] / alleles["OBS_CT"], rtol=1e-15)
    counts, males = (_column(hub.exchange, name) for name in ("counts", "males"))
    assert_array_equal(counts[:, 1] + 2 * counts[:, 2] + males[:, 1], alleles["ALT_CTS"])
    missing = read_plink(FROZEN / "study.vmiss")
    assert_array_equal(counts[:, 3] + males[:, 2], missing["MISSING_CT"])
    everyone = missing["OBS_CT"]
    assert_array_equal(counts.sum(axis=1) + males.sum(axis=1), everyone)
    autosomes, x = read_plink(FROZEN / "study.hardy"), read_plink(FROZEN / "study.hardy.x")
    for table, codes in ((autosomes, (1, 2, 25)), (x, (23,))):
        of = np.isin(study.panel.chromosome, codes)
        assert of.sum() == len(table) > 20
        assert_allclose(found.hwe[of], table["P"], rtol=5e-6)
    assert np.isnan(found.hwe[study.panel.chromosome == 26]).all()
    assert_array_equal(found.sites, 3)
    by_sample = read_plink(FROZEN / "study.smiss").set_index("IID")["F_MISS"]
    shares = {name: share for site in sites for name, share in zip(site.patients, missing_share(site), strict=True)}
    assert_allclose([shares[name] for name in by_sample.index], by_sample, rtol=5e-6)


def _column(exchange, name):
    """The totals of all chunks."""
    asked = [replies for what, replies in zip(exchange.history, exchange.replies, strict=True) if "counts" in what]
    return np.concatenate([sum(answer[name] for answer in replies.values()) for replies in asked])


def test_hidden_counts_leave_no_frequency(tmp_path):
    """The gates give a row of zeros where too few people carry one of the alleles."""
    study = read_study(FROZEN)
    hub = hub_of(study.sites(tmp_path), settings_of(covariates=()), tmp_path / "run")

    def hide(_, sums):
        if "counts" in sums:
            sums["counts"][3], sums["males"][3] = 0, 0
        return sums

    hub.exchange.change = hide
    found = quality_run.run(hub)
    assert found.reason[3] == HIDDEN
    assert np.isnan(found.alt_frequency[3])
    assert not found.passed[3]


def x_study():
    """Males have 0 or 2, females what equilibrium gives, and two samples bear the other sex."""
    rng = np.random.default_rng(5)
    sex = np.repeat([1, 2], 20)
    frequency = rng.uniform(0.2, 0.8, 300)
    calls = np.where(
        sex[:, None] == 1, 2 * rng.binomial(1, frequency, (40, 300)), rng.binomial(2, frequency, (40, 300))
    )
    calls[rng.random(calls.shape) < 0.02] = -1
    said = sex.copy()
    said[[0, 30]], said[7] = [2, 1], 0
    return made.site(calls.astype(np.int8), of=made.panel([23] * 300), sex=said), frequency


def test_the_sex_check_counts_samples_and_names_none():
    site, frequency = x_study()
    request = Request({}, {"x_index": np.arange(300), "x_frequency": frequency})
    found = gwas_sex(site, request, settings_of())["sex"]
    assert found.tolist() == [[0, 1, 0], [0, 18, 1], [0, 1, 19]]


def test_f_is_1_less_the_share_of_heterozygous_calls_that_were_expected():
    site, frequency = x_study()
    calls = site.genotypes.calls[25]
    there = calls >= 0
    expected = 1 - (calls == 1).sum() / (2 * frequency * (1 - frequency))[there].sum()
    assert_allclose(inbreeding(site, np.arange(300), frequency)[25], expected)


@pytest.mark.peer
def test_f_is_plink_s(tmp_path):
    """PLINK 1.9's, with the frequencies that the hub would send: males count once."""
    study = made_up(120, 300, 4, chromosome=[1] * 50 + [23] * 250, missing=0.03)
    stem = study.write(tmp_path / "pooled")
    plink("plink1.9", stem, "--check-sex")
    table = read_plink(tmp_path / "pooled.sexcheck")
    sites = study.sites(tmp_path)
    found = quality_run.run(hub_of(sites, settings_of(covariates=(), chunk=100), tmp_path / "run"))
    index = np.flatnonzero(study.panel.chromosome == 23)
    by_sample = {}
    for site in sites:
        f = inbreeding(site, index, found.alt_frequency[index])
        by_sample |= dict(zip(site.patients, f.tolist(), strict=True))
    assert_allclose([by_sample[name] for name in table["IID"]], table["F"], atol=5.1e-5)  # of four printed digits
    assert_array_equal([sex_of_x(np.array([by_sample[name]]))[0] for name in table["IID"]], table["SNPSEX"])


@pytest.mark.parametrize(
    ("index", "frequency"),
    [([0, 1], [0.5]), ([1, 0], [0.5, 0.5]), ([0, 400], [0.5, 0.5]), ([0, 1], [0.0, 0.5]), ([0, 1], [0.5, 1.0])],
)
def test_a_sex_check_of_no_frequencies_is_refused(index, frequency):
    site, _ = x_study()
    request = Request({}, {"x_index": np.array(index), "x_frequency": np.array(frequency)})
    with pytest.raises(InputError):
        gwas_sex(site, request, settings_of())


def test_a_sex_check_of_autosomes_is_refused():
    site = made.site(ONE, sex=SEX)
    with pytest.raises(InputError, match="X"):
        gwas_sex(site, Request({}, {"x_index": np.array([0]), "x_frequency": np.array([0.5])}), settings_of())
