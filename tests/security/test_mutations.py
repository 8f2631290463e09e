"""Whatever is changed of what an approval binds: it is refused, with a reason, and nothing is started."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flame_fl.gate.approval import Status
from tests.security import mutations
from tests.security.mutations import FAB, GROUPS, Ask, approved, document, outcome, tried
from tests.support.gates import World


def test_the_control_is_answered(tmp_path: Path) -> None:
    """Else every refusal below could have another cause."""
    world = approved(tmp_path)
    assert world.code(FAB) is None
    assert world.code(FAB, leg="2", overrides={"rounds": 3}) is None
    world.store.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mutations.Tried]:
    return {name: tried(tmp_path_factory.mktemp("diz"), changes) for name, changes in GROUPS.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_every_change_is_refused(group: str, results: dict[str, mutations.Tried]) -> None:
    """Of each group, one after the other, each at a DIZ of its own."""
    assert results[group].changes == len(GROUPS[group]) > 0
    assert results[group].accepted == ()


def test_the_table_is_up_to_date(results: dict[str, mutations.Tried]) -> None:
    written = mutations.DOCUMENT.read_text(encoding="utf-8")
    assert written == document(results), "run `python -m tests.security.mutations`"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_of_the_bundle_changed_in_any_way(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut out, put in, overwritten: another bundle, or none."""
    start = data.draw(st.integers(0, len(FAB)))
    end = data.draw(st.integers(start, min(len(FAB), start + 64)))
    raw = FAB[:start] + data.draw(st.binary(max_size=64)) + FAB[end:]
    if raw != FAB:
        assert outcome(tmp_path_factory.mktemp("diz"), lambda world: Ask(raw))


@pytest.mark.parametrize("group", ["the key", "the signature as a whole"])
def test_the_reason_is_in_the_nodes_log(group: str, tmp_path: Path) -> None:
    """A steward can read why; the researcher reads the code's fixed text only."""
    for number, (name, change) in enumerate(GROUPS[group]):
        world = approved(tmp_path / str(number))
        ask = change(world)
        assert world.code(ask.raw_fab) is not None
        assert "signature" in world.detail or "withdraw" in world.detail, (name, world.detail)
        world.store.close()


def test_a_pending_analysis_does_not_run_on_signatures_alone(tmp_path: Path) -> None:
    """The stored status must say so, too."""
    world: World = approved(tmp_path)
    record = world.store.approvals()[0]
    for status in set(Status) - {Status.APPROVED}:
        world.store.put_approval(mutations.replace(record, status=status))
        assert world.code(FAB, leg=status) is not None
    world.store.close()
