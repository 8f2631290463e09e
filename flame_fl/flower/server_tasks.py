"""The hub's side of Flower's task queue: take a ServerApp's task, say that it failed. Errors are ours, never a signal.

Flower's own retry ends the process on a 401 and never gives up; here every call is tried once, and the caller decides.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PushTaskOutputRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient

from flame_fl.contract.errors import FlameError, UnreachableError

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_SECONDS = 15.0
_MAX_DETAILS = 2000


@dataclass(frozen=True)
class ServerTask:
    """A claimed task. The token is the right to act for it: it is never shown, and never enters a container."""

    task_id: int
    run_id: int
    fab_sha256: str
    token: str

    def __repr__(self) -> str:
        return f"ServerTask(run_id={self.run_id})"


class TaskQueue:
    """Calls the SuperLink as its agent.

    Args:
        address: Host and port.
        ca: The authority's certificate.
        secret: What the SuperLink knows its agent by.
    """

    def __init__(self, address: str, ca: Path, secret: bytes) -> None:
        self._url, self._context = f"https://{address}", ssl.create_default_context(cafile=ca)
        self._version = RuntimeVersionHttpInterceptor(component_name="flwr-superexec")
        self._agent = self._client(
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({_ACQUIRE}))
        )

    def _client(self, *interceptors: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor) -> RuntimeHttpClient:
        return RuntimeHttpClient(
            self._url, interceptors=[self._version, *interceptors], verify=self._context, timeout=_SECONDS
        )

    def acquire(self) -> ServerTask | None:
        """The oldest waiting ServerApp, claimed for us; None if none waits.

        Raises:
            UnreachableError: The SuperLink does not answer.
            FlameError: It refuses.
        """
        try:
            answer = self._agent.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
        except httpx.HTTPStatusError as err:
            if err.response.status_code >= 500:
                raise UnreachableError("The SuperLink has trouble of its own.", mend="See its log.") from err
            raise FlameError(
                f"The SuperLink refuses its agent ({err.response.status_code}).", mend="See its log."
            ) from err
        except httpx.HTTPError as err:
            raise UnreachableError("The SuperLink does not answer.", mend="See its log.") from err
        if not answer.HasField("task") or not answer.token or answer.task.type != TaskType.SERVER_APP:
            return None
        return ServerTask(answer.task.task_id, answer.task.run_id, answer.task.fab_hash, answer.token)

    def is_alive(self, token: str) -> bool | None:
        """Whether the SuperLink still knows this task; None if that cannot be learned now. Counts as a heartbeat."""
        client = self._client(RuntimeTokenHttpInterceptor(token))
        try:
            return client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
        except httpx.HTTPStatusError as err:
            return False if err.response.status_code in {401, 403} else None
        except httpx.HTTPError:
            return None
        finally:
            client.close()

    def fail(self, token: str, details: str) -> bool:
        """End a task as failed; False if the SuperLink did not take it."""
        client = self._client(RuntimeTokenHttpInterceptor(token))
        try:
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.FAILED, details=details[:_MAX_DETAILS]))
        except httpx.HTTPStatusError as err:
            return err.response.status_code in {401, 403}  # it is over already
        except httpx.HTTPError:
            return False
        finally:
            client.close()
        return True

    def close(self) -> None:
        """Close the connections."""
        self._agent.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
