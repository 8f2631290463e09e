"""Registered stores as the gate sees them, and the gate of a node on real files."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.data import snapshot as hashing
from flame_fl.data.layout import Wanted
from flame_fl.data.offer import Offer
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.node.config import NodeFiles
from flame_fl.node.data import Adding, add
from flame_fl.node.offers import NodeOffers
from flame_fl.node.steward import reject
from flame_fl.node.wiring import Node, open_gate, open_store
from tests.support.gates import manifest_from
from tests.support.stewards import decide
from tests.unit.node.conftest import cohort, offer, spec_of
from tests.unit.node.decisions import ask, fab_of

STATED = DataStore(table="samples.parquet", patient_id="patient_id", columns=("value",))
RAN = RefusalCode.SANDBOX_FAILED  # the app of these bundles is none: that it failed says that it was started
NO = RefusalCode.TERMS_VIOLATED


@pytest.fixture
def offers(node: Node) -> NodeOffers:
    return NodeOffers(node.data.registry, node.data.patients, node.data_key)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are hashed, one by one."""
    seen: list[str] = []
    real = hashing._mark

    def mark(folder: Path, name: str, called: str, count: Callable[[int], None]) -> hashing.FileMark:
        seen.append(name)
        return real(folder, name, called, count)

    monkeypatch.setattr(hashing, "_mark", mark)
    return seen


def copy(node: Node, name: str, folder: Path) -> None:
    with ExitStack() as closing:
        how = Adding(node.data_key, by="ada", copy=True, replace=True)
        add(node.data, open_store(node, closing), name, spec_of(folder), how)


def there(offers: NodeOffers, name: str = "cohort", binding: str | None = None) -> Offer:
    found = offers.get(name, binding)
    assert found is not None
    return found


def view(found: Offer, into: Path) -> Path:
    found.view(found.cohort(STATED, None).rows, STATED, Wanted(("value",)), "p", into)  # type: ignore[arg-type]
    return into


def test_a_store_is_as_it_was_registered(offers: NodeOffers, node: Node, tmp_path: Path) -> None:
    version = node.data.registry.get("cohort").current
    found = there(offers)
    assert (found.folder, found.binding, found.layout) == (
        tmp_path / "cohort", version.binding, version.spec.layout.layout,
    )  # fmt: skip
    assert (found.pseudonyms, found.patients) == (True, node.data.patients)
    assert list(offers.names()) == ["cohort"]


def test_a_store_that_is_not_there(offers: NodeOffers) -> None:
    assert offers.get("unheard-of") is None
    assert offers.get("cohort", "another version") is None
    assert offers.get("../cohort") is None


def test_a_registration_that_cannot_be_read_is_no_store_and_no_end(
    offers: NodeOffers, node: Node, tmp_path: Path
) -> None:
    """The others are there."""
    offer(node, "other", cohort(tmp_path / "other"))
    node.data.registry.path("cohort").write_text("{}")
    assert offers.get("cohort") is None
    assert offers.get("other") is not None


def test_a_store_registered_or_removed_by_another_process_is_seen(
    offers: NodeOffers, node: Node, tmp_path: Path
) -> None:
    offer(node, "more", cohort(tmp_path / "more"))
    assert there(offers, "more").folder == tmp_path / "more"
    node.data.registry.remove("more")
    assert offers.get("more") is None


def test_it_is_hashed_again_only_if_something_changed(offers: NodeOffers, tmp_path: Path, hashed: list[str]) -> None:
    """Size, time or inode: a message does not cost a pass over the data."""
    for number in range(3):
        view(there(offers), tmp_path / f"view-{number}")
    assert hashed == []
    os.utime(tmp_path / "cohort" / "samples.parquet", ns=(1, 1))
    for number in range(3, 6):
        view(there(offers), tmp_path / f"view-{number}")
    assert hashed == ["samples.parquet"]


