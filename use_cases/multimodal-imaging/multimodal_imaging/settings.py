"""What a run is asked to do, from its run config and the preset of its set.

Lists are written ``"genome, phenome, T1"``, sizes ``"48x58x48"``, levels ``"sex=female|male; smoking=never|former"``
with the reference first. Whatever says which patients, columns, modalities or regions are meant is here, and not in a
message: a DIZ reads it from the run config that its steward approved.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from multimodal_imaging.errors import InputError
from multimodal_imaging.presets import OWN, PRESETS

ANALYSES = ("fusion", "late", "deep")
TASKS = ("regression", "binary", "multiclass", "survival")
PHENOME, GENOME, IMAGE, OMICS = "phenome", "genome", "image", "omics"
"""Kinds of a modality; the first two are also their names."""

MOST_MODALITIES = 6
MOST_TIMES = 20

MODELS = {"regression": "ridge", "binary": "logistic", "multiclass": "logistic", "survival": "cox"}
"""By task, the model of exact and late fusion."""

_FROM_PRESET = (
    *("panel", "modalities", "images", "pictures", "phenome", "levels", "outcome", "event", "task", "times"),
    "covariates",
)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "genome": ("score", "dosages"),
    "missing": ("indicator", "impute", "complete"),
    "harmonise": ("none", "combat"),
    "validation": ("split", "patients", "sites", "leave-one-out"),
    "late": ("log-mean", "stack"),
    "calibrate": ("none", "scale"),
    "intensity": ("percentile", "zscore", "none"),
    "align": ("world", "centre"),
    "fusion": ("late", "attention", "mean"),
    "strategy": ("fedavg", "fedprox", "fedbn"),
    "norm": ("group", "batch", "none"),
}
_AT_LEAST: Mapping[str, float] = {
    **dict.fromkeys(("rounds", "epochs", "batch-size", "hidden", "embedding", "min-cell", "min-group"), 1),
    **dict.fromkeys(("weight-decay", "proximal-mu", "dropout", "modality-dropout", "calibration", "seed"), 0),
    **dict.fromkeys(("norm-groups", "clip-gradient"), 0),
    **dict.fromkeys(("folds", "site-groups", "score-bins"), 2),
    **dict.fromkeys(("min-nodes", "min-holders"), 3),
    "voxel": 0.1,
    "learning-rate": 1e-9,
}


@dataclass(frozen=True)
class Settings:
    """One analysis; keys of the run config have hyphens where names here have underscores.

    Attributes:
        analysis: "fusion": one model on the features of all modalities, equal to the pooled one; "late": a model for
            each modality, and one on their scores; "deep": encoders.
        set: One of the packaged sets, or "own".
        panel: Name of the panel, which lists the features of genome and omics.
        modalities: What the model reads, in order.
        images: Those of them that are images, as the manifest calls them.
        pictures: Those of the images that are single pictures and not volumes.
        phenome: Columns of patients.parquet that are the modality "phenome".
        levels: Declared levels by column; the first is the reference.
        outcome: The column to predict: with levels for binary and multiclass, a survival time with `event`.
        event: 1 where the event happened, else 0.
        task: One of `TASKS`.
        times: Of survival: first, last and step of the grid, at most `MOST_TIMES` of them.
        genome: "score": the panel's weighted sum of dosages; "dosages": each variant by itself.
        missing: "indicator": a missing value counts as the mean, beside a column that says so; "complete": only
            patients with all modalities, for comparison; "impute": absent blocks are foretold from the others first.
        harmonise: "combat": image features and omics are adjusted for differences between DIZ; "none".
        covariates: Columns whose effect such an adjustment keeps.
        penalties: Candidates, rising; one means there is nothing to choose.
        folds: Of training patients, to choose the penalty.
        validation: "split": on each DIZ's test patients; "patients": by folds of patients; "sites": on groups of DIZ
            left out, at least two in each; "leave-one-out": on each DIZ alone, so that the hub learns its sums.
        site_groups: How many such groups.
        late: How scores of modalities become one: "stack", by a model on them, or "log-mean".
        calibrate: "scale": probabilities are brought to match frequencies; "none".
        min_cell: Fewer patients of a DIZ do not stand out by what they lack or have (`cells`), nor in a bin.
        score_bins: Of probabilities, for ROC and calibration.
        grid: Sides of the grid that volumes are brought to.
        grid_2d: Sides of the grid that single pictures are brought to.
        voxel: Width of the grid's voxels in mm.
        centre: World coordinates of the grid's middle in mm, with `align` "world".
        align: "world": volumes share a coordinate system (a template's); "centre": the grid lies around the middle of
            each volume.
        intensity: How volumes are made comparable: by a high "percentile", as "zscore" of what is no background, or
            "none".
        regions: Into how many boxes along each axis the grid is divided for features.
        rounds: Of the encoders' training.
        epochs: At a DIZ, in each round.
        batch_size: Likewise.
        learning_rate: Likewise.
        weight_decay: Likewise.
        clip_gradient: Bound on a step's gradient norm; 0 for none.
        hidden: Hidden units of encoders of tables.
        channels: Of the image encoders' layers.
        embedding: Numbers that each encoder gives.
        dropout: Share of units left out while training.
        modality_dropout: Chance that a present modality is hidden while training.
        fusion: Of encoders: "late", "mean" or "attention" (see `fusion_net`).
        strategy: fedavg, fedprox or fedbn.
        proximal_mu: FedProx's pull towards the round's start.
        norm: "group", "none", or "batch", which is here as a bad baseline.
        norm_groups: Groups of the normalisation.
        saliency: Whether pictures of |gradient x input|, summed over test patients, are made.
        calibration: Share of training patients on whom encoders are calibrated instead of trained.
        min_group: Fewest test patients of a DIZ behind such a picture.
        min_holders: So many DIZ must have a modality.
        seed: Of first weights, and of how patients are divided.
        min_nodes: So many DIZ must agree and contribute.
        timeout: Seconds to wait for a reply.
    """

    analysis: str
    set: str
    panel: str
    modalities: tuple[str, ...]
    images: tuple[str, ...]
    pictures: tuple[str, ...]
    phenome: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    outcome: str
    event: str
    task: str
    times: tuple[float, ...]
    genome: str
    missing: str
    harmonise: str
    covariates: tuple[str, ...]
    penalties: tuple[float, ...]
    folds: int
    validation: str
    site_groups: int
    late: str
    calibrate: str
    min_cell: int
    score_bins: int
    grid: tuple[int, ...]
    grid_2d: tuple[int, ...]
    voxel: float
    centre: tuple[float, ...]
    align: str
    intensity: str
    regions: tuple[int, ...]
    rounds: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_gradient: float
    hidden: int
    channels: tuple[int, ...]
    embedding: int
    dropout: float
    modality_dropout: float
    fusion: str
    strategy: str
    proximal_mu: float
    norm: str
    norm_groups: int
    saliency: bool
    calibration: float
    min_group: int
    min_holders: int
    seed: int
    min_nodes: int
    timeout: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Settings":
        """From a run config.

        Raises:
            InputError: Something is missing, or not of its form.
        """
        of = str(config["set"])
        if of != OWN and of not in PRESETS:
            raise InputError(f'There is no set {of!r}; state "{OWN}" for own data, or one of {", ".join(PRESETS)}.')
        known = PRESETS[of].config if of in PRESETS else {}
        stated = {**config, **{key: str(config[key]).strip() or known.get(key, "") for key in _FROM_PRESET}}
        found = cls(**{f.name: _READ[f.name](stated[f.name.replace("_", "-")], f.name) for f in fields(cls)})
        found._check()
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Settings":
        """From what `to_json` gave, after a way through JSON."""
        values = {f.name: stored[f.name] for f in fields(cls)}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        values["levels"] = {name: tuple(levels) for name, levels in stored["levels"].items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def model(self) -> str:
        """Of exact and late fusion: ridge, logistic or cox."""
        return MODELS[self.task]

    @property
    def classes(self) -> tuple[str, ...]:
        """The outcome's levels; none of a number or a time."""
        return self.levels[self.outcome] if self.task in {"binary", "multiclass"} else ()

    def kind(self, modality: str) -> str:
        """`PHENOME`, `GENOME`, `IMAGE` or `OMICS`."""
        if modality in self.images:
            return IMAGE
        return modality if modality in {PHENOME, GENOME} else OMICS

    def _check(self) -> None:
        stated = {"analysis": ANALYSES, "task": TASKS, **_CHOICES}
        for key, allowed in stated.items():
            if (word := getattr(self, key)) not in allowed:
                raise InputError(f"The run-config key {key!r} is one of {', '.join(allowed)}, not {word!r}.")
        for key, least in _AT_LEAST.items():
            if not getattr(self, key.replace("-", "_")) >= least:
                raise InputError(f"The run-config key {key!r} is {least:g} or more.")
        for key in ("modalities", "outcome"):
            if not getattr(self, key):
                raise InputError(f"State the run-config key {key!r} in [tool.flwr.app.config] of pyproject.toml.")
        self._check_columns()
        self._check_numbers()

    def _check_columns(self) -> None:
        if len(self.modalities) > MOST_MODALITIES:
            raise InputError(f"A model reads at most {MOST_MODALITIES} modalities.")
        if {self.outcome, self.event} & set(self.covariates):
            raise InputError("The outcome is among the covariates: harmonising would read what is predicted.")
        if unknown := set(self.images) - set(self.modalities):
            raise InputError(f"The images {', '.join(sorted(unknown))} are not among the modalities.")
        if unknown := set(self.pictures) - set(self.images):
            raise InputError(f"The pictures {', '.join(sorted(unknown))} are not among the images.")
        if (PHENOME in self.modalities) != bool(self.phenome):
            raise InputError('State the columns of the phenome, and "phenome" among the modalities, or neither.')
        if {self.outcome, self.event} & set(self.phenome):
            raise InputError("The outcome is among the columns of the phenome: the model would read what it predicts.")
        if self.task in {"binary", "multiclass"}:
            levels = self.levels.get(self.outcome, ())
            if len(levels) < 2 or (self.task == "binary") != (len(levels) == 2):
                raise InputError(
                    f'Declare the classes of {self.outcome!r}, two if binary: levels = "{self.outcome}=no|yes".'
                )
        elif self.outcome in self.levels:
            raise InputError(f"The outcome {self.outcome!r} has levels, so the task is binary or multiclass.")
        if self.task == "survival" and not (self.event and len(self.times) == 3):
            raise InputError('A survival model needs "event" and a grid of "times", first:last:step.')
        if self.times and not 0 < self.times[2] <= self.times[1] - self.times[0] < MOST_TIMES * self.times[2]:
            raise InputError(f"A grid of times has 2 to {MOST_TIMES} of them, rising; take a wider step.")

    def _check_numbers(self) -> None:
        if (
            not self.penalties
            or any(not 0 < p < 1e12 for p in self.penalties)
            or sorted(set(self.penalties)) != list(self.penalties)
        ):
            raise InputError('Penalties are numbers above 0, rising, as in penalties = "0.1, 1, 10".')
        if len(self.grid) != 3 or len(self.grid_2d) != 2 or len(self.centre) != 3 or len(self.regions) != 3:
            raise InputError("grid, regions and centre have three numbers, grid-2d has two.")
        if max(self.grid) > 512 or max(self.grid_2d) > 4096 or min(self.grid + self.grid_2d) < 4:
            raise InputError("A grid has sides from 4 to 512, in two dimensions to 4096.")
        if any(not 1 <= r <= side for r, side in zip(self.regions, self.grid, strict=True)):
            raise InputError("There are at least one region and at most one a voxel along each axis.")
        if not max(self.dropout, self.modality_dropout, self.calibration) < 1:
            raise InputError("dropout, modality-dropout and calibration are shares below 1.")
        if not self.channels or min(self.channels) < 1:
            raise InputError('channels are whole numbers from 1 on, as in channels = "8, 16, 32".')


def parse_levels(text: str) -> dict[str, tuple[str, ...]]:
    """Declared levels by column; the first one is the reference.

    >>> parse_levels("sex=f|m; stage=I|II|III")
    {'sex': ('f', 'm'), 'stage': ('I', 'II', 'III')}

    Args:
        text: ``"column=level|level; column=level|level"``; empty for none.

    Raises:
        InputError: It is not of this form, or a column has fewer than two levels, or one twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, sign, stated = (word.strip() for word in part.partition("="))
        levels = tuple(level.strip() for level in stated.split("|"))
        if not name or not sign or name in found or "" in levels or len(set(levels)) < max(2, len(levels)):
            raise InputError(f"The levels {part!r} are not of the form column=level|level, each of them once.")
        found[name] = levels
    return found


def parse_names(text: str) -> tuple[str, ...]:
    """A list of names.

    >>> parse_names("genome, phenome,T1")
    ('genome', 'phenome', 'T1')

    Raises:
        InputError: A name is there twice.
    """
    found = tuple(filter(None, (name.strip() for name in text.split(","))))
    if len(set(found)) < len(found):
        raise InputError(f"{text!r} names something twice.")
    return found


def _numbers(text: str, key: str, separator: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(separator) if part.strip())
    except ValueError:
        raise InputError(
            f"The run-config key {key.replace('_', '-')!r} has {text!r} where numbers should be."
        ) from None


def _scalar(kind: Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    def read(value: Any, key: str) -> Any:
        try:
            return kind(value)
        except (TypeError, ValueError):
            raise InputError(f"The run-config key {key.replace('_', '-')!r} is no {kind.__name__}.") from None

    return read


def _reader(f: Any) -> Callable[[Any, str], Any]:
    if f.name == "levels":
        return lambda value, _: parse_levels(str(value))
    if f.type in {str, "str"}:
        return lambda value, _: str(value).strip()
    if f.type == tuple[str, ...]:
        return lambda value, _: parse_names(str(value))
    if f.type in {int, float, bool}:
        return _scalar(f.type)
    separator = "x" if f.name in {"grid", "grid_2d", "regions"} else ":" if f.name == "times" else ","
    kind = float if f.type == tuple[float, ...] else int
    return lambda value, key: _numbers(str(value), key, separator, kind)


_READ: Mapping[str, Callable[[Any, str], Any]] = {f.name: _reader(f) for f in fields(Settings)}
