"""What runs at a DIZ: every query is answered by one function of its data store's samples and the message, with sums.

The functions and their queries are in the modules ``site_...``. The answers' names, shapes and bounds are the release
contract in ``pyproject.toml``; what is not listed there does not leave. This module runs in a sandbox at the hospital:
it imports neither flame_fl nor flame_strategies.
"""

from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from gwas import (
    approved,
    site_counts,
    site_ld,
    site_linear,
    site_logistic,
    site_pca,
    site_ridge,
    site_score,
    site_variants,
)
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Request, Site
from gwas.store import load_site

DATA_STORE = "genotypes"

ANSWERS: dict[str, Answer] = {
    **site_variants.ANSWERS,
    **site_counts.ANSWERS,
    **site_linear.ANSWERS,
    **site_logistic.ANSWERS,
    **site_ld.ANSWERS,
    **site_pca.ANSWERS,
    **site_ridge.ANSWERS,
    **site_score.ANSWERS,
}

app = ClientApp()


def _handler(query: str, answer: Answer) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        settings = Settings.from_config(context.run_config)
        site = load_site(str(context.node_config[f"data-{DATA_STORE}"]), settings, context.node_id)
        request = _request(message)
        approved.check(query, request, settings, site.panel)
        return _reply(message, answer(site, request, settings), site)

    return handle


for _name, _answer in ANSWERS.items():
    app.query(_name)(_handler(_name, _answer))


def _request(message: Message) -> Request:
    content = message.content
    return Request(
        {key: value for record in content.config_records.values() for key, value in record.items()},
        {key: value.numpy() for record in content.array_records.values() for key, value in record.items()},
    )


def _reply(message: Message, arrays: Arrays, site: Site) -> Message:
    content = RecordDict(
        {
            "sums": ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord({"num-examples": site.samples}),
        }
    )
    return Message(content, reply_to=message)
