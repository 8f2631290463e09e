"""The settings as they stand: to look at. They are changed in node.toml and with `flame node`, by the administrator."""

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from flame_fl.gate.signatures import fingerprint
from flame_fl.node.web.access import Caller, needs
from flame_fl.node.web.desk import desk_of
from flame_fl.node.web.roles import Right

router = APIRouter()


@router.get("/settings")
def settings(request: Request, caller: Annotated[Caller, needs(Right.SETTINGS)]) -> Response:
    """Sections of node.toml, stewards, accounts. No secret is among them, nor where a file is."""
    desk = desk_of(request)
    config = desk.node.config
    return desk.renderer.page(
        request,
        "settings",
        caller,
        sections={
            name: getattr(config, name).model_dump(mode="json")
            for name in ("node", "hub", "supernode", "sandbox", "limits", "approval")
        },
        images=dict(config.images),
        web=desk.web,
        stewards=[(name, fingerprint(key)) for key, name in desk.store.stewards().items()],
        needed=desk.gate.trust().needed,
        identity=fingerprint(desk.gate.trust().node_key),
        accounts=list(desk.accounts.all().values()),
    )
