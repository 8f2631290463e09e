"""Decisions about analyses: approve here or with a signature from elsewhere, reject, withdraw."""

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.contract.errors import InputError
from flame_fl.contract.statement import Statement, parse_statement
from flame_fl.gate.approval import status_on
from flame_fl.node.steward import Request as Row
from flame_fl.node.web import deciding
from flame_fl.node.web.access import Caller, Posted, needs, posts
from flame_fl.node.web.desk import desk_of
from flame_fl.node.web.pages_requests import file_of, record_of
from flame_fl.node.web.roles import Right

router = APIRouter()
Decider = Annotated[Caller, needs(Right.DECIDE)]
Deciding = Annotated[Posted, posts(Right.DECIDE)]


@router.get("/requests/{digest}/decide")
def decide_page(request: Request, caller: Decider, digest: str) -> Response:
    """The forms."""
    return _forms(request, caller, digest)


def _forms(
    request: Request,
    caller: Caller,
    digest: str,
    *,
    error: InputError | None = None,
    posted: Posted | None = None,
    statements: list[Statement] | None = None,
) -> Response:
    desk = desk_of(request)
    record = record_of(desk, digest)
    choice = deciding.choice_for(desk, caller, record)
    return desk.renderer.page(
        request,
        "decide",
        caller,
        status_code=200 if error is None else 400,
        record=record,
        row=Row.of(record),
        state=status_on(record, desk.gate.today()).value,
        choice=choice,
        sheet=desk.shelf.sheet(record).sha256,
        seen="" if choice.prepared is None else deciding.seen_mark(record, choice),
        stewards=len(desk.store.stewards()),
        error=error,
        form=posted.form if posted else {},
        statements=statements or [],
        today=desk.gate.today().isoformat(),
    )


@router.post("/requests/{digest}/approve")
def approve(request: Request, posted: Deciding, digest: str) -> Response:
    """Sign with the key that the node keeps."""
    desk = desk_of(request)
    record = record_of(desk, digest)
    try:
        wish = deciding.wish_of(posted.text("comment"), posted.text("until"), posted.text("sheet"))
        deciding.approve_with_node_key(desk, posted.caller, record, wish, posted.text("seen"))
    except InputError as err:
        return _forms(request, posted.caller, digest, error=err, posted=posted)
    return RedirectResponse(f"/requests/{digest}?done=approve", 303)


@router.post("/requests/{digest}/statement")
def statement(request: Request, posted: Deciding, digest: str) -> Response:
    """Show what is to be signed elsewhere."""
    desk = desk_of(request)
    record = record_of(desk, digest)
    try:
        wish = deciding.wish_of(posted.text("comment"), posted.text("until"), posted.text("sheet"))
        made = deciding.statements_for(desk, posted.caller, record, wish, posted.text("seen"))
    except InputError as err:
        return _forms(request, posted.caller, digest, error=err, posted=posted)
    return _forms(request, posted.caller, digest, posted=posted, statements=made)


@router.post("/statement.json")
def statement_file(posted: Deciding) -> Response:
    """The statement that was shown, as a file with exactly the bytes to be signed."""
    found = parse_statement(posted.form.get("statement", ""))
    return file_of(found.text, f"{found.subject}-{found.digest[:12]}.json", "application/octet-stream")


@router.post("/requests/{digest}/sign")
def sign(request: Request, posted: Deciding, digest: str) -> Response:
    """Enter what was signed elsewhere."""
    desk = desk_of(request)
    record = record_of(desk, digest)
    fields = ("project_statement", "project_signature"), ("statement", "signature")
    given = [(posted.text(said, 40_000), posted.text(made, 10_000)) for said, made in fields]
    try:
        deciding.enter_signed(desk, posted.caller, record, [pair for pair in given if any(pair)])
    except InputError as err:
        shown = [found for text, _ in given if (found := _parsed(text)) is not None]
        return _forms(request, posted.caller, digest, error=err, posted=posted, statements=shown)
    return RedirectResponse(f"/requests/{digest}?done=approve", 303)


@router.post("/requests/{digest}/close")
def close(request: Request, posted: Deciding, digest: str) -> Response:
    """Reject, or withdraw what was approved."""
    desk = desk_of(request)
    try:
        deciding.close(desk, posted.caller, record_of(desk, digest), posted.text("comment"), posted.text("sheet"))
    except InputError as err:
        return _forms(request, posted.caller, digest, error=err, posted=posted)
    return RedirectResponse(f"/requests/{digest}?done=close", 303)


def _parsed(text: str) -> Statement | None:
    try:
        return parse_statement(text) if text else None
    except InputError:
        return None
