"""The partial likelihood from sums by time, with Breslow's or Efron's treatment of ties.

At time k let d_k rows have the event, S0, S1, S2 be the sums of r, r z, r z z' over the rows at risk (r = e^(z'b)), and
D0, D1, D2 the same over the d_k rows. With f_l = l / d_k for Efron and 0 for Breslow, l = 0 ... d_k - 1, ::

    loglik      =  b' sum of z over events  -  sum_k sum_l log(S0 - f_l D0)
    gradient    =     sum of z over events  -  sum_k sum_l m_kl,          m_kl = (S1 - f_l D1) / (S0 - f_l D0)
    information =  sum_k sum_l  (S2 - f_l D2) / (S0 - f_l D0) - m_kl m_kl'

(Breslow, Biometrics 30, 1974; Efron, J. Am. Stat. Assoc. 72, 1977.) Since f_l enters each term through a number only,
the sums over l are formed before any matrix is: the cost does not grow with the number of ties.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.glm_design import unpack

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RiskSums:
    """Sums of r (K,), r z (K, q) and r z z' packed (K, q (q + 1) / 2)."""

    r: Vector
    rz: Matrix
    rzz: Matrix

    def at_risk(self) -> "RiskSums":
        """From sums over the rows that leave at each time to sums over those that leave then or later."""
        return RiskSums(*(np.cumsum(part[::-1], axis=0)[::-1] for part in (self.r, self.rz, self.rzz)))


@dataclass(frozen=True)
class PartialLikelihood:
    """Log partial likelihood, gradient (q,) and information (q, q) at b."""

    loglik: float
    gradient: Vector
    information: Matrix


def partial_likelihood(
    b: Vector, deaths: npt.NDArray[np.int64], event_z: Vector, at_risk: RiskSums, dead: RiskSums | None
) -> PartialLikelihood:
    """Evaluate at b.

    Args:
        b: Shape (q,).
        deaths: d_k, shape (K,).
        event_z: Sum of z over all events, shape (q,).
        at_risk: S, over K times.
        dead: D, over the same times, for Efron's treatment; None for Breslow's.
    """
    happened = deaths > 0
    d, S = deaths[happened], RiskSums(at_risk.r[happened], at_risk.rz[happened], at_risk.rzz[happened])
    D0 = np.zeros(len(d)) if dead is None else dead.r[happened]
    terms = _Terms.of(d, S.r, D0)
    mean = terms.one @ S.rz
    second = terms.one @ S.rzz
    outer = (S.rz * terms.square_one[:, None]).T @ S.rz
    if dead is not None:
        D1, D2 = dead.rz[happened], dead.rzz[happened]
        mean = mean - terms.share @ D1
        second = second - terms.share @ D2
        crossed = (S.rz * terms.square_share[:, None]).T @ D1
        outer = outer - crossed - crossed.T + (D1 * terms.square_both[:, None]).T @ D1
    return PartialLikelihood(
        loglik=float(b @ event_z) - float(terms.logs.sum()),
        gradient=event_z - mean,
        information=unpack(second, len(b)) - outer,
    )


@dataclass(frozen=True)
class _Terms:
    """Sums over l by time, each (K,): with phi = S0 - f D0, of log phi, 1/phi, f/phi, 1/phi^2, f/phi^2, f^2/phi^2."""

    logs: Vector
    one: Vector
    share: Vector
    square_one: Vector
    square_share: Vector
    square_both: Vector

    @classmethod
    def of(cls, d: npt.NDArray[np.int64], S0: Vector, D0: Vector) -> "_Terms":
        at = np.repeat(np.arange(len(d)), d)
        place = np.arange(len(at)) - np.repeat(np.cumsum(d) - d, d)
        share = place / d[at]
        phi = S0[at] - share * D0[at]

        def total(values: Vector) -> Vector:
            return np.asarray(np.bincount(at, values, minlength=len(d)), dtype=np.float64)

        return cls(
            total(np.log(phi)),
            total(1 / phi),
            total(share / phi),
            total(1 / phi**2),
            total(share / phi**2),
            total((share / phi) ** 2),
        )
