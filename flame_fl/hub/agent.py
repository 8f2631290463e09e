"""The server agent: takes ServerApps' tasks from the SuperLink and runs each behind a relay of its own.

Every step is on disk before it matters (`runs`), so an agent that was killed goes on: it finds the process or container
again, opens the socket in the same folder, and removes what belongs to no task. A task that the SuperLink no longer
knows ends with its container. A ServerApp that died without a word (with the hub, or for want of memory) is started
again a few times if it left a checkpoint, under the same run; else its run ends as failed, and says so.
"""

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from flame_fl.contract.access import project_of
from flame_fl.contract.errors import FlameError, UnreachableError
from flame_fl.flower.server_tasks import ServerTask, TaskQueue
from flame_fl.flower.superlink_access import AccessFile
from flame_fl.flower.superlink_beside import RunReader, RunSummary
from flame_fl.hub.config import HubConfig, HubFiles
from flame_fl.hub.launch import Launched, Launcher
from flame_fl.hub.relay import Limits, Relay
from flame_fl.hub.runs import RunFolder, RunRecord, unfinished
from flame_fl.hub.waiting import waited_seconds, waits

_LAST_WORDS_SECONDS = 20.0
_ASK_SECONDS = 20.0
_MOST_RESTARTS = 3
Say = Callable[[str], None]


@dataclass
class _Active:
    folder: RunFolder
    record: RunRecord
    relay: Relay
    launched: Launched
    over: threading.Event = field(default_factory=threading.Event)
    over_since: float | None = None
    asked: float = 0.0


