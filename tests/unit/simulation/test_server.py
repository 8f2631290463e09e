"""A ServerApp in this process: what it is given, and what becomes of its errors."""

import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.serverapp import Grid

from flame_fl.contract.errors import FlameError, InputError, VerificationError
from flame_fl.contract.fab import read_fab
from flame_fl.flower.app_host import load_component
from flame_fl.flower.bundle import build_fab
from flame_fl.sandbox.scratch import unpack
from flame_fl.simulation.server import flower_log_to, forget_app, run_server_app

HEAD = "from flwr.serverapp import ServerApp\napp = ServerApp()\nimport os, random, json\n"
WRITE = HEAD + "@app.main()\ndef main(grid, context):\n    out = os.environ['FLAME_OUT']\n    "


class NoGrid(Grid):
    """A grid that nobody asks anything."""

    def set_run(self, run): ...
    def run(self): ...
    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None): ...
    def get_node_ids(self): ...
    def get_nodes(self): ...
    def push_messages(self, messages): ...
    def pull_messages(self, message_ids): ...
    def send_and_receive(self, messages, *, timeout=None): ...


Serve = Callable[..., Path]


@pytest.fixture
def serve(make_app, tmp_path: Path) -> Iterator[Serve]:
    """Runs an app whose server.py is this text; returns the folder it may write to."""
    folders: list[Path] = []

    def run(server: str, seed: int = 1, **config: object) -> Path:
        fab = read_fab(build_fab(make_app(files={"an_app/server.py": server})))
        folder = tmp_path / f"run-{len(folders)}"
        folder.mkdir()
        folders.append(folder / "app")
        unpack(fab, folder / "app")
        run_server_app(fab, folder / "app", NoGrid(), run_id=7, config=config, seed=seed, out=folder)
        return folder

    yield run
    for folder in folders:
        forget_app(folder)
    for name in [n for n in sys.modules if n.split(".")[0] == "an_app"]:
        del sys.modules[name]


def test_a_serverapp_finds_its_configuration_and_a_place_to_write(serve: Serve) -> None:
    """Run config in the context, FLAME_OUT in the environment."""
    out = serve(WRITE + "open(out + '/x', 'w').write(json.dumps([context.run_id, context.run_config]))\n", rounds=3)
    assert (out / "x").read_text() == '[7, {"rounds": 3}]'


def test_flame_out_is_there_only_for_the_serverapp(serve: Serve, monkeypatch) -> None:
    """Afterwards the environment is as it was, whether it had one or not."""
    monkeypatch.delenv("FLAME_OUT", raising=False)
    serve(WRITE + "pass\n")
    assert "FLAME_OUT" not in os.environ
    monkeypatch.setenv("FLAME_OUT", "mine")
    serve(WRITE + "pass\n")
    assert os.environ["FLAME_OUT"] == "mine"


def test_the_seed_fixes_what_a_serverapp_draws(serve: Serve) -> None:
    """`random` and NumPy's legacy state repeat with the seed and differ with another."""
    body = WRITE + "import numpy\n    open(out + '/x', 'w').write(f'{random.random()} {numpy.random.rand()}')\n"
    first, again, other = ((serve(body, seed=seed) / "x").read_text().split() for seed in (5, 5, 6))
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("seed", [0, 2**32, 2**80])
def test_any_seed_is_one(serve: Serve, seed: int) -> None:
    """NumPy takes 32 bits; the command line takes any number."""
    serve(WRITE + "pass\n", seed=seed)


def test_two_bundles_of_one_name_are_not_mixed_up(serve: Serve) -> None:
    """The second app's own code runs, though a module of that name is loaded."""
    assert (serve(WRITE + "open(out + '/x', 'w').write('first')\n") / "x").read_text() == "first"
    assert (serve(WRITE + "open(out + '/x', 'w').write('second')\n") / "x").read_text() == "second"


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("import there_is_no_such_module", "No module named 'there_is_no_such_module'"),
        ("def oops(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("application = 1", "has no object 'app'"),
    ],
)
def test_a_serverapp_that_does_not_import_is_bad_input(serve: Serve, server: str, said: str) -> None:
    """The sentence names the reference and what Python said; the original error is the cause."""
    with pytest.raises(InputError, match=r"an_app\.server:app cannot be imported") as raised:
        serve(server)
    assert said in raised.value.message
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize("server", ["app = 3", "from flwr.clientapp import ClientApp\napp = ClientApp()"])
def test_what_is_no_serverapp_is_bad_input(serve: Serve, server: str) -> None:
    """A ClientApp in its place is none either."""
    with pytest.raises(InputError, match=r"is no flwr\.serverapp\.ServerApp"):
        serve(server)


