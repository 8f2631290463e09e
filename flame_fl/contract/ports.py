"""What the gate needs of the world, as protocols; `simulation` (and the node) wire the real things in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import Content
from flame_fl.contract.fab import Fab
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.terms import Resources, Scalar

VETTED_APP: Final = "flame-fl/flame-vetted"
"""Stands for flame_fl's own code where an app's name decides the image."""


@dataclass(frozen=True)
class SandboxSpec:
    """Everything a sandbox gets to know. Closed: there is no way to pass anything else in."""

    fab: Fab
    component: str
    run_id: int
    node_id: int
    run_config: Mapping[str, Scalar]
    node_config: Mapping[str, Scalar]
    resources: Resources
    log_path: Path
    data: Mapping[str, Path] = field(default_factory=dict)
    app: str = ""
    """Publisher and name of the analysis's app, which decides the image; "" is the bundle's."""

    def hello(self, app_dir: str, place: Callable[[str, Path], str]) -> dict[str, object]:
        """What a runner is told first: where the app is, and where `place` puts each data store."""
        data = {f"data-{name}": place(name, path) for name, path in self.data.items()}
        return {
            "app_dir": app_dir,
            "component": self.component,
            "run_id": self.run_id,
            "node_id": self.node_id,
            "run_config": dict(self.run_config),
            "node_config": {**self.node_config, **data},
        }


@dataclass(frozen=True)
class Envelope:
    """A message on its way into the sandbox: what Flower's metadata says, and the content."""

    message_id: str
    message_type: str
    group_id: str
    content: Content
    seed: int | None = None


class Session(Protocol):
    """A warm sandbox of one run at one node."""

    def handle(self, message: Envelope, deadline_seconds: float, max_reply_bytes: int) -> Content:
        """The update, unreleased.

        Raises:
            SandboxTimeoutError: No complete answer before the deadline. The session is over.
            SandboxError: It died, failed, or answered something that is no frame. The session is over
                unless `alive` says otherwise.
        """

    @property
    def alive(self) -> bool:
        """Whether another message can be handled."""

    def pause(self) -> None:
        """Let nothing of it run until `resume`, as far as the sandbox can. Never raises."""

    def resume(self) -> None:
        """Let it run again. Never raises."""

    def close(self) -> None:
        """End it, with everything it started. Never raises."""


class Sandbox(Protocol):
    """Where apps run."""

    def kind_of(self, app: str) -> str:
        """What an approval binds of it: "subprocess", or the runtime and the image's digest for this app."""

    def start(self, spec: SandboxSpec) -> Session:
        """A new session.

        Raises:
            SandboxError: It could not be started.
        """


class NoiseSource(Protocol):
    """Exact integer noise."""

    @property
    def seeded(self) -> bool:
        """True only in tests; every report of such a run says so."""

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        """(count,) draws of the discrete Gaussian with sigma² = numerator/denominator."""

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        """At most so far, in total variation, are `count` draws from the stated distribution."""


@dataclass(frozen=True)
class Verdict:
    """What another authority says of an analysis: nothing against it, or a refusal's code and why, for the log."""

    code: RefusalCode | None = None
    detail: str = ""


class ExternalApprovals(Protocol):
    """An authority beside the DIZ's own: what it does not approve does not run, whatever is signed here."""

    def verdict(self, project: str, analysis: str) -> Verdict:
        """What it said last. Fast and without network; never raises.

        Args:
            project: The project's id, "" for an app without terms.
            analysis: The analysis digest.
        """


class NoExternal:
    """There is no other authority."""

    def verdict(self, project: str, analysis: str) -> Verdict:
        """Nothing against it."""
        return Verdict()
