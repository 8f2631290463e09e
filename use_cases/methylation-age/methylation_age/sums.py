"""A DIZ's part of the federated elastic net: three kinds of sums over its training samples.

Let X be the betas (n, p) with missing values, y Horvath's transform of the ages, and c, s the pooled centre and scale
that the hub formed from the first sums. Then

* `moments`: per CpG how many values there are, their sum and sum of squares; n; sum of y and of y squared;
* `target`: with Z = (X - c) / s (missing = c, so Z = 0 there) and v = (y - c_y) / s_y, per fold k: n_k, sum of Z,
  Z'v, sum of v, v'v;
* `columns`: per fold k the columns J of the second moment, Z_k' Z_k[:, J].

Sums over DIZ of these equal the sums over the pooled rows up to rounding, whatever the split; that is all the elastic
net needs (covariance updates: Friedman, Hastie and Tibshirani, J. Stat. Softw. 33(1), 2010, §2.2).

A patient's fold is SHA-256(patient id) mod K, so that all samples of one patient share a fold at every DIZ without
anybody exchanging ids. Or a fold is a group of DIZ, which tells how a clock does at DIZ that it has not seen: then the
sums of a fold are those of its DIZ together, and a fold of one DIZ is refused, because masks would hide nothing of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from methylation_age.cohort import Cohort
from methylation_age.errors import InputError

FEWEST_SITES_IN_FOLD = 2

MOST_COLUMNS = 16
"""In one message; the release contract states the same number."""

_ROUNDING = 1e-6

Float = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Reference:
    """The pooled centre and scale, as the hub sent them.

    Attributes:
        centre: (p,) mean beta per CpG.
        scale: (p,) standard deviation per CpG, 1 where the CpG is constant.
        y_centre: Mean of the transformed age.
        y_scale: Standard deviation of the transformed age.
    """

    centre: Float
    scale: Float
    y_centre: float
    y_scale: float

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "Reference":
        """From the arrays ``centre``, ``scale``, ``y_centre`` and ``y_scale`` of a message."""
        return cls(
            centre=np.asarray(arrays["centre"], dtype=np.float64),
            scale=np.asarray(arrays["scale"], dtype=np.float64),
            y_centre=float(arrays["y_centre"][0]),
            y_scale=float(arrays["y_scale"][0]),
        )

    def checked(self) -> "Reference":
        """Itself, if it can be the centre and scale of betas.

        A centre far from all betas makes of a column who has a value there, a scale that is infinite or no number takes
        it out, and a tiny one blows one CpG up until all others are nothing beside it.

        Raises:
            InputError: It cannot.
        """
        numbers = np.concatenate([self.centre, self.scale, [self.y_centre, self.y_scale]])
        if self.centre.ndim != 1 or self.scale.shape != self.centre.shape or not np.isfinite(numbers).all():
            raise InputError("The message's centres and scales are not finite, or not one for each CpG.")
        inside = are_betas(self.centre) and (self.scale <= 1).all()
        if not inside or not (self.scale > 0).all() or not self.y_scale > 0:
            raise InputError(
                "Betas have centres between 0 and 1, and scales above 0 and up to 1; the message's are not."
            )
        return self

    def standardise(self, betas: Float) -> Float:
        """(n, p) standardised betas, 0 where missing.

        Raises:
            InputError: They are of another number of CpGs.
        """
        if betas.shape[1:] != self.centre.shape:
            raise InputError(f"The message scales {self.centre.size} CpGs, the panel has {betas.shape[1]}.")
        return np.nan_to_num((betas - self.centre) / self.scale, nan=0.0)

    def digest(self) -> bytes:
        """The same for the same values: says whether something computed from them is still good."""
        numbers = np.concatenate([self.centre, self.scale, [self.y_centre, self.y_scale]])
        return hashlib.sha256(numbers.tobytes()).digest()


def are_betas(values: Float) -> bool:
    """Whether all lie between 0 and 1, as far as the rounding of masked sums lets one say."""
    return bool(((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all())


@dataclass(frozen=True, eq=False)
class Folds:
    """Standardised training samples, by fold.

    Attributes:
        z: K matrices (n_k, p).
        y: K vectors (n_k,), the standardised target.
    """

    z: tuple[Float, ...]
    y: tuple[Float, ...]


def moments(cohort: Cohort) -> Arrays:
    """Sums from which the hub forms means and standard deviations (see the module)."""
    observed = ~np.isnan(cohort.betas)
    filled = np.where(observed, cohort.betas, 0.0)
    return {
        "count": observed.sum(axis=0, dtype=np.int64),
        "sum_x": filled.sum(axis=0),
        "sum_xx": (filled**2).sum(axis=0),
        "n": np.array([len(cohort)], dtype=np.int64),
        "sum_y": np.array([cohort.target.sum(), (cohort.target**2).sum()]),
    }


def fold_of(patient_id: str, folds: int) -> int:
    """The fold of a patient: SHA-256 of the id as a big-endian integer, modulo `folds`."""
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest(), "big") % folds


def fold_of_site(groups: Sequence[Sequence[int]], node: int) -> int:
    """The fold of a DIZ, where folds are groups of DIZ.

    Args:
        groups: By fold the node ids of its DIZ, the same in every DIZ's message.
        node: This DIZ's id.

    Raises:
        InputError: A group is too small to hide one DIZ's sums, or they are no partition that has this DIZ in it.
    """
    everyone = [member for group in groups for member in group]
    if len(set(everyone)) != len(everyone) or any(len(group) < FEWEST_SITES_IN_FOLD for group in groups):
        raise InputError(
            f"Folds by DIZ need groups of at least {FEWEST_SITES_IN_FOLD} DIZ, each DIZ in one: the sums of a smaller "
            "group would be those of a single DIZ. Use fewer folds, or folds by patient."
        )
    own = [fold for fold, group in enumerate(groups) if node in group]
    if not own:
        raise InputError("This DIZ is in no fold; the hub must name all DIZ that take part.")
    return own[0]


def split_folds(
    cohort: Cohort, reference: Reference, folds: int, groups: Sequence[Sequence[int]] = (), node: int = 0
) -> Folds:
    """Standardise the cohort and part it into `folds` folds, by patient or, where there are `groups`, by DIZ."""
    if groups:
        assigned = np.full(len(cohort), fold_of_site(groups, node), dtype=np.intp)
    else:
        assigned = np.array([fold_of(patient, folds) for patient in cohort.patient_ids], dtype=np.intp)
    z = reference.standardise(cohort.betas)
    y = (cohort.target - reference.y_centre) / reference.y_scale
    parts = [assigned == k for k in range(folds)]
    return Folds(z=tuple(z[part] for part in parts), y=tuple(y[part] for part in parts))


def target(folds: Folds) -> Arrays:
    """Per fold: number of samples and first moments with the target (see the module)."""
    return {
        "n": np.array([len(y) for y in folds.y], dtype=np.int64),
        "sum_z": np.stack([z.sum(axis=0) for z in folds.z]),
        "xty": np.stack([z.T @ y for z, y in zip(folds.z, folds.y, strict=True)]),
        "sum_y": np.array([y.sum() for y in folds.y]),
        "yy": np.array([y @ y for y in folds.y]),
    }


def columns(folds: Folds, chosen: npt.NDArray[np.int64]) -> Arrays:
    """Per fold: the columns `chosen` (m,) of the second-moment matrix, together (K, p, m).

    Raises:
        InputError: They are too many for one message, or none of the panel's.
    """
    p = folds.z[0].shape[1]
    if chosen.ndim != 1 or not 0 < len(chosen) <= MOST_COLUMNS or chosen.min() < 0 or chosen.max() >= p:
        raise InputError(f"A message asks for 1 to {MOST_COLUMNS} of the panel's CpGs.")
    return {"gram": np.stack([z.T @ z[:, chosen] for z in folds.z])}
