"""Registrations and what is kept for them: private files, whole or not there, and nothing that nobody names."""

import os
import stat
from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.data.snapshot import Mode, Snapshot, keep, take
from flame_fl.node import registry as module
from flame_fl.node.registry import Registration, Registry, Version
from tests.unit.node.conftest import cohort, spec_of

KEY = b"k" * 32
NAMES = ("samples.parquet",)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "stores", tmp_path / "snapshots")


def in_place(folder: Path) -> Snapshot:
    return take(folder, NAMES, KEY, mode="in-place")


def copied(registry: Registry, folder: Path) -> Snapshot:
    incoming = registry.snapshots / f".incoming-{os.urandom(4).hex()}"
    registry.snapshots.mkdir(exist_ok=True)
    mode: Mode = keep(folder, NAMES, incoming, may_copy=True)
    return registry.adopt(incoming, take(incoming, NAMES, KEY, mode=mode))


def version(snapshot: Snapshot, folder: Path, **changes: object) -> Version:
    spec = spec_of(folder, **changes)
    return Version(
        number=1, snapshot=snapshot.id, mode=snapshot.mode, spec=spec, at="2026-01-01", rows=60, patients=30,
        size=snapshot.size, schema_sha256="s" * 64,
    )  # fmt: skip


def put(registry: Registry, name: str, snapshot: Snapshot, folder: Path, dropped: tuple[Version, ...] = ()) -> Version:
    numbered = registry.numbered(name, version(snapshot, folder))
    registration = registry.put(name, numbered, snapshot, dropped=dropped)
    registry.delete(dropped)
    return registration.current


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_one_private_file_each(registry: Registry, tmp_path: Path) -> None:
    """And one that lists the snapshot's files, in folders of the node's own."""
    folder = cohort(tmp_path / "data")
    for name in ("b", "a"):
        put(registry, name, in_place(folder), folder)
    assert list(registry.all()) == registry.names() == ["a", "b"]
    made = [p for place in (registry.stores, registry.snapshots) for p in place.iterdir()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in made} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (registry.stores, registry.snapshots)} == {0o700}


def test_what_is_written_is_read(registry: Registry, tmp_path: Path) -> None:
    folder = cohort(tmp_path / "data")
    snapshot = in_place(folder)
    current = put(registry, "a", snapshot, folder)
    assert registry.get("a") == Registration(name="a", versions=(current,))
    assert registry.snapshot(current) == snapshot
    assert current.binding == f"{snapshot.id}/{spec_of(folder).rule_sha256}"


def test_no_value_of_a_patients_is_in_it(registry: Registry, tmp_path: Path) -> None:
    folder = cohort(tmp_path / "data")
    put(registry, "a", in_place(folder), folder)
    for path in (*registry.stores.iterdir(), *registry.snapshots.iterdir()):
        assert b'"p1"' not in path.read_bytes()


def test_versions_are_numbered_and_found_by_what_approvals_name(registry: Registry, tmp_path: Path) -> None:
    """The same content and rule has the number it had, and is offered again."""
    folder = cohort(tmp_path / "data")
    first = put(registry, "a", in_place(folder), folder)
    cohort(folder, patients=31)
    second = put(registry, "a", in_place(folder), folder)
    assert (first.number, second.number) == (1, 2)
    found = registry.get("a")
    assert (found.current, found.version(None), found.version(first.binding)) == (second, second, first)
    assert found.version("another") is None
    cohort(folder)
    again = put(registry, "a", in_place(folder), folder, dropped=(first,))
    assert again.number == 1
    assert registry.get("a").current.number == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', '{"name": "x", "versions": []}', "\x00"])
def test_a_registration_that_is_none_is_named(registry: Registry, text: str) -> None:
    """Nothing runs on a guess of what it may have been."""
    registry.stores.mkdir()
    (registry.stores / "odd.json").write_text(text)
    for look in (registry.all, lambda: registry.get("odd")):
        with pytest.raises(InputError, match=r"odd\.json is no registration"):
            look()


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"files": 1}', '{"files": [1]}', '{"id": "x", "files": []}'])
def test_a_list_of_files_that_is_none_is_named(registry: Registry, tmp_path: Path, text: str | None) -> None:
    folder = cohort(tmp_path / "data")
    current = put(registry, "a", in_place(folder), folder)
    (path,) = registry.snapshots.iterdir()
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match="no list of a snapshot's files"):
        registry.snapshot(current)


def test_one_that_is_not_there(registry: Registry) -> None:
    assert registry.all() == {}
    assert registry.names() == []
    for look in (registry.get, registry.remove):
        with pytest.raises(InputError, match="no data store 'a'"):
            look("a")


