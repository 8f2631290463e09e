"""What the names of one Python file stand for: through imports, assignments, `getattr` and the like.

The file is hostile: nothing recurses, and a name is followed for a bounded number of steps. Order and scope are not
regarded: what a name stands for anywhere in the file, it may stand for everywhere.
"""

import ast
import re
from collections.abc import Iterable, Iterator

from flame_fl.node.scan_rules import BUILTINS, rule_of

MAX_NAME_PARTS = 64
_MAX_STEPS = 40  # from a name to what it stands for
_MAX_MEANINGS = 8  # of one name
_MAX_STARS = 8
_MAX_CHARS = 500
_PASSES = 3  # over assignments: chains of so many names are followed
_IMPORTERS = frozenset({"importlib.import_module", "importlib.__import__", "builtins.__import__"})
_Step = tuple[str, ast.AST | None, list[str]]


def overlong_name(text: str) -> bool:
    """Whether some dotted name has so many parts that parsing it costs memory in their square.

    The parser keeps every prefix of `import a.a.a…`: 200 kB of source would cost 10 GB.
    """
    streak = 0
    for piece in re.sub(r"\\\n", "", text).split("."):
        streak = streak + 1 if piece.strip(" \t\f").isidentifier() else 1
        if streak >= MAX_NAME_PARTS:
            return True
    return False


class Names:
    """What the names of one parsed file stand for, and which top-level modules it imports."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        nodes = list(nodes)
        self._names: dict[str, list[str]] = {}
        self._stars: list[str] = []
        self.imports: dict[str, None] = {}
        for node in nodes:
            self._learn(node)
        pairs = [pair for node in nodes for pair in _assigned(node)]
        for _ in range(_PASSES):
            for target, value in pairs:
                for dotted in self.dotted(value):
                    self._means(target, dotted)
        for node in nodes:
            if isinstance(node, ast.Call) and (name := self.imported(node)):
                self.imports[name.partition(".")[0]] = None

    def dotted(self, node: ast.AST | None) -> list[str]:
        """The full dotted names an expression may stand for: `sp.run` is `subprocess.run`. Empty if it is none."""
        parts: list[str] = []
        for _ in range(_MAX_STEPS):
            part, node, bases = self._step(node)
            if part:
                parts.append(part)
            if node is None:
                return [".".join([base, *reversed(parts)]) for base in bases]
        return []

    def imported(self, call: ast.Call) -> str | None:
        """The module that `__import__("x")` or `import_module("x")` gives, if its name is spelt out."""
        name = literal(call.args[0]) if call.args else None
        return name if name and self.imports_by(call.func) else None

    def imports_by(self, func: ast.AST) -> bool:
        """Whether a function is one that imports the module whose name it is given."""
        if isinstance(func, ast.Name):
            return func.id == "__import__" or any(m in _IMPORTERS for m in self._names.get(func.id, ()))
        return isinstance(func, ast.Attribute) and func.attr in {"import_module", "__import__"}

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self.imports[top] = None
                self._means(alias.asname or top, alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            self.imports[node.module.partition(".")[0]] = None
            for alias in node.names:
                if alias.name == "*":
                    self._stars.append(node.module)
                else:
                    self._means(alias.asname or alias.name, f"{node.module}.{alias.name}")

    def _means(self, name: str, dotted: str) -> None:
        meanings = self._names.setdefault(name, [])
        if dotted not in meanings and len(meanings) < _MAX_MEANINGS and len(dotted) < _MAX_CHARS:
            meanings.append(dotted)

    def _meanings(self, name: str) -> list[str]:
        found = list(self._names.get(name, ()))
        if name in BUILTINS:
            found.append("builtins" if name == "__builtins__" else f"builtins.{name}")
        return found + [f"{module}.{name}" for module in self._stars[:_MAX_STARS] if rule_of(f"{module}.{name}")]

    def _step(self, node: ast.AST | None) -> _Step:
        """The last part of a dotted name and the expression before it, or, at its beginning, what that stands for."""
        if isinstance(node, ast.Attribute):
            return node.attr, node.value, []
        if isinstance(node, ast.NamedExpr):
            return "", node.value, []
        if isinstance(node, ast.Name):
            return "", None, self._meanings(node.id)
        if isinstance(node, ast.Call):
            return self._step_of_call(node)
        if isinstance(node, ast.Subscript) and (key := literal(node.slice)) is not None:
            return self._step_of_item(node.value, key)
        return "", None, []

    def _step_of_call(self, call: ast.Call) -> _Step:
        if name := self.imported(call):
            return "", None, [name]
        reads = isinstance(call.func, ast.Name) and call.func.id == "getattr" and len(call.args) > 1
        if reads and (attribute := literal(call.args[1])) is not None:
            return attribute, call.args[0], []
        return "", None, []

    def _step_of_item(self, owner: ast.AST, key: str) -> _Step:
        """Of `vars(module)["name"]`, `globals()["name"]`, `module.__dict__["name"]`, `sys.modules["name"]`."""
        if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name):
            if owner.func.id in {"vars", "globals", "locals"}:
                return (key, owner.args[0], []) if owner.args else ("", None, self._meanings(key))
        elif isinstance(owner, ast.Attribute) and owner.attr == "__dict__":
            return key, owner.value, []
        elif isinstance(owner, ast.Name) and owner.id == "__builtins__":
            return "", None, [f"builtins.{key}"]
        elif "sys.modules" in self.dotted_once(owner):
            return "", None, [key]
        return "", None, []

    def dotted_once(self, node: ast.AST) -> list[str]:
        """As `dotted`, for `name` and `name.attribute` only."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return [f"{base}.{node.attr}" for base in self._meanings(node.value.id)]
        return self._meanings(node.id) if isinstance(node, ast.Name) else []


def literal(node: ast.AST) -> str | None:
    """A text that is spelt out, also in a few parts joined by +."""
    parts: list[str] = []
    for _ in range(_MAX_STEPS):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return "".join([node.value, *reversed(parts)])[:_MAX_CHARS]
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
            return None
        if not (isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)):
            return None
        parts.append(node.right.value)
        node = node.left
    return None


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and the expressions they are given."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple | ast.List) and isinstance(node.value, ast.Tuple | ast.List):
                for one, value in zip(target.elts, node.value.elts, strict=False):
                    if isinstance(one, ast.Name):
                        yield one.id, value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.value
    elif isinstance(node, ast.arguments):  # def f(run=os.system)
        positional = [*node.posonlyargs, *node.args]
        for argument, default in zip(reversed(positional), reversed(node.defaults), strict=False):
            yield argument.arg, default
        for argument, keyword in zip(node.kwonlyargs, node.kw_defaults, strict=False):
            if keyword is not None:
                yield argument.arg, keyword
