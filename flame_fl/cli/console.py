"""Where the commands print. Names from apps and data are escaped: they may hold markup or control characters."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

stdout = Console()
stderr = Console(stderr=True)


def printable(text: object) -> str:
    """Text from elsewhere for a log: no control characters."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text))


def escaped(text: object) -> str:
    """Text from elsewhere, safe to print: no control characters, and no markup."""
    return escape(printable(text))


def size(count: int) -> str:
    """A number of bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def live_line() -> Progress:
    """One line that moves while a run goes on: what is asked, how many DIZ answered, since when, the metrics."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} DIZ"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[metrics]}"),
        console=stdout,
        transient=True,
    )


@contextmanager
def stdout_kept_free() -> Iterator[None]:
    """Send what anybody prints meanwhile, child processes and C libraries included, to standard error.

    With `--json`, standard output is for one JSON object.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
