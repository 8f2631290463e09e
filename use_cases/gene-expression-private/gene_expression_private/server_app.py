"""What runs at the hub: fold changes or a classifier from the sums of the DIZ's noised answers, and a report.

The hub sees sums with noise, masked before they leave: nothing of one DIZ alone, and of a patient no more than the
terms' epsilon allows, whatever is done with them afterwards.
"""

import csv
import io
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, save_model, write_atomically, write_report_json
from flame_strategies.sums import GridExchange
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from gene_expression_private import terms
from gene_expression_private.classifier import descend
from gene_expression_private.expression import FoldChanges, fold_changes, smallest_found
from gene_expression_private.genes import Gene, own_genes

app = ServerApp()
Float = npt.NDArray[np.float64]
GUARANTEE = (
    "Unit patient, ground vetted, relation: one patient's records added or removed. Everything here is calculated from "
    "the releases and costs nothing further; epsilons of several analyses about the same patients add up."
)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask, compute, report."""
    config, genes, folder = context.run_config, own_genes(), output_folder()
    min_nodes, timeout = int(config["min-nodes"]), float(config["timeout"])
    nodes = ask_gates(grid, min_nodes=min_nodes, timeout=timeout).require(min_nodes)
    exchange = GridExchange(grid, nodes, min_nodes=min_nodes, timeout=timeout)
    if str(config["analysis"]) == terms.EXPRESSION:
        sums = {name: np.asarray(array, dtype=np.float64) for name, array in exchange("query.groups", {}).items()}
        noise_std = float(config["noise-std"]) * sqrt(len(exchange.sites))  # each DIZ adds all of its noise
        found = fold_changes(sums, np.array([gene.scale for gene in genes]), noise_std)
        write_atomically(folder / "fold-changes.tsv", table(genes, found).encode())
        write_report_json(folder, expression_report(genes, found, len(exchange.sites)))
        return

    def gradient(coefficients: Float) -> Float:
        answer = exchange("query.gradient", {"arrays": {"coefficients": coefficients}})
        return np.asarray(answer["gradient"], dtype=np.float64)

    steps, expected = terms.RELEASES[terms.CLASSIFIER], float(config["expected-patients"])
    coefficients = descend(gradient, len(genes), steps, expected)
    described = [[gene.name, gene.centre, gene.scale] for gene in genes]
    save_model(folder, {"coefficients": coefficients}, {"kind": "logistic", "genes": described})
    write_report_json(folder, classifier_report(genes, coefficients, len(exchange.sites)))


def table(genes: tuple[Gene, ...], found: FoldChanges) -> str:
    """Tab-separated, one gene a line."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(["gene", "log2_fold_change", "standard_error", "noise_error", "t", "p", "adjusted_p"])
    columns = (found.log2_fold_change, found.standard_error, found.noise_error, found.t, found.p, found.adjusted)
    for gene, *values in zip(genes, *columns, strict=True):
        writer.writerow([gene.name, *(f"{value:.6g}" for value in values)])
    return out.getvalue()


def expression_report(genes: tuple[Gene, ...], found: FoldChanges, sites: int) -> dict[str, Any]:
    """What the run's report says of fold changes."""
    title = f"Candidate genes, {terms.GROUPS[1]} against {terms.GROUPS[0]}"
    sizes = {"label": "Patients, with noise", "value": " and ".join(f"{n:.0f}" for n in found.patients)}
    if not found.usable:
        note = "The groups do not stand out of the noise: nothing can be said of any gene, and the budget is spent."
        return {"title": title, "headline": [sizes], "notes": [note, GUARANTEE]}
    least = smallest_found(float(np.median(found.standard_error)), len(genes))
    noise = float(np.median(found.noise_error**2 / found.standard_error**2))
    rows = zip(genes, found.log2_fold_change, found.standard_error, found.t, found.p, found.adjusted, strict=True)
    return {
        "title": title,
        "headline": [
            sizes,
            {"label": "Genes with adjusted p below 0.05", "value": str(int((found.adjusted < 0.05).sum()))},
            {"label": "Fold change found in 8 of 10 studies", "value": f"{least:.2f} log2"},
            {"label": "Share of variance that is noise", "value": f"{noise:.0%}", "note": f"{sites} DIZ, median gene"},
        ],
        "tables": [
            {
                "title": "Fold changes",
                "caption": "log2, with the standard error of patients and noise together; after Benjamini-Hochberg.",
                "columns": ["gene", "log2 FC", "SE", "t", "p", "adjusted p"],
                "rows": [
                    [gene.name, f"{lfc:.3f}", f"{se:.3f}", f"{t:.2f}", f"{p:.2g}", f"{adjusted:.2g}"]
                    for gene, lfc, se, t, p, adjusted in sorted(rows, key=lambda row: -abs(row[3]))
                ],
            }
        ],
        "notes": [GUARANTEE],
    }


def classifier_report(genes: tuple[Gene, ...], coefficients: Float, sites: int) -> dict[str, Any]:
    """What the run's report says of the classifier before anybody has scored it."""
    weights = sorted(zip(genes, coefficients[1:], strict=True), key=lambda pair: -abs(pair[1]))
    return {
        "title": "A logistic classifier of candidate genes",
        "headline": [{"label": "DIZ", "value": str(sites)}, {"label": "Genes", "value": str(len(genes))}],
        "tables": [
            {
                "title": "Weights",
                "caption": "Log odds per standardised unit of a gene, of the noised classifier, not an effect.",
                "columns": ["gene", "weight"],
                "rows": [[gene.name, f"{weight:.3f}"] for gene, weight in weights],
            }
        ],
        "notes": [GUARANTEE],
    }
