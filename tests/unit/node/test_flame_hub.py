"""A FLAME Hub beside a gate: what it remembers, when it asks and reports, and that nothing of it raises."""

import builtins
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.ports import NoExternal
from flame_fl.contract.refusal import RefusalCode
from flame_fl.node import flame_hub, hub_approvals
from flame_fl.node.external import FlameHubSection, HubIds, HubStatus, RunState, with_analysis, with_project, without
from flame_fl.node.external_files import HubFiles, read_ids, write_ids
from flame_fl.node.flame_hub import HubError, Seen
from flame_fl.node.hub_approvals import FlameHub, open_external

PROJECT, DIGEST = "blood-clock", "ab" * 32
P, A, NODE, ROW = (str(uuid4()) for _ in range(4))
PENDING, REJECTED, WITHDRAWN = (
    RefusalCode.PENDING_APPROVAL,
    RefusalCode.NOT_APPROVED,
    RefusalCode.WITHDRAWN_OR_EXPIRED,
)


class FakeHub:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.rows: dict[str, Seen | Exception] = {}
        self.asked: list[str] = []
        self.reports: list[tuple[str, str, int]] = []
        self.refuses: Exception | None = None
        self.connections = self.closed = 0

    def connect(self) -> "FakeHub":
        self.connections += 1
        return self

    def project_node(self, hub_id: str) -> Seen:
        return self._answer(hub_id)

    analysis_node = project_node

    def report(self, row: str, state: RunState, progress: int) -> None:
        if self.refuses:
            raise self.refuses
        self.reports.append((row, state.value, progress))

    def close(self) -> None:
        self.closed += 1

    def _answer(self, hub_id: str) -> Seen:
        self.asked.append(hub_id)
        answer = self.rows.get(hub_id, Seen(HubStatus.GONE))
        if isinstance(answer, Exception):
            raise answer
        return answer


class Desk:
    """A node with a mapping, a Hub that says what a test says, and a clock that the test turns."""

    def __init__(self, state: Path, **settings: object) -> None:
        self.files, self.hub, self.time, self.said = HubFiles(state), FakeHub(), 1000.0, list[str]()
        self.section = FlameHubSection.model_validate(
            {"core_url": "https://c", "auth_url": "https://a", "client_id": "c", "node_id": NODE, **settings}
        )
        write_ids(self.files, with_analysis(with_project(HubIds(), PROJECT, P), DIGEST, A))
        self.start()

    def start(self) -> None:
        """As after a restart."""
        self.flame = FlameHub(
            self.section,
            self.files,
            self.hub.connect,
            say=self.said.append,
            now=lambda: self.time,
            clock=lambda: self.time,
        )

    def set(self, project: HubStatus | Exception, analysis: HubStatus | Exception, of: str = P) -> None:
        self.hub.rows[P] = project if isinstance(project, Exception) else Seen(project, ROW)
        self.hub.rows[A] = analysis if isinstance(analysis, Exception) else Seen(analysis, ROW, of)

    def after(self, project: HubStatus | Exception, analysis: HubStatus | Exception) -> RefusalCode | None:
        """What the gate is told once the Hub was asked."""
        self.set(project, analysis)
        self.flame.refresh()
        return self.code

    @property
    def code(self) -> RefusalCode | None:
        return self.flame.verdict(PROJECT, DIGEST).code


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


OK, NO, OPEN = HubStatus.APPROVED, HubStatus.REJECTED, HubStatus.PENDING
DOWN = HubError("does not answer", whole=True)
ODD = HubError("unreadable")


