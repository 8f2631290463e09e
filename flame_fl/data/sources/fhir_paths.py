"""FHIRPath in views, by fhirpathpy: read strictly, compiled once, and quiet about what it meets.

fhirpathpy reads "a b" as "a"; here a path is read to its end or refused. It prints what `trace()` is given; here it
does not. Its errors quote values; here they are lost where they arise. Added to the language are `getResourceKey()`
and `getReferenceKey(Type)` as SQL on FHIR defines them, and `resolve()` within a resource and its page.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from flame_fl.contract.errors import InputError

Compiled = Callable[[Any, Mapping[str, Any]], list[Any]]
Resources = Mapping[str, dict[str, Any]]  # by "Type/id"
_KNOWN = {"resource", "context", "ucum"}
_CLOCK = {"now", "today", "timeOfDay"}
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")


class PathError(Exception):
    """A path could not be evaluated. It says nothing of what it met."""


def reference_key(reference: object, wanted: str = "", base: str = "") -> str:
    """The logical id a literal reference names, if it is to this server and to a resource of the wanted type.

    Another server's "Patient/1" is somebody else: an absolute reference counts only if it starts with `base`.
    """
    if not isinstance(reference, str):
        return ""
    match = _REFERENCE.fullmatch(reference.removeprefix(f"{base}/") if base else reference)
    return match.group(2) if match and wanted in {"", match.group(1)} else ""


class Paths:
    """Compiles the paths of one view.

    Args:
        where: What a path is in, for errors.
        base: The server's base address.
        constants: Names that paths may use as %name, with their values.
    """

    def __init__(self, where: str, base: str, constants: Mapping[str, Any]) -> None:
        self._where, self._base, self._constants = where, base, dict(constants)
        self._page: Resources = {}
        self._options = {
            "returnRawData": True,
            "traceFn": lambda *_: None,
            "userInvocationTable": {
                "getResourceKey": {"fn": _resource_key, "arity": {0: []}},
                "getReferenceKey": {"fn": self._reference_key, "arity": {0: [], 1: ["TypeSpecifier"]}},
                "resolve": {"fn": self._resolve, "arity": {0: []}},
            },
        }

    def on(self, page: Resources) -> None:
        """Let `resolve()` find these resources."""
        self._page = page

    def compiled(self, path: str) -> Compiled:
        """A path as a function of an element and the resource's variables; it raises a PathError.

        Raises:
            InputError: It is no FHIRPath, or uses a constant or a function that there is not.
        """
        self._check(path)
        own = path.strip()
        if own == "$this":
            return lambda item, _: [item]
        evaluate = self._compiled(own.removeprefix("$this."))
        if evaluate is None:
            raise self._bad(path, "is no FHIRPath")

        def run(item: Any, variables: Mapping[str, Any]) -> list[Any]:
            found = _quiet(evaluate, item, {**self._constants, **variables})
            if found is None:
                raise PathError
            return [one for one in found if plain(one) is not None]

        if _quiet(evaluate, [], {**self._constants, "resource": {}}) is None:
            raise self._bad(path, "cannot be evaluated")
        return run

    def _check(self, path: str) -> None:
        from antlr4 import (  # type: ignore[import-untyped]  # noqa: PLC0415
            CommonTokenStream,
            InputStream,
            Token,
        )
        from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer  # noqa: PLC0415
        from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser  # noqa: PLC0415

        lexer = FHIRPathLexer(InputStream(path))
        lexer.removeErrorListeners()
        stream = CommonTokenStream(lexer)
        parser = FHIRPathParser(stream)
        parser.removeErrorListeners()
        parser.expression()
        if parser.getNumberOfSyntaxErrors() or stream.LA(1) != Token.EOF:
            raise self._bad(path, "is no FHIRPath")
        words = [token.text for token in stream.tokens]
        for at, word in enumerate(words[:-1]):
            if word == "%" and words[at + 1] not in _KNOWN | set(self._constants):
                raise self._bad(path, "uses a constant that is not there")
            if word in _CLOCK and words[at + 1] == "(":
                raise self._bad(path, "depends on when it is run")

    def _compiled(self, path: str) -> Any:
        import fhirpathpy  # noqa: PLC0415
        from fhirpathpy.models import models  # noqa: PLC0415

        try:
            return fhirpathpy.compile(path, models["r4"], self._options)
        except Exception:  # of any class; it is told below, without its text
            return None

    def _reference_key(self, inputs: list[Any], wanted: Any = None) -> list[str]:
        name = getattr(wanted, "name", "") or ""
        keys = [reference_key(one.get("reference"), name, self._base) for one in inputs if isinstance(one, dict)]
        return [key for key in keys if key]

    def _resolve(self, inputs: list[Any]) -> list[Any]:
        from fhirpathpy.engine import nodes  # noqa: PLC0415

        node: Any = nodes.ResourceNode

        found = []
        for one in inputs:
            reference = one.get("reference") if isinstance(one, dict) else one
            resource = self._page.get(str(reference).removeprefix(f"{self._base}/"))
            if resource is not None:
                found.append(node.create_node(resource))
        return found

    def _bad(self, path: str, why: str) -> InputError:
        return InputError(f"The path {path!r} of {self._where} {why}.", mend="Correct the ViewDefinition.")


def plain(node: Any) -> Any:
    """The value behind one of fhirpathpy's nodes; None for an element that has extensions only."""
    data = getattr(node, "data", node)
    return None if isinstance(data, dict) and set(data) == {"extension"} else data


def _resource_key(inputs: list[Any]) -> list[str]:
    return [one["id"] for one in inputs if isinstance(one, dict) and "resourceType" in one and "id" in one]


def _quiet(evaluate: Any, item: Any, variables: dict[str, Any]) -> list[Any] | None:
    try:
        found = evaluate(item, variables)
    except Exception:  # of any class, RecursionError too; its text may quote the element
        return None
    return found if isinstance(found, list) else [found]
