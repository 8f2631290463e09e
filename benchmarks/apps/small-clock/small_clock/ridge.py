"""A ridge regression from sums: `y = (1, x)·w + e` with w ~ N(0, 1/p) and e ~ N(0, 1/4), in standardised units.

All CpGs together explain about a standard deviation of age, and half a standard deviation is left.
"""

from collections.abc import Mapping

import numpy as np

from small_clock import CPGS, Floats

PRIOR, LEFT = 1 / len(CPGS), 1 / 4
"""Variances guessed beforehand: of a weight, and of what the model leaves."""


def moments(x: Floats, y: Floats) -> dict[str, Floats]:
    """Per cohort the sums that `flame_vetted` forms for the formula "moments", under the same names."""
    i, j = np.triu_indices(x.shape[1])
    return {
        "n": np.array([float(len(x))]),
        "x": x.sum(axis=0),
        "xx": (x[:, i] * x[:, j]).sum(axis=0),
        "y": np.array([y.sum()]),
        "yy": np.array([y @ y]),
        "xy": x.T @ y,
    }


def fit(sums: Mapping[str, Floats], noise_std: float = 0.0) -> Floats:
    """Intercept and weights (1 + p,).

    Args:
        sums: As from `moments`, with noise or without.
        noise_std: Of the noise on each of the sums. A second-moment matrix with noise need not be one: eigenvalues
            below zero are cut, and the penalty grows by about the noise's spectral norm (Dwork et al., STOC 2014).
    """
    p = len(sums["x"])
    gram = np.zeros((p + 1, p + 1))
    i, j = np.triu_indices(p)
    gram[0, 0] = sums["n"][0]
    gram[0, 1:] = sums["x"]
    gram[i + 1, j + 1] = sums["xx"]
    gram = np.triu(gram) + np.triu(gram, 1).T
    target = np.concatenate([sums["y"], sums["xy"]])
    values, vectors = np.linalg.eigh(gram)
    penalty = LEFT / PRIOR + noise_std * np.sqrt(p + 1)
    return vectors @ ((vectors.T @ target) / (np.maximum(values, 0.0) + penalty))
