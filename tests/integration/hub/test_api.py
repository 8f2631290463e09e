"""What a real hub refuses: Flower's own calls, by people and nodes whose business it is not."""

import base64
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.control_pb2 import (
    ListFederationsRequest,
    ListFederationsResponse,
    ListRunsRequest,
    ListRunsResponse,
    StartRunRequest,
    StopRunRequest,
    StreamLogsRequest,
)
from flwr.proto.fab_pb2 import Fab, GetFabRequest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, Message, ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest, GetNodesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now

from flame_fl.flower.bundle import build_fab
from tests.integration.hub.lab import PROJECT, Lab, wait_for

pytestmark = pytest.mark.slow
PROTOBUF = {"content-type": "application/protobuf", "accept": "application/protobuf"}
FEDERATION = f"@flame/{PROJECT}"

Call = Callable[..., httpx.Response]


@pytest.fixture
def call(hub: Lab) -> Call:
    """Calls Flower's API with a researcher's token."""
    client = httpx.Client(base_url=hub.url, verify=ssl.create_default_context(cafile=hub.ca), timeout=20)

    def go(path: str, message: Any, user: str | None = "alice", **headers: str) -> httpx.Response:
        if user is not None:
            headers["authorization"] = f"Bearer {(hub.root / f'{user}.token').read_text()}"
        return client.post(path, content=message.SerializeToString(), headers=PROTOBUF | headers)

    return go


