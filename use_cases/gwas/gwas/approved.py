"""What a message may ask under the approved run config, and nothing else.

Masks hide which DIZ a number comes from, not what was asked. A hub that may choose freely asks for sums that are about
one patient: a range of one variant that one patient carries, a principal component that is one patient's indicator. So
each question is held to the run config, which a DIZ approves: the analysis's own queries, its columns, its chunks of
the panel; lists of variants in order and each once, and of those that weigh variants only such as the panel states as
common (`site_scaled.weighable`); and what a fit finds on its way (centres, loadings, coefficients) finite, of the
shapes that the run config implies, of sizes that a fit has, and spread over variants as a component of many people is.
Sizes matter: numbers so large or small that sums overflow or vanish would make refusals, and answers, one patient's.

Which patients count is never in a message: the run config's phenotype, covariates and thresholds say it, and the store
says who trains.
"""

from collections.abc import Callable, Mapping

import numpy as np

from gwas.errors import InputError
from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site import Float, Int, Request
from gwas.site_scaled import weighable

_ALWAYS = ("gwas_variants", "gwas_samples", "gwas_counts", "gwas_centre", "gwas_moments")
_COMPONENTS = ("gwas_ld", "gwas_pca")

QUERIES: Mapping[str, tuple[str, ...]] = {
    "linear": ("gwas_linear",),
    "logistic": ("gwas_null", "gwas_logistic", "gwas_firth"),
    "two-step": ("gwas_ridge", "gwas_level1", "gwas_linear"),
    "score": ("gwas_linear", "score_ld", "score_moments", "score_check"),
}
"""By analysis, what it asks beside what all of them do."""

MOST_OF_A_COMPONENT = 0.1
"""Share of one variant in a component's squared loadings: a component that is one variant is a genotype."""

FEWEST_OF_A_COMPONENT = 100
"""Variants that a component is of."""


MEANS, SCALES, SPREADS = (0.0, 2.0), (1e-2, 10.0), (1e-3, 1e4)
"""Of copies of an allele, what they are divided by, and what components are divided by."""

LARGEST, LEAST_LARGEST = 1e3, 1e-6
"""Between which the largest loading of a component, or number of a column of a basis, lies."""

LARGEST_OF_LOCO = 100.0
"""Weights of predictions, in standard deviations of the trait."""

FARTHEST, COVARIATE_SCALES = 1e6, (1e-6, 1e6)
"""A covariate's centre from 0, and its scales."""

LEAST_LOGISTIC_SCALE = 0.5
"""Of a covariate in a logistic model, in its own unit: below it, coefficients within their limit cut patients in two
between neighbouring values, and two such cuts differ by the patients between them."""


def check(query: str, request: Request, settings: Settings, panel: Panel) -> None:
    """Refuse what the run config does not state.

    Args:
        query: The message's type, without ``query.``.
        request: The message's content.
        settings: What the approved run config says.
        panel: Which variants there are.

    Raises:
        InputError: It asks for something else.
    """
    allowed = {*_ALWAYS, *QUERIES[settings.analysis]}
    if settings.pcs:
        allowed |= {*_COMPONENTS}
    if settings.sex_check:
        allowed.add("gwas_sex")
    if query not in allowed:
        raise InputError(f"The approved analysis is {settings.analysis}, which does not ask {query}.")
    for name, array in request.arrays.items():
        if array.dtype.kind not in "fi" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise InputError("The message brings numbers that are not finite, or no numbers.")
        if name in INDICES:
            check_indices(array, panel.size)
            if name in WEIGHED or (name == "index" and query.startswith("score_")):
                check_weighable(array, settings, panel)
        check_sizes(name, array)
    if "start" in request.config or "stop" in request.config:
        check_span(request, settings, panel)
    check_design(request, settings)
    for more in FURTHER.get(query, ()):
        more(request, settings)


INDICES = ("index", "pc_index", "loco_index", "x_index", "ld_index", "pca_index", "ridge_index")
"""Arrays that name variants of the panel."""


WEIGHED = ("pc_index", "loco_index", "ld_index", "pca_index", "ridge_index")
"""Those that name variants with weights; a score's ``index`` does as well."""


def check_weighable(index: Int, settings: Settings, panel: Panel) -> None:
    """Weights are on variants that the panel states as common.

    Raises:
        InputError: Some are not.
    """
    if others := int((~weighable(panel, settings)[index]).sum()):
        raise InputError(
            f"{others} of the {len(index)} variants that the message weighs are not weighable: on no autosome, or not "
            f"of a frequency from {settings.pca_maf:g} to {1 - settings.pca_maf:g} in the approved panel."
        )


