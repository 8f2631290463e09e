"""The elastic net on a few columns, solved exactly from its Gram matrix.

minimise over b:   1/2 b'Hb - c'b + sum_j l1_j |b_j|       H positive semidefinite, l1_j >= 0

An active-set method after Lee, Battle, Raina and Ng, "Efficient sparse coding algorithms" (NIPS 2006): given
which coefficients are non-zero and their signs, the minimum is one linear solve. It moves towards that
minimum, stops where a coefficient would change its sign and drops it there; at the minimum it takes in the
columns that violate the optimality conditions. Every pass lowers the objective and no set comes twice, so it
ends, and it ends at machine precision instead of at a tolerance of coordinate descent.

Columns are taken in several at a time, which saves solves. Those that would enter with the wrong sign wait; if the
columns together are dependent, only the strongest enters, in exchange for others.
"""

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_DEPENDENT = 1e-10
"""A column of which less than this share is new counts as dependent on those before it."""


def solve_restricted(H: Matrix, c: Vector, l1: Vector, start: Vector, *, tolerance: float = 1e-13) -> Vector:
    """Minimise 1/2 b'Hb - c'b + sum l1_j |b_j|.

    Args:
        H: Shape (m, m), symmetric, positive semidefinite; the quadratic part of the penalty is on its
            diagonal.
        c: Shape (m,), in the range of H.
        l1: Shape (m,), at least 0; a column with 0 is free and always in the model. The free block is
            non-singular.
        start: Shape (m,), for instance the solution at the penalty before.
        tolerance: Violations of the optimality conditions below this times max(1, |c|_inf) count as none.

    Returns:
        The minimiser, shape (m,), exactly 0 outside its support.

    Raises:
        StrategyError: The problem is numerically not a convex one.
    """
    face = _Face(H, c, l1, start)
    noise = tolerance * max(1.0, float(np.abs(c).max(initial=0.0)))
    newcomers = np.empty(0, dtype=np.intp)
    for _ in range(10 * len(c) + 100):
        if not face.descend(newcomers):
            return face.b
        residual = c - H[:, face.active] @ face.b[face.active]
        violation = np.where(face.active, 0.0, np.abs(residual) - l1)
        newcomers = np.flatnonzero(violation > noise)
        if newcomers.size == 0:
            return face.b
        newcomers = newcomers[np.argsort(-violation[newcomers], kind="stable")]  # strongest first
        face.take_in(newcomers, np.sign(residual[newcomers]))
    raise StrategyError("The elastic net did not settle; the columns are numerically dependent. Raise the penalty.")


class _Face:
    """A set of non-zero coefficients with their signs, and the current point on it."""

    def __init__(self, H: Matrix, c: Vector, l1: Vector, start: Vector) -> None:
        self._H, self._c, self._l1 = H, c, l1
        self._free = l1 == 0
        self.b = start.copy()
        self.signs = np.sign(start)
        self.active = (start != 0) | self._free

    def take_in(self, columns: npt.NDArray[np.intp], signs: Vector) -> None:
        self.active[columns] = True
        self.signs[columns] = signs

    def descend(self, newcomers: npt.NDArray[np.intp]) -> bool:
        """Go to the minimum over the face, dropping what would change sign.

        Args:
            newcomers: Columns just taken in, still at 0, the strongest first.

        Returns:
            False if not even the strongest newcomer lowers the objective: then only rounding is left to gain.
        """
        while True:
            # Newcomers last: their pivots then say how much of each is new.
            at = np.concatenate([np.setdiff1d(np.flatnonzero(self.active), newcomers), newcomers])
            if newcomers.size == 1:
                direction, reach = self._exchange(at)
                if not reach > 0:
                    self._drop(newcomers)
                    return False
            elif (target := self._minimum(at, newcomers.size)) is not None:
                direction, reach = target - self.b[at], 1.0
            elif newcomers.size:
                self._drop(newcomers[1:])
                newcomers = newcomers[:1]
                continue
            else:
                raise StrategyError("The columns in the model are numerically dependent. Raise the penalty.")
            penalised = ~self._free[at]
            inward = penalised & (self.signs[at] * direction <= 0)
            stuck = at[inward & (self.b[at] == 0)]  # newcomers that would leave towards the wrong side
            if stuck.size:
                # Never all of them: the way descends, and at the minimum before only newcomers have a slope.
                self._drop(stuck)
                newcomers = newcomers[np.isin(newcomers, stuck, invert=True)]
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                distance = np.where(inward & (direction != 0), -self.b[at] / direction, np.inf)
            step = float(distance.min(initial=np.inf))
            if step > reach:
                self.b[at] += reach * direction
                return True
            if not np.isfinite(step):
                raise StrategyError("The elastic net has no minimum; the sums are not those of one data set.")
            self.b[at] += step * direction
            # What the step brought to 0, in exact arithmetic or by rounding; 0 itself has no sign and cannot stay.
            self._drop(at[(distance <= step) | (penalised & (self.signs[at] * self.b[at] <= 0))])
            newcomers = newcomers[:0]  # they have left 0: from here on they are like the others

    def _drop(self, columns: npt.NDArray[np.intp]) -> None:
        self.b[columns] = 0.0
        self.signs[columns] = 0.0
        self.active[columns] = False

    def _minimum(self, at: npt.NDArray[np.intp], newcomers: int) -> Vector | None:
        """The minimum over the face if signs did not matter; None where the last `newcomers` make it flat."""
        H = self._H[np.ix_(at, at)]
        try:
            new_share = np.linalg.cholesky(H).diagonal() ** 2 / H.diagonal()
        except np.linalg.LinAlgError:
            return None
        if (new_share[at.size - newcomers :] <= _DEPENDENT).any():
            return None
        return np.asarray(np.linalg.solve(H, self._c[at] - self._l1[at] * self.signs[at]))

    def _exchange(self, at: npt.NDArray[np.intp]) -> tuple[Vector, float]:
        """The way from a minimum on which the last column enters and the others give way, and how far it goes.

        It stays exact where the newcomer depends on the others, as a joint solve would not: then the fit does not
        change on the way, the sum of absolute values falls, and the way ends where one of the others is 0.
        """
        others, newcomer = at[:-1], at[-1]
        sign = self.signs[newcomer]
        weights = np.linalg.solve(self._H[np.ix_(others, others)], self._H[others, newcomer])
        direction = sign * np.append(-weights, 1.0)
        slope = sign * (self._c[newcomer] - self._H[newcomer, at] @ self.b[at]) - self._l1[newcomer]
        curvature = self._H[newcomer, newcomer] - self._H[newcomer, others] @ weights
        return direction, float(slope / curvature) if curvature > 0 else np.inf
