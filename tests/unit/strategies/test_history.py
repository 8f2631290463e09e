"""Metrics by round, as JSON and back."""

import json
import math
from pathlib import Path

from flame_strategies.history import (
    FlameResult,
    history_as_json,
    history_from_json,
    metrics_as_json,
    metrics_from_json,
    write_metrics,
)
from flwr.app import MetricRecord
from hypothesis import given
from hypothesis import strategies as st

_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(width=64)
_RECORDS = st.dictionaries(st.text(min_size=1, max_size=8), _NUMBERS | st.lists(st.floats(), max_size=4), max_size=4)


def _bits(metrics: dict) -> dict:
    """Values that can be compared: a NaN is itself."""
    return {n: [repr(x) for x in v] if isinstance(v, list) else (type(v), repr(v)) for n, v in metrics.items()}


@given(_RECORDS)
def test_numbers_come_back_bit_for_bit(metrics: dict) -> None:
    """Whatever they are, through strict JSON."""
    text = json.dumps(metrics_as_json(metrics), allow_nan=False)
    assert _bits(dict(metrics_from_json(json.loads(text)))) == _bits(metrics)


def result() -> FlameResult:
    """Two rounds, the second without an evaluation."""
    return FlameResult(
        train_metrics_clientapp={1: MetricRecord({"loss": 0.1}), 2: MetricRecord({"loss": math.nan})},
        evaluate_metrics_clientapp={1: MetricRecord({"mae": 4.5})},
        evaluate_metrics_serverapp={0: MetricRecord({"auc": 0.5})},
        evaluate_metrics_by_site={1: {2**63 + 1: MetricRecord({"mae": 4.0}), 7: MetricRecord({"mae": 5.0})}},
    )


def test_a_history_comes_back() -> None:
    """All four of its parts."""
    said = json.loads(json.dumps(history_as_json(result()), allow_nan=False))
    assert history_as_json(history_from_json(said)) == history_as_json(result())
    assert list(history_from_json(said).evaluate_metrics_by_site[1]) == [2**63 + 1, 7]


def test_a_line_for_each_round(tmp_path: Path) -> None:
    """With what there is, and no more."""
    lines = [json.loads(line) for line in write_metrics(tmp_path, result()).read_text().splitlines()]
    assert lines == [
        {"round": 0, "server": {"auc": 0.5}},
        {
            "round": 1,
            "train": {"loss": 0.1},
            "evaluate": {"mae": 4.5},
            "sites": {str(2**63 + 1): {"mae": 4.0}, "7": {"mae": 5.0}},
        },
        {"round": 2, "train": {"loss": "NaN"}},
    ]
