"""What stands before every page: which host was asked for, from where a form comes, how much is read, which headers go.

A middleware of its own, so that it also covers pages that are not there and errors.
"""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flame_fl.node.web.settings import WebSection

MAX_BODY_BYTES = 256 * 1024
_SAFE = frozenset({"GET", "HEAD"})
_METHODS = _SAFE | {"POST"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
# Not "no-referrer": with it browsers send "Origin: null" with a form, and where a form comes from could not be checked.
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=()",
    "x-robots-tag": "noindex",
}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.\-]{1,253}))(?::[0-9]{1,5})?")
_HSTS = "max-age=31536000"


class TooMuchError(Exception):
    """A body has more bytes than are read. The application answers it with 413."""


class Guard:
    """Checks a request, and adds the headers to whatever is answered."""

    def __init__(self, app: ASGIApp, web: WebSection) -> None:
        self._app, self._web = app, web
        self._headers = {**HEADERS, **({"strict-transport-security": _HSTS} if web.is_secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets here
        answer = self._with_headers(send)
        refusal = refused(scope["method"], scope["headers"], self._web)
        if refusal is not None:
            await _plain(answer, *refusal)
            return
        await self._app(scope, _bounded(receive), answer)

    def _with_headers(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", ())}
                more = dict(self._headers)
                if b"cache-control" not in there:
                    more["cache-control"] = "no-store"
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in more.items()),
                ]
            await send(message)

        return answer


def refused(method: str, raw: Iterable[tuple[bytes, bytes]], web: WebSection) -> tuple[int, str] | None:
    """Status and word with which a request is refused at the door; None: it may come in."""
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]
    headers = dict(pairs)
    if [name for name, _ in pairs].count("host") != 1 or _host(headers["host"]) not in web.names:
        return 400, "this page is not called so"
    if method not in _METHODS:
        return 405, "not possible"
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return 413, "too large"
    if method not in _SAFE and not _same_origin(headers, web):
        return 403, "the form is not from this page"
    return None


def _same_origin(headers: dict[str, str], web: WebSection) -> bool:
    """Whether a browser says that a form comes from this page. Every browser says so of every form."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site == "same-origin"
    if origin == web.origin:
        return True
    scheme, _, host = origin.partition("://")  # under another of the page's names: the one that was asked for
    return scheme == web.origin.partition("://")[0] and host.lower() == headers["host"].lower()


def _host(stated: str) -> str:
    found = _HOST.fullmatch(stated)
    return (found[1] or found[2]).lower() if found else ""


def _bounded(receive: Receive) -> Receive:
    left = MAX_BODY_BYTES

    async def read() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooMuchError
        return message

    return read


async def _plain(send: Send, status: int, words: str) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain; charset=utf-8")]}
    )
    await send({"type": "http.response.body", "body": f"{words}\n".encode()})
