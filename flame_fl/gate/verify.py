"""Step 1 of the workflow: compare what arrived with what was approved.

The bundle, its manifest and its digest are computed here from the bytes that arrived, for every message; the hub's
word for any of it is not asked. Everything is decided before the data are touched, so a refusal says nothing of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from flame_fl.contract.canonical import canonical_json
from flame_fl.contract.content import Content
from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import Fab, read_fab
from flame_fl.contract.frames import FrameError
from flame_fl.contract.manifest import Manifest, NodeBinding, manifest_of, resolve_run_config
from flame_fl.contract.ports import VETTED_APP, ExternalApprovals
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.statement import project_digest
from flame_fl.contract.task import Run, Task
from flame_fl.contract.terms import DataStore, MessageTerms, Privacy, Resources, Scalar, Terms
from flame_fl.data.layout import wanted_of
from flame_fl.data.offer import Offer, Offers
from flame_fl.gate.approval import ApprovalRecord, Approved, ProjectRecord, Status, check_approval, check_project
from flame_fl.gate.cohorts import StoreUse, fingerprints
from flame_fl.gate.disclosure_differences import require_apart
from flame_fl.gate.filing import Filing
from flame_fl.gate.release import Reference, reference_of
from flame_fl.gate.store import Store
from flame_fl.gate.trust import Trust

MAX_WORD_CHARS = 256


@dataclass(frozen=True)
class NodeLimits:
    """The DIZ's own bounds, whatever an approval says. Caps are per account and lifetime."""

    epsilon_cap: float
    delta: float
    min_patients: int
    max_sessions: int = 4
    max_block_sessions: int = 32
    """The blocks of a run stay warm between messages if there are no more than this."""
    fixed_slots: bool = True
    """Whether a block's turn takes its whole slot; a simulation does not wait."""
    most: Resources | None = None
    """What one sandbox may ask for at most; None is no bound (a simulation)."""


@dataclass(frozen=True)
class Verified:
    """A message after step 1: everything in it has been compared with the approval. Only `Verifier` makes one."""

    task: Task
    fab: Fab
    approved: Approved
    run_config: Mapping[str, Scalar]
    rules: MessageTerms | None  # None only for an approval that is `unsafe_open`
    reference: Reference
    uses: Mapping[str, StoreUse] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """As the store keys it."""
        return str(self.task.run.run_id)

    def without_message(self) -> "Verified":
        """What was verified of the analysis, for a session to remember: a message's arrays are large."""
        return replace(self, task=replace(self.task, content=Content()), reference={})

    @property
    def terms(self) -> Terms | None:
        """The approved terms; None only for an approval that is `unsafe_open`."""
        return self.approved.terms

    @property
    def ground(self) -> str:
        """What the claim stands on."""
        return self.terms.privacy.ground if self.terms else "none"

    @property
    def enforced(self) -> bool:
        """Whether the gate's own arithmetic carries the claim."""
        return self.ground == "enforced"


