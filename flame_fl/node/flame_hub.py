"""A FLAME Hub's API, as far as a node needs it: its rows of projects and analyses, and reports of progress.

The only module that uses `flame_hub`, the Hub's own Python client (extra `flame-hub`). The Hub is not trusted: an
answer is bounded before it is parsed, must be about the very row that was asked for, and none of its words is passed
on. No error holds one of the client's: those keep the request, and with it the client's secret.
"""

import importlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from flame_fl.contract.errors import InputError, UnreachableError
from flame_fl.node.external import FlameHubSection, HubStatus, RunState
from flame_fl.node.external_files import HubFiles, read_secret

if TYPE_CHECKING:
    from flame_fl.node.flame_hub_http import BoundedTransport

LIBRARIES = ("flame_hub", "httpx2", "httpcore2")
MOST_BYTES, MOST_SECONDS = 1 << 20, 20.0
_SAID = {401: "does not take this node's token", 403: "does not let this node do that", 429: "asks for patience"}
_WHOLE = frozenset({401, 429, 502, 503, 504})  # a 403 or 500 may be about one row only
T = TypeVar("T")


class HubError(UnreachableError):
    """The Hub did not answer a question in a way that could be used. The text is ours alone.

    Args:
        whole: Whether every other question would fare the same now.
    """

    def __init__(self, message: str, *, mend: str = "", whole: bool = False) -> None:
        super().__init__(message, mend=mend)
        self.whole = whole


@dataclass(frozen=True)
class Seen:
    """One answer about one row: its status, its id, and for an analysis the project it belongs to."""

    status: HubStatus
    row: str = ""
    project: str = ""


@dataclass(frozen=True)
class HubNode:
    """What the Hub says of this node.

    Attributes:
        aggregator: Whether it is one; the Hub approves everything for those by itself.
        ours: Whether it belongs to the client that asks; None if the client's id is no UUID and cannot be compared.
    """

    aggregator: bool
    ours: bool | None


def require_library() -> None:
    """Check that the Hub's client is there.

    Raises:
        InputError: It is not; the mend is the pip command.
    """
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if missing.name not in LIBRARIES:  # it is there but broken: not ours to explain away
                raise
            raise InputError(
                f"[flame_hub] in node.toml needs {name}, which is not installed.",
                mend="python -m pip install 'flame-fl[flame-hub]'",
            ) from None


class HubApi:
    """Asks one Hub as one node. One question at a time.

    Args:
        section: Which Hub, and as whom.
        files: Where the secret and the authority lie.
        most_bytes: Of one answer.
        most_seconds: For one question.

    Raises:
        InputError: The client is not installed; the secret or the authority cannot be used.
    """

    def __init__(
        self,
        section: FlameHubSection,
        files: HubFiles,
        *,
        most_bytes: int = MOST_BYTES,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        require_library()
        from flame_fl.node.flame_hub_http import BoundedTransport  # noqa: PLC0415  (needs the library)

        self._section = section
        self._transport = BoundedTransport(_tls(section, files.state), most_bytes, most_seconds)
        self._core = _core_client(section, read_secret(files.secret), self._transport)

    def close(self) -> None:
        """End its connections."""
        from flame_fl.node.flame_hub_http import quietly  # noqa: PLC0415  (needs the library)

        with quietly():
            self._core.close()

    def project_node(self, hub_id: str) -> Seen:
        """This node's row of a project.

        Raises:
            HubError: No usable answer.
        """
        return self._seen("project_id", hub_id, self._core.find_project_nodes)

    def analysis_node(self, hub_id: str) -> Seen:
        """This node's row of an analysis.

        Raises:
            HubError: No usable answer.
        """
        return self._seen("analysis_id", hub_id, self._core.find_analysis_nodes)

    def report(self, row: str, state: RunState, progress: int) -> None:
        """Tell how far a run is: the state and a percentage, nothing else.

        Args:
            row: This node's row of the analysis.
            state: How far.
            progress: 0 to 100.

        Raises:
            HubError: The Hub did not take it.
        """
        self._asked(
            lambda: self._core.update_analysis_node(row, execution_status=state.value, execution_progress=progress)
        )

    def node(self) -> HubNode | None:
        """What the Hub says of this node; None if it knows none of that id.

        Raises:
            HubError: No usable answer.
        """
        found = self._asked(lambda: self._core.get_node(self._section.node_id))
        if found is None:
            return None
        if str(found.id) != self._section.node_id:
            raise HubError("The FLAME Hub answers about another node than the one that was asked for.")
        return HubNode(found.type == "aggregator", _same(self._section.client_id, found.client_id))

    def clock_skew(self) -> float | None:
        """How many seconds the Hub's clock was ahead of ours at the last answer; None if it did not say."""
        try:
            said = parsedate_to_datetime(self._transport.date)
        except ValueError:
            return None
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() - self._transport.answered_at

    def _seen(self, name: str, hub_id: str, find: Callable[..., Any]) -> Seen:
        node = self._section.node_id
        try:
            rows = self._asked(
                lambda: find(filter={name: hub_id, "node_id": node}, page={"limit": 2, "offset": 0}),
            )
        except _UnknownStatusError:
            rows = None
        return Seen(HubStatus.UNKNOWN) if rows is None else _row(rows, name, hub_id, node)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask. What goes wrong is told in words of ours: raised outside, so that nothing of the client's hangs on."""
        from flame_fl.node.flame_hub_http import quietly  # noqa: PLC0415  (needs the library)

        self._transport.begin()
        try:
            with quietly():
                return ask()
        except Exception as err:  # a hostile answer makes the client fail in many ways; the kinds that matter are told
            failure = _failure(err, self._transport)
        raise failure


class _UnknownStatusError(HubError):
    """An approval status that the client does not know."""


def _core_client(section: FlameHubSection, secret: str, transport: "BoundedTransport") -> Any:
    """The client, on our transport: its own would read without end, and trust what the environment says."""
    flame_hub, httpx2 = importlib.import_module("flame_hub"), importlib.import_module("httpx2")

    def http(base: str, auth: Any = None) -> Any:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "flame-fl"}
        return httpx2.Client(
            base_url=base, auth=auth, headers=headers, transport=transport, trust_env=False, follow_redirects=False
        )

    login = flame_hub.auth.ClientAuth(section.client_id, secret, client=http(section.auth_url))
    return flame_hub.CoreClient(client=http(section.core_url, login))


