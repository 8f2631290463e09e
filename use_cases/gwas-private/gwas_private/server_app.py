"""What runs at the hub: effects of the declared variants from the sum of the DIZ's noised answers, and a report.

The hub sees sums with noise, masked before they leave: nothing of one DIZ alone, and of a patient no more than the
terms' epsilon allows, whatever is done with them afterwards.
"""

import csv
import io
from math import sqrt
from typing import Any

import numpy as np
from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, write_atomically, write_report_json
from flame_strategies.sums import GridExchange
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from gwas_private.association import Associations, associations
from gwas_private.variants import Study, own_study

app = ServerApp()
RESULTS = "candidate-associations.tsv"
GUARANTEE = (
    "Unit patient, ground vetted, relation: one patient's records added or removed. Everything here is calculated from "
    "the release and costs nothing further; epsilons of several analyses about the same patients add up."
)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask, compute, report."""
    config, study, folder = context.run_config, own_study(), output_folder()
    min_nodes, timeout = int(config["min-nodes"]), float(config["timeout"])
    nodes = ask_gates(grid, min_nodes=min_nodes, timeout=timeout).require(min_nodes)
    exchange = GridExchange(grid, nodes, min_nodes=min_nodes, timeout=timeout)
    sums = {name: np.asarray(array, dtype=np.float64) for name, array in exchange("query.variants", {}).items()}
    found = of_study(
        study, sums, float(config["noise-std"]) * sqrt(len(exchange.sites))
    )  # each DIZ adds all of its own
    write_atomically(folder / RESULTS, table(study, found).encode())
    write_report_json(folder, report(study, found, len(exchange.sites)))


def of_study(study: Study, sums: dict[str, Any], noise_std: float) -> Associations:
    """Effects, with the study's public constants."""
    centres, scales = (np.array([getattr(v, name) for v in study.variants]) for name in ("centre", "scale"))
    return associations(sums, centres, scales, study.trait.scale, noise_std)


def table(study: Study, found: Associations) -> str:
    """Tab-separated, one variant a line, in the order of the list."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    names = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error")
    writer.writerow([*names, "effect_allele_frequency", "p_value", "variant", "noise_error", "t", "adjusted_p"])
    for j, v in enumerate(study.variants):
        numbers = [f"{array[j]:.6g}" for array in (found.beta, found.standard_error, found.frequency, found.p)]
        more = [f"{array[j]:.6g}" for array in (found.noise_error, found.t, found.adjusted)]
        writer.writerow([v.chromosome, v.position, v.effect_allele, v.other_allele, *numbers, v.name, *more])
    return out.getvalue()


def report(study: Study, found: Associations, sites: int) -> dict[str, Any]:
    """What the run's report says."""
    title = f"Candidate variants and {study.trait.name}"
    sizes = {"label": "Patients, with noise", "value": f"{found.patients:.0f}"}
    if not found.usable.any():
        note = "Nothing stands out of the noise: nothing can be said of any variant, and the budget is spent."
        return {"title": title, "headline": [sizes], "notes": [note, GUARANTEE]}
    noise = float(np.nanmedian(found.noise_error**2 / found.standard_error**2))
    order = np.argsort(np.where(np.isfinite(found.t), -np.abs(found.t), 0.0), kind="stable")
    return {
        "title": title,
        "headline": [
            sizes,
            {"label": "Variants with adjusted p below 0.05", "value": str(int(np.nansum(found.adjusted < 0.05)))},
            {
                "label": "Share of variance that is noise",
                "value": f"{noise:.0%}",
                "note": f"{sites} DIZ, median variant",
            },
        ],
        "tables": [
            {
                "title": "Variants, the strongest first",
                "caption": "Effect per allele in the trait's unit, with the standard error of patients and noise "
                "together; after Benjamini-Hochberg.",
                "columns": ["variant", "effect allele", "frequency", "beta", "SE", "t", "p", "adjusted p"],
                "rows": [_row(study, found, int(j)) for j in order],
            }
        ],
        "notes": [GUARANTEE],
    }


def _row(study: Study, found: Associations, j: int) -> list[str]:
    v = study.variants[j]
    if not found.usable[j]:
        return [v.name, v.effect_allele, "–", "–", "–", "–", "–", "–"]
    values = (
        f"{found.frequency[j]:.3f}",
        f"{found.beta[j]:.3f}",
        f"{found.standard_error[j]:.3f}",
        f"{found.t[j]:.2f}",
    )
    return [v.name, v.effect_allele, *values, f"{found.p[j]:.2g}", f"{found.adjusted[j]:.2g}"]
