"""Made-up stores: drawn from a released schema and a seed; no patient's value is in reach of this code."""

import json
from pathlib import Path

from flame_fl.contract.errors import InputError
from flame_fl.data.files import remove_tree
from flame_fl.data.kind import kind_class
from flame_fl.data.offer import STORE_FILE
from flame_fl.data.schema import StoreSchema


def make(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
    """Write a made-up store into a new folder.

    Raises:
        InputError: The folder is there already, or the schema cannot be made so.
    """
    if into.exists():
        raise InputError(f"{into} is there already.", mend="Name a new folder.")
    kind = kind_class(schema.kind)
    into.mkdir(parents=True)
    try:
        kind.mock(schema, rows, seed, into)
    except BaseException:
        remove_tree(into)
        raise
    said = {"flame_store": 1, "kind": schema.kind, "mock": True, "schema": schema.sha256, "seed": seed}
    (into / STORE_FILE).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
