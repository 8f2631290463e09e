"""Pruning over DIZ against pooled correlations, and against PLINK 2's."""

from dataclasses import replace

import numpy as np
import pytest
from flame_strategies.ld_pruning import largest_within, prune
from gwas import site_ld
from gwas.errors import InputError
from gwas.ld_run import band_of, common, pruned
from gwas.site import Request
from numpy.testing import assert_allclose

from tests.use_cases.gwas.made import panel, site
from tests.use_cases.gwas.plink_files import panel_of, plink, settings_of
from tests.use_cases.gwas.structure_study import checked, exchange_of, standardised, structured


@pytest.fixture(scope="module")
def study():
    """Haplotypes in blocks of variants that go together, on three chromosomes."""
    made, _ = structured(families=100, children=3, variants=600, seed=8, chromosomes=3)
    rng = np.random.default_rng(8)
    calls = np.zeros_like(made.calls)
    limit = rng.uniform(-1, 1, 600)
    for _ in range(2):
        z = np.zeros(300)
        for j in range(600):
            r = 0.97 if j % 12 else 0.0
            z = r * z + np.sqrt(1 - r**2) * rng.normal(size=300)
            calls[:, j] += z < limit[j]
    return replace(made, calls=calls, panel=panel_of(np.repeat([1, 2, 3], 200).tolist()))


def test_bands_are_sums_over_all_samples(study, tmp_path):
    asked = settings_of(ld_window=15)
    exchange = exchange_of(study.sites(tmp_path), asked)
    variants = common(study.panel, checked(study.calls), settings_of()).take(slice(0, 170))
    X = standardised(study.calls, variants)

    for stretch in (170, 40, 7):
        band = band_of(exchange, variants, 15, stretch=stretch)
        assert band.shape == (170, 15)
        for apart in range(15):
            expected = np.einsum("ni,ni->i", X[:, : 170 - apart], X[:, apart:])
            assert_allclose(band[: 170 - apart, apart], expected, atol=1e-9)
            assert not band[170 - apart :, apart].any()
    assert exchange.history.count("query.gwas_ld") == 1 + 5 + 25


def test_kept_variants_are_those_of_pooled_genotypes(study, tmp_path):
    asked = settings_of(ld_window=20, ld_step=5, ld_r2=0.2)
    candidates = common(study.panel, checked(study.calls), settings_of())
    kept = pruned(exchange_of(study.sites(tmp_path), asked), candidates, study.panel, asked)
    assert 0.1 * candidates.size < kept.size < 0.5 * candidates.size
    for code in (1, 2, 3):
        mine = candidates.take(study.panel.chromosome[candidates.index] == code)
        r2 = np.corrcoef(study.calls[:, mine.index].T) ** 2
        band = np.zeros((mine.size, 20))
        for apart in range(20):
            band[: mine.size - apart, apart] = np.diagonal(r2, apart) ** 0.5
        expected = prune(band, mine.mean / 2, step=5, r2=0.2).kept
        assert np.isin(mine.index, kept.index).tolist() == expected.tolist()
        assert largest_within(band, np.isin(mine.index, kept.index), step=5) <= 0.2


def test_missing_calls_are_the_most_frequent_ones_of_their_diz(study, tmp_path):
    calls = study.calls.copy()
    calls[np.random.default_rng(1).random(calls.shape) < 0.1] = -1
    gaps = replace(study, calls=calls)
    variants = common(study.panel, checked(calls), settings_of()).take(slice(0, 50))
    band = band_of(exchange_of(gaps.sites(tmp_path), settings_of(ld_window=5)), variants, 5)
    X = standardised(calls, variants, study.sheet["site"].to_numpy())
    assert_allclose(band[:, 0], (X**2).sum(axis=0), atol=1e-9)


def test_a_variant_that_a_diz_lacks_is_not_asked_for():
    calls = np.random.default_rng(0).binomial(2, 0.4, (60, 6)).astype(np.int8)
    each = site(calls, numbers={"y": np.arange(60), "age": np.ones(60)}, absent=[2])
    arrays = {"ld_index": np.arange(6), "ld_mean": np.full(6, 0.8), "ld_scale": np.ones(6)}
    with pytest.raises(InputError, match="1 of the 6 variants"):
        site_ld.gwas_ld(each, Request({"rows": 6}, arrays), settings_of(ld_window=3))


@pytest.mark.parametrize(
    ("rows", "index", "text"),
    [
        (0, [0, 1], "stretch"),
        (3, [0, 1], "stretch"),
        (1, [0, 1, 2, 3], "stretch"),
        (2, [2, 4], "two chromosomes"),
        (1, [1, 1], "each once"),
    ],
)
def test_questions_that_pruning_does_not_ask_are_refused(rows, index, text):
    each = site(
        np.ones((5, 6), dtype=np.int8), of=panel([1, 1, 1, 1, 2, 2]), numbers={"y": np.arange(5), "age": np.ones(5)}
    )
    count = len(index)
    arrays = {"ld_index": np.array(index), "ld_mean": np.zeros(count), "ld_scale": np.ones(count)}
    with pytest.raises(InputError, match=text):
        site_ld.gwas_ld(each, Request({"rows": rows}, arrays), settings_of(ld_window=3))


@pytest.mark.peer
def test_pruned_sets_are_about_plink_s(study, tmp_path):
    """PLINK 2 keeps another variant of a group of alike ones here and there, and about as few."""
    asked = settings_of(ld_window=50, ld_step=5, ld_r2=0.2)
    candidates = common(study.panel, checked(study.calls), settings_of())
    kept = pruned(exchange_of(study.sites(tmp_path), asked), candidates, study.panel, asked)
    ours = set(study.panel.id[kept.index])
    stem = study.write(tmp_path / "all")
    plink("plink2", stem, "--maf", "0.05", "--indep-pairwise", "50", "5", "0.2")
    theirs = set(stem.with_suffix(".prune.in").read_text().split())
    assert len(ours & theirs) / len(ours | theirs) > 0.8
    assert abs(len(ours) - len(theirs)) < 0.1 * len(theirs)
    for each in (ours, theirs):  # either set is a right one: no pair within a window is left
        for code in (1, 2, 3):
            mine = np.flatnonzero(study.panel.chromosome == code)
            r2 = np.corrcoef(study.calls[:, mine].T) ** 2
            band = np.zeros((200, 50))
            for apart in range(50):
                band[: 200 - apart, apart] = np.diagonal(r2, apart) ** 0.5
            assert largest_within(band, np.isin(study.panel.id[mine], list(each)), step=5) <= 0.2
