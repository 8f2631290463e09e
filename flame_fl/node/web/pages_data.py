"""Data stores, by count and version and never by value, and the privacy budget over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flame_fl.gate.ledger import lifetime_now
from flame_fl.node.accounts import all_accounts
from flame_fl.node.budget import AccountBudget, budget_of
from flame_fl.node.data import released_schema
from flame_fl.node.registry import Version
from flame_fl.node.web.access import Caller, needs
from flame_fl.node.web.desk import desk_of
from flame_fl.node.web.plots import StepPlot, step_plot
from flame_fl.node.web.roles import Right
from flame_fl.privacy.accounting import PrivacyEvent, epsilon_of
from flame_fl.privacy.filters import Filter

router = APIRouter()
_MOST_STEPS: Final = 100
Reader = Annotated[Caller, needs(Right.READ)]


@dataclass(frozen=True)
class StoreShown:
    """A data store: its versions, and the columns' names of the schema that the steward released."""

    name: str
    versions: tuple[Version, ...]
    columns: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Step:
    """An account after one debit, or several of one project in a row."""

    at: str
    project: str
    stores: str
    epsilon: float
    share: float
    debits: int


@dataclass(frozen=True)
class AccountShown:
    """An account: its figures, its picture, its history with the newest first."""

    budget: AccountBudget
    plot: StepPlot | None
    steps: tuple[Step, ...]


@router.get("/data")
def data(request: Request, caller: Reader) -> Response:
    """The stores."""
    desk = desk_of(request)
    files = desk.node.data
    found = []
    for name, registration in files.registry.all().items():
        schema = released_schema(files, name)
        columns = None if schema is None else tuple((column.name, column.type) for column in schema.columns)
        found.append(StoreShown(name, registration.versions, columns))
    return desk.renderer.page(request, "data", caller, stores=found)


@router.get("/budget")
def budget(request: Request, caller: Reader) -> Response:
    """What was spent of each account, by whom, since when, of how much."""
    desk = desk_of(request)
    limits, now = desk.gate.limits, datetime.now(UTC)
    shown = []
    for account in all_accounts(desk.store):
        figures, lifetime = budget_of(desk.store, limits, account), lifetime_now(desk.store, limits, account)
        steps = _steps(desk.queries.debits(account), lifetime)
        points = [(datetime.fromisoformat(step.at), step.epsilon) for step in steps]
        shown.append(AccountShown(figures, step_plot(points, now, lifetime.epsilon), tuple(steps[::-1])))
    return desk.renderer.page(request, "budget", caller, accounts=shown)


def _steps(debits: Sequence[tuple[str, str, str, PrivacyEvent]], lifetime: Filter) -> list[Step]:
    """At most `_MOST_STEPS`, of as many debits each as that takes: every epsilon costs an accountant's work."""
    every = -(-len(debits) // _MOST_STEPS) or 1
    steps: list[Step] = []
    events: dict[PrivacyEvent, int] = {}
    begun = 0
    for number, (at, project, stores, event) in enumerate(debits, 1):
        events[event] = events.get(event, 0) + 1
        if number % every == 0 or number == len(debits):
            epsilon = epsilon_of(events, lifetime.delta)
            steps.append(Step(at, project, stores, epsilon, lifetime.share(events), number - begun))
            begun = number
    return steps
