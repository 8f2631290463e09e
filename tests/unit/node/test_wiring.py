"""How a node's settings become a gate."""

from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.places import Places
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.store import Store
from flame_fl.node.config import NodeFiles
from flame_fl.node.wiring import Node, make_sandbox, open_gate, open_node, require_mock
from flame_fl.sandbox.docker import DockerSandbox
from flame_fl.sandbox.subprocess import SubprocessSandbox
from tests.unit.node.conftest import IMAGE, change, cohort, offer
from tests.unit.node.decisions import approve_stated, ask, fab_of

OTHER = "sha256:" + "cd" * 32


def test_docker_is_the_default(files: NodeFiles, places: Places) -> None:
    """Making the sandbox needs no engine; its kind is runtime and image."""
    sandbox = make_sandbox(open_node(places))
    assert isinstance(sandbox, DockerSandbox)
    assert sandbox.kind_of("any/app") == f"runc:{IMAGE}"


def test_the_runtime_and_the_apps_own_image_are_bound(files: NodeFiles, places: Places) -> None:
    """Another of either is another binding."""
    change(places, 'runtime = "runc"', 'runtime = "runsc"')
    change(places, "[limits]", f'"someone/an-app" = "{OTHER}"\n[limits]')
    sandbox = make_sandbox(open_node(places))
    assert sandbox.kind_of("someone/an-app") == f"runsc:{OTHER}"
    assert sandbox.kind_of("someone/else") == f"runsc:{IMAGE}"


def test_no_image_is_said_in_the_binding(files: NodeFiles, places: Places) -> None:
    change(places, f'default = "{IMAGE}"', 'default = ""')
    assert make_sandbox(open_node(places)).kind_of("any/app") == "runc:no image"


def test_real_data_need_a_real_sandbox(node: Node, tmp_path: Path) -> None:
    """The subprocess sandbox serves mock data only; one real store is enough to refuse it."""
    assert isinstance(make_sandbox(node), SubprocessSandbox)
    real = offer(node, "real", cohort(tmp_path / "real"), mock=False)
    with pytest.raises(InputError, match="'real' holds real data") as err:
        make_sandbox(node)
    assert 'kind = "docker"' in err.value.mend
    with pytest.raises(InputError):
        require_mock({"real": real})


def test_the_nodes_limits_hold_in_the_gate(node: Node, places: Places) -> None:
    """An approved analysis that asks for more is 908."""
    change(places, "pids = 512", "pids = 10")
    node = open_node(places)
    store = Store(node.files.database)
    gate = open_gate(node, store)
    fab = fab_of()
    approve_stated(gate, fab)
    assert ask(gate, fab) is RefusalCode.TERMS_VIOLATED
    store.close()


def test_no_node_is_said(places: Places) -> None:
    with pytest.raises(InputError, match="no node here"):
        open_node(places)


def test_a_state_that_is_none_is_not_touched(files: NodeFiles, places: Places) -> None:
    """Exit code 5: evidence is missing or another's."""
    files.database.write_bytes(b"something else")
    with pytest.raises(VerificationError):
        open_node(places)
    assert files.database.read_bytes() == b"something else"
    files.database.unlink()
    with pytest.raises((VerificationError, InputError)):
        open_node(places)
    assert not files.database.exists()


def test_a_node_without_its_data_key_has_no_gate(node: Node) -> None:
    """Another key would give the same data other names, and the same patients other pseudonyms."""
    node.files.data_key.unlink()
    store = Store(node.files.database)
    with pytest.raises(InputError, match="data cannot be read") as err:
        open_gate(node, store)
    assert "Restore it" in err.value.mend
    store.close()
