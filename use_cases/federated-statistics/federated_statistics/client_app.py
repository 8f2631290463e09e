"""What runs at a DIZ: every query is answered by one function of its data store's rows and the message, with sums.

The functions and their queries are in `site_statistics`, `site_elastic_net`, `site_glm` and `site_cox`. The answers'
names, shapes and bounds are the release contract in ``pyproject.toml``; what is not listed there does not leave. This
module runs in a sandbox at the hospital: it imports neither flame_fl nor flame_strategies.
"""

from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from federated_statistics import site_cox, site_elastic_net, site_glm, site_statistics
from federated_statistics.errors import InputError
from federated_statistics.presets import declared_levels
from federated_statistics.store import load_table
from federated_statistics.table import Answer, Request

DATA_STORE = "cohort"

ANSWERS: dict[str, Answer] = {
    **site_statistics.ANSWERS,
    **site_elastic_net.ANSWERS,
    **site_glm.ANSWERS,
    **site_cox.ANSWERS,
}

app = ClientApp()


def _handler(answer: Answer) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        request = _request(message)
        _check_folds(request, context)
        table = load_table(str(context.node_config[f"data-{DATA_STORE}"]), declared_levels(context.run_config))
        arrays = answer(table, request)
        content = RecordDict(
            {
                "sums": ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()}),
                "metrics": MetricRecord({"num-examples": table.rows}),
            }
        )
        return Message(content, reply_to=message)

    return handle


for _name, _answer in ANSWERS.items():
    app.query(_name)(_handler(_answer))


def _check_folds(request: Request, context: Context) -> None:
    """Folds are what the approved run config says: sums over folds of two numbers cross until they are about patients.

    Raises:
        InputError: They are not.
    """
    asked = int(request.config.get("folds", 0))
    if asked and asked != int(context.run_config["folds"]):
        raise InputError("The message asks for another number of folds than the run config says.")


def _request(message: Message) -> Request:
    content = message.content
    config = {key: value for record in content.config_records.values() for key, value in record.items()}
    arrays = {key: value.numpy() for record in content.array_records.values() for key, value in record.items()}
    return Request(config, arrays)
