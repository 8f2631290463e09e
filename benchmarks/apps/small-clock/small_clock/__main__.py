"""`python -m small_clock prepare`: the packaged cortex set, dealt out to virtual DIZ by age as the use case does.

Three patients in ten are held out and given to no DIZ. The set names no patients: each sample counts as one.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from methylation_age.packaged import gse74193
from methylation_age.split import split_by_age

from small_clock import CPGS

HELD_OUT = 0.3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["prepare"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    parts = gse74193()
    table = pd.concat([part.betas[list(CPGS)] for part in parts])
    table.insert(0, "age", pd.concat([part.age for part in parts]))
    table = table.rename_axis("patient_id").reset_index()
    write(table, split_by_age(table["age"], table["patient_id"], wanted.nodes, wanted.seed), wanted.out, wanted.seed)


def write(table: pd.DataFrame, node: "np.ndarray[tuple[int], np.dtype[np.intp]]", out: Path, seed: int) -> None:
    """`OUT/DIZ-n/cohort/patients.parquet`, and `OUT/held-out.parquet`; `guess` is the pooled training mean's error."""
    held = np.random.default_rng(seed).random(len(table)) < HELD_OUT
    for number in range(int(node.max()) + 1):
        folder = out / f"DIZ-{number + 1}" / "cohort"
        folder.mkdir(parents=True, exist_ok=True)
        table[~held & (node == number)].to_parquet(folder / "patients.parquet", index=False)
    table[held].to_parquet(out / "held-out.parquet", index=False)
    age = table["age"]
    guess = float(np.abs(age[held] - age[~held].mean()).mean())
    sizes = [int((~held & (node == number)).sum()) for number in range(int(node.max()) + 1)]
    said = {"patients": sizes, "held_out": int(held.sum()), "mae_of_the_mean": guess}
    (out / "prepared.json").write_text(json.dumps(said))


main()
