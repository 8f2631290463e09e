"""Projects: what each says of itself, who takes part, and the decision about it, which comes before its analyses."""

import re
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.contract.errors import InputError
from flame_fl.contract.statement import Statement
from flame_fl.gate.approval import ProjectRecord, Status, status_on
from flame_fl.gate.signatures import fingerprint
from flame_fl.node import steward
from flame_fl.node.web import deciding
from flame_fl.node.web.access import Caller, Posted, needs, posts
from flame_fl.node.web.desk import Desk, desk_of
from flame_fl.node.web.roles import Right

router = APIRouter()
_PER_PAGE: Final = 50
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
Reader = Annotated[Caller, needs(Right.READ)]
Deciding = Annotated[Posted, posts(Right.DECIDE)]


@router.get("/projects")
def projects(request: Request, caller: Reader, page: int = 1) -> Response:
    """All projects, newest first."""
    desk = desk_of(request)
    found = desk.store.projects()[::-1]
    first = max(0, min(page - 1, len(found) // _PER_PAGE)) * _PER_PAGE
    today = desk.gate.today()
    return desk.renderer.page(
        request,
        "projects",
        caller,
        rows=[(record, status_on(record, today).value) for record in found[first : first + _PER_PAGE]],
        page=first // _PER_PAGE + 1,
        pages=max(1, -(-len(found) // _PER_PAGE)),
    )


@router.get("/projects/{digest}")
def project_page(request: Request, caller: Reader, digest: str) -> Response:
    """One project, and the forms for who may decide."""
    return _page(request, caller, digest)


def _page(
    request: Request,
    caller: Caller,
    digest: str,
    *,
    error: InputError | None = None,
    posted: Posted | None = None,
    statement: Statement | None = None,
) -> Response:
    desk = desk_of(request)
    record = _project(desk, digest)
    return desk.renderer.page(
        request,
        "project",
        caller,
        status_code=200 if error is None else 400,
        record=record,
        state=status_on(record, desk.gate.today()).value,
        roster=[(name, fingerprint(key)) for name, key in record.roster.items()],
        decisions=desk.store.decisions("project", digest),
        needed=desk.gate.trust().needed,
        signed=[s.by for s in record.signatures] if record.status is Status.PENDING else [],
        node_key=deciding.may_use_node_key(desk, caller),
        own_key=deciding.has_own_key(desk, caller),
        seen=_seen(record),
        error=error,
        form=posted.form if posted else {},
        statement=statement,
        done=request.query_params.get("done", ""),
        today=desk.gate.today().isoformat(),
    )


@router.post("/projects/{digest}/approve")
def approve(request: Request, posted: Deciding, digest: str) -> Response:
    """Sign with the key that the node keeps."""
    desk = desk_of(request)
    try:
        record = _as_seen(desk, digest, posted)
        wish = deciding.wish_of(posted.text("comment"), posted.text("until"))
        deciding.approve_project_with_node_key(desk, posted.caller, record, wish)
    except InputError as err:
        return _page(request, posted.caller, digest, error=err, posted=posted)
    return RedirectResponse(f"/projects/{digest}?done=approve", 303)


@router.post("/projects/{digest}/statement")
def statement(request: Request, posted: Deciding, digest: str) -> Response:
    """Show what is to be signed elsewhere."""
    desk = desk_of(request)
    try:
        record = _as_seen(desk, digest, posted)
        wish = deciding.wish_of(posted.text("comment"), posted.text("until"))
        made = steward.statement_of(desk.gate, record, wish)
    except InputError as err:
        return _page(request, posted.caller, digest, error=err, posted=posted)
    return _page(request, posted.caller, digest, posted=posted, statement=made)


@router.post("/projects/{digest}/sign")
def sign(request: Request, posted: Deciding, digest: str) -> Response:
    """Enter what was signed elsewhere."""
    desk = desk_of(request)
    try:
        deciding.enter_signed_project(
            desk,
            posted.caller,
            _project(desk, digest),
            posted.text("statement", 40_000),
            posted.text("signature", 10_000),
        )
    except InputError as err:
        return _page(request, posted.caller, digest, error=err, posted=posted)
    return RedirectResponse(f"/projects/{digest}?done=approve", 303)


@router.post("/projects/{digest}/close")
def close(request: Request, posted: Deciding, digest: str) -> Response:
    """Reject, or withdraw: none of its analyses runs from now on."""
    desk = desk_of(request)
    try:
        deciding.close(desk, posted.caller, _project(desk, digest), posted.text("comment"))
    except InputError as err:
        return _page(request, posted.caller, digest, error=err, posted=posted)
    return RedirectResponse(f"/projects/{digest}?done=close", 303)


def _project(desk: Desk, digest: str) -> ProjectRecord:
    record = desk.store.project(digest) if _DIGEST.fullmatch(digest) else None
    if record is None:
        raise HTTPException(404)
    return record


def _seen(record: ProjectRecord) -> str:
    return f"{record.binding}-{record.number}"


def _as_seen(desk: Desk, digest: str, posted: Posted) -> ProjectRecord:
    record = _project(desk, digest)
    if posted.text("seen") != _seen(record):
        raise InputError("The project has changed since you looked.", mend="Read it again, then decide.")
    return record