def test_removing_leaves_the_source_and_nothing_else(registry: Registry, tmp_path: Path) -> None:
    folder = cohort(tmp_path / "data")
    put(registry, "a", copied(registry, folder), folder)
    put(registry, "b", in_place(folder), folder)
    registry.remove("a")
    registry.remove("b")
    assert files(registry.stores) + files(registry.snapshots) == []
    assert list(registry.snapshots.iterdir()) == []
    assert files(folder) == ["samples.parquet"]


def test_content_that_two_stores_have_is_kept_once_and_as_long_as_one_names_it(
    registry: Registry, tmp_path: Path
) -> None:
    folder = cohort(tmp_path / "data")
    put(registry, "a", copied(registry, folder), folder)
    put(registry, "b", copied(registry, folder), folder)
    assert len([p for p in registry.snapshots.iterdir() if p.is_dir()]) == 1
    registry.remove("a")
    snapshot = registry.snapshot(registry.get("b").current)
    assert (Path(snapshot.folder) / "samples.parquet").exists()


def test_the_same_content_in_two_places_is_used_where_it_was_registered(registry: Registry, tmp_path: Path) -> None:
    """One of them may change or go: the other is not touched by that."""
    one, other = cohort(tmp_path / "one"), cohort(tmp_path / "other")
    for name, folder in (("a", one), ("b", other)):
        put(registry, name, in_place(folder), folder)
    assert registry.snapshot(registry.get("a").current).folder == str(one)
    assert registry.snapshot(registry.get("b").current).folder == str(other)
    registry.remove("b")
    assert registry.snapshot(registry.get("a").current).folder == str(one)


def test_a_dropped_version_is_deleted_and_others_stay(registry: Registry, tmp_path: Path) -> None:
    folder = cohort(tmp_path / "data")
    first = put(registry, "a", copied(registry, folder), folder)
    cohort(folder, patients=31)
    second = put(registry, "a", copied(registry, folder), folder)
    cohort(folder, patients=32)
    third = put(registry, "a", copied(registry, folder), folder, dropped=(second,))
    assert registry.get("a").versions == (first, third)
    assert {p.name for p in registry.snapshots.iterdir() if p.is_dir()} == {first.snapshot, third.snapshot}
    assert len(files(registry.snapshots)) == 4


def test_a_copy_becomes_data_used_in_place(registry: Registry, tmp_path: Path) -> None:
    """The same content: the copy goes, the list of the place stays; and back again."""
    folder = cohort(tmp_path / "data")
    first = put(registry, "a", copied(registry, folder), folder)
    second = put(registry, "a", in_place(folder), folder, dropped=(first,))
    assert registry.snapshot(second).folder == str(folder)
    assert [p.is_dir() for p in registry.snapshots.iterdir()] == [False]
    third = put(registry, "a", copied(registry, folder), folder, dropped=(second,))
    assert Path(registry.snapshot(third).folder).parent == registry.snapshots
    assert len(files(registry.snapshots)) == 2


def test_a_copy_that_nobody_registered_is_not_taken_for_one(registry: Registry, tmp_path: Path) -> None:
    """Somebody died in between: it may be half of it."""
    folder = cohort(tmp_path / "data")
    copied(registry, folder)
    with pytest.raises(InputError, match="unfinished snapshot was in the way"):
        copied(registry, folder)
    put(registry, "a", copied(registry, folder), folder)


@pytest.mark.parametrize("number", [1, 2])
def test_a_registration_that_cannot_be_written_is_the_old_one(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = cohort(tmp_path / "data")
    put(registry, "a", in_place(folder), folder)
    before = registry.get("a")
    cohort(folder, patients=31)
    real, calls = module.replace_file, []

    def full(path: Path, data: bytes, mode: int) -> None:
        calls.append(path)
        if len(calls) == number:
            raise OSError(28, "No space left on device")
        real(path, data, mode)

    new = in_place(folder)
    with monkeypatch.context() as patch:
        patch.setattr(module, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            registry.put("a", registry.numbered("a", version(new, folder)), new)
    assert registry.get("a") == before


def test_a_registration_is_put_back(registry: Registry, tmp_path: Path) -> None:
    folder = cohort(tmp_path / "data")
    put(registry, "a", in_place(folder), folder)
    before = registry.get("a")
    cohort(folder, patients=31)
    put(registry, "a", in_place(folder), folder)
    registry.put_back("a", before)
    assert registry.get("a") == before
    registry.put_back("a", None)
    assert registry.names() == []
