"""What every command has in common: help, exit codes, and what a person sees of an error."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from flame_fl.cli import main, simulate
from flame_fl.contract import errors
from tests.unit.cli.conftest import Flame

CLI: Any = typer.main.get_command(main.cli)


def commands(command: Any = CLI, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = [pytest.param(path, command, id=" ".join(("flame", *path))) for path, command in commands()]
LEAVES = [p for p in COMMANDS if not hasattr(p.values[1], "commands")]
# `flame node budget` shows something by itself
GROUPS = [p for p in COMMANDS if hasattr(p.values[1], "commands") and p.values[0] != ("node", "budget")]


class TestHelp:
    @pytest.mark.parametrize(("path", "command"), COMMANDS)
    def test_names_every_option_and_argument(self, path: tuple[str, ...], command: Any, flame: Flame) -> None:
        """Hidden ones apart."""
        said = flame(*path, "--help")
        shown = [p for p in command.params if not getattr(p, "hidden", False)]
        options = [text for p in shown if p.param_type_name == "option" for text in (*p.opts, *p.secondary_opts)]
        arguments = [p.name for p in shown if p.param_type_name == "argument"]
        assert said.code == 0
        assert [word for word in (*options, *arguments) if word not in said.out] == []

    @pytest.mark.parametrize(("path", "command"), COMMANDS)
    def test_says_what_the_command_does(self, path: tuple[str, ...], command: Any, flame: Flame) -> None:
        """In at least one sentence, without a traceback."""
        said = flame(*path, "--help")
        assert (command.help or command.callback.__doc__).split("\n")[0].split(";")[0] in " ".join(said.out.split())
        assert "Traceback" not in said.out + said.err

    @pytest.mark.parametrize(("path", "command"), GROUPS)
    def test_is_shown_by_a_group_alone(self, path: tuple[str, ...], command: Any, flame: Flame) -> None:
        """With every command of the group; exit code 2, because nothing was done."""
        said = flame(*path)
        assert said.code == 2
        assert [name for name in command.commands if name not in said.out + said.err] == []

    def test_is_quick_because_nothing_heavy_is_imported_for_it(self) -> None:
        """Flower, frameworks and plotting are imported by the commands that use them."""
        program = (
            "import sys; from flame_fl.cli.main import run; run(['--help']);"
            "print(sorted({'flwr', 'torch', 'matplotlib', 'pandas', 'pyarrow'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


class TestVersion:
    def test_is_that_of_the_distribution(self, flame: Flame) -> None:
        """On standard output, and nothing else."""
        said = flame("--version")
        assert (said.code, said.out, said.err) == (0, f"flame-fl {importlib.metadata.version('flame-fl')}\n", "")

    def test_of_the_installed_program(self) -> None:
        """The entry point of the wheel is this function."""
        program = Path(sys.executable).parent / "flame"
        done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=60)
        assert done.stdout.split()[0] == "flame-fl"


class TestBadUsage:
    @pytest.mark.parametrize(("path", "command"), COMMANDS)
    def test_an_unknown_option_is_exit_code_2(self, path: tuple[str, ...], command: Any, flame: Flame) -> None:
        """Of every command; the option is named on standard error."""
        said = flame(*path, "--no-such-option")
        assert (said.code, said.out) == (2, "")
        assert "--no-such-option" in said.err

    @pytest.mark.parametrize(("path", "command"), GROUPS)
    def test_an_unknown_command_is_exit_code_2(self, path: tuple[str, ...], command: Any, flame: Flame) -> None:
        """It is named."""
        said = flame(*path, "no-such-command")
        assert said.code == 2
        assert "no-such-command" in said.err

    @pytest.mark.parametrize(
        ("path", "command"),
        [p for p in LEAVES if any(a.required for a in p.values[1].params if a.param_type_name == "argument")],
    )
    def test_a_missing_argument_is_exit_code_2(self, path: tuple[str, ...], command: Any, flame: Flame) -> None:
        """Its name is said."""
        said = flame(*path)
        assert said.code == 2
        assert "Missing argument" in said.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["simulate", "x", "--nodes", "0"],
            ["simulate", "x", "--nodes", "many"],
            ["simulate", "x", "--sandbox", "chroot"],
            ["simulate", "x", "--seed", "-1"],
            ["simulate", "x", "--privacy", "nobody"],
            ["demo", "--nodes", "1"],
        ],
        ids=" ".join,
    )
    def test_a_value_out_of_range_is_exit_code_2(self, arguments: list[str], flame: Flame) -> None:
        """The option is named."""
        said = flame(*arguments)
        assert said.code == 2
        assert arguments[-2] in said.err

    def test_with_json_the_error_is_an_object(self, flame: Flame) -> None:
        """On standard output, for the program that called."""
        said = json.loads(flame("app", "check", "x", "--json", "--no-such-option").out)
        assert said["exit_code"] == 2
        assert "--no-such-option" in said["error"]


class TestErrors:
    def test_an_error_is_a_sentence_and_a_mend_on_standard_error(self, flame: Flame, tmp_path: Path) -> None:
        """Standard output stays empty."""
        said = flame("app", "check", tmp_path / "none")
        assert (said.code, said.out) == (2, "")
        assert said.err == f"Error: There is no folder {tmp_path / 'none'}.\nGive the folder of a Flower app.\n"

    def test_with_json_it_is_one_object_on_standard_output(self, flame: Flame, tmp_path: Path) -> None:
        """With the same words and the exit code."""
        said = flame("app", "check", tmp_path / "none", "--json")
        assert json.loads(said.out) == {
            "error": f"There is no folder {tmp_path / 'none'}.",
            "mend": "Give the folder of a Flower app.",
            "exit_code": said.code,
        }

    @pytest.mark.parametrize(
        ("raised", "code"),
        [
            (errors.FlameError("It failed."), 1),
            (errors.InputError("It is bad."), 2),
            (errors.VerificationError("It does not hold."), 5),
            (errors.SandboxError("It died."), 1),
            (RuntimeError("a bug"), 1),
            (KeyboardInterrupt(), 130),
            (click.exceptions.Abort(), 130),
        ],
        ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else str(x),
    )
    def test_the_exit_code_is_that_of_its_kind(
        self, raised: BaseException, code: int, flame: Flame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As docs/researchers.md lists them; never a traceback."""
        monkeypatch.setattr("flame_fl.cli.scaffold.write_scaffold", _raising(raised))
        said = flame("app", "new", "x")
        assert said.code == code
        assert said.err.startswith("Error: ")
        assert "Traceback" not in said.err

    def test_a_refusal_is_exit_code_3_with_its_code(self, flame: Flame, monkeypatch: pytest.MonkeyPatch) -> None:
        """`--json` has the number that a strategy would have seen."""
        from flame_fl.contract.refusal import RefusalCode, RefusedError

        refused = RefusedError(RefusalCode.PENDING_APPROVAL, "not seen before")
        monkeypatch.setattr("flame_fl.flower.bundle.build_fab", _raising(refused))
        said = flame("app", "check", "x", "--json")
        assert (said.code, json.loads(said.out)["code"]) == (3, 902)

    def test_a_bug_is_said_to_be_none_of_the_users(self, flame: Flame, monkeypatch: pytest.MonkeyPatch) -> None:
        """And how to see where it happened."""
        monkeypatch.setattr("flame_fl.cli.scaffold.write_scaffold", _raising(RuntimeError("a bug")))
        said = flame("app", "new", "x")
        assert "RuntimeError: a bug" in said.err
        assert "--debug" in said.err