@pytest.fixture
def node_call(hub: Lab, call: Call) -> Call:
    """Calls it as a node, signed as a node signs."""

    def go(path: str, message: Any, name: str) -> httpx.Response:
        key = load_ssh_private_key((hub.root / f"{name}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        stamp = now().isoformat()
        headers = {
            FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(public).decode(),
            FLEET_HTTP_SIGNATURE_HEADER: base64.b64encode(key.sign(stamp.encode(), ec.ECDSA(SHA256()))).decode(),
            TIMESTAMP_HEADER: stamp,
        }
        return call(path, message, None, **headers)

    return go


@pytest.fixture
def running(hub: Lab, app: Path) -> int:
    """A run of alice's that goes on for a while; its message is at DIZ-1."""
    run_id, _ = hub.submit(app, "-c", "rounds=1 pause=6.0")
    wait_for(lambda: hub.count(run_id, "batch", phase="begun"), "the run")
    return run_id


def start(app: Path, **fields: Any) -> StartRunRequest:
    given = {"federation": FEDERATION, "fab": Fab(content=build_fab(app))} | fields
    return StartRunRequest(**{k: v for k, v in given.items() if v is not None})


@pytest.mark.parametrize("user", [None, "wrong"])
def test_without_a_token_nothing_is_told(hub: Lab, call: Call, app: Path, user: str | None) -> None:
    """401 for every call a researcher may make."""
    (hub.root / "wrong.token").write_text("flame_" + "A" * 43)
    for path, message in (
        ("/v1/control/start-run", start(app)),
        ("/v1/control/list-runs", ListRunsRequest()),
        ("/v1/control/list-federations", ListFederationsRequest()),
        ("/v1/control/stop-run", StopRunRequest(run_id=1)),
    ):
        assert call(path, message, user).status_code == 401


def test_only_one_own_app_starts_and_only_in_one_s_project(hub: Lab, call: Call, app: Path) -> None:
    """Not a stored one, not one from elsewhere, not in another run's series, not with anything of Flower's agents."""
    before = {path.name for path in (hub.home / "runs").iterdir()}
    for request in (
        start(app, federation="@flame/other"),
        start(app, federation="@none/default"),
        start(app, federation=None),
        start(app, federation="@flame/none"),
        start(app, fab=None, app_spec="@flwrlabs/quickstart"),
        start(app, app_spec="@tests/steps"),
        start(app, fab=Fab(hash_str="a" * 64), app_spec="@tests/steps"),
        start(app, series_id=1),
        start(app, connector_ids=[1]),
        start(app, connector_refs=["x"]),
        start(app, user_prompt="hello"),
    ):
        assert call("/v1/control/start-run", request).status_code in {403, 404, 412}
    assert call("/v1/control/start-run", start(app), "mallory").status_code in {403, 404}
    assert {path.name for path in (hub.home / "runs").iterdir()} == before


def test_projects_are_listed_for_their_members(call: Call) -> None:
    """By name."""
    answer = call("/v1/control/list-federations", ListFederationsRequest(), "mallory")
    assert [f.name for f in ListFederationsResponse.FromString(answer.content).federations] == ["@flame/other"]


def test_another_s_run_cannot_be_stopped_listed_or_read(hub: Lab, call: Call, running: int) -> None:
    """It looks like one that is not there; to its own researcher it is."""
    for path, message in (
        ("/v1/control/stop-run", StopRunRequest(run_id=running)),
        ("/v1/control/list-runs", ListRunsRequest(run_id=running)),
        ("/v1/control/stream-logs", StreamLogsRequest(run_id=running)),
    ):
        assert call(path, message, "mallory").status_code == 404
        assert call(path, message, None).status_code == 401
    mine = ListRunsResponse.FromString(call("/v1/control/list-runs", ListRunsRequest(run_id=running)).content)
    assert list(mine.run_dict) == [running]
    assert not ListRunsResponse.FromString(call("/v1/control/list-runs", ListRunsRequest(), "mallory").content).run_dict


def test_a_stopped_run_ends_with_its_serverapp(hub: Lab, call: Call, app: Path) -> None:
    """Its own researcher stops it; `flame run` says that it was."""
    run_id, _ = hub.submit(app, "-c", "rounds=1 pause=60.0")
    wait_for(lambda: hub.count(run_id, "batch", phase="begun"), "the run")
    assert call("/v1/control/stop-run", StopRunRequest(run_id=run_id)).status_code == 200
    done = hub.run(app, "--resume", run_id)
    assert done.code == 1
    assert "was stopped" in done.err
    wait_for(lambda: f"run {run_id}: over" in hub.said() or f"run {run_id}: ended" in hub.said(), "its end", 60)


def test_a_node_of_another_project_has_no_part_in_a_run(hub: Lab, node_call: Call, running: int) -> None:
    """It gets neither the app nor an object nor a message of it, and cannot answer or confirm for the one that does."""
    other, own = hub.node_ids["DIZ-2"], hub.node_ids["DIZ-1"]
    hash_of_fab = next(e["fab_sha256"] for e in hub.events(running) if e["kind"] == "run")
    some_object = "a" * 64
    reply = Message()
    reply.metadata.run_id, reply.metadata.src_node_id, reply.metadata.dst_node_id = running, own, 1
    reply.metadata.reply_to_message_id = some_object
    trees = [ObjectTree(object_id=some_object)]
    for path, message in (
        ("get-fab", GetFabRequest(node=Node(node_id=other), hash_str=hash_of_fab, run_id=running)),
        ("pull-object", PullObjectRequest(node=Node(node_id=other), run_id=running, object_id=some_object)),
        (
            "confirm-message-received",
            ConfirmMessageReceivedRequest(node=Node(node_id=other), run_id=running, message_object_id=some_object),
        ),
        (
            "push-messages",
            PushMessagesRequest(node=Node(node_id=other), messages_list=[reply], message_object_trees=trees),
        ),
    ):
        assert node_call(f"/v1/fleet/{path}", message, "DIZ-2").status_code in {400, 403, 404, 500}, path
    pull = PullMessagesRequest(node=Node(node_id=own))
    assert node_call("/v1/fleet/pull-messages", pull, "DIZ-2").status_code == 401  # its signature, another's name
    assert node_call("/v1/fleet/get-fab", GetFabRequest(node=Node(node_id=own), hash_str=hash_of_fab, run_id=running), "DIZ-1").status_code == 200  # fmt: skip  # noqa: E501


def test_a_node_s_own_object_is_of_its_own_run(hub: Lab, node_call: Call, running: int) -> None:
    """Knowing the id of another run's object is not enough."""
    own = hub.node_ids["DIZ-1"]
    answer = node_call(
        "/v1/fleet/pull-object",
        PullObjectRequest(node=Node(node_id=own), run_id=running, object_id="b" * 64),
        "DIZ-1",
    )
    assert answer.status_code == 200
    assert b"object_found" not in answer.content
    assert len(answer.content) == 0  # neither found nor available


def test_tasks_are_for_the_hub_s_agent(call: Call) -> None:
    """Neither a token of a researcher's nor none gets one, nor acts for one."""
    for user in ("alice", None):
        request = AcquireTaskRequest(supported_task_types=["flwr-serverapp"])
        assert call("/v1/runtime/acquire-task", request, user).status_code == 401
        assert call("/v1/runtime/get-nodes", GetNodesRequest(), user).status_code == 401


def test_nobody_listens_without_tls(hub: Lab) -> None:
    """And who does not know the authority does not speak to the hub."""
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://localhost:{hub.port}/health")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{hub.url}/health")
