"""What a SuperLink asks of the access file."""

from pathlib import Path

import pytest
from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.supercore.constant import ActionType, RunTime
from flwr.supercore.error import FlowerError
from flwr.supercore.typing import RegisterSupernodeContext, StartRunContext

from flame_fl.contract.access import Access, HubNode
from flame_fl.contract.errors import VerificationError
from flame_fl.flower.superlink_access import AccessFile, ProjectFederations, TokenLogin


class Hub:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.json"
        access, self.token = Access().with_user("alice", "a")
        access = access.with_node("DIZ-1", HubNode(node_id=7, public_key_sha256="a" * 64, projects=("a",)))
        self.access = access.with_node("DIZ-2", HubNode(node_id=8, public_key_sha256="b" * 64, projects=("b",)))
        self.alice = access.users["alice"].account
        self.write()
        self.file = AccessFile(self.path)
        self.login, self.federations = TokenLogin(self.file), ProjectFederations(self.file)

    def write(self) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(self.access.model_dump_json())
        beside.replace(self.path)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def test_a_token_is_an_account(hub: Hub) -> None:
    """As text or as bytes."""
    for token in (hub.token, hub.token.encode()):
        valid, account = hub.login.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, token)])
        assert valid
        assert account is not None
        assert (account.flwr_aid, account.account_name) == (hub.alice, "alice")


@pytest.mark.parametrize("tokens", [[], [""], ["wrong"], [b"\xff\xfe"], None])
def test_anything_else_is_nobody(hub: Hub, tokens) -> None:
    """No token, a wrong one, two of them."""
    given = [hub.token, hub.token] if tokens is None else tokens
    assert hub.login.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, t) for t in given]) == (False, None)


def test_there_is_no_other_way_in(hub: Hub) -> None:
    """No device flow, no refreshing."""
    assert hub.login.get_login_details() is None
    assert hub.login.get_auth_tokens("x") is None
    assert hub.login.refresh_tokens([("x", hub.token)]) == (None, None)


def test_a_changed_file_holds_at_once(hub: Hub) -> None:
    """A member who is taken out is out at the next question, without a restart."""
    assert hub.federations.has_member(hub.alice, "@flame/a")
    hub.access = hub.access.model_copy(update={"users": {}})
    hub.write()
    assert not hub.federations.has_member(hub.alice, "@flame/a")
    assert hub.login.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, hub.token)]) == (False, None)


def test_a_file_that_breaks_lets_nobody_in(hub: Hub) -> None:
    """Rather an error than yesterday's rights."""
    hub.federations.exists("@flame/a")
    hub.path.write_text("{")
    with pytest.raises(VerificationError):
        hub.federations.has_member(hub.alice, "@flame/a")
    hub.path.unlink()
    with pytest.raises(VerificationError):
        hub.login.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, hub.token)])


def test_nodes_of_another_project_are_not_there(hub: Hub) -> None:
    """Only the server's own id is in every project."""
    assert hub.federations.filter_nodes({1, 7, 8, 9}, "@flame/a") == {1, 7}
    assert hub.federations.filter_nodes({7, 8}, "@flame/none") == set()
    assert hub.federations.has_node(7, "@flame/a")
    assert not hub.federations.has_node(8, "@flame/a")
    assert not hub.federations.has_node(7, "@none/default")


def test_a_member_sees_the_names_of_their_projects(hub: Hub) -> None:
    """And neither their nodes nor other members."""
    (federation,) = hub.federations.get_federations(hub.alice)
    assert (federation.id, federation.nodes, federation.members) == ("@flame/a", [], [])
    assert hub.federations.get_federations("nobody") == []
    assert hub.federations.get_details("@flame/a").nodes == []
    with pytest.raises(ValueError, match="does not exist"):
        hub.federations.get_details("@flame/none")


def test_only_a_member_s_run_may_be_started(hub: Hub) -> None:
    """On the real nodes of their own project; nothing else is allowed to anybody."""
    may = hub.federations.can_execute
    may(hub.alice, ActionType.START_RUN, StartRunContext(federation_id="@flame/a", runtime=RunTime.DEPLOYMENT))
    for account, federation, runtime in (
        (hub.alice, "@flame/b", RunTime.DEPLOYMENT),
        (hub.alice, "@flame/a", RunTime.SIMULATION),
        ("nobody", "@flame/a", RunTime.DEPLOYMENT),
    ):
        with pytest.raises(FlowerError):
            may(account, ActionType.START_RUN, StartRunContext(federation_id=federation, runtime=runtime))
    with pytest.raises(FlowerError):
        may(hub.alice, ActionType.REGISTER_SUPERNODE, RegisterSupernodeContext())


def test_what_would_change_a_project_is_unsupported(hub: Hub) -> None:
    """Only the hub's administrator changes who belongs to what."""
    for change in (
        lambda: hub.federations.create_federation(hub.alice, "@flame/new", ""),
        lambda: hub.federations.add_supernode(hub.alice, "@flame/a", 8),
        lambda: hub.federations.create_invitation(hub.alice, "@flame/a", "bob"),
        lambda: hub.federations.archive_federation(hub.alice, "@flame/a"),
    ):
        with pytest.raises(FlowerError):
            change()
    assert hub.federations.get_simulation_config("@flame/a") is None
