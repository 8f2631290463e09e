"""The steward's sheet: everything that is known of an analysis, gathered on one page before anybody decides.

`build_sheet` looks at the node as it is now and changes nothing; `sections` says it in German or English. A bundle that
is no longer kept, an app without terms and one that could not run here give a sheet, too, which says so.
"""

from collections import Counter
from collections.abc import Mapping

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.fab import Fab, read_fab
from flame_fl.contract.manifest import manifest_of
from flame_fl.contract.terms import DataStore, Terms
from flame_fl.data.layout import wanted_of
from flame_fl.gate.approval import ApprovalRecord, status_on
from flame_fl.gate.store import Store
from flame_fl.gate.verify import sandbox_app
from flame_fl.gate.workflow import Gate
from flame_fl.node import steward
from flame_fl.node.config import NodeConfig
from flame_fl.node.diff import FileChange, diff
from flame_fl.node.dry_run_outcome import DryRunOutcome
from flame_fl.node.scan import scan
from flame_fl.node.sheet_cautions import cautions_of
from flame_fl.node.sheet_masks import masks_of
from flame_fl.node.sheet_model import (
    Caution,
    Code,
    DecisionShown,
    Earlier,
    FileShown,
    ProjectShown,
    Sheet,
    StoreShown,
)
from flame_fl.node.sheet_parts import Section, Table, Warned
from flame_fl.node.sheet_risk import accounts_for, budget_of, claim_of, distance_of
from flame_fl.node.sheet_sections import sections
from flame_fl.node.shown import shown
from flame_fl.node.terms_diff import terms_diff

__all__ = ["Caution", "Section", "Sheet", "Table", "Warned", "build_sheet", "previous_approved", "sections"]

MAX_FINDINGS = 300
MAX_DIFF_LINES = 3000
MAX_DECISIONS = 50
_ALL_RUNS = 1_000_000


def build_sheet(
    gate: Gate, config: NodeConfig, record: ApprovalRecord, *, dry_run: DryRunOutcome | None = None
) -> Sheet:
    """What is known of an analysis at this node today.

    Args:
        gate: The node's; nothing in it is changed.
        config: The node's settings.
        record: The analysis as it is stored; with the steward's terms in it where some are to hold.
        dry_run: What a dry run of it showed.

    Raises:
        InputError: The node's own identity cannot be read.
    """
    store, terms, digest = gate.store, record.terms, record.analysis_digest
    runs = store.runs(digest, limit=_ALL_RUNS)
    accounts = accounts_for(gate, terms, digest)
    claim = claim_of(terms, runs, accounts, distance_of(gate, terms))
    fab, problem = _bundle(store, record)
    project = _project(gate, record)
    sheet = Sheet(
        node=config.node.name,
        day=gate.today(),
        digest=digest,
        app=record.manifest.app,
        status=status_on(record, gate.today()).value,
        filed=record.at,
        submitter=record.submitter,
        terms=terms,
        run_config=tuple((name, str(value)) for name, value in sorted(record.manifest.run_config.items())),
        steward_wrote=record.steward_terms is not None,
        project=project,
        signed_by=tuple(signed.by for signed in record.signatures),
        needed=gate.trust().needed,
        sandbox=gate.sandbox.kind_of(sandbox_app(record.manifest.app, record.terms)),
        problem=_problem(gate, record),
        stores=tuple(_store(gate, name, stated) for name, stated in (terms.data if terms else {}).items()),
        min_patients=gate.limits.min_patients,
        claim=claim,
        masks=masks_of(terms, project, claim, accounts),
        budget=budget_of(terms, claim, accounts),
        most=gate.limits.most,
        runs=len(runs),
        code=_code(record, fab, problem, terms),
        earlier=_earlier(store, record, fab),
        decisions=tuple(
            DecisionShown(act=made.act, by=made.by, at=made.at, comment=made.comment)
            for made in store.decisions("analysis", digest)[-MAX_DECISIONS:]
        ),
        dry_run=dry_run,
        cautions=(),
    )
    return sheet.model_copy(update={"cautions": cautions_of(sheet)})


def previous_approved(store: Store, record: ApprovalRecord) -> ApprovalRecord | None:
    """The last approved analysis of the same app that was filed before this one and whose bundle is kept."""
    before = store.approved_before(record.manifest.app, record.analysis_digest)
    return next((other for other in before if store.bundle(other.fab_sha256) is not None), None)


