"""What changed between two bundles and between two manifests."""

import copy
import time
from typing import Any

import pytest

from flame_fl.node.diff import MAX_SHOWN_LINES, MAX_TEXT_BYTES, FileChange, diff
from flame_fl.node.terms_diff import MAX_CHANGES, Change, terms_diff
from tests.support.gates import terms_table


def only(before: bytes | None, after: bytes | None) -> FileChange:
    old, new = ({} if raw is None else {"a.py": raw} for raw in (before, after))
    (change,) = diff(old, new).files
    return change


def test_files_that_came_went_and_changed_by_path() -> None:
    """Equal files are counted only."""
    result = diff({"a": b"1\n", "b": b"1\n", "c": b"1\n"}, {"b": b"2\n", "c": b"1\n", "d": b"1\n2\n"})
    assert [(f.path, f.how, f.added, f.removed) for f in result.files] == [
        ("a", "removed", 0, 1),
        ("b", "changed", 1, 1),
        ("d", "added", 2, 0),
    ]
    assert (result.same, result.added, result.removed) == (1, 3, 2)


def test_lines_are_shown_with_those_around_them() -> None:
    """As a unified diff: three lines before and after, and where they are."""
    before = b"".join(b"%d\n" % i for i in range(1, 21))
    after = before.replace(b"10\n", b"ten\n").replace(b"20\n", b"20\n21\n")
    assert only(before, after).lines == (
        "@@ -7,7 +7,7 @@", " 7", " 8", " 9", "-10", "+ten", " 11", " 12", " 13",
        "@@ -18,3 +18,4 @@", " 18", " 19", " 20", "+21",
    )  # fmt: skip


def test_a_new_file_begins_at_nothing() -> None:
    """As diff writes it."""
    assert only(None, b"x\n").lines == ("@@ -0,0 +1,1 @@", "+x")


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (b"x", b"x\n", ("-x", "\\ no line end", "+x")),
        (b"x\n", b"x\r\n", ("-x", "+x\\u000d")),
        (b"x\n", "x\u200b\n".encode(), ("-x", "+x\\u200b")),
        (b"x\n", "\u202ex\x1b[2J\n".encode(), ("-x", "+\\u202ex\\u001b[2J")),
        (b"a b\n", b"a\tb\n", ("-a b", "+a\\u0009b")),
        (b"a b\n", "a\u2028b\n".encode(), ("-a b", "+a\\u2028b")),
    ],
)
def test_differences_that_cannot_be_seen_are_shown(before: bytes, after: bytes, lines: tuple[str, ...]) -> None:
    """Line ends, invisible and direction characters are part of the text."""
    assert only(before, after).lines[1:] == lines


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b"a\0", "binary"),
        (b"\xff", "binary"),
        (b"x" * (MAX_TEXT_BYTES + 1), "too large"),
        (b"\n" * 20_000, "too large"),
    ],
)
def test_what_is_no_text_or_too_much_is_only_said_to_have_changed(raw: bytes, form: str) -> None:
    """With its sizes."""
    change = only(b"x\n", raw)
    assert (change.form, change.lines, change.bytes_before, change.bytes_after) == (form, (), 2, len(raw))


def test_a_long_difference_is_cut_and_says_so() -> None:
    """The counts are of all lines."""
    change = only(None, b"x\n" * 5000)
    assert (change.added, len(change.lines), change.left_out) == (5000, MAX_SHOWN_LINES, 5001 - MAX_SHOWN_LINES)


def test_a_long_line_is_cut() -> None:
    """And ends in an ellipsis."""
    assert all(
        len(line) <= 300 and line.endswith("…") for line in only(b"x" * 9000, b"y" * 9000).lines if line[0] in "+-"
    )


@pytest.mark.parametrize("lines", [("a", "b"), ("a", "b", "c", "d", "e", "f"), tuple(map(str, range(50)))])
def test_lines_made_to_be_hard_to_compare_cost_little(lines: tuple[str, ...]) -> None:
    """Few lines that repeat in different order are what compares slowest."""
    before = {f"{n}": "\n".join(lines[i * i * 7 % len(lines)] for i in range(9000)).encode() for n in range(8)}
    after = {f"{n}": "\n".join(lines[i * i * 5 % 11 % len(lines)] for i in range(9000)).encode() for n in range(8)}
    begun = time.process_time()
    result = diff(before, after)
    assert time.process_time() - begun < 10
    assert len(result.files) == 8


def change_of(path: tuple[str | int, ...], value: Any, start: dict[str, Any] | None = None) -> tuple[Change, ...]:
    before = start or terms_table()
    after = copy.deepcopy(before)
    place: Any = after
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return terms_diff(before, after)


