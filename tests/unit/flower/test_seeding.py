"""Seeds: the same numbers twice, whenever torch is imported, and no trace afterwards.

Import order is tried in processes of their own, with a small torch that counts as the real one does; the tests marked
slow do the same with the real one.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.flower.seeding import seed_everything, seeded

# draws from a state of its own, unlike `random`: seeding `random` alone would not do
SMALL_TORCH = """
import random as _random
_state = _random.Random(2**40)
def manual_seed(seed): _state.seed(seed)
def seed(): _state.seed()
def get_rng_state(): return _state.getstate()
def set_rng_state(state): _state.setstate(state)
def rand(): return _state.random()
"""
HEAD = """
import json, random, sys
import numpy as np
from flame_fl.flower.seeding import seed_everything, seeded
def draw(torch=None):
    drawn = [random.random(), float(np.random.random())]
    return drawn if torch is None else [*drawn, float(torch.rand(*SIZE))]
said = {}
"""
InAProcess = Callable[[str], dict[str, Any]]


def _run(body: str, size: str, folder: Path | None) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [folder and str(folder), os.environ.get("PYTHONPATH")]))
    program = f"SIZE = {size}\n{HEAD}\n{body}\nprint(json.dumps(said))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=True,
        text=True,
        timeout=300,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(params=["small torch", pytest.param("torch", marks=pytest.mark.slow)])
def in_a_process(request: pytest.FixtureRequest, tmp_path: Path) -> InAProcess:
    """Run a body in a new process, which has not imported torch; returns its `said`."""
    if request.param == "torch":
        pytest.importorskip("torch")
        return lambda body: _run(body, "(1,)", None)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(SMALL_TORCH)
    return lambda body: _run(body, "()", tmp_path)


def draw() -> list[float]:
    """One number of each state that this process has."""
    return [random.random(), float(np.random.random())]  # noqa: NPY002


class TestWithoutTorch:
    @pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
    def test_the_same_seed_gives_the_same_numbers(self, seed: int) -> None:
        """From `random` and NumPy's legacy state."""
        seed_everything(seed)
        first = draw()
        seed_everything(seed)
        assert draw() == first

    def test_another_seed_gives_other_numbers(self) -> None:
        """From each of the two."""
        seed_everything(1)
        one = draw()
        seed_everything(2)
        assert all(a != b for a, b in zip(one, draw(), strict=True))

    def test_seeded_is_the_same_as_seeding(self) -> None:
        """What a node draws does not depend on the kind of sandbox."""
        seed_everything(5)
        alone = draw()
        with seeded(5):
            assert draw() == alone

    def test_seeded_leaves_no_trace(self) -> None:
        """The server, in the same process, draws what it would have drawn."""
        seed_everything(1)
        expected = [draw(), draw()]
        seed_everything(1)
        drawn = [draw()]
        with seeded(2):
            draw()
        assert [*drawn, draw()] == expected

    def test_seeded_leaves_no_trace_of_an_app_that_raises(self) -> None:
        """A failed message is no other run."""
        seed_everything(1)
        expected = draw()
        seed_everything(1)
        with pytest.raises(ZeroDivisionError), seeded(2):
            _ = [*draw(), 1 / 0]
        assert draw() == expected

    def test_nested_messages_each_have_their_own(self) -> None:
        """The inner one does not change what the outer one goes on with."""
        with seeded(1):
            draw()
            expected = draw()
        with seeded(1):
            draw()
            with seeded(2):
                draw()
            assert draw() == expected


class TestTorch:
    def test_imported_before_it_is_seeded_at_once(self, in_a_process: InAProcess) -> None:
        """The same seed, the same numbers, torch's too."""
        said = in_a_process("""
import torch
seed_everything(5); said["one"] = draw(torch)
seed_everything(5); said["two"] = draw(torch)
seed_everything(6); said["other"] = draw(torch)
""")
        assert said["one"] == said["two"]
        assert all(a != b for a, b in zip(said["one"], said["other"], strict=True))

    def test_imported_after_it_is_seeded_on_import(self, in_a_process: InAProcess) -> None:
        """A worker that imports torch late draws what one that had it draws."""
        said = in_a_process("""
assert "torch" not in sys.modules
seed_everything(5)
import torch
said["late"] = draw(torch)
seed_everything(5)
said["early"] = draw(torch)
""")
        assert said["late"] == said["early"]

    def test_imported_in_the_middle_of_a_message_it_is_seeded_for_that_message(self, in_a_process: InAProcess) -> None:
        """A restarted worker repeats what the first one did."""
        said = in_a_process("""
with seeded(5):
    import torch
    said["first"] = draw(torch)
with seeded(5):
    said["again"] = draw(torch)
""")
        assert said["first"] == said["again"]

    def test_imported_in_a_later_message_it_has_that_messages_seed(self, in_a_process: InAProcess) -> None:
        """Not the seed of the message that set the hook."""
        said = in_a_process("""
with seeded(4):
    pass
with seeded(5):
    import torch
    said["first"] = draw(torch)
with seeded(5):
    said["again"] = draw(torch)
""")
        assert said["first"] == said["again"]

    def test_imported_before_its_state_is_restored(self, in_a_process: InAProcess) -> None:
        """The server's torch goes on as if the node had been another process."""
        said = in_a_process("""
import torch
seed_everything(1); draw(torch); said["expected"] = draw(torch)
seed_everything(1); draw(torch)
with seeded(2):
    draw(torch)
said["drawn"] = draw(torch)
""")
        assert said["drawn"] == said["expected"]

    def test_imported_in_a_message_it_is_as_the_server_would_have_imported_it(self, in_a_process: InAProcess) -> None:
        """The server was seeded before; a node that imports torch first does not change what the server draws."""
        said = in_a_process("""
seed_everything(1)
with seeded(2):
    import torch
    draw(torch)
said["drawn"] = draw(torch)
seed_everything(1)
said["expected"] = draw(torch)
""")
        assert said["drawn"] == said["expected"]

    def test_imported_after_a_message_it_has_the_servers_seed(self, in_a_process: InAProcess) -> None:
        """The message's seed is over."""
        said = in_a_process("""
seed_everything(1)
with seeded(2):
    draw()
import torch
said["drawn"] = draw(torch)
seed_everything(1)
said["expected"] = draw(torch)
""")
        assert said["drawn"] == said["expected"]

    @pytest.mark.parametrize("where", ["after", "inside"])
    def test_of_a_process_that_was_never_seeded_is_not_seeded_by_a_message(
        self, in_a_process: InAProcess, where: str
    ) -> None:
        """Afterwards the states are as if nothing had happened."""
        body = "import torch" if where == "inside" else "pass"
        said = in_a_process(f"""
with seeded(2):
    {body}
import torch
said["drawn"] = float(torch.rand(*SIZE))
torch.manual_seed(0)
said["zero"] = float(torch.rand(*SIZE))
""")
        assert said["drawn"] != said["zero"]

    def test_is_not_imported_for_seeding(self, in_a_process: InAProcess) -> None:
        """An app without torch does not pay for it."""
        said = in_a_process("""
seed_everything(1)
with seeded(2):
    pass
said["torch"] = "torch" in sys.modules
""")
        assert said == {"torch": False}

    def test_that_is_not_installed_stays_an_import_error(self) -> None:
        """The hook finds nothing where there is nothing."""
        said = _run(
            """
import importlib.machinery
seed_everything(1)
sys.path[:] = []
try:
    import torch
except ModuleNotFoundError as err:
    said["name"] = err.name
""",
            "()",
            None,
        )
        assert said == {"name": "torch"}
