"""`hub.toml`: complete, commented, strict."""

import tomllib

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.hub.config import HubConfig, ServerAppSection, config_text, load_config, parse_config

IMAGE = "sha256:" + "a" * 64
TEXT = config_text("0123456789ab", ("hub.example.org", "10.0.0.1"), "0.0.0.0", 8000)


def test_the_template_names_every_setting() -> None:
    """With the defaults that hold without it."""
    raw = tomllib.loads(TEXT)
    assert set(raw) == set(HubConfig.model_fields)
    assert raw["serverapp"] == ServerAppSection().model_dump()
    assert set(raw["hub"]) == {"id", "names", "host", "port"}
    settings = [line for line in TEXT.splitlines() if "=" in line and not line.startswith("#")]
    assert all("#" in line for line in settings if not line.startswith(("cpus", "memory", "pids", "out_files")))


def test_addresses() -> None:
    """What others use is the first name; this machine uses its own."""
    config = parse_config(TEXT)
    assert (config.address, config.own_address) == ("hub.example.org:8000", "127.0.0.1:8000")
    here = parse_config(config_text("0123456789ab", ("localhost",), "127.0.0.1", 8001))
    assert here.own_address == "localhost:8001"


def test_images_are_by_id_and_by_app() -> None:
    """An app's own wins; without a default an app that is not named has none."""
    config = parse_config(TEXT.replace('default = ""', f'default = "{IMAGE}"\n"a/b" = "sha256:{"b" * 64}"'))
    assert config.image_of("a/b") == "sha256:" + "b" * 64
    assert config.image_of("a/c") == IMAGE
    assert not parse_config(TEXT).image_of("a/b")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("port = 8000", "port = 0", "hub.port"),
        ("port = 8000", 'port = "x"', "hub.port"),
        ('sandbox = "docker"', 'sandbox = "none"', "serverapp.sandbox"),
        ('default = ""', 'default = "python:latest"', "images"),
        ("at_once = 4", "at_one = 4", "serverapp.at_one"),
        ("cpus = 2.0", "cpus = inf", "serverapp.cpus"),
        ('"hub.example.org"', '"hub example"', "hub.names"),
        ("[hub]", "[hub", "no TOML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    """Exit code 2, with the setting's place."""
    assert old in TEXT
    with pytest.raises(InputError, match=said):
        parse_config(TEXT.replace(old, new))


def test_no_hub_is_said_to_be_none(tmp_path) -> None:
    """With the command that makes one."""
    with pytest.raises(InputError, match="no hub here") as raised:
        load_config(Places(tmp_path / "hub.toml", tmp_path))
    assert "flame hub init" in raised.value.mend
