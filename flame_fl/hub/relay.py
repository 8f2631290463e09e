"""All that a ServerApp can reach: a socket that passes on ten operations and takes events, artefacts and checkpoints.

It also says how long the run may wait for stewards.

The relay adds the task's token itself, so what runs behind the socket never sees a token, a secret or a certificate,
and cannot speak for another run. Events and artefacts are written here, by the hub, under names that are checked:
nothing that the app writes is ever opened by its path. Artefacts come through the socket rather than through a shared
folder, so that their number and size are bounded without a quota on the host's file system, and no link can come with
them. Checkpoints come the same way, and are the only files that a ServerApp can read back: a path is looked up among
the names that are there.
"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from flame_fl.flower.server_operations import (
    ARTEFACTS_PATH,
    CHECKPOINT_PATH,
    CONTENT_TYPE,
    EVENTS_PATH,
    OPERATIONS,
    RUNTIME_PATH,
    TOKEN_HEADER,
    VERSION_HEADERS,
)
from flame_fl.flower.server_wish import BEGUN_PATH, WAIT_PATH, read_wish, wait_left
from flame_fl.hub.runs import SOCKET, RunFolder
from flame_fl.hub.waiting import mark_begun

_MAX_REQUEST_BYTES = 64 << 20
_MAX_LINE_BYTES = 64 << 10
_MAX_EVENTS_BYTES = 64 << 20
_MAX_DEPTH = 8
_SECONDS = 120.0
_ARRIVING = ".arriving"
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]


@dataclass(frozen=True)
class Limits:
    """What a run may leave, and how long it may wait for stewards."""

    out_bytes: int
    out_files: int
    wait_seconds: float = 0.0


class Relay:
    """One run's relay.

    Args:
        folder: The run's.
        token: Its task's.
        address: The SuperLink's host and port.
        context: Knows the hub's authority.
        limits: What the run may leave.
        on_over: Called when the SuperLink no longer knows the task, or was told that it is finished; from a thread.
    """

    def __init__(
        self,
        folder: RunFolder,
        token: str,
        *,
        address: str,
        context: ssl.SSLContext,
        limits: Limits,
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._token, self._limits, self._on_over = folder, token, limits, on_over
        self._client = httpx.AsyncClient(base_url=f"https://{address}", verify=context, timeout=_SECONDS)
        self._one_artefact = asyncio.Lock()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route(RUNTIME_PATH + "{operation}", self._operate, methods=["POST"]),
                Route(EVENTS_PATH, self._take_events, methods=["POST"]),
                Route(ARTEFACTS_PATH + "{path:path}", self._take_artefact, methods=["PUT"]),
                Route(CHECKPOINT_PATH + "{path:path}", self._take_checkpoint, methods=["PUT"]),
                Route(CHECKPOINT_PATH + "{path:path}", self._give_checkpoint, methods=["GET"]),
                Route(WAIT_PATH, self._tell_wait, methods=["GET"]),
                Route(BEGUN_PATH, self._take_begun, methods=["POST"]),
                Route("/{path:path}", _denied, methods=_METHODS),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._client:
            yield

    async def _operate(self, request: Request) -> Response:
        operation = request.path_params["operation"]
        if operation not in OPERATIONS:
            return await _denied(request)
        body = await _body(request, _MAX_REQUEST_BYTES)
        if body is None:
            return _error(413, "too large")
        headers = {name: request.headers[name] for name in VERSION_HEADERS if name in request.headers}
        headers |= {"content-type": CONTENT_TYPE, "accept": CONTENT_TYPE, TOKEN_HEADER: self._token}
        try:
            answer = await self._client.post(RUNTIME_PATH + operation, content=body, headers=headers)
        except httpx.TransportError:
            return _error(503, "the hub does not answer now")
        if answer.status_code == 401 or (operation == "push-task-output" and answer.is_success):
            self._on_over()
        kind = answer.headers.get("content-type", CONTENT_TYPE)
        return Response(answer.content, answer.status_code, headers={"content-type": kind})

    async def _take_events(self, request: Request) -> Response:
        body = await _body(request, _MAX_REQUEST_BYTES)
        lines = (body or b"").splitlines()
        if body is None or any(len(line) > _MAX_LINE_BYTES for line in lines):
            return _error(413, "too large")
        try:
            # written anew, one line each: what the app sent is data, not text that goes into a file as it is
            text = "".join(json.dumps(_object(line), separators=(",", ":")) + "\n" for line in lines)
        except (ValueError, RecursionError):
            return _error(400, "an event is a JSON object in one line")
        with self._folder.events.open("a", encoding="ascii") as file:
            if file.tell() + len(text) > _MAX_EVENTS_BYTES:
                return _error(413, "too many events")
            file.write(text)
        return Response(status_code=204)

    async def _tell_wait(self, _: Request) -> Response:
        left = wait_left(read_wish(self._folder.path), self._limits.wait_seconds, time.time())
        return JSONResponse(left.model_dump())

    async def _take_begun(self, _: Request) -> Response:
        try:
            mark_begun(self._folder)
        except OSError:
            return _error(503, "cannot be written now")
        return Response(status_code=204)

    async def _take_artefact(self, request: Request) -> Response:
        name = request.path_params["path"]
        if not is_plain_path(name):
            return _error(400, "not a plain path")
        async with self._one_artefact:
            return await self._keep(request, self._folder.out, name)

    async def _take_checkpoint(self, request: Request) -> Response:
        name = request.path_params["path"]
        if not is_plain_path(name):
            return _error(400, "not a plain path")
        async with self._one_artefact:
            return await self._keep(request, self._folder.checkpoint, name)

    async def _give_checkpoint(self, request: Request) -> Response:
        """One file, or, without a name, the names of all."""
        root = self._folder.checkpoint
        found = {str(path.relative_to(root)): path for path in _sizes(root)}
        if not (name := request.path_params["path"]):
            return JSONResponse({"files": sorted(found)})
        return FileResponse(found[name]) if name in found else _error(404, "there is no such checkpoint")

    async def _keep(self, request: Request, root: Path, name: str) -> Response:
        target = root / name
        others = {path: size for path, size in _sizes(root).items() if path != target}
        if len(others) >= self._limits.out_files:
            return _error(413, "too many files")
        room = self._limits.out_bytes - sum(others.values())
        beside = root / _ARRIVING
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with beside.open("wb") as file:
                async for piece in request.stream():
                    room -= len(piece)
                    if room < 0:
                        beside.unlink()
                        return _error(413, "the run's artefacts are too large")
                    file.write(piece)
            beside.replace(target)
        except (OSError, ClientDisconnect):  # a folder where a file is, or the other way round; or it went away
            beside.unlink(missing_ok=True)
            return _error(409, "cannot be kept under that name")
        return Response(status_code=204)

    def start(self) -> None:
        """Serve on a new socket in the run's folder, in a thread of its own."""
        listener = _listen(self._folder.socket_folder)
        config = uvicorn.Config(
            self.app(), log_level="critical", access_log=False, lifespan="on", ws="none", limit_concurrency=64
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name=f"relay-{self._folder.run_id}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take the socket away."""
        with contextlib.suppress(OSError):
            (self._folder.socket_folder / SOCKET).unlink()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(timeout=5)


def is_plain_path(name: str) -> bool:
    """Whether an artefact may be called so: relative, no way up, nothing hidden, nothing unprintable."""
    path = PurePosixPath(name)
    return (
        0 < len(name) <= 255
        and bool(path.parts)
        and str(path) == name
        and not path.is_absolute()
        and len(path.parts) <= _MAX_DEPTH
        and not any(part.startswith(".") or "\\" in part for part in path.parts)
        and name.isprintable()
    )


def _listen(folder: Path) -> socket.socket:
    """A listening socket in a folder, however long the folder's name is: sockets take 107 bytes."""
    (folder / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_DIRECTORY | os.O_RDONLY)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.close(descriptor)
    # any uid of a container may connect; on the host the run's folder is closed to others
    (folder / SOCKET).chmod(0o666)
    listener.listen(64)
    return listener


def _sizes(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_size for path in folder.rglob("*") if path.is_file() and path.name != _ARRIVING}


def _object(line: bytes) -> object:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


async def _body(request: Request, limit: int) -> bytes | None:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                return None
    except ClientDisconnect:
        return None
    return bytes(body)


async def _denied(_: Request) -> Response:
    return _error(403, "a ServerApp cannot do that")


def _error(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)