def _bundle(store: Store, record: ApprovalRecord) -> tuple[Fab | None, str]:
    """The bundle, if it is the one of this analysis; else what is wrong with it."""
    raw = store.bundle(record.fab_sha256)
    if raw is None:
        return None, "gone"
    try:
        fab = read_fab(raw)
        same = manifest_of(fab).digest == record.analysis_digest
    except FlameError:
        return None, "unreadable"
    return (fab, "") if same else (None, "other")


def _project(gate: Gate, record: ApprovalRecord) -> ProjectShown | None:
    project = steward.project_of(gate, record)
    if project is None:
        return None
    others = [other for other in gate.store.projects(project.project.id) if other.digest != project.digest]
    return ProjectShown(
        digest=project.digest,
        status=status_on(project, gate.today()).value,
        approved=steward.project_is_approved(gate, record),
        roster=tuple(sorted(project.roster)),
        takes_part=gate.trust().node_key in project.roster.values(),
        namesakes=tuple(other.digest for other in others),
    )


def _problem(gate: Gate, record: ApprovalRecord) -> str:
    """Why an approval could not be prepared."""
    if record.terms is None:
        return ""  # said elsewhere
    try:
        steward.prepare(gate, record.analysis_digest, record.steward_terms)
    except InputError as err:
        return shown(err, 600)
    return ""


def _store(gate: Gate, name: str, stated: DataStore) -> StoreShown:
    offer = gate.data.get(name)
    if offer is None:
        return StoreShown(name=name, offered=False)
    rule = offer.rule
    conditions = [condition.in_words() for condition in rule.where]
    if rule.window is not None:
        conditions.append(f"{rule.window.column}: {rule.window.from_ or '…'} – {rule.window.until or '…'}")
    base = StoreShown(
        name=name,
        offered=True,
        version=shown(offer.binding, 40),
        pseudonyms=offer.pseudonyms,
        shift_days=offer.shift_days,
        conditions=tuple(shown(condition, 300) for condition in conditions),
        consent=rule.consent is not None,
    )
    try:
        cohort = offer.cohort(stated, gate.today())
    except InputError as err:
        return base.model_copy(update={"problem": shown(err, 400)})
    return base.model_copy(update={"patients": cohort.patients, "records": len(cohort.rows)})


def _code(record: ApprovalRecord, fab: Fab | None, problem: str, terms: Terms | None) -> Code:
    content = record.manifest.fab_content_sha256
    if fab is None:
        return Code.model_validate({"problem": problem, "content_sha256": content})
    found = scan(fab.files)
    counts: Counter[str] = Counter()
    for finding in found.findings:
        counts[finding.risk] += finding.count or 1
    return Code(
        problem="",
        content_sha256=content,
        files=tuple(FileShown(path=path, bytes=len(fab.files[path])) for path in sorted(fab.files)),
        parsed=found.parsed,
        imports=found.imports,
        findings=found.findings[:MAX_FINDINGS],
        counts=dict(sorted(counts.items())),
        features=_features(terms, fab.files),
    )


def _features(terms: Terms | None, files: Mapping[str, bytes]) -> dict[str, int]:
    counts = {}
    for name, stated in (terms.data if terms is not None else {}).items():
        if stated.features_file is not None:
            try:
                counts[name] = len(wanted_of(stated, files).features)
            except InputError:
                counts[name] = 0
    return counts


def _earlier(store: Store, record: ApprovalRecord, fab: Fab | None) -> Earlier | None:
    before = previous_approved(store, record)
    if before is None:
        return None
    old, _ = _bundle(store, before)
    files, same, left = _files_changed(old, fab)
    return Earlier(
        digest=before.analysis_digest,
        at=before.at,
        terms=terms_diff(_stated(before), _stated(record)),
        files=files,
        same=same,
        left_out=left,
    )


def _files_changed(old: Fab | None, new: Fab | None) -> tuple[tuple[FileChange, ...], int, int]:
    """Files that differ, with not too many lines in all; how many do not; lines that were left out."""
    if old is None or new is None:
        return (), 0, 0
    found = diff(old.files, new.files)
    room, left, files = MAX_DIFF_LINES, 0, []
    for change in found.files:
        kept = change.lines[:room]
        room -= len(kept)
        left += change.left_out + len(change.lines) - len(kept)
        files.append(
            FileChange(
                change.path,
                change.how,
                change.form,
                change.bytes_before,
                change.bytes_after,
                kept,
                change.added,
                change.removed,
                change.left_out + len(change.lines) - len(kept),
            )
        )
    return tuple(files), found.same, left


def _stated(record: ApprovalRecord) -> dict[str, object]:
    """The manifest with the terms that hold."""
    return record.manifest.model_copy(update={"terms": record.terms}).as_json()
