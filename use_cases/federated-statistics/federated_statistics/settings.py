"""What a run is asked to do, from its run config and the preset of its set.

Lists are written ``"age, bmi"``; ranges ``"age=0:120; bmi=10:60"``; levels ``"sex=female|male; stage=I|II|III"``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from federated_statistics.errors import InputError
from federated_statistics.presets import OWN, PRESETS, declared_levels
from federated_statistics.store import parse_levels

ANALYSES = (
    "summary",
    "histogram",
    "crosstab",
    "quantiles",
    "correlation",
    "pca",
    "linear",
    "logistic",
    "poisson",
    "cox",
    "elastic-net",
)
_FROM_PRESET = ("columns", "categories", "outcome", "event", "exposure", "row", "column", "grid", "family")


@dataclass(frozen=True)
class Settings:
    """One analysis.

    Attributes:
        analysis: One of `ANALYSES`.
        set: One of the packaged sets, or "own".
        columns: Numeric columns: those described, or a model's.
        categories: Columns with levels that enter a model.
        outcome: Of a model; the time in a Cox regression.
        event: Of a Cox regression, 0 or 1.
        exposure: Of a Poisson regression; empty for none.
        row: Of a cross table.
        column: Of a cross table.
        levels: By column, declared.
        ranges: By column, (low, high); bins and grids lie in it.
        whole: Columns that hold whole numbers only.
        rows: Of correlations: "complete" or "pairwise".
        scaled: Whether columns are scaled to unit variance before PCA.
        components: How many of the PCA; 0 for all.
        quantiles: "exact", "linear" (exact, between two values) or "grid".
        probabilities: Of the quantiles.
        bins: Of histograms and grids.
        grid: Of a Cox regression's times: first, last and step; empty if every DIZ has its own baseline hazard.
        strata_by_site: Whether it has.
        robust: Whether a GLM's standard errors are sandwich ones.
        family: Of the elastic net: linear, logistic or poisson.
        l1_ratio: Of the elastic net.
        penalties: On the elastic net's path.
        folds: Of its cross-validation.
    """

    analysis: str
    set: str
    columns: tuple[str, ...]
    categories: tuple[str, ...]
    outcome: str
    event: str
    exposure: str
    row: str
    column: str
    levels: dict[str, tuple[str, ...]]
    ranges: dict[str, tuple[float, float]]
    whole: tuple[str, ...]
    rows: str
    scaled: bool
    components: int
    quantiles: str
    probabilities: tuple[float, ...]
    bins: int
    grid: tuple[float, ...]
    strata_by_site: bool
    robust: bool
    family: str
    l1_ratio: float
    penalties: int
    folds: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Settings":
        """From a run config.

        Raises:
            InputError: Something is missing, or not of its form.
        """
        analysis, of = str(config["analysis"]), str(config["set"])
        if analysis not in ANALYSES or (of != OWN and of not in PRESETS):
            raise InputError(f"There is no analysis {analysis!r} of {of!r}; see the README for both.")
        preset = PRESETS.get(of)
        said = {key: str(config[key]).strip() for key in _FROM_PRESET}
        if preset:
            known = {"columns": ",".join(preset.columns), **preset.analyses.get(analysis, {})}
            said = {key: value or known.get(key, "") for key, value in said.items()}
        found = cls(
            analysis=analysis,
            set=of,
            columns=_names(said["columns"]),
            categories=_names(said["categories"]),
            outcome=said["outcome"],
            event=said["event"],
            exposure=said["exposure"],
            row=said["row"],
            column=said["column"],
            levels=parse_levels(declared_levels(config)),
            ranges={**(preset.ranges if preset else {}), **_ranges(str(config["ranges"]))},
            whole=_names(str(config["whole"])) or (preset.whole if preset else ()),
            rows=str(config["rows"]),
            scaled=bool(config["scaled"]),
            components=int(config["components"]),
            quantiles=str(config["quantiles"]),
            probabilities=tuple(_number(p, "probabilities") for p in _names(str(config["probabilities"]))),
            bins=int(config["bins"]),
            grid=tuple(_number(part, "grid") for part in said["grid"].split(":") if said["grid"]),
            strata_by_site=bool(config["strata-by-site"]),
            robust=bool(config["robust"]),
            family=said["family"],
            l1_ratio=float(config["l1-ratio"]),
            penalties=int(config["penalties"]),
            folds=int(config["folds"]),
        )
        found._check()
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Settings":
        """From what `to_json` gave, after a way through JSON."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        for key in ("levels", "ranges"):
            values[key] = {name: tuple(pair) for name, pair in stored[key].items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def range_of(self, name: str) -> tuple[float, float]:
        """The declared range of a column.

        Raises:
            InputError: There is none.
        """
        if name not in self.ranges:
            raise InputError(f'Declare a range for {name}, as in ranges = "{name}=0:100"; bins are laid into it.')
        return self.ranges[name]

    def _check(self) -> None:
        needs: dict[str, tuple[str, ...]] = {"cox": ("outcome", "event"), "crosstab": ("row", "column")}
        needs |= dict.fromkeys(("linear", "logistic", "poisson", "elastic-net"), ("outcome",))
        for key in needs.get(self.analysis, ()):
            if not getattr(self, key):
                raise InputError(f"The analysis {self.analysis} of {self.set} needs the run-config key {key!r}.")
        if self.analysis == "elastic-net" and self.family not in {"linear", "logistic", "poisson"}:
            raise InputError("The run-config key 'family' of an elastic net is linear, logistic or poisson.")
        if self.analysis == "cox" and not self.strata_by_site:
            first, last, step = self.grid if len(self.grid) == 3 else (0.0, 0.0, 0.0)
            if not (step > 0 and first <= last):
                raise InputError('A Cox regression needs a grid of times, first:last:step, as in grid = "1:3650:1".')
        if not self.columns and self.analysis != "crosstab" and not self.categories:
            raise InputError('Name the columns, as in columns = "age, bmi".')
        wanted = {*self.categories, *({self.row, self.column} if self.analysis == "crosstab" else ())}
        if bare := sorted(wanted - set(self.levels)):
            raise InputError(f'Declare the levels of {", ".join(bare)}, as in levels = "{bare[0]}=a|b".')


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _ranges(text: str) -> dict[str, tuple[float, float]]:
    found = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, bounds = part.partition("=")
        low, _, high = bounds.partition(":")
        found[name.strip()] = (_number(low, "ranges"), _number(high, "ranges"))
    return found


def _number(text: str, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"The run-config key {key!r} has {text!r} where a number should be.") from None
