"""The set brain: made-up patients with genome, clinical values and T1 volumes that hang together by a stated model.

For patient i with age A, of a DIZ with an age range of its own:

    g         the polygenic value: standardised sum of 60 of 300 variants' dosages times true effects; the panel's
              published weights are these with error
    w         = 1.0 (A - 50) / 18 + 0.45 g + 0.4 v + e          wear, with v vessels' risk (smoking, pressure, sugar)
    ventricles a = 2.4 + 1.2 w + e mm,  cortex b = 0.16 + 0.07 w + e    see `brain_volumes`
    clinical  pressure, sugar, memory, gait, ... rise and fall with age and wear, with their own errors
    diagnosis P = logistic(-1.1 + 1.0 w + 0.7 g + 0.5 smoking)

Clinical values are missing at random, more at some DIZ, and one DIZ does not measure two of them. One patient in ten
has no image, one in twelve no genome. Unless all is asked for, two DIZ have no images at all and one has no genome.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from multimodal_imaging import brain_volumes
from multimodal_imaging.images import Volume
from multimodal_imaging.panel import load_panel
from multimodal_imaging.site import Float

PANEL = "brain"
SIZES = (80, 60, 70, 64, 76)
AGES = ((20, 84), (32, 90), (40, 82), (20, 90), (24, 80))
NO_IMAGES, NO_GENOME = (3, 4), (1,)
"""DIZ without, by number from 0, of every five."""

_MISSING = (0.04, 0.15, 0.08, 0.20, 0.10)
_NOT_MEASURED = {2: ("crp", "gait")}
_MADE = 20260101
"""Seed of what is the same in every cohort: allele frequencies and true effects."""


@dataclass(frozen=True, eq=False)
class Centre:
    """One DIZ.

    Attributes:
        patients: One row per patient.
        genome: (n, variants) dosages by patient id; None where the DIZ has none. Without rows for who lacks it.
        wear: (n, 2) a and b of `brain_volumes` of each patient.
        imaged: (n,) who has an image.
        scanner: Of its images.
    """

    patients: pd.DataFrame
    genome: pd.DataFrame | None
    wear: Float
    imaged: np.ndarray
    scanner: brain_volumes.Scanner


def make(nodes: int, seed: int, *, complete: bool = False, scale: float = 1.0) -> list[Centre]:
    """A cohort.

    Args:
        nodes: How many DIZ.
        seed: Of everything but effects and allele frequencies.
        complete: Whether every DIZ has images and genomes.
        scale: Factor on the number of patients.
    """
    return [
        _centre(number, seed, max(12, round(SIZES[number % 5] * scale)), complete=complete) for number in range(nodes)
    ]


def volumes(centre: Centre, seed: int, number: int, voxel: float) -> Iterator[tuple[int, Volume]]:
    """Row and volume of each patient who has one; a patient's does not depend on the others'."""
    for row in np.flatnonzero(centre.imaged).tolist():
        generator = np.random.default_rng([seed, number, row, 7])
        a, b = centre.wear[row]
        yield row, brain_volumes.volume(centre.scanner, float(a), float(b), generator, voxel)


@cache
def effects() -> tuple[Float, Float]:
    """(variants,) allele frequencies and true effects."""
    weights = np.array(load_panel(PANEL).blocks["genome"].weights)
    generator = np.random.default_rng(_MADE)
    frequencies = generator.uniform(0.05, 0.5, len(weights))
    true = weights + np.where(weights != 0, generator.normal(0, 0.3, len(weights)), 0)
    return frequencies, true


def _centre(number: int, seed: int, n: int, *, complete: bool) -> Centre:
    generator = np.random.default_rng([seed, number])
    names = load_panel(PANEL).blocks["genome"].features
    frequencies, true = effects()
    ids = [f"B{number + 1}-{place:04d}" for place in range(1, n + 1)]
    own = np.clip(frequencies * np.exp(generator.normal(0, 0.1, len(names))), 0.02, 0.6)
    dosages = generator.binomial(2, own, (n, len(names))).astype(np.float64)
    spread = np.sqrt((true**2 * 2 * frequencies * (1 - frequencies)).sum())
    g = (dosages - 2 * frequencies) @ true / spread

    low, high = AGES[number % 5]
    age = generator.uniform(low, high, n)
    aged = (age - 50) / 18
    male = generator.random(n) < 0.5
    smoking = generator.choice(3, n, p=(0.5, 0.3, 0.2))

    def draw(sd: float) -> Float:
        return generator.normal(0, sd, n)

    sbp = 128 + 8 * aged + 3 * male + draw(13)
    hba1c = 5.5 + 0.2 * aged + draw(0.45)
    vessels = 0.4 * (smoking == 2) + 0.3 * (sbp - 128) / 15 + 0.3 * (hba1c - 5.5) / 0.5
    wear = aged + 0.45 * g + 0.4 * vessels + draw(0.25)
    ventricles = np.clip(2.4 + 1.2 * wear + draw(0.4), 0.0, 8.0)
    cortex = np.clip(0.16 + 0.07 * wear + draw(0.02), 0.0, 0.6)
    risk = 1 / (1 + np.exp(1.1 - 1.0 * wear - 0.7 * g - 0.5 * (smoking == 2)))

    patients = pd.DataFrame(
        {
            "patient_id": ids,
            "age": np.round(age, 1),
            "diagnosis": np.where(generator.random(n) < risk, "yes", "no"),
            "sex": np.where(male, "male", "female"),
            "education": np.clip(np.round(13 - 0.6 * aged + draw(2.5)), 6, 22),
            "sbp": np.round(sbp),
            "bmi": np.round(26 + 0.5 * aged + draw(3.5), 1),
            "hba1c": np.round(hba1c, 1),
            "ldl": np.round(3.1 + 0.15 * aged + 0.2 * g + draw(0.7), 2),
            "crp": np.round(np.exp(0.4 + 0.15 * aged + draw(0.8)), 1),
            "smoking": np.array(["never", "former", "current"])[smoking],
            "memory": np.round(28 - 1.3 * wear + draw(1.8), 1),
            "gait": np.round(1.25 - 0.09 * aged - 0.05 * wear + draw(0.14), 2),
        }
    )
    for column in patients.columns[3:]:
        hidden = generator.random(n) < _MISSING[number % 5]
        if column in _NOT_MEASURED.get(number % 5, ()):
            hidden[:] = True
        patients[column] = patients[column].mask(hidden)
    typed = generator.random(n) >= 1 / 12
    imaged = generator.random(n) >= 1 / 10
    scanner = brain_volumes.scanner(number, generator)
    dosages[generator.random(dosages.shape) < 0.01] = np.nan
    genome = pd.DataFrame(dosages, index=pd.Index(ids, name="patient_id"), columns=list(names))[typed]
    if not complete and number % 5 in NO_IMAGES:
        imaged[:] = False
    without = not complete and number % 5 in NO_GENOME
    return Centre(patients, None if without else genome, np.stack([ventricles, cortex], axis=1), imaged, scanner)
