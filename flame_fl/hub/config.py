"""`hub.toml`: every setting of a hub, named and commented, and read strictly."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.settings import parse_settings
from flame_fl.contract.terms import Resources
from flame_fl.contract.words import Frozen

_TEMPLATE = """\
# The hub of a FLAME federation. `flame hub up` reads this file when it starts.

[hub]
id = "{hub_id}"              # names this hub's containers; do not change it
names = {names}              # how nodes and researchers reach it; the certificate holds these names
host = "{host}"              # address it listens on; 0.0.0.0 is every one of this machine
port = {port}                # one port for everything; hospitals need only /v1/fleet/* (see deploy/hub)

[serverapp]                  # what researchers' ServerApps run in
sandbox = "docker"           # "docker"; "subprocess" confines nothing: for tests on a machine of your own
runtime = "runc"             # or "runsc" (gVisor), where it is installed
at_once = 4                  # so many runs at a time; others wait
max_seconds = 259200         # a run that takes longer is ended; waiting for stewards does not count
max_wait_days = 7.0          # so long a run may wait for stewards, if its researcher asks for it
waiting_at_once = 16         # so many waiting runs are not counted among those at_once
cpus = 2.0
memory_bytes = 4294967296
pids = 256
scratch_bytes = 1073741824   # its /tmp, and the largest file it may write
out_bytes = 536870912        # what it may leave for its researcher
out_files = 200

[images]                     # images of ServerApps, by id: `docker image inspect --format '{{{{.Id}}}}' NAME`
default = ""                 # for every app that is not named below; empty: such apps are not run
# "publisher/app" = "sha256:…"
"""

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:\-]{0,252}$")]
ImageId = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Bytes = Annotated[int, Field(ge=1 << 20, le=1 << 42)]


class HubSection(Frozen):
    """Where it is."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    names: Annotated[tuple[HostName, ...], Field(min_length=1, max_length=20)]
    host: HostName
    port: Annotated[int, Field(ge=1, le=65535)]


class ServerAppSection(Frozen):
    """What ServerApps run in, and how much they may use."""

    sandbox: Literal["docker", "subprocess"] = "docker"
    runtime: Literal["runc", "runsc"] = "runc"
    at_once: Annotated[int, Field(ge=1, le=100)] = 4
    max_seconds: Annotated[int, Field(ge=1)] = 259200
    max_wait_days: Annotated[float, Field(ge=0, le=365)] = 7.0
    waiting_at_once: Annotated[int, Field(ge=0, le=1000)] = 16
    cpus: Annotated[float, Field(gt=0, le=256)] = 2.0
    memory_bytes: Annotated[int, Field(ge=64 << 20, le=1 << 42)] = 4 << 30
    pids: Annotated[int, Field(ge=16, le=32768)] = 256
    scratch_bytes: Bytes = 1 << 30
    out_bytes: Bytes = 512 << 20
    out_files: Annotated[int, Field(ge=1, le=10000)] = 200

    @property
    def max_wait_seconds(self) -> float:
        """How long a run may wait for stewards."""
        return self.max_wait_days * 86400

    @property
    def resources(self) -> Resources:
        """As a container is given them."""
        return Resources(
            cpus=self.cpus, memory_bytes=self.memory_bytes, pids=self.pids, scratch_bytes=self.scratch_bytes
        )


class HubConfig(Frozen):
    """All of `hub.toml`."""

    hub: HubSection
    serverapp: ServerAppSection = ServerAppSection()
    images: Mapping[str, ImageId] = {}

    def image_of(self, app: str) -> str:
        """The image's id for an app, "" if none is allowed for it."""
        return self.images.get(app) or self.images.get("default", "")

    @property
    def address(self) -> str:
        """What others connect to."""
        name = self.hub.names[0]
        return f"[{name}]:{self.hub.port}" if ":" in name else f"{name}:{self.hub.port}"

    @property
    def own_address(self) -> str:
        """How this machine reaches it; the certificate holds both names."""
        return f"{'127.0.0.1' if self.hub.host == '0.0.0.0' else self.hub.names[0]}:{self.hub.port}"  # noqa: S104


@dataclass(frozen=True)
class HubFiles:
    """The files of a hub's state."""

    state: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate, which nodes and researchers are given."""
        return self.state / "tls" / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """The authority's key. Not needed to run the hub: keep it offline if you can."""
        return self.state / "ca" / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.state / "tls" / "server.crt"

    @property
    def key(self) -> Path:
        """The server's key."""
        return self.state / "tls" / "server.key"

    @property
    def secret(self) -> Path:
        """With it the agent takes tasks from the SuperLink."""
        return self.state / "tls" / "superexec.secret"

    @property
    def access(self) -> Path:
        """Who may do what."""
        return self.state / "access.json"

    @property
    def database(self) -> Path:
        """The SuperLink's state."""
        return self.state / "superlink.db"

    @property
    def runs(self) -> Path:
        """One folder for each run."""
        return self.state / "runs"

    @property
    def log(self) -> Path:
        """Flower's own log."""
        return self.state / "logs" / "superlink.log"


def config_text(hub_id: str, names: tuple[str, ...], host: str, port: int) -> str:
    """A `hub.toml` with every setting."""
    listed = "[" + ", ".join(f'"{name}"' for name in names) + "]"
    return _TEMPLATE.format(hub_id=hub_id, names=listed, host=host, port=port)


def load_config(places: Places) -> HubConfig:
    """Read `hub.toml`.

    Raises:
        InputError: There is none, or it is not as it should be; the sentence names the setting.
    """
    try:
        text = places.config.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise InputError(
            f"There is no hub here: {places.config} is missing.", mend="Make one with `flame hub init --name HOST`."
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{places.config} cannot be read.", mend="See its permissions.") from err
    return parse_config(text, str(places.config))


def parse_config(text: str, name: str = "hub.toml") -> HubConfig:
    """The settings of a text.

    Raises:
        InputError: As `load_config`.
    """
    return parse_settings(text, HubConfig, name)
