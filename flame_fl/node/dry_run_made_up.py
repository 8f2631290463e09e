"""Made-up data stores and messages for a dry run: drawn from schemas and from the release contract alone."""

import math
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np

from flame_fl.contract.content import Array, Content
from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import ArrayRule, DataStore, Scalar, Terms
from flame_fl.data.files import remove_tree
from flame_fl.data.mock import make
from flame_fl.data.offer import FixedOffers, Offer
from flame_fl.data.schema import StoreSchema
from flame_fl.node.data import drafted_schema, released_schema
from flame_fl.node.dry_run_outcome import MadeUp
from flame_fl.node.shown import shown
from flame_fl.node.wiring import Node

MAX_ROWS = 4000
_SURELY = 80  # so many more patients that their noised count, under a claim, is enough
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
UNKNOWN_LENGTH = 8


def made_up_stores(
    node: Node, terms: Terms, into: Path, draw: tuple[int, int], today: date
) -> tuple[FixedOffers, dict[str, MadeUp]]:
    """Stores of the node's schemas and of nobody's records, for all that the terms read.

    Args:
        node: The node; of its stores only the schemas are read.
        terms: The terms.
        into: Where to write them.
        draw: How many records of each, and the seed.
        today: For the terms' conditions.

    Raises:
        InputError: A store is not here, or its schema cannot be made so.
    """
    offers, stores = {}, {}
    for name, stated in terms.data.items():
        if stated.optional and name not in node.data.registry.names():
            continue
        schema, of = _schema(node, name)
        offers[name] = _store(name, stated, schema, (into / name, *draw), today)
        patients = offers[name].cohort(stated, today).patients if offers[name].fits(stated) else 0
        stores[name] = MadeUp(records=int(offers[name].folder.name), patients=patients, schema_of=of)
    return FixedOffers(offers), stores


def _schema(node: Node, name: str) -> tuple[StoreSchema, Literal["released", "drafted"]]:
    if name not in node.data.registry.names():
        raise InputError(f"This node has no data store {shown(name)!r}.", mend="`flame node data list` shows them.")
    layout = node.data.registry.get(name).current.spec.layout.layout
    released = released_schema(node.data, name)
    if released is not None and released.layout == layout:
        return released, "released"
    return drafted_schema(node.data, name), "drafted"


def _store(name: str, stated: DataStore, schema: StoreSchema, where: tuple[Path, int, int], today: date) -> Offer:
    """A store in a folder named by its number of records, which grows until the terms' conditions leave enough."""
    into, rows, seed = where
    into.mkdir(parents=True)
    rows = min(max(rows, math.ceil(1.5 * stated.min_patients) + 2 * _SURELY), MAX_ROWS)
    while True:
        folder = into / str(rows)
        make(schema, rows, seed, folder)
        offer = Offer(name, folder, "made-up", schema.layout)
        enough = not offer.fits(stated) or offer.cohort(stated, today).patients >= stated.min_patients + _SURELY
        if enough or rows >= MAX_ROWS:
            return offer
        remove_tree(folder)
        rows = min(4 * rows, MAX_ROWS)


def made_up_message(
    terms: Terms, kind: str, run_config: Mapping[str, Scalar], known: Mapping[tuple[str, str], Array]
) -> Content | None:
    """What a hub might send: arrays as the contract lists them, and a `config` as strategies send one.

    The arrays of this type come first, then those of the others, for an app that is sent a model and answers sums.
    What an earlier message released is sent again, as a model would be.

    Args:
        terms: The terms.
        kind: The message type.
        run_config: The bundle's own; its values stand in `config`, too.
        known: Arrays that earlier messages released, by record and name.

    Returns:
        None if the arrays of this type alone are too large.
    """
    others = [rule for name, message in terms.messages.items() if name != kind for rule in message.arrays]
    arrays: dict[str, dict[str, Array]] = {}
    total = 0
    for place, rule in enumerate([*terms.messages[kind].arrays, *others]):
        if rule.name in arrays.get(rule.record, {}):
            continue
        array = known.get((rule.record, rule.name))
        fits = array is not None and array.dtype.name == rule.dtype and rule.allows(array.shape)
        shape = array.shape if fits and array is not None else shape_of(rule)
        total += math.prod(shape) * np.dtype(rule.dtype).itemsize
        if total > MAX_MESSAGE_BYTES:
            if place < len(terms.messages[kind].arrays):
                return None
            break
        arrays.setdefault(rule.record, {})[rule.name] = array if fits and array is not None else small(rule)
    return Content(arrays, configs={"config": {**run_config, "server-round": 1}})


def shape_of(rule: ArrayRule) -> tuple[int, ...]:
    """The rule's shape, with 8, or as many as it allows, for a dimension that is only bounded."""
    return tuple(d if isinstance(d, int) else min(UNKNOWN_LENGTH, int(d[2:])) for d in rule.shape)


def small(rule: ArrayRule) -> Array:
    """Small positive numbers, not all the same: zeros would be divided by, and leave a network without a gradient."""
    shape = shape_of(rule)
    if not rule.dtype.startswith("float"):
        return np.ones(shape, rule.dtype)
    count = math.prod(shape)
    made: Array = (0.01 * (1 + np.arange(count, dtype=np.float32) % 7)).astype(rule.dtype).reshape(shape)
    return made
