"""Following a run to its end, at a hub that a test plays."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from flame_fl.contract.errors import FlameError, InputError, UnreachableError, VerificationError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import manifest_of
from flame_fl.contract.refusal import RefusedError
from flame_fl.flower.server_wish import Wish
from flame_fl.researcher import client as client_module
from flame_fl.researcher import follow as module
from flame_fl.researcher.client import HubClient, RunState
from flame_fl.researcher.errors import WaitingForApprovalError
from flame_fl.researcher.facts import Asked, run_facts
from flame_fl.researcher.folder import HubRun, artefact_path, find_run, make_folder, read_plan
from flame_fl.researcher.follow import conclude, follow, verdict
from flame_fl.researcher.hubs import Hub
from flame_fl.researcher.story import Story
from tests.support.gates import make_fab
from tests.unit.researcher.test_story import AT, STATUS, batch, over, reply

RUN = HubRun(7, "local", "p", "a/b", "d" * 64, "f" * 64, "now")


def state(sub_status: str = "completed", status: str = "finished", details: str = "") -> RunState:
    return RunState(status, sub_status, details, "p", "f" * 64)


class FakeHub:
    """Serves one run."""

    def __init__(self) -> None:
        self.states: list[dict] = []
        self.lines: list[str] = []
        self.files: dict[str, bytes] = {}
        self.hashes: dict[str, str] = {}
        self.failures: list[Exception | int] = []
        self.tokens: set[str] = set()
        self.wishes: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tokens.add(request.headers.get("authorization", ""))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return httpx.Response(failure)
        path = request.url.path.removeprefix("/v1/flame/runs/7")
        if (request.method, path) == ("PUT", "/wait"):
            self.wishes.append(request.content)
            return httpx.Response(204)
        if path == "":
            said = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return httpx.Response(200, json=said)
        if path == "/events":
            after = int(request.url.params["after"])
            return httpx.Response(200, text="".join(line + "\n" for line in self.lines[after : after + 2]))
        if path == "/log":
            return httpx.Response(200, text="printed")
        if path == "/artefacts":
            listed = [
                {"path": n, "bytes": len(d), "sha256": self.hashes.get(n, hashlib.sha256(d).hexdigest())}
                for n, d in self.files.items()
            ]
            return httpx.Response(200, json={"artefacts": listed})
        return httpx.Response(200, content=self.files[path.removeprefix("/artefacts/")])

    def say(self, status: str, sub_status: str = "", details: str = "") -> None:
        common = {"run_id": "7", "project": "p", "fab_sha256": "f" * 64}
        self.states.append({**common, "status": status, "sub_status": sub_status, "details": details})

    def tell(self, *events: dict) -> None:
        self.lines += [json.dumps({"at": AT, **event}) for event in events]


class Watcher:
    def __init__(self) -> None:
        self.waited, self.told = 0, 0

    def waits(self, state: RunState) -> None:
        self.waited += 1

    def changed(self, story: Story) -> None:
        self.told += 1


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def client(hub: FakeHub, tmp_path: Path, monkeypatch) -> HubClient:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(client_module.ssl, "create_default_context", lambda cafile: None)
    real = httpx.Client
    monkeypatch.setattr(
        client_module.httpx,
        "Client",
        lambda **options: real(transport=httpx.MockTransport(hub), headers=options["headers"]),
    )
    return HubClient(Hub("local", "hub:1", tmp_path / "ca", "flame_secret"), 7, patience_seconds=0.0)


@pytest.fixture
def asked() -> Asked:
    fab = read_fab(make_fab())
    return Asked(fab, manifest_of(fab), {}, "flame run app --hub local")


def test_a_run_is_watched_to_its_end(hub: FakeHub, client: HubClient) -> None:
    """Everything told before the end is read, in as many pieces as the hub gives it in."""
    hub.say("pending")
    hub.say("running")
    hub.say("finished", "completed")
    hub.tell(batch(nodes=1), reply(1), over(loss=1.0), batch(2, nodes=1), reply(1, 2), over(2, loss=0.5))
    watcher = Watcher()
    story, ended = follow(client, watcher)
    assert ended.is_good
    assert [r.metrics["loss"] for r in story.rounds()] == [1.0, 0.5]
    assert watcher.told == 3
    assert hub.tokens == {"Bearer flame_secret"}


def test_a_run_that_waits_is_said_to(hub: FakeHub, client: HubClient) -> None:
    """Until its ServerApp begins."""
    hub.say("pending")
    hub.say("pending")
    hub.say("finished", "stopped")
    watcher = Watcher()
    follow(client, watcher)
    assert (watcher.waited, watcher.told) == (2, 0)


def test_a_run_that_waits_for_stewards_is_shown_again_and_again(hub: FakeHub, client: HubClient, monkeypatch) -> None:
    """The time that is left grows less while nothing is told; the hub is asked more seldom meanwhile."""
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    for _ in range(20):
        hub.say("running")
    hub.say("finished", "stopped")
    hub.tell({"kind": "gather", "phase": "waiting", "ready": 1, "min_sites": 2, "until": AT, "waiting_for": []})
    watcher = Watcher()
    story, _ = follow(client, watcher)
    assert story.is_waiting
    assert watcher.told == 20
    assert max(waits) == 5.0


def test_a_wish_is_sent_once_the_hub_is_there(hub: FakeHub, client: HubClient) -> None:
    """As it was given."""
    client._patience = 60.0
    hub.failures = [httpx.ConnectError("x"), 503]
    client.set_wish(Wish(seconds=5, min_only=True))
    assert [json.loads(raw) for raw in hub.wishes] == [{"seconds": 5.0, "min_only": True}]


def test_a_finished_run_leaves_report_log_and_artefacts(
    hub: FakeHub, client: HubClient, asked: Asked, tmp_path: Path
) -> None:
    """A simulation's folder; what would write over our own files, or leave it, stays at the hub."""
    hub.say("finished", "completed")
    hub.tell(batch(nodes=1), reply(1, audit_head="ab"), over())
    hub.files = {"model.bin": b"m", "plots/a.txt": b"p", "result.json": b"forged", "../x": b"x", "hub-run.json": b"f"}
    story, ended = follow(client, Watcher())
    outcome = conclude(client, asked, story, ended, tmp_path)
    assert outcome.error is None
    assert set(outcome.left_out) == {"result.json", "../x", "hub-run.json"}
    assert (tmp_path / "model.bin").read_bytes() == b"m"
    assert (tmp_path / "plots" / "a.txt").read_bytes() == b"p"
    assert (tmp_path / "logs" / "server.log").read_text() == "printed"
    run = json.loads((tmp_path / "result.json").read_text())["run"]
    assert (run["status"], run["simulated"], run["policy"]) == ("finished", False, "each DIZ's steward decides")
    node = run["nodes"][0]
    assert (node["audit_head"], node["audit_verified"], node["patients"]) == ("ab", False, None)
    assert "DIZ-1" in (tmp_path / "report.html").read_text()


