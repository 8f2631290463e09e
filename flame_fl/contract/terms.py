"""`[tool.flame]`: the terms a researcher states in the app's pyproject.toml, and that a steward approves.

All models are frozen and refuse unknown fields: a misspelt limit is an error, not a missing limit. What is not listed
is denied: message types, arrays, metrics and run-config overrides alike.
"""

import math
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.release_contract import ArrayRule, MessageTerms, MetricRule
from flame_fl.contract.secure_terms import SecureAggregation
from flame_fl.contract.vetted_terms import Work, check_work
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
    "SecureAggregation",
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
    """The privacy claim: whose data it is about, what it stands on, and the mechanism that carries it.

    `enforced` is the gate's own arithmetic on whatever the app sends: an update is arbitrary within the ball of radius
    `clip_norm`. Of unit site it is one update (replace one site: sensitivity 2 clip_norm); of unit patient the sum of
    `blocks` updates, each from its own patients (add or remove one patient: one block changes, 2 clip_norm).
    `vetted` is flame_fl's own code in the sandbox, without the bundle: per-patient contributions of norm `clip_norm`
    are summed (add or remove one patient: clip_norm). `reviewed` with such a mechanism is the same code called by the
    app: a person has to believe that it is called so.
    """

    unit: Literal["none", "site", "patient"] = "none"
    """Whose data the claim is about."""
    ground: Literal["none", "reviewed", "vetted", "enforced"] = "none"
    """What it stands on: nothing, a person's review, flame_fl's own code in the sandbox, or the gate's arithmetic."""
    mechanism: Literal["none", "clip", "discrete-gaussian", "dp-sgd", "sums"] = "none"
    """What carries it. Clipping alone bounds a site's influence and claims no privacy."""
    clip_norm: Annotated[float, Field(ge=1e-30, le=1e30)] | None = None
    """Bound on the L2 norm: of one update, all arrays together and with noise the metrics too; or of one patient's
    contribution (dp-sgd, sums)."""
    noise_multiplier: Annotated[float, Field(ge=1e-4, le=1e6)] | None = None
    """Standard deviation of the noise on each coordinate of the sum, in units of clip_norm."""
    epsilon_max: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Cap on what all releases of the analysis may cost each account."""
    delta: Annotated[float, Field(ge=1e-30, le=0.1)] | None = None
    """The delta that epsilon_max is stated at."""
    metric_share: Annotated[float, Field(ge=1e-3, le=1)] = 0.1
    """With noise, a metric is mapped from its range to [-1, 1], and then to this share of clip_norm."""
    blocks: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Enforced, unit patient: into how many blocks the patients are split; the app runs once for each."""
    slot_seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    """Enforced, unit patient: how long one block's turn takes, whatever the app does; so long is also its deadline."""
    adaptive_clip: bool = False
    """A message may ask for a smaller clip norm (record "flame", "clip_norm"); the noise shrinks with it, and the reply
    tells, with noise, which share of updates was within it."""
    sample_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """dp-sgd: the chance of each patient to be in a step's batch."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """dp-sgd: steps per message, all of which are made and paid for."""

    trust: Literal["local", "distributed"] = "local"
    """Enforced, with secure aggregation: "distributed" is noise in shares, which hold in the sum if as many DIZ are
    honest as [tool.flame.secure_aggregation] says; "local" is all of it at every DIZ, whoever is honest."""

    @property
    def claims(self) -> bool:
        """Whether releases are debited."""
        return self.mechanism in _NOISY

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.unit, self.ground, self.mechanism) not in _CLAIMS:
            raise ValueError(
                f'unit = "{self.unit}", ground = "{self.ground}", mechanism = "{self.mechanism}" is no claim that'
                ' exists: "enforced" needs "discrete-gaussian" with unit "site" or "patient"; "vetted" needs'
                ' "dp-sgd" or "sums" with unit "patient", and "reviewed" may use these; else the unit is "none"'
            )
        if self.mechanism != "none" and self.clip_norm is None:
            raise ValueError(f'mechanism = "{self.mechanism}" needs clip_norm')
        needed = ["noise_multiplier", "epsilon_max", "delta"] if self.claims else []
        needed += ["sample_rate", "steps"] if self.mechanism == "dp-sgd" else []
        blocked = self.ground == "enforced" and self.unit == "patient"
        needed += ["blocks", "slot_seconds"] if blocked else []
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(f'mechanism = "{self.mechanism}" of unit "{self.unit}" needs {", ".join(missing)}')
        given = {name for name in ("sample_rate", "steps", "blocks", "slot_seconds") if getattr(self, name) is not None}
        if unused := sorted(given - set(needed)):
            raise ValueError(f'mechanism = "{self.mechanism}" of unit "{self.unit}" has no {", ".join(unused)}')
        if blocked and ((self.blocks or 0) + 1) * (self.slot_seconds or 0.0) > _LONGEST_SECONDS:
            raise ValueError("blocks times slot_seconds is more than a week for one message")
        if self.trust == "distributed" and self.ground != "enforced":
            raise ValueError('trust = "distributed" needs ground = "enforced"')
        if self.adaptive_clip and self.ground != "enforced":
            raise ValueError('adaptive_clip needs ground = "enforced"')
        return self


MOST_HELD = 1 << 29
"""Clipped numbers of one message that a gate holds, four bytes each: a block whose patient goes is taken out again."""
_LONGEST_SECONDS = 7 * 86400.0
_NOISY = frozenset({"discrete-gaussian", "dp-sgd", "sums"})
_CLAIMS = frozenset(
    {
        ("none", "none", "none"), ("none", "none", "clip"), ("none", "reviewed", "none"), ("none", "reviewed", "clip"),
        ("patient", "reviewed", "dp-sgd"), ("patient", "reviewed", "sums"),
        ("patient", "vetted", "dp-sgd"), ("patient", "vetted", "sums"),
        ("site", "enforced", "discrete-gaussian"), ("patient", "enforced", "discrete-gaussian"),
    }
)  # fmt: skip


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
    privacy: Literal["none", "site", "patient"]
    """As `flame simulate --privacy`."""
    blocks: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """As `flame simulate --blocks`."""
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
    vetted: dict[Name, Work] = Field(default_factory=dict)
    """What flame_fl's own code computes in answer to each message type, for the mechanisms dp-sgd and sums."""
    disclosure: Disclosure = Disclosure()
    """Rules for what leaves without an arithmetic claim."""
    secure_aggregation: SecureAggregation = SecureAggregation()
    """Whether answers leave masked."""
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
        self._check_vetted()
        if self.data and all(store.optional for store in self.data.values()):
            raise ValueError("data: one store at least must not be optional, so that a DIZ has somebody's data")
        masked = self.secure_aggregation
        bounded, noisy = self.privacy.mechanism in {"clip", "discrete-gaussian"}, self.privacy.ground == "enforced"
        masked.check(self.federation.min_sites, self.messages, bounded=bounded, noisy=noisy)
        self._check_min_total(masked.min_total if masked.required else None)
        if self.privacy.trust == "distributed" and not masked.required:
            raise ValueError('privacy: trust = "distributed" needs secure_aggregation.required = true')
        for kind, terms in self.messages.items():
            if kind.split(".")[0] not in {"train", "evaluate", "query"} or kind.count(".") > 1:
                raise ValueError(f'message type {kind!r} is not "train", "evaluate" or "query", optionally ".action"')
            if ".flame_" in kind:
                raise ValueError(f"message type {kind!r} is the gate's own")
            if self.privacy.mechanism not in {"clip", "discrete-gaussian"}:
                if any(rule.clip_share for rule in terms.arrays):
                    raise ValueError(f"{kind}: clip_share needs an enforced claim")
                continue
            try:
                terms.check_claim(noisy=self.privacy.ground == "enforced")
                terms.check_shares(self.privacy.metric_share, extra=self.privacy.adaptive_clip)
                numbers = sum(math.prod(rule.exact_shape or ()) for rule in terms.arrays)
                if numbers * (self.privacy.blocks or 1) > MOST_HELD:
                    raise ValueError(f"blocks times numbers is beyond {MOST_HELD:,}, which a gate would have to hold")
            except ValueError as err:
                raise ValueError(f"{kind}: {err}") from None
        return self

    def _check_min_total(self, least: int | None) -> None:
        """What a minimum-count test takes the place of is not weaker than it.

        Raises:
            ValueError: It is.
        """
        if least is None:
            return
        if least < self.disclosure.min_cell:
            raise ValueError("secure_aggregation.min_total takes the place of disclosure.min_cell, and is smaller")
        if self.disclosure.counts != "suppress":
            raise ValueError('secure_aggregation.min_total goes with disclosure.counts = "suppress" alone')
        if self.privacy.claims:
            raise ValueError("secure_aggregation.min_total goes with no noise")

    def _check_vetted(self) -> None:
        """Under dp-sgd and sums every message's answer is that of a declared work, array by array.

        Raises:
            ValueError: Naming what does not fit.
        """
        declared = self.privacy.mechanism in {"dp-sgd", "sums"}
        vetted = self.privacy.ground == "vetted"
        if vetted and self.limits.requires_state:
            raise ValueError("requires_state: vetted code has no state")
        if self.vetted and not declared:
            raise ValueError('[tool.flame.vetted] needs mechanism = "dp-sgd" or "sums"')
        if unknown := sorted(set(self.vetted) - set(self.messages)):
            raise ValueError(f"vetted: there is no message type {unknown[0]!r}")
        if vetted and (missing := sorted(set(self.messages) - set(self.vetted))):
            raise ValueError(f"vetted: message type {missing[0]!r} has no declared work")
        for kind, work in self.vetted.items():
            if work.store not in self.data:
                raise ValueError(f"vetted {kind}: there is no data store {work.store!r}")
            if (work.kind == "dp-sgd") != (self.privacy.mechanism == "dp-sgd"):
                raise ValueError(f"vetted {kind}: its kind is not the mechanism of [tool.flame.privacy]")
            metrics = [m.name for m in self.messages[kind].metrics if m.kind != "count" or m.length is not None]
            if not vetted:
                continue
            if metrics:
                raise ValueError(f"vetted {kind}: it releases metrics of kind count alone (they leave as 1)")
            try:
                check_work(work, self.messages[kind].model_copy(update={"metrics": ()}), self.data)
            except ValueError as err:
                raise ValueError(f"vetted {kind}: {err}") from None
