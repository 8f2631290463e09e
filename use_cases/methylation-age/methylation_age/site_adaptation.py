"""A DIZ's part of the adaptation to a target tissue: sums again, and of the target only how well each CpG is predicted.

With Z the standardised training samples (see `sums`) and T the standardised samples of the target:

* `sketch`: some columns of Z'Z Omega. Omega is public (`spectrum.directions`), and with enough columns the total over
  the DIZ holds all of Z'Z: its eigenvalues and eigenvectors are what the Gaussian processes of all CpGs need;
* `confidences`: from these, a model for each CpG given all the others; how well it predicts the target's value of that
  CpG, summed over the target's samples. Only the sum over samples leaves, never a value or a prediction;
* `path_errors`: absolute errors of several clocks on the target's samples of known age, summed over them.

A DIZ without samples of the target answers with zeros: under masks nobody learns which DIZ has any. A DIZ with fewer
than `FEWEST` refuses, because a sum over so few says too much of each.
"""

import numpy as np
import numpy.typing as npt

from methylation_age import feature_models, horvath, spectrum
from methylation_age.cohort import Cohort
from methylation_age.errors import InputError
from methylation_age.sums import Arrays, Float, Reference

FEWEST = 5
"""Samples of the target at one DIZ below which it answers nothing about them."""


def sketch(cohort: Cohort, reference: Reference, seed: int, rows: int, columns: tuple[int, int]) -> Arrays:
    """(p, m) some columns of Z'Z Omega.

    Args:
        cohort: The training samples.
        reference: Pooled centre and scale.
        seed: Of Omega.
        rows: Training samples of all DIZ together, which say how wide Omega is.
        columns: The first column of Omega, and the one after the last.
    """
    z = reference.standardise(cohort.betas)
    return {"sketch": spectrum.sketch(z, spectrum.directions(seed, rows, z.shape[1], columns))}


def confidences(
    target: Cohort, reference: Reference, of: spectrum.Spectrum, models: feature_models.FeatureModels
) -> Arrays:
    """For each CpG the sum of its confidences over the target's samples, and over how many (see `feature_models`)."""
    p = target.betas.shape[1]
    if not len(target):
        nothing = np.zeros(p, dtype=np.int64)
        return {"confidence": np.zeros(p), "observed": nothing, "n": np.zeros(1, dtype=np.int64)}
    _enough(target)
    observed = ~np.isnan(target.betas)
    total, count = feature_models.confidence_sums(of, models, reference.standardise(target.betas), observed)
    n = np.array([len(target)], dtype=np.int64)
    return {"confidence": total, "observed": count.astype(np.int64), "n": n}


def path_errors(target: Cohort, columns: npt.NDArray[np.int64], centre: Float, coef: Float, intercept: Float) -> Arrays:
    """Sums of absolute errors of L clocks.

    Args:
        target: Samples; those without an age are left out.
        columns: (q,) indices into the panel.
        centre: (q,) what stands for a missing beta.
        coef: (L, q) per unit of beta, on the transformed scale.
        intercept: (L,) on the same.

    Returns:
        ``abs_error`` (L,) in years, ``n`` (1,).
    """
    known = target.with_age()
    if not len(known):
        return {"abs_error": np.zeros(len(coef)), "n": np.zeros(1, dtype=np.int64)}
    _enough(known)
    betas = known.betas[:, columns]
    ages = horvath.inverse(np.where(np.isnan(betas), centre, betas) @ coef.T + intercept)
    return {"abs_error": np.abs(ages - known.age[:, None]).sum(axis=0), "n": np.array([len(known)], dtype=np.int64)}


def _enough(target: Cohort) -> None:
    if len(target) < FEWEST:
        raise InputError(f"Fewer than {FEWEST} samples of the target are here; a sum over so few is not formed.")
