"""Made-up DIZ to test the network with: genome, clinical values and a small volume each tell a part of an outcome."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from multimodal_imaging import layout
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Block, Site

APP = Path(__file__).parents[3] / "use_cases" / "multimodal-imaging"
SIDES = (8, 10, 8)
SIZES = (40, 30, 35, 32, 38)
NO_IMAGES, NO_GENOME = (3, 4), (1,)
SPOT = (slice(2, 5), slice(5, 8), slice(2, 6))
"""Where the volume tells of the outcome."""


def settings(**overrides: Any) -> Settings:
    """The app's defaults on a small grid, quick, with these instead; names as in the run config, _ for -."""
    config = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    small = {"analysis": "deep", "set": "brain", "genome": "score", "phenome": "sbp, bmi, crp", "hidden": 8,
             "channels": "4, 8", "embedding": 8, "rounds": 3, "grid": "x".join(map(str, SIDES)), "regions": "2x2x2",
             "levels": "diagnosis=no|yes; stage=I|II|III", "norm-groups": 2, "min-group": 3}  # fmt: skip
    stated = {key.replace("_", "-"): value for key, value in overrides.items()}
    return Settings.from_config({**config, **small, **stated})


def site(
    number: int,
    said: Settings,
    *,
    n: int | None = None,
    lacks: tuple[str, ...] = (),
    seed: int = 0,
    brightness: float = 0.1,
) -> Site:
    """One DIZ. Scanners differ: each has a brightness of its own, by so much from one DIZ to the next."""
    n = SIZES[number % 5] if n is None else n
    draw = np.random.default_rng([seed, number])
    wear = draw.normal(size=n) + 0.3 * (number - 2)
    age = 50 + 12 * wear + draw.normal(0, 2, n)
    score = wear * 0.5 + draw.normal(0, 1, n)
    table = np.stack([wear + draw.normal(0, 1, n), draw.normal(0, 1, n), draw.normal(0, 1, n)], axis=1) * 10 + 100
    table[draw.random(table.shape) < 0.1] = np.nan
    volume = draw.normal(0, 0.15, (n, 1, *SIDES)).astype(np.float32) + np.float32(0.8 + brightness * number)
    volume[(slice(None), 0, *SPOT)] += (0.35 * wear[:, None, None, None]).astype(np.float32)
    there = {
        "genome": draw.random(n) < 0.9,
        "phenome": np.isfinite(table).any(axis=1),
        "T1": draw.random(n) < 0.85,
    }
    there = {name: here & (name not in lacks) for name, here in there.items()}
    volume[~there["T1"]] = 0
    names = layout.features(said)
    blocks = {
        "genome": Block("genome", "genome", ("score",), np.where(there["genome"], score, np.nan)[:, None],
                        there["genome"]),
        "phenome": Block("phenome", "phenome", names["phenome"], np.where(there["phenome"][:, None], table, np.nan),
                         there["phenome"]),
        "T1": Block("T1", "image", names["T1"], np.full((n, len(names["T1"])), np.nan), there["T1"],
                    lambda rows: volume[rows]),
    }  # fmt: skip
    codes = {
        "diagnosis": (wear + draw.normal(0, 0.5, n) > 0).astype(np.int64),
        "stage": np.digitize(wear + draw.normal(0, 0.4, n), [-0.5, 0.6]).astype(np.int64),
    }
    return Site(
        node=number + 1,
        patients=tuple(f"D{number}-{row}" for row in range(n)),
        numbers={"age": age},
        codes=codes,
        levels={name: said.levels[name] for name in codes},
        train=draw.random(n) < 0.7,
        blocks={name: blocks[name] for name in said.modalities},
    )


def sites(said: Settings, **more: Any) -> list[Site]:
    """Five DIZ; two have no images, one no genomes."""
    lacks = [[m for m, who in (("T1", NO_IMAGES), ("genome", NO_GENOME)) if number in who] for number in range(5)]
    return [site(number, said, lacks=tuple(lacks[number]), **more) for number in range(5)]
