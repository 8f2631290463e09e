"""Eigenvalues and eigenvectors of a second-moment matrix, from sums over sites that never contain the matrix.

Let Z (n, p) be the standardised rows of all sites, missing values at 0, and A = Z'Z the sum of the sites' own Z_k'Z_k.
With n rows of p CpGs, n far below p, A has rank at most n: a sketch Y = A Omega with r = n + 10 columns holds all of
it, and Y is a sum over sites as well, Y = sum_k Z_k'(Z_k Omega). Omega is a matrix of random signs that everybody
makes from one seed.

With Q an orthonormal basis of Y's columns A = Q B Q', and B (Q'Omega) = Q'Y is an overdetermined system with one exact
solution B (Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011, section 5.5; the
fixed-rank form is Tropp, Yurtsever, Udell and Cevher, "Fixed-rank approximation of a positive-semidefinite matrix from
streaming data", NeurIPS 2017). Solving it, instead of forming Y (Omega'Y)^+ Y', keeps errors at rounding times the
condition of Q'Omega rather than times that of A. `rayleigh_ritz` takes a second sum, A Q, for a rank below n.

Both the hub and a site's sandbox import this module: numpy only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

OVERSAMPLING = 10
"""Columns of the sketch beyond the rank. Ten keep Q'Omega well conditioned (Halko et al., section 4.2)."""

THRESHOLD = 1e-11
"""Eigenvalues under this share of the largest are rounding and are dropped."""

TRACE_TOLERANCE = 1e-9
"""How far the eigenvalues' sum may lie from the trace known otherwise, as a share of it."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The part of A that is not zero: A = vectors diag(values) vectors'.

    Attributes:
        values: (q,) eigenvalues above 0, falling.
        vectors: (p, q) eigenvectors as columns; the sign of each is arbitrary.
        rows: n, the number of rows behind A.
    """

    values: Float
    vectors: Float
    rows: int


def width(rows: int, columns: int) -> int:
    """r, the columns of a sketch that holds the matrix of `rows` rows and `columns` CpGs exactly."""
    return min(columns, rows + OVERSAMPLING)


