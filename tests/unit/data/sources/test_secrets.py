"""Credential files: what is read, what is refused, and that no error says what is in them."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.sources.secrets import read_secrets

CANARY = "AKIACANARY0123456789"


def written(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def all_that_is_said(err: BaseException | None) -> str:
    """Its text, its arguments and its attributes, and those of the errors before it."""
    said = []
    while err is not None:
        said.append(f"{err}{err!r}{err.args!r}{vars(err)!r}")
        err = err.__cause__ or err.__context__
    return "".join(said)


def test_names_and_values_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "s3.toml", 'access_key = "a"\nsecret_key = "b#\'c"\n')
    assert read_secrets(path) == {"access_key": "a", "secret_key": "b#'c"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o602, 0o644])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "s3.toml", f'key = "{CANARY}"', mode)
    with pytest.raises(InputError, match="Others than its owner") as caught:
        read_secrets(path)
    assert "chmod 600" in caught.value.mend


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_file_of_its_owner_s_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_secrets(written(tmp_path / "s3.toml", 'key = "x"', mode)) == {"key": "x"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "real.toml", 'key = "x"')
    (tmp_path / "s3.toml").symlink_to("real.toml")
    with pytest.raises(InputError, match="is a link"):
        read_secrets(tmp_path / "s3.toml")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder", "absent", "a\0b"):
        with pytest.raises(InputError, match="credentials file"):
            read_secrets(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        f"key = {CANARY}",
        f'key = "{CANARY}',
        f'key = ["{CANARY}"]',
        f'[s3]\nkey = "{CANARY}"',
        f'key = "{CANARY}"\nkey = "{CANARY}"',
        f'key = "{CANARY}\\n"',
        'key = ""',
        "key = 5",
        "key = true",
        f'key = "{CANARY}"'.encode("utf-16"),
        f'key = "{CANARY}\xff"'.encode("latin-1"),
        "a = " + "[" * 20_000,
        f'key = "{CANARY * 4000}"',
    ],
)
def test_errors_say_nothing_of_what_is_in_it(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_secrets(written(tmp_path / "s3.toml", text))
    assert "CANARY" not in all_that_is_said(caught.value)
    assert "s3.toml" in str(caught.value)


@given(content=st.binary(max_size=200))
def test_whatever_is_in_it_there_are_texts_or_an_error(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "s3.toml", content)
    failure = None
    try:
        assert read_secrets(path) == tomllib.loads(content.decode())
    except InputError as err:
        failure = err
    assert failure is None or (failure.__cause__ is None and failure.__context__ is None)