NOISE = {"privacy": {"unit": "site", "ground": "enforced", "mechanism": "discrete-gaussian", "epsilon_max": 8,
                     "noise_multiplier": 2.0, "delta": 1e-5, "clip_norm": 1.0}}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "direction"),
    [
        ("epsilon_max", 50, "looser"), ("epsilon_max", 1, "tighter"), ("epsilon_max", None, "looser"),
        ("delta", 1e-3, "looser"), ("noise_multiplier", 3.0, "tighter"), ("noise_multiplier", 1.0, "looser"),
        ("clip_norm", 9.0, "looser"), ("unit", "none", "looser"), ("ground", "reviewed", "looser"),
        ("mechanism", "clip", "looser"), ("mechanism", ["strange"], ""), ("epsilon_max", "8", ""),
    ],
)  # fmt: skip
def test_privacy_has_a_direction(field: str, value: object, direction: str) -> None:
    """More epsilon is looser, more noise tighter; what makes no sense has none."""
    (change,) = change_of(("privacy", field), value, copy.deepcopy(NOISE))
    assert (change.path, change.direction) == (f"privacy.{field}", direction)


def test_a_change_is_shown_with_both_values() -> None:
    """As JSON."""
    assert change_of(("privacy", "epsilon_max"), 50, copy.deepcopy(NOISE)) == (
        Change("privacy.epsilon_max", "8", "50", "looser"),
    )


@pytest.mark.parametrize(
    ("path", "value", "shown_path", "direction"),
    [
        (("limits", "runs"), 9, "limits.runs", "looser"),
        (("data", "cohort", "min_patients"), 2, "data.cohort.min_patients", "looser"),
        (("data", "cohort", "columns"), ["age"], "data.cohort.columns", "tighter"),
        (("data", "other"), {"table": "x.csv"}, "data.other", "looser"),
        (("messages", "train", "per_run"), 1, "messages.train.per_run", "tighter"),
        (("messages", "train", "arrays", 0, "shape"), [9], "messages.train.arrays[arrays/w].shape", "looser"),
        (("messages", "train", "arrays", 0, "shape"), ["<=3"], "messages.train.arrays[arrays/w].shape", "tighter"),
        (("messages", "train", "arrays", 0, "shape"), [4, 4], "messages.train.arrays[arrays/w].shape", ""),
        (("messages", "train", "arrays", 0, "dtype"), "float32", "messages.train.arrays[arrays/w].dtype", ""),
        (("messages", "train", "metrics", 1, "max"), 99.0, "messages.train.metrics[metrics/loss].max", "looser"),
        (("messages", "train", "metrics", 1, "min"), 5.0, "messages.train.metrics[metrics/loss].min", "tighter"),
        (("messages", "query.x"), {"per_run": 1}, "messages.query.x", "looser"),
        (("run_config", "rounds", "max"), 500, "run_config.rounds.max", "looser"),
        (("run_config", "rounds", "min"), 2, "run_config.rounds.min", "tighter"),
        (("run_config", "seed"), {"min": 0, "max": 1}, "run_config.seed", "looser"),
        (("validity", "until"), "2030-01-01", "validity.until", "looser"),
        (("validity", "from"), "2026-06-01", "validity.from", "tighter"),
        (("project", "title"), "Another", "project.title", ""),
    ],
)
def test_terms_have_a_direction(path: tuple[str | int, ...], value: object, shown_path: str, direction: str) -> None:
    """Where it is obvious."""
    start = terms_table()
    start["validity"] = {key: str(day) for key, day in start["validity"].items()}
    (change,) = change_of(path, value, start)
    assert (change.path, change.direction) == (shown_path, direction)


