"""What the DIZ have together: patients, modalities, and images that cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass

from multimodal_imaging.errors import InputError
from multimodal_imaging.hub import Hub
from multimodal_imaging.image_checks import REASONS
from multimodal_imaging.settings import Settings

FEWEST_PATIENTS = 10


@dataclass(frozen=True)
class Cohort:
    """Sums of ``mm_counts`` over the DIZ.

    Attributes:
        patients: In train, in test.
        complete: Of them with all modalities.
        outcome: Of them with a known outcome.
        modality: By name, in train and in test with it.
        sites: By name, DIZ that have it.
        problems: By reason, images that are not used; only what occurs.
        nodes: Flower's ids of the DIZ.
    """

    patients: tuple[int, int]
    complete: tuple[int, int]
    outcome: tuple[int, int]
    modality: Mapping[str, tuple[int, int]]
    sites: Mapping[str, int]
    problems: Mapping[str, int]
    nodes: tuple[int, ...]


def ask(hub: Hub) -> Cohort:
    """Count."""
    sums, nodes = hub.fit(lambda exchange: exchange("query.mm_counts", {}))
    names = hub.settings.modalities

    def two(name: str) -> tuple[int, int]:
        return int(sums[name][0]), int(sums[name][1])

    modality = {name: (int(row[0]), int(row[1])) for name, row in zip(names, sums["modality"], strict=True)}
    sites = {name: int(count) for name, count in zip(names, sums["sites"], strict=True)}
    problems = {reason: int(count) for reason, count in zip(REASONS, sums["problems"], strict=True) if count}
    return Cohort(two("patients"), two("complete"), two("outcome"), modality, sites, problems, nodes)


def require(cohort: Cohort, settings: Settings) -> None:
    """End a run that can come to nothing.

    Raises:
        InputError: Too few patients train, or nobody has a modality.
    """
    if cohort.outcome[0] < FEWEST_PATIENTS:
        raise InputError(
            f"{cohort.outcome[0]} training patients have an outcome, which are too few; check it and its levels."
        )
    for name in settings.modalities:
        if not cohort.modality[name][0]:
            reasons = "; ".join(f"{count} × {reason}" for reason, count in cohort.problems.items())
            raise InputError(
                f"No training patient has the modality {name!r}; check its name, the panel and the images"
                f"{' (' + reasons + ')' if reasons else ''}, or leave it out of the modalities."
            )