def test_a_copy_is_hashed_for_every_view(node: Node, offers: NodeOffers, tmp_path: Path, hashed: list[str]) -> None:
    """Also where nothing shows that it was touched."""
    copy(node, "own", cohort(tmp_path / "own"))
    hashed.clear()
    found = there(offers, "own")
    view(found, tmp_path / "view-1")
    view(found, tmp_path / "view-2")
    assert len(hashed) == 2
    path = found.folder / "samples.parquet"
    seen = path.stat()
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    with pytest.raises(InputError, match="content changed"):
        view(found, tmp_path / "view-3")


@pytest.mark.parametrize("what", ["content", "gone", "link", "moved"])
def test_what_changed_gives_no_view(offers: NodeOffers, tmp_path: Path, what: str) -> None:
    """And none is left half-made."""
    found, path = there(offers), tmp_path / "cohort" / "samples.parquet"
    rows = found.cohort(STATED, None).rows  # type: ignore[arg-type]
    if what == "content":
        cohort(tmp_path / "cohort", patients=29)
    elif what == "gone":
        path.unlink()
    elif what == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "cohort").rename(tmp_path / "moved")
    with pytest.raises(InputError):
        found.view(rows, STATED, Wanted(("value",)), "p", tmp_path / "view")
    assert not (tmp_path / "view").exists()


def test_a_store_that_is_kept_elsewhere_now_is_read_there(offers: NodeOffers, node: Node, tmp_path: Path) -> None:
    """The same content, thus the same binding: in place, then in a copy, then in place again, in a running gate."""
    folder = tmp_path / "cohort"
    binding = there(offers).binding
    copy(node, "cohort", folder)
    own = there(offers)
    assert (own.binding, own.folder.parent) == (binding, node.data.registry.snapshots)
    offer(node, "cohort", folder)
    assert there(offers, binding=binding).folder == folder
    view(there(offers), tmp_path / "view")


def test_a_source_that_was_put_elsewhere_is_read_there(offers: NodeOffers, node: Node, tmp_path: Path) -> None:
    there(offers)
    (tmp_path / "cohort").rename(tmp_path / "moved")
    offer(node, "cohort", tmp_path / "moved")
    view(there(offers), tmp_path / "view")


