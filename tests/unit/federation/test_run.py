"""Starting and ending a federation: waited for until it is ready, and the researcher's list of hubs kept in order."""

import tomllib
from pathlib import Path

import pytest

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.federation import run as module
from flame_fl.federation.plan import Home, Plan
from flame_fl.federation.processes import Part
from flame_fl.federation.run import end_all, start_all, status
from flame_fl.federation.set_up import Wish, hubs_entry, set_up

OTHER = '[other]\naddress = "hub.example.org:8000"\nca = "ca.crt"\ntoken_file = "t"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def hubs(tmp_path: Path) -> Path:
    return tmp_path / "config" / "hubs.toml"


@pytest.fixture
def plan(home: Home) -> Plan:
    """Two nodes, set up for real, nothing started."""
    return set_up(home, Wish(nodes=2), lambda line: None)


class Programs:
    """In the place of processes: which `run`, and what a part writes to its log when it is started."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.up, self.order = home, set[str](), list[str]()
        self.fails: set[str] = set()
        monkeypatch.setattr(module, "start", self.start)
        monkeypatch.setattr(module, "end", self.end)
        monkeypatch.setattr(module, "running", lambda home, name: 1 if name in self.up else None)
        monkeypatch.setattr(module, "_remove_containers", lambda home, plan: self.order.append("containers"))

    def start(self, home: Home, part: Part) -> None:
        self.order.append(f"start {part.name}")
        if part.name in self.fails:
            return
        self.up.add(part.name)
        log, supernode = home.log(part.name), part.state / "logs" / "supernode.log"
        for path in (log, supernode):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write("hub is ready\nconnected to the SuperNode; waiting\nSuperNode ID: 1\n")

    def end(self, home: Home, name: str) -> bool:
        self.order.append(f"end {name}")
        was = name in self.up
        self.up.discard(name)
        return was


@pytest.fixture
def programs(home: Home, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(home, monkeypatch)


def test_hub_first_then_each_node(home: Home, plan: Plan, hubs: Path, programs: Programs) -> None:
    """Each said when it is up; then the researcher's side knows where the hub is."""
    said: list[str] = []
    start_all(home, plan, hubs, said.append)
    assert said == ["hub is up", "DIZ-1 is up", "DIZ-2 is up"]
    assert programs.order == ["start hub", "start DIZ-1", "start DIZ-2"]
    entry = tomllib.loads(hubs.read_text())["local"]
    assert entry == hubs_entry(home, plan)["local"]
    assert entry["address"] == f"127.0.0.1:{plan.hub_port}"
    assert Path(entry["ca"]).is_file()
    assert Path(entry["token_file"]).read_text()
    assert oct(hubs.stat().st_mode & 0o777) == "0o600"


def test_a_part_that_ended_is_named_with_its_log(home: Home, plan: Plan, hubs: Path, programs: Programs) -> None:
    """Nothing after it is started, and the researcher is not told of a hub that is not there."""
    programs.fails.add("DIZ-1")
    with pytest.raises(FlameError, match="DIZ-1 ended while it started") as err:
        start_all(home, plan, hubs, lambda line: None)
    assert str(home.log("DIZ-1")) in err.value.mend
    assert "start DIZ-2" not in programs.order
    assert not hubs.exists()


def test_a_part_that_is_never_ready(
    home: Home, plan: Plan, hubs: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READY_SECONDS", 0.3)
    monkeypatch.setattr(module, "_HUB_READY", "another word")
    with pytest.raises(FlameError, match="hub is not ready after"):
        start_all(home, plan, hubs, lambda line: None)


def test_words_of_an_earlier_start_do_not_count(
    home: Home, plan: Plan, hubs: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is appended to: only what comes after this start says that it is ready."""
    home.log("hub").parent.mkdir(parents=True)
    home.log("hub").write_text("hub is ready\n")
    monkeypatch.setattr(module, "_READY_SECONDS", 0.3)
    monkeypatch.setattr(module, "start", lambda home, part: programs.up.add(part.name))
    with pytest.raises(FlameError, match="hub is not ready"):
        start_all(home, plan, hubs, lambda line: None)


def test_what_runs_is_not_waited_for(home: Home, plan: Plan, hubs: Path, programs: Programs) -> None:
    """A second `up` starts what is missing."""
    start_all(home, plan, hubs, lambda line: None)
    programs.up.discard("DIZ-2")
    said: list[str] = []
    start_all(home, plan, hubs, said.append)
    assert said == ["DIZ-2 is up"]


def test_down_ends_nodes_first_and_leaves_the_state(home: Home, plan: Plan, hubs: Path, programs: Programs) -> None:
    """Containers after the programs; other hubs and the state stay."""
    hubs.parent.mkdir()
    hubs.write_text(OTHER)
    start_all(home, plan, hubs, lambda line: None)
    assert set(tomllib.loads(hubs.read_text())) == {"other", "local"}
    programs.order.clear()
    assert end_all(home, hubs, purge=False) == ["DIZ-2", "DIZ-1", "hub"]
    assert programs.order == ["end DIZ-2", "end DIZ-1", "end hub", "containers"]
    assert set(tomllib.loads(hubs.read_text())) == {"other"}
    assert home.read() == plan
    assert end_all(home, hubs, purge=False) == []


def test_another_hub_called_local_is_not_touched(home: Home, plan: Plan, hubs: Path, programs: Programs) -> None:
    """Its entry is not ours to remove."""
    hubs.parent.mkdir()
    hubs.write_text(OTHER.replace("other", "local"))
    end_all(home, hubs, purge=False)
    assert hubs.read_text() == OTHER.replace("other", "local")


def test_purge_removes_the_folder(home: Home, plan: Plan, hubs: Path, programs: Programs) -> None:
    end_all(home, hubs, purge=True)
    assert not home.path.exists()


def test_purge_of_what_is_no_federation_removes_nothing(tmp_path: Path, hubs: Path) -> None:
    """A mistyped --home."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    with pytest.raises(InputError, match="no federation"):
        end_all(Home(tmp_path / "precious"), hubs, purge=True)
    assert (tmp_path / "precious" / "file").exists()


def test_without_an_engine_there_is_no_container(
    home: Home, plan: Plan, hubs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`down` works where Docker is not."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    assert end_all(home, hubs, purge=False) == []


def test_status(home: Home, plan: Plan, programs: Programs) -> None:
    """Each part with its process, or none."""
    programs.up.add("hub")
    found = status(home)
    assert found["processes"] == {"hub": 1, "DIZ-1": None, "DIZ-2": None}
    assert (found["hub"], found["project"], found["demo"]) == (f"127.0.0.1:{plan.hub_port}", "demo", None)
