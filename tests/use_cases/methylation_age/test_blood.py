"""The price of noise: the mechanism's arithmetic, and its result on the packaged blood set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from methylation_age import blood
from scipy.stats import norm


@pytest.mark.parametrize("epsilon", blood.EPSILONS)
def test_noise_meets_the_exact_condition(epsilon: float) -> None:
    """delta(epsilon) of the Gaussian mechanism (Balle and Wang 2018, theorem 8) is 1e-5, and not wastefully less."""
    a = 1 / blood.noise_multiplier(epsilon)
    delta = norm.cdf(a / 2 - epsilon / a) - np.exp(epsilon) * norm.cdf(-a / 2 - epsilon / a)
    assert 0.99e-5 < delta <= 1.0001e-5


@given(arrays(np.float64, 6, elements=st.floats(-10, 10)))
def test_one_patient_moves_the_matrix_by_the_square_of_the_norm(row: np.ndarray) -> None:
    """The diagonal and root two times what is above it, the coordinates that get equal noise, move by |v|^2."""
    outer = np.outer(row, row)
    moved = np.concatenate([np.diag(outer), np.sqrt(2) * outer[np.triu_indices(6, 1)]])
    assert np.linalg.norm(moved) == pytest.approx(row @ row)


def test_the_noise_on_the_matrix_is_symmetric_and_of_the_stated_size() -> None:
    """Standard deviation s on the diagonal and s / sqrt 2 above it.

    2,000 and 9,000 draws: a standard deviation's own standard error is 1.6 % and 0.75 %, so tolerances of 8 % and 5 %
    fail by chance less than once in a million runs, and a factor of 1.2 passes less than once in a million.
    """
    generator = np.random.default_rng()
    noise = [blood._noise(10, 3.0, generator) for _ in range(200)]
    diagonal = np.concatenate([np.diag(matrix) for matrix in noise])
    above = np.concatenate([matrix[np.triu_indices(10, 1)] for matrix in noise])
    assert all(np.array_equal(matrix, matrix.T) for matrix in noise)
    assert diagonal.std() == pytest.approx(3.0, rel=0.08)
    assert above.std() == pytest.approx(3.0 / np.sqrt(2), rel=0.05)


@pytest.mark.slow
def test_price_on_blood(packaged_data: None) -> None:
    """MAE at most 5.3 years at epsilon 1 and 4.5 at 8; more budget never costs accuracy; noise never helps."""
    price = blood.price_of_noise(repetitions=5)
    at = dict(zip(price.epsilons, price.errors, strict=True))
    assert at[1.0] <= 5.3
    assert at[8.0] <= 4.5
    assert list(price.errors) == sorted(price.errors, reverse=True)
    assert price.without_noise < min(price.errors) < price.guess
