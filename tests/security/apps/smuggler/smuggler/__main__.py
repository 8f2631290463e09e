"""`python -m smuggler prepare`: the made-up patients of the virtual nodes."""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smuggler import CANARIES, OTHERS, is_there


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["prepare"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    for node in range(wanted.nodes):
        canaries = [c for c in range(CANARIES) if is_there(node, c)] + [-1] * OTHERS
        folder = wanted.out / f"DIZ-{node + 1}" / "cohort"
        folder.mkdir(parents=True, exist_ok=True)
        ids = [f"made-up-{node + 1}-{number:04d}" for number in range(len(canaries))]
        pq.write_table(pa.table({"patient_id": ids, "canary": canaries}), folder / "patients.parquet")


main()
