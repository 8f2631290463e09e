"""Running analyses: how far each is, and a button that stops it here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.gate.approval import ApprovalRecord, Status, status_on
from flame_fl.gate.store import RunRow
from flame_fl.node.up import running_gate
from flame_fl.node.web import deciding
from flame_fl.node.web.access import Caller, Posted, needs, posts
from flame_fl.node.web.desk import Desk, desk_of
from flame_fl.node.web.queries import Messages
from flame_fl.node.web.roles import Right

router = APIRouter()
_SHOWN: Final = 25
Reader = Annotated[Caller, needs(Right.READ)]
Asking = Annotated[Caller, needs(Right.READ, click=False)]


@dataclass(frozen=True)
class RunShown:
    """One run as the page shows it.

    Attributes:
        state: running: a message is at work; open: more may come; done: it had all; stopped; or its approval's state.
        had: Messages that were answered or refused.
        most: Messages that the terms allow in one run; 0 without terms.
    """

    run: RunRow
    app: str
    title: str
    state: str
    had: int
    most: int
    messages: Sequence[Messages]

    @property
    def can_stop(self) -> bool:
        """Whether anything more could happen."""
        return self.state in {"running", "open"}


@router.get("/runs")
def runs(request: Request, caller: Reader) -> Response:
    """The newest runs."""
    desk = desk_of(request)
    return desk.renderer.page(
        request, "runs", caller, runs=_shown(desk), most=_SHOWN, gate_runs=running_gate(desk.node) is not None
    )


@router.get("/runs/table")
def table(request: Request, caller: Asking) -> Response:
    """Their table alone, which the page asks for every two seconds; it keeps no session alive."""
    desk = desk_of(request)
    return desk.renderer.page(request, "part_runs", caller, runs=_shown(desk))


@router.get("/runs/{run_id}/stop")
def stop_page(request: Request, caller: Annotated[Caller, needs(Right.STOP)], run_id: str) -> Response:
    """Ask once more before a run is stopped."""
    desk = desk_of(request)
    found = [shown for shown in _shown(desk, 1000) if shown.run.run_id == run_id]
    if not found:
        raise HTTPException(404)
    return desk.renderer.page(request, "stop", caller, shown=found[0])


@router.post("/runs/{run_id}/stop")
def stop(request: Request, posted: Annotated[Posted, posts(Right.STOP)], run_id: str) -> Response:
    """Stop it."""
    deciding.stop_run(desk_of(request), posted.caller, run_id)
    return RedirectResponse("/runs", 303)


def _shown(desk: Desk, limit: int = _SHOWN) -> list[RunShown]:
    rows = desk.store.runs(limit=limit)
    messages = desk.queries.messages([row.run_id for row in rows])
    records: dict[str, ApprovalRecord | None] = {}
    for row in rows:
        if row.digest not in records:
            records[row.digest] = desk.store.approval(row.digest)
    return [_run(desk, row, records[row.digest], messages.get(row.run_id, [])) for row in rows]


def _run(desk: Desk, row: RunRow, record: ApprovalRecord | None, messages: Sequence[Messages]) -> RunShown:
    terms = None if record is None else record.terms
    most = sum(rules.per_run for rules in terms.messages.values()) if terms else 0
    had = row.released + row.refused
    status = None if record is None else status_on(record, desk.gate.today())
    if row.stopped:
        state = "stopped"
    elif status is not Status.APPROVED:
        state = "" if status is None else status.value
    elif row.working:
        state = "running"
    else:
        state = "done" if most and had >= most else "open"
    return RunShown(
        row,
        record.manifest.app if record else "",
        terms.project.title if terms else "",
        state,
        had,
        most,
        messages,
    )
