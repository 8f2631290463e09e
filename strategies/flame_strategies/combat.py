"""ComBat's pooled part from sums within sites: covariates' effects, overall means and variances of features.

Johnson, Li and Rabinovic (Biostatistics 8, 2007) fit to each feature a linear model with a mean for every batch, here a
site, and effects of covariates that are to be kept. With x, y around the site's own means, the effects are those of
sums over sites of products within sites, the same as of the pooled rows with a column for each site::

    b = (sum x x')^-1 sum x y,    a = mean of y - x'b over all rows
    s^2 = (sum y^2 - 2 b' sum x y + b' sum x x' b) / n

The empirical Bayes step compares a site's shifts and spreads over its own features: it is the site's alone, and needs
nothing but a, b and s.

Query ``combat``, input: array record ``about`` with ``around`` and ``unit`` (J,); features are (y - around) / unit.
Reply, in ``sums``, for B blocks of features, J features in all and c covariates: ``n``, ``sites`` (B,) int64, rows and
sites that have the block; ``answers`` (1,) int64, 1; ``widths`` (B,) int64, features of each block (summed over sites
like all else); ``sum_x`` (B, c), ``xx`` (B, c (c + 1) / 2), ``sum_y`` (J,), ``xy`` (c, J), ``yy`` (J,); xx, xy and yy
within sites. It is asked twice: in the features' own units (both empty) for rough means and spreads, and in these, so
that features of small spread keep their digits in the fixed point of masked sums.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.block_fusion import SMALLEST_SPREAD
from flame_strategies.errors import NotEnoughNodes, UnusableReply
from flame_strategies.glm_design import unpack
from flame_strategies.reference import CONSTANT_SPREAD
from flame_strategies.sums import Content, Exchange

__all__ = ["Combat", "fit_combat"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_DEPENDENT = 1e-12
"""Share of the largest eigenvalue below which a combination of covariates does not vary within sites."""


@dataclass(frozen=True, eq=False)
class Combat:
    """What every site needs to harmonise itself.

    Attributes:
        mean: (J,) of each feature at covariates 0.
        effects: (c, J).
        scale: (J,) standard deviation within sites; 0 where a feature does not vary, and is left as it is.
        covariates: (c,) means, which stand for missing ones.
        n: (B,) rows of each block.
        sites: (B,) sites that have each block.
    """

    mean: Vector
    effects: Matrix
    scale: Vector
    covariates: Vector
    n: Int
    sites: Int

    def content(self) -> dict[str, Matrix]:
        """An array record for messages."""
        return {
            "combat_mean": self.mean,
            "combat_effects": self.effects,
            "combat_scale": self.scale,
            "combat_covariates": self.covariates,
        }


def fit_combat(exchange: Exchange, content: Content, *, query: str = "query.combat", min_sites: int = 3) -> Combat:
    """Find ComBat's pooled part in two exchanges.

    Args:
        exchange: Asks all sites and returns sums.
        content: Records that say of which rows; without ``about``.
        query: The message type.
        min_sites: So many sites must have each block.

    Raises:
        NotEnoughNodes: A block is at fewer sites.
        UnusableReply: The answers do not fit together.
    """
    rough = exchange(query, {**content, "about": {"around": np.zeros(0), "unit": np.zeros(0)}})
    rows = np.repeat(np.asarray(rough["n"], dtype=np.float64), np.asarray(rough["widths"]) // int(rough["answers"][0]))
    if rows.shape != np.shape(rough["sum_y"]) or rows.shape != np.shape(rough["yy"]):
        raise UnusableReply("The sites' sums for ComBat are of other shapes than their widths say.")
    around = np.asarray(rough["sum_y"], dtype=np.float64) / np.maximum(rows, 1)
    unit = np.maximum(np.sqrt(np.maximum(rough["yy"], 0.0) / np.maximum(rows, 1)), SMALLEST_SPREAD)
    sums = exchange(query, {**content, "about": {"around": around, "unit": unit}})
    n, sites = (np.asarray(sums[name], dtype=np.int64) for name in ("n", "sites"))
    widths = np.asarray(sums["widths"], dtype=np.int64) // int(sums["answers"][0])
    sum_x, sum_y, xy, yy = (np.asarray(sums[name], dtype=np.float64) for name in ("sum_x", "sum_y", "xy", "yy"))
    c = sum_x.shape[1]
    if int(widths.sum()) != len(sum_y) or xy.shape != (c, len(sum_y)) or yy.shape != sum_y.shape:
        raise UnusableReply("The sites' sums for ComBat are of other shapes than their widths say.")
    if (sites < min_sites).any():
        raise NotEnoughNodes(
            f"A block of features is at {int(sites.min())} sites, and harmonising needs {min_sites}; leave it out."
        )
    xx = unpack(np.asarray(sums["xx"], dtype=np.float64), c)
    mean, scale, effects = np.zeros(len(sum_y)), np.zeros(len(sum_y)), np.zeros((c, len(sum_y)))
    first = 0
    for number, width in enumerate(widths.tolist()):
        place = slice(first, first + width)
        b = _solve(xx[number], xy[:, place])
        rest = yy[place] - 2 * (b * xy[:, place]).sum(axis=0) + (b * (xx[number] @ b)).sum(axis=0)
        mean[place] = (sum_y[place] - sum_x[number] @ b) / n[number]
        variance = rest / n[number]
        scale[place] = np.sqrt(np.where(variance > CONSTANT_SPREAD**2 * yy[place] / n[number], variance, 0.0))
        effects[:, place] = b
        first += width
    mean, effects, scale = around + unit * mean, unit * effects, unit * scale
    scale = np.where(scale > np.maximum(CONSTANT_SPREAD * np.abs(mean), SMALLEST_SPREAD), scale, 0.0)
    return Combat(mean, effects, scale, sum_x.sum(axis=0) / max(int(n.sum()), 1), n, sites)


def _solve(xx: Matrix, xy: Matrix) -> Matrix:
    """Least squares; 0 along combinations of covariates that do not vary within sites."""
    if not len(xx):
        return np.zeros(xy.shape)
    unit = np.sqrt(np.where(xx.diagonal() > 0, xx.diagonal(), 1.0))
    inverse = np.linalg.pinv(xx / np.outer(unit, unit), rcond=_DEPENDENT, hermitian=True)
    return np.asarray(inverse @ (xy / unit[:, None]) / unit[:, None])
