"""What changed between two manifests, field by field, and whether it allows more or less than before.

A direction is given only where it is obvious from the field alone: a larger epsilon, one more array. A field without
one may still matter; it is for the steward to judge.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flame_fl.node.shown import shown

MAX_CHANGES = 1000
MAX_DEPTH = 16
_MAX_VALUE_CHARS = 200

Direction = Literal["looser", "tighter", ""]


@dataclass(frozen=True)
class Change:
    """One field. Every text can be shown as it is."""

    path: str
    """Dotted; an array or metric is `arrays[record/name]`, one of several values `columns[age]`."""
    before: str | None
    """As JSON; None: it was not there."""
    after: str | None
    """As JSON; None: it is no longer there."""
    direction: Direction = ""


_MISSING = object()
_Parts = tuple[str, ...]
_UP, _DOWN = 1, -1
# A number that grows makes the terms looser (1) or tighter (-1). "*" stands for any one key.
_NUMBERS: dict[_Parts, int] = {
    ("privacy", "epsilon_max"): _UP,
    ("privacy", "delta"): _UP,
    ("privacy", "clip_norm"): _UP,
    ("privacy", "noise_multiplier"): _DOWN,
    ("privacy", "sample_rate"): _UP,
    ("privacy", "steps"): _UP,
    ("secure_aggregation", "dropouts"): _UP,
    ("secure_aggregation", "colluding"): _DOWN,
    ("secure_aggregation", "min_total"): _DOWN,
    ("disclosure", "min_cell"): _DOWN,
    ("disclosure", "most_noise"): _DOWN,
    ("disclosure", "max_numbers_per_patient"): _UP,
    ("disclosure", "max_numbers_per_patient_in_total"): _UP,
    ("disclosure", "dominance"): _UP,
    ("disclosure", "significant_digits"): _UP,
    ("limits", "runs"): _UP,
    ("federation", "min_sites"): _DOWN,
    ("resources", "*"): _UP,
    ("data", "*", "min_patients"): _DOWN,
    ("messages", "*", "per_run"): _UP,
    ("messages", "*", "max_bytes"): _UP,
    ("messages", "*", "arrays", "*", "max_abs"): _UP,
    ("messages", "*", "metrics", "*", "max"): _UP,
    ("messages", "*", "metrics", "*", "min"): _DOWN,
    ("messages", "*", "metrics", "*", "length"): _UP,
    ("run_config", "*", "max"): _UP,
    ("run_config", "*", "min"): _DOWN,
}
_DAYS: dict[_Parts, int] = {("validity", "from"): _DOWN, ("validity", "until"): _UP}
# From looser to tighter.
_STEPS: dict[_Parts, tuple[str | bool, ...]] = {
    ("privacy", "unit"): ("none", "patient", "site"),
    ("privacy", "ground"): ("none", "reviewed", "vetted", "enforced"),
    ("privacy", "mechanism"): ("none", "clip", "discrete-gaussian"),
    ("privacy", "trust"): ("distributed", "local"),
    ("secure_aggregation", "required"): (False, True),
    ("disclosure", "compare_with"): ("analysis", "store"),
}
# One more of these is looser (1) or tighter (-1).
_PARTS: dict[_Parts, int] = {
    ("messages", "*"): _UP,
    ("messages", "*", "arrays", "*"): _UP,
    ("messages", "*", "metrics", "*"): _UP,
    ("data", "*"): _UP,
    **{("data", "*", field, "*"): _UP for field in ("columns", "files", "features", "modalities")},
    ("data", "*", "where", "*"): _DOWN,
    ("run_config", "*"): _UP,
    ("run_config", "*", "one_of", "*"): _UP,
}
_TABLES: frozenset[_Parts] = frozenset(
    {(), ("messages",), ("data",), ("run_config",), ("privacy",), ("resources",), ("secure_aggregation",)}
)


def terms_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Compare two manifests as JSON (`Manifest.as_json()`), or two tables of terms.

    Returns:
        At most MAX_CHANGES, and how many more; what is looser first, then by path. Nothing is raised for strange
        values: they are compared as they are printed.
    """
    bare = "terms" not in before and "terms" not in after
    found = sorted(_changes((), before, after, bare=bare), key=_rank)
    left = len(found) - MAX_CHANGES
    more = [Change("…", None, f"({left} more)")] if left > 0 else []
    return (*found[:MAX_CHANGES], *more)


def _rank(change: Change) -> tuple[int, bool, str]:
    """What there can be hundreds of comes last, so that it hides nothing."""
    order: tuple[Direction, ...] = ("looser", "", "tighter")
    return order.index(change.direction), change.path.startswith(("messages.", "terms.messages.")), change.path


