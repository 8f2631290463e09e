"""Data stores at a real node: registered, approved, seen through a view in a container, and left by patients."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from flame_fl.node.image import build_image
from tests.integration.hub.lab import wait_for
from tests.integration.node.nodelab import NodeLab
from tests.integration.runs import APPS, edited, rows
from tests.support.engine import ROOT, engine

pytestmark = [pytest.mark.docker, pytest.mark.slow]
IMAGES = APPS / "images"
PATIENTS = 40


def make_data(folder: Path, patients: int, seed: int) -> None:
    """The app's own tool makes its data; it is no installed package here."""
    scope: dict[str, Any] = {"__name__": "made"}
    exec(compile((IMAGES / "images" / "make.py").read_text(), "make.py", "exec"), scope)
    scope["make_data"](folder, patients, seed)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image app's requirements."""
    client: docker.DockerClient = engine()
    built = build_image(IMAGES, client=client, tag="flame-test-images", constraints=ROOT / "constraints.txt")
    yield built.id
    client.images.remove("flame-test-images", noprune=True)


@pytest.fixture
def lab(image: str) -> Iterator[NodeLab]:
    """A hub, and a node that offers images and runs containers."""
    lab = NodeLab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.make_node(sandbox="docker", image=image)
        make_data(lab.root / "scans", PATIENTS, 7)
        done = lab.node(
            "data", "add", "scans", lab.root / "scans", "--kind", "images", "--table", "manifest.csv", "--patient-id",
            "patient_id", "--record-id", "image_id", "--copy", "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert done.json["patients"] == PATIENTS
        lab.up()
        lab.node_up()
        yield lab
    finally:
        lab.close()


def paused(into: Path) -> Path:
    """The app with a pause between its rounds, so that somebody can leave meanwhile."""
    into.mkdir()
    return edited(
        IMAGES,
        into,
        ("pyproject.toml", "rounds = 3\n", "rounds = 2\n"),
        (
            "images/server_app.py",
            "        replies = list(replies)\n",
            "        import time\n        replies = list(replies)\n        time.sleep(8 if server_round == 1 else 0)\n",
        ),
    )


def approve(lab: NodeLab, app: Path) -> None:
    """First sight, then the steward."""
    lab.run(app, "--out", lab.root / "first")
    (request,) = lab.requests()
    done = lab.node("approve", request["digest"][:12], "--with-project")
    assert done.code == 0, done.err


def leave(lab: NodeLab, count: int) -> None:
    """So many patients withdraw."""
    table = (lab.root / "scans" / "manifest.csv").read_text().splitlines()
    at = table[0].split(",").index("patient_id")
    ids = sorted({line.split(",")[at] for line in table[1:]})[:count]
    (lab.root / "leaving.txt").write_text("\n".join(ids))
    done = lab.node("consent", "withdraw", "--ids", lab.root / "leaving.txt")
    assert done.code == 0, done.err
    assert not [word for word in ids if word in done.out + done.err + lab.node_said()]


def examples(reply: dict[str, Any]) -> int:
    """How many images a round saw."""
    return int(reply["metrics"]["metrics"]["num-examples"])


def begun_then(lab: NodeLab, app: Path, count: int) -> list[dict[str, Any]]:
    """A run of two rounds, between which so many patients leave. Returns its replies."""
    run_id, folder = lab.submit(app, "--out", lab.root / "out")
    state = lab.node_home / "state.db"
    wait_for(lambda: rows(state, f"SELECT 1 FROM legs WHERE run_id='{run_id}' AND state='released'"), "round one")
    leave(lab, count)
    lab.run(app, "--resume", run_id, "--out", folder)
    rounds: list[list[dict[str, Any]]] = json.loads((folder / "seen.json").read_text())
    return [reply for replies in rounds for reply in replies]


def test_patients_who_leave_between_two_rounds_are_not_in_the_second(lab: NodeLab, tmp_path: Path) -> None:
    """Twelve of forty: more than the minimum, so the run goes on, in a new container with a new view."""
    app = paused(tmp_path / "app")
    approve(lab, app)
    first, second = begun_then(lab, app, 12)
    assert examples(second) < examples(first)
    kinds = [kind for (kind,) in rows(lab.node_home / "state.db", "SELECT json_extract(entry, '$.kind') FROM audit")]
    assert {"consent-withdrawn", "session-restarted"} <= set(kinds)
    assert "sandboxes were ended, their views deleted" in lab.node_said()


def test_one_patient_who_leaves_ends_the_run_where_nothing_else_hides_them(lab: NodeLab, tmp_path: Path) -> None:
    """Two answers whose cohorts differ by one patient would show that patient: 907, and the view is gone."""
    app = paused(tmp_path / "app")
    approve(lab, app)
    first, second = begun_then(lab, app, 1)
    assert examples(first) > PATIENTS
    assert second["code"] == 907
    assert not list((lab.node_home / "views").glob("*/*"))


def test_the_app_finds_its_store_as_files_and_nothing_else_of_it(lab: NodeLab, tmp_path: Path) -> None:
    """Looked at from inside the container: pseudonyms, approved columns, clean headers, no other file."""
    look = (
        "        import pathlib, pydicom, sys\n"
        "        folder = pathlib.Path(str(context.node_config['data-scans']))\n"
        "        print('SEEN', folder, sorted({p.suffix for p in folder.rglob('*') if p.is_file()}), flush=True)\n"
        "        print('HEAD', (folder / 'manifest.csv').read_text().splitlines()[:2], flush=True)\n"
        "        for p in list(folder.rglob('*.dcm'))[:1]: print('DICOM', pydicom.dcmread(p), flush=True)\n"
    )
    source = (IMAGES / "images" / "client_app.py").read_text()
    at = source.index("@app.train()")
    body = source.index("\n", source.index("def ", at)) + 1
    first = source[body : source.index("\n", body)]
    app = edited(
        IMAGES, tmp_path, ("images/client_app.py", first, first + "\n" + look.replace("        ", "    ").rstrip())
    )
    approve(lab, app)
    done = lab.run(app, "-c", "rounds=1", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    (log,) = (lab.node_home / "logs").glob("DIZ-1-*.log")
    seen = log.read_text()
    assert "SEEN /data/scans" in seen
    assert "dose" not in seen.split("HEAD")[1].splitlines()[0]
    originals = (lab.root / "scans" / "manifest.csv").read_text().splitlines()[1].split(",")
    assert originals[0] not in seen
    assert originals[1] not in seen
    assert "(0010,0010)" not in seen
