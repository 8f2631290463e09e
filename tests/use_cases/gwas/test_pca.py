"""Principal components over DIZ against a singular value decomposition of the pooled genotypes, and against PLINK 2."""

import tomllib
from dataclasses import replace
from pathlib import Path

import gwas
import numpy as np
import pandas as pd
import pytest
from flame_strategies.block_krylov import subspace_angle
from flame_strategies.errors import StrategyError
from flame_strategies.ld_pruning import largest_within
from gwas import site_pca, site_scaled
from gwas.errors import InputError
from gwas.ld_run import band_of, common
from gwas.pca_run import components, of_variants, principal_components
from gwas.site import Request
from gwas.site_design import design
from gwas.store import load_site
from numpy.testing import assert_allclose

from tests.use_cases.gwas.made import panel, site
from tests.use_cases.gwas.plink_files import Study, plink, read_plink, settings_of
from tests.use_cases.gwas.structure_study import ANSWERS, checked, exchange_of, standardised, structured

PYPROJECT = Path(gwas.__file__).parents[1] / "pyproject.toml"
STRUCTURE = {"families": 150, "children": 2, "variants": 800, "seed": 3, "fst": 0.08, "shift": 0.5}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Components of DIZ in memory, and the pooled matrix that they are of."""
    study, _ = structured(**STRUCTURE, missing=0.03)
    asked = settings_of(pcs=3, pca_rounds=40, ld_r2=0.04)
    exchange = exchange_of(study.sites(tmp_path_factory.mktemp("sites"), shuffled=True), asked)
    quality = checked(study.calls)
    result = components(exchange, study.panel, asked, quality)
    return study, asked, exchange, result, standardised(study.calls, result.variants, study.sheet["site"].to_numpy())


def test_the_space_is_that_of_the_pooled_decomposition(found):
    study, _, exchange, result, X = found
    _, sizes, right = np.linalg.svd(X, full_matrices=False)
    assert result.converged
    assert subspace_angle(result.loadings, right[:3].T) <= 1e-6
    assert_allclose(result.eigenvalues, sizes[:3] ** 2, rtol=1e-10)
    assert_allclose(result.share, sizes[:3] ** 2 / (sizes**2).sum(), rtol=1e-10)
    for loadings, pooled in zip(result.loadings.T, right, strict=False):
        assert abs(loadings @ pooled) > 1 - 1e-10
        assert loadings[np.abs(loadings).argmax()] > 0
    assert result.samples == len(study.sheet)
    assert exchange.history.count("query.gwas_pca") == result.rounds <= 40
    assert 100 < result.variants.size < result.candidates  # so something was pruned


def test_a_diz_makes_its_components_from_the_loadings(found):
    """As columns of its design: X v, over the standard deviation of all samples'."""
    study, asked, exchange, result, X = found
    whole = X @ result.loadings
    whole /= whole.std(axis=0)
    arrays = {**result.arrays(), "centre": np.zeros(2), "scale": np.ones(2)}
    for number, each in enumerate(exchange._sites):
        made = design(each, Request({}, arrays), asked).z[:, -3:]
        assert_allclose(made, whole[study.sheet["site"] == number], atol=0.02)  # missing calls leave a mean of nearly 0
        own = X[study.sheet["site"] == number] @ result.loadings / result.spread
        assert_allclose(made, own, atol=1e-9)


def test_populations_are_found_and_nothing_of_a_sample_leaves(found):
    study, _, exchange, result, X = found
    first = X @ result.loadings[:, 0]
    gap = np.sort(first)
    assert np.diff(gap).max() > 5 * np.median(np.diff(gap))  # two clouds
    for replies in exchange.replies:
        for answer in replies.values():
            assert not any(len(study.sheet) in array.shape for array in answer.values())
            assert not any((study.sheet["site"] == 0).sum() in array.shape for array in answer.values())


def test_no_component_is_asked_for_none_is_found(found):
    _, asked, _, _, _ = found

    class Nothing:
        settings = replace(asked, pcs=0)

    assert principal_components(Nothing(), None) is None


def test_variants_that_a_diz_lacks_are_left_out(found):
    study, asked, _, _, _ = found
    quality = checked(study.calls)
    quality.sites[::2] = 4
    assert (common(study.panel, quality, asked).index % 2 == 1).all()


