"""What a ServerApp's process keeps at the hub, and finds there."""

from pathlib import Path

import httpx
import pytest

from flame_fl.flower.server_checkpoint import Checkpoints
from flame_fl.flower.server_client import RunOverError


class Relay:
    """Keeps files, in the order in which they came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.order: list[str] = []
        self.error: Exception | None = None

    def send_checkpoint(self, name: str, path: Path) -> None:
        if self.error is not None:
            raise self.error
        self.files[name] = path.read_bytes()
        self.order.append(name)

    def checkpoint_files(self) -> list[str]:
        return list(self.files)

    def fetch_checkpoint(self, name: str, target: Path) -> None:
        target.write_bytes(self.files[name])


@pytest.fixture
def relay() -> Relay:
    return Relay()


def write(folder: Path, slot: str, text: str) -> None:
    """A round's files, put in place as a strategy does."""
    for name in ("model.safetensors", "state.safetensors", "state.json", ".half"):
        path = folder / "1" / slot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(".new")
        new.write_text(text)
        new.replace(path)


def test_only_what_is_new_is_sent_and_the_description_last(relay: Relay, tmp_path: Path) -> None:
    """So the hub's copy is never described before it is there."""
    kept = Checkpoints(relay, tmp_path / "c")
    assert kept.fetch() is None
    kept.begin([7, 2**63])
    write(kept.folder, "odd", "1")
    kept.send()
    slot = ["1/odd/model.safetensors", "1/odd/state.safetensors", "1/odd/state.json"]
    assert relay.order == ["begun.json", *slot]
    write(kept.folder, "even", "2")
    kept.send()
    kept.send()
    assert relay.order[4:] == [name.replace("odd", "even") for name in slot]
    again = Checkpoints(relay, tmp_path / "d")
    assert again.fetch() == (7, 2**63)
    assert (again.folder / "1" / "even" / "state.json").read_text() == "2"
    again.send()
    assert len(relay.order) == 7  # the hub has them


def test_a_name_that_leads_out_is_passed_over(relay: Relay, tmp_path: Path) -> None:
    """Whoever wrote it."""
    relay.files = {"../out": b"x", "/out": b"x", "in": b"y"}
    Checkpoints(relay, tmp_path / "c").fetch()
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["in"]


@pytest.mark.parametrize("text", ["", "{}", '{"sites": [null]}', "[]", '{"sites": 3}'])
def test_a_beginning_that_cannot_be_read_is_none(relay: Relay, tmp_path: Path, text: str) -> None:
    """The run gathers its nodes."""
    relay.files = {"begun.json": text.encode()}
    assert Checkpoints(relay, tmp_path / "c").fetch() is None


def test_a_hub_that_takes_none_is_told_of_once(relay: Relay, tmp_path: Path, capsys) -> None:
    """The run goes on; the round after is tried again."""
    kept = Checkpoints(relay, tmp_path / "c")
    kept.begin([7])
    relay.error = httpx.HTTPError("413")
    kept.send()
    kept.send()
    assert capsys.readouterr().err.count("does not keep this run's checkpoints: 413") == 1
    relay.error = None
    kept.send()
    assert relay.order == ["begun.json"]


def test_a_run_that_is_over_ends(relay: Relay, tmp_path: Path) -> None:
    """No message leaves."""
    kept = Checkpoints(relay, tmp_path / "c")
    kept.begin([7])
    relay.error = RunOverError()
    with pytest.raises(RunOverError):
        kept.send()
