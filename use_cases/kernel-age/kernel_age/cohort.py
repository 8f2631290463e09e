"""What a DIZ holds: standardised methylation values and transformed ages.

A data store is a folder as `python -m methylation_age prepare` writes it: ``samples.parquet`` with one row per sample
(``sample_id``, ``patient_id``, ``age`` in years, optionally ``split``: "train" or "test", and ``pairing``, see
`agreement`), ``betas.parquet`` with ``sample_id`` and one column of beta values in [0, 1] per CpG.

Values are standardised by constants that are public, z = (b - m) / sqrt(m (1 - m)) with m a CpG's mean over public
arrays: means over the DIZ's own patients would be sums that say something about the secret matrix (a known column sum
and its encoding are one equation for it). The spread of a beta value goes with sqrt(m (1 - m)). Missing values are 0.

Ages pass through Horvath's transform (Genome Biology 14:R115, 2013): F(a) = log((a + 1) / 21) up to 20 years, (a - 20)
/ 21 above.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernel_age.errors import InputError

Float = npt.NDArray[np.float64]

BETAS_FILE = "betas.parquet"
SAMPLES_FILE = "samples.parquet"
SPLITS = ("train", "test")
ADULT_AGE = 20.0
OLDEST = 125.0


@dataclass(frozen=True, eq=False)
class Cohort:
    """Samples of one split at one DIZ.

    Attributes:
        z: (n, p) standardised values.
        age: (n,) years.
    """

    z: Float
    age: Float

    def ordered(self, order: npt.NDArray[np.intp]) -> "Cohort":
        """The same samples in another order."""
        return Cohort(self.z[order], self.age[order])


@lru_cache(maxsize=1)
def panel() -> tuple[tuple[str, ...], Float]:
    """The CpGs, in the order that all DIZ use, and their public mean betas (p,)."""
    stated = json.loads((files("kernel_age") / "cpgs.json").read_text(encoding="utf-8"))
    return tuple(stated["cpgs"]), np.array(stated["centre"])


def transform(age: Float) -> Float:
    """Horvath's transform of ages in years, above -1."""
    return np.where(age <= ADULT_AGE, np.log((np.minimum(age, ADULT_AGE) + 1) / 21), (age - ADULT_AGE) / 21)


def inverse(value: Float) -> Float:
    """The age whose transform is `value`, at most 125 years."""
    return np.where(value <= 0, 21 * np.exp(np.minimum(value, 0)) - 1, np.minimum(21 * value + ADULT_AGE, OLDEST))


@lru_cache(maxsize=8)  # a sandbox serves one node, a process of a simulation several
def load_store(folder: str) -> tuple[Cohort, Cohort, str | None]:
    """Read a data store.

    Returns:
        Training samples, test samples, and the pairing key if the table has one.

    Raises:
        InputError: A file or column is missing, samples do not match, or a value cannot be.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    for name in (SAMPLES_FILE, BETAS_FILE):
        if not (Path(folder) / name).is_file():
            raise InputError(f"The data store has no {name}; write it with `python -m methylation_age prepare`.")
    samples = pq.ParquetFile(Path(folder) / SAMPLES_FILE).read().to_pydict()
    if missing := [name for name in ("sample_id", "age") if name not in samples]:
        raise InputError(f"{SAMPLES_FILE} lacks the column {missing[0]!r}; prepare the store again.")
    cpgs, centre = panel()
    table = pq.ParquetFile(Path(folder) / BETAS_FILE)
    measured = [j for j, cpg in enumerate(cpgs) if cpg in set(table.schema_arrow.names)]
    if 2 * len(measured) < len(cpgs) or "sample_id" not in table.schema_arrow.names:
        raise InputError(f"{BETAS_FILE} has {len(measured)} of the {len(cpgs)} CpGs; at least half are needed.")
    columns = table.read(columns=["sample_id", *(cpgs[j] for j in measured)], use_threads=False)
    row_of = {sample: row for row, sample in enumerate(columns["sample_id"].to_pylist())}
    if absent := sum(sample not in row_of for sample in samples["sample_id"]):
        raise InputError(f"{absent} samples of {SAMPLES_FILE} are not in {BETAS_FILE}; prepare the store again.")
    rows = np.array([row_of[sample] for sample in samples["sample_id"]], dtype=np.intp)
    z = np.zeros((len(rows), len(cpgs)))
    for j in measured:
        betas = columns[cpgs[j]].to_numpy()[rows].astype(np.float64)
        if np.nanmin(betas, initial=0) < 0 or np.nanmax(betas, initial=0) > 1:
            raise InputError(f"{BETAS_FILE} has values outside [0, 1]; give beta values, not M-values.")
        z[:, j] = np.nan_to_num((betas - centre[j]) / np.sqrt(centre[j] * (1 - centre[j])))
    age = np.array(samples["age"], dtype=np.float64)
    if not np.all(np.isfinite(age) & (age > -1) & (age <= OLDEST)):
        raise InputError(f"{SAMPLES_FILE} has ages that are missing or outside (-1, 125]; give ages in years.")
    split = np.array(samples.get("split", ["train"] * len(rows)))
    parts = [Cohort(z[split == name], age[split == name]) for name in SPLITS]
    keys = set(samples.get("pairing", [])) - {None}
    if len(keys) > 1:
        raise InputError(f"{SAMPLES_FILE} has {len(keys)} pairing keys; write the project's one key into every row.")
    return parts[0], parts[1], next(iter(keys), None)
