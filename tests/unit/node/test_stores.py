"""What a DIZ offers: registered by the content's hash, looked at again before every message."""

import json
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.node import stores as module
from flame_fl.node.stores import LiveViews, Registry, inspect, require_readable
from flame_fl.node.wiring import Node, open_gate
from tests.support.gates import manifest_from
from tests.unit.node.conftest import cohort
from tests.unit.node.decisions import approve_stated, ask, fab_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cohort(tmp_path / "data")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "stores")


def looked_at(folder: Path, name: str = "cohort") -> module.DataStore:
    return inspect(name, folder, "samples.parquet", "patient_id", mock=True)


def test_what_is_registered(folder: Path) -> None:
    """Rows and patients are counted here, the schema is hashed by names and types only."""
    store = looked_at(folder)
    assert (store.rows, store.patients, store.mock, store.path) == (60, 30, True, str(folder))
    other = cohort(folder.parent / "other", patients=40)
    assert looked_at(other).schema_sha256 == store.schema_sha256
    assert looked_at(other).snapshot != store.snapshot


def test_the_schema_hash_knows_types(folder: Path) -> None:
    before = looked_at(folder).schema_sha256
    pq.write_table(pa.table({"patient_id": ["a"], "value": [1.5]}), folder / "samples.parquet")
    assert looked_at(folder).schema_sha256 != before


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "ä", "x" * 65, "a.b"])
def test_a_name_that_is_none(folder: Path, name: str) -> None:
    """It becomes a file's name here and a folder's in the sandbox."""
    with pytest.raises(InputError, match="no name for a data store"):
        looked_at(folder, name)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        looked_at(tmp_path / "missing")


@pytest.mark.parametrize(("table", "column"), [("other.parquet", "patient_id"), ("samples.parquet", "other")])
def test_a_table_or_column_that_is_not_there(folder: Path, table: str, column: str) -> None:
    with pytest.raises(InputError, match="other"):
        inspect("cohort", folder, table, column, mock=False)


@pytest.mark.parametrize(("path", "mode"), [("samples.parquet", 0o600), ("samples.parquet", 0o640), (".", 0o700)])
def test_what_nobody_could_read_is_refused_with_the_command_that_mends_it(folder: Path, path: str, mode: int) -> None:
    """A sandbox runs as nobody: the files must be readable by others, the folders above may stay closed."""
    (folder / path).chmod(mode)
    with pytest.raises(InputError, match="could not read") as err:
        looked_at(folder)
    assert "chmod -R o+rX" in err.value.mend
    folder.chmod(0o755)
    (folder / "samples.parquet").chmod(0o644)
    folder.parent.chmod(0o700)
    assert looked_at(folder).rows == 60


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_belongs_to_nobody_may_be_private(folder: Path) -> None:
    for path in (folder, folder / "samples.parquet"):
        os.chown(path, 65534, 65534)
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    require_readable(folder)


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    """What it points at is in no hash, and may be anything of the host's."""
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link"):
        looked_at(folder)


def test_a_link_that_points_nowhere_is_an_input_error(folder: Path) -> None:
    """Named, with a mend; not an OSError."""
    (folder / "link").symlink_to(folder / "missing")
    with pytest.raises(InputError, match="link"):
        looked_at(folder)


