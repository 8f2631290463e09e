"""What goes into a simulation and what comes out of it, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from flame_fl.contract.errors import FlameError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.terms import Scalar
from flame_fl.gate.workflow import Event
from flame_fl.report.facts import RunFacts
from flame_fl.simulation.derive import PrivacyWish
from flame_fl.simulation.nodes import SandboxKind
from flame_fl.simulation.tally import Tally

Status = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Settings:
    """What was asked for. `noise_seed` is for tests only; every report of such a run says so."""

    app: Path
    data: Path | None = None
    nodes: int | None = None
    sandbox: SandboxKind = "subprocess"
    image: str | None = None
    policy: str | None = None
    deny: tuple[str, ...] = ()
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    wish: PrivacyWish = field(default_factory=PrivacyWish)
    out: Path | None = None
    state: Path | None = None
    seed: int = 1
    noise_seed: int | None = None
    command: str = ""
    debug: bool = False
    report: bool = True


@dataclass(frozen=True)
class Standing:
    """What one virtual DIZ said before the run. `code` is 0 if it approved."""

    node: str
    status: str
    code: int
    by: str
    patients: int


@dataclass(frozen=True)
class Outcome:
    """A run's end. `details` are what the gates keep to themselves; a simulation may show them to its own user."""

    status: Status
    folder: Path
    facts: RunFacts
    error: FlameError | None
    details: tuple[Event, ...] = ()


class Watcher(Protocol):
    """Told of what happens, for a person to see."""

    def begins(self, manifest: Manifest, folder: Path, *, resumed: bool, left_out: tuple[str, ...]) -> None:
        """The run has a folder."""

    def standings(self, standings: list[Standing]) -> None:
        """Who approved, who refused."""

    def progress(self, tally: Tally, done: int, total: int) -> None:
        """A batch was sent or went on."""
