"""Step 3: warm sandbox sessions, one per run, and what may be said of their failures."""

from collections.abc import Mapping
from contextlib import suppress
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
    _bound: dict[int, tuple[str, str | None]] = field(default_factory=dict, init=False)  # analysis and binding digest
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
            self._go_on()
            session = self._session(verified, resources)
            self._go_on()
            return session.handle(envelope, resources.seconds, most)
        except StoppedError:
            raise
        except Exception as err:  # whatever a sandbox does, its own faults included, is the app's failure
            self._go_on(err)
            if session is None or not session.alive:
                self.end(task.run.run_id)
            if isinstance(err, SandboxError):
                raise
            raise SandboxError(f"The sandbox failed ({type(err).__name__}).") from err

    def _go_on(self, cause: Exception | None = None) -> None:
        if self._stopping:
            self._end_all()
            raise StoppedError from cause

    def _session(self, verified: Verified, resources: Resources) -> Session:
        run_id = verified.task.run.run_id
        bound = verified.approved.digest, verified.approved.record.binding_digest
        session = self._open.get(run_id)
        if session is not None and session.alive and self._bound[run_id] == bound:
            return session
        self.end(run_id)  # it died and still holds its files, or was started under terms that no longer hold
        if self.store.legs_of(verified.run_id) > 1:
            self.store.record("session-restarted", {"run": verified.run_id, "leg": verified.task.leg_id})
            if verified.terms is not None and verified.terms.limits.requires_state:
                raise SandboxError("The app's state was lost with its session, and its terms require it.")
        while len(self._open) >= self.most:
            self.end(next(iter(self._open)))
        wanted = verified.terms.data if verified.terms is not None else self.data
        self._open[run_id] = self.sandbox.start(
            SandboxSpec(
                fab=verified.fab,
                component=verified.fab.component("clientapp"),
                run_id=run_id,
                node_id=self.node_id,
                run_config=verified.run_config,
                node_config=self.node_config,
                resources=resources,
                log_path=self.log_dir / f"{self.node}-{run_id}.log",
                data={name: self.data[name].path for name in wanted},
            )
        )
        self._bound[run_id] = bound
        return self._open[run_id]

    def _leg_seed(self, leg_id: str) -> int | None:
        return None if self.seed is None else int(sha256_hex(f"{self.seed}/{self.node}/{leg_id}".encode())[:8], 16)

    def end(self, run_id: int, analysis_digest: str | None = None) -> None:
        """End one run's session; with a digest, only if the session is of that analysis."""
        if analysis_digest is not None and self._bound.get(run_id, ("", None))[0] != analysis_digest:
            return  # the hub chooses run ids: one analysis must not end another's session
        self._bound.pop(run_id, None)
        if (session := self._open.pop(run_id, None)) is not None:
            _close(session)

    def stop(self) -> None:
        """End every session now, from any thread; legs in progress and later ones raise `StoppedError`."""
        self._stopping = True
        self._end_all()

    def _end_all(self) -> None:
        for session in list(self._open.values()):
            _close(session)

    def end_all(self) -> None:
        """End every session; later messages start new ones."""
        for run_id in list(self._open):
            self.end(run_id)


def _close(session: Session) -> None:
    with suppress(Exception):  # ports promise not to raise here; a run must not hang on that
        session.close()
