"""Where the parts of a federation on one machine are, and what it consists of."""

import re
import socket
import stat
from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.federation.plan import Home, Plan, free_ports, node_names

PLAN = Plan(nodes=("DIZ-1", "DIZ-2"), hub_port=1, node_ports=(2, 3), project="demo", demo="/an/app", image="sha256:x")


def test_a_plan_is_kept(tmp_path: Path) -> None:
    """Whole, and for its owner only."""
    home = Home(tmp_path)
    home.write(PLAN)
    assert home.read() == PLAN
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600


def test_no_plan_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"no federation in {tmp_path}")) as err:
        Home(tmp_path).read()
    assert "flame federation up" in err.value.mend


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "no json", '{"nodes": [], "hub_port": 1, "node_ports": [], "project": "x"}']
)
def test_a_plan_that_is_none_of_ours(tmp_path: Path, text: str) -> None:
    """Somebody's folder is not a federation."""
    Home(tmp_path).file.write_text(text)
    with pytest.raises(InputError, match="none of ours") as err:
        Home(tmp_path).read()
    assert "--home" in err.value.mend


def test_everything_is_in_its_home(tmp_path: Path) -> None:
    """So that removing the folder removes all of it; no two parts share a place."""
    home = Home(tmp_path)
    states = [home.hub.state, *(home.node(n).state for n in PLAN.nodes)]
    paths = [*states, home.data, home.token, home.file, home.log("hub"), home.pid_file("hub")]
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert len(set(paths)) == len(paths)


def test_nodes_are_called_as_in_a_simulation() -> None:
    """The same names on both sides: the same report."""
    from flame_fl.simulation.nodes import plan_nodes

    assert node_names(3) == tuple(node.name for node in plan_nodes(None, 3))


def test_ports_are_free_and_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
