"""What a run leaves: ``kernel.json``, and the content of ``report.json``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flame_strategies.output import write_atomically

RESULT = "kernel.json"
LEAK = (
    "The hub learnt the distance between every two patients of all DIZ, and how many patients there are. Together with "
    "any one DIZ, or with as many rows that it knows as there are CpGs, it can read every row. Sums, and with them "
    "secure aggregation, reveal less: use this only where a kernel is needed that sums cannot give."
)
TITLE = "Age by kernel ridge regression on encoded rows"


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write ``kernel.json``."""
    write_atomically(folder / RESULT, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def build(result: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``report.json``."""
    test, note = result["test"], f"{result['test']['n']} test samples at {result['sites']} DIZ, from sums of errors"
    paired = (
        "The DIZ used the project's pairing key."
        if result["pairing"] == "required"
        else "There was no pairing key: whether the hub stood between the DIZ shows only if their stewards compare "
        "this fingerprint with the one in each node's log."
    )
    return {
        "title": TITLE,
        "synthetic": False,
        "data_note": "The samples of the DIZ that took part; in the demonstration GSE74193, dealt out to virtual DIZ.",
        "headline": [
            {"label": "Mean absolute error", "value": f"{test['mae']:.2f} years", "note": note},
            {"label": "Correlation with age", "value": f"{test['r']:.3f}", "note": note},
        ],
        "tables": [
            {
                "title": "Choosing the kernel",
                "caption": f"Leave-one-out error of the transformed age over {result['train']} training samples.",
                "columns": ["gamma", "lambda", "error"],
                "rows": [[f"{t['gamma']:.3g}", f"{t['lambda']:.3g}", f"{t['error']:.4f}"] for t in result["tried"]],
            }
        ],
        "notes": [
            LEAK,
            f"Fingerprint of the DIZ's keys: {result['fingerprint']}. {paired}",
            f"The DIZ encoded alike: their probes differ by {result['probe_difference']:.1e} at most.",
        ],
    }
