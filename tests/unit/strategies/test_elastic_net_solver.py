"""The exact solver on a few columns, against brute force over all sign patterns."""

import itertools

import numpy as np
import pytest
from flame_strategies.elastic_net_solver import solve_restricted
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose


def objective(H, c, l1, b):
    return 0.5 * b @ H @ b - c @ b + l1 @ np.abs(b)


def brute_force(H, c, l1):
    """The least objective over all 3^m sign patterns, each solved as a linear system."""
    best = 0.0
    for pattern in itertools.product((-1, 0, 1), repeat=len(c)):
        signs = np.array(pattern, dtype=float)
        at = np.flatnonzero(signs)
        b = np.zeros(len(c))
        b[at] = np.linalg.lstsq(H[np.ix_(at, at)], c[at] - l1[at] * signs[at], rcond=None)[0]
        best = min(best, objective(H, c, l1, b))  # also of a point off its pattern: still an upper bound
    return best


def optimality(H, c, l1, b):
    """Distance from the optimality conditions."""
    r = c - H @ b
    return np.where(b != 0, np.abs(r - l1 * np.sign(b)), np.maximum(np.abs(r) - l1, 0)).max()


whole = st.integers(-3, 3).map(float)


@given(
    X=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=whole),
    y=arrays(np.float64, 6, elements=whole),
    start=arrays(np.float64, 5, elements=whole),
    penalty=st.sampled_from([0.05, 0.3, 1.0, 4.0]),
    ridge=st.sampled_from([0.0, 0.1]),
)
@example(  # two equal columns: the minimiser is not unique, the minimum is
    X=np.array([[1.0, 1.0], [2.0, 2.0]]), y=np.array([1.0, 3, 0, 0, 0, 0]), start=np.zeros(5), penalty=0.3, ridge=0.0
)
@example(  # a coefficient that reaches 0 exactly at the minimum over its face
    X=np.array([[2.0, 0, 0, 0], [-1, 0, 0, -2]]),
    y=np.array([-2.0, 2, 0, 0, 0, 0]),
    start=np.array([0.0, 0, 0, -1, 0]),
    penalty=4.0,
    ridge=0.1,
)
@example(  # five columns of rank four, whose Cholesky factor rounding lets through
    X=np.array([[3.0, 2, -1, 0, 0], [-2, 1, -2, 2, 0], [0, 3, -2, 0, 1], [-3, 2, -1, -1, 0]]),
    y=np.array([0.0, 0, 0, 1, 0, 0]),
    start=np.zeros(5),
    penalty=0.05,
    ridge=0.0,
)
@settings(max_examples=300, deadline=None)
def test_reaches_the_minimum_that_brute_force_finds(X, y, start, penalty, ridge):
    """Also with dependent columns and more columns than rows, cold and warm."""
    y = y[: len(X)]
    H = X.T @ X + ridge * np.eye(X.shape[1])
    c, l1 = X.T @ y, np.full(X.shape[1], penalty)
    cold = solve_restricted(H, c, l1, np.zeros(X.shape[1]))
    assert optimality(H, c, l1, cold) < 1e-10
    assert objective(H, c, l1, cold) <= brute_force(H, c, l1) + 1e-9
    if ridge:  # a warm start stands on a face that has one minimum
        warm = solve_restricted(H, c, l1, start[: X.shape[1]])
        assert_allclose(warm, cold, atol=1e-9)


def test_free_columns_cross_zero_and_never_leave():
    """A column with penalty 0 has the least-squares condition, whatever sign it started with."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 8)), rng.normal(size=40)
    H, c = X.T @ X, X.T @ y
    l1 = np.array([0.0, 0, 3, 3, 3, 3, 3, 3])
    start = np.zeros(8)
    start[:2] = -10 * np.sign(c[:2])
    b = solve_restricted(H, c, l1, start)
    assert optimality(H, c, l1, b) < 1e-12 * np.abs(c).max()
    assert np.count_nonzero(b[:2]) == 2


def test_a_path_of_warm_starts_equals_cold_starts():
    """Correlated columns, more of them than rows, falling penalties."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 120)) + 0.3 * rng.normal(size=(60, 120))
    H, c = X.T @ X / 60, X.T @ (X[:, 0] - X[:, 7]) / 60
    warm = np.zeros(120)
    for penalty in np.geomspace(np.abs(c).max(), 1e-3 * np.abs(c).max(), 25):
        l1 = np.full(120, penalty)
        warm = solve_restricted(H, c, l1, warm)
        cold = solve_restricted(H, c, l1, np.zeros(120))
        assert optimality(H, c, l1, warm) < 1e-12 * np.abs(c).max()
        assert (warm != 0).tolist() == (cold != 0).tolist()
        assert_allclose(warm, cold, atol=1e-9)


def test_no_columns_is_a_problem_too():
    """Before the first request nothing is known."""
    assert solve_restricted(np.empty((0, 0)), np.empty(0), np.empty(0), np.empty(0)).shape == (0,)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_columns_does_not_matter(scale):
    """Columns a million times larger or smaller give coefficients the same factor smaller or larger."""
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(30, 6)), rng.normal(size=30)
    plain = solve_restricted(X.T @ X, X.T @ y, np.full(6, 2.0), np.zeros(6))
    scaled = solve_restricted(scale**2 * X.T @ X, scale * X.T @ y, np.full(6, 2.0 * scale), np.zeros(6))
    assert (scaled != 0).tolist() == (plain != 0).tolist()
    assert_allclose(scaled * scale, plain, rtol=1e-7)
