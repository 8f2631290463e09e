"""A FLAME Hub beside a gate: asks it in the background, answers the gate from memory, reports back.

Rules this module follows:

- The gate never waits for the Hub, and nothing here raises towards it: what cannot be said is a refusal.
- An outage keeps the last answers until they are too old. A restart keeps them with their age, so it opens nothing,
  and keeps what was approved before, so what was withdrawn stays withdrawn.
- A report says the state of a run and a percentage. One that fails disturbs nothing; the newest is tried again.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from flame_fl.contract.errors import FlameError
from flame_fl.contract.ports import ExternalApprovals, NoExternal, Verdict
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Event
from flame_fl.node.external import (
    FlameHubSection,
    HubAnswer,
    HubIds,
    HubStatus,
    RunState,
    hub_verdict,
    refused,
    report_of,
)
from flame_fl.node.external_files import HubFiles, IdsFile, Key, read_answers, read_secret, write_answers
from flame_fl.node.flame_hub import HubApi, HubError, Seen, require_library

REPORT_SECONDS = 5.0
_ROUND_SECONDS = 60.0
_RETRY_SECONDS, _LONGEST_PAUSE_SECONDS = 30.0, 60.0
_TICK_SECONDS = 0.5


class Hub(Protocol):
    """What is asked: the Hub's API, or a stand-in."""

    def project_node(self, hub_id: str) -> Seen:
        """This node's row of a project."""
        ...

    def analysis_node(self, hub_id: str) -> Seen:
        """This node's row of an analysis."""
        ...

    def report(self, row: str, state: RunState, progress: int) -> None:
        """Tell how far a run is."""
        ...

    def close(self) -> None:
        """End its connections."""
        ...


def open_external(
    section: FlameHubSection | None, state: Path, say: Callable[[str], None] = lambda line: None
) -> ExternalApprovals:
    """What a node's gate asks: the FLAME Hub of its settings, or nobody.

    Args:
        section: `[flame_hub]` of node.toml; None if it has none.
        state: The node's state folder.
        say: Told what a person should see.

    Raises:
        InputError: The Hub's client is not installed, or its secret cannot be used.
    """
    if section is None:
        return NoExternal()
    require_library()
    files = HubFiles(state)
    read_secret(files.secret)
    return FlameHub(section, files, lambda: HubApi(section, files), say=say)


