"""What a run is asked to do, from its run config and the preset of its set.

Lists are written ``"age, sex"``; levels ``"batch=A|B; smoker=no|yes"``, the first being the reference.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gwas.errors import InputError
from gwas.presets import OWN, PRESETS, stated

ANALYSES = ("linear", "logistic", "two-step", "score")
MISSINGS = ("impute", "exclude")
AMBIGUOUS = ("drop", "keep", "frequency")

SAMPLE_ID, PATIENT_ID, SPLIT, SEX = "sample_id", "patient_id", "split", "sex"
RESERVED = (SAMPLE_ID, PATIENT_ID, SPLIT)

_FROM_PRESET = ("phenotype", "cases", "covariates")


@dataclass(frozen=True)
class Settings:
    """One analysis.

    Attributes:
        analysis: One of `ANALYSES`.
        set: One of the packaged sets, or "own".
        panel: Name of the panel.
        build: Of the genome, that the panel must be of; empty for whatever it is of.
        phenotype: Column of the sample sheets.
        cases: Of a disease: the phenotype's value of cases, "2" (controls 1, as PLINK has it) or "1" (controls 0);
            empty for a quantitative trait.
        covariates: Columns, in order.
        levels: By column, declared; the first is the reference.
        pcs: Principal components that are covariates; 0 for none.
        missing: Of calls: "impute" the DIZ's most frequent one, or "exclude" the sample from the variant's test, as
            PLINK does.
        geno: Largest share of missing calls of a variant.
        mind: Largest share of missing calls of a sample.
        maf: Smallest frequency of the rarer allele.
        hwe: Smallest p of the test of Hardy-Weinberg equilibrium.
        hwe_in: Whether that is of "all" samples or of "controls".
        sex_check: Whether samples whose X chromosome speaks against their sex are counted (they stay in).
        ambiguous: What becomes of A/T and C/G variants: "drop", "keep" (one strand everywhere), "frequency".
        min_carriers: Of the effect allele, and of the other one: below it a variant has no result.
        min_sites: DIZ that have a variant: below it there is no result.
        chunk: Variants per message.
        ld_window: Variants among which pairs are pruned.
        ld_step: By which the window moves on.
        ld_r2: Largest squared correlation that stays.
        pca_maf: Smallest frequency of variants that the components are of.
        pca_rounds: At most.
        firth: Firth's penalty: "no", "fallback" where logistic regression fails, or "always".
        coefficient_limit: A DIZ refuses a message that brings a larger coefficient of a logistic model.
        saturation: Patients beyond this linear predictor do not count as carriers: their weight says nothing.
        blocks: Of the two-step method: variants per block.
        ridge: Of the two-step method: heritabilities that make the penalties.
        folds: Likewise: of samples, at every DIZ.
        score_p: Of a score: largest p of the variants that enter it.
        score_r2: Likewise, largest squared correlation of two of them.
        score_kb: Likewise, within this distance.
        score_model: ridge or lasso.
        seed: Of what is drawn.
        min_nodes: DIZ that must contribute.
        timeout: Seconds to wait for them.
    """

    analysis: str
    set: str
    panel: str
    build: str
    phenotype: str
    cases: str
    covariates: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    pcs: int
    missing: str
    geno: float
    mind: float
    maf: float
    hwe: float
    hwe_in: str
    sex_check: bool
    ambiguous: str
    min_carriers: int
    min_sites: int
    chunk: int
    ld_window: int
    ld_step: int
    ld_r2: float
    pca_maf: float
    pca_rounds: int
    firth: str
    coefficient_limit: float
    saturation: float
    blocks: int
    ridge: tuple[float, ...]
    folds: int
    score_p: float
    score_r2: float
    score_kb: float
    score_model: str
    seed: int
    min_nodes: int
    timeout: float

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
        values: dict[str, Any] = {
            "analysis": analysis,
            "set": of,
            "panel": stated(config, "panel"),
            "levels": parse_levels(stated(config, "levels")),
            "phenotype": said["phenotype"],
            "cases": said["cases"] or ("2" if analysis == "logistic" else ""),
            "covariates": tuple(_parts(said["covariates"], ",")),
            "ridge": tuple(_number(part, "ridge") for part in _parts(str(config["ridge"]), "|")),
        }
        for field in fields(cls):
            if field.name not in values:
                values[field.name] = _TYPES[_type_name(field.type)](config[field.name.replace("_", "-")])
        found = cls(**values)
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
    def binary(self) -> bool:
        """Whether the phenotype is a disease."""
        return self.cases != ""

    @property
    def coding(self) -> tuple[float, float]:
        """The phenotype's values of controls and of cases."""
        return float(self.cases) - 1, float(self.cases)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The covariates with levels, in order."""
        return tuple(name for name in self.covariates if name in self.levels)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The other covariates, in order."""
        return tuple(name for name in self.covariates if name not in self.levels)

    @property
    def columns(self) -> int:
        """q, of the design: the intercept, the covariates and the principal components."""
        return 1 + len(self.numeric) + sum(len(self.levels[name]) - 1 for name in self.categorical) + self.pcs

    def _check(self) -> None:
        for key, word, allowed in (
            ("missing", self.missing, MISSINGS),
            ("hwe-in", self.hwe_in, ("all", "controls")),
            ("ambiguous", self.ambiguous, AMBIGUOUS),
            ("firth", self.firth, ("fallback", "no", "always")),
            ("score-model", self.score_model, ("ridge", "lasso")),
            ("cases", self.cases, ("", "1", "2")),
        ):
            if word not in allowed:
                shown = ", ".join(found or '""' for found in allowed)
                raise InputError(f"The run-config key {key!r} is one of {shown}, not {word!r}.")
        for key in ("geno", "mind", "maf", "hwe", "ld_r2", "pca_maf", "score_p", "score_r2"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"The run-config key {key.replace('_', '-')!r} is a number from 0 to 1.")
        for key, least in (
            ("min_carriers", 1),
            ("min_sites", 1),
            ("chunk", 1),
            ("folds", 2),
            ("blocks", 1),
            ("pcs", 0),
        ):
            if getattr(self, key) < least:
                raise InputError(f"The run-config key {key.replace('_', '-')!r} is at least {least}.")
        if not self.ridge or not all(0 < share < 1 for share in self.ridge):
            raise InputError('State heritabilities between 0 and 1, as in ridge = "0.01|0.25|0.5|0.75|0.99".')
        self._check_columns()

    def _check_columns(self) -> None:
        if not self.panel:
            raise InputError("State a panel: which variants, in which order (`python -m gwas panel` writes one).")
        if not self.phenotype:
            raise InputError("State the column of the sample sheets that is the phenotype.")
        if self.analysis in ("linear", "two-step") and self.binary:
            raise InputError(
                f'The analysis {self.analysis} is for quantitative traits; for a disease state analysis = "logistic".'
            )
        if self.hwe_in == "controls" and not self.binary:
            raise InputError('Only a disease has controls; state hwe-in = "all".')
        named = [self.phenotype, *self.covariates]
        if len(set(named)) < len(named):
            raise InputError("A column is named twice among phenotype and covariates.")
        if reserved := [name for name in [*named, *self.levels] if name in RESERVED]:
            raise InputError(f"The column {reserved[0]!r} cannot be a phenotype or covariate.")
        if self.phenotype in self.levels:
            raise InputError("A phenotype has no levels; it is a number, or 1 and 2 (see the key 'cases').")


def parse_levels(text: str) -> dict[str, tuple[str, ...]]:
    """Declared levels by column; the first one is the reference.

    Args:
        text: ``"column=level|level; column=level|level"``; empty for none.

    Raises:
        InputError: It is not of this form, or a column has fewer than two levels, or one twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in _parts(text, ";"):
        name, sign, said = (word.strip() for word in part.partition("="))
        levels = tuple(level.strip() for level in said.split("|"))
        if not name or not sign or name in found or "" in levels or len(set(levels)) < max(2, len(levels)):
            raise InputError(f"The levels {part!r} are not of the form column=level|level, each of them once.")
        found[name] = levels
    return found


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _word(value: Any) -> str:
    return str(value).strip()


def _type_name(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(kind.__name__)


_TYPES: Mapping[str, Callable[[Any], Any]] = {"int": int, "float": float, "bool": bool, "str": _word}


def _number(text: str, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"The run-config key {key!r} has {text!r} where a number should be.") from None