@dataclass
class Verifier:
    """Knows what this node has: its store of approvals, its sandbox, its data and its limits."""

    store: Store
    sandbox_kind: Callable[[str], str]
    data: Offers
    limits: NodeLimits
    today: Callable[[], date]
    trust: Callable[[], Trust]
    filing: Filing
    external: ExternalApprovals
    _last: tuple[str, Fab, Manifest] | None = field(default=None, init=False)
    _apart: dict[tuple[str, str, int], set[str]] = field(default_factory=dict, init=False)

    def verify(self, task: Task) -> Verified:
        """Check one message.

        Raises:
            RefusedError: 901, 902, 907 or 908.
        """
        fab, manifest = self.read(task.run)
        approved = self.approved(manifest, task.run)
        _check_form(task)
        terms = approved.terms
        if terms is None:  # unsafe_open: a researcher's own machine, never a DIZ
            return Verified(task, fab, approved, {**manifest.run_config, **task.run.overrides}, None, {})
        config = self.within_terms(manifest, task.run, terms)
        uses = self.uses(fab, approved)
        rules = terms.messages.get(task.message_type)
        if rules is None:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, f"message type {task.message_type!r} is not approved")
        return Verified(task, fab, approved, config, rules, reference_of(task.content, rules, terms.privacy), uses)

    def verify_leg(self, task: Task) -> Verified:
        """Check a message that asks for no data: the approval, and that the run is within it.

        Raises:
            RefusedError: 901, 902, 907 or 908.
        """
        fab, manifest = self.read(task.run)
        approved = self.approved(manifest, task.run)
        _check_form(task)
        if approved.terms is None:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, f"message type {task.message_type!r} needs terms")
        config = self.within_terms(manifest, task.run, approved.terms)
        return Verified(task, fab, approved, config, None, {})

    def read(self, run: Run) -> tuple[Fab, Manifest]:
        """The bundle and its manifest, from the bytes; the last one is remembered by the bytes' own hash.

        Raises:
            RefusedError: 901, no bundle of ours or malformed terms.
        """
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] != run.fab_sha256:
            try:
                fab = read_fab(run.raw_fab)
                fab.component("clientapp")
                self._last = last = (run.fab_sha256, fab, manifest_of(fab))
            except InputError as err:
                raise RefusedError(RefusalCode.NOT_APPROVED, f"unreadable bundle: {err}") from err
        return last[1], last[2]

    def approved(self, manifest: Manifest, run: Run | None = None) -> Approved:
        """The approval that holds now; an analysis never seen is filed for the steward.

        Args:
            manifest: What was read from the bundle.
            run: What it came with; None where nothing may be filed.

        Raises:
            RefusedError: 901, 902, 907 or 908; 903, the state is locked.
        """
        record = self.store.approval(manifest.digest)
        if record is None and run is not None:
            record = self.filing.file(self.store, manifest, run)
        if record is not None and record.manifest != manifest:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, "the stored manifest is not the one that was approved")
        if record is not None and run is not None and record.fab_sha256 not in {"", run.fab_sha256}:
            if record.status is Status.PENDING and not record.signatures:
                self.store.refile(manifest.digest, run.fab_sha256, run.raw_fab)
            else:
                raise RefusedError(RefusalCode.TERMS_VIOLATED, "the bundle's bytes are not those that were filed")
        trust, today = self.trust(), self.today()
        binding = self.binding_of(record).digest if record is not None else ""
        approved = check_approval(record, binding, today, trust)
        if approved.terms is not None:
            check_project(self.store.project(project_digest(approved.terms.project)), today, trust)
        verdict = self.external.verdict(approved.record.project_id, approved.digest)
        if verdict.code is not None:
            raise RefusedError(verdict.code, verdict.detail)
        self.store.locks.require_none()
        return approved

    def binding_of(self, record: ApprovalRecord, *, pinned: bool = True) -> NodeBinding:
        """What this node has now of an analysis: with the versions of its stores that were approved, or the newest."""
        terms = None if record.unsafe_open else record.terms
        return self.binding(record.manifest.app, terms, record.steward_terms, pinned=record.data if pinned else None)

    def still_approved(self, verified: Verified, *, patients: bool) -> None:
        """Look again, just before something leaves: a steward or a patient may have decided while the app worked.

        Args:
            verified: The message.
            patients: Whether what leaves is about patients at all.

        Raises:
            RefusedError: 901, 902, 907 or 908. None of them looks at the update.
        """
        now = self.approved(verified.approved.record.manifest)
        if now.record.binding_digest != verified.approved.record.binding_digest:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, "approved on other terms while the app worked")
        if self.store.is_stopped(verified.run_id):
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, "the run was stopped here")
        if patients:
            self.same_patients(verified)

    def same_patients(self, verified: Verified) -> None:
        """Check that the cohorts are still those that the app was given.

        Raises:
            RefusedError: 907, a patient's consent was withdrawn meanwhile, or 908, the data changed.
        """
        if fingerprints(self.uses(verified.fab, verified.approved)) != fingerprints(verified.uses):
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, "a cohort changed while the app worked")

    def binding(
        self,
        app: str,
        terms: Terms | None,
        steward_terms: Terms | None = None,
        *,
        pinned: Mapping[str, str] | None = None,
    ) -> NodeBinding:
        """What only this node knows of an analysis: what an approval here is bound to.

        Args:
            app: Publisher and name: it decides the sandbox's image.
            terms: Those that will hold; None if none will (every data store is then bound).
            steward_terms: The same, if the steward wrote them.
            pinned: Versions of data stores that were approved; else those offered now.
        """
        project: ProjectRecord | None = None
        if terms is not None:
            project = self.store.project(project_digest(terms.project))
        wanted = terms.data if terms is not None else self.data.names()
        offers = {name: self.data.get(name, (pinned or {}).get(name)) for name in wanted}
        bindings = {name: offer.binding if offer else "absent" for name, offer in offers.items()}
        return NodeBinding(
            sandbox=self.sandbox_kind(sandbox_app(app, terms)),
            data=bindings,
            participants=dict(project.roster) if project is not None else {},
            steward_terms=steward_terms,
        )

    def within_terms(self, manifest: Manifest, run: Run, terms: Terms) -> dict[str, Scalar]:
        """The resolved run config, if overrides and resources are within the terms.

        Raises:
            RefusedError: 908.
        """
        config = resolve_run_config(manifest, run.overrides, terms)
        _check_resources(terms.resources, self.limits.most)
        slot, most = terms.privacy.slot_seconds, self.limits.most
        if slot is not None and most is not None and slot > most.seconds:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, "a block's slot is longer than a sandbox here may work")
        return config

    def uses(self, fab: Fab, approved: Approved) -> dict[str, StoreUse]:
        """The data stores of an approved analysis as they are now: the approved version, and whose records.

        Raises:
            RefusedError: 908: one is not there, is laid out otherwise, cannot be read, or has too few patients. 907:
                without a claim, an answer beside an earlier one would show what a few patients contributed.
        """
        found: dict[str, StoreUse] = {}
        privacy = approved.terms.privacy if approved.terms else Privacy()
        counted = privacy.ground in {"vetted", "enforced"}
        for name, stated in (approved.terms.data if approved.terms else {}).items():
            offer = self.data.get(name, approved.record.data.get(name))
            if offer is None and stated.optional:
                continue
            if offer is None:
                raise RefusedError(RefusalCode.TERMS_VIOLATED, f"this node has no data store {name!r}")
            found[name] = use = self._use(name, offer, stated, fab)
            if counted:  # with noise, in step 2: an exact comparison would tell of one patient
                continue
            if use.cohort.patients < (least := self.least(stated)):
                raise RefusedError(RefusalCode.TERMS_VIOLATED, f"data store {name!r} has fewer than {least} patients")
            self._require_apart(approved, name, use, least)
        return found

    def _require_apart(self, approved: Approved, name: str, use: StoreUse, least: int) -> None:
        """Compare the cohort with every one of the store that something was released about; each pair once.

        Raises:
            RefusedError: 907.
        """
        assert approved.terms is not None  # noqa: S101  (who has stores has terms)
        own = approved.digest if approved.terms.disclosure.compare_with == "analysis" else None
        known = self._apart.setdefault((name, use.cohort.members_sha256, least), set())
        for earlier in self.store.released_cohorts(name, digest=own) - known:
            if earlier != use.cohort.members_sha256:
                require_apart(name, use.cohort.members, [self.store.members_of(earlier)], least)
            known.add(earlier)

    def _use(self, name: str, offer: Offer, stated: DataStore, fab: Fab) -> StoreUse:
        if not offer.fits(stated):
            raise RefusedError(RefusalCode.TERMS_VIOLATED, f"data store {name!r} is laid out, or counted, otherwise")
        try:
            return StoreUse(offer, stated, wanted_of(stated, fab.files), offer.cohort(stated, self.today()))
        except InputError as err:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, f"data store {name!r}: {err.message}") from err

    def least(self, stated: DataStore) -> int:
        """The fewest patients that a store may have for an analysis."""
        return max(stated.min_patients, self.limits.min_patients)


