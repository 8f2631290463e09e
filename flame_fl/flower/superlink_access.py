"""What Flower's SuperLink asks about accounts and federations, answered from the hub's access file: default deny."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from flwr.common.constant import ACCESS_TOKEN_KEY, SUPERLINK_NODE_ID
from flwr.proto.federation_config_pb2 import SimulationConfig
from flwr.supercore.auth.typing import AccountAuthCredentials, AccountAuthLoginDetails, AccountInfo
from flwr.supercore.constant import ActionType, RunTime
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.typing import ActionContext, StartRunContext
from flwr.superlink.auth_plugin import ControlAuthnPlugin
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.federation.typing import Federation

from flame_fl.contract.access import Access, federation_of
from flame_fl.contract.errors import VerificationError


class AccessFile:
    """The access file, read again whenever it changed. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._access = Access()

    def read(self) -> Access:
        """What holds now.

        Raises:
            VerificationError: The file is missing or is no access file: then nobody may do anything.
        """
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    found = os.fstat(file.fileno())
                    seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                    if seen != self._seen:
                        self._access, self._seen = Access.model_validate_json(file.read()), seen
            except (OSError, ValueError) as err:
                raise VerificationError(
                    f"The access file {self._path} cannot be read.", mend="Restore it from a backup."
                ) from err
            return self._access


class TokenLogin(ControlAuthnPlugin):
    """A researcher is whoever sends a token that `flame hub user add` gave out."""

    def __init__(self, access: AccessFile) -> None:
        self._access = access

    def get_login_details(self) -> AccountAuthLoginDetails | None:
        """There is no interactive login."""
        return None

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Whose token it is."""
        tokens = [value for key, value in metadata if key == ACCESS_TOKEN_KEY]
        if len(tokens) != 1:
            return False, None
        token = tokens[0] if isinstance(tokens[0], str) else tokens[0].decode("utf-8", "replace")
        found = self._access.read().user_of(token)
        if found is None:
            return False, None
        name, account = found
        return True, AccountInfo(flwr_aid=account.account, account_name=name)

    def get_auth_tokens(self, device_code: str) -> AccountAuthCredentials | None:
        """Tokens are given out by the hub's administrator only."""
        return None

    def refresh_tokens(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[Sequence[tuple[str, str | bytes]] | None, AccountInfo | None]:
        """Tokens do not expire, so there is nothing to refresh."""
        return None, None


class ProjectFederations(NoOpFederationManager):
    """FLAME's projects as Flower's federations. All that would change one stays unsupported, as in the base class."""

    def __init__(self, access: AccessFile) -> None:
        super().__init__(simulation=False)
        self._access = access

    def exists(self, federation_id: str) -> bool:
        """Whether it is a project with a member."""
        return self._access.read().exists(federation_id)

    def has_member(self, flwr_aid: str, federation_id: str) -> bool:
        """Whether the account is a member of the project."""
        return self._access.read().has_member(flwr_aid, federation_id)

    def filter_nodes(self, node_ids: set[int], federation_id: str) -> set[int]:
        """The project's own nodes, and the server."""
        return node_ids & {SUPERLINK_NODE_ID, *self._access.read().node_ids(federation_id)}

    def has_node(self, node_id: int, federation_id: str) -> bool:
        """Whether it is one of the project's nodes, or the server."""
        return node_id in {SUPERLINK_NODE_ID, *self._access.read().node_ids(federation_id)}

    def get_federations(self, flwr_aid: str) -> list[Federation]:
        """The account's projects, by name only."""
        found = self._access.read().account(flwr_aid)
        return [] if found is None else [_federation(federation_of(project)) for project in found[1].projects]

    def get_details(self, federation_id: str) -> Federation:
        """The name: members, nodes and runs of a project are nobody's business here."""
        if not self.exists(federation_id):
            raise ValueError(f"Federation '{federation_id}' does not exist.")
        return _federation(federation_id)

    def get_simulation_config(self, federation_id: str) -> SimulationConfig | None:
        """No project is a simulation."""
        return None

    def can_execute(self, flwr_aid: str, action: ActionType, context: ActionContext) -> None:
        """Members may start runs on the real nodes; nothing else is for anybody."""
        if (
            action == ActionType.START_RUN
            and isinstance(context, StartRunContext)
            and context.runtime == RunTime.DEPLOYMENT
            and self.has_member(flwr_aid, context.federation_id)
        ):
            return
        raise FlowerError(ApiErrorCode.ENTITLEMENT_ERROR, f"{action} is not allowed to account {flwr_aid}.")


def _federation(name: str) -> Federation:
    return Federation(
        id=name,
        description="A FLAME project",
        members=[],
        nodes=[],
        runs=[],
        archived=False,
        simulation=False,
        config=None,
        can_invite_members=False,
        can_add_supernodes=False,
        member_count=0,
    )
