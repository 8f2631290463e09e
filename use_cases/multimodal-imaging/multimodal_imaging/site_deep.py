"""A DIZ's part of the network: moments to standardise by, rounds of training, and sums about its predictions.

What is trained, on whom, and how, stands in the approved run config. A message brings weights, centres and scales, and
which of two sets of patients is scored. A tenth or so of the training patients, drawn by a hash of their ids, is left
out of training: on them the outputs are calibrated, because on patients that a network has learned by heart it is sure
of itself without reason.

A network is looked at, trained or scored only if honest training can have led to it: see `deep_anchor`. Centres
and scales of a session's first message about a network are kept in ``request.kept``, and others are refused after it.

With FedBN a DIZ keeps its normalisation layers in ``request.kept``, which lives as long as the run's session at this
DIZ. After a restart they begin as new; terms that must not go on so say ``requires_state``.

A DIZ says, with its new weights, what share of its patients had each modality (see
`flame_strategies.modality_average`). Of a modality that none of them has, it sends the weights as they came.
"""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from multimodal_imaging import layout
from multimodal_imaging.deep_anchor import FREE_STEPS, SCALING_KEYS, anchored, hold_scaling
from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import MISSING, Answer, Arrays, Bool, Float, Int, Request, Site

if TYPE_CHECKING:
    from multimodal_imaging.deep_model import Patients, Recipe

KEPT = "norms"
"""The record of what a DIZ keeps for itself."""

SETS = ("calibrate", "test")
LARGEST = 8.0
"""Standardised values beyond it count as it."""

LEAST_SHARE = 0.25
"""A DIZ divides by at least this share of its own standard deviation; a smaller scale would set patients apart."""

WORST_LOSS = 1000.0
"""The release contract's bound."""

CHUNK = 64
"""Patients whose outputs are computed at once."""

Metrics = dict[str, float]


def mm_deep_moments(site: Site, request: Request) -> Arrays:
    """Sums over the training patients with an outcome.

    Returns:
        ``n`` (1,) patients; ``holders`` (M,) 1 where a patient has the modality; ``patients`` (M,) how many do; of the
        features of all tables in turn ``count``, ``sum`` and ``sum_squares`` (F,) of what is there; ``outcome`` (2,)
        its sum and sum of squares, if it is a number; ``classes`` (C,) patients of each class, else (1,) of 0.
    """
    settings, rows = request.settings, trained(site, request.settings)
    there = presence(site, settings)[rows]
    values = tables(site, settings)[rows]
    seen = np.isfinite(values)
    filled = np.where(seen, values, 0.0)
    target = outcome(site, settings)[rows]
    number = target if not settings.classes else np.zeros(0)
    return {
        "n": np.array([len(rows)], dtype=np.int64),
        "holders": there.any(axis=0).astype(np.int64),
        "patients": there.sum(axis=0, dtype=np.int64),
        "count": seen.sum(axis=0, dtype=np.int64),
        "sum": filled.sum(axis=0),
        "sum_squares": (filled**2).sum(axis=0),
        "outcome": np.array([number.sum(), (number**2).sum()]),
        "classes": np.bincount(target.astype(np.int64), minlength=len(settings.classes))
        if settings.classes
        else np.zeros(1, dtype=np.int64),
    }


