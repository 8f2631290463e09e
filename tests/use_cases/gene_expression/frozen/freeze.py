"""Makes the files of this folder: synthetic data, a part of bladderbatch, and what R says of them.

    python tests/use_cases/gene_expression/frozen/freeze.py

from the repository's root, with R, limma, edgeR, survival and bladderbatch. The synthetic data are drawn once and
committed, because another version of NumPy may draw others; R reads the committed numbers.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from gene_expression.table import COUNTS, LOG2

from tests.use_cases.gene_expression.oracles import FROZEN, HERE, Study, ask_limma, made_up, read_study, rscript

GENES, SAMPLES = 200, 40
CASES = {
    "synthetic": ("site", "age", "trend"),
    "synthetic_counts": ("voom", "voom_age"),
    "bladder": ("site",),
}


def write(study: Study, name: str, digits: int) -> None:
    """The sheet and the values in one table."""
    values = pd.DataFrame(np.round(study.values, digits), columns=study.panel, index=study.sheet.index)
    whole = pd.concat([study.sheet, values.astype(np.int64) if digits == 0 else values], axis=1)
    whole.to_csv(FROZEN / f"{name}.tsv", sep="\t", index=False)


def bladder(program: str, folder: Path) -> Study:
    """Every 186th gene of bladderbatch."""
    subprocess.run([program, str(HERE / "bladder.R"), str(folder)], check=True)
    sheet = pd.read_csv(folder / "samples.tsv", sep="\t")
    return Study(np.fromfile(folder / "values.bin").reshape(len(sheet), -1)[:, ::186], sheet, LOG2)


def survival() -> pd.DataFrame:
    """200 rows with times in whole months."""
    rng = np.random.default_rng(13)
    age, marker, treated = rng.integers(30, 80, 200), np.round(rng.normal(size=200), 2), rng.integers(0, 2, 200)
    risk = np.exp(0.03 * (age - 55) + 0.5 * marker - 0.6 * treated)
    time, end = np.ceil(rng.exponential(24 / risk)), rng.integers(6, 60, 200)
    event = (time <= end).astype(np.int64)
    time = np.minimum(time, end).astype(np.int64)
    return pd.DataFrame({"time": time, "event": event, "age": age, "marker": marker, "treated": treated})


def main() -> None:
    """Everything once."""
    program = rscript("limma", "edgeR", "bladderbatch", "survival")
    with tempfile.TemporaryDirectory() as name:
        write(bladder(program, Path(name)), "bladder", 5)
    if not (FROZEN / "synthetic.tsv").exists():
        write(made_up(GENES, SAMPLES, seed=11), "synthetic", 3)
        write(made_up(GENES, SAMPLES, seed=12, scale=COUNTS), "synthetic_counts", 0)
    if not (FROZEN / "survival.tsv").exists():
        survival().to_csv(FROZEN / "survival.tsv", sep="\t", index=False)
    for study, cases in CASES.items():
        with tempfile.TemporaryDirectory() as name:
            scale = COUNTS if study.endswith("counts") else LOG2
            ask_limma(program, read_study(study, scale), Path(name))
            for case in cases:
                shutil.copy(Path(name) / f"{case}.tsv", FROZEN / f"{study}_{case}.tsv")
                shutil.copy(Path(name) / f"{case}_all.tsv", FROZEN / f"{study}_{case}_all.tsv")
            for extra in ("kept", "factors") if scale == COUNTS else ():
                shutil.copy(Path(name) / f"{extra}.tsv", FROZEN / f"{study}_{extra}.tsv")
    with tempfile.TemporaryDirectory() as name:
        for data in (FROZEN / "survival.tsv", Path(name) / "rotterdam.tsv"):
            result = FROZEN / f"{data.stem}_coxph.tsv"
            subprocess.run([program, str(HERE / "coxph.R"), str(result), str(data)], check=True)


if __name__ == "__main__":
    main()
