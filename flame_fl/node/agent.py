"""The gate at work: takes messages from the SuperNode one by one, answers each, and goes on whatever happens.

It may be killed at any moment. What must not be lost is in the store; a message that was not answered is asked again
by the hub, and the gate then answers it with what it stored, or tries anew (another attempt, debited again).
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from flame_fl.contract.errors import UnreachableError
from flame_fl.contract.refusal import Refusal
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.flower.runtime import Claim, ClaimLostError, NodeRuntime
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate, StoppedError

POLL_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_HOUSEKEEPING_SECONDS = 3600.0
_WATCH_SECONDS = 1.0


@dataclass
class Agent:
    """One node's loop.

    Args:
        runtime: The SuperNode.
        gate: Decides and answers.
        store: The gate's.
        say: Told what a person should see.
        by_rules: Told of every run before the gate is: rules may approve it. Returns the rule's name if one did.
        idle_seconds: A sandbox without messages for so long is closed.
        keep_replies_days: Stored replies of older runs are dropped.
        keep: Run beside it until the event is set: what asks a FLAME Hub.
    """

    runtime: NodeRuntime
    gate: Gate
    store: Store
    say: Callable[[str], None]
    by_rules: Callable[[Run], str | None] = lambda run: None
    idle_seconds: float = 900.0
    keep_replies_days: int = 30
    keep: Callable[[threading.Event], None] | None = None
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    def watch_sessions(self) -> None:
        """Until `stop`: end sandboxes of what is withdrawn, and those that hold a patient who may no longer be used.

        At once; for a thread.
        """
        while not self._stop.wait(_WATCH_SECONDS):
            with suppress(Exception):  # whatever happens, it goes on: a log that cannot be written, for example
                if ended := self.gate.end_changed():
                    self.say(f"approvals or patients changed: {ended} sandboxes were ended, their views deleted")

    def stop(self) -> None:
        """End soon; a message in the sandbox is given up. From any thread or signal handler."""
        self._stop.set()
        self.gate.stop()

    def run(self) -> None:
        """Until `stop`."""
        threading.Thread(target=self.watch_sessions, name="sessions", daemon=True).start()
        if self.keep is not None:
            threading.Thread(target=self.keep, args=(self._stop,), name="flame-hub", daemon=True).start()
        pause, reached, worked, kept_house = POLL_SECONDS, None, time.monotonic(), -_HOUSEKEEPING_SECONDS
        while not self._stop.is_set():
            if time.monotonic() - kept_house > _HOUSEKEEPING_SECONDS:
                self.store.forget_old_replies(self.keep_replies_days)
                kept_house = time.monotonic()
            try:
                claim = self.runtime.acquire()
            except UnreachableError as err:
                if reached is not False:
                    self.say(f"waiting: {err}")
                reached, pause = False, min(pause * 2, _LONGEST_PAUSE_SECONDS)
                self._stop.wait(pause)
                continue
            if reached is not True:
                self.say("connected to the SuperNode; waiting for messages")
            reached, pause = True, POLL_SECONDS
            if claim is None:
                if time.monotonic() - worked > self.idle_seconds:
                    self.gate.close_idle()
                self._stop.wait(pause)
                continue
            self._answer(claim)
            worked = time.monotonic()

    def _handle(self, claim: Claim, task: Task) -> Reply | Refusal:
        if rule := self.by_rules(task.run):
            self.say(f"run {task.run.run_id}: approved by rule {rule}, by no person")
        self.gate.set_node_id(claim.node_id)
        return self.gate.handle(task)

    def _answer(self, claim: Claim) -> None:
        try:
            with claim:
                claim.answer(self._handle(claim, claim.pull()))
        except ClaimLostError as err:
            self.say(f"a message was dropped: {err}")
        except sqlite3.OperationalError as err:  # another process holds the state; the hub asks again
            self.say(f"a message was not answered: the state file is busy ({err})")
        except StoppedError:
            self.say("stopped in the middle of a message; what it debited stays debited")
