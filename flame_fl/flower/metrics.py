"""What a person watches while a run goes on."""

from collections.abc import Iterable

from flwr.app import Message


def mean_metrics(replies: Iterable[Message]) -> dict[str, float]:
    """The plain mean over nodes of every scalar metric, for people to watch; strategies weigh as they see fit."""
    values: dict[str, list[float]] = {}
    for reply in replies:
        if reply.has_content():
            for record in reply.content.metric_records.values():
                for name, value in record.items():
                    if isinstance(value, int | float):
                        values.setdefault(name, []).append(float(value))
    return {name: sum(v) / len(v) for name, v in values.items()}
