"""An adapted clock beside pooled computation, for simulations: every number by a way of its own, not the run's."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from methylation_age import direct_gp
from methylation_age.baselines import Standardised
from methylation_age.cohort import Cohort

Float = npt.NDArray[np.float64]

CHECKED = 20
"""CpGs whose Gaussian process is fitted directly; each takes a decomposition of its own."""


def confidence_gap(rows: Standardised, targets: Sequence[Cohort], found: Float, seed: int = 0) -> tuple[float, int]:
    """The largest difference of mean confidences from those of direct Gaussian processes, over `CHECKED` random CpGs.

    Args:
        rows: Pooled training samples.
        targets: The target's samples by DIZ.
        found: (p,) mean confidences of the run, NaN where there is none.
        seed: Of the choice of CpGs.

    Returns:
        The difference, and how many CpGs were checked.
    """
    betas = np.concatenate([cohort.betas for cohort in targets])
    observed = ~np.isnan(betas)
    z = np.where(observed, (betas - rows.centre) / rows.scale, 0.0)
    known = np.flatnonzero(np.isfinite(found))
    chosen = np.sort(np.random.default_rng(seed).choice(known, min(CHECKED, len(known)), replace=False))
    gap = 0.0
    for column in chosen.tolist():
        model = direct_gp.fit(rows.z, column, starts=(1.0,))
        mean, variance = direct_gp.predict(rows.z, column, z, signal=model.signal, noise=model.noise)
        confidence = direct_gp.confidence(z[:, column], mean, variance)[observed[:, column]]
        gap = max(gap, abs(float(confidence.mean()) - float(found[column])))
    return gap, len(chosen)


def optimality_gap(rows: Standardised, b: Float, penalty: float, l1_ratio: float, factors: Float) -> float:
    """How far coefficients are from the minimum of the weighted elastic net on the pooled rows.

    The problem is convex: coefficients that satisfy its conditions are its solution.

    Args:
        rows: Pooled training samples.
        b: (p,) for standardised columns and outcome.
        penalty: Lambda.
        l1_ratio: Share of the absolute penalty.
        factors: (p,) penalty factors.

    Returns:
        The largest violation, as a share of penalty, l1_ratio and largest factor.
    """
    slope = rows.z.T @ (rows.y - rows.z @ b) / len(rows.y) - penalty * (1 - l1_ratio) * factors * b
    allowed = penalty * l1_ratio * factors
    gap = np.where(b != 0, np.abs(slope - allowed * np.sign(b)), np.maximum(np.abs(slope) - allowed, 0.0))
    return float(gap.max() / allowed.max())
