"""What a message may ask under the approved run config, and nothing else.

Masks hide which DIZ a number comes from, not what was asked. A hub that may choose freely asks for sums that are about
one patient: a range of one variant that one patient carries, a principal component that is one patient's indicator. So
each question is held to the run config, which a DIZ approves: the analysis's own queries, its columns, its chunks of
the panel; lists of variants in order and each once; and what a fit finds on its way (centres, loadings, coefficients)
finite, of the shapes that the run config implies, and spread over variants as a component of many people is.

Which patients count is never in a message: the run config's phenotype, covariates and thresholds say it, and the store
says who trains.
"""

from collections.abc import Callable, Mapping

import numpy as np

from gwas.errors import InputError
from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site import Float, Int, Request

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
    if "start" in request.config or "stop" in request.config:
        check_span(request, settings, panel)
    check_design(request, settings)
    for more in FURTHER.get(query, ()):
        more(request, settings)


INDICES = ("index", "pc_index", "loco_index", "x_index", "ld_index", "pca_index", "ridge_index")
"""Arrays that name variants of the panel."""


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
    if "scale" in arrays and not (arrays["scale"] > 0).all():
        raise InputError("The message's scales are not above 0.")
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
    if not ((arrays["pc_scale"] > 0).all() and (arrays["pc_spread"] > 0).all()):
        raise InputError("The message's scales are not above 0.")
    check_loadings(arrays["loadings"])


def check_loadings(loadings: Float) -> None:
    """No variant is a component.

    Args:
        loadings: (p1, K).

    Raises:
        InputError: One is, or there are too few of them.
    """
    squares = loadings**2
    total = squares.sum(axis=0)
    if len(loadings) < FEWEST_OF_A_COMPONENT or (squares > MOST_OF_A_COMPONENT * total).any():
        raise InputError(
            f"A principal component rests on fewer than {FEWEST_OF_A_COMPONENT} variants, or on one of them by more "
            f"than {MOST_OF_A_COMPONENT:.0%}: it would be that variant's genotypes. Relax the pruning (ld-r2), or "
            "lower pcs."
        )


FURTHER: Mapping[str, tuple[Callable[[Request, Settings], None], ...]] = {}
"""By query, what else is looked at."""
