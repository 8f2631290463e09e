"""Made-up sites for the tests: in memory (`site`), and on disk (`folders`), small and without a template."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import multimodal_imaging
import nibabel as nib
import numpy as np
import pandas as pd
from multimodal_imaging import image_features, layout
from multimodal_imaging.panel import load_panel
from multimodal_imaging.settings import IMAGE, PHENOME, Settings
from multimodal_imaging.site import Block, Site
from multimodal_imaging.store import phenome_block

PYPROJECT = Path(multimodal_imaging.__file__).parents[1] / "pyproject.toml"
GRID, VOXEL = (12, 14, 12), 14.0

CONFIG = {
    "set": "own",
    "panel": "brain",
    "modalities": "genome, phenome, T1",
    "images": "T1",
    "phenome": "sbp, sex, smoking",
    "levels": "sex=female|male; smoking=never|former|current; diagnosis=no|yes; grade=I|II|III",
    "outcome": "age",
    "task": "regression",
    "covariates": "sex",
    "grid": "x".join(map(str, GRID)),
    "voxel": VOXEL,
    "centre": "0, 0, 0",
    "regions": "2x2x2",
    "min-group": 2,
    "min-cell": 1,
}
TASKS = {"regression": "age", "binary": "diagnosis", "multiclass": "grade"}


@cache
def defaults() -> dict[str, Any]:
    """The run config as the app ships it."""
    config: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    return config


def config(**overrides: object) -> dict[str, Any]:
    """A run config of the made-up study; keys with underscores. A `task` brings its outcome."""
    said = {key.replace("_", "-"): value for key, value in overrides.items()}
    if "task" in said and "outcome" not in said:
        said["outcome"] = TASKS[str(said["task"])]
    return {**defaults(), **CONFIG, **said}


def settings(**overrides: object) -> Settings:
    """Settings of the made-up study."""
    return Settings.from_config(config(**overrides))


def site(node: int = 0, patients: int = 40, seed: int = 0, lacks: Sequence[str] = (), **overrides: object) -> Site:
    """One DIZ in memory.

    All modalities tell something of age, diagnosis and grade; a tenth of the patients lacks each of them, and a tenth
    of the values of the phenome is missing.

    Args:
        node: Its id; with `seed` it seeds the patients.
        patients: How many.
        seed: Of the cohort.
        lacks: Modalities that it has not.
        overrides: Of the run config.
    """
    told, drawn = settings(**overrides), np.random.default_rng([seed, node])
    age = drawn.uniform(20, 90, patients)
    risk = (age - 55) / 20
    codes = {
        "sex": drawn.integers(0, 2, patients),
        "smoking": drawn.choice([-1, 0, 1, 2], patients, p=[0.1, 0.4, 0.3, 0.2]),
        "diagnosis": (risk + drawn.normal(0, 0.7, patients) > 0).astype(np.int64),
        "grade": np.clip(np.round(risk + drawn.normal(0, 0.5, patients)) + 1, 0, 2).astype(np.int64),
    }
    codes = {name: code for name, code in codes.items() if name in told.levels}
    sbp = np.where(drawn.random(patients) < 0.1, np.nan, 130 + 8 * risk + drawn.normal(0, 8, patients))
    numbers = {"age": age, "sbp": sbp, "time": drawn.exponential(np.exp(-risk)) * 400 + 5}
    numbers["died"] = (drawn.random(patients) < 0.7).astype(np.float64)
    names = tuple(f"N{node}P{row:03d}" for row in range(patients))
    levels = {name: told.levels[name] for name in codes}
    made = Site(node, names, numbers, codes, levels, np.arange(patients) % 4 != 3, {})
    shift = drawn.normal(0, 0.5)
    blocks = {}
    for name, features in layout.features(told).items():
        there = drawn.random(patients) >= 0.1
        if name in lacks:
            there[:] = False
        loads = np.random.default_rng(len(features)).normal(0, 1, len(features))  # the same at every DIZ
        values = risk[:, None] * loads + shift + drawn.normal(0, 1.5, (patients, len(features)))
        if told.kind(name) == PHENOME:
            block = phenome_block(made, told)
            blocks[name] = replace(block, values=np.where(there[:, None], block.values, np.nan), there=there)
            continue
        pixels = None
        if told.kind(name) == IMAGE:
            shape = layout.shapes(told)[name]
            dots = _pictures(risk, shape, drawn)
            dots[~there] = 0
            values = np.array([image_features.features(dot, told, name) for dot in dots])
            pixels = lambda rows, dots=dots: dots[np.asarray(rows)][:, None]  # noqa: E731
        values = np.where(there[:, None], values, np.nan)
        blocks[name] = Block(name, told.kind(name), features, values, there, pixels)
    return replace(made, blocks=blocks)


def sites(count: int = 5, lacks: dict[int, Sequence[str]] | None = None, **more: Any) -> list[Site]:
    """Several DIZ with ids from 1, of unequal size; `lacks` by id."""
    sizes = [more.pop("patients", 40) - 4 * place for place in range(count)]
    gaps = lacks or {}
    return [site(node, size, lacks=gaps.get(node, ()), **more) for node, size in enumerate(sizes, start=1)]


def folders(into: Path, seed: int = 0, patients: int = 24) -> Path:
    """Five DIZ on disk as `prepare` writes them: DIZ-4 and DIZ-5 have no images, DIZ-2 has no genome."""
    told = settings()
    variants = load_panel("brain").blocks["genome"]
    for number in range(1, 6):
        drawn = np.random.default_rng([seed, number])
        made = site(number, patients, seed)
        folder = into / f"DIZ-{number}" / "patients"
        folder.mkdir(parents=True)
        words = {
            name: [("" if c < 0 else made.levels[name][c]) or None for c in made.codes[name]] for name in made.codes
        }
        split = ["train" if train else "test" for train in made.train]
        table = pd.DataFrame({"patient_id": made.patients, "split": split, **made.numbers, **words})
        table.to_parquet(folder / "patients.parquet", index=False)
        features = pd.DataFrame({"patient_id": made.patients})
        if number != 2:
            frequency = 0.2 + 0.2 * (np.array(variants.weights) > 0)
            dosages = drawn.binomial(2, frequency, (patients, len(variants.features))).astype(float)
            columns = [f"genome:{feature}" for feature in variants.features]
            features = pd.concat([features, pd.DataFrame(dosages, columns=columns)], axis=1)[: patients - 2]
        features.to_parquet(folder / "features.parquet", index=False)
        if number < 4:
            _write_images(into / f"DIZ-{number}" / "images", made, told, drawn)
    return into


def nifti(file: Path, data: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    """Write a volume; `header` fields are set as they are."""
    image = nib.Nifti1Image(data, np.diag([VOXEL, VOXEL, VOXEL, 1.0]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, file)
    return file


def head(shape: tuple[int, ...] = GRID, dark: float = 0.2, seed: int = 0) -> np.ndarray:
    """An ellipsoid of 200 with a darker middle and noise, 0 outside; not the same from left to right."""
    axes = [np.linspace(-1, 1, side) for side in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    shown = 200 - 150 * np.exp(-0.5 * (radius / dark) ** 2) + 30 * grid[0]
    shown = shown + np.random.default_rng(seed).normal(0, 4, shape)
    return np.where(radius < 0.95, np.clip(np.round(shown), 1, None), 0).astype(np.int16)


def _write_images(folder: Path, made: Site, told: Settings, drawn: np.random.Generator) -> None:
    affine = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
    affine[:3, 3] = -VOXEL * (np.array(GRID) - 1) / 2
    there = made.blocks["T1"].there
    rows = [patient for patient, has in zip(made.patients, there, strict=True) if has]
    ages = made.numbers["age"][there]
    for patient, age in zip(rows, ages, strict=True):
        data = head(dark=0.1 + age / 200, seed=int(drawn.integers(1 << 30)))
        nifti(folder / "images" / f"{patient}.nii.gz", data, affine)
    manifest = {"image_id": [f"T1-{p}" for p in rows], "patient_id": rows}
    manifest |= {"path": [f"images/{p}.nii.gz" for p in rows], "modality": ["T1"] * len(rows)}
    pd.DataFrame(manifest).to_parquet(folder / "manifest.parquet", index=False)


def _pictures(risk: np.ndarray, shape: tuple[int, ...], drawn: np.random.Generator) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij")
    radius = np.sqrt(np.sum(np.square(axes), axis=0))
    middle = np.exp(-0.5 * (radius / 0.3) ** 2)
    each = risk.reshape(-1, *[1] * len(shape))
    shown = np.where(radius < 0.95, 0.8 - (0.35 + 0.12 * each) * middle, 0)
    return (shown * (1 + drawn.normal(0, 0.05, (len(risk), *shape)))).astype(np.float32)
