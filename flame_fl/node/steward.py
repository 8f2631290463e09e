"""What stewards decide: the requests that were filed, and an answer to each. Every decision is kept and audited.

An approval takes two steps, so that a steward may sign on a device of their own: `prepare` says what would be approved
and whether it could run here, `statement_of` what is to be signed; `approve` enters the signature.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import NodeBinding, parse_terms
from flame_fl.contract.refusal import RefusedError
from flame_fl.contract.statement import Statement, project_digest
from flame_fl.contract.terms import DataStore, Terms
from flame_fl.data.layout import ALL, Layout, Wanted, layout_of, wanted_of
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status, check_project, status_on
from flame_fl.gate.decision_store import Decision
from flame_fl.gate.decisions import (
    Wish,
    by_key,
    close_analysis,
    close_project,
    enter_analysis,
    enter_project,
    statement_for,
)
from flame_fl.gate.signatures import read_public_key
from flame_fl.gate.workflow import Gate

_SHORTEST = 6
_MOST_SITES, _MAX_NAME = 1000, 64


@dataclass(frozen=True)
class Request:
    """One analysis as a steward sees it in a list."""

    digest: str
    app: str
    status: str
    project: str
    title: str
    by: str
    at: str
    runs_here: str
    signed: str = ""
    submitter: str = ""

    @classmethod
    def of(cls, record: ApprovalRecord) -> "Request":
        """From what is stored."""
        terms = record.terms
        return cls(
            digest=record.analysis_digest,
            app=record.manifest.app,
            status=status_on(record, datetime.now(UTC).date()).value,
            project=terms.project.id if terms else "",
            title=terms.project.title if terms else "(states no terms: approve it with --terms)",
            by=record.by,
            at=record.at,
            runs_here=str(terms.limits.runs) if terms else "",
            signed=", ".join(signed.by for signed in record.signatures),
            submitter=record.submitter,
        )


@dataclass(frozen=True)
class Prepared:
    """An analysis and what an approval of it would be bound to now. `record` carries the steward's terms."""

    record: ApprovalRecord
    binding: NodeBinding


def find(gate: Gate, word: str) -> ApprovalRecord:
    """The analysis whose digest begins with `word`.

    Raises:
        InputError: None does, or several do.
    """
    if len(word) < _SHORTEST:
        raise InputError(f"{word!r} is too short.", mend=f"Give at least {_SHORTEST} digits of the digest.")
    found = gate.store.approvals_like(word)
    if len(found) != 1:
        raise InputError(
            f"{'Several' if found else 'No'} analyses begin with {word!r}.", mend="`flame node requests` lists them."
        )
    return found[0]


def find_project(gate: Gate, word: str) -> ProjectRecord:
    """The project with this id, or whose digest begins with `word`.

    Raises:
        InputError: None, or several: the same id with other statements is another project.
    """
    found = gate.store.projects(word) or [
        p for p in gate.store.projects() if len(word) >= _SHORTEST and p.digest.startswith(word)
    ]
    if len(found) != 1:
        several = "; ".join(f"{p.digest[:12]} ({p.status.value})" for p in found[:5])
        raise InputError(
            f"{'Several projects are' if found else 'No project is'} called {word!r}.",
            mend=f"Give the beginning of a digest: {several}." if found else "`flame node project list` lists them.",
        )
    return found[0]


def prepare(gate: Gate, word: str, steward_terms: Terms | None = None) -> Prepared:
    """What would be approved: an analysis, for the sandbox and the data this node has now.

    Args:
        gate: The node's.
        word: The beginning of its digest.
        steward_terms: Terms that the steward wrote, for an app that states none, or instead.

    Raises:
        InputError: There is no such analysis, or it could not run here as it is; the sentence says what is missing.
    """
    record = replace(find(gate, word), steward_terms=steward_terms)
    terms = record.terms
    if terms is None:
        raise InputError(
            f"{record.manifest.app} states no terms, so nothing would be allowed.",
            mend="Write them yourself: --terms terms.toml (docs/manifest.md lists what belongs in it).",
        )
    if gate.today() > terms.validity.until:
        raise InputError(
            f"Its terms ended on {terms.validity.until}.", mend="Ask the researcher for a new version, or use --terms."
        )
    _check_can_run(gate, record, terms)
    return Prepared(record, gate.binding(record.manifest.app, terms, steward_terms))


