"""The digest covers every field of [tool.flame], every byte of every file, and every run-config default."""

import copy
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import Manifest, manifest_of
from flame_fl.contract.terms import Terms
from tests.support.gates import ENFORCED, make_fab, manifest_from, terms_table, zip_of

# Every field stated, so that every field can be changed.
FULL = terms_table(
    privacy=ENFORCED | {"metric_share": 0.2, "adaptive_clip": True, "trust": "local"},
    secure_aggregation={
        "required": False,
        "dropouts": 1,
        "colluding": 1,
        "weight": "num-examples",
        "support": {"arrays/w": ["DIZ-1"]},
        "min_total": 12,
        "min_total_of": ["arrays/n"],
    },
    disclosure={
        "min_cell": 10,
        "counts": "suppress",
        "complementary": False,
        "round_to": 10,
        "most_noise": 6,
        "max_numbers_per_patient": 0.33,
        "max_numbers_per_patient_in_total": 1.0,
        "dominance": 0.5,
        "significant_digits": 6,
        "compare_with": "analysis",
        "exemption": "A reason",
    },
    messages={
        "train": {
            "per_run": 3,
            "update": "delta",
            "max_bytes": 1000,
            "arrays": [{"record": "arrays", "name": "w", "dtype": "float64", "shape": [4, 2], "kind": "model"}],
            "metrics": [{"record": "metrics", "name": "loss", "kind": "mean", "min": 0.0, "max": 10.0}],
        }
    },
    data={
        "cohort": {
            "kind": "table",
            "table": "samples.parquet",
            "patient_id": "patient_id",
            "record_id": "record",
            "columns": ["age", "sex"],
            "files": ["betas.parquet"],
            "features": ["cg1"],
            "modalities": ["CT"],
            "where": [{"column": "age", "op": "==", "value": 18}, {"column": "sex", "op": "in", "values": ["m"]}],
            "min_patients": 10,
            "optional": False,
        },
        "genes": {
            "kind": "table",
            "table": "samples.parquet",
            "patient_id": "patient_id",
            "record_id": "record",
            "columns": ["age"],
            "features_file": "genes.txt",
            "min_patients": 10,
            "optional": False,
        },
    },
    run_config={"rounds": {"min": 1.0, "max": 5.0}, "word": {"one_of": ["a", "b"]}},
    federation={"min_sites": 2},
    limits={"runs": 2, "requires_state": False},
    resources={
        "cpus": 1.0,
        "memory_bytes": 10**9,
        "pids": 64,
        "seconds": 600.0,
        "scratch_bytes": 10**8,
        "gpus": 1,
    },
    simulation={"module": "a.b", "variants": [{"name": "v", "privacy": "site", "epsilon": 2.0, "messages": ["train"]}]},
)
OTHER_WORDS = {
    "delta": "value",
    "float64": "float32",
    "mean": "sum",
    "site": "none",
    "samples.parquet": "other.parquet",
    "table": "images",
    "==": "!=",
    "in": "not in",
    "suppress": "refuse",
    "analysis": "store",
    "model": "sum",
}
BASE = manifest_from(make_fab(FULL))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from leaves(item, (*path, n))
    else:
        yield path


def changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1 if value >= 1 else (value + 0.05) / 2
        case date():
            return value + timedelta(days=1)
        case _:
            return OTHER_WORDS.get(value, f"{value}x")


# Fields with one legal value, or tied to another one.
FIXED = {
    ("schema",),
    ("privacy", "unit"),
    ("privacy", "trust"),  # "distributed" needs masks, and these need min_sites
    ("secure_aggregation", "required"),
    ("privacy", "ground"),
    ("privacy", "mechanism"),
    ("disclosure", "most_noise"),
}
PATHS = [path for path in leaves(FULL) if path not in FIXED]


def with_change(path: tuple[Any, ...]) -> dict[str, Any]:
    table = copy.deepcopy(FULL)
    at: Any = table
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = changed(at[path[-1]])
    return table


