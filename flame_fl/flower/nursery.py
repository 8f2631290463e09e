"""The process that workers are forked from: see `flame_fl.sandbox.nursery`, which starts and asks it.

Started as `python -m flame_fl.flower.nursery DESCRIPTOR MODULE...`. It imports, then forks on request, and ends when
the other side closes; it never runs a line of an app. It has one thread, so that forking it is safe.
"""

import contextlib
import importlib
import json
import os
import runpy
import socket
import sys
from typing import Any

from flame_fl.flower import WORKER_PARENT


def main() -> None:
    """Serve until the other side closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    importlib.import_module("flame_fl.flower.app_host")
    for name in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    while True:
        raw, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 3)
        if not raw:
            return
        wish = json.loads(raw)
        if "reap" in wish:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(wish["reap"], 0)
            continue
        wish["environment"][WORKER_PARENT] = str(os.getpid())
        pid = os.fork()
        if pid == 0:
            control.close()
            _become_worker(wish, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(pid).encode())


def _become_worker(wish: dict[str, Any], descriptors: list[int]) -> None:
    """In the child: a session, a folder and an environment of its own, then the runner, as `python -m` would."""
    code = 1
    try:
        os.setsid()
        for own, given in enumerate(descriptors):
            os.dup2(given, own)
        os.closerange(3, max(descriptors) + 1)
        os.chdir(wish["folder"])
        os.environ.update(wish["environment"])
        sys.path[0], sys.argv = wish["folder"], [wish["runner"]]
        runpy.run_module(wish["runner"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else 1
    finally:
        os._exit(code)  # nothing of the nursery's is finished or flushed twice


if __name__ == "__main__":
    main()
