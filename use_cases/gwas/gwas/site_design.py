"""Which samples of a DIZ are analysed, and their columns: the same at every DIZ.

The approved run config says which samples and columns these are; a message brings centres and scales, and what the
principal components are computed from. A sample is analysed if it has a phenotype and all covariates, and if so many of
its genotypes were called (`mind`). The columns of z are, in this order:

1. ones;
2. the covariates in the run config's order, a numeric one less its centre and divided by its scale, one with declared
   levels as 0 or 1 for each level but the first;
3. principal components, from the genotypes here and the loadings in the message: they never leave the DIZ.

Which centres and scales it is does not change a test; pooled ones keep the sums in bounds.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Bool, Float, Int, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_calls import autosomal
from gwas.site_quality import missing_share
from gwas.site_scaled import must_be_there, scaled

SEX = "sex"
"""The covariate of this name is the store's sex: 1 male, 2 female, as PLINK has it."""

OTHER_PART = "held out to test the score"

REASONS = ("analysed", OTHER_PART, "too many genotypes missing", "no phenotype", "covariate missing")
"""Why a sample is analysed or not, by code; the first that holds. Where the test part is asked about, `OTHER_PART` are
the samples that train."""

TRAIN, TEST = "train", "test"

PC_ARRAYS = ("pc_index", "pc_mean", "pc_scale", "loadings", "pc_spread")

_BLOCK = 2_000


@dataclass(frozen=True, eq=False)
class Design:
    """The analysed samples.

    Attributes:
        keep: (n,) which samples of the view these are.
        z: (kept, q) float64, the first column ones.
        y: (kept,) float64: a quantitative phenotype less its centre and divided by its scale, a disease as 0 or 1.
    """

    keep: Bool
    z: Float
    y: Float

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.y)


def terms(settings: Settings) -> tuple[str, ...]:
    """Names of the q columns of z."""
    found = ["(intercept)"]
    for name in settings.covariates:
        levels = settings.levels.get(name)
        found += [name] if levels is None else [f"{name}[{level}]" for level in levels[1:]]
    return (*found, *(f"PC{number}" for number in range(1, settings.pcs + 1)))


def phenotype(site: Site, settings: Settings) -> Float:
    """(n,) the phenotype in its own units, 0 or 1 for a disease; NaN where missing."""
    values = _number(site, settings.phenotype)
    if not settings.binary:
        return values
    control, case = settings.coding
    found = np.where(values == case, 1.0, np.where(values == control, 0.0, np.nan))
    return np.asarray(found, dtype=np.float64)


def why(site: Site, settings: Settings, part: str = "") -> npt.NDArray[np.int8]:
    """(n,) by sample a place in `REASONS`.

    Args:
        site: The DIZ's data.
        settings: The approved run config's.
        part: `TRAIN` or `TEST` for one part of the samples; empty for the training part of a score, and for all
            samples of another analysis.
    """
    part = part or (TRAIN if settings.analysis == "score" else "")
    key = digest("why", repr(settings), part)
    return remember(site, key, lambda: _why(site, settings, part), lasting=True)


def analysed(site: Site, settings: Settings, part: str = "") -> Bool:
    """(n,) which samples are analysed; see `why`."""
    return np.asarray(why(site, settings, part) == 0)


def own_units(site: Site, settings: Settings, keep: Bool) -> Float:
    """(kept, k + 1) numeric covariates, and the phenotype as the last column, in their own units."""
    columns = [_number(site, name)[keep] for name in settings.numeric]
    return np.column_stack([*columns, phenotype(site, settings)[keep]])


def design(site: Site, request: Request, settings: Settings, part: str = "") -> Design:
    """The samples and columns that a message asks about.

    Args:
        site: The DIZ's data.
        request: Its arrays are ``centre`` and ``scale`` (k + 1,) of the numeric covariates and, last, of the phenotype
            (0 and 1 for a disease), and with principal components `PC_ARRAYS`.
        settings: The approved run config's.
        part: See `why`.

    Raises:
        InputError: The arrays do not fit the run config, or are no centres, scales or loadings.
    """
    used = {name: request.arrays[name] for name in ("centre", "scale", *PC_ARRAYS) if name in request.arrays}
    key = digest("design", repr(settings), part, arrays=used)
    return remember(site, key, lambda: _design(site, request, settings, part))


