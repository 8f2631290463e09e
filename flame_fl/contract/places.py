"""Where an installation keeps its configuration and its state.

| who | with `FLAME_HOME` | else |
| --- | --- | --- |
| node | `$FLAME_HOME/node.toml`, state in `$FLAME_HOME` | `/etc/flame/node.toml`, `/var/lib/flame` |
| hub | `$FLAME_HOME/hub.toml`, state in `$FLAME_HOME` | `/etc/flame/hub.toml`, `/var/lib/flame` |
| researcher | `$FLAME_CONFIG_HOME/hubs.toml` | `~/.config/flame/hubs.toml` |

The environment is an argument: nothing here looks at the process or touches a disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CONFIG = Path("/etc/flame")
_STATE = Path("/var/lib/flame")


@dataclass(frozen=True)
class Places:
    """The configuration file and the folder of everything that changes."""

    config: Path
    state: Path


def node_places(environ: Mapping[str, str]) -> Places:
    """Where a DIZ's node lives."""
    return _places(environ, "node.toml")


def hub_places(environ: Mapping[str, str]) -> Places:
    """Where a hub lives."""
    return _places(environ, "hub.toml")


def hubs_file(environ: Mapping[str, str]) -> Path:
    """The researcher's list of hubs."""
    if folder := environ.get("FLAME_CONFIG_HOME"):
        return Path(folder) / "hubs.toml"
    home = environ.get("HOME")
    return (Path(home) if home else Path("~").expanduser()) / ".config" / "flame" / "hubs.toml"


def _places(environ: Mapping[str, str], file: str) -> Places:
    if home := environ.get("FLAME_HOME"):
        return Places(Path(home) / file, Path(home))
    return Places(_CONFIG / file, _STATE)
