"""Who asks, and whether they may: what every page begins with.

A page says `caller: Annotated[Caller, needs(Right.READ)]`; one that changes something
`posted: Annotated[Posted, posts(Right.DECIDE)]`, which also reads its form and checks the session's token in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request

from flame_fl.contract.canonical import sha256_hex
from flame_fl.node.web.accounts import Account
from flame_fl.node.web.desk import desk_of
from flame_fl.node.web.roles import Right, Role, rights_of
from flame_fl.node.web.sessions import Session

_MAX_FIELDS: Final = 64
_FORM: Final = "application/x-www-form-urlencoded"


class LoginNeededError(Exception):
    """Nobody is logged in."""


class ForbiddenError(Exception):
    """Somebody is, but may not. `stale` means that the form was made for another session."""

    def __init__(self, *, stale: bool = False) -> None:
        super().__init__()
        self.stale = stale


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    session: Session
    token: str
    roles: tuple[Role, ...]
    node_key: bool
    address: str

    @property
    def name(self) -> str:
        """As the audit chain calls them."""
        return self.session.name

    @property
    def rights(self) -> frozenset[Right]:
        """What they may."""
        return rights_of(self.roles)


@dataclass(frozen=True)
class Posted:
    """Who asks, and what the form says."""

    caller: Caller
    form: Mapping[str, str]

    def text(self, name: str, most: int = 4000) -> str:
        """A field, stripped, with line ends as they are stored; "" if it is not there."""
        return self.form.get(name, "").replace("\r\n", "\n").strip()[:most]


def needs(right: Right, *, click: bool = True) -> Any:
    """A dependency: the caller, who has this right. `click` is False for what a page asks for by itself."""

    async def caller(request: Request) -> Caller:
        return _require(request, right, touch=click)

    return Depends(caller)


def posts(right: Right) -> Any:
    """A dependency: the caller, who has this right, and their form, which holds their session's token."""

    async def posted(request: Request) -> Posted:
        caller = _require(request, right, touch=True)
        form = await read_form(request)
        if not caller.session.has_token(form.get("csrf", "")):
            raise ForbiddenError(stale=True)
        return Posted(caller, form)

    return Depends(posted)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; the first of each name. Nothing of one that is sent in another way."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return {}
    body = await request.body()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return {}
    return dict(reversed(fields))


def _require(request: Request, right: Right, *, touch: bool) -> Caller:
    found = caller_of(request, touch=touch)
    if found is None:
        raise LoginNeededError
    if right not in found.rights:
        raise ForbiddenError
    return found


def caller_of(request: Request, *, touch: bool = True) -> Caller | None:
    """Who has this cookie, if their session goes on and their account stands."""
    desk = desk_of(request)
    token = request.cookies.get(desk.cookie, "")
    session = desk.sessions.get(token, touch=touch) if token else None
    if session is None:
        return None
    roles, node_key = session.roles, session.node_key
    if session.method == "password":
        account = desk.accounts.get(session.name)
        if account is None or mark_of(account) != session.mark:
            desk.sessions.end(token)
            return None
        roles, node_key = account.roles, account.signs_with == "node-key"
    return Caller(session, token, roles, node_key, address_of(request))


def mark_of(account: Account) -> str:
    """What ends an account's sessions when it changes: its password and roles."""
    return sha256_hex(f"{account.password} {sorted(account.roles)}".encode())


def address_of(request: Request) -> str:
    """From where it comes, as the machine sees it; no header is believed."""
    return request.client.host if request.client else ""
