"""`[tool.flame]`: the terms a researcher states in the app's pyproject.toml, and that a steward approves.

All models are frozen and refuse unknown fields: a misspelt limit is an error, not a missing limit. What is not listed
is denied: message types, arrays, metrics and run-config overrides alike.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from flame_fl.contract.content import DTYPES

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$")]
ItemName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
AtMost = Annotated[str, StringConstraints(pattern=r"^<=[1-9][0-9]{0,9}$")]
Scalar = bool | int | float | str


class Frozen(BaseModel):
    """Base of all terms: immutable, and nothing unknown passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Project(Frozen):
    """What a DIZ's project approval is about. All of it is shown to the steward."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    title: Text
    purpose: Text
    legal_basis: Text
    ethics_reference: Text
    responsible_person: Text


class DataStore(Frozen):
    """A data store the analysis reads. `table` and `patient_id` say how patients are counted in it."""

    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]+\.parquet$")]
    patient_id: Text
    min_patients: Annotated[int, Field(ge=1)] = 10


class ArrayRule(Frozen):
    """One array that may leave. A dimension is exact (an integer) or bounded ("<=N")."""

    record: ItemName
    name: ItemName
    dtype: str
    shape: tuple[Annotated[int, Field(ge=0)] | AtMost, ...]

    @model_validator(mode="after")
    def _known_dtype(self) -> Self:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is unknown; use one of {', '.join(sorted(DTYPES))}")
        return self

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may leave."""
        return len(shape) == len(self.shape) and all(
            have == want if isinstance(want, int) else have <= int(want[2:])
            for have, want in zip(shape, self.shape, strict=True)
        )

    @property
    def exact_shape(self) -> tuple[int, ...] | None:
        """The shape if every dimension is exact, else None."""
        dims = tuple(d for d in self.shape if isinstance(d, int))
        return dims if len(dims) == len(self.shape) else None


class MetricRule(Frozen):
    """One metric that may leave. `min` and `max` bound it; under an enforced claim both are needed."""

    record: ItemName
    name: ItemName
    kind: Literal["count", "mean", "sum", "score"]
    min: float | None = None
    max: float | None = None
    length: Annotated[int, Field(ge=1, le=10_000)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"metric {self.name!r}: min must be below max")
        return self


class MessageTerms(Frozen):
    """What may be asked with one message type, how often, and what may leave in answer."""

    per_run: Annotated[int, Field(ge=1, le=1_000_000)]
    update: Literal["delta", "value"] = "value"
    max_bytes: Annotated[int, Field(ge=1, le=1 << 31)] = 256 * 1024 * 1024
    arrays: tuple[ArrayRule, ...] = ()
    metrics: tuple[MetricRule, ...] = ()

    @model_validator(mode="after")
    def _listed_once(self) -> Self:
        keys = [(r.record, r.name) for r in self.arrays] + [(r.record, r.name) for r in self.metrics]
        if len(keys) != len(set(keys)):
            raise ValueError("an array or metric is listed twice")
        records = {r.record for r in self.arrays}, {r.record for r in self.metrics}
        if records[0] & records[1] or "flame" in records[0] | records[1]:
            raise ValueError('arrays and metrics need records of their own, and "flame" is the gate\'s')
        return self


class OverrideRule(Frozen):
    """Values of one run-config key that need no new approval."""

    min: float | None = None
    max: float | None = None
    one_of: tuple[Scalar, ...] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.one_of is None and (self.min is None or self.max is None):
            raise ValueError("give min and max, or one_of: an open range allows everything")
        return self

    def allows(self, value: Scalar, default: Scalar) -> bool:
        """Whether `value` may stand in for the FAB's own `default`: same type, and inside the rule."""
        if type(value) is not type(default):
            return False
        if self.one_of is not None:
            return any(type(v) is type(value) and v == value for v in self.one_of)
        if isinstance(value, bool | str) or self.min is None or self.max is None:
            return False
        return self.min <= value <= self.max