class TestVerdict:
    def test_nothing_before_the_first_answer(self, desk: Desk) -> None:
        """A node that just started."""
        assert desk.code == PENDING
        assert "not asked" in desk.flame.verdict(PROJECT, DIGEST).detail

    @pytest.mark.parametrize(
        ("project", "analysis", "code"),
        [
            (OK, OK, None),
            (OPEN, OK, PENDING),
            (OK, OPEN, PENDING),
            (NO, OK, REJECTED),
            (OK, NO, REJECTED),
            (HubStatus.GONE, OK, PENDING),
            (OK, HubStatus.UNKNOWN, PENDING),
            (DOWN, OK, PENDING),
            (OK, DOWN, PENDING),
            (ODD, OK, PENDING),
            (OK, ValueError("x"), PENDING),
        ],
    )
    def test_both_must_be_approved(
        self, desk: Desk, project: HubStatus | Exception, analysis: HubStatus | Exception, code: RefusalCode | None
    ) -> None:
        """The project and the analysis, each at this node."""
        assert desk.after(project, analysis) == code

    @pytest.mark.parametrize("later", [NO, OPEN, HubStatus.GONE])
    @pytest.mark.parametrize("which", [0, 1])
    def test_what_was_approved_and_is_not_is_withdrawn_also_after_a_restart(
        self, desk: Desk, later: HubStatus, which: int
    ) -> None:
        """Before the Hub was asked again, too: the files remember."""
        assert desk.after(OK, OK) is None
        assert desk.after(*((later, OK) if which == 0 else (OK, later))) == WITHDRAWN
        desk.start()
        assert desk.code == WITHDRAWN
        desk.set(DOWN, DOWN)
        desk.flame.refresh()
        assert desk.code == WITHDRAWN

    def test_what_is_approved_again_runs_again(self, desk: Desk) -> None:
        """The Hub's word is necessary, not final; this DIZ's own approval is asked beside it."""
        assert [desk.after(OK, OK), desk.after(OK, NO), desk.after(OK, OK)] == [None, WITHDRAWN, None]

    def test_an_outage_closes_once_the_answers_are_too_old(self, desk: Desk) -> None:
        """Not before, and a restart meanwhile neither opens nor closes anything."""
        assert desk.after(OK, OK) is None
        desk.set(DOWN, DOWN)
        desk.time += desk.section.max_age_seconds
        desk.flame.refresh()
        assert desk.code is None
        desk.start()
        assert desk.code is None
        desk.time += 1
        assert desk.code == PENDING
        desk.start()
        assert desk.code == PENDING
        assert desk.after(OK, OK) is None

    def test_a_slow_answer_counts_from_when_it_was_asked(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the Hub decided while it answered is not covered."""

        def slow(hub_id: str) -> Seen:
            desk.time += 250
            return Seen(OK, ROW)

        monkeypatch.setattr(desk.hub, "_answer", slow)
        desk.flame.refresh()
        desk.flame.refresh()  # a round ends after a minute: the analysis is asked about in the next
        assert "too old" in desk.flame.verdict(PROJECT, DIGEST).detail

    def test_a_restart_opens_nothing_that_was_pending(self, desk: Desk) -> None:
        """Nor what was approved at the Hub for another node."""
        desk.after(OK, OPEN)
        desk.start()
        assert desk.code == PENDING
        desk.after(OK, OK)
        desk.section = desk.section.model_copy(update={"node_id": P})
        desk.start()
        assert desk.code == PENDING

    def test_unmapped_at_once(self, desk: Desk) -> None:
        """By another process, without the Hub being asked."""
        assert desk.after(OK, OK) is None
        write_ids(desk.files, without(read_ids(desk.files), DIGEST))
        assert desk.code == PENDING
        assert "not mapped" in desk.flame.verdict(PROJECT, DIGEST).detail
        assert desk.flame.verdict("other", DIGEST).code == PENDING
        assert desk.flame.verdict("", "").code == PENDING

    def test_mapped_to_another_one(self, desk: Desk) -> None:
        """Its approval is not that of the first."""
        assert desk.after(OK, OK) is None
        other = str(uuid4())
        write_ids(desk.files, with_analysis(without(read_ids(desk.files), DIGEST), DIGEST, other))
        assert desk.code == PENDING
        desk.flame.refresh()
        assert desk.code == PENDING  # the Hub has no such row
        desk.hub.rows[other] = Seen(OK, ROW, P)
        desk.flame.refresh()
        assert desk.code is None

    def test_an_analysis_of_another_project(self, desk: Desk) -> None:
        """Approved, and not for what it is approved here."""
        desk.set(OK, OK, of=str(uuid4()))
        desk.flame.refresh()
        assert desk.code == PENDING
        assert "another project" in desk.flame.verdict(PROJECT, DIGEST).detail

    def test_a_disk_that_is_full_opens_nothing(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """The failure is told; what the Hub takes back still counts."""
        assert desk.after(OK, OK) is None

        def full(*_: object) -> None:
            raise FlameError("no room")

        monkeypatch.setattr(hub_approvals, "write_answers", full)
        assert desk.after(OK, NO) == WITHDRAWN
        assert "no room" in desk.flame.failure

    def test_a_bug_of_ours_is_a_refusal(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """The gate gets an answer, whatever happens."""
        assert desk.after(OK, OK) is None
        monkeypatch.setattr(hub_approvals, "hub_verdict", lambda *_: 1 / 0)
        assert desk.code == PENDING


class TestRefresh:
    def test_an_outage_is_told_once_and_ends_once(self, desk: Desk) -> None:
        """And each change of a status."""
        desk.after(OK, OPEN)
        for _ in range(3):
            desk.after(DOWN, DOWN)
        desk.after(OK, OK)
        told = [line for line in desk.said if "answer" in line]
        assert told == ["FLAME Hub: does not answer", "FLAME Hub: answers again"]
        assert sum(f"analysis {A} is" in line for line in desk.said) == 2

    def test_after_an_outage_of_all_nothing_more_is_asked(self, desk: Desk) -> None:
        """A Hub in trouble is left alone, and connected to anew."""
        desk.after(DOWN, OK)
        assert desk.hub.asked == [P]
        assert desk.hub.closed == desk.hub.connections == 1

    def test_one_row_that_cannot_be_read_does_not_starve_the_others(self, desk: Desk) -> None:
        """Whichever it is: what was longest untried comes first."""
        for bad in (DOWN, ODD):
            desk.hub.asked.clear()
            desk.set(bad, OK)
            for _ in range(4):
                desk.flame.refresh()
                desk.time += 1
            assert A in desk.hub.asked

    def test_a_round_is_bounded_in_time(self, tmp_path: Path) -> None:
        """A Hub that takes its time for each of many gets asked about the rest next time."""
        desk = Desk(tmp_path)
        ids = HubIds()
        for n in range(50):
            ids = with_analysis(ids, f"{n:064x}", str(uuid4()))
        write_ids(desk.files, ids)

        def slow(hub_id: str) -> Seen:
            desk.time += 19
            desk.hub.asked.append(hub_id)
            return Seen(OPEN)

        desk.hub._answer = slow  # type: ignore[method-assign]
        desk.flame.refresh()
        assert len(desk.hub.asked) == 4
        desk.flame.refresh()
        assert len(set(desk.hub.asked)) == 8

    def test_what_is_no_longer_mapped_is_forgotten(self, desk: Desk) -> None:
        """The file does not grow."""
        desk.after(OK, OK)
        desk.flame.report(DIGEST, RunState.RUNNING, 1)
        write_ids(desk.files, HubIds())
        desk.flame.refresh()
        desk.flame.deliver()
        assert A not in desk.files.answers.read_text()
        assert desk.hub.reports == []

    @pytest.mark.parametrize("error", [ValueError("hunter2"), MemoryError("hunter2"), RecursionError("hunter2")])
    def test_never_raises_nor_tells_what_an_unknown_error_says(self, desk: Desk, error: Exception) -> None:
        """Its kind is enough."""
        desk.after(error, error)
        assert type(error).__name__ in desk.flame.failure
        assert "hunter2" not in "".join(desk.said) + desk.flame.failure

    def test_pauses_grow_with_failures_to_a_minute(self, desk: Desk) -> None:
        """And end with them."""
        pauses = []
        for _ in range(5):
            desk.after(DOWN, DOWN)
            pauses.append(desk.flame._pause())
        assert pauses == [20, 40, 60, 60, 60]
        desk.after(OK, OK)
        assert desk.flame._pause() == 10

    def test_a_thread_keeps_asking_until_told_to_stop(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """And reports, and closes its connection."""
        monkeypatch.setattr(hub_approvals, "_TICK_SECONDS", 0.001)
        desk.set(OK, OK)
        desk.flame.report(DIGEST, RunState.STARTING, 0)
        stop = threading.Event()
        thread = threading.Thread(target=desk.flame.keep, args=(stop,))
        thread.start()
        for _ in range(2000):
            if desk.hub.reports and desk.code is None:
                break
            stop.wait(0.005)
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert desk.hub.reports == [(ROW, "starting", 0)]
        assert desk.hub.closed == desk.hub.connections


class TestReport:
    def send(self, desk: Desk, state: RunState, progress: int, later: float = 0.0) -> None:
        desk.time += later
        desk.flame.report(DIGEST, state, progress)
        desk.flame.deliver()

    def test_at_most_one_in_five_seconds_but_an_end_at_once(self, desk: Desk) -> None:
        """The newest of those between is the one that is sent."""
        desk.after(OK, OK)
        for progress in range(8):
            self.send(desk, RunState.RUNNING, progress, later=1)
        self.send(desk, RunState.FINISHED, 8)
        assert desk.hub.reports == [(ROW, "executing", 0), (ROW, "executing", 5), (ROW, "executed", 100)]
        desk.flame.deliver()
        assert len(desk.hub.reports) == 3

    @pytest.mark.parametrize(("said", "sent"), [(-3, 0), (250, 100)])
    def test_a_percentage_is_one(self, desk: Desk, said: int, sent: int) -> None:
        """The Hub takes 0 to 100."""
        desk.after(OK, OK)
        self.send(desk, RunState.FAILED, said)
        assert desk.hub.reports == [(ROW, "failed", sent)]

    def test_only_if_the_node_wants_it(self, tmp_path: Path) -> None:
        """`report_progress = false`."""
        desk = Desk(tmp_path, report_progress=False)
        desk.after(OK, OK)
        self.send(desk, RunState.RUNNING, 5)
        assert desk.hub.reports == []

    def test_not_for_what_is_not_mapped_nor_before_the_row_is_known(self, desk: Desk) -> None:
        """Once it is, it is sent."""
        desk.flame.report("cd" * 32, RunState.RUNNING, 5)
        self.send(desk, RunState.RUNNING, 5)
        assert desk.hub.reports == []
        desk.after(OK, OK)
        desk.flame.deliver()
        assert desk.hub.reports == [(ROW, "executing", 5)]

    @pytest.mark.parametrize("error", [DOWN, ODD, ValueError("hunter2")])
    def test_a_failure_disturbs_nothing_and_the_newest_is_tried_again(self, desk: Desk, error: Exception) -> None:
        """After half a minute."""
        desk.after(OK, OK)
        desk.hub.refuses = error
        self.send(desk, RunState.RUNNING, 5)
        desk.hub.refuses = None
        self.send(desk, RunState.FINISHED, 100, later=29)
        assert desk.hub.reports == []
        assert desk.code is None
        desk.time += 1
        desk.flame.deliver()
        assert desk.hub.reports == [(ROW, "executed", 100)]
        assert "hunter2" not in "".join(desk.said)


class TestOpening:
    def test_without_the_section_nobody_is_asked(self, tmp_path: Path) -> None:
        """And nothing stands in the way."""
        external = open_external(None, tmp_path)
        assert isinstance(external, NoExternal)
        assert external.verdict(PROJECT, DIGEST).code is None

    def test_a_missing_secret_is_told_at_the_start(self, desk: Desk, tmp_path: Path) -> None:
        """Before a gate runs that could never open."""
        with pytest.raises(InputError, match=r"flame-hub\.secret"):
            open_external(desk.section, tmp_path)

    def test_a_missing_library_is_told_with_the_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each of them."""
        for name in flame_hub.LIBRARIES:
            monkeypatch.setattr(flame_hub.importlib, "import_module", missing(name))
            with pytest.raises(InputError) as caught:
                flame_hub.require_library()
            assert name in caught.value.message
            assert "pip install 'flame-fl[flame-hub]'" in caught.value.mend

    def test_a_broken_library_is_not_explained_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Something that it needs itself is missing."""
        monkeypatch.setattr(flame_hub.importlib, "import_module", missing("other", of="flame_hub"))
        with pytest.raises(ModuleNotFoundError):
            flame_hub.require_library()


def missing(name: str, of: str = "") -> Callable[[str], Any]:
    """An import that fails for want of a module."""

    def load(module: str) -> object:
        if module == (of or name):
            raise ModuleNotFoundError(name=name)
        return builtins

    return load