def test_what_arrives_other_than_announced_is_not_kept(
    hub: FakeHub, client: HubClient, asked: Asked, tmp_path: Path
) -> None:
    """Neither under its name nor beside it."""
    hub.say("finished", "completed")
    hub.files, hub.hashes = {"m": b"changed"}, {"m": "0" * 64}
    story, ended = follow(client, Watcher())
    with pytest.raises(VerificationError):
        conclude(client, asked, story, ended, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("events", "ended", "kind", "code"),
    [
        ([], state(), None, 0),
        ([batch(1, STATUS, 1), reply(1, kind=STATUS, code=902)], state("failed"), WaitingForApprovalError, 4),
        ([batch(1, STATUS, 1), reply(1, kind=STATUS, code=901)], state("failed"), RefusedError, 3),
        ([batch(1, nodes=1), reply(1, code=908)], state("failed"), RefusedError, 3),
        ([batch(1, nodes=1), reply(1, code=908)], state(), RefusedError, 3),
        ([batch(1, nodes=1), reply(1, code=905)], state(), FlameError, 1),
        ([batch(1, nodes=1), reply(1, ok=False)], state(), FlameError, 1),
        ([batch(1, nodes=1), reply(1)], state("failed", details="no luck"), FlameError, 1),
        ([batch(1, nodes=1)], state("failed", details="it was ended by signal 9"), FlameError, 1),
        ([], state("stopped"), FlameError, 1),
    ],
)
def test_what_kept_a_run_from_finishing(events: list, ended: RunState, kind, code: int) -> None:
    """Exit codes as decided: 3 refused by all, 4 all pending, 1 anything else."""
    story = Story()
    for event in events:
        story.take(json.dumps({"at": AT, **event}))
    error = verdict(story, ended)
    assert (error is None) == (kind is None)
    if error is not None:
        assert type(error) is kind
        assert error.exit_code == code
        assert ended.details in error.message


