"""The encoding shows inner products exactly, and of a uniformly drawn matrix nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_age import rotation
from kernel_age.agreement import derive
from kernel_age.rotation import encode, normals

SEED = bytes(range(32))


def seed_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def matrix(p: int, seed: bytes) -> np.ndarray:
    """Q (k, k), k = p + 1: the encoded unit rows, and the probe."""
    return np.concatenate(encode(np.eye(p), seed))


@given(p=st.integers(1, 100), n=st.integers(0, 8), m=st.integers(1, 8), seed=st.binary(min_size=32, max_size=32))
@settings(max_examples=40)
def test_inner_products_across_sites_are_those_of_the_rows(p: int, n: int, m: int, seed: bytes) -> None:
    drawn = np.random.default_rng(p * n + m)
    a, b = drawn.normal(size=(n, p)), drawn.normal(size=(m, p))
    (one, probe), (two, again) = encode(a, seed), encode(b, seed)
    np.testing.assert_allclose(one @ two.T, a @ b.T, atol=1e-12 * p)
    np.testing.assert_array_equal(probe.shape, (1, p + 1))
    np.testing.assert_allclose(probe, again, atol=1e-14)
    np.testing.assert_allclose(probe @ two.T, 0, atol=1e-12)  # so that comparing probes says nothing of a row


@pytest.mark.parametrize("p", [1, 2, 30, 31, 32, 33, 64, 100])
def test_the_matrix_is_the_product_of_single_reflections(p: int) -> None:
    """The blocks of 32 are a matter of speed alone: here each reflection is applied by itself."""
    k = p + 1
    expected, signs = np.eye(k), np.ones(k)
    for start in range(0, k, 32):
        width = min(32, k - start)
        drawn = normals(derive(SEED, b"kernel-age-1 reflections" + start.to_bytes(8, "big")), width * (k - start))
        for i, row in enumerate(drawn.reshape(width, k - start)):
            x = row[i:]
            first = -1.0 if x[0] < 0 else 1.0
            signs[start + i] = first if len(x) == 1 else -first
            if len(x) > 1:
                v = np.zeros(k)
                v[start + i :] = x
                v[start + i] += first * np.linalg.norm(x)
                expected = expected @ (np.eye(k) - 2 * np.outer(v, v) / (v @ v))
    np.testing.assert_allclose(matrix(p, SEED), expected * signs, atol=1e-13)


def test_the_matrix_is_uniform_over_the_orthogonal_ones() -> None:
    """Moments over 4,000 seeds of Q (3 x 3) and of its trace: 0, 1/3, 3/15 for entries; E tr = 0, E tr^2 = 1."""
    drawn = np.stack([matrix(2, seed_of(number)) for number in range(4000)])
    assert np.abs(drawn.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 4000)
    assert np.abs((drawn**2).mean(axis=0) - 1 / 3).max() < 5 * np.sqrt((1 / 5 - 1 / 9) / 4000)
    assert np.abs((drawn**4).mean(axis=0) - 1 / 5).max() < 5 * np.sqrt(0.08 / 4000)
    traces = drawn.trace(axis1=1, axis2=2)
    assert abs(traces.mean()) < 5 / np.sqrt(4000)
    assert abs((traces**2).mean() - 1) < 5 * np.sqrt(2 / 4000)
    assert abs(np.linalg.det(drawn).mean()) < 5 / np.sqrt(4000)


def test_normal_numbers_are_a_stated_function_of_the_seed() -> None:
    """ChaCha20's stream, 53 bits, Box-Muller: the first numbers, computed here from the bytes."""
    stream = rotation.stream(SEED, 32)
    u = [((int.from_bytes(stream[i : i + 8], "little") >> 11) + 0.5) / 2**53 for i in (0, 8, 16, 24)]
    expected = [
        np.sqrt(-2 * np.log(u[0])) * np.cos(2 * np.pi * u[2]),
        np.sqrt(-2 * np.log(u[1])) * np.cos(2 * np.pi * u[3]),
        np.sqrt(-2 * np.log(u[0])) * np.sin(2 * np.pi * u[2]),
    ]
    np.testing.assert_allclose(normals(SEED, 3), expected, rtol=1e-14)


def test_normal_numbers_are_normal() -> None:
    """Moments of 200,000 numbers, to 5 standard errors."""
    x = normals(SEED, 200_000)
    for power, (moment, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((x**power).mean() - moment) < 5 * np.sqrt(variance / len(x))


def test_last_digits_that_differ_between_machines_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every normal number of one site moved by one unit in the last place: Gram matrices as good as before."""
    rows = np.random.default_rng(1).normal(size=(60, 256))
    here, probe = encode(rows, SEED)
    flips = np.random.default_rng(2)

    def moved(key: bytes, count: int) -> np.ndarray:
        return np.nextafter(normals(key, count), np.where(flips.random(count) < 0.5, -np.inf, np.inf))

    monkeypatch.setattr(rotation, "normals", moved)
    there, other = encode(rows, SEED)
    assert (here != there).any()
    gram = rows @ rows.T
    assert np.abs(here @ there.T - gram).max() < 1e-13 * np.abs(gram).max()
    assert np.abs(probe - other).max() < 1e-13


def test_another_seed_gives_another_matrix() -> None:
    one, two = matrix(20, seed_of(1)), matrix(20, seed_of(2))
    assert np.abs(one @ two.T - np.eye(21)).max() > 0.3
    assert np.abs(one[-1] - two[-1]).max() > 0.1  # which the probe shows
