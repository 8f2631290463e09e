"""Follows a run at a hub to its end, and makes of it the folder and the report that a simulation leaves."""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from flame_fl.contract.errors import FlameError
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.report.facts import RunFacts
from flame_fl.report.write import write_report
from flame_fl.researcher.client import MAX_ARTEFACT_BYTES, HubClient, RunState
from flame_fl.researcher.errors import WaitingForApprovalError
from flame_fl.researcher.facts import Asked, Status, run_facts
from flame_fl.researcher.folder import LOG, artefact_path
from flame_fl.researcher.gathering import not_begun
from flame_fl.researcher.story import Story

_FIRST_WAIT, _LONGEST_WAIT = 0.3, 1.5
_LONGEST_FOR_STEWARDS = 5.0


class Watcher(Protocol):
    """Told of what happens, for a person to see."""

    def waits(self, state: RunState) -> None:
        """The ServerApp has not begun."""

    def changed(self, story: Story) -> None:
        """Something was told, or the run goes on waiting for stewards."""


@dataclass(frozen=True)
class Outcome:
    """A run's end."""

    facts: RunFacts
    folder: Path
    story: Story
    error: FlameError | None
    left_out: tuple[str, ...] = ()


def follow(client: HubClient, watcher: Watcher) -> tuple[Story, RunState]:
    """Watch until the run is over.

    Raises:
        UnreachableError: The hub is away for too long.
        FlameError: It does not know the run.
    """
    story, seen, wait = Story(), 0, _FIRST_WAIT
    while True:
        state = client.state()  # before the events: what was told before the end is then among them
        lines = client.events(seen)
        seen += len(lines)
        for line in lines:
            story.take(line)
        if lines:
            watcher.changed(story)
            wait = _FIRST_WAIT
        elif state.is_over:
            return story, state
        else:
            if not seen:
                watcher.waits(state)
            if story.is_waiting:
                watcher.changed(story)
            time.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_FOR_STEWARDS if story.is_waiting else _LONGEST_WAIT)


def conclude(client: HubClient, asked: Asked, story: Story, state: RunState, folder: Path) -> Outcome:
    """Fetch what the run left, and write its report.

    Raises:
        UnreachableError: The hub does not answer.
        VerificationError: A file is not what the hub announced.
        FlameError: The folder cannot be written.
    """
    left_out = _fetch(client, folder)
    (folder / LOG).parent.mkdir(exist_ok=True)
    (folder / LOG).write_text(client.log(), encoding="utf-8")
    error = verdict(story, state)
    status: Status = "finished" if error is None else "failed"
    started = story.batches[0].begun if story.batches else datetime.now(UTC)
    facts = run_facts(
        asked,
        story,
        status=status,
        reason="" if error is None else error.message,
        started=started,
        ended=datetime.now(UTC),
    )
    write_report(folder, facts)
    return Outcome(facts, folder, story, error, left_out)


def verdict(story: Story, state: RunState) -> FlameError | None:
    """What kept a run from finishing, None if nothing did."""
    if story.gathering is not None and story.gathering.phase == "ended":
        return not_begun(story.gathering, {node.name: (node.status, node.code) for node in story.standings()})
    return _refused(story) or _failed(story, state)


def _refused(story: Story) -> FlameError | None:
    """Every DIZ that was asked decided against it, or has not decided."""
    if story.all_pending:
        return WaitingForApprovalError(
            f"{_nobody(len(story.nodes))} has decided yet; nothing was computed.",
            mend="The request is filed at every DIZ: run the same command again once their stewards have decided.",
        )
    if story.nobody_approved:
        said = ", ".join(f"{node.code} {RefusalCode(node.code).name} at {node.name}" for node in story.standings())
        error = RefusedError(RefusalCode(min(node.code for node in story.standings())))
        error.message = f"Every DIZ refused: {said}."
        error.mend = "Ask their stewards; `flame app check` shows the terms."
        return error
    return None


def _failed(story: Story, state: RunState) -> FlameError | None:
    if state.is_good and story.nothing_came:
        return FlameError(f"Nothing came from any DIZ: {_why(story)}.", mend=f"{LOG} in the run's folder has more.")
    if state.is_good:
        return None
    details = " ".join(state.details.split())[:1000] or "the hub does not say why"
    if state.sub_status == "stopped":
        return FlameError("The run was stopped.", mend="Start it again.")
    return FlameError(f"The run failed: {details}", mend=f"{LOG} in the run's folder has what the ServerApp printed.")


def _why(story: Story) -> str:
    """Each node with its refusals, or that it failed or was silent."""
    said = []
    for node in story.standings():
        codes = [f"{code} {RefusalCode(code).name}" for code in sorted(node.refusals) if node.refusals[code]]
        codes += ["failed"] * bool(node.failures) + ["no answer"] * bool(node.silent)
        said.append(f"{', '.join(codes) or 'not asked'} at {node.name}")
    return "; ".join(said)


def _nobody(nodes: int) -> str:
    return "No DIZ" if nodes == 1 else f"None of the {nodes} DIZ"


def _fetch(client: HubClient, folder: Path) -> tuple[str, ...]:
    left_out = []
    for name, (size, sha256) in client.artefacts().items():
        target = artefact_path(folder, name)
        if target is None or size > MAX_ARTEFACT_BYTES:
            left_out.append(name)
            continue
        with suppress(FileExistsError):
            target.parent.mkdir(parents=True, exist_ok=True)
        client.fetch(name, size, sha256, target)
    return tuple(left_out)
