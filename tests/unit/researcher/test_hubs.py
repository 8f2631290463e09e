"""`hubs.toml`, and the token that it names."""

from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.researcher.hubs import HubEntry, add_hub, load_hub, parse_hubs, snippet

ENTRY = HubEntry(address="hub.example.org:8000", ca="ca.crt", token_file="token")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_text("a certificate")
    (tmp_path / "token").write_text("flame_secret\n")
    (tmp_path / "token").chmod(0o600)
    file = tmp_path / "hubs.toml"
    add_hub(file, "local", ENTRY)
    return file


def test_a_hub_is_read_with_its_token(file: Path) -> None:
    """Paths are relative to the file; the token is shown nowhere."""
    hub = load_hub(file, "local")
    assert (hub.address, hub.token, hub.ca) == ("hub.example.org:8000", "flame_secret", file.parent / "ca.crt")
    assert "secret" not in repr(hub)
    assert "secret" not in file.read_text()


def test_hubs_are_added_and_replaced(file: Path) -> None:
    """And what is printed for a researcher is what is read."""
    add_hub(file, "other", ENTRY.model_copy(update={"project": "p"}))
    add_hub(file, "local", ENTRY.model_copy(update={"address": "elsewhere:1"}))
    hubs = parse_hubs(file.read_text())
    assert {name: (hub.address, hub.project) for name, hub in hubs.items()} == {
        "local": ("elsewhere:1", None),
        "other": ("hub.example.org:8000", "p"),
    }
    assert parse_hubs(snippet("x", ENTRY)) == {"x": ENTRY}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[local", "no TOML"),
        ('[local]\naddress = "x:1"\nca = "c"', "token_file"),
        ('[local]\naddress = "x"\nca = "c"\ntoken_file = "t"', "address"),
        ('[local]\naddress = "x y:1"\nca = "c"\ntoken_file = "t"', "address"),
        ('[local]\naddress = "https://x:1"\nca = "c"\ntoken_file = "t"', "address"),
        ('[local]\naddress = "x:1"\nca = "c"\ntoken_file = "t"\ntoken = "secret"', "token"),
        ("local = 1", "local"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    """A token in the file itself is refused like any unknown setting."""
    with pytest.raises(InputError, match=said) as raised:
        parse_hubs(text)
    assert "secret" not in str(raised.value)


def test_what_is_missing_is_named(file: Path) -> None:
    """The file, the hub, the certificate, the token."""
    with pytest.raises(InputError, match="There is no "):
        load_hub(file.with_name("none.toml"), "local")
    with pytest.raises(InputError, match="no hub x") as raised:
        load_hub(file, "x")
    assert "local" in raised.value.mend
    (file.parent / "token").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_hub(file, "local")
    (file.parent / "ca.crt").unlink()
    with pytest.raises(InputError, match="is missing"):
        load_hub(file, "local")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_token_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    """With the command that mends it."""
    (file.parent / "token").chmod(mode)
    with pytest.raises(InputError, match="Others may read") as raised:
        load_hub(file, "local")
    assert "chmod 600" in raised.value.mend


@pytest.mark.parametrize("raw", [b"", b"\n", b"x" * 300, b"a\nb", b"\xff", b"a\x00b"])
def test_what_is_no_token_is_said_to_be_none(file: Path, raw: bytes) -> None:
    """Without showing it."""
    (file.parent / "token").write_bytes(raw)
    with pytest.raises(InputError, match="holds no token"):
        load_hub(file, "local")
