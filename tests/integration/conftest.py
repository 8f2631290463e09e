"""`flame`, in this process and as a process of its own."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flame_fl.cli.main import run
from tests.integration.runs import FLAME, Done


@pytest.fixture
def flame(capfd, monkeypatch) -> Callable[..., Done]:
    """Runs a command in this process."""
    monkeypatch.setenv("COLUMNS", "200")  # tables do not cut what a test looks for

    def go(*arguments: object) -> Done:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        return Done(code, *capfd.readouterr())

    return go


@pytest.fixture
def simulate(flame) -> Callable[..., Done]:
    """Runs `flame simulate` in this process and in the in-process sandbox, if nothing else is said."""

    def go(app: Path, *arguments: object) -> Done:
        kind = [] if "--sandbox" in arguments else ["--sandbox", "in-process"]
        return flame("simulate", app, *kind, *arguments)

    return go


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a real `flame` that a test may kill; none outlives the test. Its temporary files are in `scratch`."""
    started: list[subprocess.Popen[Any]] = []
    scratch = tmp_path / "scratch"  # what a killed one leaves goes with the test
    scratch.mkdir()

    def go(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [FLAME, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", "TMPDIR": str(scratch)},
            # Ctrl-C works as from a terminal, also where the tests themselves run in the background
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()
