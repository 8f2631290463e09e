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
from methylation_age.sums import Arrays, Float, Reference, are_betas

FEWEST = 5
"""Samples of the target at one DIZ below which it answers nothing about them."""

MOST_COLUMNS = 64
"""Of a sketch, in one message; the release contract states the same number."""

_CLOSE = 1e-3
"""How far what follows from other numbers of a message may be off them, far more than rounding: relative, and of inner
products absolute."""


def sketch(cohort: Cohort, reference: Reference, seed: int, rows: int, columns: tuple[int, int]) -> Arrays:
    """(p, m) some columns of Z'Z Omega.

    Args:
        cohort: The training samples.
        reference: Pooled centre and scale.
        seed: Of Omega.
        rows: Training samples of all DIZ together, which say how wide Omega is.
        columns: The first column of Omega, and the one after the last.

    Raises:
        InputError: There are no such columns, or too many for one message.
    """
    start, stop = columns
    width = spectrum.width(rows, len(reference.centre))
    if seed < 0 or not 0 <= start < stop <= min(width, start + MOST_COLUMNS):
        raise InputError(f"A message asks for 1 to {MOST_COLUMNS} of the sketch's {width} columns.")
    z = reference.standardise(cohort.betas)
    return {"sketch": spectrum.sketch(z, spectrum.directions(seed, rows, z.shape[1], columns))}


def confidences(
    target: Cohort, reference: Reference, of: spectrum.Spectrum, models: feature_models.FeatureModels
) -> Arrays:
    """For each CpG the sum of its confidences over the target's samples, and over how many (see `feature_models`).

    Raises:
        InputError: There are too few samples, or the models are none that `feature_models.fit` makes of a spectrum.
    """
    p = target.betas.shape[1]
    check_models(of, models, p)
    if not len(target):
        nothing = np.zeros(p, dtype=np.int64)
        return {"confidence": np.zeros(p), "observed": nothing, "n": np.zeros(1, dtype=np.int64)}
    _enough(target)
    observed = ~np.isnan(target.betas)
    total, count = feature_models.confidence_sums(of, models, reference.standardise(target.betas), observed)
    n = np.array([len(target)], dtype=np.int64)
    return {"confidence": total, "observed": count.astype(np.int64), "n": n}


def check_models(of: spectrum.Spectrum, models: feature_models.FeatureModels, p: int) -> None:
    """Refuse what is no spectrum of a second-moment matrix, or no models of it.

    With vectors of the hub's choice a CpG's residual is any combination of a sample's CpGs, and with noise next to none
    its confidence says whether that is some value: one message would count the samples at thousands of values.

    Raises:
        InputError: It is none.
    """
    q = len(of.values)
    if of.values.shape != (q,) or of.vectors.shape != (p, q) or models.signal.shape != (p,) != models.noise.shape:
        raise InputError("The message's spectrum and models are not of the panel's CpGs.")
    numbers = (of.values, of.vectors, models.signal, models.noise)
    if not all(np.isfinite(array).all() for array in numbers) or not (of.values > 0).all() or not 0 < q <= of.rows:
        raise InputError("The message's spectrum has values that are not above 0, or more than there are samples.")
    if np.abs(of.vectors.T @ of.vectors - np.eye(q)).max() > _CLOSE:
        raise InputError("The message's eigenvectors are not orthonormal.")
    modelled = models.noise > 0
    total = (of.vectors**2) @ of.values / of.rows  # 1 of a standardised CpG, 0 of a constant one
    if total.max() > 1 + _CLOSE or (total[modelled] < 1 - _CLOSE).any():
        raise InputError("The message's spectrum is not that of standardised CpGs.")
    most = feature_models.RATIO_RANGE[1] * (1 + _CLOSE)
    below = min(models.noise.min(), models.signal.min()) < 0
    if below or (p * models.signal > most * models.noise).any():
        raise InputError("The message's models have more signal, or less noise, than any that is fitted.")
    if not np.allclose(models.noise, feature_models.implied_noise(of, models), rtol=_CLOSE, atol=0.0):
        raise InputError("The noise of the message's models is not what the spectrum makes it.")


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
    ages = horvath.inverse(np.where(np.isnan(betas), checked_centre(centre), betas) @ coef.T + intercept)
    return {"abs_error": np.abs(ages - known.age[:, None]).sum(axis=0), "n": np.array([len(known)], dtype=np.int64)}


def checked_centre(centre: Float) -> Float:
    """The values that stand for missing betas, if they are betas themselves.

    Raises:
        InputError: One is not between 0 and 1: a clock would then say who has no value there.
    """
    if not are_betas(centre):
        raise InputError("What stands for a missing beta must lie between 0 and 1.")
    return centre


def _enough(target: Cohort) -> None:
    if len(target) < FEWEST:
        raise InputError(f"Fewer than {FEWEST} samples of the target are here; a sum over so few is not formed.")