def _tls(section: FlameHubSection, state: Path) -> ssl.SSLContext:
    if not section.ca:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(state / section.ca))
    except (OSError, ValueError):
        raise InputError(
            f"{state / section.ca} is no certificate that can be read.",
            mend="Set ca in [flame_hub] of node.toml to the PEM file of the Hub's authority.",
        ) from None


def _row(rows: Sequence[Any], name: str, hub_id: str, node: str) -> Seen:
    """The one row that was asked for. Any other beside it, or instead, and the answer is not believed."""
    if not rows:
        return Seen(HubStatus.GONE)
    row = rows[0]
    if len(rows) > 1 or str(getattr(row, name)) != hub_id or str(row.node_id) != node:
        return Seen(HubStatus.UNKNOWN)
    project = ""
    if name == "analysis_id" and row.analysis is not None:
        if str(row.analysis.id) != hub_id:
            return Seen(HubStatus.UNKNOWN)
        project = str(row.analysis.project_id)
    status = HubStatus.PENDING if row.approval_status is None else HubStatus(row.approval_status)
    return Seen(status, str(row.id), project)


def _same(client_id: str, client: UUID | None) -> bool | None:
    try:
        return UUID(client_id) == client
    except ValueError:
        return None


def _failure(err: Exception, transport: "BoundedTransport") -> HubError:
    http = importlib.import_module("flame_fl.node.flame_hub_http")
    status, where = transport.status, "login service" if transport.at_login else "core service"
    if isinstance(err, http.BoundsError) or (status and _is_timeout(err)):
        said = str(err) if isinstance(err, http.BoundsError) else "too slow"
        return HubError(f"The answer of the FLAME Hub's {where} is {said}.", whole=said == "too slow")
    if transport.at_login and status in {400, 401, 403}:
        return HubError(
            f"The FLAME Hub refuses this node's client or its secret ({status}).",
            mend="See client_id in [flame_hub] of node.toml, and keys/flame-hub.secret.",
            whole=True,
        )
    if status in _SAID or status >= 500:
        said = _SAID.get(status, "has an error")
        return HubError(f"The FLAME Hub's {where} {said} ({status}).", whole=status in _WHOLE)
    if status == 0:
        return HubError(
            f"The FLAME Hub's {where} does not answer{_why(err)}.",
            mend="See the addresses and ca in [flame_hub] of node.toml, and whether a firewall is in between.",
            whole=True,
        )
    pydantic = importlib.import_module("pydantic")
    if isinstance(err, pydantic.ValidationError) and any(
        one["loc"] and one["loc"][-1] in {"approvalStatus", "approval_status"}
        for one in err.errors(include_url=False, include_context=False, include_input=False)
    ):
        return _UnknownStatusError("The FLAME Hub has an approval status that its client does not know.")
    return HubError(f"The FLAME Hub's {where} answers with something that its client cannot read ({status}).")


def _why(err: BaseException) -> str:
    """Whether the certificate was it; the text of such an error may hold anything."""
    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return ": its certificate is not one of the authority that is trusted" if "CERTIFICATE" in str(seen) else ""
        seen = seen.__cause__ or seen.__context__
    return " within the time allowed" if _is_timeout(err) else ""


def _is_timeout(err: BaseException) -> bool:
    return type(err).__name__.endswith("Timeout")  # httpcore2 has four