def train(site: Site, request: Request) -> tuple[Arrays, Metrics]:
    """One round on this DIZ's training patients.

    Returns:
        By part the new weights, and ``shares`` (M,); the metrics ``num-examples``, ``train-loss`` and, whether the DIZ
        has the modality, ``sites-SLOT``.
    """
    from multimodal_imaging import deep_model  # noqa: PLC0415 -- torch, only for the network

    settings, recipe = request.settings, recipe_of(site, request.settings)
    number = int(request.config.get("server-round", 1))
    if not 1 <= number <= settings.rounds:
        raise InputError(f"There are rounds 1 to {settings.rounds} in the approved run config.")
    sent = network(site, request, recipe, number - 1)
    rows = learners(site, settings)
    patients = see(site, request, recipe, rows)
    found, loss = deep_model.train(sent, patients, recipe, number)
    had = patients.present.numpy().sum(axis=0)
    shares = had / max(1, len(rows))
    before, after = deep_model.pack(sent, recipe), deep_model.pack(found, recipe)
    slots = deep_model.SLOTS[: len(recipe.inputs)]
    arrays: Arrays = dict(after)
    for slot, share in zip(slots, shares.tolist(), strict=True):
        # in float64, so that the change that is scaled is not rounded to the weights' own precision twice
        change = after[slot].astype(np.float64) - before[slot]
        arrays[slot] = (before[slot] + share * change).astype(np.float32)
    arrays["shares"] = shares.astype(np.float32)
    counts = dict(zip(slots, had.tolist(), strict=True))
    # a network that has gone astray is seen by its loss, and not by a refusal
    metrics: Metrics = {"num-examples": len(rows), "train-loss": min(loss, WORST_LOSS) if loss >= 0 else WORST_LOSS}
    metrics |= {f"sites-{slot}": float(counts.get(slot, 0) > 0) for slot in deep_model.SLOTS}
    if local := deep_model.local_names(recipe):
        request.kept[KEPT] = ArrayRecord({name: Array(found[name]) for name in local})
    return arrays, metrics


def mm_deep_scores(site: Site, request: Request) -> Arrays:
    """Sums about the predictions of one set of patients, with all modalities, without each, and with each alone.

    The message says ``set``, one of `SETS`, and ``temperature``, by which outputs of classes are divided.

    Returns:
        See `prediction_sums.sums_of`; row 0 of the first axis (A = 1 + 2 M) is with all modalities.
    """
    from multimodal_imaging import deep_model, prediction_sums  # noqa: PLC0415 -- torch, only for the network

    settings, recipe = request.settings, recipe_of(site, request.settings)
    rows = asked(site, request)
    out = outputs(site, request, recipe, rows)
    target = outcome(site, settings)[rows]
    if recipe.task == deep_model.REGRESSION:
        centre, spread = outcome_scaling(site, request)
        return prediction_sums.number_sums(target, out[:, :, 0] * spread + centre, spread, settings.min_cell)
    temperature = float(request.config.get("temperature", 1.0))
    if not prediction_sums.COLDEST <= temperature <= prediction_sums.HOTTEST:
        raise InputError("The message's temperature is not one that a calibration finds.")
    return prediction_sums.class_sums(target.astype(np.int64), out, temperature, settings.score_bins)


def outputs(site: Site, request: Request, recipe: "Recipe", rows: Int) -> Float:
    """(A, n, C) what the message's network says of some patients, by which modalities it may look at.

    Everybody is in every view; of whom nothing is left the network says its offset. Else two views would differ by the
    few who lack a modality, and their sums by those patients' outcomes.
    """
    import torch  # noqa: PLC0415 -- as above

    from multimodal_imaging import deep_model  # noqa: PLC0415 -- as above

    model = deep_model.load(network(site, request, recipe, request.settings.rounds), recipe)
    views = ablations(len(recipe.inputs))
    found = np.zeros((len(views), len(rows), recipe.outputs))
    with torch.no_grad(), deep_model.one_thread():
        for part in chunks(rows):
            patients = see(site, request, recipe, rows[part])
            said, logits = model.embed(patients.values, patients.present)
            for place, keep in enumerate(views):
                found[place, part] = model.fuse(said, logits, torch.from_numpy(keep)).double().numpy()
    return found