def _why(site: Site, settings: Settings, part: str) -> npt.NDArray[np.int8]:
    reasons = np.zeros(site.samples, dtype=np.int8)
    complete = np.ones(site.samples, dtype=np.bool_)
    for name in settings.covariates:
        complete &= site.code(name) >= 0 if name in settings.levels else np.isfinite(_number(site, name))
    reasons[~complete] = REASONS.index("covariate missing")
    reasons[~np.isfinite(phenotype(site, settings))] = REASONS.index("no phenotype")
    if settings.mind < 1:
        reasons[missing_share(site) > settings.mind] = REASONS.index("too many genotypes missing")
    if part:
        reasons[site.train != (part == TRAIN)] = REASONS.index(OTHER_PART)
    return reasons


def _number(site: Site, name: str) -> Float:
    if name != SEX or SEX in site.numbers:
        return site.number(name)
    return np.where(site.sex > 0, site.sex.astype(np.float64), np.nan)


def _design(site: Site, request: Request, settings: Settings, part: str) -> Design:
    keep = analysed(site, settings, part)
    values = own_units(site, settings, keep)
    centre, scale = (_vector(request, name, values.shape[1]) for name in ("centre", "scale"))
    if not (scale > 0).all():
        raise InputError("The message's scales must be above 0.")
    if settings.binary and (centre[-1], scale[-1]) != (0, 1):
        raise InputError("A disease is 0 or 1; the message centres or scales it.")
    values = (values - centre) / scale
    columns, place = [np.ones(len(values))], 0
    for name in settings.covariates:
        if name in settings.levels:
            codes = site.code(name)[keep]
            columns += [(codes == level).astype(np.float64) for level in range(1, len(settings.levels[name]))]
        else:
            columns.append(values[:, place])
            place += 1
    z = np.column_stack([*columns, *_components(site, request, settings, keep)])
    return Design(keep, z, np.ascontiguousarray(values[:, -1]))


def _components(site: Site, request: Request, settings: Settings, keep: Bool) -> list[Float]:
    if not settings.pcs:
        return []
    index = _index(site, request)
    mean, scale = (_vector(request, name, len(index)) for name in ("pc_mean", "pc_scale"))
    spread, loadings = _vector(request, "pc_spread", settings.pcs), request.arrays["loadings"]
    if loadings.shape != (len(index), settings.pcs) or not np.isfinite(loadings).all():
        raise InputError(f"The message's loadings are not those of {settings.pcs} components.")
    if not ((scale > 0).all() and (spread > 0).all()):
        raise InputError("The message's scales must be above 0.")
    found = np.zeros((int(keep.sum()), settings.pcs))
    for first in range(0, len(index), _BLOCK):
        of = slice(first, first + _BLOCK)
        calls = site.genotypes.pick(index[of])[keep]
        found += scaled(calls, mean[of], scale[of]) @ loadings[of]
    return list((found / spread).T)


def _index(site: Site, request: Request) -> Int:
    index = request.arrays["pc_index"]
    if index.ndim != 1 or index.dtype.kind != "i" or not len(index) or (np.diff(index, prepend=-1) <= 0).any():
        raise InputError("The variants of the principal components must be named once each, in order.")
    if index[-1] >= site.panel.size or not autosomal(site.panel.chromosome[index]).all():
        raise InputError("The variants of the principal components must be autosomal ones of the panel.")
    must_be_there(site, index)
    return np.asarray(index, dtype=np.int64)


def _vector(request: Request, name: str, size: int) -> Float:
    if name not in request.arrays:
        raise InputError(f"The message brings no {name}.")
    array = request.arrays[name]
    if array.shape != (size,) or not np.isfinite(array).all():
        raise InputError(f"The message's {name} must be {size} finite numbers.")
    return np.asarray(array, dtype=np.float64)
