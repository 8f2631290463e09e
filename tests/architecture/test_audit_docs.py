"""`docs/audit.md` names every kind of audit entry that the code writes."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.tree import ROOT, parsed, sources

DOCUMENT = ROOT / "docs" / "audit.md"


def documented() -> set[str]:
    """The kinds in the table's first column."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("\n## Kinds\n")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    return {kind for first in firsts for kind in re.findall(r"`([a-z-]+)`", first)}


def written(tree: ast.Module) -> Iterator[str]:
    """The kinds that a module records: literals, beginnings of f-strings ("approval-…"), and literals handed on.

    A function that records a parameter of its own is followed to the calls of it in the same module.
    """
    handing: dict[str, int] = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        names = [argument.arg for argument in function.args.args]
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call) and _records(node)):
            if isinstance(call.args[0], ast.Name) and call.args[0].id in names:
                handing[function.name] = names.index(call.args[0].id)
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        if _records(call):
            yield from _text(call.args[0])
        elif isinstance(call.func, ast.Name) and call.func.id in handing:
            yield from _text(call.args[handing[call.func.id]])


def _records(call: ast.Call) -> bool:
    """`self.record(…)` or `….store.record(…)`, with a kind and a body."""
    where = call.func
    if not isinstance(where, ast.Attribute) or where.attr != "record" or len(call.args) != 2:
        return False
    owner = where.value.attr if isinstance(where.value, ast.Attribute) else getattr(where.value, "id", "")
    return owner in {"self", "store", "_store"}


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        yield f"{node.values[0].value}…"
    elif isinstance(node, ast.IfExp):
        yield from (kind for choice in (node.body, node.orelse) for kind in _text(choice))


def test_every_kind_that_is_recorded_is_in_the_table() -> None:
    kinds = {kind for file in sources() for kind in written(parsed(file))}
    assert len(kinds) > 15
    table = documented()
    assert {k for k in kinds if not any(t == k or (k[-1] == "…" and t.startswith(k[:-1])) for t in table)} == set()


def test_what_is_recorded_is_found_in_each_form() -> None:
    code = """
def f(a, kind):
    store.record(kind, {})
f(1, "one" if a else "uno")
self.store.record("two", x)
self.record(f"three-{x}", {})
"""
    assert set(written(ast.parse(code))) == {"one", "uno", "two", "three-…"}
    assert set(written(ast.parse('disguise.record("four", 1)\nstore.record("five")'))) == set()
