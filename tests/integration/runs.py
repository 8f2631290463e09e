"""Words for whole simulations: apps to run, what a run's folder holds, and processes to watch die."""

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APPS = Path(__file__).parent / "apps"
TOY, TORCH_TOY, PLAIN = APPS / "toy", APPS / "torch-toy", APPS / "plain"
FLAME = Path(sys.executable).parent / "flame"
GIVE_UP_SECONDS = 120.0  # far beyond what anything takes that is not broken
NODES = ("DIZ-1", "DIZ-2", "DIZ-3")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object in the last line of standard output: in a test's own process others print there as well."""
        value: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return value


def edited(app: Path, into: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of an app with text replaced, each as (file, old, new); the old text must be there."""
    copy = into / app.name
    shutil.copytree(app, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in changes:
        file = copy / name
        text = file.read_text()
        assert old in text, (name, old)
        file.write_text(text.replace(old, new))
    return copy


def result(folder: Path) -> dict[str, Any]:
    """What result.json says of the run."""
    run: dict[str, Any] = json.loads((folder / "result.json").read_text())["run"]
    return run


def refusals(folder: Path) -> dict[str, dict[int, int]]:
    """Refusals by node and code, from result.json."""
    return {node["name"]: {r["code"]: r["count"] for r in node["refusals"]} for node in result(folder)["nodes"]}


def bits(folder: Path) -> bytes:
    """What the ServerApp left: the result, bit for bit."""
    return (folder / "x.npy").read_bytes()


def seen(folder: Path) -> list[dict[str, Any]]:
    """What the toy's server was told, round by round."""
    rounds: list[dict[str, Any]] = json.loads((folder / "seen.json").read_text())
    return rounds


def replies(folder: Path, index: int) -> list[dict[str, Any]]:
    """Every reply of the node with this index, as the server got them."""
    return [r for each in seen(folder) for r in each["replies"] if r["node"] == 10_001 + index]


def rows(state: Path, sql: str) -> list[tuple[Any, ...]]:
    """A query on a state file, while its process lives or after; nothing if there is no table yet."""
    try:
        with closing(sqlite3.connect(state, timeout=10)) as database:
            return database.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


def audit(state: Path, kind: str) -> list[dict[str, Any]]:
    """The bodies of a node's audit entries of one kind."""
    entries = [json.loads(text) for (text,) in rows(state, "SELECT entry FROM audit ORDER BY seq")]
    return [entry["body"] for entry in entries if entry["kind"] == kind]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until something is so."""
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"never came true: {what}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie that waits for somebody to count it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def workers_of(pid: int) -> set[int]:
    """Every process below a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found
