"""What a fit has shown so far: metrics by round, those of each site, and how they become JSON and come back.

`FlameResult` is Flower's `Result` with what Flower's lacks. The sites' own metrics are for display: under secure
aggregation nobody but the sites knows them, and there is only the mean.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import MetricRecord
from flwr.serverapp.strategy import Result

from flame_strategies.output import write_atomically

METRICS_FILE = "metrics.jsonl"
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BY_ROUND = ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp")
_SHORT = dict(zip(_BY_ROUND, ("train", "evaluate", "server"), strict=True))


@dataclass(repr=False)  # Flower's own says how large the model is, not what is in it
class FlameResult(Result):
    """A fit's result.

    Attributes:
        evaluate_metrics_by_site: The nodes' own evaluations, by round and node id; empty under secure aggregation.
        best_round: The round that `arrays` is of, if early stopping chose it; else 0.
        stopped_round: The round after which early stopping ended the fit; else 0.
        resumed_round: The round after which the fit was last taken up again from a checkpoint; else 0.
    """

    evaluate_metrics_by_site: dict[int, dict[int, MetricRecord]] = field(default_factory=dict)
    best_round: int = 0
    stopped_round: int = 0
    resumed_round: int = 0


def metrics_as_json(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A record's values; what is not finite becomes a word, because JSON has none."""
    return {name: _plain(value) for name, value in metrics.items()}


def metrics_from_json(said: Mapping[str, Any]) -> MetricRecord:
    """What `metrics_as_json` took apart: the same numbers, bit for bit."""
    return MetricRecord({name: _number(value) for name, value in said.items()})


def history_as_json(result: FlameResult) -> dict[str, Any]:
    """All metrics of a result."""
    by_round = {
        name: {str(number): metrics_as_json(record) for number, record in getattr(result, name).items()}
        for name in _BY_ROUND
    }
    sites = {
        str(number): {str(node): metrics_as_json(record) for node, record in nodes.items()}
        for number, nodes in result.evaluate_metrics_by_site.items()
    }
    return {**by_round, "evaluate_metrics_by_site": sites}


def history_from_json(said: Mapping[str, Any]) -> FlameResult:
    """A result with the metrics of `history_as_json`, without a model.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is none.
    """
    result = FlameResult()
    for name in _BY_ROUND:
        getattr(result, name).update({int(number): metrics_from_json(record) for number, record in said[name].items()})
    result.evaluate_metrics_by_site = {
        int(number): {int(node): metrics_from_json(record) for node, record in nodes.items()}
        for number, nodes in said["evaluate_metrics_by_site"].items()
    }
    return result


def write_metrics(folder: Path, result: FlameResult) -> Path:
    """Write ``metrics.jsonl``: a line for each round, with the means and with each site's own evaluation.

    It holds no times, so that a fit which was interrupted leaves the same file as one that was not.
    """
    rounds = sorted({n for name in _BY_ROUND for n in getattr(result, name)} | set(result.evaluate_metrics_by_site))
    lines = []
    for number in rounds:
        line: dict[str, Any] = {"round": number}
        for name in _BY_ROUND:
            if (record := getattr(result, name).get(number)) is not None:
                line[_SHORT[name]] = metrics_as_json(record)
        if (sites := result.evaluate_metrics_by_site.get(number)) is not None:
            line["sites"] = {str(node): metrics_as_json(record) for node, record in sites.items()}
        lines.append(json.dumps(line, allow_nan=False) + "\n")
    path = folder / METRICS_FILE
    write_atomically(path, "".join(lines).encode())
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return _WORDS[value] if isinstance(value, str) else value
