"""The web page as an application: routes by subject, one guard before them, one way to show what went wrong."""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import FlameError
from flame_fl.node.web import (
    pages_audit,
    pages_data,
    pages_decide,
    pages_login,
    pages_projects,
    pages_requests,
    pages_runs,
    pages_settings,
)
from flame_fl.node.web.access import ForbiddenError, LoginNeededError, caller_of
from flame_fl.node.web.desk import Desk, desk_of
from flame_fl.node.web.guard import Guard, TooMuchError

_STATIC: Final = {"flame.css": "text/css", "htmx.min.js": "text/javascript", "flame.svg": "image/svg+xml"}
PAGES: Final = (
    pages_login,
    pages_requests,
    pages_decide,
    pages_projects,
    pages_runs,
    pages_data,
    pages_audit,
    pages_settings,
)


def make_app(desk: Desk) -> Guard:
    """The whole page. The guard is outermost: it also stands before what answers an error of ours."""
    return Guard(make_routes(desk), desk.web)


def make_routes(desk: Desk) -> FastAPI:
    """The application behind the guard. It has no pages of documentation, and nothing that is not one of ours."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.desk = desk
    for pages in PAGES:
        app.include_router(pages.router)
    _static(app)
    app.add_exception_handler(LoginNeededError, _login_needed)
    app.add_exception_handler(ForbiddenError, _forbidden)
    app.add_exception_handler(FlameError, _failed)
    app.add_exception_handler(TooMuchError, _too_much)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(RequestValidationError, _not_there)
    app.add_exception_handler(Exception, _broken)
    return app


def _static(app: FastAPI) -> None:
    """Our own files, read once: no path from a request ever reaches the disk."""
    folder = files("flame_fl.node.web") / "static"
    for name, kind in _STATIC.items():
        content = (folder / name).read_bytes()
        tag = f'"{sha256_hex(content)[:16]}"'

        def static(request: Request, content: bytes = content, kind: str = kind, tag: str = tag) -> Response:
            headers = {"cache-control": "public, max-age=600", "etag": tag}
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=headers)
            return Response(content, media_type=kind, headers=headers)

        app.add_route(f"/static/{name}", static, methods=["GET"])


async def _login_needed(request: Request, _: Exception) -> Response:
    if "hx-request" in request.headers:  # a part of a page cannot show the login: the whole page goes there
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse("/login", 303)


async def _forbidden(request: Request, err: Exception) -> Response:
    stale = isinstance(err, ForbiddenError) and err.stale
    return _page(request, 403, "stale" if stale else "forbidden")


async def _failed(request: Request, err: Exception) -> Response:
    assert isinstance(err, FlameError)  # noqa: S101  (what it is registered for)
    return _page(request, 400, "failed", err)


async def _too_much(request: Request, _: Exception) -> Response:
    return _page(request, 413, "absent")


async def _not_there(request: Request, err: Exception) -> Response:
    status = err.status_code if isinstance(err, HTTPException) else 404
    return _page(request, status, "absent")


async def _broken(request: Request, _: Exception) -> Response:
    return _page(request, 500, "broken")


def _page(request: Request, status: int, kind: str, error: FlameError | None = None) -> Response:
    caller = caller_of(request, touch=False)
    return desk_of(request).renderer.page(request, "problem", caller, status_code=status, kind=kind, error=error)
