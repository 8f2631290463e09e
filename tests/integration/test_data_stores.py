"""Data stores in a whole simulation: the app finds a view, and what it answers is about the records of that view."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import APPS, edited

IMAGES = APPS / "images"
NARROW = (
    "pyproject.toml",
    'modalities = ["*"]\n',
    'modalities = ["OP"]\nwhere = [{ column = "laterality", op = "==", value = "L" }]\n',
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up scans of three DIZ, by the app's own tool."""
    scope: dict[str, Any] = {"__name__": "made"}
    exec(compile((IMAGES / "images" / "make.py").read_text(), "make.py", "exec"), scope)
    folder = tmp_path_factory.mktemp("data")
    for number in (1, 2, 3):
        (folder / f"DIZ-{number}").mkdir()
        scope["make_data"](folder / f"DIZ-{number}" / "scans", 8 + number, number)
    return folder


def rows(data: Path, node: int) -> list[dict[str, str]]:
    """The manifest of a DIZ."""
    with (data / f"DIZ-{node}" / "scans" / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def examples(folder: Path) -> list[int]:
    """How many images each DIZ saw in the first round."""
    first = json.loads((folder / "seen.json").read_text())[0]
    return [r["metrics"]["metrics"]["num-examples"] for r in sorted(first, key=lambda r: r["node"])]


def test_an_app_sees_every_image_that_the_terms_name(simulate, data: Path, tmp_path: Path) -> None:
    done = simulate(IMAGES, "--data", data, "-c", "rounds=1", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert examples(tmp_path / "run") == [len(rows(data, node)) for node in (1, 2, 3)]


def test_a_modality_and_a_filter_narrow_the_view(simulate, data: Path, tmp_path: Path) -> None:
    """The same app, other terms: left eyes only, and no file of another modality is there to be opened."""
    app = edited(IMAGES, tmp_path / "app", NARROW)
    done = simulate(app, "--data", data, "-c", "rounds=1", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    left = [sum(r["modality"] == "OP" and r["laterality"] == "L" for r in rows(data, node)) for node in (1, 2, 3)]
    assert examples(tmp_path / "run") == left
    assert all(0 < few < len(rows(data, node)) for node, few in enumerate(left, start=1))


def test_a_column_that_no_store_has_is_said_before_anything_runs(simulate, data: Path, tmp_path: Path) -> None:
    app = edited(IMAGES, tmp_path / "app", ("pyproject.toml", '"laterality"]', '"lateralty"]'))
    done = simulate(app, "--data", data, "--out", tmp_path / "run")
    assert (done.code, (tmp_path / "run").exists()) == (2, False)
    assert "no column 'lateralty'" in done.err
