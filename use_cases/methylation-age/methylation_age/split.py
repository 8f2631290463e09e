"""Dealing one set out to virtual DIZ with different ages, since the packaged sets name no hospital.

DIZ d of N has a favoured position (d + 1/2) / N on the scale from youngest to oldest. A sample whose age has the rank
quantile q goes to DIZ d with probability proportional to exp(-((q - position_d) / width)^2 / 2), width 0.3: the first
DIZ is a children's hospital of sorts, the last a memory clinic, and all overlap. A patient's samples stay together.
The draw depends on the seed only.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

WIDTH = 0.3


def split_by_age(age: "pd.Series[float]", patients: "pd.Series[str]", nodes: int, seed: int) -> npt.NDArray[np.intp]:
    """The DIZ of each sample, 0 to `nodes` - 1.

    Args:
        age: (n,) years.
        patients: (n,) patient ids.
        nodes: Number of DIZ.
        seed: Of the draw.
    """
    by_patient = pd.Series(age.to_numpy(), index=patients.to_numpy()).groupby(level=0, sort=True).mean()
    quantile = (by_patient.rank(method="average").to_numpy() - 0.5) / len(by_patient)
    positions = (np.arange(nodes) + 0.5) / nodes
    weight = np.exp(-0.5 * ((quantile[:, None] - positions[None, :]) / WIDTH) ** 2)
    cumulative = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    draw = np.random.default_rng(seed).random(len(by_patient))
    node = np.minimum((draw[:, None] >= cumulative).sum(axis=1), nodes - 1)
    return pd.Series(node, index=by_patient.index).loc[patients.to_numpy()].to_numpy(dtype=np.intp)
