"""What a run's report is made from: the facts that the gates and the simulation or hub recorded.

Invariants: every value is frozen; times carry a zone; counts and sizes are not negative; a privacy figure
that nobody claims is ``None``, never 0. ``bytes_out`` always means *left a DIZ* and ``bytes_in`` *came to a
DIZ*. Strings may come from other machines, so they are shown escaped and are never trusted here.
"""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from flame_fl.contract.refusal import RefusalCode
from flame_fl.report.app_report import AppReport

Unit = Literal["site", "patient", "none"]
Ground = Literal["enforced", "vetted", "reviewed", "none"]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scalar = bool | int | float | str
# A metric may diverge; JSON has no NaN or infinity, so these three are written as strings and read back.
Real = Annotated[
    float,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}),
]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class TermsFacts(_Facts):
    """The privacy terms that the analysis was approved with.

    Attributes:
        mechanism: ``none`` when the gate adds no noise.
        clip_norm: L2 bound of one update, in the update's units.
        noise_multiplier: noise standard deviation divided by ``clip_norm``.
        epsilon_max: most that one DIZ may spend on this analysis.
        blocks: unit patient, enforced: groups of patients, in each of which the app runs once.
        sample_rate: DP-SGD: the chance of each patient to take part in a step.
        steps: DP-SGD: steps per message.
    """

    unit: Unit = "none"
    ground: Ground = "none"
    mechanism: str = "none"
    clip_norm: float | None = None
    noise_multiplier: float | None = None
    epsilon_max: float | None = None
    delta: float | None = None
    blocks: int | None = None
    sample_rate: float | None = None
    steps: int | None = None


class RefusalFacts(_Facts):
    """How often one node answered with one refusal code (901 to 908) and the code's fixed text."""

    code: int
    name: str
    count: Count
    reason: str


def refusal_facts(counts: Mapping[int, int]) -> tuple[RefusalFacts, ...]:
    """What a node's refusals, counted by code, look like in a report."""
    return tuple(
        RefusalFacts(code=code, name=RefusalCode(code).name, count=count, reason=RefusalCode(code).reason)
        for code, count in sorted(counts.items())
        if count
    )


def installed_versions(*names: str) -> dict[str, str]:
    """Python's version, and that of each distribution that is installed."""
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


class AccountFacts(_Facts):
    """One of a DIZ's privacy accounts, of this run and earlier ones.

    Attributes:
        unit: whose privacy.
        namespace: which patients; empty for the site.
        epsilon_spent: at ``delta``, as if the releases had been fixed beforehand.
        epsilon_cap: its lifetime cap, which holds however they were chosen.
        advantage: most that an attacker gains over guessing, TPR - FPR.
        tpr: most that an attacker's true positive rate is at a false positive rate of 1 %.
    """

    unit: Literal["site", "patient"]
    namespace: str = ""
    epsilon_spent: Real
    epsilon_cap: Real
    delta: float
    advantage: float
    tpr: float

    @property
    def name(self) -> str:
        """As the node writes it."""
        return f"{self.unit}:{self.namespace}" if self.namespace else self.unit


class NodeFacts(_Facts):
    """What is known of one DIZ after the run.

    Attributes:
        status: of the approval; ``unknown`` for a node that has no gate or never answered.
        patients: in the node's data store; only in a simulation, where they are the user's own.
        messages: replies that left the node, refusals not counted.
        seconds_sandbox: time in which the app's code ran.
        seconds_gate: time of the gate itself, without the sandbox.
        epsilon_spent: of the account of the terms' unit (of several namespaces, the one that spent most): all that
            the node's ledger holds, of this run and earlier ones, at the node's own ``delta``; ``None`` when no
            arithmetic claim is made.
        accounts: every account that the analysis is debited from.
        audit_head: hash of the last entry of the node's audit chain, hexadecimal.
        audit_verified: the chain was recomputed and ends in ``audit_head``.
    """

    name: str
    status: Literal["approved", "pending", "rejected", "withdrawn", "expired", "unknown"]
    approved_by: str = ""
    patients: Count | None = None
    refusals: tuple[RefusalFacts, ...] = ()
    messages: Count = 0
    bytes_in: Count = 0
    bytes_out: Count = 0
    seconds_sandbox: Seconds = 0.0
    seconds_gate: Seconds = 0.0
    epsilon_spent: Real | None = None
    epsilon_cap: Real | None = None
    delta: float | None = None
    accounts: tuple[AccountFacts, ...] = ()
    unit: Unit = "none"
    ground: Ground = "none"
    audit_entries: Count = 0
    audit_head: str = ""
    audit_verified: bool = False


class RoundFacts(_Facts):
    """One message type of one round: a round that trains and evaluates is two of these with one index.

    Attributes:
        replied: nodes whose reply was used.
        refused: nodes that answered with an error.
        metrics: as the ServerApp aggregated them.
    """

    index: Count
    message_type: str
    started: AwareDatetime
    seconds: Seconds
    replied: Count
    refused: Count
    bytes_in: Count
    bytes_out: Count
    metrics: Mapping[str, Real] = {}


class RunFacts(_Facts):
    """One run of one analysis.

    Attributes:
        reason: why it failed or was interrupted; empty for a finished run.
        sandbox: kind of sandbox the nodes used.
        policy: by which rule the nodes approved.
        noise_seeded: noise came from a seed, for a test: it can be predicted and protects nobody.
        command: repeats the run.
        derived: runs of the same app on other terms, made beside this one.
    """

    app: str
    analysis_digest: str
    fab_sha256: str
    started: AwareDatetime
    ended: AwareDatetime | None
    status: Literal["finished", "failed", "interrupted"]
    reason: str = ""
    seed: int
    sandbox: str
    policy: str
    simulated: bool
    noise_seeded: bool
    command: str
    run_config: Mapping[str, Scalar] = {}
    terms: TermsFacts = TermsFacts()
    nodes: tuple[NodeFacts, ...] = ()
    rounds: tuple[RoundFacts, ...] = ()
    versions: Mapping[str, str] = {}
    derived: tuple["DerivedFacts", ...] = ()

    @model_validator(mode="after")
    def _real_cohorts_stay_unknown(self) -> Self:
        if not self.simulated and any(node.patients is not None for node in self.nodes):
            raise ValueError("patients of a node are known to a simulation only")
        return self


class DerivedFacts(_Facts):
    """A run of a derived analysis: other privacy terms, so another digest and approvals of its own.

    Attributes:
        name: of the variant.
        page: its report, relative to this run's folder.
    """

    name: str
    page: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
    run: RunFacts


class Result(_Facts):
    """The content of ``result.json``.

    Attributes:
        app_report: what the app stated; ``None`` when it stated nothing or it was refused.
        app_report_refused: why it was refused; empty when it was not.
    """

    schema_version: Literal[1] = 1
    run: RunFacts
    app_report: AppReport | None = None
    app_report_refused: str = ""
