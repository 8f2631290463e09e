"""A contract test: the parts of Flower that are nobody's public API exist and behave as flame_fl.flower relies on.

A new Flower should break these tests, and not a node.
"""

import ast
import importlib
import inspect
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from flwr.app import Message, Metadata, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.cli.utils import AppPathDepthError
from flwr.common.config import parse_config_args
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.date import now
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from packaging.requirements import Requirement

from flame_fl.contract.fab import read_fab
from flame_fl.flower import identity
from flame_fl.flower.identity import SERVER_NODE_ID, flower_run, set_message_id, take_identity
from tests.support.gates import make_fab

ROOT = Path(__file__).parents[3]


@pytest.fixture
def nobody() -> Iterator[None]:
    """A process without an identity, as a new one is; whatever this one had is given back."""
    fields = ("_task_id", "_run_id", "_node_id")
    before = [getattr(TaskIdentity, field) for field in fields]
    for field in fields:
        setattr(TaskIdentity, field, None)
    yield
    for field, value in zip(fields, before, strict=True):
        setattr(TaskIdentity, field, value)


def flower_names() -> list[tuple[str, str]]:
    """Every (module, name) that flame_fl.flower imports from Flower, private or not."""
    found = set()
    for file in sorted((ROOT / "flame_fl" / "flower").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flwr":
                found.update((node.module or "", alias.name) for alias in node.names)
    return sorted(found)


@pytest.mark.parametrize(("module", "name"), flower_names())
def test_what_is_imported_exists(module: str, name: str) -> None:
    """Also what is imported only when it is needed, and modules of packages."""
    assert hasattr(importlib.import_module(module), name) or importlib.import_module(f"{module}.{name}")


def test_the_installed_flower_is_in_the_range_that_is_asked_for() -> None:
    """The tests below speak for the versions that pip may install."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (flower,) = [r for r in map(Requirement, stated) if r.name == "flwr"]
    assert version("flwr") in flower.specifier


def test_every_distribution_asks_for_the_same_flower() -> None:
    """A message passes between them."""
    files = [ROOT / "pyproject.toml", ROOT / "strategies" / "pyproject.toml", *ROOT.glob("use_cases/*/pyproject.toml")]
    stated = [Requirement(r) for f in files for r in tomllib.loads(f.read_text())["project"]["dependencies"]]
    assert len({str(r.specifier) for r in stated if r.name == "flwr"}) == 1


class TestTheTask:
    @pytest.mark.usefixtures("nobody")
    def test_flower_lets_nobody_without_an_identity_write_messages(self) -> None:
        """That is what identities are taken for."""
        with pytest.raises(RuntimeError, match=r"run_id|node_id|task_id"):
            Message(RecordDict(), 5, "train")

    @pytest.mark.usefixtures("nobody")
    def test_a_process_that_took_one_writes_messages_of_its_run(self) -> None:
        """From the server's node, which is 1, unless another is named."""
        take_identity(7)
        metadata = Message(RecordDict(), 5, "train").metadata
        assert (metadata.run_id, metadata.src_node_id, metadata.dst_node_id) == (7, SERVER_NODE_ID, 5)

    @pytest.mark.usefixtures("nobody")
    def test_a_later_run_replaces_the_earlier(self) -> None:
        """One process simulates several runs, one after the other."""
        take_identity(7)
        take_identity(8, 42)
        assert (TaskIdentity.run_id, TaskIdentity.node_id) == (8, 42)

    @pytest.mark.usefixtures("nobody")
    def test_a_message_can_be_given_its_id(self) -> None:
        """Flower has no setter for it: its SuperLink does that."""
        take_identity(7)
        message = Message(RecordDict(), 5, "train")
        assert message.metadata.message_id == ""
        set_message_id(message, "5-1")
        assert message.metadata.message_id == "5-1"

    @pytest.mark.usefixtures("nobody")
    def test_a_reply_answers_the_message_of_that_id(self) -> None:
        """Strategies match replies to messages by it."""
        take_identity(7)
        message = Message(RecordDict(), 5, "train", group_id="3")
        set_message_id(message, "5-1")
        metadata = Message(RecordDict(), reply_to=message).metadata
        assert (metadata.reply_to_message_id, metadata.dst_node_id, metadata.group_id) == ("5-1", SERVER_NODE_ID, "3")


class TestTheRun:
    def test_it_says_which_bundle_and_which_overrides(self) -> None:
        """As Flower's own would for the same FAB."""
        fab = read_fab(make_fab())
        run = flower_run(7, fab, {"rounds": 5})
        told = (run.run_id, run.fab_id, run.fab_version, run.fab_hash, run.override_config)
        assert told == (7, "someone/an-app", "1", fab.sha256, {"rounds": 5})

    def test_it_is_flowers_class(self) -> None:
        """A ServerApp that looks at grid.run finds what it would find elsewhere."""
        assert type(flower_run(7, read_fab(make_fab()), {})) is Run is identity.FlowerRun

    def test_overrides_are_a_copy(self) -> None:
        """A ServerApp that writes into them does not change what the gates were told."""
        overrides: dict[str, bool | int | float | str] = {"rounds": 5}
        flower_run(7, read_fab(make_fab()), overrides).override_config["rounds"] = 6
        assert overrides == {"rounds": 5}


class TestShapes:
    def test_a_node_has_an_id_and_a_name(self) -> None:
        """`grid.get_nodes` returns these."""
        node = NodeInfo(node_id=10_001, name="DIZ-1")
        assert (node.node_id, node.name) == (10_001, "DIZ-1")

    def test_a_message_is_described_by_these_words(self) -> None:
        """`app_host` writes metadata itself: the message comes from a frame."""
        words = {"run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id"}
        words |= {"created_at", "ttl", "message_type"}
        parameters = inspect.signature(Metadata).parameters
        assert words <= set(parameters)
        assert all(p.default is not p.empty for name, p in parameters.items() if name not in words)

    def test_a_message_can_be_made_of_content_and_metadata(self) -> None:
        """Flower keeps this form for itself; it is not among its overloads."""
        metadata = Metadata(7, "5-1", 1, 5, "", "3", now().timestamp(), 60.0, "train")
        message = Message(content=RecordDict(), metadata=metadata)  # type: ignore[call-overload]
        assert message.metadata.message_id == "5-1"

    def test_now_is_in_utc(self) -> None:
        """Its timestamp is what messages are dated by."""
        offset = now().utcoffset()
        assert offset is not None
        assert not offset

    def test_the_builder_takes_a_folder_and_gives_bytes(self) -> None:
        """Without writing a file."""
        assert list(inspect.signature(build_fab_from_disk).parameters) == ["app"]
        assert isinstance(build_fab_from_disk(ROOT / "tests" / "integration" / "apps" / "toy"), bytes)

    def test_a_path_too_deep_is_an_error_with_words(self) -> None:
        """`build_fab` shows them."""
        assert "a/b.py" in str(AppPathDepthError("a/b.py", 1))

    def test_overrides_are_a_list_of_strings(self) -> None:
        """As typed; keys come back dotted."""
        assert parse_config_args(["a.b=1", "c='x'"]) == {"a.b": 1, "c": "x"}
