"""What a DIZ holds, read once: betas and ages as arrays in the panel's column order.

A data store is a folder with two Parquet files, written by `methylation_age prepare`:

* ``samples.parquet``: one row per sample: ``sample_id``, ``patient_id``, ``age`` (years) and, if wanted, ``tissue`` and
  ``split`` ("train", "test" or "target"; without it all rows train);
* ``betas.parquet``: ``sample_id`` and one column of beta values in [0, 1] per CpG, NaN or null where missing.

The samples table decides which rows are used: a node that offers a view of its store (after a consent was withdrawn,
or one block of patients) cuts that table, and betas of samples that are not listed are not read into the cohort.

The rows of split "target" are those that a clock is adapted to. Their ages may be missing; where they are there, they
only score.

Float64 throughout: the elastic net is compared with its pooled twin to the last digits.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from methylation_age.errors import InputError
from methylation_age.horvath import transform
from methylation_age.panel import load_panel

BETAS_FILE = "betas.parquet"
SAMPLES_FILE = "samples.parquet"
SPLITS = ("train", "test", "target")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Samples of one split at one DIZ.

    Attributes:
        betas: (n, p) beta values, NaN where missing.
        age: (n,) years; NaN where missing, which only the split "target" may have.
        target: (n,) Horvath's transform of the ages.
        patient_ids: (n,) one per sample.
        tissue: (n,) what each sample is of; "" where the store does not say.
    """

    betas: npt.NDArray[np.float64]
    age: npt.NDArray[np.float64]
    target: npt.NDArray[np.float64]
    patient_ids: tuple[str, ...]
    tissue: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.age)

    def of_tissue(self, tissue: str) -> "Cohort":
        """The samples of one tissue; of all tissues for ""."""
        if not tissue:
            return self
        chosen = np.array([own == tissue for own in self.tissue], dtype=np.bool_)
        return _select(self, chosen)

    def with_age(self) -> "Cohort":
        """The samples whose age is known."""
        return _select(self, np.isfinite(self.age))


@dataclass(frozen=True, eq=False)
class Store:
    """A DIZ's data store: what models are trained on, what they are tested on, what a clock is adapted to."""

    train: Cohort
    test: Cohort
    target: Cohort


def load_store(folder: str | Path, panel: str) -> Store:
    """Read a data store, once per process while its files do not change.

    Args:
        folder: The data store's folder.
        panel: Name of the panel that gives the columns.

    Raises:
        InputError: A file or column is missing, or a sample is in one table only.
    """
    stamps = []
    for name in (SAMPLES_FILE, BETAS_FILE):
        file = Path(folder) / name
        if not file.is_file():
            raise InputError(f"The data store has no {name}; write it with `python -m methylation_age prepare`.")
        stamps.append((str(file), file.stat().st_mtime_ns))
    return _read(*stamps, panel)


@lru_cache(maxsize=1)  # a sandbox serves one node; a second store must not pile up in an in-process run
def _read(samples_stamp: tuple[str, int], betas_stamp: tuple[str, int], panel: str) -> Store:
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    samples = pq.ParquetFile(samples_stamp[0]).read()  # read_table would import pandas
    if missing := [name for name in ("sample_id", "patient_id", "age") if name not in samples.column_names]:
        raise InputError(f"{SAMPLES_FILE} lacks the column {missing[0]!r}; prepare the store again.")
    table = pq.ParquetFile(betas_stamp[0])
    cpgs = load_panel(panel).cpgs
    present = set(table.schema_arrow.names)
    if "sample_id" not in present:
        raise InputError(f"{BETAS_FILE} lacks the column 'sample_id'; prepare the store again.")
    measured = [(j, cpg) for j, cpg in enumerate(cpgs) if cpg in present]
    if not measured:
        raise InputError(f"{BETAS_FILE} has no CpG of the panel {panel!r}; check the ids or choose another.")
    columns = table.read(columns=["sample_id", *(cpg for _, cpg in measured)], use_threads=False)
    row_of = {sample: row for row, sample in enumerate(columns["sample_id"].to_pylist())}
    wanted = samples["sample_id"].to_pylist()
    if absent := sum(sample not in row_of for sample in wanted):
        raise InputError(f"{absent} samples of {SAMPLES_FILE} are not in {BETAS_FILE}; prepare the store again.")
    rows = np.array([row_of[sample] for sample in wanted], dtype=np.intp)
    betas = np.full((len(rows), len(cpgs)), np.nan)
    for j, cpg in measured:
        betas[:, j] = columns[cpg].to_numpy()[rows]
    age = samples["age"].to_numpy(zero_copy_only=False).astype(np.float64)
    patients = tuple(str(patient) for patient in samples["patient_id"].to_pylist())
    tissue = samples["tissue"].to_pylist() if "tissue" in samples.column_names else [None] * len(rows)
    split = samples["split"].to_pylist() if "split" in samples.column_names else ["train"] * len(rows)
    if unknown := set(split) - set(SPLITS):
        raise InputError(
            f"The column 'split' of {SAMPLES_FILE} has {len(unknown)} values other than {', '.join(SPLITS)}."
        )
    labelled = np.array([name != "target" for name in split], dtype=np.bool_)
    if absent := int(np.isnan(age[labelled]).sum()):
        raise InputError(f"{absent} samples of {SAMPLES_FILE} that train or test have no age; fill the column.")
    everyone = Cohort(betas, age, _transformed(age), patients, tuple(str(name or "") for name in tissue))
    return Store(*(_select(everyone, np.array(split) == name) for name in SPLITS))


def _transformed(age: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Horvath's transform, NaN where the age is missing."""
    known = np.isfinite(age)
    return np.where(known, transform(np.where(known, age, 0.0)), np.nan)


def _select(cohort: Cohort, chosen: npt.NDArray[np.bool_]) -> Cohort:
    at = np.flatnonzero(chosen)
    ids = tuple(cohort.patient_ids[row] for row in at)
    tissue = tuple(cohort.tissue[row] for row in at) if cohort.tissue else ()
    return Cohort(cohort.betas[at], cohort.age[at], cohort.target[at], ids, tissue)
