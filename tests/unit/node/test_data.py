"""Registering a store: looked at, hashed, reported on and registered, or nothing of it is left."""

import errno
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.data import files as filing
from flame_fl.data import snapshot as snapshots
from flame_fl.data.kind import open_kind
from flame_fl.data.snapshot import FileMark
from flame_fl.data.spec import StoreSpec
from flame_fl.gate.approval import ApprovalRecord, Status
from flame_fl.gate.store import Store
from flame_fl.node import data as module
from flame_fl.node import registry as registering
from flame_fl.node.data import (
    Adding,
    DataFiles,
    add,
    approvals_of,
    check,
    refresh,
    release_schema,
    released_schema,
    remove,
)
from flame_fl.node.registry import Registration, Registry
from tests.support.gates import make_fab, manifest_from
from tests.unit.node.conftest import cohort, spec_of

KEY = b"k" * 32


@pytest.fixture
def files(tmp_path: Path) -> DataFiles:
    (tmp_path / "state").mkdir(mode=0o700)
    return DataFiles(tmp_path / "state")


@pytest.fixture
def store(files: DataFiles):  # type: ignore[no-untyped-def]
    store = Store(files.state / "state.db", durable=False)
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cohort(tmp_path / "data")


def adding(copy: bool | None = False, **how: Any) -> Adding:
    return Adding(KEY, by="ada", copy=copy, **how)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(place: Path) -> dict[str, bytes]:
    """Every file of the state but the database's own."""
    return {
        str(p.relative_to(place)): p.read_bytes()
        for p in sorted(place.rglob("*"))
        if p.is_file() and not p.name.startswith("state.db")
    }


def told(store: Store) -> list[tuple[str, dict[str, Any]]]:
    return [(entry["kind"], entry["body"]) for entry, _ in store.audit_rows()]


def approve(store: Store, registration: Registration, name: str = "cohort", **changes: Any) -> str:
    """As a steward does it, for the version that is offered now."""
    manifest = manifest_from(make_fab(name=f"app-{len(store.approvals())}"))
    record = ApprovalRecord(
        manifest.digest, Status.APPROVED, manifest, "b", by="ada", data={name: registration.current.binding}, **changes
    )
    store.put_approval(record)
    return manifest.digest


def take_back(store: Store, digest: str) -> None:
    record = store.approval(digest)
    assert record is not None
    store.put_approval(ApprovalRecord(digest, Status.WITHDRAWN, record.manifest, "b", data=record.data))


def no_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*arguments: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr("fcntl.ioctl", refuses)


class TestAdding:
    def test_what_is_registered(self, files: DataFiles, store: Store, folder: Path) -> None:
        """Records and patients are counted here."""
        version = add(files, store, "cohort", spec_of(folder), adding()).current
        assert (version.number, version.rows, version.patients, version.mode) == (1, 60, 30, "in-place")
        assert version.size == (folder / "samples.parquet").stat().st_size
        assert files.registry.get("cohort").current == version

    def test_who_did_it_is_audited_without_anything_of_a_patient(
        self, files: DataFiles, store: Store, folder: Path
    ) -> None:
        version = add(files, store, "cohort", spec_of(folder), adding()).current
        (kind, body) = told(store)[-1]
        assert kind == "data-registered"
        assert body == {
            "store": "cohort", "version": 1, "binding": version.binding, "schema": version.schema_sha256,
            "mode": "in-place", "by": "ada",
        }  # fmt: skip

    def test_the_schema_hash_knows_names_and_types_only(
        self, files: DataFiles, store: Store, folder: Path, tmp_path: Path
    ) -> None:
        one = add(files, store, "a", spec_of(folder), adding()).current
        other = add(files, store, "b", spec_of(cohort(tmp_path / "other", patients=40)), adding()).current
        assert one.schema_sha256 == other.schema_sha256
        assert one.snapshot != other.snapshot
        pq.write_table(pa.table({"patient_id": ["a"], "value": [1.5]}), folder / "samples.parquet")
        assert add(files, store, "a", spec_of(folder), adding()).current.schema_sha256 != one.schema_sha256

    def test_the_snapshot_is_named_under_the_nodes_key(self, files: DataFiles, store: Store, folder: Path) -> None:
        one = add(files, store, "a", spec_of(folder), adding()).current
        other = add(files, store, "b", spec_of(folder), Adding(b"x" * 32, by="ada", copy=False)).current
        assert one.snapshot != other.snapshot

    @pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "ä", "x" * 65, "a.b", "a\n"])
    def test_a_name_that_is_none(self, files: DataFiles, store: Store, folder: Path, name: str) -> None:
        """It becomes a file's name here and a folder's in the sandbox."""
        with pytest.raises(InputError, match="no name for a data store"):
            add(files, store, name, spec_of(folder), adding())
        assert everything(files.state) == {}

    def test_private_files(self, files: DataFiles, store: Store, folder: Path) -> None:
        """The report holds patients' values."""
        add(files, store, "cohort", spec_of(folder), adding(copy=True))
        release_schema(files, store, "cohort", open_kind(folder, spec_of(folder).layout.layout).schema(), by="a")
        for path in files.state.rglob("*"):
            if path.name.startswith("state.db"):
                continue
            wanted = 0o700 if path.is_dir() else 0o400 if path.name == "samples.parquet" else 0o600
            assert mode(path) == wanted, path
        assert {p.name for p in files.state.iterdir() if p.is_dir()} == {"stores", "snapshots", "quality", "schemas"}

    def test_opt_outs_and_the_rule_are_counted_from_the_start(
        self, files: DataFiles, store: Store, folder: Path
    ) -> None:
        files.patients.opt_out(["p0"])
        where = [{"column": "value", "op": "<", "value": 30}]
        version = add(files, store, "cohort", spec_of(folder, cohort={"where": where}), adding()).current
        assert (version.rows, version.patients) == (29, 29)


