"""What a message may bring: coefficients, centres, weights that a fit finds on its way, and nothing else.

Masks hide which DIZ a number comes from, not what was asked. A hub that may choose columns, classes, bins or patients
asks for so few that a sum over all DIZ is one patient's. Here it cannot: all that is in the run config, which a DIZ
reads itself. A message may bring, for each query, the config keys and arrays that the module answering it lists in
``ASKED``; any other is refused, so that nothing unforeseen reaches the code below. What is left to the hub are numbers
of the shapes a fit needs. Sums at coefficients of its choice still tell much, the more of them are asked (README).
"""

import hashlib
from collections.abc import Mapping, MutableMapping
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings

_EXACT = (
    *("mm_counts", "mm_moments", "mm_block", "mm_gradient", "mm_combat", "mm_times", "mm_cox", "mm_concordance"),
    *("mm_scores", "mm_values", "mm_calibrate"),
)

QUERIES: Mapping[str, tuple[str, ...]] = {
    "fusion": _EXACT,
    "late": _EXACT,
    "deep": ("mm_counts", "mm_deep_moments", "mm_deep_scores", "mm_saliency", "train"),
}
"""By analysis, what it asks."""

ALWAYS = ("server-round",)
"""Config keys that every message may bring."""

SMALLEST_SCALE, LARGEST = 1e-9, 1e9
"""A column's spread is 0 (it is not used) or from the first to the second; no centre is beyond the second."""

STEEPEST = 30.0
"""No coefficient of classes and of survival is beyond it, per standardised unit: a steeper one is a threshold."""

MOST_FITTED, MOST_MEASURED = 4, 8
"""So many different centres, scales and the like a session may bring about one view of one training set, and of one
that a model is measured on (there: of the fused model and that of complete cases): a fit needs one, and one more each
time that it is begun anew because a DIZ was lost."""

_MEASURING = ("mm_scores", "mm_values", "mm_concordance")
_HELD = (
    *("centre", "scale", "late_centre", "late_scale", "late_coefficients", "impute_columns"),
    *("combat_mean", "combat_effects", "combat_scale", "combat_covariates"),
)
_SCALES = ("scale", "late_scale", "combat_scale")
_PLACES = ("centre", "late_centre", "combat_mean", "combat_effects", "combat_covariates")
_SLOPES = ("coefficients", "fold_coefficients", "late_coefficients", "impute_columns", "calibration")


def check(
    query: str,
    config: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    asked: Mapping[str, tuple[str, ...]],
    settings: Settings,
) -> None:
    """Refuse what the approved run config and the query do not need.

    Args:
        query: The message's type, without ``query.``.
        config: The message's config.
        arrays: The message's arrays.
        asked: By query, the config keys and arrays that it may bring. A name that ends in "*" allows all that begin so.
        settings: What the approved run config says.

    Raises:
        InputError: It asks for something else.
    """
    if query not in QUERIES[settings.analysis]:
        raise InputError(f"The approved analysis is {settings.analysis}, which does not ask {query}.")
    names = asked[query]
    exact = {*names, *ALWAYS}
    begins = tuple(name.removesuffix("*") for name in names if name.endswith("*"))
    if strange := [key for key in (*config, *arrays) if key not in exact and not (begins and key.startswith(begins))]:
        raise InputError(f"The message brings {len(strange)} things that {query} does not need.")
    for array in arrays.values():
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise InputError("The message brings numbers that are not finite, or no numbers.")
    _within(arrays, STEEPEST if settings.model != "ridge" else LARGEST)
    for value in config.values():
        if not all(isfinite(x) for x in (value if isinstance(value, list) else [value]) if isinstance(x, float)):
            raise InputError("The message brings numbers that are not finite.")


def _within(arrays: Mapping[str, npt.NDArray[Any]], steepest: float) -> None:
    """Refuse centres, spreads and coefficients that no fit finds.

    Raises:
        InputError: There are such.
    """
    for name, array in arrays.items():
        size = np.abs(array)
        if name in _SCALES and (((size > 0) & (size < SMALLEST_SCALE)) | (array < 0) | (size > LARGEST)).any():
            raise InputError(
                f"The spread of a column is 0, or from {SMALLEST_SCALE:g} to {LARGEST:g}; give the column in other "
                "units where it is smaller or larger."
            )
        if name in _PLACES and (size > LARGEST).any():
            raise InputError(f"The message brings a centre or an effect beyond {LARGEST:g}.")
        if name in _SLOPES and (size > steepest).any():
            raise InputError(f"The message brings a coefficient beyond {steepest:g}; raise the least of 'penalties'.")


def hold(
    query: str, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], held: MutableMapping[str, Any]
) -> None:
    """Refuse one centre after the other: with enough of them, a column can be read threshold by threshold.

    Args:
        query: The message's type, without ``query.``.
        config: The message's config.
        arrays: The message's arrays.
        held: By view, set and array, digests of what the session brought; added to.

    Raises:
        InputError: The session brought too many.
    """
    measuring = query in _MEASURING
    words = (config.get("view", "all"), config.get("scheme", "all"), config.get("set", 0))
    about = f"{'measured' if measuring else 'fitted'}/{'/'.join(map(str, words))}"
    for name in _HELD:
        if name not in arrays or not arrays[name].size:
            continue
        digest = hashlib.sha256(np.ascontiguousarray(arrays[name], dtype=np.float64).tobytes()).hexdigest()
        known = list(held.get(f"{about}/{name}", []))
        if digest in known:
            continue
        if len(known) >= (MOST_MEASURED if measuring else MOST_FITTED):
            raise InputError(f"The run brings too many different numbers {name!r} about the same patients.")
        held[f"{about}/{name}"] = [*known, digest]
