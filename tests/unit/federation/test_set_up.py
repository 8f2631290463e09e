"""Making the parts: real keys and settings, and by default nothing offered and nothing approved."""

from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.access import Access
from flame_fl.contract.errors import InputError
from flame_fl.federation import set_up as module
from flame_fl.federation.plan import Home
from flame_fl.federation.set_up import Wish, set_up
from flame_fl.hub.config import HubFiles
from flame_fl.hub.config import load_config as load_hub
from flame_fl.node.wiring import open_node, open_store
from tests.integration.runs import PLAIN
from tests.support.engine import ROOT

APP = ROOT / "use_cases" / "methylation-age"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_without_demo_nothing_is_offered_and_nothing_approved(home: Home) -> None:
    """Default deny: the gate of each node has no rule, no data, no approval."""
    said: list[str] = []
    plan = set_up(home, Wish(nodes=2), said.append)
    assert (plan.nodes, plan.project, plan.demo, plan.image) == (("DIZ-1", "DIZ-2"), "demo", None, None)
    for name, port in zip(plan.nodes, plan.node_ports, strict=True):
        node = open_node(home.node(name))
        assert node.config.demo.approve_content == ()
        assert node.data.registry.all() == {}
        assert node.config.sandbox.kind == "docker"
        assert node.config.hub.address == f"127.0.0.1:{plan.hub_port}"
        assert node.config.supernode.port == port
        with ExitStack() as closing:
            assert open_store(node, closing).approvals() == []
    assert any("DIZ-2" in line for line in said)


def test_everybody_is_in_the_project(home: Home) -> None:
    """One researcher and every node; the hub listens on this machine only."""
    plan = set_up(home, Wish(nodes=2, project="a-project"), lambda line: None)
    access = Access.model_validate_json(HubFiles(home.hub.state).access.read_bytes())
    assert plan.project == "a-project"
    assert sorted(access.nodes) == ["DIZ-1", "DIZ-2"]
    assert list(access.users) == ["researcher"]
    assert load_hub(home.hub).hub.host == "127.0.0.1"
    assert home.token.read_text() not in HubFiles(home.hub.state).access.read_text()


def test_another_wish_for_the_same_folder_is_refused(home: Home) -> None:
    """Other nodes or another app; nothing of what is there changes."""
    set_up(home, Wish(nodes=1), lambda line: None)
    before = {p: p.read_bytes() for p in home.path.rglob("*") if p.is_file()}
    for wish in (Wish(nodes=2), Wish(nodes=1, demo=APP)):
        with pytest.raises(InputError, match="another federation") as err:
            set_up(home, wish, lambda line: None)
        assert "down --purge" in err.value.mend
    assert set_up(home, Wish(nodes=1), lambda line: None) == home.read()
    assert {p: p.read_bytes() for p in home.path.rglob("*") if p.is_file()} == before


def test_an_app_that_makes_no_data_cannot_be_demonstrated(home: Home) -> None:
    """Said before anything is made."""
    with pytest.raises(InputError, match="no data can be made for it"):
        set_up(home, Wish(nodes=2, demo=PLAIN), lambda line: None)
    assert not home.path.exists()


def test_a_demonstration_offers_data_and_approves_one_content(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each node its own store, registered and audited by DEMO; the rule names the content's hash and nothing else."""
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.manifest import manifest_of
    from flame_fl.flower.bundle import build_fab

    prepared: list[list[str]] = []

    def prepare(tool: str, arguments: list[str], app: Path) -> None:
        prepared.append(arguments)
        for number, name in enumerate(("DIZ-1", "DIZ-2")):
            folder, ids = home.data / name / "methylation", [f"s{n}" for n in range(30 + number)]
            folder.mkdir(parents=True)
            pq.write_table(
                pa.table({"patient_id": ids, "sample_id": ids, "age": [50] * len(ids)}), folder / "samples.parquet"
            )
            pq.write_table(pa.table({"sample_id": ids, "cg1": [0.5] * len(ids)}), folder / "betas.parquet")

    monkeypatch.setattr(module, "run_app_tool", prepare)
    monkeypatch.setattr(module, "_image", lambda wish, say: "sha256:" + "0" * 64)
    plan = set_up(home, Wish(nodes=2, demo=APP, seed=7), lambda line: None)
    assert prepared == [["prepare", "--out", str(home.data), "--nodes", "2", "--seed", "7"]]
    content = manifest_of(read_fab(build_fab(APP))).fab_content_sha256
    for number, name in enumerate(plan.nodes):
        node = open_node(home.node(name))
        assert node.config.demo.approve_content == (content,)
        assert node.images.of("any/app") == "sha256:" + "0" * 64
        (store,) = node.data.registry.all().values()
        version = store.current
        assert (store.name, version.patients, version.spec.mock) == ("methylation", 30 + number, False)
        assert (version.mode, version.spec.pseudonyms) == ("in-place", False)
        assert version.spec.folder == home.data / name / "methylation"
        with ExitStack() as closing:
            rows = [entry["body"] for entry, _ in open_store(node, closing).audit_rows()]
        assert [body["by"] for body in rows if "store" in body] == ["DEMO"]
    assert (plan.project, plan.demo) == ("methylation-age", str(APP))


def test_given_data_are_copied(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is made by the app's tool; each node offers its own folder's copy."""

    def never(*_: object) -> None:
        raise AssertionError("the app's tool was called")

    for number, name in enumerate(("DIZ-1", "DIZ-2")):
        folder, ids = tmp_path / "given" / name / "methylation", [f"s{n}" for n in range(30 + number)]
        folder.mkdir(parents=True)
        table = {"patient_id": ids, "sample_id": ids, "age": [50] * len(ids)}
        pq.write_table(pa.table(table), folder / "samples.parquet")
        pq.write_table(pa.table({"sample_id": ids, "cg1": [0.5] * len(ids)}), folder / "betas.parquet")
    monkeypatch.setattr(module, "run_app_tool", never)
    monkeypatch.setattr(module, "_image", lambda wish, say: "sha256:" + "0" * 64)
    plan = set_up(home, Wish(nodes=2, demo=APP, data=tmp_path / "given"), lambda line: None)
    stores = [next(iter(open_node(home.node(name)).data.registry.all().values())) for name in plan.nodes]
    assert [store.current.patients for store in stores] == [30, 31]
    assert all(store.current.spec.folder.is_relative_to(home.data) for store in stores)


@pytest.mark.parametrize("demo", [None, APP], ids=["no app", "a node without data"])
def test_given_data_that_do_not_fit(home: Home, tmp_path: Path, demo: Path | None) -> None:
    """Data without an app, or without a folder for each node: nothing is made."""
    (tmp_path / "given" / "DIZ-1" / "methylation").mkdir(parents=True)
    with pytest.raises(InputError, match=r"--demo|no folder DIZ-2/methylation"):
        set_up(home, Wish(nodes=2, demo=demo, data=tmp_path / "given"), lambda line: None)
    assert not home.path.exists()


def test_an_image_that_is_not_on_the_engine(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor is there an engine: nothing is made."""
    from flame_fl.contract.errors import UnreachableError

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(UnreachableError):
        set_up(home, Wish(nodes=1, image="an-image"), lambda line: None)
    assert not home.file.exists()
