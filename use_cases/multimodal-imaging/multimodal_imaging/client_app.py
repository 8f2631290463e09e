"""What runs at a DIZ: every query is answered by one function of its patients and the message, with sums.

The functions are in the modules ``..._site``; ``train`` answers with weights of encoders. The answers' names, shapes
and bounds are the release contract in ``pyproject.toml``; what is not listed there does not leave. This module runs in
a sandbox at the hospital: it imports neither flame_fl nor flame_strategies, and torch only where encoders are used.
"""

from collections.abc import Callable, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from multimodal_imaging import (
    approved,
    counts_site,
    site_block,
    site_combat,
    site_deep,
    site_gradient,
    site_saliency,
    site_scores,
    site_survival,
)
from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Answer, Arrays, Request, Site
from multimodal_imaging.store import IMAGES_STORE, PATIENTS_STORE, load_site

_MODULES = (
    *(counts_site, site_block, site_gradient, site_combat, site_survival, site_scores),
    *(site_deep, site_saliency),
)

ANSWERS: dict[str, Answer] = {name: answer for module in _MODULES for name, answer in module.ANSWERS.items()}
ASKED: dict[str, tuple[str, ...]] = {name: keys for module in _MODULES for name, keys in module.ASKED.items()}

app = ClientApp()


def _handler(answer: Answer) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        request = _request(message, context)
        site = _site(context, request.settings)
        return _reply(message, "sums", answer(site, request), {"num-examples": site.rows})

    return handle


for _name, _answer in ANSWERS.items():
    app.query(_name)(_handler(_answer))


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of the encoders on this DIZ's training patients."""
    request = _request(message, context)
    arrays, metrics = site_deep.train(_site(context, request.settings), request)
    return _reply(message, "arrays", arrays, metrics)


def _site(context: Context, settings: Settings) -> Site:
    folders = context.node_config
    images = folders.get(f"data-{IMAGES_STORE}")
    return load_site(
        str(folders[f"data-{PATIENTS_STORE}"]), str(images) if images else None, settings, node=context.node_id
    )


def _request(message: Message, context: Context) -> Request:
    """What was asked, held to the approved run config.

    Raises:
        InputError: The message brings what it should not.
    """
    content = message.content
    config = {key: value for record in content.config_records.values() for key, value in record.items()}
    arrays = {key: value.numpy() for record in content.array_records.values() for key, value in record.items()}
    settings = Settings.from_config(context.run_config)
    query = message.metadata.message_type.removeprefix("query.")
    approved.check(query, config, arrays, ASKED, settings)
    approved.hold(query, config, arrays, context.state.config_records.setdefault("held", ConfigRecord()))
    if "nodes" in config:
        _one_grouping(context, ConfigRecord({key: config[key] for key in ("nodes", "groups") if key in config}))
    return Request(settings, config, arrays, context.state.array_records)


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
