"""Closer looks at calls that are on the allow-list: whose run is it, whose message, whose object?

Flower's handlers are wrapped where they are; its routers look them up by name at every call.
"""

from collections.abc import Callable, Generator
from typing import Any

from flwr.common.constant import Status
from flwr.common.serde import message_to_proto
from flwr.proto.control_pb2 import (
    ListRunsRequest,
    ListRunsResponse,
    StartRunRequest,
    StartRunResponse,
    StopRunRequest,
    StopRunResponse,
    StreamLogsRequest,
    StreamLogsResponse,
)
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.linkstate import LinkState
from flwr.server.superlink.utils import check_abort
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStore
from flwr.superlink.servicer.control import control_handlers
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers

from flame_fl.flower.superlink_state import HubLinkState


def install() -> None:
    """Put the closer looks in front of Flower's handlers."""
    _install_control()
    _install_fleet()
    _install_runtime()


def _install_control() -> None:
    start_run, stop_run = control_handlers.start_run, control_handlers.stop_run
    list_runs, stream_logs = control_handlers.list_runs, control_handlers.stream_logs

    def checked_start(
        request: StartRunRequest, account: AccountInfo, state: LinkState, fleet_api_type: str | None, **more: Any
    ) -> StartRunResponse:
        if (
            not request.fab.content  # an app that the hub would fetch from elsewhere, or has stored
            or request.app_spec
            or request.HasField("series_id")  # would read another run's context
            or request.connector_ids
            or request.connector_refs
            or request.user_prompt
        ):
            raise FlowerError(ApiErrorCode.ENTITLEMENT_ERROR, "A run here is one app, sent with the request.")
        return start_run(request, account, state, fleet_api_type, **more)

    def checked_stop(request: StopRunRequest, account: AccountInfo, state: LinkState) -> StopRunResponse:
        _must_own(state, account, request.run_id)
        return stop_run(request, account, state)

    def checked_list(request: ListRunsRequest, account: AccountInfo, state: LinkState) -> ListRunsResponse:
        if request.HasField("run_id"):
            _must_own(state, account, request.run_id)
        return list_runs(request, account, state)

    def checked_logs(
        request: StreamLogsRequest,
        account: AccountInfo,
        state: LinkState,
        is_active: Callable[[], bool] | None = None,
    ) -> Generator[StreamLogsResponse, None, None]:
        _must_own(state, account, request.run_id)
        return stream_logs(request, account, state, is_active)

    control_handlers.start_run = checked_start
    control_handlers.stop_run = checked_stop
    control_handlers.list_runs = checked_list
    control_handlers.stream_logs = checked_logs


def _must_own(state: LinkState, account: AccountInfo, run_id: int) -> None:
    """A run that is another's looks like one that is not there."""
    if not owns(state, account, run_id):
        raise FlowerError(ApiErrorCode.RUN_ID_NOT_FOUND, f"Account {account.flwr_aid} has no run {run_id}.")


def owns(state: LinkState, account: AccountInfo, run_id: int) -> bool:
    """Whether this account started that run, and still belongs to its project."""
    if not 0 <= run_id < 2**64:
        return False
    runs = state.get_run_info(run_ids=[run_id])
    return (
        bool(runs)
        and runs[0].flwr_aid == account.flwr_aid
        and state.federation_manager.has_member(account.flwr_aid, runs[0].federation_id)
    )


def _install_fleet() -> None:
    push_messages, push_object, pull_object = (
        fleet_handlers.push_messages,
        fleet_handlers.push_object,
        fleet_handlers.pull_object,
    )

    def checked_push(request: PushMessagesRequest, state: LinkState) -> PushMessagesResponse:
        if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
            raise _not_yours(request.node.node_id)
        metadata = request.messages_list[0].metadata
        if metadata.src_node_id != request.node.node_id or not metadata.reply_to_message_id:
            raise _not_yours(request.node.node_id)  # Flower does not compare it with who signed the request
        _must_take_part(state, request.node.node_id, metadata.run_id)
        return push_messages(request, state)

    def checked_push_object(request: PushObjectRequest, state: LinkState) -> PushObjectResponse:
        _must_take_part(state, request.node.node_id, request.run_id)
        if not request.session_id:
            raise _not_yours(request.node.node_id)
        return push_object(request, state)

    def checked_pull_object(request: PullObjectRequest, state: LinkState) -> PullObjectResponse:
        _must_take_part(state, request.node.node_id, request.run_id)
        if isinstance(state, HubLinkState) and not state.holds_for_run(request.run_id, request.object_id):
            return PullObjectResponse(object_found=False, object_available=False)
        return pull_object(request, state)

    def confirm_and_keep(
        request: ConfirmMessageReceivedRequest, state: LinkState, store: ObjectStore
    ) -> ConfirmMessageReceivedResponse:
        """Flower deletes the message's objects here. They stay until the reply was fetched: see `superlink_state`."""
        del store
        _must_take_part(state, request.node.node_id, request.run_id)
        if check_abort(request.run_id, [Status.PENDING, Status.STARTING, Status.FINISHED], state):
            raise FlowerError(ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED, f"Run {request.run_id} is not running.")
        if isinstance(state, HubLinkState):
            state.confirm_delivery(request.message_object_id, request.node.node_id)
        return ConfirmMessageReceivedResponse()

    fleet_handlers.push_messages = checked_push
    fleet_handlers.push_object = checked_push_object
    fleet_handlers.pull_object = checked_pull_object
    fleet_handlers.confirm_message_received = confirm_and_keep


def _install_runtime() -> None:
    """A ServerApp fetches its own run's replies until it confirms them: Flower forgets them before they are sent."""

    def pull_and_keep(request: PullAppMessagesRequest, state: LinkState, task: Task) -> PullAppMessagesResponse:
        protos, trees = [], []
        for message in state.get_message_res(set(request.message_ids), task.run_id):
            try:
                trees.append(state.object_store.get_object_tree(message.metadata.message_id))
            except NoObjectInStoreError:
                continue
            protos.append(message_to_proto(message))
        return PullAppMessagesResponse(messages_list=protos, message_object_trees=trees)

    def confirm_and_forget(
        request: ConfirmMessageReceivedRequest, state: LinkState, task: Task
    ) -> ConfirmMessageReceivedResponse:
        if isinstance(state, HubLinkState):
            state.forget_reply(request.message_object_id, task.run_id)
        return ConfirmMessageReceivedResponse()

    pull_object = runtime_handlers.pull_object

    def checked_pull_object(request: PullObjectRequest, state: LinkState, task: Task) -> PullObjectResponse:
        if isinstance(state, HubLinkState) and not state.holds_for_run(task.run_id, request.object_id):
            return PullObjectResponse(object_found=False, object_available=False)
        return pull_object(request, state, task)

    runtime_handlers.pull_object = checked_pull_object
    runtime_handlers.pull_messages = pull_and_keep
    runtime_handlers.confirm_message_received = confirm_and_forget


def _must_take_part(state: LinkState, node_id: int, run_id: int) -> None:
    runs = state.get_run_info(run_ids=[run_id])
    if not runs or not state.federation_manager.has_node(node_id, runs[0].federation_id):
        raise _not_yours(node_id)


def _not_yours(node_id: int) -> FlowerError:
    return FlowerError(ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED, f"SuperNode {node_id} has no part in this.")
