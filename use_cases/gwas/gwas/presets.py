"""What is known of the packaged sets: their panel and columns, and what each analysis takes of them.

Everything a run config may state, ``set = "own"`` has to: a preset only fills in what is empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN = "own"


@dataclass(frozen=True)
class Preset:
    """One set.

    Attributes:
        panel: The panel's name.
        levels: Declared levels, as the run config has them.
        synthetic: Whether its genotypes are made up.
        note: What the report says of the data.
        analyses: By analysis, run-config keys and values.
        made_up: Phenotypes that are made up, in a set whose genotypes are measured.
    """

    panel: str
    levels: str
    synthetic: bool
    note: str
    analyses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    made_up: tuple[str, ...] = ()


_TRAIT = {"phenotype": "trait", "covariates": "age, sex"}
_DISEASE = {"phenotype": "disease", "cases": "2", "covariates": "age, sex"}
_CASE = {"phenotype": "cc", "cases": "2"}

PRESETS: Mapping[str, Preset] = {
    "synthetic": Preset(
        panel="synthetic",
        levels="sex=1|2",
        synthetic=True,
        note="Synthetic: genotypes, traits, patients and DIZ are made up from start to end; no result says anything of "
        "a disease. Three populations are mixed differently at each DIZ, and the trait differs between them.",
        analyses={"linear": _TRAIT, "logistic": _DISEASE, "two-step": _TRAIT, "score": _TRAIT},
    ),
    "snpstats": Preset(
        panel="snpstats",
        levels="",
        synthetic=False,
        note="Measured genotypes: 1,000 people of HapMap's CEU and of JPT and CHB, 28,501 variants of chromosome 10, "
        "with the case and control labels of an exercise that Bioconductor's snpStats ships (public). The "
        "quantitative trait is made up (synthetic), and so is which person lies at which virtual DIZ.",
        analyses={
            "linear": {"phenotype": "trait"},
            "logistic": _CASE,
            "two-step": {"phenotype": "trait"},
            "score": {"phenotype": "trait"},
        },
        made_up=("trait",),
    ),
}


def made_up(of: str, phenotype: str) -> str:
    """What has to be said wherever results of a phenotype appear; empty where set and phenotype are measured.

    >>> made_up("synthetic", "disease"), made_up("snpstats", "trait"), made_up("snpstats", "cc")
    ('synthetic data', 'synthetic trait', '')
    """
    preset = PRESETS.get(of)
    if preset is None:
        return ""
    if preset.synthetic:
        return "synthetic data"
    return "synthetic trait" if phenotype in preset.made_up else ""


def stated(run_config: Mapping[str, Any], key: str) -> str:
    """What a run states for ``panel`` or ``levels``, or else what its preset does."""
    preset = PRESETS.get(str(run_config["set"]))
    known = {"panel": preset.panel, "levels": preset.levels} if preset else {}
    return str(run_config[key]).strip() or known.get(key, "")