def project_of(gate: Gate, record: ApprovalRecord) -> ProjectRecord | None:
    """The project an analysis belongs to, as it is stored here or would be filed."""
    if record.terms is None:
        return None
    known = gate.store.project(project_digest(record.terms.project))
    return known or ProjectRecord(record.terms.project, Status.PENDING)


def project_is_approved(gate: Gate, record: ApprovalRecord) -> bool:
    """Whether the project of an analysis is approved here today."""
    try:
        check_project(project_of(gate, record), gate.today(), gate.trust())
    except RefusedError:
        return False
    return True


def statement_of(gate: Gate, what: Prepared | ProjectRecord, wish: Wish) -> Statement:
    """What is to be signed for an approval, now."""
    if isinstance(what, ProjectRecord):
        return statement_for(what, None, gate.trust(), wish)
    return statement_for(what.record, what.binding, gate.trust(), wish)


def approve(gate: Gate, what: Prepared, signed: tuple[Statement, str]) -> Request:
    """Enter a steward's signature under an approval.

    Returns:
        The request, approved once enough stewards have signed.

    Raises:
        InputError: Its project is not approved here, or the signature does not hold for this, here and now.
    """
    project = project_of(gate, what.record)
    if project is not None and not project_is_approved(gate, what.record):
        raise InputError(
            f"Its project {project.project.id!r} is not approved here.",
            mend=f"flame node project approve {project.project.id}, or both at once: --with-project",
        )
    record = enter_analysis(
        gate.store,
        gate.trust(),
        what.record.analysis_digest,
        what.binding,
        signed,
        today=gate.today(),
        steward_terms=what.record.steward_terms,
    )
    return Request.of(record)


def approve_project(gate: Gate, record: ProjectRecord, signed: tuple[Statement, str]) -> ProjectRecord:
    """Enter a steward's signature under a project.

    Raises:
        InputError: The signature does not hold for this, here and now.
    """
    return enter_project(gate.store, gate.trust(), record, signed, today=gate.today())


def approve_with_key(
    gate: Gate, what: Prepared, key: Ed25519PrivateKey, wish: Wish, *, with_project: bool = False
) -> Request:
    """Sign with a key that is at hand, and enter it; with `with_project` the project, too, if it is not approved yet.

    Raises:
        InputError: As `approve`.
    """
    with gate.store.transaction():
        project = project_of(gate, what.record)
        # a project that people closed is decided about on its own
        waits = project is not None and project.status is Status.PENDING
        if with_project and waits and project is not None:
            approve_project(gate, project, by_key(statement_of(gate, project, wish), key))
        return approve(gate, what, by_key(statement_of(gate, what, wish), key))


def reject(gate: Gate, word: str, *, by: str, comment: str, sheet: str = "") -> Request:
    """Reject an analysis, or take back an approval: nothing of it runs from now on.

    Raises:
        InputError: There is no such analysis.
    """
    return Request.of(close_analysis(gate.store, find(gate, word), by=by, comment=comment, sheet=sheet))


def withdraw(gate: Gate, word: str, *, by: str, comment: str) -> Request:
    """Take back an approval; its sandbox is ended, nothing further leaves.

    Raises:
        InputError: There is no such analysis, or it is not approved.
    """
    record = find(gate, word)
    if record.status is not Status.APPROVED:
        raise InputError(
            f"The analysis is {record.status.value}, not approved.", mend="`flame node reject` closes one that waits."
        )
    return reject(gate, word, by=by, comment=comment)


def reject_project(gate: Gate, word: str, *, by: str, comment: str) -> ProjectRecord:
    """Reject a project, or take its approval back: none of its analyses runs from now on.

    Raises:
        InputError: There is no such project.
    """
    return close_project(gate.store, find_project(gate, word), by=by, comment=comment)


