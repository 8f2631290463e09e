"""What a model reads of a DIZ's patients: blocks of columns, and who belongs.

A message names a view by a word, and brings the numbers that a view needs; columns are always those of the run
config, and so are the words that a run needs and may use (`allowed`):

* ``all``: every modality; a patient may lack some;
* ``complete``: of patients with all of them;
* ``with:NAME``: every modality, of patients with one of them (what is absent elsewhere is learned from these);
* ``only:NAME``: one modality, of patients with it (models of one modality);
* ``stack``: instead of a modality's columns the scores of its own model, one per class (late fusion's second stage). A
  patient of the training set is scored by the model that was fitted without the patient's fold, all others by the
  model of the whole training set.

On the way blocks are harmonised (`harmonise`), where the run config says so.

Who has a modality is what the rule of rare absences says (`cells`): an indicator adds up the columns of those who lack
a modality, and views differ by them; of one patient in all DIZ, that would be the patient's values.
"""

from dataclasses import dataclass, replace

import numpy as np

from multimodal_imaging import cells, harmonise
from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Bool, Float, Request, Site
from multimodal_imaging.validation import folds, training_set

WITH, ONLY = "with:", "only:"

ASKED = ("view", "late_centre", "late_scale", "late_coefficients", *harmonise.ARRAYS)
"""Config keys and arrays of a message that names a view."""

DROP = "drop"
"""The config key that takes one modality away, for measuring alone."""


@dataclass(frozen=True, eq=False)
class Part:
    """One block of columns.

    Attributes:
        name: The modality.
        kind: Of the modality.
        values: (n, f), NaN where missing.
        there: (n,) who has it.
        marked: (n,) whose lack of it is marked.
    """

    name: str
    kind: str
    values: Float
    there: Bool
    marked: Bool


@dataclass(frozen=True, eq=False)
class View:
    """What a model reads.

    Attributes:
        parts: Its blocks.
        rows: (n,) who belongs.
    """

    parts: tuple[Part, ...]
    rows: Bool

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each block."""
        return tuple(part.values.shape[1] for part in self.parts)

    @property
    def values(self) -> Float:
        """(n, F) all blocks side by side."""
        return np.concatenate([part.values for part in self.parts], axis=1)

    @property
    def marks(self) -> Float:
        """(n, M) 1 where the lack of a block is marked."""
        return np.stack([part.marked for part in self.parts], axis=1).astype(np.float64)


def view(site: Site, request: Request) -> View:
    """The view that a message names.

    Raises:
        InputError: There is none of this name, the run needs none such, or its numbers are missing.
    """
    word = str(request.config.get("view", "all"))
    if word not in allowed(request.settings):
        raise InputError(f"There is no view {word!r} that the approved run needs.")
    parts = harmonise.adjust(raw(site, request), site, request)
    dropped = request.config.get(DROP, [])
    dropped = [dropped] if isinstance(dropped, str) else [str(name) for name in dropped]
    if len(dropped) > 1 or set(dropped) - set(site.blocks):
        raise InputError("One modality of the run config can be taken away.")
    parts = tuple(_without(part) if part.name in dropped else part for part in parts)
    everyone = np.ones(site.rows, dtype=np.bool_)
    if word == "all":
        return View(parts, everyone)
    if word == "complete":
        return View(parts, np.logical_and.reduce([part.there for part in parts], axis=0))
    if word == "stack":
        return View(tuple(scored(parts, site, request)), everyone)
    kind, name = word[: len(WITH)], word[len(WITH) :]
    own = parts[list(site.blocks).index(name)]
    return View(parts if kind == WITH else (own,), own.there)


def allowed(settings: Settings) -> tuple[str, ...]:
    """The words that a run of this run config needs.

    Late fusion needs its modalities' models and the stack; exact fusion everybody or complete cases, models of one
    modality for comparison, and those with a modality where it imputes.
    """
    only = tuple(f"{ONLY}{name}" for name in settings.modalities)
    if settings.analysis == "late":
        return (*only, "stack")
    if settings.missing == "complete":
        return ("complete", *only)
    having = tuple(f"{WITH}{name}" for name in settings.modalities) if settings.missing == "impute" else ()
    return ("all", "complete", *only, *having)


def raw(site: Site, request: Request) -> tuple[Part, ...]:
    """The DIZ's blocks before anything is done to them but the rule of rare absences."""
    has = cells.presence(site, request.settings)
    return tuple(
        Part(name, block.kind, cells.filled(block.values, there, site, request.settings), there, ~there)
        for (name, block), there in zip(site.blocks.items(), has.T, strict=True)
    )


def scored(parts: tuple[Part, ...], site: Site, request: Request) -> list[Part]:
    """Each block's linear predictors in its place: (n, q), centred over the classes where there are several.

    The message brings ``late_coefficients`` (K + 1, sum of (1 + f), q): of each modality in turn its model's intercept
    and coefficients, without each of the K folds and then of all; ``late_centre``, ``late_scale`` (F,).

    Raises:
        InputError: They are missing or of other shapes.
    """
    settings = request.settings
    q = len(settings.classes) if len(settings.classes) > 2 else 1
    widths = [part.values.shape[1] for part in parts]
    b = request.array("late_coefficients", (settings.folds + 1, sum(widths) + len(parts), q))
    centre, scale = (request.array(name, (sum(widths),)) for name in ("late_centre", "late_scale"))
    own = np.where(training_set(site, request), folds(site, request), settings.folds)
    found, first = [], 0
    for number, part in enumerate(parts):
        place = slice(first, first + widths[number])
        Z = standardise(part.values, centre[place], scale[place])
        of = b[:, first + number : first + number + 1 + widths[number]]
        eta = of[own, 0] + np.einsum("nf,nfq->nq", Z, of[own, 1:]) if len(Z) else np.zeros((0, q))
        eta = eta - eta.mean(axis=1, keepdims=True) if q > 1 else eta
        if not np.isfinite(eta).all():
            raise InputError("The modalities' models give scores that are not finite.")
        found.append(replace(part, values=np.where(part.there[:, None], eta, np.nan)))
        first += widths[number]
    return found


def standardise(values: Float, centre: Float, scale: Float) -> Float:
    """(n, f) in units of the scale, 0 where a value is missing and in columns whose scale is 0."""
    used = scale != 0
    Z = (values - centre) / np.where(used, scale, 1.0)
    return np.where(np.isfinite(values) & used, Z, 0.0)


def _without(part: Part) -> Part:
    """As if nobody had it."""
    nobody = np.zeros(len(part.there), dtype=np.bool_)
    return replace(part, values=np.full_like(part.values, np.nan), there=nobody, marked=~nobody)
