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
from gwas.site_few import as_asked
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


def answered(query: str, site: Site, request: Request, settings: Settings) -> Arrays:
    """What a DIZ answers: a question that is the approved analysis's, of its data as all queries see them.

    Raises:
        InputError: The message asks for something else, or the data are not of the form that the analysis needs.
    """
    approved.check(query, request, settings, site.panel)
    return ANSWERS[query](as_asked(site, settings), request, settings)


def _handler(query: str) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        settings = Settings.from_config(context.run_config)
        site = load_site(str(context.node_config[f"data-{DATA_STORE}"]), settings, context.node_id)
        return _reply(message, answered(query, site, _request(message), settings), site)

    return handle


for _name in ANSWERS:
    app.query(_name)(_handler(_name))


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
