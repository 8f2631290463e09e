"""Where an installation keeps its configuration and its state.

A node and a hub: settings in `node.toml` and `hub.toml`, both settings and state in the folder that `FLAME_HOME` names;
without it settings in `/etc/flame` and state in `/var/lib/flame`. A researcher: `hubs.toml` in the folder that
`FLAME_CONFIG_HOME` names, or in `.config/flame` at home.

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
