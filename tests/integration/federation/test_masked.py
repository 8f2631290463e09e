"""Secure aggregation at a real hub and five real nodes in containers: one is killed after the set-up, and the rest is
right.

What is right is computed without masks, by a simulation on the data of the nodes that are left (decision 29's rule: the
pooled answer over the sites that contributed).
"""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gwas.panel_file import decode, encode
from safetensors.numpy import load_file

from flame_fl.node.image import build_image
from tests.integration.runs import FLAME, Done, audit, edited
from tests.support.engine import ROOT, engine

pytestmark = [pytest.mark.docker, pytest.mark.slow]
LOST = "DIZ-5"
Numbers = dict[str, Any]


def clock(folder: Path) -> Numbers:
    """The elastic net: which CpGs, their centres and coefficients."""
    return {name: array for name, array in load_file(folder / "model.safetensors").items() if array.size}


def associations(folder: Path) -> Numbers:
    """Effects, standard errors and p values by variant."""
    with gzip.open(folder / "summary-statistics.tsv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    names = ("base_pair_location", "beta", "standard_error", "p_value", "n")
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def fused(folder: Path) -> Numbers:
    """The coefficients of a fusion of modalities."""
    return {name: array for name, array in load_file(folder / "model.safetensors").items() if array.size}


def fewer_cpgs(app: Path) -> None:
    """More than samples, as the sketch needs, and no more: a message of the whole panel's takes minutes here."""
    file = app / "methylation_age" / "panels" / "gse74193.json"
    panel = json.loads(file.read_text())
    public = set(panel["public"]["cpgs"])
    panel["cpgs"] = [cpg for place, cpg in enumerate(panel["cpgs"]) if cpg in public or place % 8 == 0]
    file.write_text(json.dumps(panel))


def two_chromosomes_without_test(app: Path) -> None:
    """Fewer messages; and a minimum-count test needs every site of the roster, so that a lost one ends it."""
    panel = app / "gwas" / "panels" / "synthetic.json"
    whole = decode("synthetic", panel.read_text())
    columns = ("chromosome", "position", "ref", "alt", "alt_frequency", "stored_ids")
    panel.write_text(encode(replace(whole, **{name: getattr(whole, name)[whole.chromosome <= 2] for name in columns})))
    file = app / "pyproject.toml"
    kept = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("min_total")]
    text = "".join(kept)
    assert "\nmin-sites = 3 " in text
    file.write_text(text.replace("\nmin-sites = 3 ", "\nmin-sites = 1 "))  # one DIZ by itself cannot count the others


def as_it_is(app: Path) -> None:
    """Nothing is changed."""


@dataclass(frozen=True)
class Study:
    """An app and its data, what it is asked, after which exchange a node is killed, how close the numbers must be."""

    app: Path
    tool: str
    prepare: tuple[str, ...]
    config: str
    kill_after: str
    read: Callable[[Path], Numbers]
    relative: float
    change: Callable[[Path], None] = as_it_is


ADAPTED = Study(
    ROOT / "use_cases" / "methylation-age",
    "methylation_age",
    ("--shift", "permuted"),
    'model="adapted" lambda-count=5 lambda-min-ratio=0.5 seed=3 timeout=20.0 min-nodes=3',
    "query.sketch",
    clock,
    1e-7,
    fewer_cpgs,
)
ASSOCIATION = Study(
    ROOT / "use_cases" / "gwas",
    "gwas",
    (),
    "pcs=0 timeout=20.0 min-nodes=3",
    "query.gwas_counts",
    associations,
    1e-6,
    two_chromosomes_without_test,
)
FUSION = Study(
    ROOT / "use_cases" / "multimodal-imaging",
    "multimodal_imaging",
    ("--scale", "0.5", "--voxel", "8"),
    'analysis="fusion" timeout=20.0 min-nodes=3',
    "query.mm_moments",
    fused,
    1e-7,
)
STUDIES = {"adapted clock": ADAPTED, "association": ASSOCIATION, "fusion": FUSION}
OPEN = (("pyproject.toml", "required = true", "required = false"), ("pyproject.toml", "min_sites = 5", "min_sites = 1"))
"""The apps' own terms ask for masks; what they are compared with goes without."""


