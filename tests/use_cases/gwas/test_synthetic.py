"""The synthetic cohort has what the analyses are there to find."""

from itertools import pairwise

import numpy as np
import pytest
from gwas.panel import X
from gwas.settings import Settings
from gwas.synthetic import CAUSAL, make


@pytest.fixture(scope="module")
def cohort():
    return make(nodes=5, seed=1)


def test_the_same_seed_gives_the_same_cohort():
    one, again, other = (make(nodes=5, seed=seed, samples=200) for seed in (1, 1, 2))
    np.testing.assert_array_equal(again.calls, one.calls)
    assert (other.calls != one.calls).mean() > 0.1


def test_populations_differ_and_are_mixed_differently(cohort):
    frequency = np.array(
        [np.where(cohort.calls < 0, 0, cohort.calls)[cohort.population == of].mean(axis=0) / 2 for of in range(3)]
    )
    assert np.abs(frequency[0] - frequency[2]).mean() > 0.05
    shares = np.array([np.bincount(cohort.population[cohort.site == of], minlength=3) for of in range(5)], dtype=float)
    shares /= shares.sum(axis=1, keepdims=True)
    assert np.ptp(shares, axis=0).max() > 0.3


def test_neighbours_in_a_block_are_correlated_and_others_are_not(cohort):
    some = cohort.calls[cohort.population == 0][:, :400].astype(float)
    some[some < 0] = np.nan
    common = [
        row
        for row in range(0, 392, 8)
        if 0.5 < np.nanmean(some[:, row]) < 1.5 and 0.5 < np.nanmean(some[:, row + 1]) < 1.5
    ]
    near = [_r2(some[:, row], some[:, row + 1]) for row in common]
    far = [_r2(some[:, row], some[:, other]) for row, other in pairwise(common)]
    assert np.mean(near) > 0.2
    assert np.mean(far) < 0.01


def _r2(one: np.ndarray, two: np.ndarray) -> float:
    both = np.isfinite(one) & np.isfinite(two)
    return float(np.corrcoef(one[both], two[both])[0, 1] ** 2)


def test_the_trait_rests_on_the_planted_variants_and_the_population(cohort):
    trait, known = cohort.columns["trait"], np.isfinite(cohort.columns["trait"])
    genetic = np.where(cohort.calls < 0, 0, cohort.calls)[:, cohort.causal] @ cohort.effects
    assert len(cohort.causal) == CAUSAL
    assert 0.35 < np.corrcoef(genetic[known], trait[known])[0, 1] < 0.75
    means = [trait[known & (cohort.population == of)].mean() for of in range(3)]
    assert means[1] - means[2] > 0.6


def test_there_is_something_for_quality_control_to_find(cohort):
    missing = (cohort.calls < 0).mean(axis=0)
    assert 20 < (missing > 0.05).sum() < 100
    assert ((cohort.calls < 0).mean(axis=1) > 0.1).sum() > 0
    men = cohort.columns["sex"] == 1
    heterozygous = (cohort.calls[:, cohort.panel.chromosome == X] == 1).mean(axis=1)
    assert 0 < (heterozygous[men] > 0.1).sum() < 20  # said to be men, with two X


def test_some_are_siblings(cohort):
    """Pairs at one DIZ that share more than others do."""
    rows = np.flatnonzero((cohort.site == 4) & (cohort.population == 0))
    g = np.where(cohort.calls[rows] < 0, 0, cohort.calls[rows]).astype(float)
    g = (g - g.mean(axis=0)) / np.where(g.std(axis=0) > 0, g.std(axis=0), 1)
    kinship = g @ g.T / g.shape[1]
    upper = kinship[np.triu_indices(len(rows), 1)]
    assert (upper > 0.35).sum() >= 5
    assert np.abs(np.median(upper)) < 0.05


def test_the_disease_is_a_share_of_the_patients(cohort, settings):
    disease = cohort.columns["disease"]
    wanted: Settings = settings(analysis="logistic")
    assert set(disease[np.isfinite(disease)]) == set(wanted.coding)
    assert 0.25 < np.nanmean(disease == 2) < 0.35
