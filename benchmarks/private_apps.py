"""What noise costs the private use cases: whole simulated runs behind real gates, over epsilon and seeds.

    python benchmarks/private_apps.py methylation-age-private [--seeds 10]
    python benchmarks/private_apps.py gene-expression-private [--seeds 5]
    python benchmarks/private_apps.py gwas-private [--seeds 5]
    python benchmarks/private_apps.py multimodal-imaging-private [--seeds 3]

Five virtual DIZ, secure aggregation, in-process sandboxes, noise from the operating system. A seed deals the patients
out anew (but for the clock: draws synthetic ones anew). Writes the app's `curve.json` and `curve.png`; the tables in
its README are of these figures, which a test compares. Beforehand `make` must have installed the apps.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

APPS = Path(__file__).parents[1] / "use_cases"
FLAME = Path(sys.executable).with_name("flame")
NODES, PATIENTS, COHORTS = 5, (600, 6000), (6000, 30_000)
SCANS = (1000, 5000)
Run = dict[str, float | None]


def simulate(app: Path, data: Path, run: Path, seed: int, *more: str) -> None:
    """One run; its own process, as a researcher would start it."""
    options = ["--sandbox", "in-process", "--policy", "stated-terms", "--seed", str(seed), "--json", *more]
    subprocess.run(
        [FLAME, "simulate", app, "--data", data, "--out", run, *options], check=True, stdout=subprocess.DEVNULL
    )


def blood(at: Path, seeds: int) -> list[Run]:
    """The clock: errors by epsilon."""
    from methylation_age_private import prepare, terms
    from methylation_age_private.compare import score

    table, runs = prepare.packaged(), []
    for seed in range(1, seeds + 1):
        prepare.write(table, at / f"data-{seed}", NODES, seed)
        for epsilon in terms.NOISE_MULTIPLIERS:
            app, run = at / f"app-{epsilon:g}", at / f"run-{epsilon:g}-{seed}"
            if not app.exists():
                terms.write(APPS / "methylation-age-private", epsilon, app)
            simulate(app, at / f"data-{seed}", run, seed)
            runs.append({"epsilon": epsilon, "seed": seed, "mae": round(score(run, at / f"data-{seed}")["mae"], 4)})
            print(runs[-1], flush=True)
    return runs


def genes(at: Path, seeds: int) -> dict[str, list[Run]]:
    """Fold changes and classifier: figures by analysis, number of patients and epsilon."""
    from gene_expression_private import prepare, terms
    from gene_expression_private.compare import score
    from gene_expression_private.genes import own_genes
    from gene_expression_private.price import KEPT

    listed, runs = own_genes(), {analysis: [] for analysis in terms.RELEASES}
    cells = [(s, n, a, e) for s in range(1, seeds + 1) for n in PATIENTS for a in runs for e in terms.EPSILONS]
    for seed, patients, analysis, epsilon in cells:
        data, app = at / f"data-{patients}-{seed}", at / f"app-{analysis}-{epsilon:g}"
        run = at / f"run-{analysis}-{epsilon:g}-{patients}-{seed}"
        if not data.exists():
            table, truth = prepare.synthetic(listed, patients, NODES, seed)
            prepare.write(table, data, NODES, seed, truth)
        if not app.exists():
            terms.write(APPS / "gene-expression-private", analysis, epsilon, listed, app)
        simulate(app, data, run, seed, "-c", f"expected-patients={round(patients * (1 - prepare.TEST_SHARE))}")
        found = score(run, data, listed)
        kept = {k: None if math.isnan(found[k]) else round(found[k], 4) for k in KEPT if k in found}
        runs[analysis].append({"epsilon": epsilon, "patients": patients, "seed": seed, **kept})
        print(analysis, runs[analysis][-1], flush=True)
    return runs


def variants(at: Path, seeds: int) -> list[Run]:
    """Effects of candidate variants: figures by number of patients and epsilon."""
    from gwas_private import prepare, terms
    from gwas_private.compare import score
    from gwas_private.price import KEPT
    from gwas_private.variants import own_study

    study, runs = own_study(), []
    for seed, patients, epsilon in [(s, n, e) for s in range(1, seeds + 1) for n in COHORTS for e in terms.EPSILONS]:
        data, app, run = (
            at / f"data-{patients}-{seed}",
            at / f"app-{epsilon:g}",
            at / f"run-{epsilon:g}-{patients}-{seed}",
        )
        if not data.exists():
            table, truth = prepare.synthetic(study, patients, NODES, seed)
            prepare.write(table, data, NODES, truth)
        if not app.exists():
            terms.write(APPS / "gwas-private", epsilon, study, app)
        simulate(app, data, run, seed)
        found = score(run, data, study)
        kept = {k: None if math.isnan(found[k]) else round(found[k], 4) for k in KEPT}
        runs.append({"epsilon": epsilon, "patients": patients, "seed": seed, **kept})
        print(runs[-1], flush=True)
    return runs


def scans(at: Path, seeds: int) -> list[Run]:
    """Age from volumes: errors by number of patients and epsilon."""
    from multimodal_imaging_private import prepare, terms
    from multimodal_imaging_private.compare import score

    runs = []
    for seed, patients, epsilon in [(s, n, e) for s in range(1, seeds + 1) for n in SCANS for e in terms.EPSILONS]:
        data, app, run = (at / f"{what}-{patients}-{seed}" for what in ("data", f"app-{epsilon:g}", f"run-{epsilon:g}"))
        if not data.exists():
            table, volumes = prepare.packaged(patients, NODES, seed)
            prepare.write(table, volumes, data, nodes=NODES, seed=seed, made_up=True)
        terms.write(APPS / "multimodal-imaging-private", epsilon, round(patients * 0.8 / NODES), app)
        simulate(app, data, run, seed)
        found = {name: round(value, 4) for name, value in score(run, data).items()}
        runs.append({"epsilon": epsilon, "patients": patients, "seed": seed, **found})
        print(runs[-1], flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "app",
        choices=["methylation-age-private", "gene-expression-private", "gwas-private", "multimodal-imaging-private"],
    )
    parser.add_argument("--seeds", type=int, help="instead of 10 (clock), 5 (genes, variants) or 3 (scans); at least 2")
    wanted = parser.parse_args()
    if wanted.app.startswith("methylation"):
        from methylation_age_private import price

        measure, seeds = blood, wanted.seeds or 10
    elif wanted.app.startswith("gwas"):
        from gwas_private import price

        measure, seeds = variants, wanted.seeds or 5
    elif wanted.app.startswith("multimodal"):
        from multimodal_imaging_private import price

        measure, seeds = scans, wanted.seeds or 3
    else:
        from gene_expression_private import price

        measure, seeds = genes, wanted.seeds or 5
    with tempfile.TemporaryDirectory(prefix="flame-private-apps-") as folder:
        runs: Any = measure(Path(folder), seeds)
    said = json.dumps({"nodes": NODES, "runs": runs}, allow_nan=False)
    (APPS / wanted.app / wanted.app.replace("-", "_") / price.CURVE).write_text(said + "\n", encoding="utf-8")
    price.draw(APPS / wanted.app / "curve.png", runs)


if __name__ == "__main__":
    main()
