"""Overrides on the command line are read as `flwr run --run-config` reads them; what it would drop is an error."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flwr.common.config import parse_config_args
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.flower.overrides import parse_overrides

KEYS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters='"=', exclude_categories=["C"]), max_size=12)


def in_toml(value: Any) -> str:
    """A value as a person would write it on the command line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\") + '"'
    return repr(value)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ([], {}),
        ([""], {}),
        (["rounds=5"], {"rounds": 5}),
        (["rounds=5 model='mlp'"], {"rounds": 5, "model": "mlp"}),
        (['model="two words"'], {"model": "two words"}),
        (['model=""'], {"model": ""}),
        (["quoted='say \"hi\"'"], {"quoted": 'say "hi"'}),
        (['quoted="it\'s"'], {"quoted": "it's"}),
        (["rounds=5", "rate=0.5"], {"rounds": 5, "rate": 0.5}),
        (["a=-3 b=1e3 c=0x10 d=1_000"], {"a": -3, "b": 1000.0, "c": 16, "d": 1000}),
        (["a=true b=false"], {"a": True, "b": False}),
        (["net.depth=2 net.wide=true"], {"net.depth": 2, "net.wide": True}),
        (["  rounds=5   rate=1.0  "], {"rounds": 5, "rate": 1.0}),
        ([r'a="x\ny\t\u00e4\\"'], {"a": "x\ny\tä\\"}),
        ([r"a='x\ny'"], {"a": r"x\ny"}),
    ],
)
def test_what_is_written_is_what_is_meant(arguments: list[str], meant: dict[str, Any]) -> None:
    """Values, types, quotes, escapes and dotted keys."""
    said = parse_overrides(arguments)
    assert said == meant
    assert {k: type(v) for k, v in said.items()} == {k: type(v) for k, v in meant.items()}


@given(st.dictionaries(KEYS, st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS))
def test_every_scalar_can_be_written(settings: dict[str, Any]) -> None:
    """Any setting, written as TOML on one line, comes back with its type."""
    said = parse_overrides([" ".join(f"{key}={in_toml(value)}" for key, value in settings.items())])
    assert repr(said) == repr(settings)


@pytest.mark.parametrize(
    "arguments",
    [
        ["rounds=5 model='mlp' net.depth=2"],
        [r'a="x\ny"'],
        ['rule="x=y"'],
        ["rounds=5", "rounds=6"],
        ["rounds=5 rate=0.5", "rounds=6 wide=true"],
    ],
)
def test_what_flower_accepts_is_read_as_flower_reads_it(arguments: list[str]) -> None:
    """The syntax is `flwr run`'s own."""
    assert parse_overrides(arguments) == parse_config_args(arguments)


@pytest.mark.parametrize(
    "argument",
    [
        "model=mlp",
        'model="mlp',
        "rounds = 5",
        "rounds=",
        "=5",
        "a=1,b=2",
        "a=[1,2]",
        "a=2026-01-01",
        "a=1 a=2",
        "rounds==5",
        "rounds=5;",
        r'a="\q"',
    ],
)
def test_what_is_not_of_that_syntax_is_a_sentence(argument: str) -> None:
    """It quotes what was typed and shows how to write it."""
    with pytest.raises(InputError) as caught:
        parse_overrides([argument])
    assert repr(argument) in caught.value.message
    assert "rounds=5" in caught.value.mend


@pytest.mark.parametrize("argument", ["rounds", "rounds=5 wide", "rounds:5", "--rounds"])
def test_words_that_set_nothing_are_an_error(argument: str) -> None:
    """A misspelt override must not run the analysis without it."""
    with pytest.raises(InputError):
        parse_overrides([argument])


def test_settings_that_flower_would_drop_are_kept() -> None:
    """Of two arguments that set keys of one table, Flower keeps the last; that is not what was meant."""
    assert parse_config_args(["net.depth=2", "net.wide=true"]) == {"net.wide": True}
    assert parse_overrides(["net.depth=2", "net.wide=true"]) == {"net.depth": 2, "net.wide": True}


@pytest.mark.slow
def test_a_slip_behind_many_settings_is_found() -> None:
    """Forty settings and a word that sets nothing: an error, and not a command that hangs."""
    settings = " ".join(f"k{n}='x'" for n in range(40))
    program = f"from flame_fl.flower.overrides import parse_overrides; parse_overrides([{settings + ' oops'!r}])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=20)
    assert b"InputError" in done.stderr


class TestAFile:
    def test_its_settings_are_read(self, tmp_path: Path) -> None:
        """Tables become dotted keys."""
        (tmp_path / "run.toml").write_text('rounds = 5\n[net]\ndepth = 2\nname = "x=y"\n')
        assert parse_overrides([str(tmp_path / "run.toml")]) == {"rounds": 5, "net.depth": 2, "net.name": "x=y"}

    @pytest.mark.parametrize("raw", [b"rounds", b"a = [1]", b"\xff", b"a = 2026-01-01"])
    def test_one_that_is_malformed_is_a_sentence(self, raw: bytes, tmp_path: Path) -> None:
        """No TOML, no text, or values that are no scalars."""
        (tmp_path / "run.toml").write_bytes(raw)
        with pytest.raises(InputError, match=r"run\.toml"):
            parse_overrides([str(tmp_path / "run.toml")])

    def test_one_that_is_missing_is_a_sentence(self, tmp_path: Path) -> None:
        """It is named."""
        with pytest.raises(InputError, match=r"none\.toml"):
            parse_overrides([str(tmp_path / "none.toml")])

    def test_one_beside_settings_is_a_sentence(self, tmp_path: Path) -> None:
        """Either a file or settings."""
        (tmp_path / "run.toml").write_text("rounds = 5\n")
        with pytest.raises(InputError):
            parse_overrides(["rate=1.0", str(tmp_path / "run.toml")])
