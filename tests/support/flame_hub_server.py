"""A stand-in for a FLAME Hub's core and login services, for tests. It is no FLAME Hub.

A real one is a TypeScript monorepo with its own login server, database and message broker; it was not started here.
This answers as the Hub's published sources say, as far as `flame_fl.node.flame_hub` asks:

- Faithful: `POST /auth/token` with client credentials in JSON, answered by the client's own `AccessToken`; bearer
  tokens that end; `GET /core/analysis-nodes` and `/core/project-nodes` with `filter[analysisId|projectId|nodeId]`,
  `page[limit]` (at most 50) and `page[offset]`, `include`, an envelope of `data` and `meta`; an unknown filter is 400;
  `GET /core/nodes/:id`; `POST /core/analysis-nodes/:id` with 202, where the node's client may set the execution but not
  the approval; rows made and updated by the client's own pydantic models, one per analysis and node.
- Not faithful: realms, permissions by role, the aggregate status of an analysis, everything else of the API; and
  nothing of what a real Hub does wrong but what a test injects as a `Fault`.
"""

import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import uvicorn
from flame_hub import models
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Json = dict[str, Any]
_REALM, _USER = UUID(int=1), UUID(int=2)
_FILTERS = {"analysisId": "analysis_id", "projectId": "project_id", "nodeId": "node_id"}
_MAY_SET = {"executionStatus", "executionProgress"}


@dataclass
class Fault:
    """What one request meets instead of, or on top of, the right answer.

    Attributes:
        where: The requests it is for, by a part of their path; "" for any.
        status: Of the answer.
        body: In place of the right one.
        headers: Of the answer.
        change: What happens to the right one.
        wait: Seconds before it answers.
        times: How many requests meet it.
    """

    where: str = ""
    status: int = 0
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    change: Callable[[Any], Any] | None = None
    wait: float = 0.0
    times: int = 1_000_000


def _now() -> datetime:
    return datetime.now(UTC)


