"""Whole runs behind real gates, what DP-SGD learns, and the measured price of noise."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from multimodal_imaging_private import terms
from multimodal_imaging_private.__main__ import main
from multimodal_imaging_private.price import table_cells

from flame_fl.report.app_report import AppReport
from tests.integration.runs import FLAME, Done
from tests.use_cases.multimodal_imaging_private.conftest import APP


def simulate(app: Path, data: Path, out: Path, *options: str) -> Done:
    """`flame simulate` as a process of its own: in this one it would load the app a second time."""
    arguments = ["simulate", app, "--data", data, "--out", out, "--json", *options]
    done = subprocess.run([FLAME, *map(str, arguments)], check=False, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_run_under_masks_and_noise(tmp_path: Path) -> None:
    """At epsilon 8, five DIZ, 1,200 patients: the ledgers agree, the report is one, and the network has learned.

    Its error is at most four fifths of that of guessing. Usual is a little more than half.
    """
    data, out, app = tmp_path / "data", tmp_path / "run", tmp_path / "app"
    assert main(["prepare", "--out", str(data), "--seed", "4", "--patients", "1500"]) == 0
    assert main(["terms", "--epsilon", "8", "--patients", "240", "--out", str(app)]) == 0
    done = simulate(app, data, out)
    assert done.code == 0, done.err
    assert all(7.5 < node["epsilon_spent"] <= 8.0 for node in done.json["nodes"])
    assert main(["compare", "--run", str(out), "--data", str(data)]) == 0
    assert main(["compare", "--run", str(out), "--data", str(data)]) == 0  # again: replaces what it added
    report = AppReport.model_validate_json((out / "report.json").read_text())
    assert report.synthetic is True
    assert [figure.file for figure in report.figures] == ["plots/saliency.png", "plots/price-of-noise.png"]
    (line,) = (line for line in report.headline if line.label == "Mean absolute error")
    guess = float(str(line.note).split("guessing the mean age ")[1].split(",")[0])
    assert float(line.value.removesuffix(" years")) < 0.8 * guess


@pytest.mark.slow
def test_a_gate_without_agreement_is_told(tmp_path: Path) -> None:
    """A steward who denies leaves four of five: the run ends and says so, and nothing is computed."""
    data = tmp_path / "data"
    assert main(["prepare", "--out", str(data), "--patients", "300"]) == 0
    done = simulate(APP, data, tmp_path / "run", "--deny", "DIZ-2")
    assert done.code != 0
    assert "4 of 5 virtual DIZ approved, and the app needs 5" in done.err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_committed_curve_says_what_the_documents_say() -> None:
    """Every cell of the README is that of the measurement."""
    said = json.loads((APP / "multimodal_imaging_private" / "curve.json").read_text())
    cells = table_cells(said["runs"])
    assert {epsilon for _, epsilon in cells} == set(terms.EPSILONS)
    readme = (APP / "README.md").read_text()
    for (patients, epsilon), of in cells.items():
        assert f"| {patients:.0f} | {epsilon:g} | {' | '.join(of)} |" in readme
    assert all(np.isfinite(run["mae"]) for run in said["runs"])
