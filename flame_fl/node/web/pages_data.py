"""Data stores, by count and version and never by value, and the privacy budget over time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flame_fl.node.data import released_schema
from flame_fl.node.registry import Version
from flame_fl.node.web.access import Caller, needs
from flame_fl.node.web.desk import desk_of
from flame_fl.node.web.plots import step_plot
from flame_fl.node.web.roles import Right
from flame_fl.privacy.accounting import epsilon

router = APIRouter()
_MOST_STEPS: Final = 200
Reader = Annotated[Caller, needs(Right.READ)]


@dataclass(frozen=True)
class StoreShown:
    """A data store: its versions, and the columns' names of the schema that the steward released."""

    name: str
    versions: tuple[Version, ...]
    columns: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Step:
    """The budget after one release, or several of one project in a row."""

    at: str
    project: str
    stores: str
    epsilon: float
    releases: int


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
    """What was spent, since when, of how much."""
    desk = desk_of(request)
    limits = desk.node.config.limits
    steps = _steps(desk.queries.debits(), limits.delta)
    plot = step_plot(
        [(datetime.fromisoformat(step.at), step.epsilon) for step in steps], datetime.now(UTC), limits.epsilon_cap
    )
    return desk.renderer.page(
        request,
        "budget",
        caller,
        plot=plot,
        steps=steps[::-1],
        limits=limits,
        spent=steps[-1].epsilon if steps else 0.0,
    )


def _steps(debits: list[tuple[str, str, str, float]], delta: float) -> list[Step]:
    """At most `_MOST_STEPS`, of as many releases each as that takes: every epsilon costs an accountant's work."""
    every = -(-len(debits) // _MOST_STEPS) or 1
    steps, rho, begun = [], 0.0, 0
    for number, (at, project, stores, more) in enumerate(debits, 1):
        rho += more
        if number % every == 0 or number == len(debits):
            steps.append(Step(at, project, stores, epsilon(rho, delta), number - begun))
            begun = number
    return steps