def test_who_failed_is_said() -> None:
    """A ServerApp may end well without a single reply: its run did not."""
    story = Story()
    for event in (batch(1, nodes=3), reply(1, code=905), reply(2, ok=False), reply(3, code=5)):
        story.take(json.dumps({"at": AT, **event}))
    error = verdict(story, state())
    assert error is not None
    assert "905 SANDBOX_FAILED at DIZ-1; no answer at DIZ-2; failed at DIZ-3" in error.message
    assert [node.status for node in story.standings()] == ["approved", "unknown", "unknown"]


def test_a_smallest_code_speaks_for_all() -> None:
    """And the sentence has every node's."""
    story = Story()
    for event in (batch(1, STATUS), reply(1, kind=STATUS, code=908), reply(2, kind=STATUS, code=901)):
        story.take(json.dumps({"at": AT, **event}))
    error = verdict(story, state("failed"))
    assert isinstance(error, RefusedError)
    assert error.code == 901
    assert "908 TERMS_VIOLATED at DIZ-1, 901 NOT_APPROVED at DIZ-2" in error.message


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("x"), UnreachableError),
        (401, InputError),
        (404, InputError),
        (403, FlameError),
        (500, FlameError),
    ],
)
def test_a_hub_that_says_no(hub: FakeHub, client: HubClient, failure, kind: type[FlameError]) -> None:
    """One sentence each; a token is in none."""
    hub.say("running")
    hub.failures = [failure]
    with pytest.raises(kind) as raised:
        client.state()
    assert "secret" not in str(raised.value)


def test_a_hub_that_restarts_is_waited_for(hub: FakeHub, client: HubClient) -> None:
    """For a while."""
    client._patience = 60.0
    hub.say("running")
    hub.failures = [httpx.ConnectError("x"), 503, httpx.ReadTimeout("x")]
    assert client.state().status == "running"


def test_a_report_holds_what_ran(asked: Asked) -> None:
    """Refusals once each, the configuration as the hub's side told it."""
    story = Story()
    begun = {"kind": "run", "phase": "begun", "seed": 1, "run_config": {"b": 2, "a": 1}}
    for event in (
        begun,
        batch(1, STATUS),
        reply(1, kind=STATUS, code=902),
        reply(2, kind=STATUS, status="approved", code=0),
    ):
        story.take(json.dumps({"at": AT, **event}))
    now = datetime.now(UTC)
    facts = run_facts(asked, story, status="failed", reason="r", started=now, ended=now)
    assert list(facts.run_config.items()) == [("a", 1), ("b", 2)]
    one, two = facts.nodes
    assert [(r.code, r.count) for r in one.refusals] == [(902, 1)]
    assert (one.status, two.status, two.refusals) == ("pending", "approved", ())


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/../b", ".x", "a/.b", "a\\b", "a\nb", "report.html", "logs/x"]
)
def test_names_from_a_hub_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    """Whatever a hub says."""
    assert artefact_path(tmp_path, name) is None
    assert artefact_path(tmp_path, "a/b.txt") == tmp_path / "a" / "b.txt"


def test_a_folder_is_one_run_s(tmp_path: Path, monkeypatch) -> None:
    """It is found again; another run, or other files, are not touched."""
    folder = make_folder(tmp_path / "flame-runs" / "b-dddddddd-local-7", RUN)
    assert make_folder(folder, RUN) == folder
    assert read_plan(folder) == RUN
    monkeypatch.chdir(tmp_path)
    assert find_run("local", 7, None) == Path("flame-runs/b-dddddddd-local-7")
    assert find_run("local", 8, None) is None
    assert find_run("other", 7, None) is None
    with pytest.raises(InputError, match="another run"):
        make_folder(folder, HubRun(**{**RUN.__dict__, "run_id": 8}))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        make_folder(tmp_path / "mine", RUN)
