"""What a hub answers at all."""

import asyncio
import importlib
from typing import Any

import pytest

from flame_fl.flower.superlink_guard import MAX_BODY_BYTES, AllowList, is_allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/fleet/pull-messages"),
        ("POST", "/v1/runtime/push-object"),
        ("POST", "/v1/runtime/acquire-task"),
        ("GET", "/health"),
        ("GET", "/v1/flame/runs/1/events"),
        ("PUT", "/v1/flame/runs/18446744073709551615/wait"),
    ],
)
def test_what_is_offered(method: str, path: str) -> None:
    """To researchers, nodes and the hub's own agent."""
    assert is_allowed(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("POST", "/health"),
        ("GET", "/v1/control/start-run"),
        ("POST", "/v1/control/start-run/"),
        ("POST", "/v1/control//start-run"),
        ("POST", "/v1/flame/runs/1"),
        ("PUT", "/v1/fleet/push-object"),
        ("PUT", "/v1/flame/runs/1/artefacts/x"),
        ("PUT", "/v1/flame/runs/1/wait/x"),
        ("PUT", "/v1/flame/runs/x/wait"),
        ("POST", "/v1/flame/runs/1/wait"),
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/unregister-node"),
        ("POST", "/v1/runtime/create-task"),
        ("POST", "/v1/runtime/start-automation"),
        ("POST", "/v1/runtime/get-connector"),
        ("POST", "/v1/runtime/responses"),
        ("POST", "/v1/responses"),
    ],
)
def test_what_is_not(method: str, path: str) -> None:
    """Whoever asks."""
    assert not is_allowed(method, path)


def test_every_path_of_flower_s_is_decided() -> None:
    """A contract test: what a new Flower adds is not offered until somebody looked at it; what we offer is there."""
    main: Any = importlib.import_module("flwr.superlink.main")
    from flwr.supercore.routers.runtime import create_runtime_router

    routers = [main.control_router, main.fleet_router, create_runtime_router("x"), main.responses_router]
    found = {context.route.path for r in routers for context in main.iter_route_contexts(r.routes)}
    offered = {path for path in found if is_allowed("POST", path)}
    assert len(offered) == 6 + 10 + 11
    assert len(found) > 60


def ask(method: str, path: str, pieces: list[bytes], kind: str = "http") -> tuple[int | None, bytes | None]:
    """Status, and the body that reached the app behind; None for what did not happen."""
    reached: list[bytes] = []
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": p, "more_body": i + 1 < len(pieces)} for i, p in enumerate(pieces)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        reached.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(AllowList(app)({"type": kind, "method": method, "path": path}, receive, send))
    status = next((m["status"] for m in sent if "status" in m), None)
    return status, reached[0] if reached else None


def test_a_body_passes_whole() -> None:
    """In however many pieces it came."""
    assert ask("POST", "/v1/control/start-run", [b"ab", b"c"]) == (200, b"abc")


def test_what_is_denied_reaches_nothing() -> None:
    """403 before anything of Flower's runs."""
    assert ask("POST", "/v1/control/create-federation", [b""]) == (403, None)
    assert ask("GET", "/v1/control/start-run", [b""], kind="websocket") == (None, None)


def test_a_body_that_is_too_large_is_not_collected() -> None:
    """413, also if its sender did not say how much would come."""
    piece = bytes(1 << 20)
    assert ask("POST", "/v1/fleet/push-messages", [piece] * (MAX_BODY_BYTES // len(piece) + 1)) == (413, None)
