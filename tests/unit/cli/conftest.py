"""The command line as a person uses it: arguments in, exit code and two streams out."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flame_fl.cli import console, main, simulate


@dataclass(frozen=True)
class Said:
    """What a command left."""

    code: int
    out: str
    err: str


Flame = Callable[..., Said]


@pytest.fixture
def flame(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Flame]:
    """Run a command in an empty folder, on a terminal wide enough that nothing is wrapped."""
    monkeypatch.chdir(tmp_path)
    for stream in (console.stdout, console.stderr):
        monkeypatch.setattr(stream, "_width", 300)

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        code = main.run([str(a) for a in arguments])
        sys.stdout.flush()
        return Said(code, *capfd.readouterr())

    yield run
    simulate.DEBUG.on = False


@pytest.fixture
def app(flame: Flame, tmp_path: Path) -> Path:
    """The folder of a new app."""
    assert flame("app", "new", "first-app").code == 0
    return tmp_path / "first-app"


def edit(app: Path, old: str, new: str) -> None:
    """Change an app's pyproject.toml; fails if there is nothing to change."""
    file = app / "pyproject.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
