"""Whole runs behind real gates, and the measured price of noise."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from gwas_private import terms
from gwas_private.__main__ import main
from gwas_private.price import table_cells

from flame_fl.report.app_report import AppReport
from tests.integration.runs import FLAME, Done
from tests.use_cases.gwas_private.conftest import APP, NAMES


def simulate(app: Path, data: Path, out: Path, *options: str) -> Done:
    """`flame simulate` as a process of its own: in this one it would load the app a second time."""
    arguments = ["simulate", app, "--data", data, "--out", out, "--sandbox", "in-process", "--json", *options]
    done = subprocess.run([FLAME, *map(str, arguments)], check=False, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_run_under_masks_and_noise(tmp_path: Path) -> None:
    """At epsilon 2, five DIZ: the ledgers agree, the report is one, and the strongest effect is found."""
    data, out, app = tmp_path / "data", tmp_path / "run", tmp_path / "app"
    assert main(["prepare", "--out", str(data), "--seed", "4"]) == 0
    assert main(["terms", "--epsilon", "2", "--out", str(app)]) == 0
    done = simulate(app, data, out)
    assert done.code == 0, done.err
    assert all(1.9 < node["epsilon_spent"] <= 2.0 for node in done.json["nodes"])
    assert main(["compare", "--run", str(out), "--data", str(data)]) == 0
    assert main(["compare", "--run", str(out), "--data", str(data)]) == 0  # again: replaces what it added
    report = AppReport.model_validate_json((out / "report.json").read_text())
    assert report.synthetic is True
    assert [figure.file for figure in report.figures] == ["plots/price-of-noise.png"]
    labels = [line.label for line in report.headline]
    assert len(set(labels)) == len(labels)
    rows = list(csv.DictReader((out / "candidate-associations.tsv").read_text().splitlines(), delimiter="\t"))
    assert [row["variant"] for row in rows] == NAMES
    assert float(rows[0]["adjusted_p"]) < 0.01  # true effect 0.2: eight standard errors at epsilon 2


@pytest.mark.slow
def test_a_gate_without_agreement_is_told(tmp_path: Path) -> None:
    """A steward who denies leaves four of five: the run ends and says so, and nothing is computed."""
    data = tmp_path / "data"
    assert main(["prepare", "--out", str(data), "--patients", "600"]) == 0
    done = simulate(APP, data, tmp_path / "run", "--deny", "DIZ-2")
    assert done.code != 0
    assert "4 of 5 virtual DIZ approved, and the app needs 5" in done.err
    assert not (tmp_path / "run" / "candidate-associations.tsv").exists()


def test_the_committed_curve_says_what_the_documents_say() -> None:
    """Every cell of the README is that of the measurement."""
    said = json.loads((APP / "gwas_private" / "curve.json").read_text())
    cells = table_cells(said["runs"])
    assert {epsilon for _, epsilon in cells} == set(terms.EPSILONS)
    readme = (APP / "README.md").read_text()
    for (patients, epsilon), of in cells.items():
        assert f"| {patients:.0f} | {epsilon:g} | {' | '.join(of)} |" in readme
