"""What a hub's SuperLink answers at all: an allow-list of paths.

Flower's server offers much that FLAME has no use for: agents, models, connectors to outside services, automations,
federations that accounts make themselves, an interactive description of itself. None of it is reachable here.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from flame_fl.flower.server_operations import OPERATIONS

_POST = frozenset(
    {
        f"/v1/control/{name}"
        for name in (
            "start-run", "stop-run", "list-runs", "stream-logs", "list-federations",
            "refresh-auth-tokens",  # always refused; `flwr` asks it after a wrong token, and then says what is wrong
        )
    }
    | {
        f"/v1/fleet/{name}"
        for name in (
            "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages", "get-run",
            "get-fab", "push-object", "pull-object", "confirm-message-received",
        )
    }
    | {"/v1/runtime/acquire-task"}
    | {f"/v1/runtime/{name}" for name in OPERATIONS}
)  # fmt: skip
_RUNS = "/v1/flame/runs/"
_WAIT = re.compile(r"/v1/flame/runs/[0-9]{1,20}/wait")
_HEALTH = "/health"
MAX_BODY_BYTES = 64 * 1024 * 1024  # objects come in pieces of 5 MB, bundles have at most 10 MB

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_allowed(method: str, path: str) -> bool:
    """Whether the hub has anything under this path."""
    if method == "POST":
        return path in _POST
    if method == "PUT":
        return _WAIT.fullmatch(path) is not None
    return method == "GET" and (path == _HEALTH or path.startswith(_RUNS))


class AllowList:
    """ASGI middleware, outermost: what is not on the list is 403, and what is too large 413, whoever asks."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif not is_allowed(scope["method"], scope["path"]):
            await _answer(send, 403, "This hub does not offer that.")
        elif (body := await _bounded(receive)) is None:
            await _answer(send, 413, "The request is too large.")
        else:
            await self._app(scope, _replayed(body, receive), send)


async def _bounded(receive: Receive) -> bytes | None:
    """A request's body; None if it is too large. Flower would read it all, before it asks who sent it."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once, and after it what the connection says next."""
    waiting = [body]

    async def again() -> MutableMapping[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
