"""What a ServerApp's process needs to go on where one before it was killed: fetched from the hub, and handed to it.

The app's strategy writes its checkpoints into a folder (`flame_strategies.checkpoint`); this keeps the hub's copy like
it. `RelayGrid` calls `send` before any message leaves, so that no round is asked for before the hub holds the one
before. A file ``state.json`` says what is whole, and goes after the files beside it. ``begun.json`` is this module's
own: the nodes that the run began with, so that a run that goes on does not gather them again.
"""

import json
import sys
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import httpx

from flame_fl.data.files import PRIVATE, Stamp, replace, stamp

_BEGUN: Final = "begun.json"
_LAST: Final = "state.json"


class Keeper(Protocol):
    """The relay's part of it."""

    def send_checkpoint(self, name: str, path: Path) -> None:
        """Hand over a file."""

    def checkpoint_files(self) -> list[str]:
        """What was handed over."""

    def fetch_checkpoint(self, name: str, target: Path) -> None:
        """Fetch one of them."""


class Checkpoints:
    """A run's checkpoints, here and at the hub.

    Args:
        relay: Takes and gives files.
        folder: Where the strategy writes; it holds nothing yet.
    """

    def __init__(self, relay: Keeper, folder: Path) -> None:
        self._relay, self.folder = relay, folder
        self._sent: dict[str, Stamp] = {}
        self._warned = False

    def fetch(self) -> tuple[int, ...] | None:
        """Fetch what is there. Returns the nodes that the run began with, None if it has not begun before.

        Raises:
            httpx.HTTPError: The hub does not give it.
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self._relay.checkpoint_files():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                continue
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._relay.fetch_checkpoint(name, target)
            self._sent[name] = stamp(target)
        try:
            return tuple(int(node) for node in json.loads((self.folder / _BEGUN).read_text())["sites"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, sites: Collection[int]) -> None:
        """Keep the nodes that the run begins with."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"sites": [str(node) for node in sites]})
        replace(self.folder / _BEGUN, text.encode(), PRIVATE)

    def send(self) -> None:
        """Make the hub's copy like the folder. A run whose checkpoints are not taken goes on without, and says so.

        Raises:
            RunOverError: The run is over.
        """
        for path in sorted(self._files(), key=lambda path: (path.parent, path.name == _LAST, path.name)):
            name = str(path.relative_to(self.folder))
            try:
                now = stamp(path)
                if self._sent.get(name) != now:
                    self._relay.send_checkpoint(name, path)
                    self._sent[name] = now
            except (httpx.HTTPError, OSError) as err:
                if not self._warned:
                    sys.stderr.write(f"The hub does not keep this run's checkpoints: {err}\n")
                self._warned = True
                return

    def _files(self) -> list[Path]:
        return [
            path
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
        ]
