"""How often a gene is chosen, and the index of it."""

import math

import numpy as np
import pytest
from gene_expression.classify_model import ClassifySettings
from gene_expression.classify_run import repeat_screen
from gene_expression.stability import stability
from hypothesis import given
from hypothesis import strategies as st

from tests.use_cases.gene_expression.phenotype_sites import CLASSES, GENES, make


def nogueira(matrix):
    """Equation 4 of their paper, by a loop over features."""
    d = matrix.shape[1]
    variances = [matrix[:, f].var(ddof=1) for f in range(d)]
    k = matrix.sum(axis=1).mean()
    return 1 - np.mean(variances) / (k / d * (1 - k / d))


@given(st.integers(2, 12), st.integers(2, 9), st.integers(0, 2**31))
def test_the_index_is_that_of_the_paper(B, d, seed):
    """For choices of any size."""
    matrix = np.random.default_rng(seed).random((B, d)) < 0.4
    genes = [f"g{i}" for i in range(d)]
    found = stability(genes, [[genes[f] for f in np.flatnonzero(row)] for row in matrix])
    np.testing.assert_allclose(found.frequency, matrix.mean(axis=0))
    if 0 < matrix.mean() < 1:
        assert found.index == pytest.approx(nogueira(matrix.astype(float)), abs=1e-12)
    else:
        assert math.isnan(found.index)


def test_always_the_same_genes_is_1_and_their_table_comes_first():
    """The most frequent first, without those that were never chosen."""
    found = stability(["a", "b", "c"], [["b"], ["b"]])
    assert found.index == pytest.approx(1)
    assert found.table() == [("b", 1.0)]
    assert math.isnan(stability(["a"], []).index)


def test_frequencies_are_those_of_the_pooled_samples():
    """Choices on halves by sums over five sites are those of the pooled rows, drawn again from the same hashes."""
    study = make(300, 5)
    settings = ClassifySettings("group", CLASSES, select=4, stability=12, seed=7)
    split, pooled = (repeat_screen(sites, settings, GENES)["case"] for sites in (study.sites(), study.pooled()))
    np.testing.assert_array_equal(split.frequency, pooled.frequency)
    assert split.choices == 12
    assert {gene for gene, share in split.table() if share > 0.8} >= {"G0", "G2"}  # two that the classes depend on
    other = repeat_screen(study.sites(), ClassifySettings("group", CLASSES, select=4, stability=12, seed=8), GENES)
    assert not np.array_equal(other["case"].frequency, split.frequency)