@dataclass(frozen=True)
class Federation:
    """Five nodes and a hub, in a folder."""

    root: Path

    def flame(self, *arguments: object, seconds: float = 400) -> Done:
        environment = {**os.environ, "FLAME_CONFIG_HOME": str(self.root / "config"), "COLUMNS": "200"}
        environment.pop("FLAME_HOME", None)
        done = subprocess.run(
            [FLAME, *map(str, arguments)],
            capture_output=True, text=True, timeout=seconds, env=environment, cwd=self.root, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def home(self) -> Path:
        return self.root / "home"

    def events(self, run_id: str) -> list[dict[str, Any]]:
        file = self.home / "hub" / "runs" / run_id / "events.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ended(self, run_id: str, kind: str) -> bool:
        """Whether a batch of a type is over."""
        return any(e["kind"] == "batch" and e["phase"] == "ended" and e["type"] == kind for e in self.events(run_id))


@pytest.fixture(scope="module", params=STUDIES.values(), ids=STUDIES)
def study(request: pytest.FixtureRequest) -> Study:
    found: Study = request.param
    return found


@pytest.fixture(scope="module")
def finished(study: Study) -> Iterator[tuple[Federation, Path, Path]]:
    """A run at whose beginning a node was killed: the federation, the run's folder, and the unmasked app's."""
    client, tag = engine(), "flame-test-masked"
    federation = Federation(Path(tempfile.mkdtemp(prefix="flame-masked-")))
    try:
        app, data = edited(study.app, federation.root / "app"), federation.root / "made"
        study.change(app)
        image = build_image(app, client=client, tag=tag, constraints=ROOT / "constraints.txt")
        made = [
            sys.executable,
            "-m",
            study.tool,
            "prepare",
            "--out",
            data,
            "--nodes",
            "5",
            "--seed",
            "1",
            *study.prepare,
        ]
        subprocess.run(made, check=True, capture_output=True, timeout=300)
        home, folder = federation.home, federation.root / "run"
        demo = ("--demo", app, "--data", data, "--image", image.id)
        up = ("federation", "up", "--nodes", 5, *demo, "--home", home, "--detach")
        done = federation.flame(*up)
        assert done.code == 0, done.err
        pids = federation.flame("federation", "status", "--home", home, "--json").json["processes"]
        hub = ("--hub", "local", "--out", folder)
        done = federation.flame("run", app, *hub, "--detach", "--json", "-c", study.config)
        assert done.code == 0, done.err
        run_id, give_up = done.json["run_id"], time.monotonic() + 300
        while not federation.ended(run_id, study.kill_after):
            assert time.monotonic() < give_up, federation.events(run_id)[-3:]
            time.sleep(0.1)
        os.kill(pids[LOST], signal.SIGKILL)
        done = federation.flame("run", app, *hub, "--resume", run_id, "--json")
        assert done.code == 0, done.err + str(federation.events(run_id)[-5:])
        yield federation, folder, study.app
    finally:
        federation.flame("federation", "down", "--home", federation.home)
        shutil.rmtree(federation.root, ignore_errors=True)
        client.images.remove(tag, noprune=True)


def test_a_killed_node_leaves_the_pooled_answer_of_the_others(finished, study: Study, tmp_path) -> None:
    """Beside a simulation without masks on four nodes' data. By the audit logs every answer was masked.

    One test for each app: what is shuffled would else set a federation up for each of several.
    """
    federation, folder, _ = finished
    app = edited(study.app, tmp_path / "open", *OPEN)
    study.change(app)
    left = tmp_path / "data"
    shutil.copytree(federation.home / "data", left)
    shutil.rmtree(left / LOST)
    done = federation.flame("simulate", app, "--data", left, "--out", tmp_path / "plain", "-c", study.config)
    assert done.code == 0, done.err
    found, expected = study.read(folder), study.read(tmp_path / "plain")
    assert found.keys() == expected.keys()
    assert found
    for name, numbers in expected.items():
        largest = float(np.max(np.abs(numbers)))
        assert found[name] == pytest.approx(numbers, rel=study.relative, abs=study.relative * max(largest, 1e-3)), name
    for name in ("DIZ-1", "DIZ-2"):
        (state,) = (federation.home / "nodes" / name).rglob("state.db")
        released = [entry["arrays"] for entry in audit(state, "released")]
        assert len(released) > 3
        assert {arrays[0][0] for arrays in released} == {"flame_masked"}
        legs = {entry["message_type"] for entry in audit(state, "secure-aggregation")}
        assert legs == {f"query.flame_sa_{leg}" for leg in ("keys", "shares", "survivors", "unmask")}
    assert (folder / "report.html").exists()
