"""Who may do what at a hub: accounts and nodes, each member of projects. Nothing that is not stated is allowed.

A FLAME project is Flower's federation `@flame/<project>`. An account is a random id beside its name, so that a name
given anew does not inherit the runs of whoever had it before. Of a token only the SHA-256 is kept: it is 256 random
bits, so nothing slower than a hash is needed to keep it secret.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError
from flame_fl.contract.words import Frozen, Name

_OWNER = "@flame/"
_TOKEN_PREFIX = "flame_"  # noqa: S105  (what scanners for leaked secrets look for)
_MAX_TOKEN_CHARS = 256
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Projects = tuple[Name, ...]


class Account(Frozen):
    """A researcher."""

    account: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    token_sha256: Sha256
    projects: Projects = ()


class HubNode(Frozen):
    """A DIZ's node: Flower's id of it, and which key it signs with."""

    node_id: Annotated[int, Field(gt=1, lt=2**64)]
    public_key_sha256: Sha256
    projects: Projects = ()


_M = TypeVar("_M", Account, HubNode)


class Access(Frozen):
    """Everybody who is known, by name."""

    schema_version: Literal[1] = 1
    users: Mapping[Name, Account] = {}
    nodes: Mapping[Name, HubNode] = {}

    def user_of(self, token: str) -> tuple[str, Account] | None:
        """Name and account of whoever holds this token. Takes equally long for every wrong one."""
        if len(token) > _MAX_TOKEN_CHARS:
            return None
        digest, found = sha256_hex(token.encode("utf-8", "replace")), None
        for name, account in self.users.items():
            if hmac.compare_digest(digest, account.token_sha256):
                found = (name, account)
        return found

    def account(self, account: str) -> tuple[str, Account] | None:
        """Name and account with this id."""
        return next(((name, user) for name, user in self.users.items() if user.account == account), None)

    def exists(self, federation: str) -> bool:
        """Whether anybody is a member of this federation's project."""
        project = project_of(federation)
        return project is not None and project in self.projects

    @property
    def projects(self) -> frozenset[str]:
        """All projects that have a member."""
        members: list[Account | HubNode] = [*self.users.values(), *self.nodes.values()]
        return frozenset(project for member in members for project in member.projects)

    def has_member(self, account: str, federation: str) -> bool:
        """Whether an account belongs to a federation's project."""
        found = self.account(account)
        return found is not None and project_of(federation) in found[1].projects

    def node_ids(self, federation: str) -> frozenset[int]:
        """Flower's ids of the nodes of a federation's project."""
        project = project_of(federation)
        return frozenset(node.node_id for node in self.nodes.values() if project in node.projects)

    def with_user(self, name: str, project: str) -> tuple[Self, str]:
        """This and a new account, with the token of which nothing else is kept.

        Raises:
            InputError: The name is taken.
        """
        if name in self.users:
            raise InputError(
                f"There is a user {name} already.",
                mend="Choose another name, or `flame hub project add-member` to add a project.",
            )
        token = _TOKEN_PREFIX + secrets.token_urlsafe(32)
        digest = sha256_hex(token.encode())
        account = Account.model_construct(account=secrets.token_hex(8), token_sha256=digest, projects=(project,))
        return self._checked(users={**self.users, name: account}), token

    def with_node(self, name: str, node: HubNode) -> Self:
        """This and a new node.

        Raises:
            InputError: The name is taken, or the key.
        """
        if any(node.public_key_sha256 == known.public_key_sha256 for known in self.nodes.values()):
            raise InputError(
                f"The public key given for {name} belongs to another node.", mend="Every node has a key of its own."
            )
        if name in self.nodes:
            raise InputError(
                f"There is a node {name} already.",
                mend="Choose another name, or `flame hub project add-member` to add a project.",
            )
        return self._checked(nodes={**self.nodes, name: node})

    def with_member(self, project: str, name: str) -> Self:
        """This, with a user, a node or both of that name in one more project.

        Raises:
            InputError: Nobody has that name.
        """
        if name not in self.users and name not in self.nodes:
            known = ", ".join(sorted({*self.users, *self.nodes})) or "nobody"
            raise InputError(f"There is no user and no node {name}.", mend=f"Known: {known}.")
        changes: dict[str, object] = {}
        if user := self.users.get(name):
            changes["users"] = {**self.users, name: _joined(user, project)}
        if node := self.nodes.get(name):
            changes["nodes"] = {**self.nodes, name: _joined(node, project)}
        return self._checked(**changes)

    def _checked(self, **changes: object) -> Self:
        """A copy that went through the model's own checks, names included."""
        try:
            return self.model_validate(self.model_copy(update=changes).model_dump())
        except ValueError as err:
            raise InputError(
                "A name of a user, a node or a project is letters, digits, dots, hyphens and underscores, at most 128.",
                mend="Choose another name.",
            ) from err


def federation_of(project: str) -> str:
    """Flower's name of a project."""
    return f"{_OWNER}{project}"


def project_of(federation: str) -> str | None:
    """The project of a federation's name; None if it is no name of ours."""
    return federation.removeprefix(_OWNER) if federation.startswith(_OWNER) else None


def _joined(member: _M, project: str) -> _M:
    return member.model_copy(update={"projects": tuple(dict.fromkeys((*member.projects, project)))})
