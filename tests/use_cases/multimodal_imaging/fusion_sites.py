"""DIZ in memory with made-up blocks, and an exchange that sums what the site modules answer."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import multimodal_imaging
import numpy as np
from flame_strategies.sums import add_up
from multimodal_imaging import approved, site_block, site_combat, site_gradient, site_scores, site_survival
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Block, Request, Site

PYPROJECT = Path(multimodal_imaging.__file__).parents[1] / "pyproject.toml"
ANSWERS: dict[str, Any] = {}
ASKED: dict[str, Any] = {}
for _module in (site_block, site_gradient, site_combat, site_scores, site_survival):
    ANSWERS |= _module.ANSWERS
    ASKED |= _module.ASKED

CLASSES = {"number": (), "two": ("no", "yes"), "three": ("a", "b", "c")}
WIDTHS = {"genome": 3, "phenome": 4, "T1": 6}


def settings(**overrides: Any) -> Settings:
    """Those of the made-up study: settings(task="regression", harmonise="combat")."""
    config = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    said = {"set": "own", "modalities": "genome, phenome, T1", "images": "T1", "phenome": "p0, p1, p2, p3"}
    said |= {"levels": "two=no|yes; three=a|b|c; sex=f|m", "outcome": "number", "task": "regression"}
    said |= {"covariates": "sex, weight", "penalties": "0.01, 0.1, 1", "panel": "brain", "folds": 3}
    return Settings.from_config({**config, **said, **{key.replace("_", "-"): v for key, v in overrides.items()}})


def sites(
    seed: int = 0,
    count: int = 5,
    rows: int = 60,
    *,
    lacks: Mapping[int, Sequence[str]] | None = None,
    absent: float = 0.3,
    gain: float = 0.0,
    widths: Mapping[str, int] = WIDTHS,
) -> list[Site]:
    """Made-up DIZ.

    Args:
        seed: Of everything.
        count: DIZ.
        rows: Patients of each, about.
        lacks: By DIZ, modalities that it does not have.
        absent: Share of patients without a modality, elsewhere.
        gain: Of the DIZ's own shifts and spreads of T1.
        widths: Columns by modality.
    """
    rng = np.random.default_rng(seed)
    lacks = {4: ("T1",), 2: ("genome",)} if lacks is None else lacks
    load = {name: rng.normal(size=(3, f)) for name, f in widths.items()}
    effect = {name: rng.normal(size=3) for name in CLASSES}
    found = []
    for node in range(1, count + 1):
        n = rows + 7 * node
        factor = rng.normal(size=(n, 3)) + 0.2 * node
        sex = (rng.random(n) < 0.3 + 0.08 * node).astype(np.int64)
        weight = rng.normal(70 + node, 8, size=n)
        blocks = {}
        for place, (name, f) in enumerate(widths.items()):
            values = factor @ load[name] + rng.normal(size=(n, f)) + 5 * place
            if name == "T1":
                values += 0.8 * sex[:, None] + 0.02 * (weight[:, None] - 70)
                values = values * (1 + gain * rng.uniform(0, 1, f)) + gain * rng.normal(1, 1, f)
            there = rng.random(n) > absent
            if name in lacks.get(node, ()):
                there[:] = False
            if name == "phenome":
                values[rng.random((n, f)) < 0.1] = np.nan
            values[~there] = np.nan
            blocks[name] = Block(
                name, {"T1": "image"}.get(name, name), tuple(f"{name}{i}" for i in range(f)), values,
                np.isfinite(values).any(axis=1),
            )  # fmt: skip
        number = 60 + 6 * factor @ effect["number"] + rng.normal(0, 3, n)
        noise = rng.logistic(size=n)
        two = (factor @ effect["two"] + noise > 0.3).astype(np.int64)
        three = np.searchsorted([-0.8, 0.9], factor @ effect["three"] + rng.normal(size=n)).astype(np.int64)
        time = np.ceil(rng.exponential(6 * np.exp(-0.5 * factor @ effect["number"])))
        censored = np.ceil(rng.exponential(14, n))
        numbers = {"number": number, "weight": weight, "time": np.minimum(time, censored)}
        numbers["died"] = (time <= censored).astype(np.float64)
        numbers["number"] = np.where(rng.random(n) < 0.03, np.nan, numbers["number"])
        numbers["weight"] = np.where(rng.random(n) < 0.03, np.nan, numbers["weight"])
        found.append(
            Site(
                node=node,
                patients=tuple(f"patient-{seed}-{node}-{i}" for i in range(n)),
                numbers=numbers,
                codes={"two": two, "three": three, "sex": sex},
                levels={"two": CLASSES["two"], "three": CLASSES["three"], "sex": ("f", "m")},
                train=rng.random(n) > 0.25,
                blocks=blocks,
            )
        )
    return found


@dataclass
class Memory:
    """An exchange over DIZ in memory, which asks as `approved` allows."""

    diz: Sequence[Site]
    settings: Settings
    asked: list[str] = field(default_factory=list)

    def __call__(self, message_type: str, content: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        name = message_type.removeprefix("query.")
        self.asked.append(name)
        config: dict[str, Any] = {}
        arrays: dict[str, Any] = {}
        for record in content.values():
            (arrays if any(isinstance(v, np.ndarray) for v in record.values()) else config).update(record)
        approved.check(name, config, arrays, ASKED, self.settings)
        request = Request(self.settings, config, arrays)
        return add_up({site.node: ANSWERS[name](site, request) for site in self.diz})
