"""What one Python file does, as far as its syntax tree tells: hits of the rules in `scan_rules`, and its imports.

The file is hostile. No function here recurses: a tree is walked with a queue.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flame_fl.node.scan_names import Names, literal
from flame_fl.node.scan_rules import (
    ATTRIBUTES,
    HOOKS,
    PATCHED_CORE,
    SUSPECT_TEXT,
    SWITCHES,
    rule_of,
)
from flame_fl.node.shown import shown

_LITERAL_CHARS, _LITERAL_BYTES, _NUMBERS = 160, 64, 100
_URL = re.compile(r"\b(?:https?|ftps?|sftp|s3|gs|hdfs|wss?|ssh|tcp|smb)://[^\s\"']{1,80}")
_IP = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?")
_SYSTEM = re.compile(r"/(?:etc|proc|sys|dev|root|home|run|var/run|boot)(?:/|$)|.{0,200}(?:\.ssh/|\.aws/|docker\.sock)")
_ABSOLUTE = re.compile(r"/(?:var|tmp|usr|opt|mnt|srv|bin|lib)(?:/|$)|/dev/shm|~[/\\]|[A-Za-z]:\\|\\\\[A-Za-z]")
_ENCODED = re.compile(r"[A-Za-z0-9+/=_\-\s]*")
_DECODERS = frozenset(["decode", "fromhex", "decompress", "unhexlify", "loads"])
_BY_NAME = frozenset(["getattr", "setattr", "delattr"])
_OPTIONS = (
    ("allow_pickle", False, "pickle.numpy"),
    ("weights_only", True, "pickle.torch"),
    ("shell", False, "subprocess.shell"),
)  # with another value than this one


class Hit(NamedTuple):
    """A rule that holds at a place: a line from 1, a column in bytes from 0."""

    key: str
    line: int
    column: int
    what: str


class Reader:
    """One parsed file."""

    def __init__(self, tree: ast.AST) -> None:
        self._nodes = list(ast.walk(tree))
        self._prose = {id(n.value) for n in self._nodes if isinstance(n, ast.Expr)}
        self._called = {id(n.func) for n in self._nodes if isinstance(n, ast.Call)}
        self._names = Names(self._nodes)

    @property
    def imports(self) -> tuple[str, ...]:
        """Top-level modules."""
        return tuple(self._names.imports)

    def identifiers(self) -> Iterator[tuple[str, int, int]]:
        """Every name that is not pure ASCII, with line and column."""
        for node in self._nodes:
            for field in ("id", "attr", "arg", "name", "asname"):
                name = getattr(node, field, None)
                if isinstance(name, str) and not name.isascii():
                    yield name, getattr(node, "lineno", 0), getattr(node, "col_offset", 0)

    def hits(self) -> Iterator[Hit]:
        """Everything that a rule knows, in no particular order; one place may be given more than once."""
        for node in self._nodes:
            for key, what in self._of(node):
                yield Hit(key, getattr(node, "lineno", 0), getattr(node, "col_offset", 0), shown(what, 80))

    def _of(self, node: ast.AST) -> Iterable[tuple[str, str]]:
        match node:
            case ast.Import() | ast.ImportFrom():
                return self._of_import(node)
            case ast.Call():
                return self._of_call(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._of_reference(node)
            case ast.Constant():
                return () if id(node) in self._prose else _of_constant(node.value)
        return _of_rest(node)

    def _of_import(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.ImportFrom) and node.level:
            return
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            name = module if alias.name == "*" else f"{module}.{alias.name}" if module else alias.name
            if alias.name == "*":
                yield "dynamic.star", name
            if key := rule_of(name):
                yield key, name

    def _of_reference(self, node: ast.Name | ast.Attribute | ast.Subscript) -> Iterator[tuple[str, str]]:
        stored = isinstance(node.ctx, ast.Store | ast.Del)
        names = self._names.dotted(node)
        for name in names:
            if shortened(name) in _BY_NAME and id(node) not in self._called:
                yield "dynamic.getattr", name
            if key := rule_of(name):
                yield key, shortened(name)
            if stored and not isinstance(node, ast.Name):
                yield from _patched(name)
        if isinstance(node, ast.Attribute):
            key = None if any(rule_of(name) for name in names) else ATTRIBUTES.get(node.attr)
            if key is not None and (key.startswith(("dynamic", "pickle")) or id(node) in self._called):
                yield key, node.attr

    def _of_call(self, node: ast.Call) -> Iterator[tuple[str, str]]:
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        names = self._names.dotted(node.func)
        called = shortened(names[0]) if names else method
        options = {k.arg: k.value for k in node.keywords if k.arg}
        if self._names.imports_by(node.func):
            named = literal(node.args[0]) if node.args else None
            yield ("dynamic.import", named) if named else ("dynamic.import_computed", called)
        for name in map(shortened, names):
            yield from self._of_named_call(name, node, options)
        for option, safe, key in _OPTIONS:
            if option in options and not _is(options[option], value=safe):
                yield key, called
        if method == "open":
            yield _opened(node, options, at=1 if names else 0)  # module.open(path, mode), path.open(mode)
        elif method == "eval" and node.args:
            yield "dynamic.eval_method", method

    def _of_named_call(self, name: str, node: ast.Call, options: dict[str, ast.expr]) -> Iterator[tuple[str, str]]:
        if name in {"eval", "exec", "compile"} and any(_decodes(argument) for argument in node.args):
            yield "obfuscation.decoded", name
        elif name == "torch.load" and "weights_only" not in options:
            yield "pickle.torch", name
        elif name == "numpy.load" and len(node.args) > 2:
            yield "pickle.numpy", name
        elif name in {"yaml.load", "yaml.load_all"}:
            loader = options.get("Loader", node.args[1] if len(node.args) > 1 else None)
            if not any(n.endswith(("SafeLoader", "BaseLoader")) for n in self._names.dotted(loader)):
                yield "pickle.yaml", name
        elif name == "open":
            yield _opened(node, options, at=1)
        elif name in _BY_NAME and len(node.args) > 1:
            yield from self._by_name(name, node.args[0], literal(node.args[1]))
        elif name in {"breakpoint", "input"}:
            yield "process.control", name

    def _by_name(self, name: str, owner: ast.expr, attribute: str | None) -> Iterator[tuple[str, str]]:
        """Of `getattr`, `setattr` and `delattr`. `attribute`: None if it is computed."""
        owners = self._names.dotted(owner)
        if attribute is None:
            yield ("dynamic.getattr_module", owners[0]) if owners else ("dynamic.getattr", name)
        elif key := ATTRIBUTES.get(attribute):
            yield key, attribute
        for one in owners:
            full = f"{one}.{attribute or '?'}"
            if key := rule_of(full):
                yield key, full
            if name != "getattr":
                yield from _patched(full)


def _of_rest(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in HOOKS:
        yield "pickle.hook", node.name
    elif isinstance(node, ast.List | ast.Tuple | ast.Set) and len(node.elts) >= _NUMBERS:
        values = [e.value if isinstance(e, ast.Constant) else None for e in node.elts]
        if all(type(v) is int and 0 <= v < 256 for v in values):
            yield "obfuscation.numbers", str(len(values))


def shortened(name: str) -> str:
    """A built-in function as it is written."""
    return name.removeprefix("builtins.")


def _is(node: ast.expr, *, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _opened(node: ast.Call, options: dict[str, ast.expr], at: int) -> tuple[str, str]:
    """`at`: which argument is the mode."""
    mode = options.get("mode", node.args[at] if len(node.args) > at else None)
    stated = "r" if mode is None else literal(mode)
    return ("files.read", "open") if stated is not None and not set(stated) & set("wax+") else ("files.write", "open")


def _patched(name: str) -> Iterator[tuple[str, str]]:
    if "." in name and not name.startswith(SWITCHES):
        core = name.partition(".")[0] in PATCHED_CORE
        yield "process.patch_core" if core else "process.patch", name


def _decodes(argument: ast.AST) -> bool:
    """Whether something is decoded inside an argument; its first nodes are looked at."""
    for count, node in enumerate(ast.walk(argument)):
        name = str(getattr(node, "attr", None) or getattr(node, "id", ""))
        if name in _DECODERS or name.endswith("decode") or name == "chr":
            return True
        if count > 200:
            return False
    return False


def _of_constant(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, bytes):
        odd = sum(byte < 9 or byte > 126 for byte in value[:2000])
        if len(value) >= _LITERAL_BYTES and odd * 3 > min(len(value), 2000):
            yield "obfuscation.literal", str(len(value))
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return
    if value in SUSPECT_TEXT:
        yield "dynamic.text", value
    if url := _URL.search(value):
        yield "network.address", url.group()
    elif _IP.fullmatch(value):
        yield "network.ip", value
    if value not in {"/dev/null", "/"}:
        if _SYSTEM.match(value):
            yield "files.system", value
        elif _ABSOLUTE.match(value):
            yield "files.absolute", value
    if len(value) >= _LITERAL_CHARS and _looks_encoded(value):
        yield "obfuscation.literal", str(len(value))


def _looks_encoded(text: str) -> bool:
    """Base64, hex or noise: long, and hardly a space in it."""
    if sum(text.count(space) for space in " \n\t") * 40 > len(text):
        return False
    return bool(_ENCODED.fullmatch(text)) or len(set(text[:2000])) > 60
