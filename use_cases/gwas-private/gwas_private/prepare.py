"""`prepare`: patients with candidate variants and a trait to one data store per virtual DIZ.

    OUT/DIZ-1/candidates/patients.parquet    patient_id, the trait, and dosages of the variants
    OUT/prepared.json                        what was written; of synthetic patients also the true effects

**The packaged patients are synthetic**, drawn anew for each seed: each DIZ's allele frequencies differ a little from
the public ones (Balding and Nichols 1995, F_ST 0.002), genotypes are in Hardy-Weinberg proportions, ten variants in
thirty have a true effect, and the rest of the trait is normal. One call in a hundred is missing.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gwas_private.errors import InputError
from gwas_private.variants import Study

STAMP = "prepared.json"
TRUE_EFFECTS = (0.20, -0.17, 0.15, -0.13, 0.11, -0.10, 0.085, -0.07, 0.055, -0.04)
"""In standard deviations of the trait per standard deviation of a dosage, of every third variant."""
_FST, _MISSING = 0.002, 0.01


def synthetic(study: Study, patients: int, nodes: int, seed: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """Synthetic patients with the column `node`, and the true effects by variant, in the trait's unit per allele."""
    rng, variants, trait = np.random.default_rng(seed), study.variants, study.trait
    p = len(variants)
    frequency = np.array([v.frequency for v in variants])
    effect = np.zeros(p)
    places = np.arange(0, p, 3)[: len(TRUE_EFFECTS)]
    effect[places] = TRUE_EFFECTS[: len(places)]
    node = rng.integers(nodes, size=patients)
    of = rng.beta(frequency * (1 - _FST) / _FST, (1 - frequency) * (1 - _FST) / _FST, (nodes, p))
    dosage = rng.binomial(2, of[node]).astype(np.float64)
    per_allele = effect / np.array([v.scale / 2 for v in variants])
    rest = np.sqrt(max(0.1, 1 - float(np.sum(effect**2))))
    standard = (dosage - 2 * frequency) @ per_allele + rest * rng.normal(size=patients)
    value = np.clip(trait.centre + trait.scale / 2 * standard, trait.low, trait.high)
    dosage[rng.random(dosage.shape) < _MISSING] = np.nan
    table = pd.DataFrame(dosage, columns=[v.name for v in variants])
    table.insert(0, "patient_id", [f"SYNTHETIC{row:06d}" for row in range(patients)])
    table.insert(1, trait.name, value)
    table.insert(2, "node", node)
    true = per_allele * trait.scale / 2
    return table, {v.name: float(b) for v, b in zip(variants, true, strict=True)}


def own(file: Path, study: Study, nodes: int, seed: int) -> pd.DataFrame:
    """A table of one's own, CSV or Parquet: patient_id, the trait, dosages; dealt out at random.

    Raises:
        InputError: It cannot be read, lacks a column, or holds what cannot be right.
    """
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"patient_id": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as {file.suffix or 'CSV'} ({type(error).__name__}).") from None
    names, trait = [v.name for v in study.variants], study.trait
    if missing := [name for name in ("patient_id", trait.name, *names) if name not in table]:
        raise InputError(f"{file.name} lacks {len(missing)} columns, the first is {missing[0]!r}; add them.")
    if table["patient_id"].isna().any():
        raise InputError(f"{file.name} has rows without patient_id; fill them in or leave the rows out.")
    if table["patient_id"].astype(str).duplicated().any():
        raise InputError(f"{file.name} has patients with several rows; give each patient one.")
    values = table[[trait.name, *names]].apply(pd.to_numeric, errors="coerce")
    if words := int((values.isna() & table[values.columns].notna()).to_numpy().sum()):
        raise InputError(f"{file.name} has {words} values that are no numbers; give dosages, not genotypes as letters.")
    dosages = values[names]
    if dosages.lt(0).to_numpy().any() or dosages.gt(2).to_numpy().any():
        raise InputError(f"{file.name} has dosages outside 0 to 2; write missing calls as empty, not as -9.")
    if not values[trait.name].nunique() > 1:
        raise InputError(f"{file.name} has a trait that does not vary; name the right column in the study.")
    node = pd.Series(np.random.default_rng(seed).integers(nodes, size=len(table)), name="node", index=table.index)
    found: pd.DataFrame = pd.concat(
        [table["patient_id"].astype(str), values[trait.name], node, dosages.astype(np.float64)], axis=1
    )
    return found


def write(table: pd.DataFrame, out: Path, nodes: int, truth: dict[str, float] | None) -> dict[str, Any]:
    """Write the stores.

    Args:
        table: patient_id, the trait, node, and the variants.
        out: The folder to write.
        nodes: Number of DIZ.
        truth: True effects of synthetic patients; None says that the table is somebody's own.

    Raises:
        InputError: `out` holds something else, or a DIZ would be without patients.
    """
    if out.exists() and any(out.iterdir()) and not (out / STAMP).is_file():
        raise InputError(f"{out} holds something that this command did not write; name another folder.")
    sizes = {f"DIZ-{n + 1}": int((table["node"] == n).sum()) for n in range(max(nodes, 0))}
    if not sizes or min(sizes.values()) < 1:
        raise InputError(f"{len(table)} patients are too few for {nodes} DIZ; choose fewer --nodes.")
    for index in range(nodes):
        folder = out / f"DIZ-{index + 1}" / "candidates"
        folder.mkdir(parents=True, exist_ok=True)
        rows = table[table["node"] == index].drop(columns="node")
        rows.to_parquet(folder / "patients.parquet", index=False)
    stamp = {"synthetic": truth is not None, "patients": sizes, "true_effects": truth}
    (out / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    return stamp
