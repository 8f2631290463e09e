"""Adaptation to a target at the published size as a whole federation: gates, sandboxes, masks, both elastic nets.

    python benchmarks/adaptation.py [--cpgs P] [--source N] [--target M] [--keep FOLDER]

SYNTHETIC betas: 12,980 CpGs, 1,866 source and 1,001 target samples at five virtual DIZ, the size that wenda was
published with. `flame simulate` runs the methylation-age app, whose panel is replaced by one of made-up CpGs. Published
for this size: wenda 51 h on 10 cores (Handl et al., 2019), wenda_gpu 18,566 s on a GPU (Hippen et al., 2022); other
machines, and other data, which cannot be had. The aim: ten minutes on two cores.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FLAME = Path(sys.executable).parent / "flame"
APP = Path(__file__).parents[1] / "use_cases" / "methylation-age"
SITES, FACTORS, SHIFTED, FOLLOWING = 5, 40, 0.2, 0.1


def betas(generator: np.random.Generator, age: np.ndarray, shared: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(n, p) betas: hidden causes that many CpGs share, a tenth of the CpGs follow age, noise."""
    loadings, slope = shared
    causes = generator.normal(size=(len(age), FACTORS))
    value = causes @ loadings + np.outer((age - 45) / 25, slope) + generator.normal(size=(len(age), loadings.shape[1]))
    return np.asarray(np.clip(0.5 + 0.06 * value, 0.0, 1.0))


def make(folder: Path, p: int, source: int, target: int, seed: int = 0) -> Path:
    """The app with a panel of p made-up CpGs, and the DIZ's data; returns the app."""
    generator = np.random.default_rng(seed)
    cpgs = [f"cg{j:08d}" for j in range(p)]
    app = folder / APP.name
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    panel = {"title": "Synthetic", "origin": "made up", "cpgs": cpgs}
    (app / "methylation_age" / "panels" / "synthetic.json").write_text(json.dumps(panel))
    terms = (app / "pyproject.toml").read_text()
    (app / "pyproject.toml").write_text(terms.replace('panel = "gse74193" ', 'panel = "synthetic" '))
    loadings = generator.normal(size=(FACTORS, p)) * np.geomspace(1.0, 0.1, FACTORS)[:, None]
    slope = np.where(generator.random(p) < FOLLOWING, generator.normal(0, 0.5, p), 0.0)
    broken = generator.choice(p, round(SHIFTED * p), replace=False)
    for site in range(SITES):
        parts, sheets = [], []
        for split, whole in (("train", source), ("target", target)):
            n = whole // SITES + (site < whole % SITES)
            age = generator.uniform(0, 90, n)
            values = betas(generator, age, (loadings, slope))
            if split == "target":
                values[:, broken] = generator.permuted(values[:, broken], axis=0)
            parts.append(values)
            sheets += [(f"S{site}-{split}-{row}", float(years), split) for row, years in enumerate(age)]
        ids = [name for name, _, _ in sheets]
        store = folder / "data" / f"DIZ-{site + 1}" / "methylation"
        store.mkdir(parents=True)
        sheet = {"sample_id": ids, "patient_id": ids, "age": [age for _, age, _ in sheets]}
        more = {"split": [split for _, _, split in sheets], "tissue": ["synthetic"] * len(ids)}
        pq.write_table(pa.table({**sheet, **more}), store / "samples.parquet")
        columns = dict(zip(cpgs, np.concatenate(parts).T, strict=True))
        pq.write_table(pa.table({"sample_id": ids, **columns}), store / "betas.parquet", use_dictionary=False)
    return app


def main() -> None:
    """Run once, and print seconds, bytes and errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpgs", type=int, default=12_980)
    parser.add_argument("--source", type=int, default=1_866)
    parser.add_argument("--target", type=int, default=1_001)
    parser.add_argument("--keep", type=Path, help="folder for data and run, instead of one that is removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        app, out = make(folder, options.cpgs, options.source, options.target), folder / "run"
        began = time.perf_counter()
        command = [FLAME, "simulate", app, "--data", folder / "data", "--out", out, "-c", 'model="adapted"']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        run = json.loads((out / "result.json").read_text())["run"]
        report = json.loads((out / "report.json").read_text())
        sent, left = (max(node[name] for node in run["nodes"]) / 1e6 for name in ("bytes_in", "bytes_out"))
        print(f"{options.cpgs} CpGs, {options.source} + {options.target} samples (synthetic), {SITES} DIZ, masks")
        print(f"whole `flame simulate`: {seconds:.0f} s (aim: 600 s on two cores)")
        print(f"{len(run['rounds'])} exchanges; to one DIZ {sent:.0f} MB, from it {left:.0f} MB")
        for headline in report["headline"]:
            print(f"{headline['label']}: {headline['value']} ({headline['note']})")
        for note in report["notes"][:1]:
            print(note)


if __name__ == "__main__":
    main()
