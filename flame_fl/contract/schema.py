"""The format of `[tool.flame]` for people and for editors: docs/manifest.md and docs/manifest.schema.json.

Both are derived from the models, which are what a gate reads, and from the text below each of their fields.
`python -m flame_fl.contract.schema [FOLDER]` writes them.
"""

import ast
import inspect
import itertools
import json
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.release_contract import ArrayRule, MessageTerms, MetricRule
from flame_fl.contract.secure_terms import SecureAggregation
from flame_fl.contract.terms import (
    Condition,
    DataStore,
    Federation,
    Limits,
    OverrideRule,
    Privacy,
    Project,
    Resources,
    Simulation,
    Terms,
    Validity,
    Variant,
)
from flame_fl.contract.vetted_terms import (
    Activation,
    Bins,
    Categories,
    Columns,
    Convolution,
    Count,
    DpSgd,
    Genotype,
    GlmGradient,
    GroupMoments,
    GroupNorm,
    Histogram,
    LayerNorm,
    Linear,
    Moments,
    Sums,
)
from flame_fl.contract.words import Frozen

_TABLES: dict[str, type[Frozen]] = {
    "tool.flame": Terms,
    "tool.flame.project": Project,
    "tool.flame.data.NAME": DataStore,
    "tool.flame.data.NAME.where[]": Condition,
    'tool.flame.messages."TYPE"': MessageTerms,
    'tool.flame.messages."TYPE".arrays[]': ArrayRule,
    'tool.flame.messages."TYPE".metrics[]': MetricRule,
    'tool.flame.run_config."KEY"': OverrideRule,
    "tool.flame.privacy": Privacy,
    "tool.flame.disclosure": Disclosure,
    'tool.flame.vetted."TYPE" (kind = "dp-sgd")': DpSgd,
    'tool.flame.vetted."TYPE" (kind = "sums")': Sums,
    "columns of a work": Columns,
    "categories of a work": Categories,
    "bins of a work": Bins,
    "formula: count": Count,
    "formula: histogram": Histogram,
    "formula: moments": Moments,
    "formula: genotype": Genotype,
    "formula: group-moments": GroupMoments,
    "formula: glm-gradient": GlmGradient,
    "layer: linear": Linear,
    "layer: activation": Activation,
    "layer: layer-norm": LayerNorm,
    "layer: group-norm": GroupNorm,
    "layer: convolution": Convolution,
    "tool.flame.secure_aggregation": SecureAggregation,
    "tool.flame.federation": Federation,
    "tool.flame.limits": Limits,
    "tool.flame.resources": Resources,
    "tool.flame.validity": Validity,
    "tool.flame.simulation": Simulation,
    "tool.flame.simulation.variants[]": Variant,
}
_NAMES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "date": "date"}
_HEAD = """# The manifest: every field of `[tool.flame]`

Written by `python -m flame_fl.contract.schema`; `manifest.schema.json` beside it is the same for editors.

An app states these terms in its `pyproject.toml`. They are inside its bundle, and a DIZ's gate reads them there. The
analysis digest covers them as they stand, every file of the bundle, and the run config; an approval is given to the
digest. An unknown field is an error. What is not listed is denied.
"""


def json_schema() -> str:
    """JSON Schema of `[tool.flame]`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Terms.model_json_schema(by_alias=True)}
    for model in _TABLES.values():
        properties = (schema if model is Terms else schema["$defs"][model.__name__])["properties"]
        for name, meaning in _meanings(model).items():
            properties[model.model_fields[name].alias or name]["description"] = meaning
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def markdown() -> str:
    """One table per TOML table."""
    return "\n".join([_HEAD, *(_section(path, model) for path, model in _TABLES.items())])


def _section(path: str, model: type[BaseModel]) -> str:
    lines = [f"## `[{path}]`", "", " ".join((model.__doc__ or "").split()), ""]
    lines += ["| field | type | limits | default | meaning |", "|---|---|---|---|---|"]
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        cells = (f"`{field.alias or name}`", _kind(field.annotation), _limits(field), _default(field))
        lines.append("| " + " | ".join((*cells, meanings[name])) + " |")
    return "\n".join([*lines, ""])


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The string below each field. Read here, not by pydantic at import: sandboxes import the models too."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101
    found = {}
    for field, below in itertools.pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_kind(a) for a in arguments if a is not type(None)))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    return _NAMES.get(str(annotation.__name__), "table")


def _limits(field: FieldInfo) -> str:
    """Bounds and patterns, wherever pydantic keeps them: on the field or inside an optional type."""
    marks = [*field.metadata]
    for argument in get_args(field.annotation):
        marks += getattr(argument, "__metadata__", ())
    said = [text for mark in marks for text in _limit(mark)]
    keys = "names: " if said and get_origin(field.annotation) is dict else ""
    return keys + ", ".join(dict.fromkeys(said)).replace("|", "\\|") or "–"


def _limit(mark: object) -> list[str]:
    signs = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "pattern": "`{}`"}
    signs |= {"min_length": "at least {} long", "max_length": "at most {} long"}
    inner = [text for part in getattr(mark, "metadata", ()) for text in _limit(part)]
    return inner + [
        sign.format(value) for key, sign in signs.items() if (value := getattr(mark, key, None)) is not None
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}) or isinstance(value, BaseModel):
        return "–"
    return f"`{json.dumps(value)}`"


def write(folder: Path) -> None:
    """Write both files."""
    (folder / "manifest.md").write_text(markdown(), encoding="utf-8")
    (folder / "manifest.schema.json").write_text(json_schema(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
