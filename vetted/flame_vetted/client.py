"""The ClientApp that a gate starts, without any bundle, where the ground is "vetted".

`context.run_config["flame-vetted"]` is what the gate wrote from the approved terms: JSON of
`{"privacy": {…}, "work": {message type: {…}}}`. `context.node_config["data-STORE"]` is the folder of a view.
A message brings arrays, which are read as numbers, and nothing else of it is looked at.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from pydantic import TypeAdapter

from flame_fl.contract.content import Array as NumpyArray
from flame_fl.contract.errors import InputError
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.vetted_terms import DpSgd, Sums, Work, input_arrays, output_arrays
from flame_vetted import dp_sgd, formulas
from flame_vetted.claim import Claim, claim_of
from flame_vetted.cohort import Floats, Readable
from flame_vetted.sums import noisy_sums
from flame_vetted.views import View

SETTINGS = "flame-vetted"
_WORK: TypeAdapter[DpSgd | Sums] = TypeAdapter(Work)


class VettedApp(ClientApp):
    """Answers every message type that the terms give a work."""

    def __call__(self, message: Message, context: Context) -> Message:
        """One message in, one release out."""
        claim, works = read_settings(str(context.run_config[SETTINGS]))
        work = works.get(message.metadata.message_type)
        if work is None:
            raise InputError(
                f"The terms give no work for {message.metadata.message_type!r}.",
                mend="State it in [tool.flame.vetted].",
            )
        view = _view_in(Path(str(context.node_config[f"data-{work.store}"])))
        arrays = answer(work, claim, view, _brought(work, message))
        record = ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})
        return Message(RecordDict({work.record: record}), reply_to=message)


def answer(
    work: DpSgd | Sums, claim: Claim, view: Readable, brought: list[Floats], noise: NoiseSource | None = None
) -> dict[str, NumpyArray]:
    """The release of one message, by array name. `brought` are the message's arrays, in the order of `input_arrays`.

    Raises:
        InputError: Work and claim do not belong together, or the view lacks a column. Never because of a cell.
    """
    if work.kind != claim.mechanism:
        raise InputError(
            f"A work of kind {work.kind!r} is not under mechanism {claim.mechanism!r}.", mend="State one of them."
        )
    if isinstance(work, DpSgd):
        trainer = dp_sgd.prepare(work, view)
        weights = trainer.train(trainer.network.flat(brought), claim, noise)
        arrays: dict[str, NumpyArray] = dict(trainer.network.arrays(weights))
    else:
        prepared = formulas.prepare(work, view, brought[0] if brought else None)
        arrays = dict(noisy_sums(work, prepared, claim, noise))
    return {name: arrays[name].astype(dtype) for (_, name), (dtype, _) in output_arrays(work).items()}


@lru_cache(maxsize=1)
def read_settings(text: str) -> tuple[Claim, dict[str, DpSgd | Sums]]:
    """The claim, and the works by message type.

    Raises:
        InputError: The claim does not hold.
        pydantic.ValidationError: A work does not.
    """
    settings: dict[str, Any] = json.loads(text)
    works = {kind: _WORK.validate_json(json.dumps(work)) for kind, work in settings["work"].items()}
    return claim_of(settings["privacy"]), works


def _view_in(folder: Path) -> View:
    """A session's view does not change; another one in its place has another file."""
    seen = (folder / "store.json").stat()
    return _view(folder, seen.st_ino, seen.st_mtime_ns)


@lru_cache(maxsize=4)
def _view(folder: Path, _inode: int, _written: int) -> View:
    return View(folder)


def _brought(work: DpSgd | Sums, message: Message) -> list[Floats]:
    found = []
    for (record, name), shape in input_arrays(work).items():
        records = message.content.array_records
        array = records[record].get(name) if record in records else None
        values = None if array is None else array.numpy()
        if values is None or values.shape != shape or values.dtype.kind not in "fiu":
            raise InputError(
                f"The message does not bring {record}/{name} as numbers of shape {shape}.", mend="Send the weights."
            )
        found.append(values.astype(np.float64))
    return found


app = VettedApp()
