"""Which variants and samples pass: PLINK 2's own sets, and each limit by itself."""

from pathlib import Path

import numpy as np
import pytest
from gwas.quality_rules import FEW_SITES, HIDDEN, HWE, MAF, MISSING, PASSED, STRAND, judge
from gwas.quality_run import run
from gwas.site_design import analysed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.use_cases.gwas.plink_files import anew, hub_of, made_up, plink, read_study, settings_of

FROZEN = Path(__file__).parent / "frozen" / "plink_linear"

LIMITS = {"mind": 0.06, "geno": 0.04, "maf": 0.1, "hwe": 0.02}


def sets_of(study, folder, **changed):
    """Ids of the variants and samples that pass."""
    asked = settings_of(**changed)
    sites = study.sites(folder)
    found = run(hub_of(sites, asked, folder / "run"))
    people = {who for site in sites for who, kept in zip(site.patients, analysed(site, asked), strict=True) if kept}
    return set(study.panel.id[found.passed]), people, found


def lines(path):
    return {line.split()[-1] for line in path.read_text().splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("chunk", [7, 5000])
def test_the_sets_are_plink_s(tmp_path, chunk):
    variants, people, found = sets_of(read_study(FROZEN), tmp_path, covariates=("age", "sex"), chunk=chunk, **LIMITS)
    assert variants == lines(FROZEN / "passed.snplist")
    assert people == lines(FROZEN / "passed.id")
    assert 0 < len(variants) < len(found.reason)
    assert found.samples["analysed"] == len(people)
    assert sum(found.samples.values()) == 240
    assert sum(found.reasons.values()) == len(found.reason)
    assert min(found.reasons[text] for text in found.reasons if "calls missing" in text or "Hardy" in text) > 0


@pytest.mark.peer
@pytest.mark.parametrize("seed", [1, 2])
def test_the_sets_are_plink_s_on_other_data(tmp_path, seed):
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.choice([1, 2, 22, 23, 24, 25, 26], 120))
    study = made_up(200, 120, seed, chromosome=codes.tolist(), missing=0.04)
    stem = study.write(tmp_path / "pooled")
    limits = {"mind": 0.08, "geno": 0.05, "maf": 0.12, "hwe": 0.05}
    words = [word for name, value in limits.items() for word in (f"--{name}", str(value))]
    plink("plink2", stem, *words, "--write-snplist", "--write-samples")
    variants, people, _ = sets_of(study, tmp_path, covariates=(), **limits)
    assert variants == lines(tmp_path / "pooled.snplist")
    assert people == lines(tmp_path / "pooled.id")
    assert 0 < len(people) < 200


def found_of(counts, males=(0, 0, 0), controls=(0, 0, 0), sites=3, unclear=0):
    harmony = np.array([[0, sites, 0, 0, 0, unclear, 0, 0]])
    return {
        name: np.array([value]) for name, value in (("counts", counts), ("males", males), ("controls", controls))
    } | {"harmony": harmony}


ALL = {"geno": 0.1, "maf": 0.05, "hwe": 1e-3, "min_sites": 2}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (found_of((81, 18, 1, 0)), PASSED),
        (found_of((81, 18, 1, 11)), PASSED),  # 11 of 111 are not a tenth
        (found_of((81, 18, 1, 12)), MISSING),
        (found_of((90, 10, 0, 0)), PASSED),  # exactly at the limit
        (found_of((91, 9, 0, 0)), MAF),
        (found_of((0, 9, 91, 0)), MAF),
        (found_of((50, 0, 50, 0)), HWE),
        (found_of((81, 18, 1, 0), sites=1), FEW_SITES),
        (found_of((0, 0, 0, 0)), HIDDEN),
        (found_of((0, 0, 0, 90), sites=3), HIDDEN),
        (found_of((0, 0, 0, 0), sites=0), FEW_SITES),
        (found_of((0, 0, 0, 0), sites=0, unclear=1), FEW_SITES),
        (found_of((0, 0, 0, 0), sites=0, unclear=3), STRAND),
        (found_of((81, 18, 1, 0), sites=1, unclear=1), STRAND),
        (found_of((81, 18, 1, 0), sites=2, unclear=1), PASSED),
    ],
)
def test_each_limit(found, reason):
    assert judge(found, 1, settings_of(**ALL))["reason"].tolist() == [reason]


@pytest.mark.parametrize("counts", [(0, 1, 4, 0), (4, 1, 0, 0), (0, 2, 8, 0)])
def test_a_frequency_at_the_limit_passes_whichever_allele_is_the_rarer_one(counts):
    """1 - 9 / 10 is less than 0.1 in floating point."""
    assert judge(found_of(counts), 1, settings_of(maf=0.1))["reason"].tolist() == [PASSED]


def test_equilibrium_may_be_that_of_controls():
    asked = settings_of(analysis="logistic", cases="2", hwe_in="controls", **ALL)
    assert judge(found_of((50, 0, 50, 0), controls=(25, 50, 25)), 1, asked)["reason"].tolist() == [PASSED]
    assert judge(found_of((25, 50, 25, 0), controls=(50, 0, 50)), 1, asked)["reason"].tolist() == [HWE]


@pytest.mark.parametrize("code", [24, 26])
def test_haploid_variants_have_no_equilibrium(code):
    found = judge(found_of((0, 0, 0, 0), males=(50, 50, 0)), code, settings_of(**ALL))
    assert found["reason"].tolist() == [PASSED]
    assert np.isnan(found["hwe"]).all()


@settings(max_examples=40)
@given(st.floats(0, 1), st.tuples(*[st.integers(0, 50)] * 4))
def test_a_stricter_limit_never_lets_more_pass(limit, counts):
    loose = judge(found_of(counts), 1, settings_of(geno=limit))["reason"][0]
    strict = judge(found_of(counts), 1, settings_of(geno=limit / 2))["reason"][0]
    assert loose == PASSED or strict != PASSED


def test_a_run_that_was_killed_goes_on(tmp_path):
    study = read_study(FROZEN)
    sites = study.sites(tmp_path)
    asked = settings_of(covariates=("age", "sex"), chunk=10, **LIMITS)
    whole = run(hub_of(sites, asked, tmp_path / "whole"))
    hub = hub_of(sites, asked, tmp_path / "run")

    def die(what, sums):
        if what == "query.gwas_counts" and hub.exchange.history.count(what) == 5:
            raise KeyboardInterrupt
        return sums

    hub.exchange.change = die
    with pytest.raises(KeyboardInterrupt):
        run(hub)
    again = anew(hub, sites)
    found = run(again)
    assert again.exchange.history.count("query.gwas_counts") == len(list(study.panel.chunks(10))) - 4
    for name in ("reason", "alt_frequency", "missing", "hwe", "sites", "harmony"):
        assert_array_equal(getattr(found, name), getattr(whole, name))


def test_the_sex_check_asks_with_pooled_frequencies_of_x(tmp_path):
    study = read_study(FROZEN)
    hub = hub_of(study.sites(tmp_path), settings_of(covariates=(), sex_check=True), tmp_path / "run")
    found = run(hub)
    assert found.sex.sum() == 240
    sent = hub.exchange.contents[hub.exchange.history.index("query.gwas_sex")]["x"]
    assert_array_equal(sent["x_index"], np.flatnonzero(study.panel.chromosome == 23))
    assert_array_equal(sent["x_frequency"], found.alt_frequency[sent["x_index"]])
    assert run(hub_of(study.sites(tmp_path), settings_of(covariates=()), tmp_path / "other")).sex is None
