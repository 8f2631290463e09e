"""The researcher's own tools round a demonstration: programs of their own."""

import os
import sys
from pathlib import Path

import pytest

from flame_fl.cli.console import stdout_kept_free
from flame_fl.contract.errors import FlameError
from flame_fl.contract.terms import Variant
from flame_fl.simulation.demo import run_app_tool, variant_settings
from flame_fl.simulation.derive import PrivacyWish
from flame_fl.simulation.settings import Settings


def tool(folder: Path, body: str) -> Path:
    """An app's folder with a module `the_tool` in it."""
    (folder / "the_tool.py").write_text(f"import os, signal, sys\nfrom pathlib import Path\n{body}\n")
    return folder


def test_a_tool_is_found_in_the_apps_folder_and_gets_its_arguments(tmp_path: Path) -> None:
    """It need not be installed."""
    app = tool(tmp_path, "Path(sys.argv[2]).write_text(' '.join(sys.argv[1:]))")
    run_app_tool("the_tool", ["prepare", str(tmp_path / "out")], app)
    assert (tmp_path / "out").read_text() == f"prepare {tmp_path / 'out'}"


def test_a_tool_is_found_from_any_folder(tmp_path: Path, monkeypatch) -> None:
    """The app's folder may be given relative to the current one, and PYTHONPATH stays in effect."""
    (tmp_path / "app").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "the_library.py").touch()
    tool(tmp_path / "app", "import the_library; Path('out').touch()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.chdir(tmp_path)
    run_app_tool("the_tool", ["prepare"], Path("app"))
    assert (tmp_path / "out").exists()


def test_a_tool_runs_in_this_interpreter_as_another_process(tmp_path: Path) -> None:
    """The core imports no app."""
    app = tool(tmp_path, "Path(sys.argv[1]).write_text(f'{sys.executable} {os.getppid()}')")
    run_app_tool("the_tool", [str(tmp_path / "out")], app)
    assert (tmp_path / "out").read_text() == f"{sys.executable} {os.getpid()}"
    assert "the_tool" not in sys.modules


@pytest.mark.parametrize("body", ["sys.exit(2)", "raise ValueError('oops')"])
def test_a_tool_that_fails_is_named_with_its_command_and_code(tmp_path: Path, body: str, capfd) -> None:
    """Its own words stand on the terminal; the error says which command it was."""
    app = tool(tmp_path, f"print('the reason', file=sys.stderr, flush=True)\n{body}")
    with pytest.raises(FlameError, match=r"`python -m the_tool prepare` ended with exit code [12]") as raised:
        run_app_tool("the_tool", ["prepare"], app)
    assert raised.value.exit_code == 1
    assert "the reason" in capfd.readouterr().err


def test_a_module_that_is_not_there_is_a_failure(tmp_path: Path, capfd) -> None:
    """As a tool that fails."""
    with pytest.raises(FlameError, match="no_such_tool"):
        run_app_tool("no_such_tool", ["prepare"], tmp_path)


SIGNALLED = "signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize("body", ["sys.exit(130)", SIGNALLED])
def test_a_tool_that_was_interrupted_is_an_interruption(tmp_path: Path, body: str, capfd) -> None:
    """Ctrl-C reaches the tool as well; that is no failure of its."""
    with pytest.raises(KeyboardInterrupt):
        run_app_tool("the_tool", ["prepare"], tool(tmp_path, body))


@pytest.mark.parametrize("signal_name", ["SIGSEGV", "SIGKILL"])
def test_a_tool_that_crashed_was_not_interrupted(tmp_path: Path, signal_name: str) -> None:
    """A crash, or the system's out-of-memory kill, is a failure: nobody pressed Ctrl-C."""
    with pytest.raises((FlameError, KeyboardInterrupt)) as raised:  # pytest itself stops at a KeyboardInterrupt
        run_app_tool("the_tool", ["prepare"], tool(tmp_path, f"os.kill(os.getpid(), signal.{signal_name})"))
    assert raised.type is FlameError


def test_a_variant_is_the_same_run_on_other_terms() -> None:
    """Other privacy, other run config, and a folder in the run's; everything else is kept."""
    settings = Settings(app=Path("app"), data=Path("data"), nodes=5, seed=9, out=Path("elsewhere"))
    variant = Variant(name="private", privacy="site", epsilon=8.0, messages=("train",), run_config={"rounds": 2})
    derived = variant_settings(settings, variant, Path("run"))
    assert derived.wish == PrivacyWish("site", 8.0, messages=("train",))
    assert derived.out == Path("run/variants/private")
    assert derived.overrides == {"rounds": 2}
    assert (derived.app, derived.data, derived.nodes, derived.seed) == (Path("app"), Path("data"), 5, 9)


def test_with_json_a_tool_prints_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output is for one JSON object, whoever prints."""
    (tmp_path / "chatty.py").write_text("print('working')")
    with stdout_kept_free():
        run_app_tool("chatty", ["prepare"], tmp_path)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "working\n")
