"""Step 3: warm sandbox sessions, one per run, each with views of its own; what may be said of their failures.

A view is made when a session starts and is deleted with it. A session whose patients are no longer those that may be
used is ended: with the next message, or at once if somebody calls `end_unless`.
"""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.content import Content
from flame_fl.contract.errors import InputError, SandboxError
from flame_fl.contract.ports import Envelope, Sandbox, SandboxSpec, Session
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Resources, Scalar
from flame_fl.data.files import remove_tree
from flame_fl.data.offer import Offers
from flame_fl.gate.cohorts import StoreUse, fingerprints
from flame_fl.gate.store import Store
from flame_fl.gate.verify import Verified

_FRAME_ROOM = 2 * 1024 * 1024  # header and metrics beside the arrays
_OPEN_REPLY_BYTES = 2 * 1024**3


Bound = tuple[str, str | None, tuple[tuple[str, str], ...]]  # analysis, binding, cohorts


class StoppedError(Exception):
    """The gate was stopped in the middle of a leg."""


@dataclass
class Sessions:
    """The sessions of one node. `seed` makes simulations repeatable; a node has none."""

    node: str
    node_id: int
    sandbox: Sandbox
    store: Store
    data: Offers
    node_config: Mapping[str, Scalar]
    log_dir: Path
    view_dir: Path
    most: int
    seed: int | None
    _open: dict[int, Session] = field(default_factory=dict, init=False)
    _bound: dict[int, Bound] = field(default_factory=dict, init=False)
    _given: dict[int, Verified] = field(default_factory=dict, init=False)
    _views: dict[int, Path] = field(default_factory=dict, init=False)
    _stopping: bool = field(default=False, init=False)

    def run(self, verified: Verified) -> Content:
        """The update of one message, unreleased.

        Raises:
            SandboxError: The app failed or was too slow; its session is gone if it cannot go on.
            RefusedError: 908, a data store is not what was approved.
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
        except RefusedError:
            self.end(task.run.run_id)  # one view may have been made before another one could not be
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
        cohorts = tuple(sorted(fingerprints(verified.uses).items()))
        bound: Bound = verified.approved.digest, verified.approved.record.binding_digest, cohorts
        session = self._open.get(run_id)
        if session is not None and session.alive and self._bound.get(run_id) == bound:
            return session
        self.end(run_id)  # it died and still holds its files, or was started under terms that no longer hold
        if self.store.legs_of(verified.run_id) > 1:
            said = {"run": verified.run_id, "leg": verified.task.leg_id, "cohorts": dict(cohorts)}
            self.store.record("session-restarted", said)
            if verified.terms is not None and verified.terms.limits.requires_state:
                raise SandboxError("The app's state was lost with its session, and its terms require it.")
        while len(self._open) >= self.most:
            self.end(next(iter(self._open)))
        data = self._data(verified)
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
                data=data,
            )
        )
        self._bound[run_id], self._given[run_id] = bound, verified.without_message()
        return self._open[run_id]

    def _data(self, verified: Verified) -> dict[str, Path]:
        """Where the app finds its stores: views; without terms (one's own data on one's own machine) the folders.

        Raises:
            SandboxError: A view could not be made.
        """
        if verified.terms is None:
            offers = {name: self.data.get(name) for name in self.data.names()}
            return {name: offer.folder for name, offer in offers.items() if offer is not None}
        if not verified.uses:
            return {}
        self._views[verified.task.run.run_id] = folder = self.view_dir / secrets.token_hex(16)
        return {name: _made(use, verified.terms.project.id, folder / name) for name, use in verified.uses.items()}

    def _leg_seed(self, leg_id: str) -> int | None:
        return None if self.seed is None else int(sha256_hex(f"{self.seed}/{self.node}/{leg_id}".encode())[:8], 16)

    def end(self, run_id: int, analysis_digest: str | None = None) -> None:
        """End one run's session; with a digest, only if the session is of that analysis."""
        if analysis_digest is not None and self._bound.get(run_id, ("", None))[0] != analysis_digest:
            return  # the hub chooses run ids: one analysis must not end another's session
        self._bound.pop(run_id, None)
        self._given.pop(run_id, None)
        if (session := self._open.pop(run_id, None)) is not None:
            _close(session)
        if (views := self._views.pop(run_id, None)) is not None:
            remove_tree(views)

    def end_unless(self, holds: Callable[[Verified], bool]) -> int:
        """End every session that `holds` does not hold for, a working one too; from any thread. Returns how many."""
        over = [(run_id, verified) for run_id, verified in list(self._given.items()) if not holds(verified)]
        ended = 0
        for run_id, verified in over:
            if self._given.get(run_id) is verified:  # else a new one was started meanwhile, with other views
                self.end(run_id)
                ended += 1
        return ended

    def stop(self) -> None:
        """End every session now, from any thread; legs in progress and later ones raise `StoppedError`."""
        self._stopping = True
        self._end_all()

    def _end_all(self) -> None:
        for session in list(self._open.values()):
            _close(session)
        for views in list(self._views.values()):
            remove_tree(views)

    def end_all(self) -> None:
        """End every session; later messages start new ones."""
        for run_id in list(self._open):
            self.end(run_id)


def _made(use: StoreUse, project: str, into: Path) -> Path:
    try:
        use.offer.view(use.cohort.rows, use.stated, use.wanted, project, into)
    except InputError as err:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, f"no view of a data store can be made: {err.message}") from err
    except OSError as err:
        raise SandboxError(f"The view of a data store could not be written ({err.strerror}).") from err
    return into


def _close(session: Session) -> None:
    with suppress(Exception):  # ports promise not to raise here; a run must not hang on that
        session.close()
