"""A Flower app that never heard of flame_fl, unchanged, at a real federation: on terms that the stewards wrote."""

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.runs import FLAME, PLAIN, Done, audit
from tests.support.engine import test_image

pytestmark = [pytest.mark.docker, pytest.mark.slow]
NODES = ("DIZ-1", "DIZ-2")
TERMS = """
schema = 1

[project]
id = "demo"
title = "A Flower app"
purpose = "To see that it runs"
legal_basis = "None needed: no data"
ethics_reference = "None needed: no data"
responsible_person = "The steward"

[messages.train]
per_run = 2
arrays = [{ record = "arrays", name = "0", dtype = "float64", shape = [3, 2] }]
metrics = [
  { record = "metrics", name = "num-examples", kind = "count" },
  { record = "metrics", name = "random_metric", kind = "mean", min = 0.0, max = 1.0 },
]

[messages.evaluate]
per_run = 2
update = "value"
arrays = []
metrics = [
  { record = "metrics", name = "num-examples", kind = "count" },
  { record = "metrics", name = "accuracy", kind = "mean", min = 0.0, max = 1.0 },
]

[privacy]
unit = "none"
ground = "none"
mechanism = "none"

[limits]
runs = 1

[validity]
from = 2020-01-01
until = 2099-12-31
"""


class Federation:
    """Two nodes and a hub without --demo: nothing is offered, nothing approved."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="flame-plain-"))
        self.home = self.root / "home"

    def flame(self, *arguments: object, node: str | None = None) -> Done:
        environment = {**os.environ, "FLAME_CONFIG_HOME": str(self.root / "config"), "COLUMNS": "200"}
        environment.pop("FLAME_HOME", None)
        if node is not None:
            environment["FLAME_HOME"] = str(self.home / "nodes" / node)
        done = subprocess.run(
            [FLAME, *map(str, arguments)],
            capture_output=True, text=True, timeout=300, env=environment, cwd=self.root, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, out: str) -> Done:
        return self.flame("run", PLAIN, "--hub", "local", "--json", "--out", self.root / out)

    def log(self, out: str) -> str:
        return (self.root / out / "logs" / "server.log").read_text()


@pytest.fixture(scope="module")
def federation() -> Iterator[Federation]:
    it = Federation()
    try:
        done = it.flame(
            "federation", "up", "--nodes", len(NODES), "--image", test_image(), "--home", it.home, "--detach"
        )
        assert done.code == 0, done.err
        yield it
    finally:
        it.flame("federation", "down", "--home", it.home)
        shutil.rmtree(it.root, ignore_errors=True)


def test_it_runs_unchanged_once_every_steward_has_written_terms(federation: Federation, tmp_path: Path) -> None:
    """902 and filed at first; refused without terms; with them it runs to its end, in containers, and no oftener."""
    before = {p: p.read_bytes() for p in PLAIN.rglob("*") if p.is_file()}
    assert not [p for p in before if b"tool.flame" in before[p]]

    first = federation.run("first")
    assert first.code == 4  # waiting for the stewards: nothing was begun
    terms = tmp_path / "terms.toml"
    terms.write_text(TERMS)
    for node in NODES:
        (row,) = json.loads(federation.flame("node", "requests", "--json", node=node).out)
        assert (row["app"], row["status"], row["project"]) == ("somebody/plain", "pending", "")
        refused = federation.flame("node", "approve", row["digest"], node=node)
        assert refused.code == 2
        assert "states no terms" in refused.err
        approved = federation.flame(
            "node", "approve", row["digest"][:12], "--with-project", "--terms", terms, "--json", node=node
        )
        assert approved.code == 0, approved.err
        assert (approved.json["status"], approved.json["project"]) == ("approved", "demo")

    second = federation.run("second")
    assert second.code == 0, second.err + federation.flame("federation", "logs", "DIZ-1", "--home", federation.home).out
    nodes = {n["name"]: n for n in second.json["nodes"]}
    assert sorted(nodes) == list(NODES)
    assert {n["messages"] for n in nodes.values()} == {4}  # two rounds of train and evaluate
    assert {len(n["refusals"]) for n in nodes.values()} == {0}

    third = federation.run("third")  # the stewards wrote one run
    assert third.code != 0
    assert "the request is outside the approved terms" in federation.log("third")
    assert {p: p.read_bytes() for p in before} == before
    check_whose_terms_they_are(federation)


def check_whose_terms_they_are(federation: Federation) -> None:
    """Part of the node's binding: the same terms in the bundle would be another analysis and another binding."""
    for node in NODES:
        state = federation.home / "nodes" / node / "state.db"
        with sqlite3.connect(state) as database:
            ((written, manifest),) = database.execute("SELECT steward_terms, manifest FROM approvals").fetchall()
        database.close()
        assert json.loads(written)["project"]["responsible_person"] == "The steward"
        assert json.loads(manifest)["terms"] is None
        assert len(audit(state, "released")) == 4
        assert {entry["ground"] for entry in audit(state, "released")} == {"none"}
