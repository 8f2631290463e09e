"""Step 3: warm sandbox sessions, one per run, or one per block of patients; what may be said of their failures.

Each has views of its own, which are made before it starts and deleted with it. A session or view whose patients are no
longer those that may be used is ended: with the next message, or at once if somebody calls `end_unless`. While a block
works, every other session of the node is paused.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope, Sandbox, Session
from flame_fl.contract.refusal import RefusedError
from flame_fl.contract.task import OWN_RECORD
from flame_fl.contract.terms import Resources, Scalar
from flame_fl.data.files import remove_tree
from flame_fl.data.offer import Offers
from flame_fl.gate.blocks import Block, fingerprint, is_empty
from flame_fl.gate.cohorts import cohorts_sha256
from flame_fl.gate.spec import make_views, spec_of
from flame_fl.gate.store import Store
from flame_fl.gate.verify import Verified

_FRAME_ROOM = 2 * 1024 * 1024  # header and metrics beside the arrays
_OPEN_REPLY_BYTES = 2 * 1024**3

WHOLE = 0
"""The part of a session that sees the whole cohort; blocks count from 1."""
Key = tuple[int, int]  # run, part


class StoppedError(Exception):
    """The gate was stopped in the middle of a leg."""


@dataclass(frozen=True)
class Bound:
    """What a view was made of, and for what."""

    analysis: str
    binding: str | None
    records: str
    verified: Verified = field(repr=False, compare=False)


@dataclass
class Sessions:
    """The sessions of one node. `seed` makes simulations repeatable; a node has none.

    `most` runs have warm sessions, and the blocks of a run are kept warm if there are no more than `most_blocks`.
    """

    node: str
    node_id: int
    sandbox: Sandbox
    store: Store
    data: Offers
    node_config: Mapping[str, Scalar]
    log_dir: Path
    view_dir: Path
    most: int
    most_blocks: int
    seed: int | None
    _open: dict[Key, Session] = field(default_factory=dict, init=False)
    _bound: dict[Key, Bound] = field(default_factory=dict, init=False)
    _views: dict[Key, Path] = field(default_factory=dict, init=False)
    _runs: dict[int, None] = field(default_factory=dict, init=False)
    """Runs in the order of their last messages: what is ended to make room never depends on how a sandbox fared."""
    _paused: set[Key] = field(default_factory=set, init=False)
    _stopping: bool = field(default=False, init=False)

    def run(self, verified: Verified) -> Content:
        """The update of one message, unreleased.

        Raises:
            SandboxError: The app failed or was too slow; its session is gone if it cannot go on.
            RefusedError: 908, a data store is not what was approved.
            StoppedError: `stop` was called meanwhile: the leg stays reserved, its debit stands, it can be asked again.
        """
        resources = verified.terms.resources if verified.terms else Resources()
        whole = {name: use.cohort.rows for name, use in verified.uses.items()}
        return self._handle(verified, WHOLE, whole, cohorts_sha256(verified.uses), lambda: resources.seconds)

    def prepare(self, verified: Verified, blocks: Sequence[Block]) -> dict[int, str]:
        """Make the views of all blocks that have none yet; returns why not, by number, where one could not be made.

        Each store is read once where its kind can; if that fails, block by block: one patient's record may be why, and
        is no reason for another block.

        Raises:
            StoppedError: As `run`.
        """
        self._go_on()
        run_id = verified.task.run.run_id
        self._make_room(run_id)
        missing: dict[int, Block] = {}
        for number, block in enumerate(blocks, 1):
            key, bound = (run_id, number), _bound(verified, fingerprint(block))
            if key not in self._views or self._bound.get(key) != bound:
                self._end(key)
                if not is_empty(block):
                    missing[number] = block
        try:
            made = dict(zip(missing, make_views(verified, list(missing.values()), self.view_dir), strict=True))
            failed: dict[int, str] = {}
        except (RefusedError, SandboxError):
            made, failed = self._one_by_one(verified, missing)
        for number, folder in made.items():
            self._views[run_id, number] = folder
            self._bound[run_id, number] = _bound(verified, fingerprint(blocks[number - 1]))
        return failed

    def _one_by_one(self, verified: Verified, missing: Mapping[int, Block]) -> tuple[dict[int, Path], dict[int, str]]:
        made, failed = {}, {}
        for number, block in missing.items():
            try:
                (made[number],) = make_views(verified, [block], self.view_dir)
            except (RefusedError, SandboxError) as err:
                failed[number] = getattr(err, "detail", "") or err.message
        return made, failed

    def run_block(self, verified: Verified, number: int, block: Block, left: Callable[[], float]) -> Content:
        """The update of one block, unreleased; before and after, nothing of it runs.

        Args:
            verified: The message.
            number: The block's, from 1.
            block: Its records.
            left: How many seconds of its turn are left; starting a session takes some of them.

        Raises:
            SandboxError: As `run`, or its view is gone.
            RefusedError: As `run`.
            StoppedError: As `run`.
        """
        key = verified.task.run.run_id, number
        if key not in self._views and verified.uses:
            raise SandboxError("The block's view was deleted before its turn.")
        for other in set(self._open) - self._paused - {key}:
            self._pause(other)
        try:
            return self._handle(verified, number, block, fingerprint(block), left)
        finally:
            if self._keeps_blocks(verified):
                self._pause(key)
            else:
                self._end(key, views=False)

    def _pause(self, key: Key) -> None:
        if (session := self._open.get(key)) is not None:
            session.pause()
            self._paused.add(key)

    def _keeps_blocks(self, verified: Verified) -> bool:
        blocks = verified.terms.privacy.blocks if verified.terms else None
        return blocks is not None and blocks <= self.most_blocks

    def _handle(self, verified: Verified, part: int, block: Block, records: str, left: Callable[[], float]) -> Content:
        task, key = verified.task, (verified.task.run.run_id, part)
        most = (verified.rules.max_bytes if verified.rules else _OPEN_REPLY_BYTES) + _FRAME_ROOM
        seed = self._leg_seed(task.leg_id)
        envelope = Envelope(task.leg_id, task.message_type, task.group_id, _for_the_app(task.content), seed)
        session: Session | None = None
        try:
            self._go_on()
            if part == WHOLE:
                self._make_room(key[0])
            session = self._session(verified, part, block, records)
            self._go_on()
            return session.handle(envelope, left(), most)
        except StoppedError:
            raise
        except RefusedError:
            self._end(key)  # one view may have been made before another one could not be
            raise
        except Exception as err:  # whatever a sandbox does, its own faults included, is the app's failure
            self._go_on(err)
            if session is None or not session.alive:
                self._end(key, views=part == WHOLE)
            if isinstance(err, SandboxError):
                raise
            raise SandboxError(f"The sandbox failed ({type(err).__name__}).") from err

    def _go_on(self, cause: Exception | None = None) -> None:
        if self._stopping:
            self._end_all()
            raise StoppedError from cause

    def _session(self, verified: Verified, part: int, block: Block, records: str) -> Session:
        run_id = verified.task.run.run_id
        key, bound = (run_id, part), _bound(verified, records)
        session = self._open.get(key)
        if session is not None and session.alive and self._bound.get(key) == bound:
            if key in self._paused:
                self._paused.discard(key)
                session.resume()
            return session
        # it died and still holds its files, or was started under terms that no longer hold
        self._end(key, views=part == WHOLE or self._bound.get(key) != bound)
        if self.store.worked_legs_of(verified.run_id) > 1 and (part == WHOLE or self._keeps_blocks(verified)):
            said = {"run": verified.run_id, "leg": verified.task.leg_id, "block": part, "records": records}
            self.store.record("session-restarted", said)
            if verified.terms is not None and verified.terms.limits.requires_state:
                raise SandboxError("The app's state was lost with its session, and its terms require it.")
        if part != WHOLE and key not in self._views and verified.uses:
            raise SandboxError("The block's view was deleted in its turn.")
        if key not in self._views and verified.uses:
            self._views[key] = make_views(verified, [block], self.view_dir)[0]
        self._bound[key] = bound
        spec = spec_of(verified, self.node_id, self.node_config, self.log_dir / f"{self.node}-{run_id}.log")
        started = self.sandbox.start(spec(self._data(verified, key)))
        if self._bound.get(key) is not bound:  # somebody ended it while it started
            _close(started)
            raise SandboxError("The session was ended while it started.")
        self._open[key] = started
        return started

    def _make_room(self, run_id: int) -> None:
        """End the sessions of the runs that were asked longest ago, so that this one may have some."""
        self._runs.pop(run_id, None)
        while len(self._runs) >= self.most:
            self.end(next(iter(self._runs)))
        self._runs[run_id] = None

    def _data(self, verified: Verified, key: Key) -> dict[str, Path]:
        """Where the app finds its stores: views; without terms (one's own data on one's own machine) the folders."""
        if verified.terms is None:
            offers = {name: self.data.get(name) for name in self.data.names()}
            return {name: offer.folder for name, offer in offers.items() if offer is not None}
        return {name: self._views[key] / name for name in verified.uses}

    def _leg_seed(self, leg_id: str) -> int | None:
        return None if self.seed is None else int(sha256_hex(f"{self.seed}/{self.node}/{leg_id}".encode())[:8], 16)

    # --- ending ------------------------------------------------------------------------------------------------

    def end(self, run_id: int, analysis_digest: str | None = None) -> None:
        """End one run's sessions; with a digest, only those that are of that analysis."""
        if analysis_digest is None:
            self._runs.pop(run_id, None)
        for key in [key for key in {*self._open, *self._views, *self._bound} if key[0] == run_id]:
            # the hub chooses run ids: one analysis must not end another's session
            if analysis_digest is None or ((bound := self._bound.get(key)) and bound.analysis == analysis_digest):
                self._end(key)

    def _end(self, key: Key, *, views: bool = True) -> None:
        self._paused.discard(key)
        if (session := self._open.pop(key, None)) is not None:
            _close(session)
        if views:
            self._bound.pop(key, None)
            if (made := self._views.pop(key, None)) is not None:
                remove_tree(made)

    def end_unless(self, holds: Callable[[Verified, int, str], bool]) -> int:
        """End every session that `holds` does not hold for, a working one too; from any thread. Returns how many.

        Args:
            holds: Is given what was verified, the part, and the hash of the records it sees.
        """
        ended = 0
        for key, bound in list(self._bound.items()):
            if holds(bound.verified, key[1], bound.records):
                continue
            if self._bound.get(key) is bound:  # else a new one was started meanwhile, with other views
                self._end(key)
                ended += 1
        return ended

    def stop(self) -> None:
        """End every session now, from any thread; legs in progress and later ones raise `StoppedError`."""
        self._stopping = True
        self._end_all()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def _end_all(self) -> None:
        for session in list(self._open.values()):
            _close(session)
        for views in list(self._views.values()):
            remove_tree(views)

    def end_all(self) -> None:
        """End every session; later messages start new ones."""
        self._runs.clear()
        for key in {*self._open, *self._views, *self._bound}:
            self._end(key)


def _bound(verified: Verified, records: str) -> Bound:
    approved = verified.approved
    return Bound(approved.digest, approved.record.binding_digest, records, verified.without_message())


def _for_the_app(content: Content) -> Content:
    """Without what is said to the gate alone."""
    configs = {name: record for name, record in content.configs.items() if name != OWN_RECORD}
    return content if len(configs) == len(content.configs) else replace(content, configs=configs)


def _close(session: Session) -> None:
    with suppress(Exception):  # ports promise not to raise here; a run must not hang on that
        session.close()