def sketch_matrix(seed: int, p: int, columns: tuple[int, int]) -> Float:
    """Columns of Omega: random signs, the same at every site.

    Column c depends on (seed, p, c) alone, so that a sketch can be asked for in pieces. The signs are the raw bits of
    a PCG64 stream, lowest bit first: numpy keeps those the same from version to version, its distributions not.

    Args:
        seed: Of all columns, at least 0.
        p: Number of CpGs.
        columns: First column, and the one after the last.

    Returns:
        (p, stop - start) numbers -1 and 1.
    """
    start, stop = columns
    omega = np.empty((p, stop - start))
    words = -(-p // 64)
    for at, column in enumerate(range(start, stop)):
        raw = np.random.PCG64(np.random.SeedSequence([seed, column])).random_raw(words)
        bits = np.unpackbits(np.asarray(raw, dtype="<u8").view(np.uint8), count=p, bitorder="little")
        omega[:, at] = 2.0 * bits - 1.0
    return omega


def directions(seed: int, rows: int, p: int, columns: tuple[int, int]) -> Float:
    """Columns of the Omega that `from_sketch` expects: random signs, or the identity where r = p.

    Args:
        seed: Of the signs.
        rows: n, of all sites.
        p: Number of CpGs.
        columns: First column, and the one after the last; within 0 to `width`.
    """
    if width(rows, p) == p:
        return np.eye(p, columns[1] - columns[0], -columns[0])
    return sketch_matrix(seed, p, columns)


def sketch(z: Float, omega: Float) -> Float:
    """A site's share of the sketch: Z_k'(Z_k Omega), (p, m) from rows (n_k, p) and directions (p, m)."""
    return z.T @ (z @ omega)


def from_sketch(sketched: Float, seed: int, rows: int, trace: float) -> Spectrum:
    """The spectrum of A from its sketch, exact up to rounding.

    Args:
        sketched: (p, r) sum of the sites' sketches, r = `width`.
        seed: Of Omega.
        rows: n, of all sites.
        trace: Sum of A's diagonal, known from the sites' first sums: n times the number of CpGs that vary, for columns
            scaled to unit population variance after filling.

    Raises:
        ValueError: The sketch has another shape or a value that is no number, or it does not fit the trace.
    """
    p, r = sketched.shape
    if r != width(rows, p):
        raise ValueError(f"The sketch has {r} columns; {rows} rows of {p} CpGs need {width(rows, p)}.")
    _check_finite(sketched)
    if r == p:
        return from_matrix(sketched, rows, trace)
    basis = orthonormal_basis(sketched)[:, :rows]
    system = basis.T @ sketch_matrix(seed, p, (0, r))  # (k, r), k <= n < r: full rank
    right = basis.T @ sketched
    q, upper = np.linalg.qr(system.T)
    spectrum = _in_basis(basis, np.linalg.solve(upper, q.T @ right.T), rows)
    _check_trace(spectrum, trace)
    return spectrum


def from_matrix(matrix: Float, rows: int, trace: float | None = None) -> Spectrum:
    """The spectrum of A itself, (p, p).

    Args:
        matrix: A.
        rows: n, of all sites.
        trace: As in `from_sketch`; None to believe the matrix's own diagonal.

    Raises:
        ValueError: The matrix has a value that is no number, or does not fit the trace.
    """
    _check_finite(matrix)
    spectrum = _sorted(*np.linalg.eigh((matrix + matrix.T) / 2), rows)
    _check_trace(spectrum, float(np.trace(matrix)) if trace is None else trace)
    return spectrum


def orthonormal_basis(sketched: Float) -> Float:
    """(p, k) orthonormal columns that span those of a sketch (p, r), k its numerical rank; strongest first."""
    q, upper = np.linalg.qr(sketched)
    left, singular, _ = np.linalg.svd(upper)
    return np.asarray(q @ left[:, singular > THRESHOLD * singular[0]])


def rayleigh_ritz(basis: Float, image: Float, rows: int) -> Spectrum:
    """The spectrum of A within a subspace, from a second sum over the sites.

    For fewer directions than n: sketch with r < n, take the `orthonormal_basis` Q, ask the sites for the sum of
    Z_k'(Z_k Q) = A Q, and either repeat with the basis of that (each repetition sharpens the leading vectors by the
    ratio of eigenvalues) or stop here. `discarded_share` says how much of A is left out.

    Args:
        basis: Q, (p, k).
        image: A Q, (p, k).
        rows: n, of all sites.

    Raises:
        ValueError: The image has another shape or a value that is no number.
    """
    if image.shape != basis.shape:
        raise ValueError(f"The image of {basis.shape[1]} directions has the shape {list(image.shape)}.")
    _check_finite(image)
    return _in_basis(basis, basis.T @ image, rows)


def discarded_share(spectrum: Spectrum, trace: float) -> float:
    """The share of A's trace that the spectrum leaves out, 0 for all of it."""
    return 1.0 - float(spectrum.values.sum()) / trace


def _in_basis(basis: Float, core: Float, rows: int) -> Spectrum:
    """From A = basis core basis'."""
    values, rotation = np.linalg.eigh((core + core.T) / 2)
    return _sorted(values, basis @ rotation, rows)


def _sorted(values: Float, vectors: Float, rows: int) -> Spectrum:
    """Largest first, without what is rounding; at most n values are more than that."""
    kept = np.flatnonzero(values > THRESHOLD * max(float(values[-1]), 0.0))[::-1][:rows]
    return Spectrum(values[kept], np.ascontiguousarray(vectors[:, kept]), rows)


def _check_finite(matrix: Float) -> None:
    if not np.isfinite(matrix).all():
        raise ValueError("The sites' sums hold a value that is no number; check the sites' data.")


def _check_trace(spectrum: Spectrum, trace: float) -> None:
    found = float(spectrum.values.sum())
    if not abs(found - trace) <= TRACE_TOLERANCE * abs(trace):
        raise ValueError(
            f"The sites' sums do not fit: the eigenvalues of the second moments add up to {found:.12g}, the sites' "
            f"first sums say {trace:.12g}. A site has changed between the two, or did not answer both."
        )
