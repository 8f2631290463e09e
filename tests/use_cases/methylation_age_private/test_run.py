"""A whole run behind real gates."""

import json
import subprocess
from pathlib import Path

import pytest
from methylation_age_private import prepare, terms
from methylation_age_private.__main__ import main
from methylation_age_private.price import summary
from scipy import stats

from flame_fl.report.app_report import AppReport
from tests.integration.runs import FLAME, Done
from tests.use_cases.methylation_age_private.conftest import APP


def simulate(app: Path, data: Path, out: Path, *options: str) -> Done:
    """`flame simulate` as a process of its own: in this one it would load the app a second time."""
    arguments = ["simulate", app, "--data", data, "--out", out, "--sandbox", "in-process", "--json", *options]
    done = subprocess.run([FLAME, *map(str, arguments)], check=False, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_run_under_masks_and_noise_meets_the_acceptance(blood, tmp_path: Path) -> None:
    """One run at epsilon 1, five DIZ: at most 5.3 years, ten standard deviations of the noise above what is usual."""
    data, out = tmp_path / "data", tmp_path / "run"
    prepare.write(blood, data, 5, 1)
    done = simulate(APP, data, out)
    assert done.code == 0, done.err
    assert all(0.98 < node["epsilon_spent"] <= 1.0 for node in done.json["nodes"])
    assert main(["compare", "--run", str(out), "--data", str(data)]) == 0
    assert main(["compare", "--run", str(out), "--data", str(data)]) == 0  # again: replaces what it added
    report = AppReport.model_validate_json((out / "report.json").read_text())
    headline = {line.label: line.value for line in report.headline}
    assert float(headline["Mean absolute error"].split()[0]) <= 5.3
    assert headline["Noise on each summed number"] == f"{terms.noise_std(1.0) * 5**0.5:.4g}"
    assert len(report.headline) == 4
    assert [figure.file for figure in report.figures] == ["plots/price-of-noise.png"]
    assert (out / "plots" / "price-of-noise.png").read_bytes()[:4] == b"\x89PNG"
    model = json.loads((out / "model.json").read_text())["metadata"]
    assert (model["sites"], len(model["cpgs"])) == (5, 71)


def test_the_committed_curve_says_what_the_documents_say() -> None:
    """Every epsilon with the same seeds, and the acceptance with the interval for one further run."""
    said = json.loads((Path(APP) / "methylation_age_private" / "curve.json").read_text())
    cells = {epsilon: (mean, half, count) for epsilon, mean, half, count in summary(said["runs"])}
    assert set(cells) == set(terms.NOISE_MULTIPLIERS)
    assert {count for _, _, count in cells.values()} == {10}
    assert cells[1.0][0] + cells[1.0][1] <= 5.3
    assert cells[8.0][0] + cells[8.0][1] <= 4.5
    readme = (APP / "README.md").read_text()
    for epsilon, (mean, half, _) in cells.items():
        assert f"| {epsilon:g} | {mean:.2f} ± {half:.2f} |" in readme


def test_the_interval_is_for_one_further_run() -> None:
    """As the textbook has it, by scipy."""
    values = [4.0, 4.5, 3.9]
    ((epsilon, mean, half, count),) = summary([{"epsilon": 2.0, "mae": value} for value in values])
    expected = stats.t(2).ppf(0.975) * stats.tstd(values) * (1 + 1 / 3) ** 0.5
    assert (epsilon, count) == (2.0, 3)
    assert mean == pytest.approx(sum(values) / 3)
    assert half == pytest.approx(expected)
