"""The first page, requests, sheets, differences."""

import re
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.contract.errors import FlameError
from flame_fl.gate.approval import ApprovalRecord, Status, status_on
from flame_fl.node.diff import Diff, diff
from flame_fl.node.sheet import sections
from flame_fl.node.steward import Request as Row
from flame_fl.node.steward import files_of, project_of
from flame_fl.node.terms_diff import terms_diff
from flame_fl.node.up import running_gate
from flame_fl.node.web.access import Caller, Posted, needs, posts
from flame_fl.node.web.deciding import choice_for
from flame_fl.node.web.desk import Desk, desk_of
from flame_fl.node.web.roles import Right

router = APIRouter()
_PER_PAGE: Final = 25
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
Reader = Annotated[Caller, needs(Right.READ)]
Asking = Annotated[Caller, needs(Right.READ, click=False)]


@router.get("/")
def start(request: Request, caller: Reader) -> Response:
    """What waits, what runs, what was decided last."""
    desk = desk_of(request)
    return desk.renderer.page(
        request,
        "start",
        caller,
        counts=desk.store.approval_counts(),
        waiting=[Row.of(record) for _, record in desk.store.approvals_page("pending", limit=5)],
        decisions=desk.queries.newest_decisions(8),
        entries=desk.queries.audit_head()[0],
        gate_runs=running_gate(desk.node) is not None,
        at_work=[run for run in desk.store.runs(limit=50) if run.working],
    )


@router.get("/requests")
def requests(request: Request, caller: Reader, status: str = "pending", before: int | None = None) -> Response:
    """One page of analyses with a status."""
    desk = desk_of(request)
    if status not in {*(s.value for s in Status), "all"}:
        raise HTTPException(404)
    # an approval whose day is over is stored as approved
    stored = None if status == "all" else "approved" if status == "expired" else status
    found = desk.store.approvals_page(stored, limit=_PER_PAGE + 1, before=before)
    rows = [(place, Row.of(record)) for place, record in found[:_PER_PAGE]]
    if status in {"expired", "approved"}:
        rows = [(place, row) for place, row in rows if row.status == status]
    counts = desk.store.approval_counts()
    return desk.renderer.page(
        request,
        "requests",
        caller,
        status=status,
        rows=rows,
        counts={**counts, "all": sum(counts.values())},
        next_before=found[_PER_PAGE - 1][0] if len(found) > _PER_PAGE else None,
        before=before,
    )


@router.get("/requests/{digest}")
def sheet_page(request: Request, caller: Reader, digest: str) -> Response:
    """The sheet of one analysis, and what was decided about it."""
    desk = desk_of(request)
    record = record_of(desk, digest)
    sheet = desk.shelf.sheet(record)
    return desk.renderer.page(
        request,
        "sheet",
        caller,
        record=record,
        row=Row.of(record),
        status=status_on(record, desk.gate.today()).value,
        sheet=sheet,
        sections=sections(sheet, desk.renderer.language(request)),
        project=project_of(desk.gate, record),
        choice=choice_for(desk, caller, record),
        decisions=desk.store.decisions("analysis", digest),
        runs=desk.store.runs(digest, limit=10),
        others=desk.queries.others_of(record.manifest.app, digest, limit=1),
        done=request.query_params.get("done", ""),
        trying=desk.dry_runs.going,
        dry_fault=desk.dry_runs.faults.get(digest),
    )


@router.get("/requests/{digest}/dry-run")
def dry_run_state(request: Request, caller: Asking, digest: str) -> Response:
    """Whether the dry run goes on: a part of the sheet's page, which asks again and again, until it is new."""
    desk = desk_of(request)
    if desk.dry_runs.going != digest:
        return Response(status_code=200, headers={"HX-Refresh": "true"})
    return desk.renderer.page(request, "part_dry_run", caller, digest=digest)


@router.post("/requests/{digest}/dry-run")
def dry_run_begin(request: Request, posted: Annotated[Posted, posts(Right.DECIDE)], digest: str) -> Response:
    """Let it work once on made-up data."""
    desk = desk_of(request)
    record = record_of(desk, digest)
    desk.dry_runs.begin(record)
    desk.store.record("dry-run", {"analysis": digest, "by": posted.caller.name})
    return RedirectResponse(f"/requests/{digest}", 303)


@router.get("/requests/{digest}/sheet.json")
def sheet_file(request: Request, caller: Reader, digest: str) -> Response:
    """The sheet as its hash was taken, byte for byte."""
    desk = desk_of(request)
    sheet = desk.shelf.sheet(record_of(desk, digest))
    return file_of(sheet.text, f"sheet-{digest[:12]}.json")


@router.get("/sheets/{sha256}")
def kept_sheet(request: Request, caller: Reader, sha256: str) -> Response:
    """A sheet that somebody was shown, by its hash."""
    text = desk_of(request).store.sheet(sha256) if _DIGEST.fullmatch(sha256) else None
    if text is None:
        raise HTTPException(404)
    return file_of(text.encode(), f"sheet-{sha256[:12]}.json")


@router.get("/requests/{digest}/diff")
def diff_page(request: Request, caller: Reader, digest: str, to: str = "") -> Response:
    """What is different from another analysis of the same app."""
    desk = desk_of(request)
    record = record_of(desk, digest)
    others = desk.queries.others_of(record.manifest.app, digest)
    before = record_of(desk, to or others[0].digest) if others or to else None
    if before is not None and before.manifest.app != record.manifest.app:
        raise HTTPException(404)
    return desk.renderer.page(
        request,
        "diff",
        caller,
        record=record,
        row=Row.of(record),
        before=before,
        others=others,
        terms=() if before is None else terms_diff(_stated(before), _stated(record)),
        files=None if before is None else _files(desk, before, record),
    )


def record_of(desk: Desk, digest: str) -> ApprovalRecord:
    """An analysis by its whole digest; 404 if there is none."""
    record = desk.store.approval(digest) if _DIGEST.fullmatch(digest) else None
    if record is None:
        raise HTTPException(404)
    return record


def file_of(text: bytes, name: str, kind: str = "application/json") -> Response:
    """Bytes to save: a browser shows them not as a page."""
    return Response(text, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def _stated(record: ApprovalRecord) -> dict[str, object]:
    return record.manifest.model_copy(update={"terms": record.terms}).as_json()


def _files(desk: Desk, before: ApprovalRecord, after: ApprovalRecord) -> Diff | None:
    """None if one of the bundles is not kept or cannot be read."""
    try:
        old, new = files_of(desk.gate, before), files_of(desk.gate, after)
    except FlameError:
        return None
    return None if old is None or new is None else diff(old, new)
