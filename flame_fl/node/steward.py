"""What a steward decides: the requests that were filed, and an answer to each. Every decision is audited."""

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import parse_terms
from flame_fl.contract.terms import DataStore, Terms
from flame_fl.data.layout import ALL, Layout, Wanted, layout_of, wanted_of
from flame_fl.gate.approval import ApprovalRecord, Status, status_on
from flame_fl.gate.workflow import Gate

_SHORTEST = 6


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
        )


def find(gate: Gate, word: str) -> ApprovalRecord:
    """The analysis whose digest begins with `word`.

    Raises:
        InputError: None does, or several do.
    """
    if len(word) < _SHORTEST:
        raise InputError(f"{word!r} is too short.", mend=f"Give at least {_SHORTEST} digits of the digest.")
    found = [r for r in gate.store.approvals() if r.analysis_digest.startswith(word)]
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'No'} analyses begin with {word!r}.", mend="`flame node requests` lists them."
        )
    return found[0]


def approve(gate: Gate, word: str, *, terms_file: Path | None, by: str, comment: str) -> Request:
    """Approve an analysis for the sandbox and the data this node has now.

    Args:
        gate: The node's.
        word: The beginning of its digest.
        terms_file: Terms that the steward wrote (TOML, as `[tool.flame]`), for an app that states none, or instead.
        by: The local user.
        comment: Kept in the audit chain.

    Raises:
        InputError: There is no such analysis, or it could not run here as it is; the sentence says what is missing.
    """
    record = find(gate, word)
    steward_terms = None if terms_file is None else read_terms(terms_file)
    terms = steward_terms or record.manifest.terms
    if terms is None:
        raise InputError(
            f"{record.manifest.app} states no terms, so nothing would be allowed.",
            mend="Write them yourself: --terms terms.toml (docs/manifest.md lists what belongs in it).",
        )
    _check_can_run(gate, record.manifest.app, terms)
    binding = gate.binding(record.manifest.app, terms, steward_terms)
    decided = ApprovalRecord(
        record.analysis_digest,
        Status.APPROVED,
        record.manifest,
        binding.digest,
        steward_terms=steward_terms,
        by=by,
        at=_now(),
        comment=comment,
        data=binding.data,
    )
    gate.store.put_approval(decided)
    return Request.of(decided)


def reject(gate: Gate, word: str, *, by: str, comment: str) -> Request:
    """Reject an analysis, or take back an approval: nothing of it runs from now on.

    Raises:
        InputError: There is no such analysis.
    """
    record = find(gate, word)
    status = Status.WITHDRAWN if record.status is Status.APPROVED else Status.REJECTED
    decided = ApprovalRecord(
        record.analysis_digest,
        status,
        record.manifest,
        record.binding_digest,
        steward_terms=record.steward_terms,
        by=by,
        at=_now(),
        comment=comment,
        data=record.data,
    )
    gate.store.put_approval(decided)
    return Request.of(decided)


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


def _check_can_run(gate: Gate, app: str, terms: Terms) -> None:
    for name, stated in terms.data.items():
        offer = gate.data.get(name)
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
        offer.require(stated, _asked(stated))
        offer.cohort(stated, gate.today())  # its conditions fit the columns
    if "no image" in gate.binding(app, terms).sandbox:
        raise InputError(
            f"No image is configured for {app}.",
            mend="Build one with `flame node image build`, and name its id in [images] of node.toml.",
        )


def _asked(stated: DataStore) -> Wanted:
    """What it asks to see; the bundle is not kept, so a list of features that is in it is not looked at here."""
    if stated.features_file is None:
        return wanted_of(stated, {})
    return Wanted(stated.columns, ALL, stated.modalities)


def _laid_out(layout: Layout) -> str:
    further = f", records {layout.record_id!r}" if layout.record_id else ""
    files = f", files {', '.join(layout.files)}" if layout.files else ""
    return f"{layout.kind} {layout.table}, patients {layout.patient_id!r}{further}{files}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