class Privacy(Frozen):
    """The privacy claim: its unit, its ground, and the mechanism that carries it.

    `clip_norm` bounds the L2 norm of one site's whole update (arrays and metrics together). The noise added to each
    coordinate has standard deviation `noise_multiplier * clip_norm`. A site's update is arbitrary within the ball, so
    the L2 sensitivity of a release is `2 * clip_norm` (replace-one-site, local model).
    """

    unit: Literal["none", "site"] = "none"
    ground: Literal["none", "reviewed", "enforced"] = "none"
    mechanism: Literal["none", "clip", "discrete-gaussian"] = "none"
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)] | None = None
    epsilon_max: Annotated[float, Field(gt=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    metric_share: Annotated[float, Field(gt=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        noisy = self.mechanism == "discrete-gaussian"
        if noisy != (self.ground == "enforced") or noisy != (self.unit != "none"):
            raise ValueError(
                'ground = "enforced" with unit = "site" needs mechanism = "discrete-gaussian", and no other ground may use it'
            )
        if self.mechanism != "none" and self.clip_norm is None:
            raise ValueError(f'mechanism = "{self.mechanism}" needs clip_norm')
        missing = [f for f in ("noise_multiplier", "epsilon_max", "delta") if getattr(self, f) is None]
        if noisy and missing:
            raise ValueError(f'mechanism = "discrete-gaussian" needs {", ".join(missing)}')
        return self


class Limits(Frozen):
    """How often the analysis may run at one node."""

    runs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    requires_state: bool = False


class Resources(Frozen):
    """What one sandbox may use. `seconds` is the deadline of one message; the first also pays for the imports."""

    cpus: Annotated[float, Field(gt=0, le=256)] = 1
    memory_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] = 2_000_000_000
    pids: Annotated[int, Field(ge=1, le=100_000)] = 64
    seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = 600


class Validity(Frozen):
    """Days, both included, on which the approval may hold."""

    from_: Annotated[date, Field(alias="from")]
    until: date

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.until < self.from_:
            raise ValueError("until lies before from")
        return self


class Variant(Frozen):
    """A derived analysis that a demonstration runs beside the stated one: the same code on other privacy terms."""

    name: Name
    privacy: Literal["none", "site"]
    epsilon: Annotated[float, Field(gt=0)] | None = None
    messages: tuple[Name, ...] = ()
    run_config: dict[ItemName, Scalar] = Field(default_factory=dict)


class Simulation(Frozen):
    """The researcher's own tools around a simulation; a node never runs them."""

    module: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
    variants: tuple[Variant, ...] = ()


class Terms(Frozen):
    """All of `[tool.flame]`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    project: Project
    data: dict[Name, DataStore] = Field(default_factory=dict)
    messages: dict[Name, MessageTerms]
    run_config: dict[ItemName, OverrideRule] = Field(default_factory=dict)
    privacy: Privacy
    limits: Limits = Limits()
    resources: Resources = Resources()
    validity: Validity
    simulation: Simulation | None = None

    @model_validator(mode="after")
    def _enforceable(self) -> Self:
        """What a claim needs of the release contract (decided before anything runs, so it cannot leak)."""
        for kind, terms in self.messages.items():
            if kind.split(".")[0] not in {"train", "evaluate", "query"} or kind.count(".") > 1:
                raise ValueError(f'message type {kind!r} is not "train", "evaluate" or "query", optionally ".action"')
            if ".flame_" in kind:
                raise ValueError(f"message type {kind!r} is the gate's own")
            if self.privacy.mechanism == "none":
                continue
            if any(not rule.dtype.startswith("float") for rule in terms.arrays):
                raise ValueError(f"{kind}: an update that is clipped may hold only float arrays")
            if self.privacy.ground == "enforced":
                if any(rule.exact_shape is None for rule in terms.arrays):
                    raise ValueError(f"{kind}: under an enforced claim every array needs an exact shape")
                if any(m.length is not None for m in terms.metrics):
                    raise ValueError(f"{kind}: under an enforced claim a metric is one number; send lists as arrays")
                open_ = [m.name for m in terms.metrics if m.kind != "count" and (m.min is None or m.max is None)]
                if open_:
                    raise ValueError(f"{kind}: under an enforced claim these metrics need min and max: {open_}")
        return self
