"""Requests are kept for the steward within bounds; beyond them they are refused, and nothing is kept."""

import pytest

from flame_fl.contract.fab import read_fab
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import Run
from flame_fl.gate.approval import Status
from flame_fl.gate.decisions import close_analysis
from flame_fl.gate.filing import Filing
from tests.support.gates import World, make_fab, manifest_from, zip_of


def fabs(count: int) -> list[bytes]:
    return [make_fab(files={"app/more.py": f"x = {number}".encode()}) for number in range(count)]


def file(world: World, filing: Filing, fab: bytes, submitter: str = "alice") -> RefusalCode | None:
    """As the gate does at first sight."""
    from flame_fl.contract.refusal import RefusedError

    try:
        filing.file(world.store, manifest_from(fab), Run(1, fab, {}, submitter))
    except RefusedError as err:
        return err.code
    return None


@pytest.fixture
def world(tmp_path):  # type: ignore[no-untyped-def]
    world = World(tmp_path)
    yield world
    world.store.close()


def test_a_request_is_kept_with_its_bundle_project_and_submitter(world: World) -> None:
    """What the steward's sheet needs."""
    fab = make_fab()
    assert file(world, Filing(), fab, "alice\x1b[31m") is None
    (record,) = world.store.approvals()
    assert (record.status, record.submitter) == (Status.PENDING, "alice\\x1b[31m")
    assert world.store.bundle(record.fab_sha256) == fab
    assert [(p.project.id, p.status) for p in world.store.projects()] == [("a-project", Status.PENDING)]


def test_it_is_filed_once(world: World) -> None:
    fab = make_fab()
    for _ in range(3):
        assert file(world, Filing(), fab) is None
    assert [kind for kind, _ in world.audit()] == ["project-pending", "approval-pending"]


@pytest.mark.parametrize(
    "filing",
    [Filing(max_pending=2), Filing(max_pending_per_submitter=2), Filing(max_bytes=20 * len(fabs(1)[0]) + 1000)],
    ids=["in all", "of one submitter", "room of one submitter"],
)
def test_beyond_a_bound_nothing_is_kept(world: World, filing: Filing) -> None:
    """901, and what was filed before stays."""
    assert [file(world, filing, fab) for fab in fabs(4)] == [None, None, *[RefusalCode.NOT_APPROVED] * 2]
    assert len(world.store.approvals()) == 2


def test_one_submitter_does_not_use_up_anothers_room(world: World) -> None:
    """As far as the hub says who they are."""
    filing, (one, two, three, four) = Filing(max_pending_per_submitter=2), fabs(4)
    assert [file(world, filing, fab) for fab in (one, two, three)] == [None, None, RefusalCode.NOT_APPROVED]
    assert file(world, filing, four, "bob") is None


def test_what_is_rejected_is_kept_no_longer(world: World) -> None:
    """Nobody fills the node by asking again and again; what was approved stays for the next diff."""
    one, two = fabs(2)
    for fab in (one, two):
        assert file(world, Filing(), fab) is None
    first, second = world.store.approvals()
    close_analysis(world.store, first, by="ada", comment="")
    assert (world.store.bundle(first.fab_sha256), world.store.bundle(second.fab_sha256)) == (None, two)


def test_of_what_waits_the_newest_packing_is_kept(world: World) -> None:
    """Whoever files the same files packed otherwise does not lock the analysis out."""
    fab = make_fab()
    packed = zip_of(reversed(list(read_fab(fab).files.items())))
    assert manifest_from(packed) == manifest_from(fab)
    assert int(world.code(packed) or 0) == int(world.code(fab) or 0) == 902
    (record,) = world.store.approvals()
    assert world.store.bundle(record.fab_sha256) == fab
    assert world.store.bundle_bytes() == len(fab)


def test_a_decision_makes_room(world: World) -> None:
    """What was decided does not wait."""
    filing, (one, two) = Filing(max_pending=1), fabs(2)
    assert file(world, filing, one) is None
    assert file(world, filing, two) is RefusalCode.NOT_APPROVED
    world.decide(one, Status.REJECTED)
    assert file(world, filing, two) is None


def test_a_node_that_takes_no_requests(world: World) -> None:
    """What it knows stays as it is."""
    known, other = fabs(2)
    assert file(world, Filing(), known) is None
    assert file(world, Filing(enabled=False), known) is None
    assert file(world, Filing(enabled=False), other) is RefusalCode.NOT_APPROVED
