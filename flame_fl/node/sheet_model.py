"""The steward's sheet as data: what is shown before a decision. JSON-able, and the same for the same state.

Figures and facts only; `sheet_sections` has the words. Names and texts of an app are kept as they were stated: what
shows them escapes them. No patient's value is in it: of patients there are counts, as the node's own lists have them.
"""

from datetime import date
from functools import cached_property
from typing import Literal

from pydantic import Field

from flame_fl.contract.canonical import canonical_json, sha256_hex
from flame_fl.contract.terms import Resources, Terms
from flame_fl.contract.words import Frozen
from flame_fl.node.diff import FileChange
from flame_fl.node.dry_run_outcome import DryRunOutcome
from flame_fl.node.scan import Finding, Import
from flame_fl.node.terms_diff import Change

Level = Literal["high", "medium", "low"]
LEVELS: tuple[Level, ...] = ("high", "medium", "low")


class Caution(Frozen):
    """Something a steward should see before all else. `sheet_words` has the sentence `caution.KEY`."""

    level: Level
    key: str
    values: dict[str, str | int | float] = Field(default_factory=dict)


class ProjectShown(Frozen):
    """The project here."""

    digest: str
    status: str
    approved: bool
    """Its approval holds today, signatures and all."""
    roster: tuple[str, ...]
    """Names of the sites that take part."""
    takes_part: bool
    """This node's own key is in the roster."""
    namesakes: tuple[str, ...]
    """Digests of other projects with the same id and other statements."""


class StoreShown(Frozen):
    """One data store that the terms read, as the node has it now."""

    name: str
    offered: bool
    patients: int | None = None
    records: int | None = None
    version: str = ""
    pseudonyms: bool = False
    shift_days: int = 0
    conditions: tuple[str, ...] = ()
    """The node's own, beside those of the terms."""
    consent: bool = False
    """Whether the node asks for a documented consent."""
    problem: str = ""


class Figures(Frozen):
    """See `flame_fl.privacy.risk`."""

    advantage: float
    tpr: float


class Claim(Frozen):
    """A claim in figures, for the unit that the terms name. Counts are of messages of all types and runs."""

    had: int
    """Messages that were answered, refused or begun here."""
    left: int
    """Further ones that the terms allow at most."""
    admitted: int
    """Of those, how many the budgets cover."""
    refused_by: Literal["", "analysis", "project", "account"]
    """What refuses the one after `admitted`: epsilon_max, the project's cap, or the lifetime cap; "" if nothing."""
    refused_in: str
    """In which account that is, as `str(Account)`."""
    epsilon: float
    """Of all that this analysis may release in its life, at the terms' delta; never above epsilon_max."""
    risk: Figures
    """Of the same: exactly for Gaussian releases, at most for sampled ones."""
    bound: Figures
    """What epsilon_max and delta alone promise."""


class Alone(Frozen):
    """What a site's own share of the noise protects it by, if all other sites are one with the hub."""

    epsilon: float
    """Of all that this analysis may release in its life, at `delta`."""
    delta: float
    """The account's."""
    risk: Figures


class Masks(Frozen):
    """What secure aggregation means here."""

    sites: int
    """Sites in the largest set-up that the roster allows; min_sites of the terms, if it names fewer."""
    threshold: int
    """So many of them must answer to unmask a sum."""
    fewest: int
    """So many sites are in every sum, at least."""
    unknown: tuple[str, ...]
    """Sites that are to supply an array, and that are not on the roster."""
    problem: str
    """Why sums over so many sites do not fit; empty if they do."""
    shares: int
    """So many shares make the whole noise; 1: each site adds all of it, or none."""
    alone: Alone | None
    """With noise in shares."""


class Budget(Frozen):
    """One account. Epsilons are at its own delta, as if its releases had been fixed beforehand.

    That the cap holds, although they are chosen in the light of earlier ones, is what its filter guarantees; `used` is
    the filter's share.
    """

    unit: Literal["site", "patient"]
    namespace: str
    """Whose patients; "" for the site."""
    cap: float
    delta: float
    project_cap: float | None
    """The project's own, if one was set."""
    spent: float
    after: float
    """If this analysis releases all that it may."""
    used: float
    used_after: float
    risk_spent: Figures
    risk_after: Figures


class FileShown(Frozen):
    """A file of the bundle."""

    path: str
    bytes: int


class Code(Frozen):
    """The program as it was filed."""

    problem: Literal["", "gone", "unreadable", "other"]
    """Why nothing is shown: the bundle is not kept, cannot be read, or is not the one of this digest."""
    content_sha256: str
    files: tuple[FileShown, ...] = ()
    parsed: int = 0
    """Python files that the scan could read."""
    imports: tuple[Import, ...] = ()
    findings: tuple[Finding, ...] = ()
    """The gravest first."""
    counts: dict[str, int] = Field(default_factory=dict)
    """All findings by risk, those that are left out included."""
    features: dict[str, int] = Field(default_factory=dict)
    """How many features a `features_file` names, by data store."""


class Earlier(Frozen):
    """The last approved version, and what is different now."""

    digest: str
    at: str
    terms: tuple[Change, ...]
    files: tuple[FileChange, ...]
    same: int
    left_out: int
    """Lines of the difference that are not here."""


class DecisionShown(Frozen):
    """One decision about this analysis."""

    act: str
    by: str
    at: str
    comment: str


class Sheet(Frozen):
    """All of it."""

    sheet_version: Literal[2] = 2
    node: str
    day: date
    digest: str
    app: str
    status: str
    filed: str
    submitter: str
    terms: Terms | None
    run_config: tuple[tuple[str, str], ...] = ()
    """The app's settings as they stand: what is asked, unless the researcher changes what the terms let be changed."""
    steward_wrote: bool
    project: ProjectShown | None
    signed_by: tuple[str, ...]
    needed: int
    sandbox: str
    problem: str
    """Why it could not run here as it is; empty if it could."""
    stores: tuple[StoreShown, ...]
    min_patients: int
    """The node's own."""
    claim: Claim | None
    masks: Masks | None = None
    """Where answers leave masked."""
    budget: tuple[Budget, ...]
    """The accounts that it is debited from; all of them if it is debited from none."""
    most: Resources | None
    """What the node lets a sandbox have."""
    runs: int
    """Runs so far."""
    code: Code
    earlier: Earlier | None
    decisions: tuple[DecisionShown, ...]
    dry_run: DryRunOutcome | None
    cautions: tuple[Caution, ...]
    """The gravest first."""

    @cached_property
    def text(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @cached_property
    def sha256(self) -> str:
        """What a statement names as the sheet that was shown."""
        return sha256_hex(self.text)
