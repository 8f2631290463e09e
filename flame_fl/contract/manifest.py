"""The manifest: canonical JSON of everything the approval binds, and its digest.

The *analysis digest* is the same at every DIZ: the FAB's content hash, the run config inside the FAB, and
`[tool.flame]` as it stands inside the FAB. An override at submission is not part of it: it is either inside the ranges
that the digest covers, or refused with 908 (docs/adr/0003). The *node binding* is what only one node knows. An
approval names both digests.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from flame_fl.contract.canonical import canonical_json, digest
from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import Fab
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.settings import faults
from flame_fl.contract.terms import Frozen, Scalar, Terms

MAX_CONFIG_DEPTH = 16


class Manifest(Frozen):
    """What is the same at every DIZ. `terms` is None for an app that never heard of flame_fl."""

    manifest_version: Literal[1] = 1
    app: str
    fab_content_sha256: str
    run_config: dict[str, Scalar]
    terms: Terms | None

    def as_json(self) -> dict[str, Any]:
        """The JSON value the digest is taken of."""
        return self.model_dump(mode="json", by_alias=True)

    @cached_property
    def digest(self) -> str:
        """The analysis digest: SHA-256 of the canonical JSON. Formed once: every leg asks for it several times."""
        return digest(self.as_json())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, without the digest of what is changed now."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("digest", None)
        return copy


class NodeBinding(Frozen):
    """What only one node knows: its sandbox, its data by store, who takes part, and terms its steward supplied."""

    binding_version: Literal[2] = 2
    sandbox: str
    data: dict[str, str]
    participants: dict[str, str] = Field(default_factory=dict)
    steward_terms: Terms | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.model_dump(mode="json", by_alias=True))


def manifest_of(fab: Fab) -> Manifest:
    """Read the manifest out of a bundle.

    Raises:
        InputError: `[tool.flame]` or `[tool.flwr.app.config]` is malformed, or something in them has no canonical
            form; the sentence names the field.
    """
    stated = fab.setting("tool", "flame")
    terms = None if stated is None else parse_terms(stated)
    config = _flatten(_own_config(fab))
    canonical_json(config)  # no NaN, no integer that another JSON parser would round
    if terms is not None and (unknown := sorted(set(terms.run_config) - set(config))):
        raise InputError(
            f"[tool.flame.run_config] allows overrides of {unknown[0]!r}, which [tool.flwr.app.config] does not have.",
            mend="Correct the key, or give it a default there.",
        )
    manifest = Manifest(app=fab.app_id, fab_content_sha256=fab.content_sha256, run_config=config, terms=terms)
    canonical_json(manifest.as_json())
    return manifest


def parse_terms(stated: Any) -> Terms:
    """Check a `[tool.flame]` table.

    Raises:
        InputError: With every field that is wrong, and why.
    """
    try:
        return Terms.model_validate(stated)
    except ValidationError as err:
        wrong = " ".join(fault.sentence for fault in faults(err, Terms)[:8])
        raise InputError(
            f"[tool.flame] is malformed: {wrong}",
            mend="Correct it in the app's pyproject.toml; docs/manifest.md lists every field.",
        ) from None


def resolve_run_config(manifest: Manifest, overrides: Mapping[str, Scalar], terms: Terms) -> dict[str, Scalar]:
    """The run config an app will see: the FAB's own, with overrides the terms allow.

    Raises:
        RefusedError: 908, an override is unknown, of another type, or outside its range.
    """
    resolved = dict(manifest.run_config)
    for key, value in overrides.items():
        rule = terms.run_config.get(key)
        if key not in resolved or rule is None or not rule.allows(value, resolved[key]):
            raise RefusedError(RefusalCode.TERMS_VIOLATED, f"override of run-config key {key!r} is not allowed")
        resolved[key] = value
    return resolved


def _own_config(fab: Fab) -> Mapping[str, Any]:
    config = fab.setting("tool", "flwr", "app", "config")
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise InputError("[tool.flwr.app.config] is no table.", mend="See Flower's documentation of run configs.")
    return config


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested tables become dotted keys, as Flower does."""
    if prefix.count(".") > MAX_CONFIG_DEPTH:
        raise InputError(f"[tool.flwr.app.config] is nested more than {MAX_CONFIG_DEPTH} deep.")
    flat: dict[str, Scalar] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        elif isinstance(value, bool | int | float | str):
            flat[f"{prefix}{key}"] = value
        else:
            raise InputError(f"Run-config key {prefix}{key} is neither a number, a string nor true/false.")
    return flat
