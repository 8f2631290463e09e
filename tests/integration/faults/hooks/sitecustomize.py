"""Loaded by every Python of the federation under test (PYTHONPATH): lets a test stop a gate exactly at a step.

A test asks by a file `$FLAME_FAULTS/NODE/ROUND-POINT`. A gate that comes there renames it to `….reached` and waits for
`….go`, or to be killed. Each file stops once. The product knows nothing of this.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from pathlib import Path

LONGEST_SECONDS = 120.0
FOLDER = Path(os.environ.get("FLAME_FAULTS", os.devnull)) / Path(os.environ.get("FLAME_HOME", "")).name
now = {"round": ""}


def stop_at(point, *, hold=True):
    """Stop here if a test asked for it."""
    wish = FOLDER / f"{now['round']}-{point}"
    try:
        wish.rename(f"{wish}.reached")
    except FileNotFoundError:
        return
    if hold:
        wait_at(point)


def wait_at(point):
    """Wait until the test lets go of what it stopped."""
    asked, go = FOLDER / f"{now['round']}-{point}.reached", FOLDER / f"{now['round']}-{point}.go"
    until = time.monotonic() + LONGEST_SECONDS
    while asked.exists() and not go.exists() and time.monotonic() < until:
        time.sleep(0.01)


def after(owner, name, point, when=lambda arguments, named: True):
    """Stop when a function has done its work."""
    original = getattr(owner, name)

    def wrapped(*arguments, **named):
        result = original(*arguments, **named)
        if when(arguments, named):
            stop_at(point)
        return result

    setattr(owner, name, wrapped)


def before(owner, name, point):
    """Stop before a function does its work."""
    original = getattr(owner, name)

    def wrapped(*arguments, **named):
        stop_at(point)
        return original(*arguments, **named)

    setattr(owner, name, wrapped)


def install():
    """Wrap the gate's steps."""
    from flame_fl.contract.frames import FrameType
    from flame_fl.flower import runtime
    from flame_fl.gate import workflow
    from flame_fl.gate.noised import NoisedSum
    from flame_fl.gate.sessions import Sessions
    from flame_fl.gate.store import Store
    from flame_fl.gate.verify import Verifier
    from flame_fl.sandbox.session import FrameSession

    handle, ask = workflow.Gate.handle, FrameSession._ask

    def handle_in_round(gate, task):
        now["round"] = task.group_id
        return handle(gate, task)

    def ask_runner(session, kind, *arguments):
        if kind is not FrameType.MESSAGE:
            return ask(session, kind, *arguments)
        stop_at("running", hold=False)  # the app must compute meanwhile
        payload = ask(session, kind, *arguments)
        wait_at("running")
        return payload

    workflow.Gate.handle, FrameSession._ask = handle_in_round, ask_runner
    after(Verifier, "verify", "verified")
    after(workflow, "debit_release", "reserving")  # inside the transaction
    before(Sessions, "run", "reserved")
    after(workflow, "release", "released")
    after(NoisedSum, "release", "released")
    after(Store, "commit_debit", "committing")  # inside the transaction
    after(Store, "end_leg", "recording", lambda arguments, named: named.get("reply") is not None)  # at the end of it
    before(runtime.Claim, "answer", "sending")
    before(runtime, "push_objects", "half-sent")  # the reply is announced, its content is not there


class _AfterImport(importlib.abc.MetaPathFinder):
    """Installs the hooks when the node's loop is imported: by then all that is wrapped is there."""

    def find_spec(self, name, path, target=None):
        if name != "flame_fl.node.agent":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def executed(module):
                execute(module)
                install()

            spec.loader.exec_module = executed
        return spec


if "FLAME_FAULTS" in os.environ and (FOLDER / "armed").exists():
    sys.meta_path.insert(0, _AfterImport())
