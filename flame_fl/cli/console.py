"""Where the commands print. Names from apps and data are escaped: they may hold markup or control characters."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

stdout = Console()
stderr = Console(stderr=True)


def escaped(text: object) -> str:
    """Text from elsewhere, safe to print: no markup, no control characters."""
    return escape("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text)))


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
