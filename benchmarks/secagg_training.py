"""What secure aggregation costs a training run: the methylation network at five DIZ, with and without masks, in turn.

    python benchmarks/secagg_training.py [PAIRS]

Both runs are whole `flame simulate` processes on the same data; what is compared is the wall time of the federation
itself, from the run's own report (imports and the report's plots are the same in both).
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

FLAME = Path(sys.executable).parent / "flame"
APP = Path(__file__).parents[1] / "use_cases" / "methylation-age"
CONFIG = 'model="mlp" rounds=12'


def open_copy(into: Path) -> Path:
    """The app with terms that let answers leave without masks, in a folder of its own."""
    copy = into / APP.name
    shutil.copytree(APP, copy, ignore=shutil.ignore_patterns("__pycache__"))
    terms = (copy / "pyproject.toml").read_text()
    if "required = true" not in terms:
        raise SystemExit("The app's terms ask for no masks; there is nothing to compare.")
    (copy / "pyproject.toml").write_text(terms.replace("required = true", "required = false"))
    return copy


def run(app: Path, data: Path, out: Path) -> tuple[float, float]:
    """Seconds of the whole process, and of the federation in it."""
    begun = time.perf_counter()
    subprocess.run(
        [FLAME, "simulate", app, "--data", data, "--out", out, "-c", CONFIG, "--seed", "1"],
        check=True, capture_output=True,
    )  # fmt: skip
    whole = time.perf_counter() - begun
    told = json.loads((out / "result.json").read_text())["run"]
    return whole, (datetime.fromisoformat(told["ended"]) - datetime.fromisoformat(told["started"])).total_seconds()


def main() -> None:
    """Measure, and print ratios."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare = [sys.executable, "-m", "methylation_age", "prepare", "--out", data, "--nodes", "5", "--seed", "1"]
        subprocess.run(prepare, check=True, capture_output=True)
        without = open_copy(Path(folder) / "open")
        ratios = []
        for number in range(pairs):
            plain = run(without, data, Path(folder) / f"plain-{number}")
            masked = run(APP, data, Path(folder) / f"masked-{number}")
            ratios.append((masked[0] / plain[0], masked[1] / plain[1]))
            print(f"pair {number + 1}: process {plain[0]:.1f} s -> {masked[0]:.1f} s, run {ratios[-1][1]:.3f}x")
    whole, federation = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"masked / plain, medians of {pairs}: whole process {whole:.3f}x, run {federation:.3f}x (aim: below 1.05)")


if __name__ == "__main__":
    main()
