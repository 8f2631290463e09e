"""Step 3: warm sandbox sessions, one per run, and what may be said of their failures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope, Sandbox, SandboxSpec, Session
from flame_fl.contract.terms import Resources, Scalar
from flame_fl.data.folder import DataView
from flame_fl.gate.store import Store
from flame_fl.gate.verify import Verified

_FRAME_ROOM = 2 * 1024 * 1024  # header and metrics beside the arrays
_OPEN_REPLY_BYTES = 2 * 1024**3


class StoppedError(Exception):
    """The gate was stopped in the middle of a leg."""


@dataclass
class Sessions:
    """The sessions of one node. `seed` makes simulations repeatable; a node has none."""

    node: str
    node_id: int
    sandbox: Sandbox
    store: Store
    data: Mapping[str, DataView]
    node_config: Mapping[str, Scalar]
    log_dir: Path
    most: int
    seed: int | None
    _open: dict[int, Session] = field(default_factory=dict, init=False)
    _stopping: bool = field(default=False, init=False)

    def run(self, verified: Verified) -> Content:
        """The update of one message, unreleased.

        Raises:
            SandboxError: The app failed or was too slow; its session is gone if it cannot go on.
            StoppedError: `stop` was called meanwhile: the leg stays reserved, its debit stands, it can be asked again.
        """
        task = verified.task
        resources = verified.terms.resources if verified.terms else Resources()
        most = (verified.rules.max_bytes if verified.rules else _OPEN_REPLY_BYTES) + _FRAME_ROOM
        envelope = Envelope(task.leg_id, task.message_type, task.group_id, task.content, self._leg_seed(task.leg_id))
        session: Session | None = None
        try:
            session = self._session(verified, resources)
            return session.handle(envelope, resources.seconds, most)
        except SandboxError as err:
            if self._stopping:
                raise StoppedError from err
            if session is None or not session.alive:
                self.end(task.run.run_id)
            raise

    def _session(self, verified: Verified, resources: Resources) -> Session:
        run_id = verified.task.run.run_id
        session = self._open.get(run_id)
        if session is not None and session.alive:
            return session
        self.end(run_id)  # one that died by itself still holds its files
        if self.store.legs_of(verified.run_id) > 1:
            self.store.record("session-restarted", {"run": verified.run_id, "leg": verified.task.leg_id})
            if verified.terms is not None and verified.terms.limits.requires_state:
                raise SandboxError("The app's state was lost with its session, and its terms require it.")
        while len(self._open) >= self.most:
            self.end(next(iter(self._open)))
        wanted = verified.terms.data if verified.terms is not None else self.data
        paths = {f"data-{name}": str(self.data[name].path) for name in wanted}
        self._open[run_id] = self.sandbox.start(
            SandboxSpec(
                fab=verified.fab,
                component=verified.fab.component("clientapp"),
                run_id=run_id,
                node_id=self.node_id,
                run_config=verified.run_config,
                node_config={**self.node_config, **paths},
                resources=resources,
                log_path=self.log_dir / f"{self.node}-{run_id}.log",
            )
        )
        return self._open[run_id]

    def _leg_seed(self, leg_id: str) -> int | None:
        return None if self.seed is None else int(sha256_hex(f"{self.seed}/{self.node}/{leg_id}".encode())[:8], 16)

    def end(self, run_id: int) -> None:
        """End one run's session."""
        if (session := self._open.pop(run_id, None)) is not None:
            session.close()

    def stop(self) -> None:
        """End every session now, from any thread; legs in progress raise `StoppedError`."""
        self._stopping = True
        for session in list(self._open.values()):
            session.close()