def test_the_registry_keeps_one_private_file_each(registry: Registry, folder: Path, tmp_path: Path) -> None:
    registry.put(looked_at(folder, "b"))
    registry.put(looked_at(folder, "a"))
    registry.put(looked_at(folder, "a"))
    assert list(registry.all()) == ["a", "b"]
    assert registry.all()["a"] == looked_at(folder, "a")
    files = list((tmp_path / "stores").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    registry.remove("a")
    assert list(registry.all()) == ["b"]
    with pytest.raises(InputError, match="no data store 'a'"):
        registry.remove("a")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', "\x00"])
def test_a_registration_that_is_none_is_named(registry: Registry, tmp_path: Path, text: str) -> None:
    """Nothing runs on a guess of what it may have been."""
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores" / "odd.json").write_text(text)
    with pytest.raises(InputError, match=r"odd\.json is no registration"):
        registry.all()


def test_views_are_hashed_again_only_if_something_changed(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size, time or inode: a message does not cost a pass over the data."""
    hashed: list[Path] = []
    real = module.snapshot_of
    monkeypatch.setattr(module, "snapshot_of", lambda path: hashed.append(path) or real(path))
    registry.put(looked_at(folder))
    hashed.clear()
    views = LiveViews(registry)
    first = views["cohort"].snapshot
    assert [views["cohort"].snapshot for _ in range(3)] == [first] * 3
    assert len(hashed) == 1
    os.utime(folder / "samples.parquet", ns=(1, 1))
    assert views["cohort"].snapshot == first
    assert len(hashed) == 2
    (folder / "more.txt").write_text("x")
    assert views["cohort"].snapshot != first


def test_content_of_the_same_size_and_time_in_another_file_is_seen(registry: Registry, folder: Path) -> None:
    """A file that was put in another's place has another inode."""
    (folder / "note.txt").write_text("before")
    registry.put(looked_at(folder))
    views = LiveViews(registry)
    first = views["cohort"].snapshot
    seen = (folder / "note.txt").stat()
    (folder / "new").write_text("after!")
    os.utime(folder / "new", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    (folder / "new").rename(folder / "note.txt")
    assert views["cohort"].snapshot != first


def test_the_number_of_patients_is_the_registered_one(registry: Registry, folder: Path) -> None:
    """What is counted in changed data is not believed: the steward registers them anew."""
    registry.put(looked_at(folder))
    cohort(folder, patients=5000)
    assert LiveViews(registry)["cohort"].patients == 30


def test_a_store_that_cannot_be_read_is_not_there(registry: Registry, folder: Path) -> None:
    """Neither in the view nor among its names; the others are."""
    registry.put(looked_at(folder))
    registry.put(looked_at(cohort(folder.parent / "other"), "other"))
    views = LiveViews(registry)
    assert "cohort" in views
    (folder / "samples.parquet").unlink()
    (folder / "link").symlink_to("/etc/passwd")
    assert "cohort" not in views
    with pytest.raises(KeyError):
        views["cohort"]
    assert "other" in views
    assert "unheard-of" not in views
    assert (sorted(views), len(views)) == (["cohort", "other"], 2)


def test_a_store_that_vanished_is_not_there(registry: Registry, folder: Path) -> None:
    """The folder was moved away, or a disk is not mounted."""
    registry.put(looked_at(folder))
    folder.rename(folder.parent / "moved")
    assert "cohort" not in LiveViews(registry)


def test_the_registration_is_what_the_steward_sees(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """Plain JSON, no values of patients."""
    registry.put(looked_at(folder))
    text = (tmp_path / "stores" / "cohort.json").read_text()
    assert json.loads(text)["patients"] == 30
    assert '"p1"' not in text


# --- through a gate ---------------------------------------------------------------------------------------------------


def test_changed_content_is_908_until_it_is_registered_and_approved_anew(
    gate: Gate, node: Node, store: Store, tmp_path: Path
) -> None:
    """The approval binds the snapshot."""
    fab = fab_of()
    manifest = approve_stated(gate, fab)
    assert ask(gate, fab) is RefusalCode.SANDBOX_FAILED  # the app of this bundle is none: it was started
    cohort(tmp_path / "cohort", patients=31)
    assert ask(gate, fab, leg="2") is RefusalCode.TERMS_VIOLATED
    node.registry.put(looked_at(tmp_path / "cohort"))
    assert ask(gate, fab, leg="3") is RefusalCode.TERMS_VIOLATED
    approve_stated(gate, fab)
    assert ask(gate, fab, leg="4") is RefusalCode.SANDBOX_FAILED
    assert manifest_from(fab) == manifest


def test_a_store_that_is_gone_is_908(gate: Gate, tmp_path: Path) -> None:
    fab = fab_of()
    approve_stated(gate, fab)
    (tmp_path / "cohort").rename(tmp_path / "moved")
    assert ask(gate, fab) is RefusalCode.TERMS_VIOLATED


def test_a_store_that_counts_otherwise_is_908(gate: Gate, node: Node, tmp_path: Path) -> None:
    """Registered by another column than the terms state."""
    fab = fab_of()
    node.registry.put(inspect("cohort", tmp_path / "cohort", "samples.parquet", "value", mock=True))
    approve_stated(gate, fab)
    assert ask(gate, fab) is RefusalCode.TERMS_VIOLATED


def test_too_few_patients_are_908(node: Node, store: Store, tmp_path: Path) -> None:
    """The node's own minimum holds beside the terms'."""
    node.registry.put(looked_at(cohort(tmp_path / "cohort", patients=9)))
    gate = open_gate(node, store)
    fab = fab_of()
    approve_stated(gate, fab)
    assert ask(gate, fab) is RefusalCode.TERMS_VIOLATED
