"""The words of Flower's Runtime API that the way between a ServerApp and the hub needs, without importing Flower.

A ServerApp needs these ten operations and no other: it cannot start a task, an automation or a connector, nor ask about
other runs.
"""

from typing import Final

OPERATIONS: Final = frozenset(
    {
        "send-task-heartbeat", "pull-task-input", "push-task-output", "push-object", "pull-object",
        "confirm-message-received", "push-messages", "pull-messages", "get-nodes", "push-logs",
    }
)  # fmt: skip
TOKEN_HEADER: Final = "flwr-task-token"  # noqa: S105  (a header's name)
VERSION_HEADERS: Final = ("flwr-package-name", "flwr-package-version", "flwr-component-name")
CONTENT_TYPE: Final = "application/protobuf"
RUNTIME_PATH: Final = "/v1/runtime/"
EVENTS_PATH: Final = "/flame/events"
ARTEFACTS_PATH: Final = "/flame/artefacts/"
CHECKPOINT_PATH: Final = "/flame/checkpoint/"
