"""Where an installation lives."""

from pathlib import Path

from flame_fl.contract.places import hub_places, hubs_file, node_places


def test_flame_home_moves_everything() -> None:
    """Settings and state."""
    places = node_places({"FLAME_HOME": "/srv/x"})
    assert (places.config, places.state) == (Path("/srv/x/node.toml"), Path("/srv/x"))
    assert hub_places({"FLAME_HOME": "/srv/x"}).config == Path("/srv/x/hub.toml")


def test_else_the_system_s_places() -> None:
    """As the documents say; an empty variable is none."""
    for environ in ({}, {"FLAME_HOME": ""}):
        places = hub_places(environ)
        assert (places.config, places.state) == (Path("/etc/flame/hub.toml"), Path("/var/lib/flame"))


def test_a_researcher_s_hubs() -> None:
    """In the home, or where a test says."""
    assert hubs_file({"HOME": "/home/me"}) == Path("/home/me/.config/flame/hubs.toml")
    assert hubs_file({"HOME": "/home/me", "FLAME_CONFIG_HOME": "/x"}) == Path("/x/hubs.toml")
