"""What runs at a DIZ: every query is answered by one function of its data store's samples and the message, with sums.

The functions and their queries are in the modules ``site_...``; ``train`` answers with the weights of a network. The
answers' names, shapes and bounds are the release contract in ``pyproject.toml``; what is not listed there does not
leave. This module runs in a sandbox at the hospital: it imports neither flame_fl nor flame_strategies, and torch only
where the network is used.
"""

from collections.abc import Callable, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from gene_expression import (
    approved,
    site_cox,
    site_evaluation,
    site_glm,
    site_limma,
    site_mlp,
    site_scaling,
    site_screen,
)
from gene_expression.errors import InputError
from gene_expression.presets import stated
from gene_expression.settings import Settings
from gene_expression.store import load_table
from gene_expression.table import Answer, Arrays, Request, Table
from gene_expression.validation import DIVISION

DATA_STORE = "expression"

ANSWERS: dict[str, Answer] = {
    **site_limma.ANSWERS,
    **site_scaling.ANSWERS,
    **site_screen.ANSWERS,
    **site_glm.ANSWERS,
    **site_cox.ANSWERS,
    **site_evaluation.ANSWERS,
    **site_mlp.ANSWERS,
}

app = ClientApp()


def _handler(answer: Answer) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        table = _table(context)
        return _reply(message, "sums", answer(table, _request(message, context)), {"num-examples": table.rows})

    return handle


for _name, _answer in ANSWERS.items():
    app.query(_name)(_handler(_answer))


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of the network on this DIZ's training samples."""
    arrays, metrics = site_mlp.train(_table(context), _request(message, context))
    return _reply(message, "arrays", arrays, metrics)


def _table(context: Context) -> Table:
    config = context.run_config
    return load_table(
        str(context.node_config[f"data-{DATA_STORE}"]),
        stated(config, "panel"),
        scale=stated(config, "scale"),
        levels=stated(config, "levels"),
        node=context.node_id,
    )


def _request(message: Message, context: Context) -> Request:
    """What was asked, and how the approved run config divides patients: the hub cannot ask for another division.

    Raises:
        InputError: The run config does not state what is asked for.
    """
    content = message.content
    config = {key: value for record in content.config_records.values() for key, value in record.items()}
    arrays = {key: value.numpy() for record in content.array_records.values() for key, value in record.items()}
    if config.get("of_scheme") == "sites":
        _one_grouping(context, ConfigRecord({key: config[key] for key in ("of_nodes", "of_groups")}))
    request = Request({**config, **{f"approved_{key}": context.run_config[key] for key in DIVISION}}, arrays)
    query = message.metadata.message_type.removeprefix("query.")
    approved.check(query, request, Settings.from_config(context.run_config))
    return request


def _one_grouping(context: Context, now: ConfigRecord) -> None:
    """Groups of DIZ stay the same throughout a session: two groupings can be crossed until they are about one DIZ.

    Raises:
        InputError: They changed.
    """
    if context.state.config_records.setdefault("groups", now) != now:
        raise InputError("The groups of DIZ changed within the run; start a new one.")


def _reply(message: Message, record: str, arrays: Arrays, metrics: Mapping[str, float]) -> Message:
    content = RecordDict(
        {
            record: ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord(dict(metrics)),
        }
    )
    return Message(content, reply_to=message)
