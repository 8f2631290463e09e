"""`flame hub init`: once, and readable by nobody who need not."""

import stat
from pathlib import Path

import pytest

from flame_fl.contract.access import Access
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.places import Places
from flame_fl.hub.config import HubFiles, load_config
from flame_fl.hub.init import init_hub, write_new


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "etc" / "hub.toml", tmp_path / "state")


def test_a_hub_is_made(places: Places) -> None:
    """Settings that load, nobody in it, keys for their owner only, the authority's key apart."""
    files = init_hub(places, ("hub.example.org",), "127.0.0.1", 9000)
    assert load_config(places).address == "hub.example.org:9000"
    assert Access.model_validate_json(files.access.read_bytes()) == Access()
    for path in (files.key, files.ca_key, files.secret, files.access):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.state.stat().st_mode) == 0o700
    assert files.ca_key.parent != files.key.parent
    assert len(files.secret.read_bytes()) == 64


def test_two_hubs_share_nothing(places: Places, tmp_path: Path) -> None:
    """Neither id nor keys nor secret."""
    one = init_hub(places, ("h",), "127.0.0.1", 9000)
    other_places = Places(tmp_path / "b.toml", tmp_path / "b")
    two = init_hub(other_places, ("h",), "127.0.0.1", 9000)
    assert load_config(places).hub.id != load_config(other_places).hub.id
    for name in ("ca", "ca_key", "key", "secret"):
        assert getattr(one, name).read_bytes() != getattr(two, name).read_bytes()


@pytest.mark.parametrize("there", ["config", "ca_key", "access"])
def test_nothing_is_written_over(places: Places, there: str) -> None:
    """Whatever is left of a hub is enough."""
    files = HubFiles(places.state)
    path = places.config if there == "config" else getattr(files, there)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="a hub here already"):
        init_hub(places, ("h",), "127.0.0.1", 9000)
    assert path.read_text() == "mine"
    assert not files.key.exists()


@pytest.mark.parametrize("name", ["", "a b", "-x", 'a"b', "a\nb"])
def test_a_name_that_is_none_is_refused_before_anything_is_written(places: Places, name: str) -> None:
    """It would go into the settings and the certificate."""
    with pytest.raises(InputError):
        init_hub(places, (name,), "127.0.0.1", 9000)
    assert not places.state.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One sentence, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FlameError, match="cannot be written"):
        init_hub(Places(tmp_path / "hub.toml", tmp_path / "file" / "state"), ("h",), "127.0.0.1", 9000)


def test_a_new_file_is_new(tmp_path: Path) -> None:
    """Also through a link that somebody put there."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "link", b"x", 0o600)
    assert not (tmp_path / "elsewhere").exists()
