"""What a federation on this machine consists of, and where its parts are. Values only."""

import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.words import Frozen
from flame_fl.data.files import PRIVATE, replace

HUB_NAME, USER = "local", "researcher"
_FILE = "federation.json"


class Plan(Frozen):
    """One federation, as it was set up."""

    nodes: tuple[str, ...] = Field(min_length=1)
    hub_port: int
    node_ports: tuple[int, ...]
    project: str
    demo: str | None = None
    """Folder of the app it demonstrates."""
    image: str | None = None


@dataclass(frozen=True)
class Home:
    """Its folder."""

    path: Path

    @property
    def file(self) -> Path:
        """Its plan."""
        return self.path / _FILE

    @property
    def hub(self) -> Places:
        """The hub's settings and state."""
        return Places(self.path / "hub" / "hub.toml", self.path / "hub")

    def node(self, name: str) -> Places:
        """A node's settings and state."""
        folder = self.path / "nodes" / name
        return Places(folder / "node.toml", folder)

    @property
    def data(self) -> Path:
        """Data of the demonstration: a folder per node, and in it one per data store."""
        return self.path / "data"

    @property
    def token(self) -> Path:
        """The demonstration's researcher's token."""
        return self.path / "researcher.token"

    def log(self, part: str) -> Path:
        """What a part prints."""
        return self.path / "logs" / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """The process of a part, with the time it was started at: numbers are used again."""
        return self.path / "logs" / f"{part}.pid"

    def read(self) -> Plan:
        """Its plan.

        Raises:
            InputError: There is none.
        """
        try:
            return Plan.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            raise InputError(
                f"There is no federation in {self.path}.", mend="Make one: `flame federation up --nodes 3`."
            ) from None
        except (ValidationError, OSError) as err:
            raise InputError(f"{self.file} is none of ours.", mend="Choose another --home.") from err

    def write(self, plan: Plan) -> None:
        """Keep its plan: a federation is there once this is."""
        replace(self.file, json.dumps(plan.model_dump(), indent=1).encode(), PRIVATE)


def node_names(count: int) -> tuple[str, ...]:
    """DIZ-1, DIZ-2, … as the simulator calls them."""
    return tuple(f"DIZ-{i}" for i in range(1, count + 1))


def free_ports(count: int) -> list[int]:
    """Ports of this machine's that nobody listens on now, all different."""
    with ExitStack() as closing:
        found = []
        for _ in range(count):
            probe = closing.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found
