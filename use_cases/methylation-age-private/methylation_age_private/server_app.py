"""What runs at the hub: one question to all DIZ, a ridge regression on the sum of their noised answers, a report.

The hub sees sums with noise, masked before they leave: nothing of one DIZ alone, and of a patient no more than the
terms' epsilon allows, whatever is done with them afterwards.
"""

from math import sqrt
from typing import Any

import numpy as np
from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, save_model, write_report_json
from flame_strategies.sums import sum_of_sites
from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from methylation_age_private import mean_betas
from methylation_age_private.clock import AGE_CENTRE, AGE_SCALE, BETA_SCALE, Clock, fit

app = ServerApp()
GUARANTEE = (
    "Unit patient, ground vetted, relation: one patient's records added or removed. One release of sums; the fit is "
    "calculated from it and costs nothing further."
)
CHOICE = (
    "The 71 CpGs were chosen by the authors of GP-age on the packaged samples, and the scales, the clip norm and the "
    "ridge compared on them, before and outside of this release: epsilon does not cover these choices."
)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Fit the clock, keep it, say what it is."""
    config = context.run_config
    min_nodes, timeout = int(config["min-nodes"]), float(config["timeout"])
    nodes = ask_gates(grid, min_nodes=min_nodes, timeout=timeout).require(min_nodes)
    found = sum_of_sites(grid, nodes, "query.moments", RecordDict(), min_nodes=min_nodes, timeout=timeout)
    noise_std = float(config["noise-std"]) * sqrt(len(found.nodes))  # each DIZ adds all of its noise
    clock = fit({name: np.asarray(array, dtype=np.float64) for name, array in found.arrays.items()}, noise_std)
    folder = output_folder()
    save_model(
        folder,
        {"coefficients": clock.coefficients},
        {
            "kind": "linear clock",
            "cpgs": list(mean_betas()),
            "centre": list(mean_betas().values()),
            "beta_scale": BETA_SCALE,
            "age": {"transform": "Horvath 2013", "centre": AGE_CENTRE, "scale": AGE_SCALE},
            "noise_std": noise_std,
            "sites": len(found.nodes),
        },
    )
    write_report_json(folder, report(clock, len(found.nodes), noise_std))


def report(clock: Clock, sites: int, noise_std: float) -> dict[str, Any]:
    """What the run's report says before anybody has scored the clock."""
    weights = sorted(zip(mean_betas(), clock.coefficients[1:], strict=True), key=lambda pair: -abs(pair[1]))[:10]
    return {
        "title": "A blood clock with differential privacy",
        "headline": [
            {"label": "CpGs in the clock", "value": str(len(mean_betas()))},
            {"label": "Noise on each summed number", "value": f"{noise_std:.4g}", "note": f"of {sites} DIZ together"},
        ],
        "tables": [
            {
                "title": "Largest weights",
                "caption": "Transformed and standardised age per standardised beta, of the noised clock.",
                "columns": ["CpG", "weight"],
                "rows": [[cpg, f"{weight:.4f}"] for cpg, weight in weights],
            }
        ],
        "notes": [GUARANTEE, CHOICE],
    }
