"""Who may do what at a hub: what is not stated is denied."""

import pytest
from pydantic import ValidationError

from flame_fl.contract.access import Access, HubNode, federation_of, project_of
from flame_fl.contract.errors import InputError

KEY, OTHER_KEY = "a" * 64, "b" * 64


def node(key: str = KEY, node_id: int = 7, *projects: str) -> HubNode:
    return HubNode(node_id=node_id, public_key_sha256=key, projects=projects)


def test_nobody_may_do_anything_at_first() -> None:
    """An empty access file has no member, no project and no node."""
    access = Access()
    assert access.user_of("") is None
    assert not access.exists("@flame/a")
    assert not access.has_member("0" * 16, "@flame/a")
    assert access.node_ids("@flame/a") == frozenset()


def test_a_token_is_known_and_kept_nowhere() -> None:
    """The file holds its hash; another token, a longer one or none is nobody's."""
    access, token = Access().with_user("alice", "a")
    found = access.user_of(token)
    assert found is not None
    assert found[0] == "alice"
    assert token not in access.model_dump_json()
    assert len(token) > 40
    for wrong in ("", token[:-1], token + "x", token.upper(), "x" * 10_000, "\ud800"):
        assert access.user_of(wrong) is None


def test_tokens_and_accounts_differ() -> None:
    """A name given anew is another account."""
    first, token = Access().with_user("alice", "a")
    second, other = Access().with_user("alice", "a")
    assert token != other
    assert first.users["alice"].account != second.users["alice"].account


def test_membership_is_by_project() -> None:
    """A member of one project is none of another, nor of a federation whose name only looks like one."""
    access, _ = Access().with_user("alice", "a")
    account = access.users["alice"].account
    assert access.has_member(account, "@flame/a")
    for federation in ("@flame/b", "@flame/", "a", "@other/a", "@flame/a/a", "@none/default", ""):
        assert not access.has_member(account, federation)
        assert not access.exists(federation)


def test_a_node_is_seen_in_its_projects_only() -> None:
    """And in one more after it was added to it."""
    access = Access().with_node("DIZ-1", node(KEY, 7, "a")).with_node("DIZ-2", node(OTHER_KEY, 8, "b"))
    assert access.node_ids("@flame/a") == {7}
    assert access.with_member("a", "DIZ-2").node_ids("@flame/a") == {7, 8}
    assert access.node_ids("no federation") == frozenset()


def test_taken_names_and_keys_are_refused() -> None:
    """Both for users and nodes."""
    access, _ = Access().with_user("alice", "a")
    access = access.with_node("DIZ-1", node())
    with pytest.raises(InputError, match="user alice"):
        access.with_user("alice", "b")
    with pytest.raises(InputError, match="node DIZ-1"):
        access.with_node("DIZ-1", node(OTHER_KEY))
    with pytest.raises(InputError, match="belongs to another node"):
        access.with_node("DIZ-2", node())


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "@a", "ä", "a\n", "x" * 200])
def test_names_are_plain(name: str) -> None:
    """They become names of federations, and are printed."""
    with pytest.raises(InputError, match="letters, digits"):
        Access().with_user(name, "a")
    with pytest.raises(InputError, match="letters, digits"):
        Access().with_user("alice", name)


def test_an_unknown_name_joins_nothing() -> None:
    """The error says who is known."""
    with pytest.raises(InputError, match="no user and no node bob") as raised:
        Access().with_user("alice", "a")[0].with_member("a", "bob")
    assert "alice" in raised.value.mend


def test_what_is_unknown_in_the_file_is_an_error() -> None:
    """A misspelt setting is not one that is silently off."""
    with pytest.raises(ValidationError):
        Access.model_validate({"schema_version": 1, "user": {}})
    with pytest.raises(ValidationError):
        Access.model_validate({"schema_version": 2})


def test_federations_and_projects_are_two_names_of_one_thing() -> None:
    """Round trip."""
    assert project_of(federation_of("a")) == "a"
    assert project_of("@none/default") is None
