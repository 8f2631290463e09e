"""Pruning from banded sums against a pruning of whole correlation matrices, window by window."""

import numpy as np
import pytest
from flame_strategies.ld_pruning import largest_within, prune, squared_correlations
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose


def chain(n, m, correlation, seed):
    """Genotypes whose neighbours are correlated, centred, and their allele frequencies."""
    rng = np.random.default_rng(seed)
    copies = np.zeros((n, m))
    for _ in range(2):
        z = rng.normal(size=n)
        for j in range(m):
            z = correlation * z + np.sqrt(1 - correlation**2) * rng.normal(size=n)
            copies[:, j] += z < 0.8 * np.sin(j)
    return copies - copies.mean(axis=0), copies.mean(axis=0) / 2


def band_of(x, window):
    m = x.shape[1]
    band = np.zeros((m, window))
    for i in range(m):
        for d in range(min(window, m - i)):
            band[i, d] = x[:, i] @ x[:, i + d]
    return band


def reference(r2, minor, window, step, most):
    """As the description has it: window after window, pair after pair."""
    m = len(minor)
    kept = np.ones(m, dtype=bool)
    for start in range(0, m, step):
        inside = range(start, min(start + window, m))
        for j in inside:
            for i in reversed(range(start, j)):
                if kept[i] and kept[j] and r2[i, j] > most:
                    kept[i if minor[i] < minor[j] - 1e-9 else j] = False
    return kept


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(2, 12),
    st.integers(1, 12),
    st.sampled_from([0.05, 0.2, 0.5]),
)
def test_the_kept_set_is_that_of_a_pass_over_windows(seed, m, window, step, most):
    x, frequency = chain(40, m, 0.9, seed)
    band = band_of(x, window)
    varies = x.any(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(np.outer(varies, varies), np.corrcoef(x.T).reshape(m, m) ** 2, 0)
    minor = np.minimum(frequency, 1 - frequency)

    found = prune(band, frequency, step=step, r2=most)

    assert found.kept.tolist() == (reference(r2, minor, window, step, most) & varies).tolist()
    assert largest_within(band, found.kept, step=step) <= most


def test_correlations_are_numpy_s():
    x, _ = chain(100, 20, 0.8, 1)
    found = squared_correlations(band_of(x, 6))
    whole = np.corrcoef(x.T) ** 2
    for i in range(20):
        for d in range(6):
            if i + d < 20:
                assert found[i, d] == pytest.approx(whole[i, i + d], rel=1e-10)
            else:
                assert np.isnan(found[i, d])


def test_of_a_pair_the_rarer_variant_goes_and_of_two_alike_the_later():
    x = np.array([[1.0, -1, 1, -1], [1, -1, 1, -1]]).T
    for frequency, kept in (([0.5, 0.2], [True, False]), ([0.9, 0.5], [False, True]), ([0.3, 0.7], [True, False])):
        assert prune(band_of(x, 2), np.array(frequency), step=1, r2=0.5).kept.tolist() == kept


def test_pairs_that_share_no_window_stay():
    x = np.tile(np.array([[1.0], [-1], [1], [-1]]), (1, 3))
    assert prune(band_of(x, 2), np.full(3, 0.5), step=2, r2=0.5).kept.tolist() == [True, False, True]
    assert prune(band_of(x, 3), np.full(3, 0.5), step=3, r2=0.5).kept.tolist() == [True, False, False]


def test_a_withheld_or_constant_variant_is_not_kept():
    x, frequency = chain(50, 5, 0.1, 2)
    x[:, 2] = 0
    found = prune(band_of(x, 3), frequency, step=1, r2=0.9)
    assert found.kept.tolist() == [True, True, False, True, True]
    assert_allclose(found.pairs, 0)


def test_impossible_questions_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        prune(np.ones((3, 2)), np.ones(3), step=0, r2=0.2)
    with pytest.raises(ValueError, match="do not fit"):
        prune(np.ones((3, 2)), np.ones(2), step=1, r2=0.2)