def test_every_field_of_the_format_is_stated_above() -> None:
    """So that a field that is added later cannot be forgotten here."""
    stated = set(leaves(Terms.model_validate(FULL).model_dump(mode="json", by_alias=True)))
    named = {tuple(k for k in path if isinstance(k, str)) for path in leaves(FULL)}
    missing = {tuple(k for k in path if isinstance(k, str)) for path in stated} - named
    unset = {path[-1] for path in missing}
    alternatives = {"length", "min", "max", "one_of", "features_file", "value"}  # to what is stated
    alternatives |= {"blocks", "slot_seconds", "sample_rate", "steps", "clip_share"}  # of other claims
    alternatives |= {"contributors", "largest_share", "denominator", "max_abs"}  # of claims without noise
    alternatives |= {"guard", "guard_zero", "guard_axes"}  # likewise
    assert unset <= alternatives


@pytest.mark.parametrize("field", ["blocks", "slot_seconds"])
def test_of_a_claim_of_unit_patient_too(field: str) -> None:
    blocks = ENFORCED | {"unit": "patient", "blocks": 4, "slot_seconds": 5.0}
    one, other = (manifest_from(make_fab(terms_table(privacy=p))) for p in (blocks, blocks | {field: 6}))
    assert one.digest != other.digest


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_changing_any_field_changes_the_digest_of_the_terms_alone(path: tuple[Any, ...]) -> None:
    """Not by way of the file they stand in: the bundle's own hash is held fixed."""
    other = manifest_from(make_fab(with_change(path)))
    assert other.model_copy(update={"fab_content_sha256": BASE.fab_content_sha256}).digest != BASE.digest


def test_leaving_out_any_optional_table_changes_the_digest_of_the_terms_alone() -> None:
    for table in ("data", "run_config", "limits", "resources", "simulation"):
        other = manifest_from(make_fab({key: value for key, value in FULL.items() if key != table}))
        assert other.model_copy(update={"fab_content_sha256": BASE.fab_content_sha256}).digest != BASE.digest, table


FILES = {"pyproject.toml": b"", "app/client.py": b"app = 1\n", "app/deep/data.json": b'{"a": 1}'}


@given(st.sampled_from(sorted(FILES)), st.data())
def test_flipping_any_bit_of_any_file_changes_the_content_hash(name: str, data: st.DataObject) -> None:
    files = dict(read_fab(make_fab(files=FILES | {"pyproject.toml": b"a=1"})).files)
    before = read_fab(zip_of(files.items())).content_sha256
    raw = bytearray(files[name])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert read_fab(zip_of((files | {name: bytes(raw)}).items())).content_sha256 != before


PARTS = st.text("ab", min_size=1, max_size=2)
PATH_NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


def hash_of(files: dict[str, bytes]) -> str | None:
    try:
        return read_fab(zip_of(files.items())).content_sha256
    except InputError:
        return None  # a file used as a folder


@given(*[st.dictionaries(PATH_NAMES, st.binary(max_size=2), max_size=4)] * 2)
def test_two_sets_of_files_never_share_a_content_hash(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    if None not in {hash_of(one), hash_of(other)}:
        assert (hash_of(one) == hash_of(other)) == (one == other)


SCALARS = st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SETTINGS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), SCALARS | st.text("xyz\u00e4", max_size=3), max_size=4
)


@given(SETTINGS, SETTINGS)
def test_two_run_configs_never_share_a_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    """1, 1.0 and true are three values; so are 0.0 and -0.0."""
    one, other = (dict(sorted(config.items())) for config in (one, other))
    digests = {manifest_from(make_fab({}, config=config)).digest for config in (one, other)}
    assert (len(digests) == 1) == (repr(one) == repr(other))


@given(SETTINGS)
def test_a_manifest_survives_its_storage_with_its_digest(config: dict[str, Any]) -> None:
    manifest = manifest_of(read_fab(make_fab({}, config=config)))
    again = Manifest.model_validate_json(manifest.model_dump_json(by_alias=True))
    assert again.digest == manifest.digest
    assert {k: type(v) for k, v in again.run_config.items()} == {k: type(v) for k, v in manifest.run_config.items()}
