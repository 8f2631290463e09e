"""`prepare`: patients with candidate genes to one data store per virtual DIZ.

    OUT/DIZ-1/expression/patients.parquet    patient_id, group, case (0 or 1), and log2 expression of the genes
    OUT/held-out.parquet                     patients that no DIZ is given
    OUT/prepared.json                        what was written; of synthetic patients also the true fold changes

**The packaged patients are synthetic**, drawn anew for each seed: log2 values of thirty genes in three correlated
modules, the true mean of a gene between 7.3 and 8.7 (the analysis knows 8 alone), spread 0.7 to 1.3, ten genes with a
true fold change, two patients in five cases, and a shift of spread 0.1 for each DIZ and gene.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gene_expression_private.errors import InputError
from gene_expression_private.genes import HIGH, LOW, Gene
from gene_expression_private.terms import GROUPS

HELD_OUT, STAMP = "held-out.parquet", "prepared.json"
TEST_SHARE, CASES = 0.2, 0.4
TRUE_CHANGES = (0.9, -0.7, 0.6, -0.5, 0.4, -0.4, 0.3, -0.3, 0.2, -0.2)
"""log2, of every third gene."""
_DESIGN_SEED = 0  # of the genes' means and spreads, the same for every set of patients


def synthetic(genes: tuple[Gene, ...], patients: int, nodes: int, seed: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """Synthetic patients with the column `node`, and the true fold changes by gene."""
    design, rng, p = np.random.default_rng(_DESIGN_SEED), np.random.default_rng(seed), len(genes)
    mean, spread = design.uniform(7.3, 8.7, p), design.uniform(0.7, 1.3, p)
    change = np.zeros(p)
    places = np.arange(0, p, 3)[: len(TRUE_CHANGES)]
    change[places] = TRUE_CHANGES[: len(places)]
    module = np.arange(p) * 3 // p
    node, case = rng.integers(nodes, size=patients), rng.random(patients) < CASES
    shift = rng.normal(0.0, 0.1, (nodes, p))
    own = 0.6 * rng.normal(size=(patients, 3))[:, module] + 0.8 * rng.normal(size=(patients, p))
    values = np.clip(mean + spread * own + shift[node] + case[:, None] * change, LOW, HIGH)
    table = pd.DataFrame(values, columns=[gene.name for gene in genes])
    table.insert(0, "patient_id", [f"SYNTHETIC{row:06d}" for row in range(patients)])
    table.insert(1, "group", np.where(case, GROUPS[1], GROUPS[0]))
    table.insert(2, "node", node)
    return table, {gene.name: float(c) for gene, c in zip(genes, change, strict=True)}


def own(file: Path, genes: tuple[Gene, ...], nodes: int, seed: int) -> pd.DataFrame:
    """A table of one's own, CSV or Parquet: patient_id, group (control or case), log2 expression; dealt out at random.

    Raises:
        InputError: It cannot be read, lacks a column, or holds what cannot be right.
    """
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"patient_id": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as {file.suffix or 'CSV'} ({type(error).__name__}).") from None
    names = [gene.name for gene in genes]
    if missing := [name for name in ("patient_id", "group", *names) if name not in table]:
        raise InputError(f"{file.name} lacks {len(missing)} columns, the first is {missing[0]!r}; add them.")
    if not table["group"].isin(GROUPS).all():
        raise InputError(f"{file.name} has groups other than {' and '.join(GROUPS)}; rename or leave out these rows.")
    if table["patient_id"].isna().any():
        raise InputError(f"{file.name} has rows without patient_id; fill them in or leave the rows out.")
    values = table[names].apply(pd.to_numeric, errors="coerce")
    if absent := int(values.isna().to_numpy().sum()):
        raise InputError(f"{file.name} has {absent} values that are missing or no numbers; leave the rows out.")
    if values.gt(HIGH).to_numpy().any() or values.lt(LOW).to_numpy().any():
        raise InputError(
            f"{file.name} has values outside {LOW:g} to {HIGH:g}: these look like counts; give log2 expression, "
            "for instance log2 of counts per million plus 1."
        )
    patients = table["patient_id"].astype(str)
    known = patients.drop_duplicates()
    of = dict(zip(known, np.random.default_rng(seed).integers(nodes, size=len(known)), strict=True))
    found: pd.DataFrame = pd.concat(
        [patients, table["group"], patients.map(of).rename("node"), values.astype(np.float64)], axis=1
    )
    return found


def write(table: pd.DataFrame, out: Path, nodes: int, seed: int, truth: dict[str, float] | None) -> dict[str, Any]:
    """Hold one patient in five out, and write the stores.

    Args:
        table: patient_id, group, node, and the genes.
        out: The folder to write.
        nodes: Number of DIZ.
        seed: Of who is held out.
        truth: True fold changes of synthetic patients; None says that the table is somebody's own.

    Raises:
        InputError: `out` holds something else, or a DIZ would be without patients.
    """
    if out.exists() and any(out.iterdir()) and not (out / STAMP).is_file():
        raise InputError(f"{out} holds something that this command did not write; name another folder.")
    ids = pd.Series(table["patient_id"].unique())
    tested = set(ids[np.random.default_rng([seed, 1]).random(len(ids)) < TEST_SHARE])
    test = table["patient_id"].isin(tested)
    sizes = {
        f"DIZ-{n + 1}": int(table["patient_id"][~test & (table["node"] == n)].nunique()) for n in range(max(nodes, 0))
    }
    if not sizes or min(sizes.values()) < 1 or table["group"][test].nunique() < len(GROUPS):
        raise InputError(f"{len(ids)} patients are too few for {nodes} DIZ and a fifth held out; choose fewer --nodes.")
    full = table.assign(case=(table["group"] == GROUPS[1]).astype(np.int64))
    for index in range(nodes):
        folder = out / f"DIZ-{index + 1}" / "expression"
        folder.mkdir(parents=True, exist_ok=True)
        rows = full[~test & (full["node"] == index)].drop(columns="node")
        rows.to_parquet(folder / "patients.parquet", index=False)
    full[test].drop(columns="node").to_parquet(out / HELD_OUT, index=False)
    stamp = {"synthetic": truth is not None, "patients": sizes, "held_out": int(test.sum()), "true_changes": truth}
    (out / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    return stamp
