"""`[tool.flame]`: the terms a researcher states in the app's pyproject.toml, and that a steward approves.

All models are frozen and refuse unknown fields: a misspelt limit is an error, not a missing limit. What is not listed
is denied: message types, arrays, metrics and run-config overrides alike.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.contract.release_contract import ArrayRule, MessageTerms, MetricRule
from flame_fl.contract.words import Frozen, ItemName, Name, Scalar, Text

__all__ = [
    "ArrayRule",
    "Condition",
    "DataStore",
    "Federation",
    "Frozen",
    "Limits",
    "MessageTerms",
    "MetricRule",
    "OverrideRule",
    "Privacy",
    "Project",
    "Resources",
    "Scalar",
    "Simulation",
    "Terms",
    "Validity",
    "Variant",
]


class Project(Frozen):
    """What a DIZ's project approval is about. All of it is shown to the steward."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    """Short name in kebab-case."""
    title: Text
    """One line for people."""
    purpose: Text
    """What the analysis is for."""
    legal_basis: Text
    """On what the processing rests: consent, statute, contract."""
    ethics_reference: Text
    """The ethics committee's vote."""
    responsible_person: Text
    """Who answers for it, with a way to reach them."""


class OverrideRule(Frozen):
    """Values of one run-config key that need no new approval: either `min` and `max`, or `one_of`."""

    min: float | None = None
    """Smallest number allowed."""
    max: float | None = None
    """Largest number allowed."""
    one_of: tuple[Scalar, ...] | None = None
    """The values allowed."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        ranged = self.min is not None and self.max is not None
        if ranged == (self.one_of is not None) or (self.min is None) != (self.max is None):
            raise ValueError("give either min and max, or one_of: an open range allows everything")
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

    A site's update is arbitrary within the ball of radius `clip_norm`, so the L2 sensitivity of a release is
    `2 * clip_norm` (replace-one-site, local model).
    """

    unit: Literal["none", "site"] = "none"
    """Whose data the claim is about."""
    ground: Literal["none", "reviewed", "enforced"] = "none"
    """What the claim stands on: nothing, a person's review, or the gate's own arithmetic."""
    mechanism: Literal["none", "clip", "discrete-gaussian"] = "none"
    """What the gate does to an update. Clipping alone bounds a site's influence and claims no privacy."""
    clip_norm: Annotated[float, Field(ge=1e-30, le=1e30)] | None = None
    """Bound on the L2 norm of one site's whole update: all arrays together and, with noise, the metrics too."""
    noise_multiplier: Annotated[float, Field(ge=1e-4, le=1e6)] | None = None
    """Standard deviation of the noise on each coordinate, in units of clip_norm."""
    epsilon_max: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Cap on what all releases of the analysis may cost each data store."""
    delta: Annotated[float, Field(ge=1e-30, le=0.1)] | None = None
    """The delta that epsilon_max is stated at."""
    metric_share: Annotated[float, Field(ge=1e-3, le=1)] = 0.1
    """With noise, a metric is mapped from its range to [-1, 1], and then to this share of clip_norm."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        noisy = self.mechanism == "discrete-gaussian"
        if noisy != (self.ground == "enforced") or noisy != (self.unit != "none"):
            raise ValueError(
                'ground = "enforced" with unit = "site" needs mechanism = "discrete-gaussian",'
                " and no other ground may use it"
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
    """Runs over the approval's life."""
    requires_state: bool = False
    """An app whose session was lost in the middle of a run fails instead of starting again without its state."""


class Federation(Frozen):
    """How many DIZ a run needs."""

    min_sites: Annotated[int, Field(ge=1, le=10_000)] = 1
    """DIZ that must have approved, and be connected, for a run to begin. A run works with those that had approved when
    it began: one that approves later takes part in the next run."""


class Resources(Frozen):
    """What one sandbox may use."""

    cpus: Annotated[float, Field(gt=0, le=256)] = 1
    """Processors."""
    memory_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] = 2_000_000_000
    """Memory."""
    pids: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Processes and threads."""
    seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = 600
    """Deadline of one message; the first also pays for the imports."""
    scratch_bytes: Annotated[int, Field(ge=1024 * 1024)] = 256_000_000
    """Room for temporary files, and the largest file. In a container it is memory, and counts as such."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """Graphics processors; none unless the node offers them."""


class Validity(Frozen):
    """Days, both included, on which the approval may hold."""

    from_: Annotated[date, Field(alias="from")]
    """First day (UTC)."""
    until: date
    """Last day (UTC)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.until < self.from_:
            raise ValueError("until lies before from")
        return self


class Variant(Frozen):
    """A derived analysis that a demonstration runs beside the stated one: the same code on other privacy terms."""

    name: Name
    """Name of its folder in the run's."""
    privacy: Literal["none", "site"]
    """As `flame simulate --privacy`."""
    epsilon: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """As `flame simulate --epsilon`."""
    messages: tuple[Name, ...] = ()
    """As `flame simulate --messages`."""
    run_config: dict[ItemName, Scalar] = Field(default_factory=dict)
    """Overrides of the run config."""


class Simulation(Frozen):
    """The researcher's own tools around a simulation; a node never runs them."""

    module: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
    """Python module with the commands `prepare` and `compare`."""
    variants: tuple[Variant, ...] = ()
    """Analyses that `flame demo` runs beside the stated one."""


class Terms(Frozen):
    """All of `[tool.flame]`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """Version of this format."""
    project: Project
    """What the analysis is for, and who answers for it."""
    data: dict[Name, DataStore] = Field(default_factory=dict)
    """The data stores it reads, by name. An app sees no other."""
    messages: dict[Name, MessageTerms]
    """The release contract, by message type: "train", "evaluate" or "query", optionally ".action"."""
    run_config: dict[ItemName, OverrideRule] = Field(default_factory=dict)
    """Run-config keys that a submission may override without a new approval."""
    privacy: Privacy
    """The privacy claim; stating that there is none is stating something."""
    federation: Federation = Federation()
    """How many DIZ a run needs."""
    limits: Limits = Limits()
    """How often it may run."""
    resources: Resources = Resources()
    """What a sandbox may use."""
    validity: Validity
    """When the approval may hold."""
    simulation: Simulation | None = None
    """The researcher's own tools."""

    @model_validator(mode="after")
    def _enforceable(self) -> Self:
        for kind, terms in self.messages.items():
            if kind.split(".")[0] not in {"train", "evaluate", "query"} or kind.count(".") > 1:
                raise ValueError(f'message type {kind!r} is not "train", "evaluate" or "query", optionally ".action"')
            if ".flame_" in kind:
                raise ValueError(f"message type {kind!r} is the gate's own")
            if self.privacy.mechanism == "none":
                continue
            try:
                terms.check_claim(noisy=self.privacy.ground == "enforced")
            except ValueError as err:
                raise ValueError(f"{kind}: {err}") from None
        return self
