"""Leading eigenvectors of a symmetric matrix that only multiplies: a block Krylov space and Rayleigh-Ritz in it.

The matrix is X'X of rows X that lie at the sites; a product with a block of b vectors is one exchange, X' (X Q) summed
over sites, so that no site's rows, nor the scores X v, need to leave. With Q_1 drawn at random and Q_{j+1} what A Q_j
adds to the blocks before it, A projected on the span of Q_1, ..., Q_j has eigenvalues (Ritz values) that approach the
leading ones of A far sooner than subspace iteration does, because no product is thrown away (Golub and Underwood, "The
block Lanczos method for computing eigenvalues", in Mathematical Software III, 1977; Musco and Musco, "Randomized block
Krylov methods for stronger and faster approximate singular value decomposition", NeurIPS 2015). Every block is
orthogonalised twice against all before it, since the short recurrence alone loses orthogonality (Parlett, "The
symmetric eigenvalue problem", 1980, 13).

What a Ritz vector leaves of its eigenvalue equation, A v - theta v, follows from the last block without another
exchange. Its norm over the gap to the next eigenvalue bounds the sine of the angle between the found space and the
wanted one (Davis and Kahan, SIAM J. Numer. Anal. 7, 1970); the gap is estimated by Ritz values. That is when to stop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_RANK = 1e-12
"""Directions that a product adds below this share of the largest eigenvalue are rounding."""


@dataclass(frozen=True, eq=False)
class Leading:
    """The k leading eigenvectors of a positive semidefinite matrix of order p.

    Attributes:
        values: (k,) eigenvalues, falling.
        vectors: (p, k) orthonormal; the largest element of each is positive.
        next_value: Estimate of eigenvalue k + 1, from below; 0 if there is none.
        angle: Estimated bound of the sine of the largest angle between the span of `vectors` and the wanted space.
        rounds: Products that it took.
        converged: Whether `angle` reached the tolerance; if the wanted space is hardly set apart (eigenvalues k and
            k + 1 almost equal) it may not, though each value is right.
    """

    values: Vector
    vectors: Matrix
    next_value: float
    angle: float
    rounds: int
    converged: bool


def leading_eigenvectors(
    multiply: Callable[[Matrix], Matrix],
    start: Matrix,
    components: int,
    *,
    rounds: int,
    tolerance: float = 1e-7,
    progress: Callable[[int, float], None] | None = None,
) -> Leading:
    """The leading eigenvectors of the matrix that `multiply` stands for.

    Args:
        multiply: (p, b) to (p, b), A times a block; A symmetric and positive semidefinite.
        start: (p, b) of full rank, `components` <= b <= p, as a rule random; a few columns more than `components`
            shorten the way.
        components: k.
        rounds: Products at most. The space needs p (b rounds) numbers of memory.
        tolerance: See `Leading.angle`.
        progress: Called after each product with its number and the angle.

    Raises:
        ValueError: An argument is out of range.
        StrategyError: A product is not finite or of another shape, or A has fewer than k eigenvalues above 0.
    """
    size, width = start.shape
    if not 1 <= components <= width <= size or rounds < 1:
        raise ValueError(f"{components} components from blocks of {width} of {size} in {rounds} rounds are impossible.")
    space = np.empty((size, 0))
    projected = np.empty((0, 0))
    block = np.linalg.qr(start)[0]
    number = 0
    while True:
        number += 1
        product = np.asarray(multiply(block), dtype=np.float64)
        if product.shape != block.shape or not np.isfinite(product).all():
            raise StrategyError("A product with X'X is not finite, or not of the shape of its block.")
        space = np.hstack([space, block])
        rest, inside = _orthogonal(product, space)
        projected = _grown(projected, inside)
        values, turns = np.linalg.eigh(projected)
        values, turns = values[::-1], turns[:, ::-1]
        basis, coefficients = _basis(rest, _RANK * max(float(values[0]), np.finfo(np.float64).tiny))
        residuals = coefficients @ turns[-block.shape[1] :, :components]
        exact = basis.shape[1] == 0
        angle = 0.0 if exact else _angle(values, residuals, components)
        done = angle <= tolerance
        if progress is not None:
            progress(number, angle)
        if done or number == rounds:
            return _leading(values, space @ turns[:, :components], angle, number, converged=done)
        block = basis


def subspace_angle(first: Matrix, second: Matrix) -> float:
    """Sine of the largest angle between the spans of two (p, k) matrices with orthonormal columns.

    From what the second leaves of the first, which is right for small angles where a cosine near 1 is not.
    """
    return float(np.linalg.norm(first - second @ (second.T @ first), ord=2))


def _orthogonal(product: Matrix, space: Matrix) -> tuple[Matrix, Matrix]:
    """What of a product lies outside the space (p, b), and its coordinates inside (d, b)."""
    inside = space.T @ product
    rest = product - space @ inside
    again = space.T @ rest
    return rest - space @ again, inside + again


def _grown(projected: Matrix, inside: Matrix) -> Matrix:
    """The projected matrix with the columns of one block more; symmetric, as the matrix is but for rounding."""
    before, after = len(projected), len(inside)
    grown = np.zeros((after, after))
    grown[:before, :before] = projected
    grown[:, before:] = inside
    grown[before:, :before] = inside[:before].T
    corner = grown[before:, before:]
    grown[before:, before:] = (corner + corner.T) / 2
    return grown


def _basis(rest: Matrix, least: float) -> tuple[Matrix, Matrix]:
    """Orthonormal columns (p, r) that span what is larger than `least`, and the rest's coordinates in them (r, b)."""
    q, triangle = np.linalg.qr(rest)
    left, sizes, right = np.linalg.svd(triangle)
    kept = sizes > least
    return q @ left[:, kept], sizes[kept, None] * right[kept]


def _angle(values: Vector, residuals: Matrix, components: int) -> float:
    gap = float(values[components - 1] - values[components]) if len(values) > components else 0.0
    norm = float(np.linalg.norm(residuals))
    return min(1.0, norm / gap) if gap > 0 else 1.0


def _leading(values: Vector, vectors: Matrix, angle: float, rounds: int, *, converged: bool) -> Leading:
    components = vectors.shape[1]
    if not (len(values) >= components and values[components - 1] > _RANK * values[0] > 0):
        raise StrategyError(f"The matrix has fewer than {components} eigenvalues above 0; ask for fewer components.")
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(components)])
    beyond = float(values[components]) if len(values) > components else 0.0
    return Leading(
        values[:components].copy(), np.ascontiguousarray(vectors * signs), max(beyond, 0.0), angle, rounds, converged
    )