def sandbox_app(app: str, terms: Terms | None) -> str:
    """Whose image an analysis runs in: under a vetted claim one of its own, without any package of the researcher's."""
    return VETTED_APP if terms is not None and terms.privacy.ground == "vetted" else app


def _check_resources(wanted: Resources, most: Resources | None) -> None:
    for name in Resources.model_fields:
        if most is not None and getattr(wanted, name) > getattr(most, name):
            raise RefusedError(RefusalCode.TERMS_VIOLATED, f"the terms ask for more {name} than a sandbox here may use")


def _check_form(task: Task) -> None:
    """What the hub sent can be stored, hashed and passed on.

    Raises:
        RefusedError: 908.
    """
    for word in (task.leg_id, task.message_type, task.group_id):
        if len(word) > MAX_WORD_CHARS or not word.isprintable():
            raise RefusedError(RefusalCode.TERMS_VIOLATED, "a leg, group or message type that is no plain short word")
    if not all(isinstance(value, bool | int | float | str) for value in task.run.overrides.values()):
        raise RefusedError(RefusalCode.TERMS_VIOLATED, "an override that is no number, text, true or false")
    try:
        canonical_json(dict(task.run.overrides))
        _ = task.sha256
    except (InputError, FrameError) as err:
        raise RefusedError(RefusalCode.TERMS_VIOLATED, f"the message cannot be passed on: {err}") from err