class FlameHub:
    """One FLAME Hub's approvals, as a gate asks for them (`ExternalApprovals`), and reports to it.

    `verdict` and `report` are quick and for any thread; `refresh`, `deliver` and `keep` use the network and are for
    one thread.

    Args:
        section: Which Hub, and how often.
        files: Where ids and answers lie.
        connect: Makes a connection; called again after a failure.
        say: Told what a person should see: our own words, never the Hub's.
        now: Seconds since 1970.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        section: FlameHubSection,
        files: HubFiles,
        connect: Callable[[], Hub],
        *,
        say: Callable[[str], None] = lambda line: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section, self._files, self._connect = section, files, connect
        self._say, self._now, self._clock = say, now, clock
        self._lock = threading.Lock()
        self._ids = IdsFile(files)
        self._answers = read_answers(files, section)
        self._hub: Hub | None = None
        self._tried: dict[Key, float] = {}
        self._due: dict[str, tuple[RunState, int]] = {}
        self._sent: dict[str, float] = {}
        self._retry_at = -_RETRY_SECONDS
        self._failed_rounds = 0
        self.failure = ""
        """Why the Hub could not be asked last time; "" if it could."""

    # --- for the gate ----------------------------------------------------------------------------------------------

    def verdict(self, project: str, analysis: str) -> Verdict:
        """What the last answers come to now. No network; never raises.

        Args:
            project: Our id of the project.
            analysis: The analysis's digest.
        """
        try:
            return self._verdict(self._ids.now(), project, analysis)
        except Exception:  # whatever it is, it must not be the gate's, and must not open it
            return refused(RefusalCode.PENDING_APPROVAL, "FLAME Hub", "could not be consulted")

    def _verdict(self, ids: HubIds, project: str, analysis: str) -> Verdict:
        project_id, analysis_id = ids.projects.get(project), ids.analyses.get(analysis)
        if project_id is None or analysis_id is None:
            what = "project" if project_id is None else "analysis"
            return refused(RefusalCode.PENDING_APPROVAL, what, "is not mapped to one of the FLAME Hub")
        with self._lock:
            of_project = self._answers.get(("project", project_id))
            of_analysis = self._answers.get(("analysis", analysis_id))
        now = self._now()
        for what, answer in (("project", of_project), ("analysis", of_analysis)):
            verdict = hub_verdict(what, answer, now, self._section.max_age_seconds)
            if verdict.code is not None:
                return verdict
        if of_analysis is not None and of_analysis.project not in {"", project_id}:
            return refused(RefusalCode.PENDING_APPROVAL, "analysis", "belongs to another project at the FLAME Hub")
        return verdict

    def report(self, analysis: str, state: RunState, progress: int) -> None:
        """Note how far a run is, to be sent soon; only the newest is. No network; never raises.

        Args:
            analysis: The analysis's digest; one that is not mapped is not reported.
            state: How far.
            progress: Percent.
        """
        hub_id = self._ids.now().analyses.get(analysis)
        if self._section.report_progress and hub_id is not None:
            percent = 100 if state is RunState.FINISHED else max(0, min(100, progress))
            with self._lock:
                self._due[hub_id] = (state, percent)

    # --- for the thread that asks ----------------------------------------------------------------------------------

    def keep(self, stop: threading.Event) -> None:
        """Ask and report until `stop` is set. For a thread of its own; never raises."""
        again = self._clock()
        while not stop.is_set():
            if self._clock() >= again:
                self.refresh()
                again = self._clock() + self._pause()
            self.deliver()
            stop.wait(_TICK_SECONDS)
        self._disconnect()

    def refresh(self) -> None:
        """Ask about everything that is mapped, the longest unasked first. Bounded in time; never raises."""
        try:
            failure, whole = self._round(self._ids.now())
        except FlameError as err:
            failure, whole = str(err), True
        except Exception as err:  # a thread's own errors go nowhere; the kind is enough, its text may hold anything
            failure, whole = f"The FLAME Hub could not be asked ({type(err).__name__}).", True
        self._failed_rounds = self._failed_rounds + 1 if whole else 0
        if failure:
            self._disconnect()  # a new connection, and a new token, next time
        self._note(failure)

    def _round(self, ids: HubIds) -> tuple[str, bool]:
        """Ask about each; returns what failed last, and whether all questions would have."""
        wanted: list[Key] = [("project", one) for one in ids.projects.values()]
        wanted += [("analysis", one) for one in ids.analyses.values()]
        self._forget(set(wanted))
        began, failure = self._clock(), ""
        try:
            for key in sorted(wanted, key=lambda key: self._tried.get(key, float("-inf"))):
                if self._clock() - began > _ROUND_SECONDS:
                    return failure or "The FLAME Hub answers too slowly for all that is mapped.", False
                self._tried[key] = self._clock()
                try:
                    self._ask(key)
                except HubError as err:
                    failure = str(err)
                    if err.whole:
                        return failure, True
        finally:
            write_answers(self._files, self._section, self._answers)
        return failure, False

    def _ask(self, key: Key) -> None:
        kind, hub_id = key
        asked_at = self._now()
        hub = self._connected()
        seen = hub.project_node(hub_id) if kind == "project" else hub.analysis_node(hub_id)
        before = self._answers.get(key)
        approved = seen.status is HubStatus.APPROVED or (before is not None and before.was_approved)
        with self._lock:
            self._answers[key] = HubAnswer(seen.status, asked_at, approved, seen.row, seen.project)
        if before is None or before.status is not seen.status:
            self._say(f"FLAME Hub: {kind} {hub_id} is {seen.status} for this node")

    def _forget(self, wanted: set[Key]) -> None:
        """What is no longer mapped."""
        with self._lock:
            self._answers = {key: answer for key, answer in self._answers.items() if key in wanted}
            self._due = {hub_id: report for hub_id, report in self._due.items() if ("analysis", hub_id) in wanted}
        self._tried = {key: when for key, when in self._tried.items() if key in wanted}
        self._sent = {hub_id: when for hub_id, when in self._sent.items() if ("analysis", hub_id) in wanted}

    def deliver(self) -> None:
        """Send the reports that are due. Never raises."""
        with self._lock:
            due = dict(self._due)
        for hub_id, report in due.items():
            now, answer = self._clock(), self._answers.get(("analysis", hub_id))
            if now < self._retry_at:
                return
            last = self._sent.get(hub_id)
            soon = last is not None and now - last < REPORT_SECONDS
            if answer is not None and answer.row and (report[0].final or not soon):
                self._send(hub_id, answer.row, report)

    def _send(self, hub_id: str, row: str, report: tuple[RunState, int]) -> None:
        try:
            self._connected().report(row, *report)
        except Exception as err:  # progress is a courtesy
            said = str(err) if isinstance(err, FlameError) else type(err).__name__
            self._say(f"FLAME Hub: progress was not reported: {said}")
            self._retry_at = self._clock() + _RETRY_SECONDS
            self._disconnect()
            return
        self._sent[hub_id] = self._clock()
        with self._lock:
            if self._due.get(hub_id) == report:
                del self._due[hub_id]

    def _pause(self) -> float:
        """Longer after failures, so that a Hub in trouble is left alone."""
        poll = float(self._section.poll_seconds)
        return max(poll, min(_LONGEST_PAUSE_SECONDS, poll * 2.0 ** min(self._failed_rounds, 10)))

    def _note(self, failure: str) -> None:
        if failure != self.failure:
            self._say(f"FLAME Hub: {failure}" if failure else "FLAME Hub: answers again")
        self.failure = failure

    def _connected(self) -> Hub:
        if self._hub is None:
            self._hub = self._connect()
        return self._hub

    def _disconnect(self) -> None:
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.close()


def report_to(hub: FlameHub, store: Store, event: Event) -> None:
    """Tell the Hub how far a run is, after one step of the gate. Nothing of the data: a state and a percentage."""
    record = store.approval(event.analysis) if event.analysis else None
    if record is None:
        return
    most = sum(rules.per_run for rules in record.terms.messages.values()) if record.terms else 0
    said = report_of(event.kind, event.code, store.legs_of(str(event.run_id)), most)
    if said is not None:
        hub.report(event.analysis, *said)