def set_roster(gate: Gate, word: str, path: Path, *, by: str) -> ProjectRecord:
    """Say who takes part in a project. It must be approved again, and so must its analyses.

    Args:
        gate: The node's.
        word: The project.
        path: One line per site: its name, spaces, and its identity key as in a .pub file.
        by: The local user.

    Raises:
        InputError: No such project or file, a line is malformed, or this node is not among them.
    """
    record, roster = find_project(gate, word), read_roster(path)
    if gate.trust().node_key not in roster.values():
        raise InputError("This node's own identity key is not in the roster.", mend="See keys/identity.pub.")
    with gate.store.transaction():
        now = gate.store.project(record.digest) or record
        status = Status.PENDING if now.status is Status.APPROVED else now.status
        changed = replace(now, roster=roster, status=status, signatures=(), by=by, at=_now(), comment="new roster")
        # as after a withdrawal: what was signed before holds under no roster any more
        gate.store.put_project(changed, Decision("project", now.digest, "withdraw", by, changed.at, "new roster"))
    return replace(changed, number=now.number + 1)


def read_roster(path: Path) -> dict[str, str]:
    """Names and public keys of the sites that take part.

    Raises:
        InputError: It cannot be read, a line is malformed, or a name or a key is there twice.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read.", mend="Give a text file: one site per line, name and key.") from err
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        name, _, key = line.partition("ssh-ed25519 ")
        name, public = name.strip(), read_public_key(f"ssh-ed25519 {key}")
        if not name or len(name) > _MAX_NAME or not name.isprintable() or name in found or public in found.values():
            raise InputError(
                f"Line {number} of {path} has no name, or a name or key that is there already.",
                mend="One site per line: name and key.",
            )
        found[name] = public
    if not found or len(found) > _MOST_SITES:
        raise InputError(f"{path} names no site, or too many.", mend="One site per line: name and key.")
    return found


def read_terms(path: Path) -> Terms:
    """Terms that a steward wrote: the content of `[tool.flame]`, without that heading.

    Raises:
        InputError: They are not as they should be.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise InputError(f"{path} cannot be read as TOML.", mend="Give a TOML file with the terms.") from err
    return parse_terms(table)


def _check_can_run(gate: Gate, record: ApprovalRecord, terms: Terms) -> None:
    app, files = record.manifest.app, files_of(gate, record)
    for name, stated in terms.data.items():
        offer = gate.data.get(name)
        if offer is None and stated.optional:
            continue
        if offer is None or offer.layout is None:
            raise InputError(
                f"This node has no data store {name!r}, which the analysis reads.",
                mend=f"flame node data add {name} FOLDER --table {stated.table} --patient-id {stated.patient_id}",
            )
        if not offer.fits(stated):
            raise InputError(
                f"Data store {name!r} is registered as {_laid_out(offer.layout)}; the analysis states "
                f"{_laid_out(layout_of(stated))}.",
                mend="Register the store so, or approve with --terms.",
            )
        offer.require(stated, _asked(stated, files))
        offer.cohort(stated, gate.today())  # its conditions fit the columns
    if "no image" in gate.binding(app, terms).sandbox:
        raise InputError(
            f"No image is configured for {app}.",
            mend="Build one with `flame node image build`, and name its id in [images] of node.toml.",
        )


def files_of(gate: Gate, record: ApprovalRecord) -> Mapping[str, bytes] | None:
    """The files of the bundle that was filed, None if it is not kept."""
    raw = gate.store.bundle(record.fab_sha256)
    return None if raw is None else read_fab(raw).files


def _asked(stated: DataStore, files: Mapping[str, bytes] | None) -> Wanted:
    """What it asks to see; of a bundle that is not kept, a list of features that is in it is not looked at."""
    if files is None and stated.features_file is not None:
        return Wanted(stated.columns, ALL, stated.modalities)
    return wanted_of(stated, files or {})


def _laid_out(layout: Layout) -> str:
    further = f", records {layout.record_id!r}" if layout.record_id else ""
    files = f", files {', '.join(layout.files)}" if layout.files else ""
    return f"{layout.kind} {layout.table}, patients {layout.patient_id!r}{further}{files}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
