"""How decisions are entered: one steward, two of three, again, after a withdrawal, by a rule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import NodeBinding
from flame_fl.contract.statement import Statement, parse_statement
from flame_fl.gate.approval import SIMULATION_POLICY, ApprovalRecord, Status
from flame_fl.gate.decisions import (
    Wish,
    approve_by_rule,
    by_key,
    close_analysis,
    enter_analysis,
    enter_project,
    statement_for,
)
from flame_fl.gate.signatures import public_text
from flame_fl.gate.trust import Trust
from flame_fl.simulation.policy import identity_file, simulated_key
from tests.support.gates import TODAY, World, make_fab, manifest_from

ADA, BEN, EVE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
FAB = make_fab()


@pytest.fixture
def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    world = World(tmp_path)
    world.trust = replace(
        world.trust, stewards={public_text(ADA.public_key()): "ada", public_text(BEN.public_key()): "ben"}
    )
    world.code(FAB)
    yield world
    world.store.close()


def record(world: World) -> ApprovalRecord:
    (found,) = world.store.approvals()
    return found


def binding(world: World) -> NodeBinding:
    terms = record(world).terms
    return world.gate.binding(record(world).manifest.app, terms)


def statement(world: World, **wish: object) -> Statement:
    return statement_for(record(world), binding(world), world.trust, Wish(**wish))  # type: ignore[arg-type]


def enter(world: World, signed: tuple[Statement, str]) -> ApprovalRecord:
    digest = manifest_from(FAB).digest
    return enter_analysis(world.store, world.trust, digest, binding(world), signed, today=TODAY)


def approve_project(world: World, *keys: Ed25519PrivateKey) -> None:
    for key in keys:
        (project,) = world.store.projects()
        signed = by_key(statement_for(project, None, world.trust, Wish()), key)
        enter_project(world.store, world.trust, project, signed, today=TODAY)


def test_one_steward_is_enough_unless_more_are_asked_for(world: World) -> None:
    """Project, then analysis; who, when, why and what was shown are kept."""
    approve_project(world, ADA)
    said = statement(world, comment="because", sheet="a" * 64)
    assert enter(world, by_key(said, ADA)).status is Status.APPROVED
    (made,) = world.store.decisions("analysis", manifest_from(FAB).digest)
    assert (made.act, made.by, made.comment, made.sheet) == ("approve", "ada", "because", "a" * 64)
    assert parse_statement(made.statement) == said
    assert world.code(FAB) is None


def test_two_of_three(world: World) -> None:
    """Pending after the first, approved after another; the same one twice is one."""
    world.trust = replace(world.trust, needed=2)
    approve_project(world, ADA, BEN)
    first = by_key(statement(world), ADA)
    assert enter(world, first).status is Status.PENDING
    assert world.code(FAB, leg="2") is not None
    with pytest.raises(InputError, match="ada has signed this already"):
        enter(world, first)
    assert enter(world, by_key(statement(world), BEN)).status is Status.APPROVED
    assert record(world).by == "ada, ben"
    assert world.code(FAB, leg="3") is None


def test_a_withdrawal_makes_every_signature_worthless(world: World) -> None:
    """Also one that was made before it and is entered after."""
    approve_project(world, ADA)
    early = by_key(statement(world), BEN)
    enter(world, by_key(statement(world), ADA))
    closed = close_analysis(world.store, record(world), by="ada", comment="no")
    assert (closed.status, closed.signatures, closed.number) == (Status.WITHDRAWN, (), 1)
    assert int(world.code(FAB) or 0) == 907
    with pytest.raises(InputError, match="before a rejection or withdrawal"):
        enter(world, early)
    assert enter(world, by_key(statement(world), BEN)).status is Status.APPROVED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node": "SHA256:" + "A" * 43}, "another node"),
        ({"project": "b-project"}, "another project"),
        ({"digest": "0" * 64}, "another digest"),
        ({"binding": "0" * 64}, "sandbox, data, participants or terms"),
        ({"act": "reject"}, "does not approve"),
        ({"until": TODAY - timedelta(days=1)}, "last day"),
        ({"rule": "a rule", "rule_digest": "0" * 64}, "No such rule"),
    ],
)
def test_a_statement_about_something_else_is_refused_with_a_reason(
    world: World, changes: dict[str, object], said: str
) -> None:
    """However well it is signed."""
    approve_project(world, ADA)
    with pytest.raises(InputError, match=said):
        enter(world, by_key(statement(world).model_copy(update=changes), ADA))
    assert record(world).status is Status.PENDING


@pytest.mark.parametrize("age", [timedelta(days=8), timedelta(hours=-1)])
def test_a_statement_is_entered_within_a_week(world: World, age: timedelta) -> None:
    """Neither an old one nor one from tomorrow."""
    at = (datetime.now(UTC) - age).isoformat(timespec="seconds")
    with pytest.raises(InputError, match="within 7 days"):
        enter(world, by_key(statement(world).model_copy(update={"at": at}), ADA))


def test_a_strangers_signature_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="no steward's"):
        enter(world, by_key(statement(world), EVE))


def test_a_steward_may_end_it_earlier_than_the_terms(world: World) -> None:
    """But not later."""
    terms = record(world).terms
    assert terms is not None
    assert statement(world, until=TODAY + timedelta(days=3)).until == TODAY + timedelta(days=3)
    assert statement(world, until=terms.validity.until + timedelta(days=3)).until == terms.validity.until


def test_a_removed_stewards_approvals_hold_no_more(world: World) -> None:
    """907: they did."""
    approve_project(world, BEN)
    enter(world, by_key(statement(world), ADA))
    assert world.code(FAB) is None
    world.trust = Trust(world.trust.node_key, {public_text(BEN.public_key()): "ben"})
    assert int(world.code(FAB, leg="2") or 0) == 907


def test_a_rule_decides_nothing_that_people_looked_at(world: World) -> None:
    """Neither what they rejected, between its look and its signature, nor what one of two has signed."""
    key = simulated_key(identity_file(world.store.path))

    def by_rule() -> ApprovalRecord:
        manifest = manifest_from(FAB)
        return approve_by_rule(
            world.store, world.trust, key, manifest, binding(world), rule=SIMULATION_POLICY, comment="", today=TODAY
        )

    world.trust = replace(world.trust, needed=2)
    approve_project(world, ADA, BEN)
    enter(world, by_key(statement(world), ADA))
    with pytest.raises(InputError, match="People decide"):
        by_rule()
    close_analysis(world.store, record(world), by="ada", comment="")
    with pytest.raises(InputError, match="People decide"):
        by_rule()
    assert record(world).status is Status.REJECTED


def test_a_roster_that_changed_meanwhile_is_not_written_back(world: World) -> None:
    """Who signs sees who takes part."""
    (seen,) = world.store.projects()
    world.store.put_project(replace(seen, roster={"here": world.trust.node_key}))
    signed = by_key(statement_for(seen, None, world.trust, Wish()), ADA)
    with pytest.raises(InputError, match="roster has changed"):
        enter_project(world.store, world.trust, seen, signed, today=TODAY)
