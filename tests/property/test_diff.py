"""Whatever two lists of lines are, and however small the budget: the script turns the one into the other."""

import difflib

from hypothesis import given
from hypothesis import strategies as st

from flame_fl.node.diff import diff
from flame_fl.node.edits import Budget, edits, hunks

LINES = st.lists(st.sampled_from("abcd"), max_size=14)


@given(before=LINES, after=LINES, steps=st.sampled_from([0, 5, 20, 10_000]))
def test_a_script_is_a_difference(before: list[str], after: list[str], steps: int) -> None:
    """Kept and removed lines are the old ones, kept and added lines the new ones, all in order."""
    script = edits(before, after, Budget(steps))
    assert [e.before for e in script if e.tag != "+"] == list(range(len(before)))
    assert [e.after for e in script if e.tag != "-"] == list(range(len(after)))
    assert all(before[e.before] == after[e.after] for e in script if e.tag == " ")
    assert [e for hunk in hunks(script) for e in hunk if e.tag != " "] == [e for e in script if e.tag != " "]


@given(before=LINES, after=LINES)
def test_with_a_budget_a_script_is_as_short_as_any(before: list[str], after: list[str]) -> None:
    """No longer than the standard library's."""
    script = edits(before, after, Budget(100_000))
    theirs = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert sum(e.tag != " " for e in script) <= len(theirs)


@given(before=st.dictionaries(st.text(max_size=3), st.binary(max_size=30)),
       after=st.dictionaries(st.text(max_size=3), st.binary(max_size=30)))  # fmt: skip
def test_every_file_is_accounted_for_and_everything_can_be_shown(
    before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    """Changed or the same, and nothing unprintable in what is returned."""
    result = diff(before, after)
    assert len(result.files) + result.same == len({*before, *after})
    assert all(text.isprintable() for file in result.files for text in (file.path, *file.lines))
