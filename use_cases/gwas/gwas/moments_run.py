"""The null model at the hub: centres and scales of the columns, and the sums without any variant.

Every later message about samples brings the arrays found here. Errors that concern all variants show here, before the
first of them is looked at: a constant phenotype or covariate, a covariate that others foretell, too few samples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from flame_strategies.association import COLLINEAR, NullSums
from flame_strategies.glm_design import Collinear, DesignError
from flame_strategies.sums import Exchange

from gwas.approved import LEAST_LOGISTIC_SCALE
from gwas.settings import Settings
from gwas.site_design import terms

Vector = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]

_LEAST_SPREAD = 1e-8
"""A scale is at least this share of the centre: below it sums of squares in own units have no digits left."""


class HasArrays(Protocol):
    """What adds arrays to a message: principal components, or predictions from other chromosomes."""

    def arrays(self) -> Arrays:
        """By name."""


@dataclass(frozen=True, eq=False)
class Moments:
    """The null model of one set of DIZ.

    Attributes:
        terms: Names of the q columns.
        arrays: What a message brings so that the DIZ build these columns.
        n: Samples.
        sites: DIZ with samples.
        sums: Z'Z, Z'y, y'y.
        y_scale: The unit of y: effects and their standard errors are to be multiplied by it.
        y_centre: The phenotype's mean, 0 for a disease.
    """

    terms: tuple[str, ...]
    arrays: Arrays
    n: int
    sites: int
    sums: NullSums
    y_scale: float
    y_centre: float

    @property
    def q(self) -> int:
        """How many columns."""
        return len(self.terms)

    @property
    def zz(self) -> npt.NDArray[np.float64]:
        """Z'Z, (q, q)."""
        return self.sums.zz

    @property
    def zy(self) -> Vector:
        """Z'y, (q,)."""
        return self.sums.zy

    @property
    def yy(self) -> float:
        """Y'y."""
        return self.sums.yy


def moments(exchange: Exchange, settings: Settings, components: HasArrays | None = None) -> Moments:
    """Find them: two exchanges.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: The run's.
        components: Principal components that are columns.

    Raises:
        DesignError: The phenotype or a column is constant or foretold by others, or there are too few samples.
    """
    first = exchange("query.gwas_centre", {"ask": {"of": "centre"}})
    n, sites = int(first["n"][0]), int(first["sites"][0])
    q = len(terms(settings))
    if n == 0:
        raise DesignError(
            "No sums of covariates and phenotype leave the DIZ: nobody has a phenotype and all covariates, or a "
            "declared level of a category, cases or controls have fewer people than the contract's min_total. Look at "
            "the counts of left-out samples; join small levels, or leave the category out."
        )
    if n < q + 2:
        raise DesignError(
            f"{n} samples have a phenotype and all covariates; {q} columns and a variant need at least {q + 2}. "
            "Look at the counts of left-out samples, and at the columns' names and missing values."
        )
    centre = first["sum_x"][0] / n
    spread = np.sqrt(np.maximum(first["sum_xx"][0] / n - centre**2, 0))
    _not_constant((*settings.numeric, settings.phenotype), centre, spread)
    scale = np.where(spread > 0, spread, 1.0)
    if settings.analysis == "logistic":
        scale = np.maximum(scale, LEAST_LOGISTIC_SCALE)
    if settings.binary:
        centre[-1], scale[-1] = 0.0, 1.0
    arrays = {"centre": centre, "scale": scale, **(components.arrays() if components else {})}
    sums = null_sums(exchange, settings, arrays)
    names = terms(settings)
    _independent(names, sums.zz)
    if not settings.binary and sums.yy - sums.zy @ np.linalg.solve(sums.zz, sums.zy) < COLLINEAR * sums.yy:
        raise DesignError(
            f"The covariates foretell {settings.phenotype!r} without any rest: nothing is left to explain."
        )
    return Moments(names, arrays, n, sites, sums, float(scale[-1]), float(centre[-1]))


def null_sums(exchange: Exchange, settings: Settings, arrays: Arrays) -> NullSums:
    """The sums of the null model, for given columns.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: The run's.
        arrays: Of the design, and of predictions that are taken off the phenotype.
    """
    found = exchange("query.gwas_moments", {"design": dict(arrays)})
    q = len(terms(settings))
    zz = np.empty((q, q))
    rows, columns = np.triu_indices(q)
    zz[rows, columns] = zz[columns, rows] = found["zz"][0]
    return NullSums(zz, np.asarray(found["zy"][0], dtype=np.float64), float(found["yy"][0]))


def _not_constant(names: tuple[str, ...], centre: Vector, spread: Vector) -> None:
    for name, middle, width in zip(names, centre.tolist(), spread.tolist(), strict=True):
        if not (math.isfinite(width) and width > _LEAST_SPREAD * abs(middle)):
            raise DesignError(
                f"{name!r} is the same for all analysed samples; an association needs a phenotype and covariates that "
                "vary. Check the column, its missing values and, of a disease, which value cases have."
            )


def _independent(names: tuple[str, ...], zz: npt.NDArray[np.float64]) -> None:
    """Each column leaves something that those before it do not foretell."""
    for place in range(1, len(names)):
        before, own = zz[:place, :place], zz[:place, place]
        rest = zz[place, place] - own @ np.linalg.lstsq(before, own, rcond=None)[0]
        if not rest > COLLINEAR * zz[place, place]:
            raise Collinear(
                f"The column {names[place]!r} is constant, or a combination of the columns before it "
                f"({', '.join(names[:place])}), among the analysed samples. Leave it out of the covariates."
            )
