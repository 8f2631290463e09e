"""`python -m small_glm prepare`: a packaged set, or a synthetic one, dealt out to virtual DIZ at random.

`--set breast-cancer`: scikit-learn's copy of the Wisconsin diagnostic set (Street, Wolberg, Mangasarian 1993): 569
patients, the ten means of the nuclei's measurements, y = malignant. `--set synthetic`: ten standard normal columns, and
y drawn by a logistic model of weights that alternate in sign. Three patients in ten are held out and given to no DIZ.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from small_glm import COLUMNS

HELD_OUT = 0.3
# Round numbers near the means and spreads that descriptions of this set give: public, but known from these patients.
CENTRE = np.array([14.0, 19.0, 92.0, 650.0, 0.1, 0.1, 0.09, 0.05, 0.18, 0.063])
SCALE = np.array([4.0, 4.0, 25.0, 350.0, 0.015, 0.05, 0.08, 0.04, 0.03, 0.007])
TRUTH = np.array([1.0, -1.0, 0.8, -0.8, 0.6, -0.6, 0.4, -0.4, 0.2, -0.2])
INTERCEPT = -1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["prepare"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", choices=["breast-cancer", "synthetic"], default="breast-cancer")
    parser.add_argument("--patients", type=int, default=4000, help="of the synthetic set, at each DIZ")
    wanted = parser.parse_args()
    rng = np.random.default_rng(wanted.seed)
    x, y = breast_cancer() if wanted.set == "breast-cancer" else synthetic(wanted.nodes * wanted.patients, rng)
    table = pd.DataFrame(x, columns=list(COLUMNS))
    table.insert(0, "y", y)
    table.insert(0, "patient_id", [f"patient-{number:05d}" for number in range(len(table))])
    write(table, wanted.nodes, wanted.out, rng)


def breast_cancer() -> tuple["np.ndarray[tuple[int, int], np.dtype[np.float64]]", "np.ndarray"]:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return (found.data[:, :10] - CENTRE) / SCALE, (found.target == 0).astype(np.int64)


def synthetic(count: int, rng: np.random.Generator) -> tuple["np.ndarray", "np.ndarray"]:
    x = rng.normal(size=(count, len(COLUMNS)))
    return x, (rng.random(count) < 1 / (1 + np.exp(-(INTERCEPT + x @ TRUTH)))).astype(np.int64)


def write(table: pd.DataFrame, nodes: int, out: Path, rng: np.random.Generator) -> None:
    """`OUT/DIZ-n/cohort/patients.parquet`, and `OUT/held-out.parquet`."""
    held, node = rng.random(len(table)) < HELD_OUT, rng.integers(nodes, size=len(table))
    for number in range(nodes):
        folder = out / f"DIZ-{number + 1}" / "cohort"
        folder.mkdir(parents=True, exist_ok=True)
        table[~held & (node == number)].to_parquet(folder / "patients.parquet", index=False)
    table[held].to_parquet(out / "held-out.parquet", index=False)
    share = float(table["y"][~held].mean())
    y = table["y"][held].to_numpy()
    loss = -float(np.mean(y * np.log(share) + (1 - y) * np.log(1 - share)))
    sizes = [int((~held & (node == number)).sum()) for number in range(nodes)]
    said = {"patients": sizes, "held_out": int(held.sum()), "log_loss_of_the_share": loss}
    (out / "prepared.json").write_text(json.dumps(said))


main()
