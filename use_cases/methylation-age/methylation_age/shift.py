"""A made-up tissue shift in real data: betas of some CpGs corrupted in the target samples, the ages left as they are.

A SEMI-REAL (synthetic) shift: the samples are real, what differs between source and target is not. It is for seeing
whether adaptation finds CpGs whose relation to the others is lost, with the true ages at hand to score the result.

Corrupted are 30 % of the 2,000 CpGs that go most with age in the source and 20 % of all CpGs, drawn at random (the two
draws may overlap). With m_j and s_j the source's mean and standard deviation of CpG j and d_j a standard normal number:

* ``permuted``: CpG j's values are dealt out anew among the target samples, and s_j d_j is added;
* ``flipped``: 2 m_j - value, so that what rose with age falls;
* ``mean``: s_j |d_j| is added with the sign of the CpG's correlation with age, as if these CpGs alone were older.
  (Offsets of either sign may cancel in a clock's sum over many CpGs, and then there is nothing to mend.)

The results are cut to [0, 1], as betas are. Everything drawn depends on the seed only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from methylation_age.errors import InputError

Float = npt.NDArray[np.float64]

KINDS = ("permuted", "flipped", "mean")

AGE_RELATED, AGE_RELATED_SHARE, SHARE = 2000, 0.3, 0.2
"""How many CpGs count as going with age, which share of those is corrupted, and which share of all."""


@dataclass(frozen=True, eq=False)
class Shifted:
    """Target samples after a shift.

    Attributes:
        betas: (m, p) beta values, NaN where missing.
        corrupted: (p,) which CpGs were changed: the truth that adaptation does not see.
    """

    betas: Float
    corrupted: npt.NDArray[np.bool_]


def corrupt(source: Float, age: Float, target: Float, kind: str, seed: int) -> Shifted:
    """Shift target samples.

    Args:
        source: (n, p) betas of the source, NaN where missing; not changed.
        age: (n,) ages of the source.
        target: (m, p) betas of the target, NaN where missing.
        kind: One of `KINDS`.
        seed: Of all draws, at least 0.

    Raises:
        InputError: There is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"There is no shift {kind!r}; choose one of {', '.join(KINDS)}.")
    generator = np.random.default_rng(seed)
    p = source.shape[1]
    mean, deviation = np.nanmean(source, axis=0), np.nanstd(source, axis=0)
    corrupted = np.zeros(p, dtype=np.bool_)
    correlation = _age_correlation(source, age)
    related = np.argsort(-np.abs(correlation), kind="stable")[:AGE_RELATED]
    corrupted[generator.choice(related, round(AGE_RELATED_SHARE * len(related)), replace=False)] = True
    corrupted[generator.choice(p, round(SHARE * p), replace=False)] = True
    offset = deviation * generator.standard_normal(p)
    older = np.sign(correlation) * np.abs(offset)
    betas = target.copy()
    for column in np.flatnonzero(corrupted):
        values = betas[:, column]
        if kind == "permuted":
            values = generator.permutation(values) + offset[column]
        elif kind == "flipped":
            values = 2.0 * mean[column] - values
        else:
            values = values + older[column]
        betas[:, column] = np.clip(values, 0.0, 1.0)
    return Shifted(betas, corrupted)


def _age_correlation(source: Float, age: Float) -> Float:
    """(p,) correlation of each CpG with age, a missing value at the CpG's mean; 0 for a constant one."""
    centred = np.nan_to_num(source - np.nanmean(source, axis=0), nan=0.0)
    length = np.sqrt((centred**2).sum(axis=0))
    product = centred.T @ (age - age.mean()) / np.sqrt(((age - age.mean()) ** 2).sum())
    return np.asarray(np.divide(product, length, out=np.zeros_like(product), where=length > 0))
