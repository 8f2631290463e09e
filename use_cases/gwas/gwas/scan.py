"""A pass over all variants, chunk by chunk, that can be interrupted.

Each chunk leaves a file when it is done. A run that was killed and is started again with the same question and the same
DIZ goes on with the first chunk that has none; another question, or other DIZ, begins anew. Neither the hub nor a DIZ
holds more than one chunk, so that memory does not grow with the number of variants.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from flame_strategies.output import write_atomically
from flame_strategies.progress import Pace, round_line, tell

from gwas.hub import Hub
from gwas.results import Associations, Table

_log = getLogger("flwr")

_TELL_EVERY = 5.0
"""Seconds between two lines of progress."""

Work = Callable[[int, int], Table | None]
"""Of a chunk's first place in the panel and the place after its last: its rows, or none."""


class Parts(Protocol):
    """Where chunks are left."""

    @property
    def done(self) -> frozenset[int]:
        """Starts of the chunks that are there."""

    def append(self, start: int, table: Table) -> None:
        """Leave one more."""


def scan(
    hub: Hub, name: str, stamp: Mapping[str, Any], work: Work, *, wanted: npt.NDArray[np.bool_] | None = None
) -> Associations:
    """Work through the panel, with `Associations` as what is left of each chunk.

    Args:
        hub: The run; its settings say how wide a chunk is.
        name: Of the folder for the chunks' files, and for the log.
        stamp: All that the results depend on beside settings and panel, as JSON values: the nodes, and `fingerprint` of
            the arrays that every message brings.
        work: Asks the DIZ about one chunk.
        wanted: (p,) which variants are looked at; a chunk without any is passed over. All if it is not there.
    """
    found = Associations.begin(hub.folder / name, question(hub, stamp))
    through(hub, found, name, work, wanted=wanted)
    return found


def through(hub: Hub, parts: Parts, name: str, work: Work, *, wanted: npt.NDArray[np.bool_] | None = None) -> None:
    """Work through the panel; see `scan`."""
    chunks = list(hub.panel.chunks(hub.settings.chunk))
    if wanted is not None:
        chunks = [(start, stop) for start, stop in chunks if wanted[start:stop].any()]
    done = parts.done
    left = [(start, stop) for start, stop in chunks if start not in done]
    before = len(chunks) - len(left)
    if before and left:
        _log.info("%s: %d of %d chunks are there already", name, before, len(chunks))
    pace, last = Pace(), 0.0
    for number, (start, stop) in enumerate(left, before + 1):
        begun = time.monotonic()
        table = work(start, stop)
        if table is not None:
            parts.append(start, table)
        now = time.monotonic()
        pace.add(now - begun)
        rest = pace.seconds_left(len(chunks) - number)
        said = {"round": number, "rounds": len(chunks), "seconds": now - begun, "seconds_left": rest}
        tell(hub.grid, {**said, "resumed_round": before})
        if now - last > _TELL_EVERY or number == len(chunks):
            last = now
            line = round_line(number, len(chunks), now - begun, rest)
            _log.info("%s: %s", name, line.replace("Round", "Chunk", 1))


def question(hub: Hub, stamp: Mapping[str, Any]) -> dict[str, Any]:
    """What the results of a pass depend on, as JSON values."""
    return {"settings": hub.settings.to_json(), "panel": panel_print(hub), "stamp": dict(stamp)}


def begin(hub: Hub, name: str, stamp: Mapping[str, Any], files: str) -> Path:
    """A folder for other chunks than `Associations`; emptied of `files` where they were of another question."""
    folder = hub.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    now = json.dumps(question(hub, stamp), sort_keys=True).encode() + b"\n"
    path = folder / f"{name}.json"
    if not path.is_file() or path.read_bytes() != now:
        for part in folder.glob(files):
            part.unlink()
        write_atomically(path, now)
    return folder


def fingerprint(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Of arrays by name; the same numbers have the same one."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(repr((name, array.dtype.str, array.shape)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def panel_print(hub: Hub) -> str:
    """Of the panel's variants and alleles."""
    panel = hub.panel
    texts = {name: "\0".join(getattr(panel, name).tolist()).encode() for name in ("ref", "alt")}
    arrays = {name: np.frombuffer(text, dtype=np.uint8) for name, text in texts.items()}
    return fingerprint({**arrays, "chromosome": panel.chromosome, "position": panel.position})
