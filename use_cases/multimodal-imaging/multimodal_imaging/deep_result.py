"""What the network's run knows: how its inputs are standardised, and what it found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.sums import Sums

from multimodal_imaging import layout
from multimodal_imaging.deep_model import Recipe
from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings
from multimodal_imaging.temperature import Temperature

Float = npt.NDArray[np.float64]
Packed = Mapping[str, npt.NDArray[Any]]
"""Weights by part."""

_SMALLEST = 1e-9


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a network reads, and how it is standardised.

    Attributes:
        recipe: The network.
        centre: (F,) of the features of all tables in turn.
        scale: (F,) likewise, above 0.
        outcome: Centre and scale of a numeric outcome; 0 and 1 of classes.
        patients: Training patients, by modality and in all ("").
        holders: How many DIZ have each modality.
    """

    recipe: Recipe
    centre: Float
    scale: Float
    outcome: tuple[float, float]
    patients: Mapping[str, int]
    holders: Mapping[str, int]

    @classmethod
    def of(cls, sums: Sums, settings: Settings) -> "Inputs":
        """From `mm_deep_moments`.

        Raises:
            InputError: Nobody has an outcome, or a modality is at too few DIZ.
        """
        n, names = int(sums["n"][0]), settings.modalities
        holders = dict(zip(names, (int(v) for v in sums["holders"]), strict=True))
        few = {name: count for name, count in holders.items() if count < settings.min_holders}
        if few:
            told = ", ".join(f"{name} at {count}" for name, count in few.items())
            raise InputError(
                f"Each modality must be at {settings.min_holders} DIZ, else the sum of its encoder's weights is nearly "
                f"one DIZ's: {told}. Take it out of the run config's modalities, or win another DIZ that has it."
            )
        if not n:
            raise InputError(f"No training patient has the outcome {settings.outcome!r}; check the column's name.")
        count = np.maximum(sums["count"], 1)
        centre = sums["sum"] / count
        spread = np.sqrt(np.maximum(sums["sum_squares"] / count - centre**2, 0))
        mean, square = sums["outcome"] / n
        outcome = (float(mean), max(float(np.sqrt(max(square - mean**2, 0))), _SMALLEST))
        features, images = layout.features(settings), layout.shapes(settings)
        shapes = {name: images.get(name) or (len(features[name]),) for name in names}
        patients = {"": n, **dict(zip(names, (int(v) for v in sums["patients"]), strict=True))}
        return cls(
            Recipe.of(settings, shapes),
            centre,
            np.where(spread > _SMALLEST, spread, 1.0),
            (0.0, 1.0) if settings.classes else outcome,
            patients,
            holders,
        )

    def content(self) -> dict[str, Any]:
        """All that a DIZ needs beside the weights, as one config record."""
        return {
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "outcome-centre": self.outcome[0],
            "outcome-scale": self.outcome[1],
        }


@dataclass(frozen=True, eq=False)
class Trained:
    """What the rounds brought.

    Attributes:
        packed: The network's weights by part.
        losses: By round the DIZ's mean training loss.
        holders: By round and modality, how many DIZ had it.
    """

    packed: Packed
    losses: Mapping[int, float]
    holders: Mapping[int, Mapping[str, int]]


@dataclass(frozen=True, eq=False)
class DeepResult:
    """What was found.

    Attributes:
        settings: Of the run.
        inputs: What the network reads.
        trained: The network.
        temperature: Of classes.
        calibration: `mm_deep_scores` of the patients that calibrated.
        test: Of test patients, at the temperature.
        raw: Of test patients at temperature 1; None of numbers.
        saliency: `mm_saliency`; None if it was not asked for.
    """

    settings: Settings
    inputs: Inputs
    trained: Trained
    temperature: Temperature
    calibration: Sums
    test: Sums
    raw: Sums | None
    saliency: Sums | None
