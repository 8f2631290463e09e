"""What runs at the hub: agree on keys, collect encoded rows, choose a kernel by leave-one-out, test it at the DIZ.

Encoded rows and Gram matrices stay in this process: no artefact holds a number about one patient. There is no model to
carry away either, for a kernel model is its training rows; predictions exist at the DIZ alone.
"""

from logging import getLogger
from math import sqrt
from typing import Any

import numpy as np
from flame_strategies.approval import ask_gates
from flame_strategies.output import output_folder, write_report_json
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from kernel_age import kernel, report
from kernel_age.agreement import in_words
from kernel_age.exchange import Arrays, Federation

_log = getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study that the run config describes."""
    config = context.run_config
    timeout, min_nodes = float(config["timeout"]), int(config["min-nodes"])
    roster = ask_gates(grid, min_nodes=min_nodes, timeout=timeout)
    _log.info("The gates' answers:\n%s", roster)
    federation = Federation(grid, roster.require(min_nodes), timeout)
    federation.agree_and_encode()
    _log.info("fingerprint of the DIZ's keys: %s", in_words(federation.fingerprint))
    result = fit(federation)
    result |= {
        "fingerprint": in_words(federation.fingerprint),
        "probe_difference": federation.probe_difference,
        "pairing": str(config["pairing"]),
    }
    folder = output_folder()
    report.write_result(folder, result)
    write_report_json(folder, report.build(result))


def fit(federation: Federation) -> dict[str, Any]:
    """Choose gamma and lambda by the leave-one-out error of the training samples, then predict the test samples."""
    train, test = federation.rows("train"), federation.rows("test")
    median = kernel.median_distance(train)
    tried = []
    for width in kernel.WIDTHS:
        for penalty in kernel.PENALTIES:
            smoother = kernel.leave_one_out(kernel.regulariser(train, width / median, penalty))
            found = accuracy(federation.evaluate(smoother, "train"))
            tried.append({"gamma": width / median, "lambda": penalty, "error": found["transformed_rmse"]})
            _log.info("gamma %.3g, lambda %.3g: leave-one-out error %.4f", width / median, penalty, tried[-1]["error"])
    best = min(tried, key=lambda one: one["error"])
    smoother = kernel.smoother_for(test, train, best["gamma"], best["lambda"])
    answers = federation.evaluate(smoother, "test")
    return {
        "train": len(train),
        "sites": len(federation.nodes),
        "tried": tried,
        **{name: best[name] for name in ("gamma", "lambda")},
        "test": accuracy(answers),
    }


def accuracy(answers: dict[int, Arrays]) -> dict[str, float]:
    """From the DIZ's sums of errors: n, mean absolute error (years), RMSE (years, and before the inverse), r."""
    n = int(sum(int(answer["n"][0]) for answer in answers.values()))
    total = np.sum([answer["sums"] for answer in answers.values()], axis=0) / max(n, 1)
    absolute, squared, transformed, a, aa, p, pp, ap = total.tolist()
    spread = (aa - a * a) * (pp - p * p)
    return {
        "n": n,
        "mae": absolute,
        "rmse": sqrt(squared),
        "transformed_rmse": sqrt(transformed),
        "r": (ap - a * p) / sqrt(spread) if spread > 0 else 0.0,
    }
