"""What changed between two bundles: the files of both, and their lines where they are text.

A pure function over bytes that nobody has checked. Everything it returns can be shown as it is (`node.shown`), and
sizes, lines and steps are bounded; what is beyond a bound is said to have changed, and is not shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flame_fl.node.edits import Budget, Edit, edits, hunks
from flame_fl.node.shown import shown

MAX_TEXT_BYTES = 512 * 1024
MAX_ALL_TEXT_BYTES = 16 * 1024 * 1024
MAX_TEXT_LINES = 10_000
MAX_SHOWN_LINES = 2_000  # of one file
MAX_ALL_SHOWN_LINES = 10_000
MAX_LINE_CHARS = 300
MAX_STEPS = 4_000_000

How = Literal["added", "removed", "changed"]
Form = Literal["text", "binary", "too large"]


@dataclass(frozen=True)
class FileChange:
    """One file that is not the same in both bundles."""

    path: str
    how: How
    form: Form
    """Only of "text" are there lines."""
    bytes_before: int
    bytes_after: int
    lines: tuple[str, ...] = ()
    """Unified: "@@ -a,b +c,d @@", then lines that begin with " ", "-", "+" or a backslash; escaped and cut."""
    added: int = 0
    """Lines; of all of them, shown or not."""
    removed: int = 0
    left_out: int = 0
    """Lines of the difference that are not in `lines`."""


@dataclass(frozen=True)
class Diff:
    """Every file that differs, by path, and how many are the same in both."""

    files: tuple[FileChange, ...]
    same: int

    @property
    def added(self) -> int:
        """Lines that came, in all text files together."""
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        """Lines that went."""
        return sum(file.removed for file in self.files)


def diff(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Diff:
    """Compare two bundles' files by path and content. A renamed file is one removed and one added."""
    budget = Budget(MAX_STEPS)
    room, left = MAX_ALL_SHOWN_LINES, MAX_ALL_TEXT_BYTES
    found: list[FileChange] = []
    paths = sorted({*before, *after})
    for path in paths:
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        change = _changed(
            path, (old, new), most=min(left, MAX_TEXT_BYTES), budget=budget, room=min(room, MAX_SHOWN_LINES)
        )
        if change.form == "text":
            left -= change.bytes_before + change.bytes_after
        room -= len(change.lines)
        found.append(change)
    return Diff(tuple(found), len(paths) - len(found))


def _changed(
    path: str, contents: tuple[bytes | None, bytes | None], *, most: int, budget: Budget, room: int
) -> FileChange:
    """`most`: bytes of either content. `room`: lines that may be shown."""
    old, new = contents
    how: How = "added" if old is None else "removed" if new is None else "changed"
    sizes = (len(old or b""), len(new or b""))
    if max(sizes) > most:
        return FileChange(shown(path), how, "too large", *sizes)
    texts = (_lines(old), _lines(new))
    if texts[0] is None or texts[1] is None:
        return FileChange(shown(path), how, "binary", *sizes)
    if max(len(texts[0]), len(texts[1])) > MAX_TEXT_LINES:
        return FileChange(shown(path), how, "too large", *sizes)
    script = edits(texts[0], texts[1], budget)
    lines = _unified(script, texts[0], texts[1])
    added, removed = (sum(edit.tag == tag for edit in script) for tag in "+-")
    kept = tuple(shown(line, MAX_LINE_CHARS) for line in lines[:room])
    return FileChange(shown(path), how, "text", *sizes, kept, added, removed, len(lines) - len(kept))


def _lines(raw: bytes | None) -> list[str] | None:
    r"""A text's lines without their ends; None if it is no text. A file that does not end in a line end says so.

    Only LF ends a line: CR and U+2028 stay inside, where they are shown, or a difference in them would be invisible.
    """
    if not raw:
        return []
    if b"\0" in raw:
        return None
    try:
        lines = raw.decode().split("\n")
    except UnicodeDecodeError:
        return None
    if lines[-1]:
        lines[-1] += "\n"  # unlike the same line with an end; made visible when it is shown
    else:
        lines.pop()
    return lines


def _unified(script: list[Edit], before: list[str], after: list[str]) -> list[str]:
    out: list[str] = []
    for hunk in hunks(script):
        counts = [sum(edit.tag in tags for edit in hunk) for tags in (" -", " +")]
        starts = [at + (count > 0) for at, count in zip((hunk[0].before, hunk[0].after), counts, strict=True)]
        out.append(f"@@ -{starts[0]},{counts[0]} +{starts[1]},{counts[1]} @@")
        for edit in hunk:
            line = after[edit.after] if edit.tag == "+" else before[edit.before]
            out.append(edit.tag + line[: MAX_LINE_CHARS + 1].removesuffix("\n"))
            if line.endswith("\n"):
                out.append("\\ no line end")
    return out
