"""Block Krylov eigenvectors against a dense decomposition."""

import numpy as np
import pytest
from flame_strategies.block_krylov import leading_eigenvectors, subspace_angle
from flame_strategies.errors import StrategyError
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose


def matrix(eigenvalues, size, seed):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(size, size)))[0]
    values = np.zeros(size)
    values[: len(eigenvalues)] = eigenvalues
    return (axes * values) @ axes.T, axes[:, : len(eigenvalues)]


def start(size, width, seed=1):
    return np.random.default_rng(seed).normal(size=(size, width))


def test_a_set_apart_space_is_found_to_a_tenth_of_a_millionth():
    A, axes = matrix([90, 40, 30, *np.linspace(8, 1, 100)], 300, 0)
    asked = []

    found = leading_eigenvectors(lambda Q: asked.append(Q) or A @ Q, start(300, 8), 3, rounds=40)

    assert found.converged
    assert found.rounds == len(asked) < 12
    assert subspace_angle(found.vectors, axes[:, :3]) <= 1e-7
    assert_allclose(found.values, [90, 40, 30], rtol=1e-12)
    assert found.next_value == pytest.approx(8, rel=0.05)
    assert found.next_value <= 8 + 1e-9  # from below


def test_the_estimated_angle_is_about_the_true_one_and_falls():
    A, axes = matrix([50, 40, 30, *np.linspace(20, 1, 200)], 300, 3)
    seen = []
    for rounds in range(2, 11):
        found = leading_eigenvectors(lambda Q: A @ Q, start(300, 5), 3, rounds=rounds, tolerance=0)
        seen.append((found.angle, subspace_angle(found.vectors, axes[:, :3])))
        assert found.rounds == rounds
        assert not found.converged
    estimated, true = np.array(seen).T
    assert (true <= estimated * 1.01).all()
    assert true[-1] < 1e-3 < true[0]
    assert (np.diff(true) < 0).all()


def test_all_blocks_are_orthogonal_however_many_there_are():
    """Without orthogonalising against all of them, a converged direction comes back."""
    A, _ = matrix(10.0 ** np.linspace(4, -2, 120), 120, 5)
    asked = []
    leading_eigenvectors(lambda Q: asked.append(Q) or A @ Q, start(120, 6), 4, rounds=20, tolerance=0)
    space = np.hstack(asked)
    assert space.shape[1] == 120
    assert_allclose(space.T @ space, np.eye(120), atol=1e-12)


def test_a_space_that_is_used_up_is_exact_and_ends_it():
    A, axes = matrix([5, 4, 3, 2], 50, 2)
    found = leading_eigenvectors(lambda Q: A @ Q, start(50, 3), 2, rounds=30, tolerance=0)
    assert found.converged
    assert found.rounds == 3
    assert found.angle == 0
    assert subspace_angle(found.vectors, axes[:, :2]) < 1e-13


def test_an_undetermined_space_is_said_to_be():
    """Eigenvalues 3 and 4 are equal, so which space is found is chance; the values are right."""
    A, _ = matrix([9, 7, 5, 5, 5, *np.linspace(2, 1, 60)], 100, 4)
    found = leading_eigenvectors(lambda Q: A @ Q, start(100, 6), 3, rounds=10)
    assert not found.converged
    assert_allclose(found.values, [9, 7, 5], rtol=1e-10)


def test_signs_do_not_depend_on_the_start():
    A, _ = matrix([9, 7, 5, *np.linspace(2, 1, 60)], 100, 4)
    first, second = (leading_eigenvectors(lambda Q: A @ Q, start(100, 6, s), 3, rounds=30) for s in (1, 2))
    assert_allclose(first.vectors, second.vectors, atol=1e-7)
    assert (first.vectors[np.abs(first.vectors).argmax(axis=0), np.arange(3)] > 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 40), st.integers(1, 4), st.integers(0, 3))
def test_rows_of_any_shape_in_the_end_give_the_singular_vectors(seed, n, p, components, more):
    X = np.random.default_rng(seed).normal(size=(n, p))
    width = min(components + more, p)
    if components > min(n, width):
        return
    found = leading_eigenvectors(lambda Q: X.T @ (X @ Q), start(p, width, seed), components, rounds=p, tolerance=0)
    _, sizes, right = np.linalg.svd(X, full_matrices=False)
    assert_allclose(found.values, sizes[:components] ** 2, rtol=1e-8)
    gap = 1 - (sizes[components] / sizes[components - 1] if components < len(sizes) else 0)
    assert subspace_angle(found.vectors, right[:components].T) <= 1e-9 / gap


def test_impossible_questions_are_refused():
    A = np.eye(5)
    for shape, components, rounds in (((5, 2), 3, 5), ((5, 6), 2, 5), ((5, 2), 0, 5), ((5, 2), 2, 0)):
        with pytest.raises(ValueError, match="impossible"):
            leading_eigenvectors(lambda Q: A @ Q, np.ones(shape), components, rounds=rounds)


def test_sums_that_are_no_product_are_refused():
    for answer in (np.full((5, 2), np.nan), np.ones((5, 3))):
        with pytest.raises(StrategyError, match="product"):
            leading_eigenvectors(lambda Q, answer=answer: answer, start(5, 2), 1, rounds=3)


def test_fewer_eigenvalues_than_components_are_said():
    A, _ = matrix([5], 20, 2)
    with pytest.raises(StrategyError, match="fewer than 2"):
        leading_eigenvectors(lambda Q: A @ Q, start(20, 3), 2, rounds=5)