class Agent:
    """Runs ServerApps.

    Args:
        config: The hub's.
        files: Where its state is.
        queue: The SuperLink's tasks.
        reader: The SuperLink's runs.
        launcher: Where ServerApps run.
        say: Tells a person at the hub, one line.
    """

    def __init__(
        self,
        config: HubConfig,
        files: HubFiles,
        *,
        queue: TaskQueue,
        reader: RunReader,
        launcher: Launcher,
        say: Say,
    ) -> None:
        self._config, self._files, self._say = config, files, say
        self._queue, self._reader, self._launcher = queue, reader, launcher
        self._access = AccessFile(files.access)
        self._last_said = ""
        self._context = ssl.create_default_context(cafile=files.ca)
        self._active: dict[int, _Active] = {}

    def adopt(self) -> None:
        """Find again what an agent before this one had started. The SuperLink must answer."""
        for folder, record in unfinished(self._files.runs):
            alive = self._queue.is_alive(record.token)
            launched = None if record.handle is None else self._launcher.find(folder, record.handle)
            if alive is False:
                if launched is not None:
                    launched.end()
                folder.end(record, "the SuperLink had given it up")
                self._say(f"run {folder.run_id}: the SuperLink no longer knows it, removed")
            elif launched is None and self._start_again(folder, record, "it was lost when the hub restarted"):
                continue
            elif launched is None:
                self._queue.fail(record.token, "The ServerApp was lost when the hub restarted. Start the run again.")
                folder.end(record, "lost at a restart")
                self._say(f"run {folder.run_id}: its ServerApp is gone, ended as failed")
            else:
                self._say(f"run {folder.run_id}: found again, goes on")
                self._serve(folder, record, launched)
        if removed := self._launcher.sweep(set(self._active)):
            self._say(f"removed {removed} orphaned ServerApp(s)")

    def tick(self) -> None:
        """Look once: end what is over, start what waits."""
        for active in list(self._active.values()):
            try:
                self._look_after(active)
            except Exception as err:  # one run's trouble (a full disk, an engine that restarts) is not the others'
                self._say_once(f"run {active.folder.run_id}: {type(err).__name__}: {err}")
        if self._is_room():
            with suppress(UnreachableError):
                task = self._queue.acquire()
                if task is not None:
                    self._begin(task)

    def _is_room(self) -> bool:
        """Whether another run may start. One that waits for stewards computes nothing, and keeps nobody out."""
        given, now = self._config.serverapp, time.time()
        waiting = sum(waits(active.folder, given.max_wait_seconds, now) for active in self._active.values())
        return len(self._active) - min(waiting, given.waiting_at_once) < given.at_once

    def _say_once(self, text: str) -> None:
        if text != self._last_said:
            self._say(text)
        self._last_said = text

    def close(self) -> None:
        """Stop serving. What runs is left running: the next agent finds it."""
        for active in self._active.values():
            active.relay.stop()
        self._active.clear()

    def _begin(self, task: ServerTask) -> None:
        if (earlier := self._active.get(task.run_id)) is not None:
            self._finish(earlier, "its claim ran out before it began")
        folder = RunFolder(self._files.runs, task.run_id)
        folder.make()
        record = folder.write(RunRecord.of(task, time.time()))
        summary = self._reader.run(task.run_id)
        app = summary.app if summary else ""
        self._say(f"run {task.run_id}: starting {app}, {self._whose(summary)}")
        self._launch(folder, record, app)

    def _launch(self, folder: RunFolder, record: RunRecord, app: str) -> None:
        relay, over = self._relay(folder, record)
        relay.start()
        try:
            launched = self._launcher.start(folder, app)
        except FlameError as err:
            relay.stop()
            self._queue.fail(record.token, str(err))
            folder.end(record, "not started")
            self._say(f"run {folder.run_id}: {err}")
            return
        record = folder.write(replace(record, handle=dict(launched.handle)))
        self._active[folder.run_id] = _Active(folder, record, relay, launched, over)
        self._queue.is_alive(record.token)  # its first imports may take longer than a claim holds

    def _start_again(self, folder: RunFolder, record: RunRecord, why: str) -> bool:
        """Start a ServerApp that died from its checkpoint. False if it left none, or died too often."""
        if not folder.has_checkpoint or record.restarts >= _MOST_RESTARTS:
            return False
        folder.make()
        record = folder.write(replace(record, handle=None, restarts=record.restarts + 1))  # before it could die again
        folder.tell("restart", why=why, count=record.restarts, most=_MOST_RESTARTS)
        summary = self._reader.run(folder.run_id)
        self._say(
            f"run {folder.run_id}: {why}; starting its ServerApp again from its checkpoint"
            f" ({record.restarts} of {_MOST_RESTARTS} times)"
        )
        self._launch(folder, record, summary.app if summary else "")
        return True

    def _whose(self, summary: RunSummary | None) -> str:
        """Names for a person's log; a run that is nobody's any more is still ended properly."""
        if summary is None:
            return "of nobody"
        try:
            found = self._access.read().account(summary.account)
        except FlameError:
            found = None
        return f"of {found[0] if found else 'nobody'} in {project_of(summary.federation)}"

    def _serve(self, folder: RunFolder, record: RunRecord, launched: Launched) -> None:
        folder.make()
        relay, over = self._relay(folder, record)
        relay.start()
        self._active[folder.run_id] = _Active(folder, record, relay, launched, over)

    def _relay(self, folder: RunFolder, record: RunRecord) -> tuple[Relay, threading.Event]:
        over = threading.Event()
        given = self._config.serverapp
        relay = Relay(
            folder,
            record.token,
            address=self._config.own_address,
            context=self._context,
            limits=Limits(given.out_bytes, given.out_files, given.max_wait_seconds),
            on_over=over.set,
        )
        return relay, over

    def _look_after(self, active: _Active) -> None:
        now, run_id = time.monotonic(), active.folder.run_id
        ended = active.launched.poll()
        if ended is not None:
            told = active.over.is_set()
            if not told and self._can_start_again(active):
                active.relay.stop()
                active.launched.end()
                self._active.pop(run_id)
                self._start_again(active.folder, active.record, ended.why)
                return
            if not told and not self._queue.fail(active.record.token, f"The ServerApp ended unfinished: {ended.why}."):
                return  # the SuperLink does not answer: again at the next look
            self._finish(active, "ended" if told else ended.why)
            self._say(f"run {run_id}: ended" + ("" if told else f" unfinished: {ended.why}"))
            return
        if not active.over.is_set() and now - active.asked > _ASK_SECONDS:
            active.asked = now
            if self._computed_seconds(active) > self._config.serverapp.max_seconds:
                self._queue.fail(active.record.token, "The ServerApp took longer than this hub allows.")
                active.over.set()
            elif (summary := self._reader.run(run_id)) is None or summary.finished:
                active.over.set()
        if active.over.is_set():
            active.over_since = active.over_since or now
            if now - active.over_since > _LAST_WORDS_SECONDS:
                self._finish(active, "stopped")
                self._say(f"run {run_id}: over, its ServerApp was ended")

    def _can_start_again(self, active: _Active) -> bool:
        """A run that was stopped meanwhile is over."""
        if not active.folder.has_checkpoint or active.record.restarts >= _MOST_RESTARTS:
            return False
        return (summary := self._reader.run(active.folder.run_id)) is not None and not summary.finished

    def _computed_seconds(self, active: _Active) -> float:
        """How long a run has taken, without its waiting for stewards."""
        began, now = active.record.began, time.time()
        return now - began - waited_seconds(active.folder, began, self._config.serverapp.max_wait_seconds, now)

    def _finish(self, active: _Active, why: str) -> None:
        active.relay.stop()
        active.launched.end()
        active.folder.end(active.record, why)
        self._active.pop(active.folder.run_id, None)
