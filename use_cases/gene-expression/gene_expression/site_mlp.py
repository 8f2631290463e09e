"""A DIZ's part of the multilayer perceptron: rounds of training, and counts of its scores.

The inputs are a design's columns, as in the logistic models, standardised as the hub says. Samples of which one is
missing are left out, as are those that are of none of the classes.
"""

import numpy as np

from gene_expression.errors import InputError
from gene_expression.site_design import build, scaled
from gene_expression.site_evaluation import score_counts
from gene_expression.site_rows import classes, view
from gene_expression.table import Answer, Arrays, Float, Int, Request, Table


def train(table: Table, request: Request) -> tuple[Arrays, dict[str, float]]:
    """One round: new weights by name, and the metrics ``num-examples`` and ``train-loss``."""
    from gene_expression import mlp  # noqa: PLC0415 -- torch, only for the network

    z, place, _ = _inputs(table, request)
    recipe = mlp.Recipe.from_content(request.config)
    weights, loss = mlp.train(_weights(request), z, place, recipe, int(request.config.get("server-round", 0)))
    return dict(weights), {"num-examples": len(place), "train-loss": loss}


def mlp_scores(table: Table, request: Request) -> Arrays:
    """Counts of the network's probabilities; see `site_evaluation.score_counts`."""
    from gene_expression import mlp  # noqa: PLC0415 -- torch, only for the network

    z, _, taken = _inputs(table, request)
    probability = mlp.predict(_weights(request), z, mlp.Recipe.from_content(request.config))
    scored = [request.names("classes").index(level) for level in request.names("scored")]
    counts = score_counts(taken, request, probability[:, scored])
    asked = view(table, request).rows
    return {**counts, "excluded": np.array([asked - taken.rows], dtype=np.int64)}


def _inputs(table: Table, request: Request) -> tuple[Float, Int, Table]:
    """Standardised columns (n, p), classes (n,), and the samples as a table without columns of numbers."""
    rows = view(table, request)
    samples, place = build(rows, request), classes(rows, request)
    kept = np.flatnonzero(samples.kept & np.isfinite(place))
    config = request.config
    centre, scale = (np.array(config[name], dtype=np.float64) for name in ("centre", "scale"))
    z = scaled(samples.X[np.isfinite(place[samples.kept])], centre, scale)
    codes = {name: column[kept] for name, column in rows.codes.items()}
    patients = tuple(rows.patients[row] for row in kept.tolist())
    taken = Table(rows.genes[kept], rows.scale, {}, codes, rows.levels, patients, rows.panel, rows.node)
    return z, place[kept].astype(np.int64), taken


def _weights(request: Request) -> Arrays:
    found = {name: array for name, array in request.arrays.items() if "." in name}
    if "hidden.weight" not in found or "output.bias" not in found:
        raise InputError("The message does not bring the network's weights, as hidden.weight and so on.")
    return found


ANSWERS: dict[str, Answer] = {"mlp_scores": mlp_scores}
