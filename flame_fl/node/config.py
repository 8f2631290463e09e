"""`node.toml`: every setting of a DIZ's node, named and commented, and read strictly."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.settings import parse_settings
from flame_fl.contract.terms import Resources
from flame_fl.contract.words import Frozen
from flame_fl.gate.filing import Filing
from flame_fl.gate.verify import NodeLimits
from flame_fl.node.external import FlameHubSection
from flame_fl.node.web.settings import WebSection

_TEMPLATE = """\
# The node of a DIZ. `flame node up` reads this file when it starts; nothing here is ever sent to the hub but the name.

[node]
id = "{node_id}"              # marks this node's containers; do not change it
name = "{name}"               # how the hub's administrator and researchers call this DIZ

[hub]
address = "{hub}"             # host:port; the node connects, nothing connects to the node
ca = "keys/hub-ca.crt"        # the hub's authority, as its administrator sent it; relative to the state folder

[supernode]                   # Flower's SuperNode, started beside the gate
host = "127.0.0.1"            # where it listens for the gate, and for nobody else
port = {port}
poll_seconds = 0.5            # how often it asks the hub for messages; Flower's own is 3

[sandbox]                     # where researchers' code runs
kind = "docker"               # "docker"; "subprocess" confines nothing and is refused for stores that are not mock data
runtime = "runc"              # or "runsc" (gVisor), where the engine has it
engine = ""                   # address of the Docker Engine; empty: the default socket, or DOCKER_HOST

[images]                      # images by id: `flame node image list`; a tag can be moved, so it is not accepted
default = "{image}"           # for every app that is not named below; empty: such apps do not run
# "publisher/app" = "sha256:…"

[limits]                      # the DIZ's own bounds, whatever is approved
epsilon_cap = 10.0            # most lifetime privacy budget of an account (the site; its patients), over all projects;
                              # an account keeps the cap it was opened with: flame node budget set
delta = 1e-5                  # the delta it is stated at; at most 1 in 10 times the number of patients
min_patients = 10             # no store with fewer takes part
max_sessions = 2              # runs with a warm sandbox at a time
max_block_sessions = 16       # a run of unit patient keeps its blocks' sandboxes warm (paused) if there are no more
session_idle_seconds = 900    # a sandbox without messages for so long is closed
keep_replies_days = 30        # stored replies of older runs are dropped; their hashes stay in the audit chain
max_message_bytes = 1073741824  # a larger message from the hub is not read
cpus = 2.0                    # most that one sandbox may use; an analysis that asks for more is refused (908)
memory_bytes = 8589934592
pids = 512
seconds = 3600.0              # most time for one message
scratch_bytes = 2147483648    # temporary files; held in memory
gpus = 0

[approval]                    # who decides, and what may wait for a decision
signatures_needed = 1         # how many stewards must sign an approval (flame node steward list)
file_requests = true          # false: analyses that nobody here has seen are refused (901) instead of filed
max_pending = 2000            # requests that may wait in all, and of one submitter, and room for their bundles
max_pending_per_submitter = 50
max_bundle_bytes = 2147483648
# [[approval.rules]]          # decides in the stewards' place, and is marked so everywhere; none: people decide
# name = "fedavg-heart, release 3"
# projects = ["heart-failure"]                 # their analyses; people must have approved the project itself
# contents = ["…64 hex digits…"]               # content hashes of bundles that were reviewed
# grounds = ["enforced"]                       # privacy grounds that are allowed
# max_epsilon = 1.0                            # bounds on the terms, whatever they ask for
# max_runs = 5
# until = 2027-06-30

[web]                         # the stewards' page (flame node web); docs/web.md
host = "127.0.0.1"            # beyond this machine only with tls_cert and tls_key
port = 8443
tls_cert = ""                 # PEM files, relative to the state folder
tls_key = ""
public_url = ""               # what people type, if that is not host and port
language = "de"               # "de" or "en"
idle_minutes = 15             # an unused login ends after so long, and every one after max_hours
max_hours = 8

# [flame_hub]                 # a FLAME Hub whose approvals are needed beside the DIZ's own (docs/flame-hub.md)
# core_url = "https://core.example.org"
# auth_url = "https://auth.example.org"
# client_id = "…"             # the secret lies in keys/flame-hub.secret
# node_id = "…"               # the Hub's id of this node
"""

ImageId = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._\-]{0,63}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:\-\[\]]{1,255}:[0-9]{1,5}$")]


class NodeSection(Frozen):
    """Who it is."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    name: NodeName


class HubSection(Frozen):
    """Whom it connects to."""

    address: Address
    ca: str = "keys/hub-ca.crt"


class SuperNodeSection(Frozen):
    """Where Flower's SuperNode listens for the gate."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 9094
    poll_seconds: Annotated[float, Field(ge=0.05, le=60)] = 0.5

    @property
    def address(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SandboxSection(Frozen):
    """Where researchers' code runs."""

    kind: Literal["docker", "subprocess"] = "docker"
    runtime: Literal["runc", "runsc"] = "runc"
    engine: str = ""


