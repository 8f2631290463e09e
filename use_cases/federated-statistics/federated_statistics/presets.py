"""What is known of the packaged sets: their columns, and what each analysis takes of them unless the run config says.

Everything a run config may state, ``set = "own"`` has to: a preset only fills in what is empty. Ranges are where values
can be expected to lie, not where they were found to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN = "own"


@dataclass(frozen=True)
class Preset:
    """One set.

    Attributes:
        columns: Numeric columns of the descriptive statistics.
        ranges: (low, high) of each of them.
        levels: Declared levels, as the run config has them.
        whole: Those of `columns` that hold whole numbers.
        analyses: By analysis, run-config keys and values.
    """

    columns: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    levels: str = ""
    whole: tuple[str, ...] = ()
    analyses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_CELL = {
    "radius": ((0, 50), (0, 5), (0, 50)),
    "texture": ((0, 50), (0, 10), (0, 60)),
    "perimeter": ((0, 250), (0, 40), (0, 300)),
    "area": ((0, 3000), (0, 1000), (0, 5000)),
    "smoothness": ((0, 0.3), (0, 0.1), (0, 0.4)),
    "compactness": ((0, 0.5), (0, 0.3), (0, 1.5)),
    "concavity": ((0, 0.6), (0, 0.6), (0, 1.5)),
    "concave_points": ((0, 0.3), (0, 0.1), (0, 0.4)),
    "symmetry": ((0, 0.5), (0, 0.2), (0, 1)),
    "fractal_dimension": ((0, 0.2), (0, 0.1), (0, 0.3)),
}
_BREAST = {
    **{f"mean_{name}": mean for name, (mean, _, _) in _CELL.items()},
    **{f"{name}_error": error for name, (_, error, _) in _CELL.items()},
    **{f"worst_{name}": worst for name, (_, _, worst) in _CELL.items()},
}
_DIABETES = {
    "age": (0, 120),
    "bmi": (10, 60),
    "bp": (30, 200),
    "s1": (50, 400),
    "s2": (20, 300),
    "s3": (10, 120),
    "s4": (0, 15),
    "s5": (2, 8),
    "s6": (30, 200),
    "progression": (0, 400),
}
_RANDHIE = {
    "mdvis": (0, 100),
    "lncoins": (0, 5),
    "idp": (0, 1),
    "lpi": (0, 8),
    "fmde": (0, 10),
    "physlm": (0, 1),
    "disea": (0, 60),
}
_LUNG = {
    "time": (0, 1500),
    "age": (0, 120),
    "ph_karno": (0, 100),
    "pat_karno": (0, 100),
    "meal_cal": (0, 4000),
    "wt_loss": (-50, 100),
}
_GBSG2 = {
    "age": (0, 120),
    "tsize": (0, 200),
    "pnodes": (0, 60),
    "progrec": (0, 3000),
    "estrec": (0, 2000),
    "time": (0, 3650),
}
_LIPIDS = "age,bmi,bp,s1,s2,s3,s4,s5,s6"

PRESETS: Mapping[str, Preset] = {
    "breast-cancer": Preset(
        columns=tuple(_BREAST),
        ranges=_BREAST,
        levels="diagnosis=benign|malignant; large=no|yes",
        analyses={
            "histogram": {"columns": "mean_radius,mean_texture,mean_smoothness"},
            "quantiles": {"columns": "mean_radius,mean_texture,mean_area,mean_smoothness"},
            "crosstab": {"row": "large", "column": "diagnosis"},
            "elastic-net": {"outcome": "malignant", "family": "logistic"},
            "logistic": {
                "outcome": "malignant",
                "columns": "mean_texture,mean_smoothness,mean_compactness,mean_symmetry",
            },
        },
    ),
    "diabetes": Preset(
        columns=tuple(_DIABETES),
        ranges=_DIABETES,
        levels="sex=1|2",
        whole=("age", "s6", "progression"),
        analyses={
            "histogram": {"columns": "age,bmi,progression"},
            "linear": {"outcome": "progression", "columns": _LIPIDS, "categories": "sex"},
            "elastic-net": {"outcome": "progression", "columns": _LIPIDS, "family": "linear"},
        },
    ),
    "randhie": Preset(
        columns=tuple(_RANDHIE),
        ranges=_RANDHIE,
        levels="idp=0|1; health=excellent|good|fair|poor",
        whole=("mdvis", "idp"),
        analyses={
            "histogram": {"columns": "mdvis,disea"},
            "quantiles": {"columns": "mdvis,disea,lpi"},
            "crosstab": {"row": "health", "column": "idp"},
            "poisson": {
                "outcome": "mdvis",
                "columns": "lncoins,idp,lpi,fmde,physlm,disea",
                "categories": "health",
            },
        },
    ),
    "lung": Preset(
        columns=tuple(_LUNG),
        ranges=_LUNG,
        levels="sex=male|female; ph_ecog=0|1|2|3",
        whole=tuple(_LUNG),
        analyses={
            "histogram": {"columns": "age,ph_karno,meal_cal"},
            "crosstab": {"row": "ph_ecog", "column": "sex"},
            "cox": {
                "outcome": "time",
                "event": "died",
                "columns": "age,ph_karno",
                "categories": "sex",
                "grid": "1:1100:1",
            },
        },
    ),
    "gbsg2": Preset(
        columns=tuple(_GBSG2),
        ranges=_GBSG2,
        levels="horTh=no|yes; menostat=Pre|Post; tgrade=I|II|III",
        whole=tuple(_GBSG2),
        analyses={
            "histogram": {"columns": "age,tsize,pnodes"},
            "crosstab": {"row": "tgrade", "column": "horTh"},
            "cox": {
                "outcome": "time",
                "event": "event",
                "columns": "age,tsize,pnodes,progrec,estrec",
                "categories": "horTh,menostat,tgrade",
                "grid": "1:3000:1",
            },
        },
    ),
}


def declared_levels(run_config: Mapping[str, Any]) -> str:
    """The levels that a run declares, or else those of its preset."""
    stated = str(run_config["levels"])
    preset = PRESETS.get(str(run_config["set"]))
    return stated or (preset.levels if preset else "")
