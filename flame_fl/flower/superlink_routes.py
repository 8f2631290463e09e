"""A run's own researcher may ask about it: its state, its events, what it left. Everybody else finds nothing.

```
GET /v1/flame/runs/{run_id}                       state as JSON
GET /v1/flame/runs/{run_id}/events?after=N        the run's events from line N on, as JSON lines
GET /v1/flame/runs/{run_id}/log                   what its ServerApp printed
GET /v1/flame/runs/{run_id}/artefacts             names, sizes and SHA-256 of the files the ServerApp left
GET /v1/flame/runs/{run_id}/artefacts/{path}      one of them
PUT /v1/flame/runs/{run_id}/wait                  how long it may wait for stewards (`server_wish.Wish` as JSON)
```
The files are written by the hub alone (`flame_fl.hub.relay`). A path is looked up among the names that are there, never
put together from a request.
"""

import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flwr.supercore.auth.typing import AccountInfo
from flwr.superlink.dependencies.linkstate import get_linkstate
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from flame_fl.contract.access import project_of
from flame_fl.flower.server_wish import MAX_WISH_BYTES, Wish, keep_wish, parse_wish
from flame_fl.flower.superlink_checks import owns

EVENTS = "events.jsonl"
OUT = "out"
_MAX_LINES = 2000
_PIECE_BYTES = 1 << 20
_MAX_LOG_CHARS = 8 << 20


class RunRoutes:
    """The routes, over the folder in which every run has one of its own."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs

    def routes(self) -> list[Route]:
        """For the SuperLink's app."""
        base = "/v1/flame/runs/{run_id:int}"
        return [
            Route(base, self._in_thread(self._state), methods=["GET"]),
            Route(f"{base}/events", self._in_thread(self._events), methods=["GET"]),
            Route(f"{base}/log", self._in_thread(self._log), methods=["GET"]),
            Route(f"{base}/wait", self._wait, methods=["PUT"]),
            Route(f"{base}/artefacts", self._in_thread(self._artefacts), methods=["GET"]),
            Route(f"{base}/artefacts/{{path:path}}", self._in_thread(self._artefact), methods=["GET"]),
        ]

    @staticmethod
    def _in_thread(function: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            answer: Response = await run_in_threadpool(function, request)
            return answer

        return endpoint

    def _folder(self, request: Request) -> Path:
        account: AccountInfo = request.app.state.account_access_dep(request)
        run_id: int = request.path_params["run_id"]
        if not owns(get_linkstate(request), account, run_id):
            raise HTTPException(404, "You have no such run.")
        return self._runs / str(run_id)

    def _state(self, request: Request) -> Response:
        folder = self._folder(request)
        run = get_linkstate(request).get_run_info(run_ids=[request.path_params["run_id"]])[0]
        return JSONResponse(
            {
                "run_id": str(run.run_id),
                "status": run.status.status,
                "sub_status": run.status.sub_status,
                "details": run.status.details,
                "project": project_of(run.federation_id),
                "fab_sha256": run.fab_hash,
                "started": (folder / EVENTS).is_file(),
            }
        )

    def _events(self, request: Request) -> Response:
        folder = self._folder(request)
        try:
            after = max(0, int(request.query_params.get("after", "0")))
        except ValueError as err:
            raise HTTPException(400, "`after` is a number of lines.") from err
        try:
            with (folder / EVENTS).open("rb") as file:
                lines = [line for line in itertools.islice(file, after, after + _MAX_LINES) if line.endswith(b"\n")]
        except FileNotFoundError:
            lines = []
        return PlainTextResponse(b"".join(lines), media_type="application/jsonl")

    async def _wait(self, request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_WISH_BYTES:
                raise HTTPException(413, "A wish is short.")
        try:
            wish = parse_wish(bytes(body))
        except ValueError as err:
            raise HTTPException(400, "This is no wish: give `seconds` and `min_only`.") from err
        return await run_in_threadpool(self._keep_wish, request, wish)

    def _keep_wish(self, request: Request, wish: Wish) -> Response:
        keep_wish(self._folder(request), wish, time.time())
        return Response(status_code=204)

    def _log(self, request: Request) -> Response:
        self._folder(request)
        state = get_linkstate(request)
        task_id = state.get_run_info(run_ids=[request.path_params["run_id"]])[0].primary_task_id
        text = "" if task_id is None else state.get_task_log(task_id, None)[0]
        return PlainTextResponse(text[-_MAX_LOG_CHARS:])

    def _artefacts(self, request: Request) -> Response:
        folder = self._folder(request) / OUT
        found = [
            {"path": name, "bytes": path.stat().st_size, "sha256": _sha256(path)}
            for name, path in sorted(_files(folder).items())
        ]
        return JSONResponse({"artefacts": found})

    def _artefact(self, request: Request) -> Response:
        path = _files(self._folder(request) / OUT).get(request.path_params["path"])
        if path is None:
            raise HTTPException(404, "The run left no such file.")
        headers = {"content-length": str(path.stat().st_size)}
        return StreamingResponse(_pieces(path), media_type="application/octet-stream", headers=headers)


def _files(folder: Path) -> dict[str, Path]:
    """Plain files below a folder by their names, links left out."""
    if not folder.is_dir():
        return {}
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