def _changes(parts: _Parts, before: Any, after: Any, *, bare: bool) -> Iterator[Change]:
    rule = parts if bare else parts[1:] if parts[:1] == ("terms",) else ("", *parts)
    if rule in _TABLES and isinstance(before, Mapping) != isinstance(after, Mapping):
        before, after = ({} if value is None or value is _MISSING else value for value in (before, after))
    everything = {"*"} <= _texts(before), {"*"} <= _texts(after)
    if len(parts) < MAX_DEPTH and everything[0] == everything[1]:
        tables = _as_tables(parts, before, after)
        if tables is not None:
            old, new = tables
            for key in sorted({*old, *new}):
                yield from _changes((*parts, key), old.get(key, _MISSING), new.get(key, _MISSING), bare=bare)
            return
    if _json(before) != _json(after):
        direction = _direction(rule, before, after) if everything[0] == everything[1] else _side(everything[1], _UP)
        yield Change(shown(_path(parts)), _printed(before), _printed(after), direction)


def _path(parts: _Parts) -> str:
    return "".join(part if part.startswith("[") else f".{part}" for part in parts).removeprefix(".")


def _texts(value: Any) -> set[str]:
    """The texts of a list; `["*"]` names everything there is."""
    return {entry for entry in value if isinstance(entry, str)} if isinstance(value, list | tuple) else set()


def _as_tables(parts: _Parts, before: Any, after: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Both values as tables, if their parts are to be compared and not the whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {str(k): v for k, v in before.items()}, {str(k): v for k, v in after.items()}
    if isinstance(before, list | tuple) and isinstance(after, list | tuple) and parts[-1:] != ("shape",):
        return _keyed(before), _keyed(after)
    return None


def _keyed(values: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    """A list whose order says nothing, by what each entry is called."""
    keyed: dict[str, Any] = {}
    for value in values:
        name = value if isinstance(value, str) else _json(value)
        if isinstance(value, Mapping) and "name" in value:
            name = "/".join(str(value[key]) for key in ("record", "name") if key in value)
        keyed[f"[{name}]"] = value
    return keyed


def _direction(rule: _Parts, before: Any, after: Any) -> Direction:
    if before is _MISSING or after is _MISSING:
        return _side(before is _MISSING, _found(_PARTS, rule) or 0)
    if rule[-1:] == ("shape",):
        return _of_shapes(before, after)
    if rule in _DAYS:
        return _side(str(after) > str(before), _DAYS[rule])
    if steps := _STEPS.get(rule):
        known = before in steps and after in steps
        return _side(steps.index(after) > steps.index(before), _DOWN) if known else ""
    way = _found(_NUMBERS, rule)
    return _of_numbers(rule, before, after, way) if way else ""


def _side(grows: bool, way: int) -> Direction:  # noqa: FBT001  (reads as the sentence it is)
    return "" if way == 0 else "looser" if grows == (way == _UP) else "tighter"


def _found(rules: Mapping[_Parts, int], parts: _Parts) -> int | None:
    for pattern, way in rules.items():
        if len(pattern) == len(parts) and all(p in {"*", part} for p, part in zip(pattern, parts, strict=True)):
            return way
    return None


def _of_numbers(rule: _Parts, before: Any, after: Any, way: int) -> Direction:
    if rule[-1] == "length":  # null: one number
        before, after = 1 if before is None else before, 1 if after is None else after
    if (before is None) != (after is None):  # null: no bound; of an override: the rule is of another kind now
        return "" if rule[0] == "run_config" else "looser" if after is None else "tighter"
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after)):
        return ""
    return "" if before == after else _side(after > before, way)


def _of_shapes(before: Any, after: Any) -> Direction:
    """Whether every dimension allows at least, or at most, what it did."""
    if not (isinstance(before, list | tuple) and isinstance(after, list | tuple)) or len(before) != len(after):
        return ""
    pairs = [(_bounds(old), _bounds(new)) for old, new in zip(before, after, strict=True)]
    if all((new[0] <= old[0] and new[1] >= old[1]) or new[0] >= old[1] for old, new in pairs):
        return "looser"
    if all((new[0] >= old[0] and new[1] <= old[1]) or new[1] <= old[0] for old, new in pairs):
        return "tighter"
    return ""


def _bounds(dimension: Any) -> tuple[int, int]:
    """The smallest and largest length a dimension may have."""
    if isinstance(dimension, int):
        return dimension, dimension
    digits = str(dimension).removeprefix("<=")[:12]
    return (0, int(digits)) if digits.isascii() and digits.isdigit() else (0, 0)


def _json(value: Any) -> str:
    if value is _MISSING:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    except (ValueError, TypeError, RecursionError):
        return "(cannot be shown)"


def _printed(value: Any) -> str | None:
    return None if value is _MISSING else shown(_json(value), _MAX_VALUE_CHARS)
