"""What a model reads, by modality: kinds, names of features and shapes, the same at every DIZ and at the hub."""

from collections.abc import Mapping

from multimodal_imaging import image_features
from multimodal_imaging.errors import InputError
from multimodal_imaging.panel import load_panel
from multimodal_imaging.settings import GENOME, IMAGE, PHENOME, Settings


def kinds(settings: Settings) -> dict[str, str]:
    """By modality: genome, phenome, image or omics."""
    return {name: settings.kind(name) for name in settings.modalities}


def features(settings: Settings) -> dict[str, tuple[str, ...]]:
    """By modality, the names of its features as `Block.features` has them.

    Raises:
        InputError: The panel lacks a block.
    """
    return {name: _features(settings, name) for name in settings.modalities}


def shapes(settings: Settings) -> dict[str, tuple[int, ...]]:
    """By image modality, the sides of its grid."""
    return {name: settings.grid_2d if name in settings.pictures else settings.grid for name in settings.images}


def phenome_features(names: tuple[str, ...], levels: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Numeric columns as they are, categories as one column for each level but the reference."""
    return tuple(
        feature
        for name in names
        for feature in ([f"{name}[{level}]" for level in levels[name][1:]] if name in levels else [name])
    )


def _features(settings: Settings, name: str) -> tuple[str, ...]:
    kind = settings.kind(name)
    if kind == PHENOME:
        return phenome_features(settings.phenome, settings.levels)
    if kind == IMAGE:
        return image_features.names(settings, name)
    if kind == GENOME and settings.genome == "score":
        return ("score",)
    panel = load_panel(settings.panel)
    if name not in panel.blocks:
        has = ", ".join(panel.blocks) or "none"
        raise InputError(f"The panel {settings.panel!r} has no block {name!r}; it has {has}.")
    return panel.blocks[name].features
