"""Starts and ends the programs of a federation, and tells when it is ready."""

import shutil
import time
import tomllib
from pathlib import Path

import docker.errors
import tomli_w

from flame_fl.contract.errors import FlameError, UnreachableError
from flame_fl.data.files import PRIVATE, replace
from flame_fl.federation.plan import HUB_NAME, Home, Plan
from flame_fl.federation.processes import Part, end, parts, running, start
from flame_fl.federation.set_up import Say, hubs_entry
from flame_fl.node.wiring import open_node
from flame_fl.sandbox.container import OWNER
from flame_fl.sandbox.docker import connect

_READY_SECONDS = 120.0
_HUB_READY, _NODE_READY, _SUPERNODE_READY = "hub is ready", "connected to the SuperNode", "SuperNode ID:"


def start_all(home: Home, plan: Plan, hubs_file: Path, say: Say) -> None:
    """Start what does not run, wait until every node is connected, and tell the researcher's side where the hub is.

    Raises:
        FlameError: A part ended or does not get ready; its log is named.
    """
    everything = parts(home, plan.nodes)
    for part in everything:
        fresh = running(home, part.name) is None
        marks = _marks(home, part)
        before = {path: path.stat().st_size if path.exists() else 0 for path, _ in marks}
        start(home, part)
        if fresh:
            for path, mark in marks:
                _wait_for(home, part, path, before[path], mark)
            say(f"{part.name} is up")
    _tell_researcher(home, plan, hubs_file)


def _marks(home: Home, part: Part) -> list[tuple[Path, str]]:
    log = home.log(part.name)
    if part.name == "hub":
        return [(log, _HUB_READY)]
    return [(part.state / "logs" / "supernode.log", _SUPERNODE_READY), (log, _NODE_READY)]


def _wait_for(home: Home, part: Part, log: Path, offset: int, mark: str) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if log.exists():
            with log.open("rb") as file:
                file.seek(offset)
                if mark.encode() in file.read():
                    return
        if running(home, part.name) is None:
            raise FlameError(f"{part.name} ended while it started.", mend=f"Its log says why: {home.log(part.name)}.")
        time.sleep(0.1)
    raise FlameError(f"{part.name} is not ready after {_READY_SECONDS:.0f} s.", mend=f"See {home.log(part.name)}.")


def _tell_researcher(home: Home, plan: Plan, hubs_file: Path) -> None:
    hubs_file.parent.mkdir(parents=True, exist_ok=True)
    known = tomllib.loads(hubs_file.read_text(encoding="utf-8")) if hubs_file.exists() else {}
    replace(hubs_file, tomli_w.dumps(known | hubs_entry(home, plan)).encode(), PRIVATE)


def end_all(home: Home, hubs_file: Path, *, purge: bool) -> list[str]:
    """End every part, nodes first; returns which ran. `purge` removes the federation with all its state.

    Raises:
        FlameError: A part does not end.
    """
    plan = home.read()
    ended = [part.name for part in reversed(parts(home, plan.nodes)) if end(home, part.name)]
    _remove_containers(home, plan)
    if hubs_file.exists():
        known = tomllib.loads(hubs_file.read_text(encoding="utf-8"))
        if known.get(HUB_NAME) == hubs_entry(home, plan)[HUB_NAME]:
            del known[HUB_NAME]
            replace(hubs_file, tomli_w.dumps(known).encode(), PRIVATE)
    if purge:
        shutil.rmtree(home.path)
    return ended


def _remove_containers(home: Home, plan: Plan) -> None:
    owners = {tomllib.loads(home.hub.config.read_text(encoding="utf-8"))["hub"]["id"]}
    owners |= {open_node(home.node(name)).config.node.id for name in plan.nodes}
    try:
        client = connect(timeout_seconds=30)
        for owner in owners:
            for container in client.containers.list(all=True, filters={"label": f"{OWNER}={owner}"}):
                container.remove(force=True, v=True)
    except (UnreachableError, docker.errors.DockerException):
        return  # without an engine there is no container


def status(home: Home) -> dict[str, object]:
    """Which part runs, and where the federation is."""
    plan = home.read()
    found = {part.name: running(home, part.name) for part in parts(home, plan.nodes)}
    return {
        "home": str(home.path.resolve()),
        "hub": f"127.0.0.1:{plan.hub_port}",
        "project": plan.project,
        "demo": plan.demo,
        "processes": found,
    }
