"""Where the commands print. Names from apps and data are escaped: they may hold markup or control characters."""

from rich.console import Console
from rich.markup import escape

stdout = Console()
stderr = Console(stderr=True)


def escaped(text: object) -> str:
    """Text from elsewhere, safe to print: no markup, no control characters."""
    return escape("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text)))
