"""What a run is asked to do, from its run config and the preset of its set.

A design is a sum of columns, ``"~ cancer + age"``; the intercept is always there, and what has declared levels is a
category. Lists are written ``"age, sex"``; levels ``"cancer=Normal|Cancer; sex=F|M"``, the first being the reference.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from gene_expression.errors import InputError
from gene_expression.presets import OWN, PRESETS, stated
from gene_expression.store import SCALES, SPLIT, parse_levels
from gene_expression.table import COUNTS, Float

ANALYSES = ("differential", "classify", "mlp", "survival")
BATCHES = ("site", "none")
METHODS = ("limma", "limma-trend", "voom")
SCALINGS = ("none", "upper-quartile", "tmm")
VALIDATIONS = ("none", "patients", "sites")

_FROM_PRESET = ("design", "contrasts", "batch", "method", "scaling", "outcome", "event", "covariates", "grid")


@dataclass(frozen=True)
class Settings:
    """One analysis.

    Attributes:
        analysis: One of `ANALYSES`.
        set: One of the packaged sets, or "own".
        panel: Name of the panel.
        scale: What the stores' values are, counts or log2.
        levels: By column, declared; the first is the reference.
        design: Columns that enter a differential analysis, in order.
        contrasts: What is tested, in terms of coefficients; empty for each of them by itself.
        batch: "site": every DIZ has a mean of its own, gene by gene; "none": it has not.
        method: One of `METHODS`; the first two are for logarithms, or for counts as log counts per million.
        scaling: Of counts' library sizes, one of `SCALINGS`.
        filter: Whether genes with low counts are left out.
        filter_group: The category whose smallest group the filter goes by; empty for the design's first one.
        median_library: Declared median of the library sizes for that filter; 0 for the exact one, found from counts.
        outcome: Of a phenotype model: a column with levels, or the time of a survival model.
        event: Of a survival model: 1 where it happened, else 0.
        covariates: Clinical columns that enter a phenotype model beside the genes.
        genes: Those that enter a phenotype model; empty for the panel's.
        l1_ratio: Of the penalty.
        penalties: On the path.
        folds: Of the cross-validation that chooses the penalty.
        select: How many genes the screen hands on to a classifier.
        cox_select: And to a Cox model.
        survival_model: cox or discrete.
        ties: efron or breslow.
        validation: Of the model: by patients, by groups of sites, or none.
        outer_folds: Folds of patients.
        site_groups: Groups of sites.
        stability: Halves of the patients on which the choice of genes is repeated; 0 for none.
        roc_bins: Of scores.
        strata_by_site: Whether every DIZ has a baseline hazard of its own.
        grid: Of survival times: first, last and step; empty with `strata_by_site`.
        rounds: Of the network's training.
        hidden: Its hidden units.
        epochs: At a DIZ, in each round.
        learning_rate: Likewise.
        batch_size: Likewise.
        weight_decay: Likewise.
        dropout: Likewise.
        norm_groups: Of its normalisation; 0 for none.
        seed: Of its first weights.
    """

    analysis: str
    set: str
    panel: str
    scale: str
    levels: dict[str, tuple[str, ...]]
    design: tuple[str, ...]
    contrasts: tuple[str, ...]
    batch: str
    method: str
    scaling: str
    filter: bool
    filter_group: str
    median_library: float
    outcome: str
    event: str
    covariates: tuple[str, ...]
    genes: tuple[str, ...]
    l1_ratio: float
    penalties: int
    folds: int
    select: int
    cox_select: int
    survival_model: str
    ties: str
    validation: str
    outer_folds: int
    site_groups: int
    stability: int
    roc_bins: int
    strata_by_site: bool
    grid: tuple[float, ...]
    rounds: int
    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    dropout: float
    norm_groups: int
    seed: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Settings":
        """From a run config.

        Raises:
            InputError: Something is missing, or not of its form.
        """
        analysis, of = str(config["analysis"]), str(config["set"])
        if analysis not in ANALYSES:
            raise InputError(f"There is no analysis {analysis!r}; choose one of {', '.join(ANALYSES)}.")
        if of != OWN and of not in PRESETS:
            raise InputError(f'There is no set {of!r}; state "{OWN}" for own data, or one of {", ".join(PRESETS)}.')
        preset = PRESETS.get(of)
        known = preset.analyses.get(analysis, {}) if preset else {}
        said = {key: str(config[key]).strip() or known.get(key, "") for key in _FROM_PRESET}
        found = cls(
            analysis=analysis,
            set=of,
            panel=stated(config, "panel"),
            scale=stated(config, "scale"),
            levels=parse_levels(stated(config, "levels")),
            design=parse_design(said["design"]),
            contrasts=_names(said["contrasts"], ";"),
            batch=said["batch"] or "site",
            method=said["method"] or "limma",
            scaling=said["scaling"] or ("tmm" if stated(config, "scale") == COUNTS else "none"),
            filter=bool(config["filter"]),
            filter_group=str(config["filter-group"]).strip(),
            median_library=float(config["median-library"]),
            outcome=said["outcome"],
            event=said["event"],
            covariates=_names(said["covariates"]),
            genes=_names(str(config["genes"])),
            l1_ratio=float(config["l1-ratio"]),
            penalties=int(config["penalties"]),
            folds=int(config["folds"]),
            select=int(config["select"]),
            cox_select=int(config["cox-select"]),
            survival_model=str(config["survival-model"]),
            ties=str(config["ties"]),
            validation=str(config["validation"]),
            outer_folds=int(config["outer-folds"]),
            site_groups=int(config["site-groups"]),
            stability=int(config["stability"]),
            roc_bins=int(config["roc-bins"]),
            strata_by_site=bool(config["strata-by-site"]),
            grid=tuple(_number(part, "grid") for part in said["grid"].split(":") if said["grid"]),
            rounds=int(config["rounds"]),
            hidden=int(config["hidden"]),
            epochs=int(config["epochs"]),
            learning_rate=float(config["learning-rate"]),
            batch_size=int(config["batch-size"]),
            weight_decay=float(config["weight-decay"]),
            dropout=float(config["dropout"]),
            norm_groups=int(config["norm-groups"]),
            seed=int(config["seed"]),
        )
        found._check()
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Settings":
        """From what `to_json` gave, after a way through JSON."""
        values = {f.name: stored[f.name] for f in fields(cls)}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        values["levels"] = {name: tuple(levels) for name, levels in stored["levels"].items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The design's columns with levels, in order."""
        return tuple(name for name in self.design if name in self.levels)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The design's other columns, in order."""
        return tuple(name for name in self.design if name not in self.levels)

    @property
    def times(self) -> Float:
        """(T,) the grid of survival times.

        Raises:
            InputError: There is none: curves and the screen need one also with a baseline hazard for each DIZ.
        """
        first, last, step = self.grid if len(self.grid) == 3 else (0.0, 0.0, 0.0)
        if not 0 < first <= last or step <= 0:
            raise InputError('State a grid of times above 0, first:last:step, as in grid = "30:3600:30".')
        steps = int(np.floor((last - first) / step * (1 + 1e-12)))
        return np.asarray(first + step * np.arange(steps + 1))

    @property
    def group(self) -> str | None:
        """The category whose smallest group the filter of low counts goes by; None for no filter."""
        if not self.filter:
            return None
        return self.filter_group or next(iter(self.categorical), None)

    def _check(self) -> None:
        for name, stated_word, allowed in (
            ("scale", self.scale, SCALES),
            ("batch", self.batch, BATCHES),
            ("method", self.method, METHODS),
            ("scaling", self.scaling, SCALINGS),
            ("validation", self.validation, VALIDATIONS),
            ("survival-model", self.survival_model, ("cox", "discrete")),
            ("ties", self.ties, ("efron", "breslow")),
        ):
            if stated_word not in allowed:
                raise InputError(f"The run-config key {name!r} is one of {', '.join(allowed)}, not {stated_word!r}.")
        needed: dict[str, object] = {"outcome": self.outcome}
        if self.analysis == "differential":
            needed = {"design": self.design}
        elif self.analysis == "survival":
            needed["event"] = self.event
        for key, value in needed.items():
            if not value:
                raise InputError(
                    f"The analysis {self.analysis} of {self.set} needs the run-config key {key!r}; state it in "
                    "[tool.flwr.app.config] of pyproject.toml."
                )
        if SPLIT in self.levels:
            raise InputError("The levels of 'split' are train and test; declare others under another name.")
        if self.analysis == "differential":
            self._check_differential()
        elif self.analysis != "survival" and self.outcome not in self.levels:
            raise InputError(f'Declare the classes of {self.outcome}, as in levels = "{self.outcome}=no|yes".')

    def _check_differential(self) -> None:
        if self.method == "voom" and self.scale != COUNTS:
            raise InputError('voom is for raw counts; these are logarithms: state method = "limma".')
        if self.method == "limma" and self.scale == COUNTS:
            raise InputError('Counts need method = "voom" or "limma-trend"; limma is for logarithms.')
        if self.scaling != "none" and self.scale != COUNTS:
            raise InputError('Library sizes are scaled of counts; these are logarithms: state scaling = "none".')
        if self.filter_group and self.filter_group not in self.levels:
            raise InputError(f"Declare the levels of {self.filter_group}, or name another filter-group.")


def parse_design(formula: str) -> tuple[str, ...]:
    """The columns of an additive formula.

    >>> parse_design("~ cancer + age"), parse_design("cancer, age"), parse_design("")
    (('cancer', 'age'), ('cancer', 'age'), ())

    Args:
        formula: ``"~ a + b"`` or ``"a, b"``; a term 1 is the intercept, which is always there.

    Raises:
        InputError: It has interactions, no intercept, functions, or a column twice.
    """
    text = formula.strip().removeprefix("~")
    found = []
    for term in (part.strip() for part in text.replace(",", "+").split("+")):
        if term in {"", "1"}:
            continue
        if term == "0" or any(sign in term for sign in "*:()^-%|~ "):
            raise InputError(
                f'The design {formula!r} is not a plain sum of columns, as in "~ cancer + age"; add a column to the '
                "sample sheets for an interaction or a transform, and leave the intercept in."
            )
        found.append(term)
    if len(set(found)) < len(found):
        raise InputError(f"The design {formula!r} names a column twice.")
    return tuple(found)


def _names(text: str, separator: str = ",") -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(separator))))


def _number(text: str, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"The run-config key {key!r} has {text!r} where a number should be.") from None
