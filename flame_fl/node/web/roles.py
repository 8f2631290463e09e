"""Roles of the web page, and what each may do. Nothing listed means no."""

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    """What an account is for."""

    STEWARD = "steward"
    ADMIN = "admin"
    AUDITOR = "auditor"


class Right(StrEnum):
    """What a page needs."""

    READ = "read"
    DECIDE = "decide"
    STOP = "stop"
    SETTINGS = "settings"


_RIGHTS: dict[Role, frozenset[Right]] = {
    Role.STEWARD: frozenset({Right.READ, Right.DECIDE, Right.STOP}),
    Role.ADMIN: frozenset({Right.READ, Right.STOP, Right.SETTINGS}),
    Role.AUDITOR: frozenset({Right.READ, Right.SETTINGS}),
}


def rights_of(roles: Iterable[Role]) -> frozenset[Right]:
    """All rights of several roles."""
    return frozenset().union(*(_RIGHTS[role] for role in roles))
