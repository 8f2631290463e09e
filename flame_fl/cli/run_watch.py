"""What a person sees of a run at a hub: who approved, then one live line, as in a simulation."""

from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.table import Table

from flame_fl.cli.console import escaped, live_line, size, stdout
from flame_fl.contract.refusal import RefusalCode
from flame_fl.researcher.client import RunState
from flame_fl.researcher.duration import in_words
from flame_fl.researcher.gathering import listed
from flame_fl.researcher.story import NodeStory, Story


class SilentRunWatcher:
    """Prints nothing: for `--json`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def waits(self, state: RunState) -> None:
        """Nothing."""

    def changed(self, story: Story) -> None:
        """Nothing."""


class ConsoleRunWatcher:
    """A table of who approved, once they have said so, and a live line with the batch, the nodes and the metrics."""

    def __init__(self) -> None:
        self._shown = False
        self._said: tuple[str, ...] | None = None
        self._restarts, self._resumed, self._round = 0, 0, 0
        self._progress = live_line()
        self._line = self._progress.add_task("waiting for the hub", total=1, metrics="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def waits(self, state: RunState) -> None:
        """The ServerApp has not begun."""
        self._progress.update(self._line, description=f"{state.status} at the hub")

    def changed(self, story: Story) -> None:
        """Move the line; show who approved as soon as something is computed."""
        found = story.now()
        begun = story.gathering is not None and story.gathering.phase == "begun"
        if not self._shown and story.asked and (begun or found is not None):
            self._shown = True
            stdout.print(standings_table(story.standings()))
        self._log_waiting(story)
        self._log_progress(story)
        if found is None:
            approved = _approved(story.standings())
            said = "the ServerApp begins" if begun else waiting_line(story, datetime.now(UTC))
            self._progress.update(self._line, description=said, completed=approved, total=max(len(story.nodes), 1))
            return
        number, batch = found
        shown = "  ".join(f"{escaped(k)} {v:.4g}" for k, v in list(batch.metrics.items())[:4])
        how_far = "" if story.progress is None else f"  {story.progress.in_words}"
        self._progress.update(
            self._line,
            description=f"exchange {number}  {escaped(batch.kind)}{how_far}",
            completed=batch.replied + batch.refused,
            total=max(batch.total, 1),
            metrics=shown,
        )

    def _log_progress(self, story: Story) -> None:
        """Restarts for everybody; each round where no line moves."""
        for restart in story.restarts[self._restarts :]:
            stdout.print(f"[yellow]At the hub {escaped(restart.in_words)}[/]", highlight=False, soft_wrap=True)
        self._restarts = len(story.restarts)
        if (progress := story.progress) is None:
            return
        if progress.resumed != self._resumed:
            stdout.print(f"Resumed from round {progress.resumed} of {progress.rounds}", highlight=False)
        elif not stdout.is_terminal and progress.done != self._round:
            stdout.print(progress.in_words, highlight=False)
        self._resumed, self._round = progress.resumed, progress.done

    def _log_waiting(self, story: Story) -> None:
        """A log has no line that moves: one for each change of whom is waited for."""
        if stdout.is_terminal or story.gathering is None or not story.is_waiting:
            return
        if self._said != story.gathering.waiting_for:
            self._said = story.gathering.waiting_for
            stdout.print(waiting_line(story, datetime.now(UTC)), highlight=False, soft_wrap=True)


def waiting_line(story: Story, now: datetime) -> str:
    """Who has approved, who is waited for, and for how long: escaped, one line."""
    gathering = story.gathering
    if gathering is None or not story.is_waiting:
        return "asking every DIZ"
    approved = _approved(story.standings())
    names = escaped(listed(story.waiting_for())).replace("\n", " ")
    left = in_words(gathering.seconds_left(now))
    if names:
        return f"{approved} of {len(story.nodes)} DIZ approved, waiting for {names} ({left} left)"
    return f"{approved} of the {gathering.min_sites} DIZ needed approved, waiting for others to connect ({left} left)"


def left_out_line(nodes: list[NodeStory]) -> str:
    """Who took no part, and why: escaped, one line."""
    said = [f"{node.name} ({node.status}{f', {node.code}' if node.code else ''})" for node in nodes]
    return escaped(listed(said, most=20)).replace("\n", " ")


def standings_table(nodes: list[NodeStory]) -> Table:
    """Who approved, who did not and why."""
    table = Table(title=f"{_approved(nodes)} of {len(nodes)} DIZ approved")
    for column in ("DIZ", "approval", "why"):
        table.add_column(column)
    for node in nodes[:40]:
        colour = {"approved": "green", "pending": "yellow", "unknown": "white"}.get(node.status, "red")
        why = ""
        with suppress(ValueError):
            why = RefusalCode(node.code).reason
        said = node.status if not node.code else f"{node.status} ({node.code})"
        table.add_row(escaped(node.name), f"[{colour}]{said}[/]", escaped(why or "–"))
    if len(nodes) > 40:
        table.add_row("…", f"and {len(nodes) - 40} more", "")
    return table


def results_table(nodes: list[NodeStory]) -> Table:
    """What left each DIZ."""
    table = Table(title="What left each DIZ", title_justify="left")
    for column in ("DIZ", "approval", "replies", "left", "refusals", "failed", "silent"):
        table.add_column(column)
    for node in nodes:
        refused = ", ".join(f"{code} ×{count}" for code, count in sorted(node.refusals.items()) if count)
        table.add_row(
            escaped(node.name),
            node.status,
            str(node.messages),
            size(node.bytes_out),
            refused or (str(node.code) if node.code else "–"),
            str(node.failures or "–"),
            str(node.silent or "–"),
        )
    return table


def _approved(nodes: list[NodeStory]) -> int:
    """An approval that does not cover this run (908, say) is none for it."""
    return sum(node.status == "approved" and not node.code for node in nodes)
