"""Panels: which features the tables of a study have, block by block, in which order; a JSON file of the app.

    {"schema": 1, "title": ..., "origin": ...,
     "blocks": {"genome": {"features": ["rs1", ...], "weights": [0.1, ...]},
                "rna":    {"numbered": "rna", "count": 200}}}

A DIZ lays its tables out in this order; a feature that it lacks is missing there. ``numbered`` stands for rna001,
rna002, ... ``weights`` make a genome's score: their products with the dosages, summed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from multimodal_imaging.errors import InputError

FOLDER = Path(__file__).with_name("panels")
MOST_FEATURES = 20000


@dataclass(frozen=True)
class PanelBlock:
    """One table.

    Attributes:
        features: Their names, in order.
        weights: Of a genome's score, one a feature; empty where there is no score.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """The tables of a study.

    Attributes:
        title: What they are.
        blocks: By name.
    """

    title: str
    blocks: Mapping[str, PanelBlock]


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Names with running numbers.

    >>> numbered("v", 3), numbered("v", 12)[-1]
    (('v1', 'v2', 'v3'), 'v12')
    """
    width = len(str(count))
    return tuple(f"{prefix}{place:0{width}d}" for place in range(1, count + 1))


@cache
def load_panel(name: str) -> Panel:
    """Read ``panels/NAME.json``; without a name, a panel without tables.

    Raises:
        InputError: It is not there or not of this form.
    """
    if not name:
        return Panel("", {})
    file = FOLDER / f"{name}.json"
    if not all(part.isalnum() for part in name.split("-")) or not file.is_file():
        raise InputError(f"There is no panel {name!r}; write one with `python -m multimodal_imaging panel`.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        blocks = {str(block): _block(stated) for block, stated in content["blocks"].items()}
        return Panel(str(content["title"]), blocks)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"panels/{name}.json is not a panel; write it with `python -m multimodal_imaging panel`."
        ) from None


def _block(stated: Mapping[str, Any]) -> PanelBlock:
    features = (
        numbered(str(stated["numbered"]), int(stated["count"]))
        if "numbered" in stated
        else tuple(str(feature) for feature in stated["features"])
    )
    weights = tuple(float(weight) for weight in stated.get("weights", ()))
    if not 0 < len(features) <= MOST_FEATURES or len(set(features)) < len(features):
        raise ValueError("features")
    if weights and len(weights) != len(features):
        raise ValueError("weights")
    return PanelBlock(features, weights)
