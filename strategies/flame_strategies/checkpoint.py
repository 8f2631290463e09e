"""Checkpoints of a fit: what the next round needs, on disk after every round.

The folder is the environment variable ``FLAME_CHECKPOINT``; where it is not set, no checkpoint is written and none is
read. It holds the checkpoints of one run: a hub sets it, and gives the folder back to a ServerApp that it starts again.
Each fit of the run (each call of a strategy's `start`, in the order of the calls) has a folder of its own with two
slots, which the rounds use in turn::

    FLAME_CHECKPOINT/<fit>/<odd|even>/model.safetensors    the model after the round
                                     /state.safetensors    what the strategy keeps, and the best model so far
                                     /state.json           the round, its history, SHA-256 of the other two

``state.json`` is written last. A process that is killed while it writes leaves a slot that its own digests give away,
and the round before in the other one, so `read_checkpoint` finds the newest whole round at any moment. Names keep the
order in which they were given: what is computed in the order of a model's arrays has the same bits after a restart.
"""

import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flame_strategies.averaging import Arrays
from flame_strategies.errors import CheckpointError
from flame_strategies.output import write_atomically

CHECKPOINT_SCHEMA = 1
VARIABLE = "FLAME_CHECKPOINT"
_SLOTS = ("even", "odd")
_MODEL, _ARRAYS, _STATE = "model.safetensors", "state.safetensors", "state.json"
_STRATEGY, _BEST = "strategy/", "best/"

_fits: defaultdict[Path, Iterator[int]] = defaultdict(lambda: itertools.count(1))


@dataclass(frozen=True)
class Checkpoint:
    """A fit after one of its rounds.

    Attributes:
        plan: Digest of what the fit was asked to do (`plan_digest`).
        server_round: The last complete round, from 1.
        model: The model after it.
        state: What the strategy's `save_state` gave.
        best: The best model so far, None without early stopping.
        facts: History and refusals; JSON values only.
    """

    plan: str
    server_round: int
    model: Arrays
    state: Arrays = field(default_factory=dict)
    best: Arrays | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def next_fit_folder() -> Path | None:
    """The folder of this process's next fit, None where no checkpoints are wanted."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    return Path(named) / str(next(_fits[Path(named).absolute()]))


def plan_digest(strategy: str, rounds: int, model: Arrays, configs: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 of what a fit is asked to do: a checkpoint of another plan is not continued.

    Args:
        strategy: Name of the strategy's class.
        rounds: How many rounds.
        model: The model it starts from; its names, types and shapes count, its values do not.
        configs: The configuration records by name.
    """
    plan = {
        "schema": CHECKPOINT_SCHEMA,
        "strategy": strategy,
        "rounds": rounds,
        "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in sorted(model.items())],
        "configs": {name: sorted((key, repr(value)) for key, value in c.items()) for name, c in configs.items()},
    }
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a round's checkpoint; that of the round before stays.

    Args:
        folder: The fit's.
        checkpoint: The fit as it is.

    Returns:
        The slot's folder.

    Raises:
        CheckpointError: There is no room, or an array or fact that the files cannot hold.
    """
    slot = folder / _SLOTS[checkpoint.server_round % 2]
    kept = {_STRATEGY + name: array for name, array in checkpoint.state.items()}
    kept |= {_BEST + name: array for name, array in (checkpoint.best or {}).items()}
    try:
        model, arrays = _packed(checkpoint.model), _packed(kept)
        said = {
            "schema": CHECKPOINT_SCHEMA,
            "plan": checkpoint.plan,
            "round": checkpoint.server_round,
            "sha256": {_MODEL: hashlib.sha256(model).hexdigest(), _ARRAYS: hashlib.sha256(arrays).hexdigest()},
            "order": {_MODEL: list(checkpoint.model), _ARRAYS: list(kept)},
            "has_best": checkpoint.best is not None,
            "facts": dict(checkpoint.facts),
        }
        text = json.dumps(said, indent=1, allow_nan=False).encode()
        slot.mkdir(parents=True, exist_ok=True)
        for name, data in ((_MODEL, model), (_ARRAYS, arrays), (_STATE, text)):
            write_atomically(slot / name, data)
    except (OSError, SafetensorError, TypeError, ValueError) as err:
        raise CheckpointError(f"No checkpoint of round {checkpoint.server_round} was written: {err}.") from err
    return slot


def read_checkpoint(folder: Path, plan: str) -> Checkpoint | None:
    """The newest whole checkpoint of a fit, None if no round of it was completed.

    Args:
        folder: The fit's.
        plan: Digest of what the fit is asked to do now.

    Raises:
        CheckpointError: It is of another plan, of another version, or none of them is whole.
    """
    described = [slot for name in _SLOTS if (slot := folder / name / _STATE).is_file()]
    found = [checkpoint for state in described if (checkpoint := _read_slot(state)) is not None]
    if not found:
        if described:
            raise CheckpointError(f"The checkpoints in {folder} are damaged; start the run again as a new one.")
        return None
    newest = max(found, key=lambda checkpoint: checkpoint.server_round)
    if newest.plan != plan:
        raise CheckpointError(
            f"The checkpoint in {folder} is of another fit: another strategy, number of rounds, model or configuration."
            " Give the app the settings that it had, or start the run again as a new one."
        )
    return newest


def _read_slot(path: Path) -> Checkpoint | None:
    """What a slot holds, None if it is not whole.

    Raises:
        CheckpointError: It is of another version.
    """
    try:
        said = json.loads(path.read_bytes())
        if said["schema"] != CHECKPOINT_SCHEMA:
            raise CheckpointError(
                f"{path} has schema {said['schema']!r}; this version reads schema {CHECKPOINT_SCHEMA}."
            )
        files = {name: path.with_name(name).read_bytes() for name in (_MODEL, _ARRAYS)}
        if any(hashlib.sha256(data).hexdigest() != said["sha256"][name] for name, data in files.items()):
            return None
        arrays = {name: _unpacked(data, said["order"][name]) for name, data in files.items()}
        kept = arrays[_ARRAYS]
        best = {name.removeprefix(_BEST): array for name, array in kept.items() if name.startswith(_BEST)}
        return Checkpoint(
            plan=str(said["plan"]),
            server_round=int(said["round"]),
            model=arrays[_MODEL],
            state={name.removeprefix(_STRATEGY): a for name, a in kept.items() if name.startswith(_STRATEGY)},
            best=best if said["has_best"] else None,
            facts=said["facts"],
        )
    except (OSError, ValueError, SafetensorError, KeyError, TypeError):
        return None


def _packed(arrays: Arrays) -> bytes:
    # in the machine's byte order and by rows: safetensors writes the memory as it lies
    return save({name: _native(np.asarray(array)) for name, array in arrays.items()})


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _unpacked(data: bytes, order: list[str]) -> dict[str, npt.NDArray[Any]]:
    arrays = load(data)
    return {name: arrays[name] for name in order}