def check_sizes(name: str, array: Float) -> None:
    """Numbers about variants are of a size that a fit has.

    Raises:
        InputError: They are not.
    """
    if name.endswith("mean"):
        limits: tuple[float, float] | None = MEANS
    elif name.endswith("_scale"):
        limits = SCALES
    else:
        limits = SPREADS if name == "pc_spread" else None
    if limits and array.size and not (limits[0] <= array.min() and array.max() <= limits[1]):
        raise InputError(f"The message's {name!r} lies outside {limits[0]:g} to {limits[1]:g}.")
    if name in ("loco_weights", "loco_z") and array.size and np.abs(array).max() > LARGEST_OF_LOCO:
        raise InputError(f"The message's {name!r} is beyond {LARGEST_OF_LOCO:g}, which no fit gives.")
    if name in ("loadings", "basis") and array.ndim == 2 and array.size:
        largest = np.abs(array).max(axis=0)
        if not ((largest >= LEAST_LARGEST) & (largest <= LARGEST)).all():
            raise InputError(f"The largest number of a column of {name!r} lies outside {LEAST_LARGEST} to {LARGEST}.")


def check_indices(index: Int, size: int) -> None:
    """Variants of the panel, in its order, each once.

    Raises:
        InputError: They are not.
    """
    if index.ndim != 1 or index.dtype != np.int64:
        raise InputError("The message's list of variants is no list of whole numbers.")
    if len(index) and (index[0] < 0 or index[-1] >= size or (np.diff(index) <= 0).any()):
        raise InputError("The message's list of variants is not in the panel's order, or names one twice.")


def check_span(request: Request, settings: Settings, panel: Panel) -> None:
    """A range of the panel's variants, of one chromosome and no longer than the run config's chunk.

    Raises:
        InputError: It is not.
    """
    span = [request.config.get(key) for key in ("start", "stop")]
    if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in span):
        raise InputError("The message's range of variants is no two whole numbers.")
    start, stop = request.span
    if not 0 <= start < stop <= panel.size or stop - start > settings.chunk:
        raise InputError("The message's range of variants is not a chunk of the panel.")
    if panel.chromosome[start] != panel.chromosome[stop - 1]:
        raise InputError("The message's range of variants lies on two chromosomes.")
    index = request.arrays.get("index")
    if index is not None and len(index) and not (start <= index[0] and index[-1] < stop):
        raise InputError("The message's list of variants lies outside its range.")


def check_design(request: Request, settings: Settings) -> None:
    """Centres and scales by covariate; components spread over many variants.

    Raises:
        InputError: They are not.
    """
    arrays = request.arrays
    for name in ("centre", "scale"):
        if name in arrays and arrays[name].shape != (len(settings.numeric) + 1,):
            raise InputError(f"The message's {name!r} does not belong to the approved covariates.")
    if "centre" in arrays and (np.abs(arrays["centre"][:-1]) > FARTHEST).any():
        raise InputError(f"The message centres a covariate beyond {FARTHEST:g}; state it in other units.")
    if "scale" in arrays:
        scale = arrays["scale"][:-1]
        least = LEAST_LOGISTIC_SCALE if settings.analysis == "logistic" else COVARIATE_SCALES[0]
        if not (arrays["scale"][-1] > 0 and (scale >= least).all() and (scale <= COVARIATE_SCALES[1]).all()):
            raise InputError(f"The message's scales are not from {least:g} to {COVARIATE_SCALES[1]:g}.")
    if "pc_index" not in arrays:
        return
    count = len(arrays["pc_index"])
    wanted = {
        "pc_mean": (count,),
        "pc_scale": (count,),
        "loadings": (count, settings.pcs),
        "pc_spread": (settings.pcs,),
    }
    if any(name not in arrays or arrays[name].shape != shape for name, shape in wanted.items()):
        raise InputError("The message's principal components are not those of the approved run config.")
    check_loadings(arrays["loadings"])


def check_loadings(loadings: Float) -> None:
    """No variant is a component.

    Args:
        loadings: (p1, K).

    Raises:
        InputError: One is, or there are too few of them.
    """
    largest = np.abs(loadings).max(axis=0, initial=0.0)
    squares = (loadings / np.where(largest > 0, largest, 1.0)) ** 2  # of the largest: squares alone may overflow
    total = squares.sum(axis=0)
    if len(loadings) < FEWEST_OF_A_COMPONENT or (squares > MOST_OF_A_COMPONENT * total).any():
        raise InputError(
            f"A principal component rests on fewer than {FEWEST_OF_A_COMPONENT} variants, or on one of them by more "
            f"than {MOST_OF_A_COMPONENT:.0%}: it would be that variant's genotypes. Relax the pruning (ld-r2), or "
            "lower pcs."
        )


FURTHER: Mapping[str, tuple[Callable[[Request, Settings], None], ...]] = {}
"""By query, what else is looked at."""
