"""Login, by a local account or through the hospital's own login, and logout."""

import hmac
import secrets
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.contract.errors import FlameError
from flame_fl.gate.audit import plain
from flame_fl.node.web.access import Posted, address_of, mark_of, posts, read_form
from flame_fl.node.web.desk import Desk, desk_of
from flame_fl.node.web.oidc import CALLBACK
from flame_fl.node.web.roles import Right
from flame_fl.node.web.throttle import ACCOUNT, ADDRESS, Rule

router = APIRouter()
_WORD_COOKIE: Final = "flame-login"
_OIDC_COOKIE: Final = "flame-oidc"
_TEN_MINUTES: Final = 600


@router.get("/login")
def login_page(request: Request) -> Response:
    """The form. Its word is in a cookie, too: a form elsewhere cannot log somebody in as somebody else."""
    return _form(request)


def _form(
    request: Request, *, status: int = 200, problem: str = "", seconds: int = 0, error: FlameError | None = None
) -> Response:
    desk, word = desk_of(request), request.cookies.get(_WORD_COOKIE, "") or secrets.token_urlsafe(32)
    answer = desk.renderer.page(
        request,
        "login",
        status_code=status,
        word=word,
        problem=problem,
        seconds=seconds,
        error=error,
        oidc=desk.oidc is not None,
        has_accounts=bool(desk.accounts.all()),
    )
    answer.set_cookie(
        _WORD_COOKIE, word, max_age=_TEN_MINUTES, secure=desk.web.is_secure, httponly=True, samesite="strict"
    )
    if seconds:
        answer.headers["retry-after"] = str(seconds)
    return answer


@router.post("/login")
async def login(request: Request) -> Response:
    """Check name and password."""
    desk, form = desk_of(request), await read_form(request)
    word = request.cookies.get(_WORD_COOKIE, "")
    if not word or not hmac.compare_digest(form.get("word", "").encode(), word.encode()):
        return _form(request, status=403, problem="stale")
    return await run_in_threadpool(_login, request, desk, form.get("name", "").strip(), form.get("password", ""))


def _login(request: Request, desk: Desk, name: str, password: str) -> Response:
    address = address_of(request)
    keys: dict[str, Rule] = {f"account {name[:64]}": ACCOUNT}
    if not desk.behind_proxy(address):  # everybody has a proxy's address
        keys[f"address {address}"] = ADDRESS
    if (wait := desk.throttle.take(keys)) > 0:
        return _form(request, status=429, problem="wait", seconds=int(wait) + 1)
    account = desk.accounts.check(name, password)
    if account is None:
        known = name if name in desk.accounts.all() else ""  # what was typed may be a password in the wrong field
        desk.store.record("login-failed", {"account": known, "address": address, "method": "password"})
        return _form(request, status=401, problem="wrong")
    desk.throttle.good(keys)
    desk.store.record("login", {"account": account.name, "address": address, "method": "password"})
    token, _ = desk.sessions.begin(
        account.name,
        "password",
        account.roles,
        mark=mark_of(account),
        node_key=account.signs_with == "node-key",
        address=address,
    )
    return _logged_in(request, desk, token, RedirectResponse("/", 303))


def _logged_in(request: Request, desk: Desk, token: str, answer: Response) -> Response:
    desk.sessions.end(request.cookies.get(desk.cookie, ""))  # whatever this browser had before
    answer.set_cookie(desk.cookie, token, secure=desk.web.is_secure, httponly=True, samesite="strict", path="/")
    answer.delete_cookie(_WORD_COOKIE, secure=desk.web.is_secure, httponly=True, samesite="strict")
    return answer


@router.post("/logout")
def logout(request: Request, posted: Annotated[Posted, posts(Right.READ)]) -> Response:
    """End the session."""
    desk, caller = desk_of(request), posted.caller
    desk.sessions.end(caller.token)
    desk.store.record("logout", {"account": caller.name, "address": caller.address, "method": caller.session.method})
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(desk.cookie, secure=desk.web.is_secure, httponly=True, samesite="strict", path="/")
    answer.headers["clear-site-data"] = '"cache", "storage"'
    return answer


@router.get("/login/oidc")
def oidc_begin(request: Request) -> Response:
    """Off to the hospital's login."""
    desk = desk_of(request)
    if desk.oidc is None:
        return RedirectResponse("/login", 303)
    if request.headers.get("sec-fetch-dest", "document") != "document":  # an image on another's page, say
        return RedirectResponse("/login", 303)
    address = address_of(request)
    wait = 0.0 if desk.behind_proxy(address) else desk.throttle.take({f"oidc {address}": ADDRESS})
    if wait > 0:
        return _form(request, status=429, problem="wait", seconds=int(wait) + 1)
    try:
        target, browser = desk.oidc.begin()
    except FlameError as err:
        return _form(request, status=502, problem="oidc", error=err)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(  # "lax": the way back comes from another site
        _OIDC_COOKIE, browser, max_age=_TEN_MINUTES, secure=desk.web.is_secure, httponly=True, samesite="lax",
        path=CALLBACK,
    )  # fmt: skip
    return answer


@router.get(CALLBACK)
def oidc_return(request: Request) -> Response:
    """Back from there."""
    desk = desk_of(request)
    if desk.oidc is None:
        return RedirectResponse("/login", 303)
    address = address_of(request)
    try:
        person = desk.oidc.finish(request.query_params, request.cookies.get(_OIDC_COOKIE, ""))
        if person.name in desk.accounts.all():
            raise FlameError(
                "A local account has this name.", mend="Ask the node's administrator to remove one of them."
            )
    except FlameError as err:
        desk.store.record("login-failed", {"account": "", "address": address, "method": "oidc", "why": err.message})
        return _form(request, status=403, problem="oidc", error=err)
    desk.throttle.good({f"oidc {address}": ADDRESS})
    said = {"account": person.name, "subject": plain(person.subject), "address": address, "method": "oidc"}
    desk.store.record("login", {**said, "roles": [role.value for role in person.roles]})
    section = desk.web.oidc
    token, _ = desk.sessions.begin(
        person.name, "oidc", person.roles, node_key=section is not None and section.may_use_node_key, address=address
    )
    # A page, not a redirect: on a redirect that began at another site browsers keep a strict cookie back.
    answer = _logged_in(request, desk, token, desk.renderer.page(request, "enter"))
    answer.delete_cookie(_OIDC_COOKIE, path=CALLBACK, secure=desk.web.is_secure, httponly=True, samesite="lax")
    return answer