def csv(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(text)
    return folder


class TestBadData:
    """A sentence that names files and columns; never a value of a patient's."""

    def wrong(self, files: DataFiles, store: Store, folder: Path, **changes: Any) -> str:
        spec = spec_of(folder, **({"layout": {"table": "t.csv", "patient_id": "pid"}} | changes))
        with pytest.raises(InputError) as caught:
            add(files, store, "cohort", spec, adding())
        assert caught.value.mend
        assert "s3cret" not in str(caught.value)
        assert everything(files.state) == {}
        assert told(store) == []
        return caught.value.message

    def test_no_folder(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        assert "There is no folder" in self.wrong(files, store, tmp_path / "missing")

    def test_no_table(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        assert "t.csv" in self.wrong(files, store, tmp_path / "data")

    def test_no_patient_id_column(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        said = self.wrong(files, store, csv(tmp_path / "data", "id,x\ns3cret,1\n"))
        assert "no column 'pid'" in said

    def test_no_patient_at_all(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        said = self.wrong(files, store, csv(tmp_path / "data", "pid,x\n,s3cret\n,2\n"))
        assert "No record in t.csv names its patient in 'pid'" in said

    def test_no_record_at_all(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        assert "No record in t.csv" in self.wrong(files, store, csv(tmp_path / "data", "pid,x\n"))

    def test_record_ids_that_occur_twice(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        """They would give one record's further data to another."""
        layout = {"table": "t.csv", "patient_id": "pid", "record_id": "visit"}
        folder = csv(tmp_path / "data", "pid,visit\na,s3cret\nb,s3cret\nb,v2\n")
        assert "1 record ids in t.csv occur more than once in 'visit'" in self.wrong(
            files, store, folder, layout=layout
        )

    def test_a_table_that_is_cut_short(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        folder = cohort(tmp_path / "data")
        path = folder / "samples.parquet"
        path.write_bytes(path.read_bytes()[:-20])
        layout = {"table": "samples.parquet", "patient_id": "patient_id"}
        assert "is not a Parquet file that can be read" in self.wrong(files, store, folder, layout=layout)

    @pytest.mark.parametrize(
        "text",
        [
            "pid,x\na,1\nb,s3cret,3\n",
            "pid,pid\na,b\n",
            'pid,x\na,"s3cret\nb,2\n',
        ],
    )
    def test_a_table_that_is_broken(self, files: DataFiles, store: Store, tmp_path: Path, text: str) -> None:
        assert "t.csv" in self.wrong(files, store, csv(tmp_path / "data", text))

    def test_text_that_is_no_utf8(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        folder = csv(tmp_path / "data", "")
        (folder / "t.csv").write_bytes("pid,näme\na,s3cret\n".encode("latin-1"))
        assert "UTF-8" in self.wrong(files, store, folder)

    @pytest.mark.parametrize("where", ["table", "further"])
    def test_a_link(self, files: DataFiles, store: Store, tmp_path: Path, where: str) -> None:
        """What it points at may be anything of the host's."""
        folder = csv(tmp_path / "data", "pid,x\na,1\n")
        (tmp_path / "secret").write_text("pid,x\ns3cret,1\n")
        name = "t.csv" if where == "table" else "more.csv"
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(tmp_path / "secret")
        layout = {"table": "t.csv", "patient_id": "pid", "files": ["more.csv"]}
        assert f"{name} is a link" in self.wrong(files, store, folder, layout=layout)

    def test_a_folder_that_is_a_link_to_one_is_that_one(
        self, files: DataFiles, store: Store, folder: Path, tmp_path: Path
    ) -> None:
        """Where it is now is what is registered: moving the link does not move the store."""
        (tmp_path / "link").symlink_to(folder)
        add(files, store, "cohort", spec_of(tmp_path / "link"), adding())
        snapshot = files.registry.snapshot(files.registry.get("cohort").current)
        assert snapshot.folder == str(folder)

    def test_a_rule_over_a_column_that_is_not_there(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        folder = csv(tmp_path / "data", "pid,x\ns3cret,1\n")
        rule = {"consent": {"column": "consent", "granted": ["yes"]}}
        assert "no column 'consent'" in self.wrong(files, store, folder, cohort=rule)

    def test_a_rule_of_another_type(self, files: DataFiles, store: Store, tmp_path: Path) -> None:
        """In a file that has types; of a text table a cell that is no number meets no condition."""
        (tmp_path / "data").mkdir()
        pq.write_table(pa.table({"pid": ["a"], "x": ["s3cret"]}), tmp_path / "data" / "t.parquet")
        rule = {"where": [{"column": "x", "op": ">", "value": 3}]}
        layout = {"table": "t.parquet", "patient_id": "pid"}
        assert "condition on 'x'" in self.wrong(files, store, tmp_path / "data", cohort=rule, layout=layout)


class TestCopies:
    @pytest.fixture(autouse=True)
    def _no_sharing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        no_sharing(monkeypatch)

    def test_a_copy_is_read_only_and_the_source_is_free(self, files: DataFiles, store: Store, folder: Path) -> None:
        version = add(files, store, "cohort", spec_of(folder), adding(copy=True)).current
        own = files.state / "snapshots" / version.snapshot
        assert version.mode == "copy"
        assert (mode(own), mode(own / "samples.parquet")) == (0o700, 0o400)
        assert files.registry.snapshot(version).folder == str(own)
        (folder / "samples.parquet").unlink()
        assert check(files, "cohort", KEY).rows == 60

    def test_shared_blocks_need_no_permission(
        self, files: DataFiles, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import os

        monkeypatch.setattr("fcntl.ioctl", lambda to, what, source: os.write(to, os.pread(source, 1 << 20, 0)) and 0)
        ask = lambda amount: pytest.fail("asked")  # noqa: E731
        version = add(files, store, "cohort", spec_of(folder), adding(copy=None, ask=ask)).current
        assert version.mode == "reflink"
        assert mode(files.state / "snapshots" / version.snapshot / "samples.parquet") == 0o400

    @pytest.mark.parametrize(("said", "wanted"), [(True, "copy"), (False, "in-place")])
    def test_a_person_is_asked_how_much(
        self, files: DataFiles, store: Store, folder: Path, said: bool, wanted: str
    ) -> None:
        asked: list[int] = []

        def ask(amount: int) -> bool:
            asked.append(amount)
            return said

        how = adding(copy=None, ask=ask)
        assert add(files, store, "cohort", spec_of(folder), how).current.mode == wanted
        assert asked == [(folder / "samples.parquet").stat().st_size]

    def test_nobody_to_ask_means_where_they_lie(self, files: DataFiles, store: Store, folder: Path) -> None:
        assert add(files, store, "cohort", spec_of(folder), adding(copy=None)).current.mode == "in-place"

    def test_in_place_no_copy_is_ever_made(
        self, files: DataFiles, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even tried, and nobody is asked."""
        monkeypatch.setattr(module, "keep", lambda *a, **k: pytest.fail("copied"))
        how = adding(copy=False, ask=lambda amount: pytest.fail("asked"))
        add(files, store, "cohort", spec_of(folder), how)
        refresh(files, store, "cohort", how)
        refresh(files, store, "cohort", adding(copy=None))
        assert [p.suffix for p in (files.state / "snapshots").iterdir()] == [".json"]
        assert mode(folder / "samples.parquet") == 0o644

    def test_what_was_copied_is_copied_again(self, files: DataFiles, store: Store, folder: Path) -> None:
        """Permission was given once; `--in-place` takes it back."""
        add(files, store, "cohort", spec_of(folder), adding(copy=True))
        cohort(folder, patients=31)
        assert refresh(files, store, "cohort", adding(copy=None)).current.mode == "copy"
        assert refresh(files, store, "cohort", adding(copy=False)).current.mode == "in-place"
        assert [p for p in (files.state / "snapshots").iterdir() if p.is_dir()] == []

    def test_progress_is_told_by_step(self, files: DataFiles, store: Store, folder: Path) -> None:
        said: list[tuple[str, int, int]] = []
        how = adding(copy=True, progress=lambda what, done, total: said.append((what, done, total)))
        add(files, store, "cohort", spec_of(folder), how)
        size = (folder / "samples.parquet").stat().st_size
        assert said == [("copying", size, size), ("hashing", size, size)]


class TestRefreshing:
    def test_the_same_content_is_the_same_version(self, files: DataFiles, store: Store, folder: Path) -> None:
        first = add(files, store, "cohort", spec_of(folder), adding()).current
        again = refresh(files, store, "cohort", adding())
        assert len(again.versions) == 1
        assert (again.current.number, again.current.binding) == (1, first.binding)

    def test_a_touched_source_looks_untouched_after_it(self, files: DataFiles, store: Store, folder: Path) -> None:
        import os

        add(files, store, "cohort", spec_of(folder), adding())
        os.utime(folder / "samples.parquet", ns=(1, 1))
        assert snapshots.changed(files.registry.snapshot(files.registry.get("cohort").current))
        refresh(files, store, "cohort", adding())
        assert not snapshots.changed(files.registry.snapshot(files.registry.get("cohort").current))

    def test_versions_are_kept_while_an_approval_names_them(self, files: DataFiles, store: Store, folder: Path) -> None:
        """Of three, the first; with its copy and its report. When it is taken back, the next refresh drops it."""
        first = add(files, store, "cohort", spec_of(folder), adding(copy=True))
        digest = approve(store, first)
        for patients in (31, 32):
            cohort(folder, patients=patients)
            refresh(files, store, "cohort", adding(copy=True))
        kept = files.registry.get("cohort")
        assert [v.number for v in kept.versions] == [1, 3]
        assert {p.stem for p in (files.state / "quality").iterdir()} == {v.snapshot for v in kept.versions}
        assert {p.name for p in (files.state / "snapshots").iterdir() if p.is_dir()} == {
            v.snapshot for v in kept.versions
        }
        assert approvals_of(store, "cohort", kept.versions[0]) == [digest]
        take_back(store, digest)
        cohort(folder, patients=33)
        assert [v.number for v in refresh(files, store, "cohort", adding(copy=True)).versions] == [4]
        assert len([p for p in (files.state / "snapshots").iterdir() if p.is_dir()]) == 1
        assert len(list((files.state / "quality").iterdir())) == 1

    def test_an_approval_of_another_stores_version_keeps_nothing(
        self, files: DataFiles, store: Store, folder: Path
    ) -> None:
        approve(store, add(files, store, "cohort", spec_of(folder), adding()), name="other")
        cohort(folder, patients=31)
        assert [v.number for v in refresh(files, store, "cohort", adding()).versions] == [2]

    def test_a_store_that_is_not_there(self, files: DataFiles, store: Store) -> None:
        with pytest.raises(InputError, match="no data store 'cohort'"):
            refresh(files, store, "cohort", adding())

    def test_a_source_that_is_gone_leaves_what_was_registered(
        self, files: DataFiles, store: Store, folder: Path
    ) -> None:
        before = add(files, store, "cohort", spec_of(folder), adding(copy=True))
        state = everything(files.state)
        folder.rename(folder.parent / "moved")
        with pytest.raises(InputError, match="There is no folder"):
            refresh(files, store, "cohort", adding())
        assert files.registry.get("cohort") == before
        assert everything(files.state) == state


class TestChecking:
    def test_it_hashes_and_reports(self, files: DataFiles, store: Store, folder: Path) -> None:
        add(files, store, "cohort", spec_of(folder), adding())
        said: list[str] = []
        assert check(files, "cohort", KEY, lambda what, done, total: said.append(what)).patients == 30
        assert set(said) == {"checking"}

    def test_what_changed_is_said(self, files: DataFiles, store: Store, folder: Path) -> None:
        add(files, store, "cohort", spec_of(folder), adding())
        cohort(folder, patients=31)
        with pytest.raises(InputError, match="their content changed"):
            check(files, "cohort", KEY)


class TestRemoving:
    def test_nothing_of_it_is_left_but_the_source(self, files: DataFiles, store: Store, folder: Path) -> None:
        add(files, store, "cohort", spec_of(folder), adding(copy=True))
        schema = open_kind(folder, spec_of(folder).layout.layout).schema()
        release_schema(files, store, "cohort", schema, by="ada")
        remove(files, store, "cohort", by="eve")
        assert everything(files.state) == {}
        assert (folder / "samples.parquet").exists()
        assert told(store)[-1] == ("data-removed", {"store": "cohort", "by": "eve"})

    def test_not_while_an_approval_names_it(self, files: DataFiles, store: Store, folder: Path) -> None:
        """Also an earlier version of it."""
        digest = approve(store, add(files, store, "cohort", spec_of(folder), adding()))
        cohort(folder, patients=31)
        refresh(files, store, "cohort", adding())
        with pytest.raises(InputError, match="1 approved analyses name data store 'cohort'") as caught:
            remove(files, store, "cohort", by="ada")
        assert digest[:12] in caught.value.message
        assert "flame node reject" in caught.value.mend
        take_back(store, digest)
        remove(files, store, "cohort", by="ada")
        assert files.registry.names() == []

    def test_a_report_that_another_store_shares_stays(self, files: DataFiles, store: Store, folder: Path) -> None:
        for name in ("a", "b"):
            add(files, store, name, spec_of(folder), adding(copy=True))
        remove(files, store, "a", by="ada")
        assert files.quality(files.registry.get("b").current.snapshot).exists()
        assert check(files, "b", KEY).rows == 60

    def test_one_that_is_not_there(self, files: DataFiles, store: Store) -> None:
        with pytest.raises(InputError, match="no data store 'cohort'"):
            remove(files, store, "cohort", by="ada")
        assert told(store) == []


class TestSchemas:
    def test_nothing_is_released_until_a_person_does_it(self, files: DataFiles, store: Store, folder: Path) -> None:
        add(files, store, "cohort", spec_of(folder), adding())
        assert released_schema(files, "cohort") is None
        schema = open_kind(folder, spec_of(folder).layout.layout).schema()
        release_schema(files, store, "cohort", schema, by="ada")
        assert released_schema(files, "cohort") == schema
        assert told(store)[-1] == ("schema-released", {"store": "cohort", "schema": schema.sha256, "by": "ada"})

    def test_one_of_another_store_is_refused(self, files: DataFiles, store: Store, folder: Path) -> None:
        add(files, store, "cohort", spec_of(folder), adding())
        schema = open_kind(folder, spec_of(folder).layout.layout).schema()
        other = schema.model_copy(update={"patient_id": "value"})
        with pytest.raises(InputError, match="another kind or with other files"):
            release_schema(files, store, "cohort", other, by="ada")
        assert released_schema(files, "cohort") is None
        with pytest.raises(InputError, match="no data store 'other'"):
            release_schema(files, store, "other", schema, by="ada")


# --- failures --------------------------------------------------------------------------------------------------------


def full(*arguments: object, **how: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def broken(*arguments: object, **how: object) -> Any:
    raise RuntimeError("a bug")


def interrupted(*arguments: object, **how: object) -> Any:
    raise KeyboardInterrupt


STEPS: dict[str, tuple[object, str]] = {
    "copying": (shutil, "copyfile"),
    "room": (snapshots, "_room"),
    "hashing": (module, "take"),
    "opening": (module, "open_kind"),
    "cohort": (module, "cohort_today"),
    "report": (module, "report"),
    "unique records": (module, "_require_unique_records"),
    "adopting": (Registry, "adopt"),
    "writing the report": (module, "replace_made"),
    "old versions": (module, "_unnamed"),
    "audit": (Store, "record"),
    "registration": (registering, "replace_file"),
    "commit": (Store, "transaction"),
}


def failing_commit() -> Callable[[Store], Any]:
    """All is done, and then the disk is full. Transactions inside the outer one are none of their own."""
    from contextlib import contextmanager

    real, open_ones = Store.transaction, []

    @contextmanager
    def transaction(self: Store):  # type: ignore[no-untyped-def]
        with real(self):
            open_ones.append(1)
            yield
            open_ones.pop()
            if not open_ones:
                full()

    return transaction


@pytest.mark.parametrize("failure", [full, broken, interrupted], ids=lambda f: f.__name__)
@pytest.mark.parametrize("step", list(STEPS))
@pytest.mark.parametrize("there", [False, True], ids=["first", "refresh"])
def test_whatever_fails_nothing_is_half_registered(
    files: DataFiles,
    store: Store,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: Callable[..., Any],
    there: bool,
) -> None:
    """The state is byte for byte the one before, the chain holds, and the second try is the first one's equal."""
    no_sharing(monkeypatch)
    spec: StoreSpec = spec_of(folder)
    if there:
        approve(store, add(files, store, "cohort", spec, adding(copy=True)))
        cohort(folder, patients=31)
    before, chain = everything(files.state), told(store)
    with monkeypatch.context() as patch:
        where, name = STEPS[step]
        patch.setattr(where, name, failing_commit() if step == "commit" else failure)
        with pytest.raises((FlameError, RuntimeError, KeyboardInterrupt)) as caught:
            add(files, store, "cohort", spec, adding(copy=True))
    if failure is full:
        assert isinstance(caught.value, FlameError)
        assert "disk is full" in caught.value.message or "No space left" in caught.value.message
    assert everything(files.state) == before
    assert [p.name for p in (files.state / "snapshots").iterdir() if p.name.startswith(".")] == []
    assert told(store) == chain
    assert add(files, store, "cohort", spec, adding(copy=True)).current.number == (2 if there else 1)
    assert check(files, "cohort", KEY).patients == (31 if there else 30)


def test_a_failed_second_look_keeps_the_copy_that_is_registered(
    files: DataFiles, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same content under another rule: what is undone is the new registration, not the bytes of the old one."""
    add(files, store, "cohort", spec_of(folder), adding(copy=True))
    before = everything(files.state)
    rule = {"where": [{"column": "value", "op": ">", "value": 5}]}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "record", full)
        with pytest.raises(FlameError):
            add(files, store, "cohort", spec_of(folder, cohort=rule), adding(copy=True))
    assert everything(files.state) == before


def test_a_source_that_changes_while_it_is_hashed(
    files: DataFiles, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changes(place: Path, name: str, called: str, count: object) -> FileMark:
        raise InputError(f"{place / name} changed while it was read.", mend="Wait.")

    monkeypatch.setattr(snapshots, "_mark", changes)
    with pytest.raises(InputError, match="changed while it was read"):
        add(files, store, "cohort", spec_of(folder), adding(copy=True))
    assert everything(files.state) == {}


def test_a_removal_that_cannot_be_audited_is_none(
    files: DataFiles, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(files, store, "cohort", spec_of(folder), adding(copy=True))
    before = everything(files.state)
    monkeypatch.setattr(Store, "record", full)
    with pytest.raises(OSError, match="No space"):
        remove(files, store, "cohort", by="ada")
    assert everything(files.state) == before


def test_a_full_disk_at_a_small_file_leaves_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "write_new", full)
    with pytest.raises(OSError, match="No space"):
        module.replace_made(tmp_path / "new" / "file", b"x")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("what", ["registration", "list"])
def test_what_an_error_says_to_do_helps(files: DataFiles, store: Store, folder: Path, what: str) -> None:
    """A damaged file of ours: moved away as it says, or in the way of nothing."""
    add(files, store, "cohort", spec_of(folder), adding())
    path = files.registry.path("cohort")
    if what == "registration":
        path.write_text("{}")
        with pytest.raises(InputError, match="is no registration") as caught:
            add(files, store, "cohort", spec_of(folder), adding())
        assert f"Move {path} away" in caught.value.mend
        path.rename(path.with_suffix(".damaged"))
    else:
        (listed,) = files.registry.snapshots.glob("*.json")
        listed.write_text("[]")
    assert add(files, store, "cohort", spec_of(folder), adding()).current.patients == 30
    assert not snapshots.changed(files.registry.snapshot(files.registry.get("cohort").current))