def test_rows_that_the_gate_withholds_leave_the_basis_too(found):
    _, asked, exchange, result, X = found

    def change(message, sums):
        if message == "query.gwas_pca" and sums["product"].shape[0] == result.variants.size:
            return {**sums, "product": np.where(np.arange(result.variants.size)[:, None] < 7, 0.0, sums["product"])}
        return sums

    again = exchange_of(exchange._sites, asked)
    again.change = change
    less = of_variants(again, result.variants, asked, 0)
    assert less.variants.index.tolist() == result.variants.index[7:].tolist()
    right = np.linalg.svd(X[:, 7:], full_matrices=False)[2]
    assert subspace_angle(less.loadings, right[:3].T) <= 1e-6


def test_components_under_masks_are_the_same(found):
    """Answers are rounded to the contract's bound times the DIZ over 2^63, which is all that masks change."""
    _, asked, exchange, result, X = found
    contract = tomllib.loads(PYPROJECT.read_text())["tool"]["flame"]["messages"]["query.gwas_pca"]["arrays"]
    step = next(array["max_abs"] for array in contract if array["name"] == "product") * 5 / 2**63
    again = exchange_of(exchange._sites, asked)
    again.change = lambda _, sums: {**sums, "product": np.rint(sums["product"] / step) * step}
    masked = of_variants(again, result.variants, asked, 0)
    assert masked.converged
    right = np.linalg.svd(X, full_matrices=False)[2]
    assert subspace_angle(masked.loadings, right[:3].T) <= 1e-6
    assert_allclose(masked.loadings, result.loadings, atol=1e-6)


def test_notes_say_when_the_space_is_not_determined_or_the_hub_learns_much(found):
    _, _, _, result, _ = found
    assert "principal components" in result.notes()[0]
    few = replace(result, rounds=5, samples=66)
    assert len(few.notes()) == 1
    assert "could work out X'X" in replace(few, samples=65).notes()[1]
    assert "hardly set apart" in replace(few, converged=False).notes()[1]


def test_two_variants_that_differ_in_one_patient_still_read_that_patient():
    """What the rule does not prevent, and the modules say so: both variants are common."""
    rng = np.random.default_rng(1)
    calls = rng.binomial(2, 0.4, (150, 130)).astype(np.int8)
    calls[:, 8] = calls[:, 7]
    calls[60, 8] = 2 if calls[60, 7] < 2 else 0
    apart = float(calls[60, 8]) - calls[60, 7]
    mean = calls.mean(axis=0)
    basis = np.zeros((130, 1))
    basis[8], basis[7] = 1, -1
    arrays = {"pca_index": np.arange(130), "pca_mean": mean, "pca_scale": np.ones(130), "basis": basis}
    asked = settings_of(pcs=2, min_carriers=10)
    parts = np.array_split(np.arange(150), 3)
    diz = [site(calls[rows], numbers={"y": rows, "age": rows}) for rows in parts]
    sums = sum(site_pca.gwas_pca(each, Request({}, arrays), asked)["product"][:, 0] for each in diz)
    others = np.delete(np.arange(130), (7, 8))
    assert_allclose((mean + sums / apart)[others], calls[60, others], atol=1e-9)


def test_a_missing_call_is_the_most_frequent_one_whatever_the_mean():
    calls = np.array([[0, -1, 2], [0, 1, 2], [1, 1, -1], [-1, 2, 1], [1, 0, -1]], dtype=np.int8)
    full = np.array([[0, 1, 2], [0, 1, 2], [1, 1, 2], [0, 2, 1], [1, 0, 2]])
    for mean in (0.0, 0.7):
        x = site_scaled.scaled(calls, np.full(3, mean), np.full(3, 0.25))
        assert_allclose(x, (full - mean) / 0.25)
    assert not site_scaled.filled(np.full((4, 2), -1, dtype=np.int8)).any()


def test_only_common_autosomal_variants_of_the_panel_take_weights():
    of = panel([1, 1, 1, 1, 22, 23, 25], [0.04, 0.05, 0.95, np.nan, 0.5, 0.5, 0.5])
    found = site_scaled.weighable(of, settings_of(pca_maf=0.05))
    assert np.flatnonzero(found).tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pca_index": np.arange(130)[::-1].copy()}, "each once and in order"),
        ({"pca_index": np.arange(1, 131)}, "each once and in order"),
        ({"pca_index": np.zeros(0, dtype=np.int64)}, "no list"),
        ({"pca_mean": np.zeros(3)}, "pca_mean"),
        ({"pca_scale": np.zeros(130)}, "above 0"),
        ({"basis": np.ones((130, 13))}, "at most 12 columns"),
        ({"basis": np.full((130, 2), np.nan)}, "finite"),
        ({"basis": np.ones((129, 2))}, "shape"),
        ({"basis": np.ones(130)}, "columns"),
    ],
)
def test_questions_that_no_fit_asks_are_refused(change, text):
    calls = np.random.default_rng(0).binomial(2, 0.4, (30, 130)).astype(np.int8)
    each = site(calls, of=panel(np.ones(130)), numbers={"y": np.arange(30), "age": np.ones(30)})
    arrays = {"pca_index": np.arange(130), "pca_mean": np.ones(130), "pca_scale": np.ones(130)}
    asked, right = settings_of(pcs=2), {**arrays, "basis": np.ones((130, 12))}
    assert ANSWERS["gwas_pca"](each, Request({}, right), asked)["product"].shape == (130, 12)
    with pytest.raises(InputError, match=text):
        ANSWERS["gwas_pca"](each, Request({}, {**right, **change}), asked)


