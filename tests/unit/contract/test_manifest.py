"""The manifest: what the digest covers, and what a run config may become."""

from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.canonical import digest
from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import Manifest, NodeBinding, resolve_run_config
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.schema import json_schema, markdown
from tests.support.gates import make_fab, make_terms, manifest_from, terms_table

CHANGES: dict[str, dict[str, Any]] = {
    "a file": {"files": {"app/client.py": b"app = 2\n"}},
    "a new file": {"files": {"app/other.py": b""}},
    "a file's name": {"files": {"app/Client2.py": b"app = 1\n"}},
    "the app's name": {"name": "another-app"},
    "a run-config default": {"config": {"rounds": 4, "rate": 0.5, "word": "a", "flag": True}},
    "the type of a default": {"config": {"rounds": 3.0, "rate": 0.5, "word": "a", "flag": True}},
    "the runs allowed": {"terms": terms_table(limits={"runs": 3})},
    "no terms": {"terms": {}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_another_analysis(change: dict[str, Any]) -> None:
    assert manifest_from(make_fab(**change)).digest != manifest_from(make_fab()).digest


def test_the_same_bundle_is_the_same_analysis() -> None:
    assert manifest_from(make_fab()).digest == manifest_from(make_fab()).digest


def test_the_digest_is_the_hash_of_the_canonical_json() -> None:
    manifest = manifest_from(make_fab())
    assert manifest.digest == digest(manifest.as_json())
    assert manifest.as_json()["manifest_version"] == 1


def test_a_copy_with_a_change_has_a_digest_of_its_own() -> None:
    """Also where the first one's was formed already."""
    manifest = manifest_from(make_fab(terms_table()))
    before = manifest.digest
    other = manifest.model_copy(update={"app": "another/app"})
    assert other.digest == digest(other.as_json()) != before == manifest.digest


def test_a_manifest_survives_its_storage() -> None:
    manifest = manifest_from(make_fab())
    again = Manifest.model_validate_json(manifest.model_dump_json(by_alias=True))
    assert again == manifest
    assert again.digest == manifest.digest


def test_nested_settings_become_dotted_keys() -> None:
    manifest = manifest_from(make_fab({}, config={"a": {"b": {"c": 1}}, "d": 2}))
    assert manifest.run_config == {"a.b.c": 1, "d": 2}


@pytest.mark.parametrize(
    "config", [{"a": [1]}, {"a": float("nan")}, {"a": float("inf")}, {"a": 2**53}], ids=["list", "nan", "inf", "2^53"]
)
def test_a_default_without_canonical_form_is_an_error(config: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        manifest_from(make_fab({}, config=config))


def test_a_rule_for_a_key_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(InputError, match="'round'"):
        manifest_from(make_fab(terms_table(run_config={"round": {"min": 1, "max": 2}})))


def test_a_number_the_digest_could_not_hold_is_an_error() -> None:
    stated = terms_table(resources={"memory_bytes": 2**60})
    with pytest.raises(InputError):
        manifest_from(make_fab(stated))


def test_an_allowed_override_replaces_the_default_only() -> None:
    manifest = manifest_from(make_fab())
    assert manifest.terms is not None
    assert resolve_run_config(manifest, {"rounds": 5}, manifest.terms) == manifest.run_config | {"rounds": 5}


@pytest.mark.parametrize("overrides", [{"rate": 0.1}, {"unknown": 1}, {"rounds": 9}])
def test_any_other_override_is_refused(overrides: dict[str, Any]) -> None:
    manifest = manifest_from(make_fab())
    assert manifest.terms is not None
    with pytest.raises(RefusedError) as caught:
        resolve_run_config(manifest, overrides, manifest.terms)
    assert caught.value.code is RefusalCode.TERMS_VIOLATED


@pytest.mark.parametrize(
    "change",
    [{"sandbox": "other"}, {"data": {"s": "h2"}}, {"data": {"s": "h", "t": "h"}}, {"steward_terms": make_terms()}],
)
def test_a_binding_covers_sandbox_data_and_the_stewards_terms(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"sandbox": "subprocess", "data": {"s": "h"}}
    assert NodeBinding(**(base | change)).digest != NodeBinding(**base).digest


def test_the_published_format_is_the_models() -> None:
    """docs/manifest.md and docs/manifest.schema.json; `make docs` writes them."""
    docs = Path(__file__).parents[3] / "docs"
    assert (docs / "manifest.md").read_text(encoding="utf-8") == markdown()
    assert (docs / "manifest.schema.json").read_text(encoding="utf-8") == json_schema()