class HubServer:
    """Holds nodes, projects and analyses, and answers for them. A context manager.

    Args:
        certificate: Its own, with key; TLS then.

    Attributes:
        secret: Of the node's client.
        node: The node whose client it is; `other` is another DIZ's.
        faults: What requests meet.
        requests: Method, path and query of each request, as they came.
        reports: What the node set on its rows.
        token_seconds: How long a token lasts.
    """

    def __init__(self, *, certificate: tuple[Path, Path] | None = None) -> None:
        self.reset()
        self._scheme = "https" if certificate else "http"
        app = Starlette(
            routes=[
                Route("/auth/token", self._with_body(self._token), methods=["POST"]),
                Route("/core/nodes/{id}", self._node),
                Route("/core/{kind}", self._find),
                Route("/core/analysis-nodes/{id}", self._with_body(self._update), methods=["POST"]),
            ]
        )
        tls: dict[str, Any] = {}
        if certificate:
            tls = {"ssl_certfile": str(certificate[0]), "ssl_keyfile": str(certificate[1])}
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=0,
                log_config=None,
                lifespan="off",
                ws="none",
                access_log=False,
                date_header=False,
                **tls,
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the stand-in FLAME Hub did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True  # a slow answer is not waited for
        self._thread.join(10)

    @property
    def base(self) -> str:
        """Its base address; its services are at /core and /auth."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"{self._scheme}://localhost:{port}"

    # --- what it holds ---------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget everything: another client with another secret, two nodes, nothing else."""
        self.client_id, self.secret = str(uuid4()), f"s3cret-{secrets.token_hex(8)}"
        self.nodes: dict[UUID, models.Node] = {}
        self.node, self.other = self.add_node(UUID(self.client_id)), self.add_node(uuid4())
        self.projects: dict[UUID, models.Project] = {}
        self.project_nodes: list[models.ProjectNode] = []
        self.analysis_nodes: list[models.AnalysisNode] = []
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.reports: list[Json] = []
        self.token_seconds = 3600
        self._tokens: dict[str, float] = {}

    def add_node(self, client: UUID, kind: str = "default") -> models.Node:
        """One more node."""
        node = models.Node(
            id=uuid4(),
            external_name=None,
            hidden=False,
            name="diz",
            realm_id=_REALM,
            registry_id=None,
            registry_project_id=None,
            type=kind,  # type: ignore[arg-type,unused-ignore]
            public_key=None,
            online=True,
            client_id=client,
            created_at=_now(),
            updated_at=_now(),
        )
        self.nodes[node.id] = node
        return node

    def add_project(self, status: str | None = None, node: models.Node | None = None) -> models.ProjectNode:
        """A project, and its row at a node (this one's client's unless said)."""
        project = models.Project(
            id=uuid4(),
            analyses=0,
            nodes=1,
            description=None,
            master_image_id=None,
            name="project",
            display_name=None,
            created_at=_now(),
            updated_at=_now(),
            realm_id=_REALM,
            user_id=_USER,
        )
        self.projects[project.id] = project
        row = models.ProjectNode(
            id=uuid4(),
            node_id=(node or self.node).id,
            project_id=project.id,
            approval_status=status,  # type: ignore[arg-type,unused-ignore]
            comment=None,
            created_at=_now(),
            updated_at=_now(),
            node=node or self.node,
            project=project,
            project_realm_id=_REALM,
            node_realm_id=_REALM,
        )
        self.project_nodes.append(row)
        return row

    def add_analysis(
        self, project: UUID, status: str | None = None, node: models.Node | None = None
    ) -> models.AnalysisNode:
        """An analysis of a project, and its row at a node."""
        progress: Json = dict.fromkeys(("build_progress", "distribution_progress", "execution_progress"))
        flags = ("locked", "entrypoint_valid", "image_valid", "node_aggregator_valid", "node_default_valid")
        configuration: Json = {f"configuration_{flag}": True for flag in (*flags, "nodes_valid")}
        analysis = models.Analysis(
            id=uuid4(),
            nodes=1,
            nodes_approved=0,
            build_status=None,
            distribution_nodes_valid=True,
            build_hash=None,
            build_os=None,
            build_size=None,
            distribution_status=None,
            execution_status=None,
            created_at=_now(),
            updated_at=_now(),
            realm_id=_REALM,
            user_id=_USER,
            client_id=None,
            project_id=project,
            description=None,
            name="analysis",
            display_name=None,
            master_image_id=None,
            registry_id=None,
            image_command_arguments=[],
            **progress,
            **configuration,
        )
        row = models.AnalysisNode(
            id=uuid4(),
            analysis_id=analysis.id,
            node_id=(node or self.node).id,
            approval_status=status,  # type: ignore[arg-type,unused-ignore]
            execution_status=None,
            execution_progress=None,
            comment=None,
            artifact_tag=None,
            artifact_digest=None,
            created_at=_now(),
            updated_at=_now(),
            analysis=analysis,
            node=node or self.node,
            analysis_realm_id=_REALM,
            node_realm_id=_REALM,
        )
        self.analysis_nodes.append(row)
        return row

    def revoke_tokens(self) -> None:
        """As a login server does when it is started anew."""
        self._tokens.clear()

    # --- its answers: in threads of starlette's, so that a slow one blocks no other --------------------------------

    @staticmethod
    def _with_body(answer: Callable[[Request, Json], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def read(request: Request) -> Response:
            return await run_in_threadpool(answer, request, json.loads(await request.body()))

        return read

    def _token(self, request: Request, asked: Json) -> Response:
        def right() -> Response:
            if (asked.get("client_id"), asked.get("client_secret")) != (self.client_id, self.secret):
                return _refusal(401, "invalid client")
            if asked.get("grant_type") != "client_credentials":
                return _refusal(400, "unsupported grant type")
            word = secrets.token_hex(16)
            self._tokens[word] = time.monotonic() + self.token_seconds + 5  # the client's clock may differ
            token = models.AccessToken(
                access_token=word, expires_in=self.token_seconds, token_type="Bearer", scope="global"
            )
            return JSONResponse(token.model_dump(mode="json"))

        return self._answered(request, right)

    def _node(self, request: Request) -> Response:
        def right() -> Response:
            node = self.nodes.get(UUID(request.path_params["id"]))
            return _refusal(404, "not found") if node is None else JSONResponse(node.model_dump(mode="json"))

        return self._answered(request, right, login=True)

    def _find(self, request: Request) -> Response:
        def right() -> Response:
            rows: list[Any] = {"project-nodes": self.project_nodes, "analysis-nodes": self.analysis_nodes}[
                request.path_params["kind"]
            ]
            for name, value in request.query_params.items():
                if name.startswith("filter["):
                    if name[7:-1] not in _FILTERS:
                        return _refusal(400, "unknown filter")
                    rows = [r for r in rows if str(getattr(r, _FILTERS[name[7:-1]], None)) == value]
            limit = min(50, int(request.query_params.get("page[limit]", "50")))
            offset = int(request.query_params.get("page[offset]", "0"))
            wanted = set(request.query_params.get("include", "").split(","))
            dropped = {"node", "project", "analysis"} - wanted
            here = [_without(r.model_dump(mode="json"), dropped) for r in rows[offset : offset + limit]]
            meta = {"total": len(rows), "limit": limit, "offset": offset, "schema": {}}
            return JSONResponse({"data": here, "meta": meta})

        return self._answered(request, right, login=True)

    def _update(self, request: Request, wanted: Json) -> Response:
        def right() -> Response:
            row = next((r for r in self.analysis_nodes if str(r.id) == request.path_params["id"]), None)
            if row is None:
                return _refusal(404, "not found")
            if set(wanted) - _MAY_SET or row.node_id != self.node.id:
                return _refusal(400, "no authority of the node, or not the required permissions")
            update = models.UpdateAnalysisNode.model_validate(wanted).model_dump(exclude_defaults=True, by_alias=False)
            changed = models.AnalysisNode.model_validate({**row.model_dump(by_alias=False), **update})
            self.analysis_nodes[self.analysis_nodes.index(row)] = changed
            self.reports.append({"row": str(row.id), **wanted})
            return JSONResponse(changed.model_dump(mode="json"), 202)

        return self._answered(request, right, login=True)

    def _answered(self, request: Request, right: Callable[[], Response], *, login: bool = False) -> Response:
        answer = self._faulty(request, right, login=login)
        answer.headers.setdefault("date", format_datetime(_now(), usegmt=True))
        return answer

    def _faulty(self, request: Request, right: Callable[[], Response], *, login: bool) -> Response:
        self.requests.append(f"{request.method} {request.url.path}?{request.url.query}")
        fault = self._met(request.url.path)
        time.sleep(fault.wait)
        word = request.headers.get("authorization", "").removeprefix("Bearer ")
        if login and self._tokens.get(word, 0.0) < time.monotonic():
            return _refusal(401, "the token is none, or has ended")
        if fault.body is not None or (fault.status and not fault.change):
            return Response(
                fault.body or b"", fault.status or 200, {"content-type": "application/json"} | fault.headers
            )
        answer = right()
        if fault.change is None:
            return answer
        content = fault.change(json.loads(bytes(answer.body)))
        return JSONResponse(content, fault.status or answer.status_code, fault.headers)

    def _met(self, path: str) -> Fault:
        for fault in self.faults:
            if fault.where in path and fault.times > 0:
                fault.times -= 1
                return fault
        return Fault()


def _without(row: Json, dropped: set[str]) -> Json:
    return {name: value for name, value in row.items() if name not in dropped}


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"code": "refused", "statusCode": status, "message": message}, status)