def test_sex_chromosomes_are_refused():
    each = site(np.zeros((4, 3), dtype=np.int8), of=panel([1, 22, 23]), numbers={"y": np.arange(4), "age": np.ones(4)})
    arrays = {"pca_index": np.array([0, 2]), "pca_mean": np.ones(2), "pca_scale": np.ones(2), "basis": np.ones((2, 1))}
    with pytest.raises(InputError, match="autosomes"):
        site_pca.gwas_pca(each, Request({}, arrays), settings_of(pcs=2))


def test_too_few_variants_are_said(found):
    _, asked, exchange, result, _ = found
    with pytest.raises(StrategyError, match="12 variants are left"):
        of_variants(exchange, result.variants.take(slice(0, 12)), asked, 12)


@pytest.mark.peer
def test_components_are_those_of_plink(found, tmp_path):
    """On the same variants: PLINK 2 divides by the calls that two samples share, which without missing calls is all."""
    study, _ = structured(**STRUCTURE)
    asked = settings_of(pcs=3, pca_rounds=40, ld_r2=0.04)
    result = components(exchange_of(study.sites(tmp_path), asked), study.panel, asked, checked(study.calls))
    stem = study.write(tmp_path / "all")
    (tmp_path / "kept").write_text("\n".join(study.panel.id[result.variants.index]))
    plink("plink2", stem, "--pca", "3", "--extract", str(tmp_path / "kept"))
    theirs = read_plink(stem.with_suffix(".eigenvec"))
    ours = standardised(study.calls, result.variants) @ result.loadings
    for number in range(3):
        assert abs(np.corrcoef(ours[:, number], theirs[f"PC{number + 1}"])[0, 1]) > 1 - 1e-8
    values = np.loadtxt(stem.with_suffix(".eigenval"))
    assert_allclose(result.eigenvalues / result.variants.size, values, rtol=1e-4)


@pytest.mark.peer
@pytest.mark.slow
def test_measured_genotypes(prepared, settings, tmp_path):
    """1,000 people of HapMap on chromosome 10: components are the pooled ones, pruning is about PLINK's."""
    asked = settings(set="snpstats", pcs=4, min_carriers=1)
    folder = prepared("snpstats")
    sites = [load_site(str(folder / f"DIZ-{number}" / "genotypes"), asked, number) for number in range(1, 6)]
    calls = np.concatenate([each.genotypes.read(0, each.panel.size) for each in sites])
    quality = checked(calls)
    quality = replace(quality, passed=(calls < 0).mean(axis=0) < 0.05)
    exchange = exchange_of(sites, asked)
    result = components(exchange, sites[0].panel, asked, quality)
    assert result.converged
    of_site = np.repeat(np.arange(5), [each.samples for each in sites])
    X = standardised(calls, result.variants, of_site)
    assert subspace_angle(result.loadings, np.linalg.svd(X, full_matrices=False)[2][:4].T) <= 1e-6

    n = len(calls)
    sheet = {"iid": [f"S{row}" for row in range(n)], "sex": 1, "y": 0.0, "age": 1.0, "site": 0}
    study = Study(calls, sites[0].panel, pd.DataFrame(sheet))
    stem, names = study.write(tmp_path / "all"), sites[0].panel.id
    candidates = common(sites[0].panel, quality, asked)
    (tmp_path / "candidates").write_text("\n".join(names[candidates.index]))
    window = ["--indep-pairwise", str(asked.ld_window), str(asked.ld_step), str(asked.ld_r2)]
    plink("plink2", stem, "--extract", str(tmp_path / "candidates"), *window)
    ours, theirs = set(names[result.variants.index]), set(stem.with_suffix(".prune.in").read_text().split())
    assert len(ours & theirs) / len(ours | theirs) > 0.85
    band = band_of(exchange, candidates, asked.ld_window)
    for kept in (ours, theirs):
        assert largest_within(band, np.isin(names[candidates.index], list(kept)), step=asked.ld_step) <= asked.ld_r2
