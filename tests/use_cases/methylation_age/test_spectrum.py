"""Eigenvalues and eigenvectors from a sketch summed over sites, against those of the matrix itself."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from methylation_age import spectrum

Float = npt.NDArray[np.float64]


def standardised(n: int, p: int, seed: int, *, rank: int | None = None, constant: int = 0, copies: int = 0) -> Float:
    """Rows with columns of mean 0 and variance 1, the first `constant` at 0 and the last `copies` repeated."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(n, rank or p)) @ generator.normal(size=(rank or p, p))
    if copies:
        rows[:, p - copies :] = rows[:, :copies] * -3.0 + 1.0
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    z[:, :constant] = 0.0
    return z


def through_sites(z: Float, seed: int, site_of: npt.NDArray[np.intp], piece: int = 7) -> spectrum.Spectrum:
    """The spectrum as the hub gets it: asked for in pieces of the sketch, each a sum over sites."""
    n, p = z.shape
    r = spectrum.width(n, p)
    pieces = []
    for start in range(0, r, piece):
        omega = spectrum.directions(seed, n, p, (start, min(start + piece, r)))
        pieces.append(sum(spectrum.sketch(z[site_of == site], omega) for site in np.unique(site_of)))
    return spectrum.from_sketch(np.concatenate(pieces, axis=1), seed, n, trace=float((z**2).sum()))


@given(
    n=st.integers(3, 30),
    p=st.integers(2, 60),
    seed=st.integers(0, 10_000),
    sites=st.integers(1, 4),
    oddity=st.sampled_from(["none", "constant", "copies", "low rank"]),
)
def test_sketch_gives_the_matrix(n: int, p: int, seed: int, sites: int, oddity: str) -> None:
    """Fewer rows than CpGs or more, constant and repeated CpGs, any split: A itself, orthonormal vectors."""
    z = standardised(
        n,
        p,
        seed,
        rank=2 if oddity == "low rank" else None,
        constant=1 if oddity == "constant" else 0,
        copies=p // 3 if oddity == "copies" else 0,
    )
    found = through_sites(z, seed, np.random.default_rng(seed).integers(0, sites, n))
    matrix = z.T @ z
    scale = np.linalg.norm(matrix, 2)
    np.testing.assert_allclose((found.vectors * found.values) @ found.vectors.T, matrix, atol=1e-11 * scale)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(len(found.values)), atol=1e-12)
    assert (np.diff(found.values) <= 0).all()
    assert (found.values > 0).all()
    assert len(found.values) == np.linalg.matrix_rank(z, tol=1e-5 * np.sqrt(scale)) <= n


def test_small_eigenvalues_keep_their_digits() -> None:
    """Eigenvalues over six orders of magnitude, the smallest within 1e-8 of themselves."""
    generator = np.random.default_rng(5)
    n, p = 40, 400
    left = np.linalg.qr(generator.normal(size=(n, n)))[0]
    right = np.linalg.qr(generator.normal(size=(p, n)))[0]
    values = np.geomspace(1e6, 1.0, n)
    z = left * np.sqrt(values) @ right.T
    found = through_sites(z, 1, np.arange(n) % 3, piece=64)
    np.testing.assert_allclose(found.values, values, rtol=1e-8)
    np.testing.assert_allclose(np.abs((found.vectors * right).sum(axis=0)), 1.0, atol=1e-10)


def test_columns_of_omega_depend_on_seed_and_number_alone() -> None:
    """Pieces are slices of the whole, columns differ, and the bits are those of this version for ever."""
    whole = spectrum.sketch_matrix(7, 130, (0, 9))
    np.testing.assert_array_equal(spectrum.sketch_matrix(7, 130, (4, 9)), whole[:, 4:])
    assert set(np.unique(whole)) == {-1.0, 1.0}
    assert np.abs(np.corrcoef(np.vstack([whole.T, spectrum.sketch_matrix(8, 130, (0, 9)).T])) - np.eye(18)).max() < 0.5
    assert "".join("+" if sign > 0 else "-" for sign in spectrum.sketch_matrix(0, 24, (1, 2))[:, 0]) == FROZEN


FROZEN = "+-+--+---++-+-----++-+-+"


def test_as_many_directions_as_cpgs_are_the_matrix_itself() -> None:
    """With fewer CpGs than rows the pieces of the sketch are A's own columns."""
    z = standardised(50, 6, seed=2)
    omega = np.concatenate([spectrum.directions(3, 50, 6, (at, at + 2)) for at in (0, 2, 4)], axis=1)
    np.testing.assert_array_equal(omega, np.eye(6))
    assert through_sites(z, 3, np.zeros(50, dtype=np.intp), piece=4).values.sum() == pytest.approx(300, rel=1e-12)


@pytest.mark.parametrize(("n", "p"), [(12, 80), (60, 10)])
def test_a_site_that_changed_between_the_sums_is_seen(n: int, p: int) -> None:
    """One row more in the sketch than in the first sums: refused, by the trace."""
    z = standardised(n, p, seed=4)
    sketched = spectrum.sketch(z, spectrum.directions(0, n, p, (0, spectrum.width(n, p))))
    spectrum.from_sketch(sketched, 0, n, trace=float(n * p))
    with pytest.raises(ValueError, match="sites' sums do not fit"):
        spectrum.from_sketch(sketched, 0, n, trace=float(n * p) * (1 + 1e-8))
    sketched[0, 0] = np.nan
    with pytest.raises(ValueError, match="no number"):
        spectrum.from_sketch(sketched, 0, n, trace=float(n * p))


def test_another_seed_or_width_is_refused() -> None:
    """A sketch that was made with other directions does not pass for the right one."""
    z = standardised(12, 80, seed=4)
    sketched = spectrum.sketch(z, spectrum.sketch_matrix(0, 80, (0, 22)))
    with pytest.raises(ValueError, match="sites' sums do not fit"):
        spectrum.from_sketch(sketched, 1, 12, trace=12.0 * 80)
    with pytest.raises(ValueError, match="21 columns; 12 rows of 80 CpGs need 22"):
        spectrum.from_sketch(sketched[:, :21], 0, 12, trace=12.0 * 80)


def test_lower_rank_by_a_second_sum() -> None:
    """With fewer directions than rows, two passes give the leading part, and what is left out is said."""
    generator = np.random.default_rng(6)
    n, p, k = 60, 300, 10
    z = generator.normal(size=(n, k)) @ generator.normal(size=(k, p)) + 0.05 * generator.normal(size=(n, p))
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    matrix = z.T @ z
    exact = spectrum.from_matrix(matrix, n)
    basis = spectrum.orthonormal_basis(spectrum.sketch(z, spectrum.sketch_matrix(0, p, (0, k + 6))))
    once = spectrum.rayleigh_ritz(basis, spectrum.sketch(z, basis), n)
    again = spectrum.orthonormal_basis(spectrum.sketch(z, basis))
    twice = spectrum.rayleigh_ritz(again, spectrum.sketch(z, again), n)
    errors = [np.abs(found.values[:k] / exact.values[:k] - 1).max() for found in (once, twice)]
    assert errors[1] < errors[0] / 10 < 1e-4
    assert errors[1] < 1e-7
    left_out = 1 - exact.values[: k + 6].sum() / np.trace(matrix)
    assert left_out <= spectrum.discarded_share(twice, float(np.trace(matrix))) < 1.2 * left_out
    with pytest.raises(ValueError, match="shape"):
        spectrum.rayleigh_ritz(again, basis[:, :-1], n)