class TestThroughAGate:
    def approved(self, gate: Gate, fab: bytes | None = None) -> bytes:
        fab = fab_of() if fab is None else fab
        if gate.store.approval(manifest_from(fab).digest) is None:
            assert ask(gate, fab, leg="first") is RefusalCode.PENDING_APPROVAL
        decide(NodeFiles(gate.store.path.parent), gate, manifest_from(fab))
        return fab

    def test_changed_content_is_908_until_it_is_registered_and_approved_anew(
        self, gate: Gate, node: Node, tmp_path: Path
    ) -> None:
        fab = self.approved(gate)
        assert ask(gate, fab) is RAN
        cohort(tmp_path / "cohort", patients=31)
        assert ask(gate, fab, leg="2") is NO
        offer(node, "cohort", tmp_path / "cohort")
        assert ask(gate, fab, leg="3") is NO
        self.approved(gate)
        assert ask(gate, fab, leg="4", run_id=8) is RAN

    def test_content_that_came_back_needs_no_new_approval(self, gate: Gate, node: Node, tmp_path: Path) -> None:
        fab = self.approved(gate)
        path = tmp_path / "cohort" / "samples.parquet"
        before = path.read_bytes()
        cohort(tmp_path / "cohort", patients=31)
        assert ask(gate, fab, leg="2") is NO
        path.write_bytes(before)
        assert ask(gate, fab, leg="3") is RAN

    def test_an_approval_stays_with_its_copy(self, gate: Gate, node: Node, tmp_path: Path) -> None:
        """The source goes on; the old version is kept for the approval, and dropped when nothing names it."""
        copy(node, "cohort", tmp_path / "cohort")
        first = node.data.registry.get("cohort").current
        fab = self.approved(gate)
        cohort(tmp_path / "cohort", patients=50)
        copy(node, "cohort", tmp_path / "cohort")
        second = node.data.registry.get("cohort").current
        assert (second.number, second.patients) == (2, 50)
        assert ask(gate, fab) is RAN
        (body,) = [e["body"] for e, _ in gate.store.audit_rows() if e["kind"] == "reserved"]
        old = gate.data.get("cohort", first.binding)
        assert old is not None
        assert body["cohorts"] == {"cohort": old.cohort(STATED, gate.today()).fingerprint}
        assert old.cohort(STATED, gate.today()).patients == 30
        reject(gate, manifest_from(fab).digest, by="ada", comment="")
        cohort(tmp_path / "cohort", patients=51)
        copy(node, "cohort", tmp_path / "cohort")
        assert [v.number for v in node.data.registry.get("cohort").versions] == [3]
        assert gate.data.get("cohort", first.binding) is None

    def test_a_rule_that_changed_is_another_version(self, gate: Gate, node: Node, tmp_path: Path) -> None:
        """The same bytes, other records: nobody approved that."""
        fab = self.approved(gate)
        where = [{"column": "value", "op": ">", "value": 5}]
        offer(node, "cohort", tmp_path / "cohort", cohort={"where": where})
        assert [v.number for v in node.data.registry.get("cohort").versions] == [1, 2]
        assert ask(gate, fab) is RAN
        (body,) = [e["body"] for e, _ in gate.store.audit_rows() if e["kind"] == "reserved"]
        now = gate.data.get("cohort")
        assert now is not None
        assert body["cohorts"] != {"cohort": now.cohort(STATED, gate.today()).fingerprint}

    def test_a_store_that_is_gone_is_908(self, gate: Gate, tmp_path: Path) -> None:
        fab = self.approved(gate)
        (tmp_path / "cohort").rename(tmp_path / "moved")
        assert ask(gate, fab) is NO

    def test_a_store_that_counts_otherwise_is_908(self, gate: Gate, node: Node, tmp_path: Path) -> None:
        fab = self.approved(gate)
        layout = {"table": "samples.parquet", "patient_id": "value"}
        offer(node, "cohort", tmp_path / "cohort", layout=layout)
        node.data.registry.put_back("cohort", None)
        offer(node, "cohort", tmp_path / "cohort", layout=layout)
        assert ask(gate, fab) is NO

    def test_too_few_patients_are_908(self, node: Node, store: Store, tmp_path: Path) -> None:
        """The node's own minimum holds beside the terms', and after withdrawals."""
        gate = open_gate(node, store)
        fab = self.approved(gate)
        node.data.patients.opt_out(f"p{n}" for n in range(20))
        assert ask(gate, fab, leg="1") is RAN
        node.data.patients.opt_out(["p20"])
        assert ask(gate, fab, leg="2") is NO

    def test_a_withdrawn_patient_is_in_no_view(self, node: Node, store: Store, tmp_path: Path) -> None:
        """What the sandbox is given, read as it is given."""
        gate = open_gate(node, store)
        fab = self.approved(gate)
        seen: list[tuple[int, list[int]]] = []

        class Looks:
            def kind_of(self, app: str) -> str:
                return gate.sandbox.kind_of(app)

            def start(self, spec: object) -> object:
                (folder,) = spec.data.values()  # type: ignore[attr-defined]
                table = pq.read_table(folder / "samples.parquet")
                seen.append((table.num_rows, table.column("value").to_pylist()))
                raise RuntimeError

        gate._sessions.sandbox = Looks()  # type: ignore[assignment]
        ask(gate, fab, leg="1")
        node.data.patients.opt_out(["p3"])
        ask(gate, fab, leg="2")
        assert [count for count, _ in seen] == [60, 58]
        assert set(seen[0][1]) - set(seen[1][1]) == {3, 33}
        assert list(node.files.views.iterdir()) == []
