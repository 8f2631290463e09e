"""What a person sees while a run goes on: who approved, then one live line."""

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.table import Table

from flame_fl.cli.console import escaped, live_line, stdout, stdout_kept_free
from flame_fl.contract.manifest import Manifest
from flame_fl.simulation.run import Standing
from flame_fl.simulation.tally import Tally


class SilentWatcher:
    """Prints nothing, and lets nothing else print to standard output: for `--json`."""

    def __init__(self) -> None:
        self._free = stdout_kept_free()

    def __enter__(self) -> Self:
        self._free.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free.__exit__(kind, value, trace)

    def begins(self, manifest: Manifest, folder: Path, *, resumed: bool, left_out: tuple[str, ...]) -> None:
        """Nothing."""

    def standings(self, standings: list[Standing]) -> None:
        """Nothing."""

    def progress(self, tally: Tally, done: int, total: int) -> None:
        """Nothing."""


class ConsoleWatcher:
    """Prints the standing of each node, then a live line with the round, the nodes and the metrics."""

    def __init__(self, *, brief: bool = False) -> None:
        self._brief = brief
        self._progress = live_line()
        self._line = self._progress.add_task("starting", total=1, metrics="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begins(self, manifest: Manifest, folder: Path, *, resumed: bool, left_out: tuple[str, ...]) -> None:
        """Name the analysis."""
        stdout.print(f"Analysis [bold]{escaped(manifest.app)}[/]  digest {manifest.digest[:16]}…", highlight=False)
        if left_out:
            stdout.print(f"Left out of the derived analysis: {escaped(', '.join(left_out))}", highlight=False)
        if resumed:
            stdout.print(f"Resuming the run in {escaped(folder)}", soft_wrap=True, highlight=False)

    def standings(self, standings: list[Standing]) -> None:
        """Who approved."""
        if self._brief:
            stdout.print(f"{sum(not s.code for s in standings)} of {len(standings)} virtual DIZ approved")
            self._progress.start()
            return
        table = Table(title=f"{sum(not s.code for s in standings)} of {len(standings)} virtual DIZ approved")
        for column in ("DIZ", "patients", "approval", "by"):
            table.add_column(column)
        for s in standings[:40]:
            colour = "green" if s.code == 0 else "red"
            word = "refused" if s.code and s.status == "approved" else s.status  # approved, and yet it does not run
            said = word if s.code == 0 else f"{word} ({s.code})"
            table.add_row(escaped(s.node), str(s.patients or "–"), f"[{colour}]{said}[/]", escaped(s.by or "–"))
        if len(standings) > 40:
            rest = Counter(s.status for s in standings[40:])
            table.add_row("…", "", ", ".join(f"{n} {k}" for k, n in rest.items()), "")
        stdout.print(table)
        if len(standings) == 1:
            stdout.print("[yellow]One DIZ: Flower's own strategies wait for two unless they are told otherwise.[/]")
        self._progress.start()

    def progress(self, tally: Tally, done: int, total: int) -> None:
        """Move the line."""
        if not tally.batches:
            return
        batch = tally.batches[-1]
        shown = "  ".join(f"{escaped(k)} {v:.4g}" for k, v in list(batch.metrics.items())[:4])
        self._progress.update(
            self._line,
            description=f"exchange {batch.index}  {escaped(batch.message_type)}"
            + (f"  {escaped(tally.how_far)}" if tally.how_far else ""),
            completed=done,
            total=max(total, 1),
            metrics=shown,
        )