MASKED = {
    "required": True, "dropouts": 1, "colluding": 1, "weight": "num-examples", "min_total": 10,
    "min_total_of": ["r/c"], "support": {"r/c": ["DIZ-1", "DIZ-2", "DIZ-3"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "direction"),
    [
        (("secure_aggregation", "required"), False, "looser"),
        (("secure_aggregation", "dropouts"), 2, "looser"), (("secure_aggregation", "dropouts"), 0, "tighter"),
        (("secure_aggregation", "colluding"), 0, "looser"), (("secure_aggregation", "colluding"), 2, "tighter"),
        (("secure_aggregation", "min_total"), 5, "looser"), (("secure_aggregation", "min_total"), None, "looser"),
        (("secure_aggregation", "weight"), "other", ""),
        (("secure_aggregation", "required"), "yes", ""),
        (("federation", "min_sites"), 3, "looser"), (("federation", "min_sites"), 9, "tighter"),
        (("privacy", "trust"), "local", "tighter"),
        (("messages", "train", "arrays", 0, "max_abs"), 9.0, "looser"),
        (("messages", "train", "arrays", 0, "max_abs"), 1.0, "tighter"),
        (("messages", "train", "arrays", 0, "max_abs"), None, "looser"),
    ],
)  # fmt: skip
def test_masks_have_a_direction(path: tuple[str | int, ...], value: object, direction: str) -> None:
    """Fewer sites in a sum, fewer colluders to withstand, larger numbers and noise that rests on others are looser."""
    start = terms_table(secure_aggregation=MASKED, federation={"min_sites": 5})
    start["privacy"] = {**start["privacy"], "trust": "distributed"}
    start["messages"]["train"]["arrays"] = [{**start["messages"]["train"]["arrays"][0], "max_abs": 4.0}]
    (change,) = change_of(path, value, start)
    assert change.direction == direction
    back = change_of(path, start_value(start, path), replaced(start, path, value))
    assert [c.direction for c in back] == [{"looser": "tighter", "tighter": "looser", "": ""}[direction]]


def start_value(table: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        table = table[key]
    return table


def replaced(table: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(table)
    start_value(changed, path[:-1])[path[-1]] = value
    return changed


def test_which_sites_supply_an_array_is_shown_name_by_name() -> None:
    """For the steward to judge."""
    start = terms_table(secure_aggregation=MASKED)
    (change,) = change_of(("secure_aggregation", "support", "r/c"), ["DIZ-1", "DIZ-2", "DIZ-3", "DIZ-9"], start)
    assert (change.path, change.after, change.direction) == ("secure_aggregation.support.r/c[DIZ-9]", '"DIZ-9"', "")


def test_masks_where_there_were_none_are_listed_field_by_field() -> None:
    """Terms of before there were any have no such table."""
    found = terms_diff({"privacy": {}}, {"privacy": {}, "secure_aggregation": {"required": True, "dropouts": 1}})
    assert {change.path for change in found} == {"secure_aggregation.required", "secure_aggregation.dropouts"}


def test_columns_and_arrays_are_compared_one_by_one() -> None:
    """Their order says nothing."""
    before = {"terms": {"data": {"x": {"columns": ["age", "sex"]}}}}
    after = {"terms": {"data": {"x": {"columns": ["sex", "postcode", "age"]}}}}
    assert terms_diff(before, after) == (Change("terms.data.x.columns[postcode]", None, '"postcode"', "looser"),)


def test_a_condition_that_goes_is_looser() -> None:
    """Fewer records are excluded."""
    where = [{"column": "age", "op": ">=", "value": 18}]
    (change,) = terms_diff({"data": {"x": {"where": where}}}, {"data": {"x": {"where": []}}})
    assert change.direction == "looser"


def test_the_run_config_itself_is_no_range() -> None:
    """A manifest has defaults beside its terms; another default is neither looser nor tighter."""
    before, after = {"run_config": {"a": 1}, "terms": None}, {"run_config": {"a": 2, "b": 1}, "terms": None}
    assert [(c.path, c.direction) for c in terms_diff(before, after)] == [("run_config.a", ""), ("run_config.b", "")]


def test_terms_where_there_were_none_are_listed() -> None:
    """Everything in them is new."""
    found = terms_diff({"terms": None}, {"terms": terms_table()})
    assert {"terms.messages.train", "terms.data.cohort"} <= {c.path for c in found if c.direction == "looser"}


def test_many_changes_do_not_hide_a_grave_one() -> None:
    """A thousand new arrays come after a larger epsilon."""
    arrays = [{"record": "r", "name": f"{i}"} for i in range(MAX_CHANGES + 10)]
    before = {"privacy": {"epsilon_max": 1}, "messages": {"train": {"arrays": []}}}
    found = terms_diff(before, {"privacy": {"epsilon_max": 2}, "messages": {"train": {"arrays": arrays}}})
    assert found[0].path == "privacy.epsilon_max"
    assert found[-1].after == "(11 more)"


def test_strange_values_are_compared_as_printed() -> None:
    """Endless nesting and direction characters included."""
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    assert len(terms_diff({"x": deep}, {"x": 1, "a\u202e": "\u202e"})) == 2
    assert all(c.path.isprintable() for c in terms_diff({}, {"a\u202e": "\u202e"}))


def test_the_same_is_no_change() -> None:
    """Not even in another order."""
    assert terms_diff(terms_table(), dict(reversed(terms_table().items()))) == ()