class LimitsSection(Frozen):
    """The DIZ's own bounds."""

    epsilon_cap: Annotated[float, Field(gt=0)] = 10.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    min_patients: Annotated[int, Field(ge=1)] = 10
    max_sessions: Annotated[int, Field(ge=1, le=64)] = 2
    max_block_sessions: Annotated[int, Field(ge=0, le=10_000)] = 16
    session_idle_seconds: Annotated[float, Field(gt=0)] = 900.0
    keep_replies_days: Annotated[int, Field(ge=1)] = 30
    max_message_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 1 << 30
    cpus: Annotated[float, Field(gt=0)] = 2.0
    memory_bytes: Annotated[int, Field(ge=64 << 20)] = 8 << 30
    pids: Annotated[int, Field(ge=1)] = 512
    seconds: Annotated[float, Field(gt=0)] = 3600.0
    scratch_bytes: Annotated[int, Field(ge=1 << 20)] = 2 << 30
    gpus: Annotated[int, Field(ge=0)] = 0

    def for_gate(self) -> NodeLimits:
        """As the gate takes them."""
        most = Resources(**{name: getattr(self, name) for name in Resources.model_fields})
        return NodeLimits(
            self.epsilon_cap, self.delta, self.min_patients, self.max_sessions, self.max_block_sessions, most=most
        )


class DemoSection(Frozen):
    """Written by `flame federation up --demo` only: a steward that is a rule."""

    approve_content: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """Content hashes of bundles that are approved at first sight, on their stated terms, marked DEMO."""


class RuleSection(Frozen):
    """One rule that approves in the stewards' place. All that it states must hold; see `flame_fl.node.rules`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
    projects: tuple[str, ...] = ()
    """Ids of projects; people must have approved the project."""
    contents: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """Content hashes of bundles that were reviewed."""
    grounds: tuple[Literal["none", "reviewed", "enforced"], ...] = ()
    """Privacy grounds; empty: any."""
    data_stores: tuple[str, ...] | None = None
    """Data stores that may be read; None: any."""
    max_epsilon: Annotated[float, Field(gt=0)] | None = None
    """Largest epsilon_max."""
    max_runs: Annotated[int, Field(ge=1)] | None = None
    """Most runs."""
    until: date
    """Last day on which the rule decides, and on which what it approved holds."""

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if not self.projects and not self.contents:
            raise ValueError("a rule names projects or contents: one that approves whatever comes is no approval")
        return self


class ApprovalSection(Frozen):
    """Who decides, and what may wait for a decision."""

    signatures_needed: Annotated[int, Field(ge=1, le=9)] = 1
    file_requests: bool = True
    max_pending: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    max_pending_per_submitter: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    max_bundle_bytes: Annotated[int, Field(ge=0)] = 2 << 30
    rules: tuple[RuleSection, ...] = ()

    def filing(self) -> Filing:
        """As the gate takes it."""
        return Filing(self.file_requests, self.max_pending, self.max_pending_per_submitter, self.max_bundle_bytes)


class NodeConfig(Frozen):
    """All of `node.toml`."""

    node: NodeSection
    hub: HubSection
    supernode: SuperNodeSection = SuperNodeSection()
    sandbox: SandboxSection = SandboxSection()
    images: dict[str, ImageId] = Field(default_factory=dict)
    limits: LimitsSection = LimitsSection()
    approval: ApprovalSection = ApprovalSection()
    flame_hub: FlameHubSection | None = None
    web: WebSection = WebSection()
    demo: DemoSection = DemoSection()


@dataclass(frozen=True)
class NodeFiles:
    """The files of a node's state."""

    state: Path

    @property
    def database(self) -> Path:
        """Approvals, runs, ledger and audit chain."""
        return self.state / "state.db"

    @property
    def keys(self) -> Path:
        """Folder of the keys."""
        return self.state / "keys"

    @property
    def flower_key(self) -> Path:
        """The node's key towards the hub (ECDSA P-384); its public half, `.pub`, is for the hub's administrator."""
        return self.keys / "flower"

    @property
    def identity_key(self) -> Path:
        """The node's identity (Ed25519)."""
        return self.keys / "identity"

    @property
    def steward_key(self) -> Path:
        """A steward's key that is kept at the node (Ed25519); a DIZ that uses keys of its own removes it."""
        return self.keys / "steward"

    @property
    def secret(self) -> Path:
        """With it the gate takes tasks from its SuperNode."""
        return self.keys / "superexec.secret"

    @property
    def data_key(self) -> Path:
        """Key of patients' pseudonyms and of snapshots' names (32 bytes). Never replace it."""
        return self.keys / "data"

    @property
    def patients(self) -> Path:
        """Opt-outs and consents."""
        return self.state / "patients"

    @property
    def views(self) -> Path:
        """What sandboxes see of the data stores, while they run."""
        return self.state / "views"

    @property
    def sandboxes(self) -> Path:
        """Bundles of warm sandboxes."""
        return self.state / "runs"

    @property
    def logs(self) -> Path:
        """What apps and Flower print. It stays here."""
        return self.state / "logs"

    @property
    def lock(self) -> Path:
        """Held by the gate that runs."""
        return self.state / "gate.lock"

    def ca(self, config: NodeConfig) -> Path:
        """The hub's authority."""
        return self.state / config.hub.ca


def config_text(*, node_id: str, name: str, hub: str, port: int, image: str) -> str:
    """A `node.toml` with every setting."""
    return _TEMPLATE.format(node_id=node_id, name=name, hub=hub, port=port, image=image)


def parse_config(text: str, name: str = "node.toml") -> NodeConfig:
    """The settings of a text.

    Raises:
        InputError: Not as it should be.
    """
    return parse_settings(text, NodeConfig, name)


def load_config(places: Places) -> NodeConfig:
    """Read `node.toml`.

    Raises:
        InputError: There is none, or it is not as it should be; the sentence names the setting.
    """
    try:
        text = places.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"There is no node here: {places.config} is missing.",
            mend="Make one with `flame node init`, or set FLAME_HOME to where it is.",
        ) from None
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{places.config} cannot be read.", mend="See its permissions.") from err
    return parse_config(text, str(places.config))