def test_a_serverapp_that_raises_is_a_failure(serve: Serve) -> None:
    """Not bad input: exit code 1, with the error's kind and words, and the original as the cause."""
    with pytest.raises(FlameError, match="ended with KeyError: 'model'") as raised:
        serve(WRITE + "{}['model']\n")
    assert raised.value.exit_code == 1
    assert isinstance(raised.value.__cause__, KeyError)


def test_an_error_of_ours_passes_through_a_serverapp(serve: Serve) -> None:
    """What the grid raises for a person is not wrapped in a second sentence."""
    raising = "from flame_fl.contract.errors import VerificationError\n    raise VerificationError('a broken chain')\n"
    with pytest.raises(VerificationError, match="a broken chain"):
        serve(WRITE + raising)


def test_ctrl_c_passes_through_a_serverapp(serve: Serve) -> None:
    """It is no failure of the app's."""
    with pytest.raises(KeyboardInterrupt):
        serve(WRITE + "raise KeyboardInterrupt\n")


@pytest.mark.parametrize(
    "server", [HEAD + "raise SystemExit(0)\n", WRITE + "raise SystemExit(0)\n"], ids=["import", "main"]
)
def test_a_serverapp_that_exits_does_not_end_flame(serve: Serve, server: str) -> None:
    """`sys.exit()` in researcher code is that app's end, to be told like any other."""
    with pytest.raises(FlameError):
        serve(server)


def test_flowers_log_goes_to_the_runs_file(tmp_path: Path, capfd) -> None:
    """And to nowhere else, while a run goes on."""
    logger = logging.getLogger("flwr")
    with flower_log_to(tmp_path / "server.log", also_console=False):
        logger.warning("a chatty line")
    assert "WARNING a chatty line" in (tmp_path / "server.log").read_text()
    assert "a chatty line" not in "".join(capfd.readouterr())


def test_flowers_log_is_as_before_afterwards(tmp_path: Path) -> None:
    """Handlers and propagation are restored, also after an error."""
    logger = logging.getLogger("flwr")
    before = list(logger.handlers), logger.propagate
    with pytest.raises(ZeroDivisionError), flower_log_to(tmp_path / "server.log", also_console=False):
        1 / 0  # noqa: B018
    assert (list(logger.handlers), logger.propagate) == before


def test_forgetting_an_app_takes_it_off_the_path(tmp_path: Path) -> None:
    """Once it is off, forgetting it again is no error."""
    sys.path.insert(0, str(tmp_path))
    forget_app(tmp_path)
    forget_app(tmp_path)
    assert str(tmp_path) not in sys.path


def test_the_servers_random_numbers_are_not_those_before(serve: Serve) -> None:
    """Seeding is done anew for each run: what the process drew before does not matter."""
    body = WRITE + "open(out + '/x', 'w').write(str(random.random()))\n"
    first = (serve(body) / "x").read_text()
    random.random(), np.random.default_rng().random()
    assert (serve(body) / "x").read_text() == first


def test_a_forgotten_app_leaves_no_module_behind(tmp_path: Path) -> None:
    """Its folder goes away with the run; whoever imports that name later must find its own file."""
    (tmp_path / "bundle_to_forget").mkdir()
    (tmp_path / "bundle_to_forget" / "__init__.py").write_text("")
    load_component(tmp_path, "bundle_to_forget:__name__")
    forget_app(tmp_path)
    assert "bundle_to_forget" not in sys.modules
    assert str(tmp_path) not in sys.path