def network(site: Site, request: Request, recipe: "Recipe", rounds: int) -> Arrays:
    """The message's weights by the network's names, if honest training can have led to them.

    Args:
        site: Whose patients.
        request: The message.
        recipe: The network's.
        rounds: How many may lie behind it.

    Raises:
        InputError: The weights are of another network or too far off, or centres and scales are not the session's.
    """
    from multimodal_imaging import deep_model  # noqa: PLC0415 -- torch, only for the network

    scaling(request, tables(site, request.settings).shape[1])
    outcome_scaling(site, request)
    hold_scaling(request)
    sent = deep_model.unpack(request.arrays, recipe, kept_of(request))
    steps = recipe.epochs * -(-len(learners(site, request.settings)) // recipe.batch_size)
    anchored(sent, recipe, rounds, max(FREE_STEPS * recipe.epochs, 2 * steps))
    return sent


def ablations(modalities: int) -> Bool:
    """(1 + 2 M, M) which modalities are looked at: all, all but each, and each alone."""
    one = np.eye(modalities, dtype=np.bool_)
    return np.concatenate([np.ones((1, modalities), dtype=np.bool_), ~one, one])


def see(site: Site, request: Request, recipe: "Recipe", rows: Int) -> "Patients":
    """What a network sees of some patients: tables standardised as the message says, images as the grid has them.

    Raises:
        InputError: The message's centres and scales are not for these features.
    """
    import torch  # noqa: PLC0415 -- as above

    from multimodal_imaging.deep_model import REGRESSION, Patients  # noqa: PLC0415 -- as above

    settings = request.settings
    features = tables(site, settings)
    centre, scale = scaling(request, features.shape[1])
    scale = np.maximum(scale, LEAST_SHARE * _spread(features[trained(site, settings)]))
    z = np.clip((features[rows] - centre) / scale, -LARGEST, LARGEST)
    present, values, start = presence(site, settings)[rows], {}, 0
    for column, of in enumerate(recipe.inputs):
        width = 0 if of.image else of.shape[0]
        if present[:, column].any():
            if of.image:
                seen = _pixels(site, of.name, rows)
            else:
                part = z[:, start : start + width]
                gaps = ~np.isfinite(part)
                seen = np.concatenate([np.where(gaps, 0.0, part), gaps], axis=1).astype(np.float32)
            values[of.name] = torch.from_numpy(seen)
        start += width
    target = outcome(site, settings)[rows]
    if recipe.task == REGRESSION:
        middle, spread = outcome_scaling(site, request)
        goal = torch.from_numpy(np.clip((target - middle) / spread, -LARGEST, LARGEST).astype(np.float32))
    else:
        goal = torch.from_numpy(target.astype(np.int64))
    return Patients(values, torch.from_numpy(present), goal)


def recipe_of(site: Site, settings: Settings) -> "Recipe":
    """The network of the run config, for features as this DIZ's stores have them, which all DIZ declare alike."""
    from multimodal_imaging.deep_model import Recipe  # noqa: PLC0415 -- as above

    images = layout.shapes(settings)
    own = widths(site, settings)
    return Recipe.of(settings, {name: images.get(name) or (own[name],) for name in settings.modalities})


def widths(site: Site, settings: Settings) -> dict[str, int]:
    """Features of each table."""
    images = layout.shapes(settings)
    return {name: site.blocks[name].values.shape[1] for name in settings.modalities if name not in images}


def tables(site: Site, settings: Settings) -> Float:
    """(n, F) the features of all tables side by side, NaN where missing."""
    found = [site.blocks[name].values for name in widths(site, settings)]
    return np.concatenate(found, axis=1) if found else np.zeros((site.rows, 0))


def presence(site: Site, settings: Settings) -> Bool:
    """(n, M) who has what."""
    return np.stack([site.blocks[name].there for name in settings.modalities], axis=1)


def outcome(site: Site, settings: Settings) -> Float:
    """(n,) a number, or the place of the class; NaN where it is not known."""
    if not settings.classes:
        return site.number(settings.outcome)
    code = site.code(settings.outcome)
    return np.where(code == MISSING, np.nan, code.astype(np.float64))


def usable(site: Site, settings: Settings) -> Bool:
    """(n,) who has an outcome and any modality."""
    return np.asarray(np.isfinite(outcome(site, settings)) & presence(site, settings).any(axis=1))


def trained(site: Site, settings: Settings) -> Int:
    """Rows of the usable training patients, those that calibrate included."""
    return np.flatnonzero(usable(site, settings) & site.train)


def learners(site: Site, settings: Settings) -> Int:
    """Rows of those who are trained on."""
    rows = trained(site, settings)
    return rows[~calibrating(site, settings)[rows]]


def calibrating(site: Site, settings: Settings) -> Bool:
    """(n,) whose id's hash is among the lowest: the same wherever the patient is."""
    digests = (hashlib.sha256(f"{settings.seed}/calibrate/{patient}".encode()).digest() for patient in site.patients)
    bound = settings.calibration * 2**64
    return np.array([int.from_bytes(digest[:8], "big") < bound for digest in digests], dtype=np.bool_)


def asked(site: Site, request: Request) -> Int:
    """Rows of the set that a message names.

    Raises:
        InputError: There is no such set.
    """
    name = request.config.get("set")
    if name not in SETS:
        raise InputError(f"The message asks for none of the sets {', '.join(SETS)}.")
    settings = request.settings
    if name == "test":
        return np.flatnonzero(usable(site, settings) & ~site.train)
    rows = trained(site, settings)
    return rows[calibrating(site, settings)[rows]]


def scaling(request: Request, features: int) -> tuple[Float, Float]:
    """(F,) centres and scales of a message.

    Raises:
        InputError: There are others than features, or they are no numbers, or a scale is not above 0.
    """
    centre, scale = (np.array(request.config.get(key, []), dtype=np.float64) for key in ("centre", "scale"))
    fits = centre.shape == scale.shape == (features,) and np.isfinite(centre).all() and np.isfinite(scale).all()
    if not fits or not (scale > 0).all():
        raise InputError(f"The message does not bring {features} centres and scales above 0 for the features.")
    return centre, scale


def outcome_scaling(site: Site, request: Request) -> tuple[float, float]:
    """Centre and scale of a numeric outcome, as with features at least a share of its own spread.

    0 and 1 of a message that has none.

    Raises:
        InputError: They are no numbers, or the scale is not above 0.
    """
    centre = float(request.config.get("outcome-centre", 0.0))
    spread = float(request.config.get("outcome-scale", 1.0))
    if not (np.isfinite(centre) and np.isfinite(spread) and spread > 0):
        raise InputError("The outcome's centre and scale in the message cannot be used.")
    own = outcome(site, request.settings)[trained(site, request.settings)]
    return centre, max(spread, LEAST_SHARE * float(_spread(own[:, None])[0]))


def chunks(rows: Int) -> Iterator[slice]:
    """So many patients at once that their images fit into memory."""
    for start in range(0, len(rows), CHUNK):
        yield slice(start, min(start + CHUNK, len(rows)))


def _pixels(site: Site, name: str, rows: Int) -> npt.NDArray[np.float32]:
    pixels = site.blocks[name].pixels
    if pixels is None:
        raise InputError(f"The modality {name!r} has no images; check 'images' in the run config.")
    return pixels(rows)


def _spread(values: Float) -> Float:
    """(F,) standard deviations of what is there; 0 of nothing."""
    seen = np.isfinite(values)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, values, 0.0).sum(axis=0) / count
    return np.asarray(np.sqrt((np.where(seen, values - mean, 0.0) ** 2).sum(axis=0) / count))


def kept_of(request: Request) -> Arrays:
    """The normalisation layers that a DIZ keeps, by name; none before its first round, and without FedBN."""
    return {name: array.numpy() for name, array in request.kept[KEPT].items()} if KEPT in request.kept else {}


_PARTS = (*(f"modality{number}" for number in range(1, 7)), "shared", "shares")

ANSWERS: dict[str, Answer] = {"mm_deep_moments": mm_deep_moments, "mm_deep_scores": mm_deep_scores}

ASKED: dict[str, tuple[str, ...]] = {
    "mm_deep_moments": (),
    "mm_deep_scores": (*SCALING_KEYS, "set", "temperature", *_PARTS),
    "train": (*SCALING_KEYS, "server-round", *_PARTS),
}
