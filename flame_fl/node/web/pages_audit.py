"""The audit chain: page by page, about one thing, and checked as a whole on a click."""

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.node.web.access import Caller, Posted, needs, posts
from flame_fl.node.web.desk import desk_of
from flame_fl.node.web.roles import Right

router = APIRouter()
_PER_PAGE: Final = 50
_MAX_WORD: Final = 100
_SOON_SECONDS: Final = 0.3
Reader = Annotated[Caller, needs(Right.READ)]
Asking = Annotated[Caller, needs(Right.READ, click=False)]


@router.get("/audit")
def audit(request: Request, caller: Reader, before: int | None = None, about: str = "") -> Response:
    """Entries, newest first; with `about` those that hold a word."""
    desk, about = desk_of(request), about.strip()[:_MAX_WORD]
    if about:
        found = desk.queries.audit_about(about, limit=_PER_PAGE)
    else:
        found = desk.queries.audit_page(limit=_PER_PAGE + 1, before=before)
    count, head = desk.queries.audit_head()
    return desk.renderer.page(
        request,
        "audit",
        caller,
        rows=found[:_PER_PAGE],
        next_before=found[_PER_PAGE - 1].seq if len(found) > _PER_PAGE else None,
        before=before,
        about=about,
        count=count,
        head=head,
        chain=desk.chain,
    )


@router.post("/audit/verify")
def verify(request: Request, posted: Annotated[Posted, posts(Right.READ)]) -> Response:
    """Check the whole chain, in a thread."""
    desk = desk_of(request)
    desk.chain.begin()
    desk.chain.wait(_SOON_SECONDS)
    return RedirectResponse("/audit", 303)


@router.get("/audit/verdict")
def verdict(request: Request, caller: Asking) -> Response:
    """How far the check is, or what it found: a part of the page, which asks for it while a check goes on."""
    desk = desk_of(request)
    count, head = desk.queries.audit_head()
    return desk.renderer.page(request, "part_verdict", caller, chain=desk.chain, count=count, head=head)
