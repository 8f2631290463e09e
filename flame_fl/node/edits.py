"""The difference of two sequences of lines, at a cost that is bounded whatever the lines are.

The shortest edit script by E. W. Myers, "An O(ND) Difference Algorithm and Its Variations" (Algorithmica 1, 1986):
the standard library's difflib has no such bound. Where the budget ends, the lines that differ are replaced as a whole;
that is a correct difference too, only a longer one.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Tag = Literal[" ", "-", "+"]
MAX_EDITS = 1500
_CONTEXT = 3


@dataclass
class Budget:
    """Steps that are left, for all files of one comparison together."""

    steps: int


class Edit(NamedTuple):
    """One line: kept (" "), removed ("-") or added ("+"), with its index before and after, from 0."""

    tag: Tag
    before: int
    after: int


def edits(before: Sequence[str], after: Sequence[str], budget: Budget) -> list[Edit]:
    """How `before` becomes `after`, line by line."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    ends = (len(before), len(after))
    while min(ends) > start and before[ends[0] - 1] == after[ends[1] - 1]:
        ends = (ends[0] - 1, ends[1] - 1)
    middle = _middle(before[start : ends[0]], after[start : ends[1]], budget)
    return [
        *(Edit(" ", i, i) for i in range(start)),
        *(Edit(edit.tag, edit.before + start, edit.after + start) for edit in middle),
        *(Edit(" ", ends[0] + i, ends[1] + i) for i in range(len(before) - ends[0])),
    ]


def hunks(script: Sequence[Edit]) -> Iterator[Sequence[Edit]]:
    """The changes with the lines around them; changes that are near each other are together."""
    changed = [at for at, edit in enumerate(script) if edit.tag != " "]
    first = 0
    for number, at in enumerate(changed):
        last = number + 1 == len(changed)
        if last or changed[number + 1] - at > 2 * _CONTEXT:
            yield script[max(0, changed[first] - _CONTEXT) : at + _CONTEXT + 1]
            first = number + 1


def _middle(before: Sequence[str], after: Sequence[str], budget: Budget) -> list[Edit]:
    """As `edits`, for sequences whose first and last lines differ, or of which one is empty."""
    trace = _search(before, after, budget) if before and after else None
    if trace is None:
        removed = [Edit("-", i, 0) for i in range(len(before))]
        return [*removed, *(Edit("+", len(before), j) for j in range(len(after)))]
    script: list[Edit] = []
    x, y = len(before), len(after)
    for count in range(len(trace) - 1, 0, -1):
        row, k = trace[count], x - y
        down = _goes_down(row, k, count)
        from_x = row[k + count + 1 + (1 if down else -1)]
        from_y = from_x - k - (1 if down else -1)
        while x > from_x + (not down) and y > from_y + down:
            x, y = x - 1, y - 1
            script.append(Edit(" ", x, y))
        x, y = from_x, from_y
        script.append(Edit("+" if down else "-", x, y))
    script += [Edit(" ", i, i) for i in range(x - 1, -1, -1)]
    script.reverse()
    return script


def _search(before: Sequence[str], after: Sequence[str], budget: Budget) -> "list[array[int]] | None":
    """For each number of edits, how far diagonals -number-1 to number+1 were reached with one edit less.

    Returns:
        None if the budget ends before the sequences do.
    """
    most = min(MAX_EDITS, len(before) + len(after))
    reached = array("l", [0]) * (2 * most + 3)  # of diagonal k = x - y at index k + most + 1
    trace: list[array[int]] = []
    for count in range(most + 1):
        row = reached[most - count : most + count + 3]
        trace.append(row)
        for k in range(-count, count + 1, 2):
            x = row[k + count + 2] if _goes_down(row, k, count) else row[k + count] + 1
            begun = x
            while x < len(before) and x - k < len(after) and before[x] == after[x - k]:
                x += 1
            reached[k + most + 1] = x
            budget.steps -= 1 + x - begun
            if x >= len(before) and x - k >= len(after):
                return trace
        if budget.steps <= 0:
            return None
    return None


def _goes_down(row: "array[int]", k: int, count: int) -> bool:
    """Whether the furthest path to diagonal k comes from k + 1, by adding a line; else from k - 1."""
    return k == -count or (k != count and row[k + count] < row[k + count + 2])
