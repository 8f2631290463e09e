"""`panel`: write which features the tables of a study have, in which order, into the app's own folder."""

import json
import re
from pathlib import Path

from multimodal_imaging import panel
from multimodal_imaging.errors import InputError
from multimodal_imaging.prepare import read_prepared
from multimodal_imaging.readers import read_table
from multimodal_imaging.store import BETWEEN, PATIENT_ID

GENOME = "genome"


def write_panel(name: str, data: Path, weights: Path | None, title: str) -> str:
    """Write ``panels/NAME.json`` from a prepared folder.

    Args:
        name: The panel's, in kebab-case.
        data: The folder.
        weights: A table with ``feature`` and ``weight`` of the genome's score; None for none.
        title: What the features are.

    Returns:
        A sentence.

    Raises:
        InputError: The name is not of this form or taken, there are no features, or weights do not belong to them.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InputError(f"{name!r} is no name of a panel; take small letters, digits and hyphens.")
    file = panel.FOLDER / f"{name}.json"
    if file.exists():
        raise InputError(f"There is a panel {name!r} already; choose another name.")
    _, features, _ = read_prepared(data)
    blocks: dict[str, list[str]] = {}
    for column in features.columns:
        if column != PATIENT_ID:
            block, _, feature = column.partition(BETWEEN)
            blocks.setdefault(block, []).append(feature)
    if not blocks:
        raise InputError(f"{data} has no tables of features, so that no panel is needed.")
    content: dict[str, dict[str, object]] = {block: {"features": names} for block, names in blocks.items()}
    if weights:
        content[GENOME] = {**content.get(GENOME, {}), "weights": _weights(weights, blocks.get(GENOME, []))}
    stated = {"schema": 1, "title": title, "origin": "own tables", "blocks": content}
    file.write_text(json.dumps(stated, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sizes = ", ".join(f"{block} {len(names)}" for block, names in blocks.items())
    return f"panels/{name}.json: {sizes} features"


def _weights(file: Path, features: list[str]) -> list[float]:
    table = read_table(file, ("feature", "weight"))
    known = dict(zip(table["feature"].astype(str), table["weight"].astype(float), strict=True))
    if not set(known) & set(features):
        raise InputError(f"None of the weights in {file.name} belongs to a variant of the genome; use the same names.")
    return [known.get(feature, 0.0) for feature in features]