class TestDebug:
    @pytest.mark.parametrize("arguments", [["--debug", "app", "check"], ["app", "--debug", "check"]])
    @pytest.mark.parametrize("behind", [False, True])
    def test_gives_a_traceback_wherever_it_stands(self, arguments: list[str], behind: bool, flame: Flame) -> None:
        """Before a command, in the middle, behind it."""
        given = [a for a in arguments if a != "--debug"] + ["none", "--debug"] if behind else [*arguments, "none"]
        said = flame(*given)
        assert said.code == 2
        assert "Traceback" in said.err
        assert "flame_fl/flower/bundle.py" in said.err

    def test_gives_a_traceback_of_a_bug(self, flame: Flame, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the line that raised."""
        monkeypatch.setattr("flame_fl.cli.scaffold.write_scaffold", _raising(RuntimeError("a bug")))
        said = flame("app", "new", "x", "--debug")
        assert (said.code, "Traceback" in said.err) == (1, True)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["app", "check", "none"],
            ["app", "build", "none"],
            ["app", "new", "Bad Name"],
            ["simulate", "none"],
            ["demo", "none"],
            ["node", "audit", "verify", "none"],
            ["node", "audit", "export", "none"],
        ],
        ids=" ".join,
    )
    def test_nothing_else_does(self, arguments: list[str], flame: Flame) -> None:
        """An error of every command is two sentences."""
        said = flame(*arguments)
        assert said.code == 2
        assert "Traceback" not in said.out + said.err
        assert len(said.err.splitlines()) == 2

    def test_is_over_with_the_command(self, flame: Flame) -> None:
        """The next one in the same process prints none."""
        flame("--debug", "app", "check", "none")
        assert "Traceback" not in flame("app", "check", "none").err

    def test_is_told_to_the_simulation(self, flame: Flame) -> None:
        """Which then shows Flower's own log; the next command's does not."""
        seen = []
        for arguments in (["--debug", "app", "check", "none"], ["app", "check", "none"]):
            flame(*arguments)
            seen.append(simulate.DEBUG.on)
        assert seen == [True, False]

    def test_behind_two_dashes_it_is_a_name(self, flame: Flame) -> None:
        """As everywhere, what follows `--` is no option."""
        said = flame("app", "check", "--", "--debug")
        assert "Traceback" not in said.err
        assert "--debug" in said.err


def _raising(error: BaseException) -> Any:
    def call(*args: object) -> None:
        raise error

    return call
