"""What a message may ask under the approved run config: its columns, levels, classes, times and bins, and nothing else.

Masks hide which DIZ a number comes from, not what was asked. A hub that may name any column and any levels of it asks
for the samples with levels so rare that one patient has them all, and the sum over all DIZ is that patient's. Times and
cuts of its choice do the same: between two of them lies whoever it wants. So each question is held to the run config,
which a DIZ approves: the analysis's own queries, the columns it states with all their declared levels, its grid of
times, its bins, and the network's recipe.

What is left to the hub are coefficients, centres and scales, hazards and the genes of a model: numbers that a fit finds
on its way. Sums at coefficients of its choice still tell much, the more of them are asked (README).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gene_expression.errors import InputError
from gene_expression.settings import Settings
from gene_expression.site_rows import CLASS, GENE, PERIOD
from gene_expression.table import Float, Request

_GLM = ("glm_moments", "glm_step", "glm_path")

QUERIES: Mapping[str, tuple[str, ...]] = {
    "differential": (
        *("de_design", "de_products", "de_residuals", "de_weighted"),
        *("scale_genes", "scale_ranks", "scale_above", "scale_factors"),
    ),
    "classify": ("phenotype_screen", *_GLM, "classify_scores"),
    "mlp": ("phenotype_screen", "glm_moments", "train", "mlp_scores"),
    "survival": (
        *("phenotype_times", "phenotype_screen", *_GLM),
        *("cox_counts", "cox_moments", "cox_step", "cox_efron", "cox_site_step"),
        *("survival_scores", "survival_curve"),
    ),
}
"""By analysis, what it asks."""

RECIPE = ("hidden", "norm_groups", "epochs", "batch_size", "learning_rate", "weight_decay", "dropout", "seed")
"""What the run config says of the network, by the names of `Settings`; ``mlp_...`` in a message."""


def check(query: str, request: Request, settings: Settings) -> None:
    """Refuse what the run config does not state.

    Args:
        query: The message's type, without ``query.``.
        request: The message's content.
        settings: What the approved run config says.

    Raises:
        InputError: It asks for something else; the text names the columns or settings.
    """
    if query not in QUERIES[settings.analysis]:
        raise InputError(f"The approved analysis is {settings.analysis}, which does not ask {query}.")
    if not all(np.isfinite(array).all() for array in request.arrays.values() if array.dtype.kind == "f"):
        raise InputError("The message brings numbers that are not finite.")
    _check_columns(request, settings)
    _check_levels(request, settings)
    _check_outcome(request, settings)
    if settings.analysis == "survival":
        _check_times(request, settings)
    if "cuts" in request.arrays:
        _check_cuts(request.arrays["cuts"], settings)
    if query in ("train", "mlp_scores"):
        _check_recipe(request.config, settings)


def _columns(settings: Settings) -> tuple[str, ...]:
    return settings.design if settings.analysis == "differential" else settings.covariates


def _check_columns(request: Request, settings: Settings) -> None:
    """Clinical columns are those of the run config; of the panel's genes, those that may enter a model."""
    allowed = set(_columns(settings))
    if settings.analysis == "survival":
        allowed |= {f"{PERIOD}:time", f"{PERIOD}:log"}
    genes = {f"{GENE}{gene}" for gene in settings.genes}
    named = [*request.names("numeric"), *request.names("screened")]
    for name in [*named, *request.names("categorical"), *filter(None, request.names("by"))]:
        is_gene = name.startswith(GENE) and settings.analysis != "differential"
        if name not in allowed and not (is_gene and (not genes or name in genes)):
            raise InputError(f"The column {name!r} is not in the approved run config.")


def _check_levels(request: Request, settings: Settings) -> None:
    """All declared levels of a column, so that no sample is left out by the message's choice of them."""
    stated, start = request.names("levels"), 0
    counts = [int(count) for count in request.config.get("level_counts", [])]
    if sum(counts) != len(stated) or len(counts) != len(request.names("categorical")) or min(counts, default=1) < 1:
        raise InputError("The message's levels do not belong to its columns.")
    for name, count in zip(request.names("categorical"), counts, strict=True):
        if tuple(stated[start : start + count]) != settings.levels.get(name):
            raise InputError(f"The message does not ask for all levels of {name!r} that the run config declares.")
        start += count


def _check_outcome(request: Request, settings: Settings) -> None:
    words: dict[str, object] = {}
    outcomes = {"expression"}
    if settings.analysis == "survival":
        words, outcomes = {"time": settings.outcome, "event": settings.event}, {settings.outcome, f"{PERIOD}:event"}
    elif settings.analysis != "differential":
        levels = settings.levels[settings.outcome]
        words = {"class_of": settings.outcome, "classes": list(levels)}
        outcomes = {f"{CLASS}{level}" for level in levels}
    for key in ("time", "event", "class_of", "classes"):
        if key in request.config and request.config[key] != words.get(key):
            raise InputError(f"The message's {key!r} is not that of the approved run config.")
    if not set(request.names("outcome")) <= outcomes:
        raise InputError("The message's outcome is not that of the approved run config.")


def _check_times(request: Request, settings: Settings) -> None:
    grid = request.arrays.get("grid")
    if grid is not None and not np.array_equal(grid, settings.times):
        raise InputError("The message's grid of times is not that of the approved run config.")
    kept = request.arrays.get("kept")
    if kept is not None and not (
        len(kept) and (np.diff(kept, prepend=-1) > 0).all() and kept[-1] < len(settings.times)
    ):
        raise InputError("The message's bins of times are none of the grid's, or out of order.")
    hazard = request.arrays.get("hazard")
    if hazard is not None and not (np.diff(hazard, axis=-1, prepend=0.0) >= 0).all():
        raise InputError("A cumulative hazard is not below 0 and does not fall.")
    thresholds = request.arrays.get("thresholds")
    if thresholds is not None and thresholds.any():
        raise InputError("The two groups of risk are parted at 0.")


def _check_cuts(cuts: Float, settings: Settings) -> None:
    """Bins of equal width in the probability, or of equal probability under a logistic score of any spread."""
    inner = np.linspace(0, 1, settings.roc_bins + 1)[1:-1]
    wanted = inner
    if settings.analysis == "survival":
        unit = np.log(inner / (1 - inner))
        wanted = unit * (np.abs(cuts).max(initial=0.0) / max(float(np.abs(unit).max(initial=0.0)), 1e-300))
    if cuts.shape != wanted.shape or not np.allclose(cuts, wanted, rtol=1e-6, atol=1e-12):
        raise InputError("The message counts scores in other bins than the run config's roc-bins.")


def _check_recipe(config: Mapping[str, Any], settings: Settings) -> None:
    for name in RECIPE:
        if config.get(f"mlp_{name}") != getattr(settings, name):
            raise InputError(f"The network's {name.replace('_', '-')} is not that of the approved run config.")
