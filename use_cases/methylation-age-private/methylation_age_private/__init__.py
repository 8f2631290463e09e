"""A blood clock from one differentially private release: 71 CpGs, unit patient, computed by flame_fl's own code.

A reader's map:

* `terms`: the analysis as a DIZ approves it (`pyproject.toml`), for each epsilon;
* `prepare`: at the desk, before a run; writes the column that the formula reads, Horvath's transform of age;
* at a DIZ nothing of this app runs: under `ground = "vetted"` the sandbox has flame_fl's own code alone;
* `server_app`, `clock`: at the hub, on the noised sums;
* `compare`, `price`: at the desk, after a run.

`panel.json` holds the CpGs and the public mean betas that centre them.
"""

import json
from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=1)
def mean_betas() -> dict[str, float]:
    """The CpGs in their order, each with its mean beta in public arrays."""
    content = json.loads((files(__name__) / "panel.json").read_text(encoding="utf-8"))
    return {str(cpg): float(mean) for cpg, mean in content["mean_betas"].items()}
