"""Everything public in the core says what it is."""

import ast
from collections.abc import Iterator

from tests.architecture.tree import parsed, short, sources

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Documented]]:
    """Public classes, functions and methods; not what is nested in a function."""
    for inner in node.body:
        if isinstance(inner, Documented) and not inner.name.startswith("_"):
            yield prefix + inner.name, inner
            if isinstance(inner, ast.ClassDef):
                yield from public(inner, f"{prefix}{inner.name}.")


def test_every_public_thing_has_a_docstring() -> None:
    """Modules, classes, functions and methods."""
    bare = [short(f) for f in sources() if not ast.get_docstring(parsed(f))]
    bare += [
        f"{short(f)}: {name}" for f in sources() for name, node in public(parsed(f)) if not ast.get_docstring(node)
    ]
    assert bare == []


def test_what_has_none_is_found() -> None:
    """The search above sees classes, methods and functions."""
    code = "class A:\n  def b(self): 'x'\n  def c(self): pass\n  def _d(self): pass\nasync def e(): pass\ndef f(): 'x'"
    assert [n for n, node in public(ast.parse(code)) if not ast.get_docstring(node)] == ["A", "A.c", "e"]
