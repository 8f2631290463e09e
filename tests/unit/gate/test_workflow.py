"""The six steps, driven through a gate whose sandbox does what each test says."""

import threading
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.errors import InputError, SandboxError, SandboxTimeoutError
from flame_fl.contract.frames import decode
from flame_fl.contract.ports import Envelope, SandboxSpec
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.contract.terms import MessageTerms
from flame_fl.gate.approval import Status
from flame_fl.gate.claims import SITE
from flame_fl.gate.sessions import StoppedError
from flame_fl.gate.workflow import STATUS_MESSAGE, NodeLimits
from flame_fl.privacy.accounting import PrivacyEvent, Relation
from tests.support.gates import (
    BLOCKS,
    ENFORCED,
    NO_CLAIM,
    TRAIN,
    FakeOffer,
    FakeOffers,
    FakeSandbox,
    FakeSession,
    NoNoise,
    World,
    good_update,
    make_fab,
    make_terms,
    terms_table,
)

Make = Callable[..., World]
FAB = make_fab()
NOISY = make_fab(terms_table(privacy=ENFORCED))


def with_images(*, optional: bool) -> dict[str, Any]:
    """The usual store, and one of images."""
    images = {"table": "samples.parquet", "patient_id": "patient_id", "columns": ["*"], "optional": optional}
    return {**terms_table()["data"], "images": images}


def raises(error: Exception) -> Callable[[Envelope], Content]:
    def answer(message: Envelope) -> Content:
        raise error

    return answer


class TestReleased:
    def test_an_approved_update_leaves_bit_for_bit_without_a_claim(self, world: World) -> None:
        world.decide(FAB)
        left = world.released(FAB)
        for name, array in good_update().arrays["arrays"].items():
            assert left.arrays["arrays"][name].tobytes() == array.tobytes()
        assert left.metrics == good_update().metrics

    def test_the_gate_adds_its_own_record_and_nothing_else(self, world: World) -> None:
        world.decide(FAB)
        left = world.released(FAB)
        assert set(left.configs) == {"flame"}
        assert left.configs["flame"]["node"] == "DIZ-1"
        assert left.configs["flame"]["ground"] == "none"
        assert left.configs["flame"]["noise_std"] == 0.0

    def test_the_head_that_leaves_is_an_entry_of_the_chain(self, world: World) -> None:
        world.decide(FAB)
        head = world.released(FAB).configs["flame"]["audit_head"]
        kinds = {stored: entry["kind"] for entry, stored in world.store.audit_rows()}
        assert kinds[str(head)] == "released"

    def test_the_encoded_reply_is_the_reply(self, world: World) -> None:
        world.decide(FAB)
        answer = world.ask(FAB)
        assert isinstance(answer, Reply)
        content, _ = decode(answer.encoded)
        assert content.configs == answer.content.configs
        assert content.metrics == answer.content.metrics

    def test_the_sandbox_sees_only_the_stores_of_the_terms(self, make_world: Make) -> None:
        world = make_world()
        assert world.data is not None
        world.data["other"] = world.data["cohort"]
        world.decide(FAB)
        world.released(FAB)
        assert set(world.sandbox.specs[0].data) == {"cohort"}

    def test_the_sandbox_sees_the_resolved_run_config(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, overrides={"rounds": 5})
        assert world.sandbox.specs[0].run_config == {"rounds": 5, "rate": 0.5, "word": "a", "flag": True}

    def test_one_session_serves_all_messages_of_a_run(self, world: World) -> None:
        world.decide(FAB)
        for leg in ("1", "2", "3"):
            world.released(FAB, leg=leg)
        assert len(world.sandbox.specs) == 1


class TestApproval:
    def test_nothing_configured_means_refused_and_filed(self, world: World) -> None:
        assert world.code(FAB) is RefusalCode.PENDING_APPROVAL
        assert [r.status for r in world.store.approvals()] == [Status.PENDING]
        assert world.sandbox.specs == []

    def test_filing_never_overwrites_a_decision(self, world: World) -> None:
        world.decide(FAB, Status.REJECTED)
        world.code(FAB)
        assert [r.status for r in world.store.approvals()] == [Status.REJECTED]

    def test_one_changed_byte_is_another_analysis(self, world: World) -> None:
        world.decide(FAB)
        assert world.code(make_fab(files={"app/client.py": b"app = 2\n"})) is RefusalCode.PENDING_APPROVAL

    def test_withdrawal_ends_the_session_and_keeps_what_left_from_leaving_again(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB)
        world.decide(FAB, Status.WITHDRAWN)
        assert world.code(FAB) is RefusalCode.WITHDRAWN_OR_EXPIRED
        assert world.sandbox.sessions[0].closed

    def test_an_approval_ends_with_its_last_day(self, world: World) -> None:
        world.decide(FAB)
        world.today = date(2026, 12, 31)
        world.released(FAB, leg="1")
        world.today = date(2027, 1, 1)
        assert world.code(FAB, leg="2") is RefusalCode.WITHDRAWN_OR_EXPIRED

    def test_other_data_than_approved_are_refused(self, make_world: Make) -> None:
        world = make_world()
        world.decide(FAB)
        assert world.data is not None
        view = world.data["cohort"]
        world = world.replaced(data=FakeOffers(cohort=FakeOffer(view.folder, "6" * 64)))
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED

    def test_another_sandbox_than_approved_is_refused(self, world: World) -> None:
        world.decide(FAB)
        assert world.replaced(sandbox=FakeSandbox(kind="other")).code(FAB) is RefusalCode.TERMS_VIOLATED

    def test_terms_of_the_stewards_own_hold_and_are_bound(self, world: World) -> None:
        plain = make_fab({})
        world.decide(plain, steward_terms=make_terms())
        world.released(plain)
        other = world.gate.binding("someone/an-app", make_terms(), make_terms(limits={"runs": 1})).digest
        assert other != world.gate.binding("someone/an-app", make_terms(), make_terms()).digest

    def test_approval_of_an_app_without_terms_allows_nothing(self, world: World) -> None:
        plain = make_fab({})
        world.decide(plain)
        assert world.code(plain) is RefusalCode.NOT_APPROVED

    def test_unsafe_open_lets_everything_out_and_says_so_in_the_log(self, world: World) -> None:
        plain = make_fab({})
        world.decide(plain, unsafe_open=True)
        world.sandbox.answer = lambda message: Content(metrics={"anything": {"x": 1}})
        assert world.released(plain, kind="query.anything").metrics == {"anything": {"x": 1}}
        assert ("approval-approved", True) in [(kind, body.get("unsafe_open")) for kind, body in world.audit()]

    def test_unsafe_open_holds_at_a_node_with_more_stores_than_the_app_states(self, make_world: Make) -> None:
        world = make_world()
        assert world.data is not None
        world.data["other"] = world.data["cohort"]
        world.decide(FAB, unsafe_open=True)
        world.released(FAB)

    def test_a_manifest_exchanged_in_the_state_file_is_noticed(self, world: World) -> None:
        world.decide(FAB)
        wide = make_fab(terms_table(limits={"runs": 1000}))
        other = world.decide(wide)
        world.store._db.execute(
            "UPDATE approvals SET manifest=? WHERE digest!=?", other.model_dump_json(by_alias=True), other.digest
        )
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED


class TestTerms:
    def test_a_message_type_that_is_not_listed_is_refused(self, world: World) -> None:
        world.decide(FAB)
        assert world.code(FAB, kind="evaluate") is RefusalCode.TERMS_VIOLATED

    @pytest.mark.parametrize(
        "overrides", [{"rounds": 6}, {"rounds": 0}, {"rounds": 3.0}, {"rounds": True}, {"rate": 0.5}, {"new": 1}]
    )
    def test_an_override_outside_its_rule_is_refused(self, world: World, overrides: dict[str, object]) -> None:
        world.decide(FAB)
        assert world.code(FAB, overrides=overrides) is RefusalCode.TERMS_VIOLATED

    def test_messages_of_a_type_are_counted_per_run(self, world: World) -> None:
        world.decide(FAB)
        for leg in ("1", "2", "3"):
            world.released(FAB, leg=leg)
        assert world.code(FAB, leg="4") is RefusalCode.TERMS_VIOLATED
        world.released(FAB, leg="1", run_id=8)

    def test_refused_messages_are_counted_too(self, world: World) -> None:
        world.decide(FAB)
        world.sandbox.answer = lambda message: Content()
        for leg in ("1", "2", "3"):
            assert world.code(FAB, leg=leg) is RefusalCode.RELEASE_REJECTED
        assert world.code(FAB, leg="4") is RefusalCode.TERMS_VIOLATED

    def test_runs_are_counted_over_the_life_of_the_approval(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, run_id=1)
        world.released(FAB, run_id=2)
        assert world.code(FAB, run_id=3) is RefusalCode.TERMS_VIOLATED
        world.released(FAB, run_id=2, leg="2")

    def test_a_run_keeps_its_run_config(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1", overrides={"rounds": 4})
        assert world.code(FAB, leg="2", overrides={"rounds": 5}) is RefusalCode.TERMS_VIOLATED

    def test_too_few_patients_are_refused_before_a_sandbox_starts(self, make_world: Make) -> None:
        world = make_world(limits=NodeLimits(10.0, 1e-5, min_patients=101))
        world.decide(FAB)
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED
        assert world.sandbox.specs == []

    def test_a_store_the_node_lacks_is_refused(self, make_world: Make) -> None:
        world = make_world(data=FakeOffers())
        world.decide(FAB)
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED


class TestLegs:
    def test_the_same_leg_again_gets_the_same_bytes_without_running(self, world: World) -> None:
        world.decide(NOISY)
        first, again = world.ask(NOISY), world.ask(NOISY)
        assert isinstance(first, Reply)
        assert isinstance(again, Reply)
        assert first.encoded == again.encoded
        assert len(world.sandbox.messages) == 1

    def test_the_same_bytes_leave_after_a_restart(self, world: World) -> None:
        world.decide(NOISY)
        first, again = world.ask(NOISY), world.replaced().ask(NOISY)
        assert isinstance(first, Reply)
        assert isinstance(again, Reply)
        assert first.encoded == again.encoded

    def test_a_large_reply_is_resent_from_its_file(self, world: World) -> None:
        rule = {"record": "arrays", "name": "w", "dtype": "float64", "shape": [20_000]}
        fab = make_fab(terms_table(messages={"train": {"per_run": 2, "arrays": [rule]}}))
        people_of(world, range(100_000))
        world.decide(fab)
        world.sandbox.answer = lambda message: Content({"arrays": {"w": np.arange(20_000.0)}})
        first, again = world.ask(fab), world.ask(fab)
        assert isinstance(first, Reply)
        assert isinstance(again, Reply)
        assert first.encoded == again.encoded
        assert len(list((world.folder / "replies").rglob("*"))) == 2

    @pytest.mark.parametrize("change", [{"group": "2"}, {"content": Content()}, {"kind": "evaluate"}])
    def test_another_message_under_the_same_leg_is_refused(self, world: World, change: dict[str, object]) -> None:
        fab = make_fab(terms_table(messages={"train": TRAIN, "evaluate": TRAIN}))
        world.decide(fab)
        world.released(fab)
        assert world.code(fab, **change) is RefusalCode.TERMS_VIOLATED

    def test_another_analysis_under_the_same_run_and_leg_is_refused(self, world: World) -> None:
        other = make_fab(files={"app/client.py": b"app = 2\n"})
        world.decide(FAB)
        world.decide(other)
        world.released(FAB)
        assert world.code(other) is RefusalCode.TERMS_VIOLATED

    def test_a_leg_refused_after_data_stays_refused(self, world: World) -> None:
        world.decide(FAB)
        world.sandbox.answer = lambda message: Content()
        world.code(FAB)
        world.sandbox.answer = lambda message: good_update()
        assert world.code(FAB) is RefusalCode.RELEASE_REJECTED

    def test_a_leg_refused_before_data_may_be_asked_again(self, world: World) -> None:
        world.code(FAB)
        world.decide(FAB)
        world.released(FAB)

    def test_the_replies_of_an_ended_run_are_gone(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB)
        world.gate.end_run(7)
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED
        assert world.sandbox.sessions[0].closed

    def test_threads_that_send_one_leg_get_one_release(self, world: World) -> None:
        world.decide(NOISY)
        answers: list[object] = []
        threads = [threading.Thread(target=lambda: answers.append(world.ask(NOISY))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({answer.encoded for answer in answers if isinstance(answer, Reply)}) == 1
        assert len(answers) == 8
        assert len(world.releases) == 1

    def test_of_two_processes_at_one_leg_only_the_later_attempt_leaves(self, make_world: Make) -> None:
        world = make_world()
        world.decide(FAB)
        reply: list[object] = []

        def while_running(message: Envelope) -> Content:
            other = World(world.folder)
            reply.append(other.ask(FAB))
            other.store.close()
            return good_update()

        world.sandbox.answer = while_running
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED
        assert isinstance(reply[0], Reply)
        resent = world.ask(FAB)
        assert isinstance(resent, Reply)
        assert resent.encoded == reply[0].encoded

    def test_a_stopped_leg_is_not_answered_and_can_be_asked_again(self, world: World) -> None:
        world.decide(FAB)

        def stop(message: Envelope) -> Content:
            world.gate.stop()
            raise SandboxError("its pipe was closed")

        world.sandbox.answer = stop
        with pytest.raises(StoppedError):
            world.ask(FAB)
        again = world.replaced()
        assert again.code(FAB) is None
        assert [entry.attempt for entry in again.store.ledger()] == [1, 2]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (SandboxError("it died"), RefusalCode.SANDBOX_FAILED),
            (SandboxTimeoutError("too slow"), RefusalCode.SANDBOX_TIMEOUT),
        ],
    )
    def test_without_a_claim_a_failure_is_a_refusal_with_a_fixed_text(
        self, world: World, error: Exception, code: RefusalCode
    ) -> None:
        world.decide(FAB)
        world.sandbox.answer = raises(error)
        answer = world.ask(FAB)
        assert not isinstance(answer, Reply)
        assert answer.code is code
        assert answer.reason == code.reason
        assert world.detail == str(error)

    def test_a_session_that_died_is_replaced_and_the_fact_recorded(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1")
        world.sandbox.answer = raises(SandboxError("it died"))
        world.code(FAB, leg="2")
        world.sandbox.answer = lambda message: good_update()
        world.released(FAB, leg="3")
        assert len(world.sandbox.specs) == 2
        assert "session-restarted" in [kind for kind, _ in world.audit()]

    def test_a_session_that_died_between_messages_is_closed_before_the_next_starts(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1")
        world.sandbox.sessions[0].alive = False
        world.released(FAB, leg="2")
        assert world.sandbox.sessions[0].closed

    def test_an_app_that_needs_its_state_fails_once_its_session_is_lost(self, world: World) -> None:
        fab = make_fab(terms_table(limits={"runs": 2, "requires_state": True}))
        world.decide(fab)
        world.released(fab, leg="1")
        world.sandbox.sessions[0].alive = False
        assert world.code(fab, leg="2") is RefusalCode.SANDBOX_FAILED

    def test_no_more_sessions_are_open_than_the_node_allows(self, make_world: Make) -> None:
        fab = make_fab(terms_table(limits={"runs": 10}))
        world = make_world(limits=NodeLimits(10.0, 1e-5, 5, max_sessions=2))
        world.decide(fab)
        for run_id in range(4):
            world.released(fab, run_id=run_id)
        assert [session.closed for session in world.sandbox.sessions] == [True, True, False, False]

    def test_a_reply_whose_header_fills_the_frame_is_refused_not_a_crash(self, world: World) -> None:
        plain = make_fab({})
        world.decide(plain, unsafe_open=True)
        fill = "x" * ((1 << 20) - 120)
        world.sandbox.answer = lambda message: Content(configs={"words": {"fill": fill}})
        assert world.code(plain) is RefusalCode.RELEASE_REJECTED


class TestBudget:
    def test_an_enforced_release_is_debited_before_the_sandbox_starts(self, world: World) -> None:
        world.decide(NOISY)
        seen: list[str] = []

        def answer(message: Envelope) -> Content:
            seen.extend((str(entry.account), entry.state) for entry in world.store.ledger() if entry.run_id)
            return good_update()

        world.sandbox.answer = answer
        world.released(NOISY)
        assert seen == [("site", "reserved"), ("patient:patients", "reserved")]
        assert [entry.state for entry in world.store.ledger() if entry.run_id] == ["committed"] * 2

    def test_a_spent_budget_refuses_and_starts_nothing(self, make_world: Make) -> None:
        world = make_world(limits=NodeLimits(epsilon_cap=0.5, delta=1e-5, min_patients=5))
        world.decide(NOISY)
        assert world.code(NOISY) is RefusalCode.BUDGET_EXHAUSTED
        assert world.sandbox.specs == []
        assert world.releases == []

    def test_a_failure_is_not_refunded(self, world: World) -> None:
        world.decide(NOISY)
        world.sandbox.answer = raises(SandboxError("it died"))
        world.released(NOISY)
        assert world.store.spent(SITE) == {PrivacyEvent(0.5, Relation.REPLACE_ONE_SITE): 1}

    def test_an_analysis_without_a_claim_is_in_the_ledger_without_a_cost(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB)
        assert [(entry.account, entry.event["event"]) for entry in world.store.ledger()] == [(None, "no-claim")]


class TestStatus:
    def test_status_answers_without_sandbox_leg_or_debit(self, world: World) -> None:
        world.decide(NOISY)
        said = world.released(NOISY, kind=STATUS_MESSAGE).configs["flame"]
        assert (said["status"], said["code"], said["ground"]) == ("approved", 0, "enforced")
        assert (said["noise_multiplier"], said["clip_norm"]) == (1.0, 1.0)
        assert world.sandbox.specs == []
        assert world.store.ledger() == []

    @pytest.mark.parametrize(
        ("status", "code"),
        [(Status.PENDING, 902), (Status.REJECTED, 901), (Status.WITHDRAWN, 907), (Status.APPROVED, 0)],
    )
    def test_status_says_what_a_message_would_meet(self, world: World, status: Status, code: int) -> None:
        world.decide(FAB, status)
        said = world.gate.status(Run(7, FAB)).content.configs["flame"]
        assert (said["status"], said["code"]) == (status.value, code)

    def test_status_of_an_unreadable_bundle_is_a_refusal_code(self, world: World) -> None:
        assert world.gate.status(Run(7, b"no zip")).content.configs["flame"]["code"] == 901

    def test_status_tells_an_override_out_of_range(self, world: World) -> None:
        world.decide(FAB)
        assert world.gate.status(Run(7, FAB, {"rounds": 99})).content.configs["flame"]["code"] == 908


def test_heads_of_others_are_kept_if_the_analysis_is_approved(world: World) -> None:
    """What the hub tells beside its question: bounded, audited once, and nothing for a stranger's run."""
    told = {"heads_nodes": ["DIZ-2", "DIZ-3"], "heads": ["a" * 64, "no head"], "heads_signatures": ["", ""]}
    question = Task(Run(7, FAB), "", STATUS_MESSAGE, "", Content(configs={"flame": told}))
    world.gate.handle(question)
    assert "heads-witnessed" not in [kind for kind, _ in world.audit()]
    world.decide(FAB)
    for _ in range(2):
        world.gate.handle(question)
    assert [body["heads"] for kind, body in world.audit() if kind == "heads-witnessed"] == [1]


def test_every_decision_is_in_the_chain(world: World) -> None:
    world.code(FAB)
    world.decide(FAB)
    world.released(FAB)
    world.code(FAB, kind="evaluate", leg="2")
    assert [kind for kind, _ in world.audit()] == [
        "project-pending",
        "approval-pending",
        "refused",
        "project-approved",
        "approval-approved",
        "run-opened",
        "reserved",
        "released",
        "refused",
    ]
    assert world.store.verify_audit()[0] == 9


def test_an_attempt_that_died_is_in_the_chain_with_its_cost(world: World) -> None:
    """Reserving is what lets an app see data: it leaves evidence even if nothing ever comes of it."""
    noisy = make_fab(terms_table(privacy=ENFORCED))
    world.decide(noisy)
    world.sandbox.answer = kill_the_gate
    with pytest.raises(KeyboardInterrupt):
        world.ask(noisy)
    kind, body = world.audit()[-1]
    assert (kind, body["attempt"], body["stores"]) == ("reserved", 1, ["cohort"])
    assert body["event"] == {"event": "gaussian", "noise_multiplier": 0.5, "relation": "replace-one-site"}


def kill_the_gate(message: Envelope) -> Content:
    raise KeyboardInterrupt


class TestDecisionsWhileTheAppWorks:
    """A steward need not wait for an app: what is decided holds before anything leaves."""

    @pytest.mark.parametrize("privacy", [NO_CLAIM, ENFORCED], ids=["no claim", "enforced"])
    @pytest.mark.parametrize(
        ("status", "code"), [(Status.WITHDRAWN, 907), (Status.REJECTED, 901), (Status.PENDING, 902)]
    )
    def test_nothing_leaves_of_an_analysis_that_is_no_longer_approved(
        self, world: World, status: Status, code: int, privacy: dict[str, Any]
    ) -> None:
        fab = make_fab(terms_table(privacy=privacy))
        world.decide(fab)

        def decide_meanwhile(message: Envelope) -> Content:
            world.decide(fab, status)
            return good_update()

        world.sandbox.answer = decide_meanwhile
        assert world.code(fab) == code
        assert world.sandbox.sessions[0].closed
        assert [entry.state for entry in world.releases] == ["reserved"]

    def test_an_approval_that_expires_meanwhile_releases_nothing(self, world: World) -> None:
        world.decide(FAB)

        def a_year_passes(message: Envelope) -> Content:
            world.today = date(2027, 6, 1)
            return good_update()

        world.sandbox.answer = a_year_passes
        assert world.code(FAB) is RefusalCode.WITHDRAWN_OR_EXPIRED

    def test_an_approval_on_other_terms_releases_nothing_of_the_old_ones(self, world: World) -> None:
        world.decide(FAB)

        def other_terms(message: Envelope) -> Content:
            world.decide(FAB, steward_terms=make_terms(limits={"runs": 1}))
            return good_update()

        world.sandbox.answer = other_terms
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED

    def test_a_session_does_not_outlive_the_terms_it_was_started_under(self, world: World) -> None:
        """With a store taken away, the next message meets a new session that sees one store only."""
        assert world.data is not None
        world.data["genomes"] = world.data["cohort"]
        both = {name: terms_table()["data"]["cohort"] for name in ("cohort", "genomes")}
        fab = make_fab(terms_table(data=both))
        world.decide(fab)
        world.released(fab, leg="1")
        world.decide(fab, steward_terms=make_terms())
        world.released(fab, leg="2")
        seen = [sorted(spec.data) for spec in world.sandbox.specs]
        assert seen == [["cohort", "genomes"], ["cohort"]]
        assert world.sandbox.sessions[0].closed

    def test_one_analysis_cannot_end_another_s_session(self, world: World) -> None:
        """The hub chooses run ids: a withdrawn analysis under the run id of another one."""
        other = make_fab(name="other-app")
        world.decide(FAB)
        world.decide(other, Status.WITHDRAWN)
        world.released(FAB, leg="1")
        assert world.code(other, leg="9") is RefusalCode.WITHDRAWN_OR_EXPIRED
        world.released(FAB, leg="2")
        assert len(world.sandbox.sessions) == 1


def people_of(world: World, people: Sequence[int] | None = None) -> FakeOffer:
    """The cohort's store; with `people`, after they changed."""
    assert world.data is not None
    offer = world.data["cohort"]
    if people is not None:
        offer.people = people
    return offer


def left_of(world: World) -> list[str]:
    """What there is of views."""
    views = world.folder / "views"
    return sorted(str(path.relative_to(views)) for path in views.rglob("*")) if views.exists() else []


def zero(content: Content) -> bool:
    return all(not array.any() for array in content.arrays["arrays"].values())


class TestPatients:
    """A patient who withdraws is in no sandbox from then on, and in no difference between two answers."""

    def test_a_view_lives_as_long_as_its_session(self, world: World) -> None:
        """One for all messages of a run, in a folder that nobody can guess."""
        world.decide(FAB)
        world.released(FAB, leg="1")
        (folder, view) = left_of(world)
        assert len(folder) == 32
        assert view == f"{folder}/cohort"
        assert world.sandbox.specs[0].data == {"cohort": world.folder / "views" / view}
        world.released(FAB, leg="2")
        assert left_of(world) == [folder, view]
        world.gate.end_run(7)
        assert left_of(world) == []

    def test_every_run_has_views_of_its_own(self, world: World) -> None:
        world.decide(FAB)
        for run_id in (1, 2):
            world.released(FAB, run_id=run_id)
        assert world.sandbox.specs[0].data != world.sandbox.specs[1].data
        world.gate.end_run(1)
        assert len(left_of(world)) == 2
        world.gate.stop()
        assert left_of(world) == []

    @pytest.mark.parametrize("how", ["idle", "withdrawn approval", "dead session", "room", "no start"])
    def test_no_view_outlives_its_session(self, make_world: Make, how: str) -> None:
        world = make_world(limits=NodeLimits(10.0, 1e-5, 5, max_sessions=1))
        world.decide(FAB)
        if how == "no start":
            world.sandbox.start = raises(SandboxError("no engine"))  # type: ignore[method-assign, assignment]
            assert world.code(FAB) is RefusalCode.SANDBOX_FAILED
            assert left_of(world) == []
            return
        world.released(FAB, leg="1")
        if how == "idle":
            world.gate.close_idle()
        elif how == "withdrawn approval":
            world.decide(FAB, Status.WITHDRAWN)
            world.code(FAB, leg="2")
        elif how == "dead session":
            world.sandbox.answer = raises(SandboxError("it died"))
            world.code(FAB, leg="2")
        else:
            world.released(FAB, run_id=8)
            assert len(left_of(world)) == 2
            world.gate.end_run(8)
        assert left_of(world) == []

    def test_half_of_the_views_is_none(self, world: World) -> None:
        """The second store cannot be read: what was made of the first is not kept until the run's next message."""
        assert world.data is not None

        class Broken(FakeOffer):
            def views(self, *arguments: object) -> None:
                raise InputError("Another content.")

        world.data["genomes"] = Broken(world.folder / "genomes")
        both = {name: terms_table()["data"]["cohort"] for name in ("cohort", "genomes")}
        fab = make_fab(terms_table(data=both))
        world.decide(fab)
        assert world.code(fab) is RefusalCode.TERMS_VIOLATED
        assert "Another content" in world.detail
        assert left_of(world) == []
        assert world.sandbox.specs == []

    def test_a_full_disk_is_no_refusal_of_the_data(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(FakeOffer, "views", full)
        world.decide(FAB)
        assert world.code(FAB) is RefusalCode.SANDBOX_FAILED
        assert "No space left" in world.detail

    def test_before_anything_was_released_a_smaller_cohort_needs_no_more(self, world: World) -> None:
        world.decide(FAB)
        world.sandbox.answer = raises(SandboxError("it died"))
        world.code(FAB, leg="1")
        people_of(world, range(99))
        world.sandbox.answer = lambda message: good_update()
        world.released(FAB, leg="2")

    @pytest.mark.parametrize("people", [range(99), range(91), range(101), range(1, 101)])
    def test_without_dp_a_withdrawal_ends_the_run(self, world: World, people: range) -> None:
        """907, the session closed, its views gone, no sandbox started: two answers would show the few."""
        world.decide(FAB)
        world.released(FAB, leg="1")
        people_of(world, people)
        assert world.code(FAB, leg="2") is RefusalCode.WITHDRAWN_OR_EXPIRED
        assert world.sandbox.sessions[0].closed
        assert left_of(world) == []
        assert len(world.sandbox.specs) == 1
        assert world.code(FAB, run_id=8) is RefusalCode.WITHDRAWN_OR_EXPIRED  # no other run is a way round
        assert len(world.sandbox.specs) == 1
        assert [entry.state for entry in world.store.ledger()] == ["committed"]

    def test_nothing_leaves_until_enough_differ(self, world: World) -> None:
        """Then about the new cohort, in a session of its own; both cohorts count from then on."""
        world.decide(FAB)
        world.released(FAB, leg="1")
        for number in (1, 5, 9):
            people_of(world, range(100 - number))
            assert world.code(FAB, leg=f"no-{number}") is RefusalCode.WITHDRAWN_OR_EXPIRED
        people_of(world, range(90))
        world.released(FAB, leg="2")
        assert len(world.sandbox.specs) == 2
        people_of(world, range(91))
        assert world.code(FAB, leg="3") is RefusalCode.WITHDRAWN_OR_EXPIRED
        people_of(world, range(100))
        world.released(FAB, leg="3")

    def test_the_nodes_own_minimum_counts_too(self, make_world: Make) -> None:
        world = make_world(limits=NodeLimits(10.0, 1e-5, min_patients=20))
        world.decide(FAB)
        world.released(FAB, leg="1")
        people_of(world, range(81))
        assert world.code(FAB, leg="2") is RefusalCode.WITHDRAWN_OR_EXPIRED
        people_of(world, range(80))
        world.released(FAB, leg="2")

    def test_a_withdrawal_and_its_retreat_leave_nothing_behind(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1")
        people_of(world, range(99))
        assert world.code(FAB, leg="2") is RefusalCode.WITHDRAWN_OR_EXPIRED
        people_of(world, range(100))
        world.released(FAB, leg="2")

    def test_what_left_before_a_withdrawal_does_not_leave_again(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1")
        people_of(world, range(99))
        assert world.code(FAB, leg="1") is RefusalCode.WITHDRAWN_OR_EXPIRED

    def test_released_cohorts_are_remembered_after_a_restart(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1")
        world = world.replaced()
        people_of(world, range(99))
        assert world.code(FAB, leg="2") is RefusalCode.WITHDRAWN_OR_EXPIRED

    def test_status_says_that_a_message_would_be_refused(self, world: World) -> None:
        world.decide(FAB)
        world.released(FAB, leg="1")
        people_of(world, range(99))
        assert world.gate.status(Run(7, FAB)).content.configs["flame"]["code"] == 907

    def test_too_few_are_left(self, world: World) -> None:
        """Below the minimum nothing runs."""
        world.decide(FAB)
        world.released(FAB, leg="1")
        people_of(world, range(9))
        assert world.code(FAB, leg="2") is RefusalCode.TERMS_VIOLATED

    def test_under_a_claim_too_few_at_the_first_message_are_too_few(self, world: World) -> None:
        """And enough are enough for good: a second look would be a second count, or tell of one patient for nothing."""
        other = make_fab(terms_table(privacy=ENFORCED, limits={"runs": 9}))
        for fab in (NOISY, other):
            world.decide(fab)
        world.released(NOISY, leg="1")
        people_of(world, range(9))
        assert world.code(other, run_id=8) is RefusalCode.TERMS_VIOLATED
        world.released(NOISY, leg="2")

    def test_two_stores_of_one_analysis_need_not_have_the_same_patients(self, world: World) -> None:
        """Five have no genome: what left about both stores together differs from itself by nobody."""
        assert world.data is not None
        world.data["genomes"] = FakeOffer(world.folder / "genomes", patients=95)
        both = {name: terms_table()["data"]["cohort"] for name in ("cohort", "genomes")}
        fab = make_fab(terms_table(data=both))
        world.decide(fab)
        world.released(fab, leg="1")
        world.released(fab, leg="2")

    def test_a_withdrawal_while_the_app_works_releases_nothing(self, world: World) -> None:
        """The update holds the patient: 907, and the session that holds the view is ended."""
        world.decide(FAB)

        def somebody_withdraws(message: Envelope) -> Content:
            people_of(world, range(99))
            return good_update()

        world.sandbox.answer = somebody_withdraws
        assert world.code(FAB, leg="1") is RefusalCode.WITHDRAWN_OR_EXPIRED
        assert world.sandbox.sessions[0].closed
        assert left_of(world) == []
        assert world.store.released_cohorts("patients") == set()
        world.sandbox.answer = lambda message: good_update()
        world.released(FAB, leg="2")
        assert len(world.sandbox.specs) == 2

    def test_under_a_claim_a_run_goes_on_with_the_smaller_cohort(self, world: World) -> None:
        """A new session with new views; no refusal, the noise covers one site's change."""
        world.decide(NOISY)
        world.released(NOISY, leg="1")
        people_of(world, range(99))
        world.released(NOISY, leg="2")
        assert world.sandbox.sessions[0].closed
        assert len(world.sandbox.specs) == 2
        assert len(left_of(world)) == 2
        (restarted,) = [body for kind, body in world.audit() if kind == "session-restarted"]
        assert restarted["leg"] == "2"

    @pytest.mark.parametrize("how", ["answers", "dies"])
    def test_under_a_claim_the_leg_of_a_withdrawal_is_the_zero_vector(self, make_world: Make, how: str) -> None:
        """Not a refusal: and the next leg is about those who are left. Without noise, to see it."""
        world = make_world(noise=NoNoise())
        world.decide(NOISY)
        assert not zero(world.released(NOISY, leg="1"))

        def somebody_withdraws(message: Envelope) -> Content:
            people_of(world, range(99))
            if how == "dies":
                raise SandboxError("its session was ended")
            return good_update()

        world.sandbox.answer = somebody_withdraws
        assert zero(world.released(NOISY, leg="2"))
        assert {"answers": "cohort changed", "dies": "session was ended"}[how] in world.detail
        assert world.sandbox.sessions[0].closed
        assert left_of(world) == []
        world.sandbox.answer = lambda message: good_update()
        assert not zero(world.released(NOISY, leg="3"))
        assert len(world.sandbox.specs) == 2

    @pytest.mark.parametrize("privacy", [NO_CLAIM, ENFORCED], ids=["no claim", "enforced"])
    def test_another_thread_ends_the_session_in_the_middle_of_work(
        self, make_world: Make, privacy: dict[str, Any]
    ) -> None:
        """As the node's watch does it: at once, views and all, while the app would go on for hours."""
        world = make_world(noise=NoNoise())
        fab = make_fab(terms_table(privacy=privacy))
        world.decide(fab)
        at_work, ended, seen = threading.Event(), threading.Event(), []

        def works(message: Envelope) -> Content:
            at_work.set()
            assert ended.wait(20)
            seen.append((world.sandbox.sessions[0].closed, left_of(world)))
            raise SandboxError("its pipe was closed")

        def watch() -> None:
            assert at_work.wait(20)
            assert world.gate.end_changed() == 0
            people_of(world, range(99))
            counts.append(world.gate.end_changed())
            counts.append(world.gate.end_changed())
            ended.set()

        counts: list[int] = []
        world.sandbox.answer = works
        thread = threading.Thread(target=watch)
        thread.start()
        answer = world.ask(fab)
        thread.join()
        assert counts == [1, 0]
        assert seen == [(True, [])]
        if privacy is NO_CLAIM:
            assert not isinstance(answer, Reply)
            assert answer.code is RefusalCode.WITHDRAWN_OR_EXPIRED
        else:
            assert isinstance(answer, Reply)
            assert zero(answer.content)

    def test_a_session_without_the_patient_is_not_ended(self, world: World) -> None:
        """Of another store, of another run."""
        assert world.data is not None
        world.data["genomes"] = FakeOffer(world.folder / "genomes")
        other = make_fab(terms_table(data={"genomes": terms_table()["data"]["cohort"]}), name="other")
        for fab, run_id in ((FAB, 1), (other, 2)):
            world.decide(fab)
            world.released(fab, run_id=run_id)
        people_of(world, range(99))
        assert world.gate.end_changed() == 1
        assert [session.closed for session in world.sandbox.sessions] == [True, False]

    def test_what_cannot_be_told_does_not_hold(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The watch goes on, and nobody's data stay in a sandbox on a doubt."""

        def broken(*arguments: object) -> None:
            raise OSError(5, "Input/output error")

        world.decide(FAB)
        world.released(FAB)
        monkeypatch.setattr(FakeOffer, "cohort", broken)
        assert world.gate.end_changed() == 1
        assert world.sandbox.sessions[0].closed


class Versions(FakeOffers):
    """A store of which several versions are kept; the last one is offered."""

    def __init__(self, *versions: FakeOffer) -> None:
        super().__init__(cohort=versions[-1])
        self.versions = {version.binding: version for version in versions}

    def get(self, name: str, snapshot: str | None = None) -> FakeOffer | None:  # type: ignore[override]
        return self["cohort"] if snapshot is None else self.versions.get(snapshot)


class TestVersions:
    """An approval is for one version of the data, whatever is offered since."""

    @pytest.fixture
    def old(self, tmp_path: Path) -> FakeOffer:
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "which").write_text("old")
        return FakeOffer(tmp_path / "old", "a" * 64)

    @pytest.fixture
    def new(self, tmp_path: Path) -> FakeOffer:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "which").write_text("new")
        return FakeOffer(tmp_path / "new", "b" * 64, patients=150)

    @staticmethod
    def which(world: World) -> str:
        return (world.sandbox.specs[-1].data["cohort"] / "which").read_text()

    def test_an_approval_stays_with_its_version(self, make_world: Make, old: FakeOffer, new: FakeOffer) -> None:
        """The next message, the next run and a restart after a refresh: the old bytes, the old patients."""
        world = make_world(data=Versions(old))
        world.decide(FAB)
        world.released(FAB, leg="1")
        world = world.replaced(data=Versions(old, new))
        world.released(FAB, leg="2")
        assert self.which(world) == "old"
        world.released(FAB, run_id=8)
        assert self.which(world) == "old"

    def test_a_new_approval_is_for_the_new_version(self, make_world: Make, old: FakeOffer, new: FakeOffer) -> None:
        """And a session with the old one is not gone on with."""
        data = Versions(old)
        world = make_world(data=data)
        world.decide(FAB)
        world.released(FAB, leg="1")
        data.versions[new.binding] = data["cohort"] = new
        world.decide(FAB)
        world.released(FAB, leg="2")
        assert self.which(world) == "new"
        assert world.sandbox.sessions[0].closed

    @pytest.mark.parametrize("privacy", [NO_CLAIM, ENFORCED, BLOCKS], ids=["no claim", "site", "patient"])
    def test_a_new_approval_is_for_the_new_version_with_the_same_patients_too(
        self, make_world: Make, old: FakeOffer, new: FakeOffer, privacy: dict[str, Any]
    ) -> None:
        """A view is one of a version, laid out as terms say; that the rows have the same numbers says nothing."""
        new.people = old.people
        data = Versions(old)
        world = make_world(data=data)
        fab = make_fab(terms_table(privacy=privacy))
        world.decide(fab)
        world.released(fab, leg="1")
        assert self.which(world) == "old"
        data.versions[new.binding] = data["cohort"] = new
        world.decide(fab)
        world.released(fab, leg="2")
        assert self.which(world) == "new"
        world.gate.end_run(7)
        assert left_of(world) == []

    def test_a_version_that_is_gone_is_not_replaced_by_another(
        self, make_world: Make, old: FakeOffer, new: FakeOffer
    ) -> None:
        world = make_world(data=Versions(old))
        world.decide(FAB)
        world = world.replaced(data=Versions(new))
        assert world.code(FAB) is RefusalCode.TERMS_VIOLATED
        assert world.sandbox.specs == []

    def test_an_optional_store_that_is_not_offered_is_not_needed(self, world: World) -> None:
        """The app is given the folders of the others; without the word nothing starts."""
        for optional, code in ((False, RefusalCode.TERMS_VIOLATED), (True, None)):
            fab = make_fab(terms_table(data=with_images(optional=optional)))
            world.decide(fab)
            assert world.code(fab, leg=f"{optional}") is code
        (spec,) = world.sandbox.specs
        assert set(spec.data) == {"cohort"}

    def test_an_optional_store_that_comes_later_is_not_used_without_a_new_approval(self, world: World) -> None:
        fab = make_fab(terms_table(data=with_images(optional=True)))
        world.decide(fab)
        assert world.data is not None
        world.data["images"] = FakeOffer(world.folder / "images")
        assert world.code(fab) is None
        world.decide(fab)
        assert world.code(fab, leg="2", run_id=8) is None
        assert [set(spec.data) for spec in world.sandbox.specs] == [{"cohort"}, {"cohort", "images"}]

    def test_an_optional_store_with_too_few_patients_is_none_that_is_absent(self, world: World) -> None:
        """Leaving it out would tell the app, and through it the hub, how many there are."""
        assert world.data is not None
        world.data["images"] = FakeOffer(world.folder / "images", patients=3)
        fab = make_fab(terms_table(data=with_images(optional=True)))
        world.decide(fab)
        assert world.code(fab) is RefusalCode.TERMS_VIOLATED
        assert "'images' has fewer than 10 patients" in world.detail

    def test_a_store_whose_content_changed_is_908(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def changed(*arguments: object) -> None:
            raise InputError("The data are not those that were registered.")

        world.decide(FAB)
        for method in ("cohort", "views"):
            with monkeypatch.context() as patch:
                patch.setattr(FakeOffer, method, changed)
                assert world.code(FAB, leg=method) is RefusalCode.TERMS_VIOLATED
                assert "not those that were registered" in world.detail
        assert world.sandbox.specs == []


class TestStop:
    """`stop` holds for what is going on and for what comes later."""

    def test_a_leg_after_it_is_not_answered(self, world: World) -> None:
        world.decide(FAB)
        world.gate.stop()
        with pytest.raises(StoppedError):
            world.ask(FAB)
        assert world.sandbox.specs == []

    def test_a_session_that_was_just_being_started_is_ended(self, world: World) -> None:
        world.decide(FAB)
        start = world.sandbox.start

        def stop_meanwhile(spec: SandboxSpec) -> FakeSession:
            session = start(spec)
            world.gate.stop()
            return session

        world.sandbox.start = stop_meanwhile  # type: ignore[method-assign]
        with pytest.raises(StoppedError):
            world.ask(FAB)
        assert world.sandbox.sessions[0].closed


@pytest.mark.parametrize("privacy", [NO_CLAIM, ENFORCED], ids=["no claim", "enforced"])
@pytest.mark.parametrize("fault", [RecursionError("deep"), MemoryError(), OSError(28, "full"), ValueError("bug")])
def test_a_sandbox_s_own_fault_is_the_app_s_failure(world: World, fault: Exception, privacy: dict[str, Any]) -> None:
    """Whatever is raised on the sandbox's side is 905, or the zero vector under a claim; it never escapes."""

    def broken(message: Envelope) -> Content:
        raise fault

    world.sandbox.answer = broken
    fab = make_fab(terms_table(privacy=privacy))
    world.decide(fab)
    assert world.code(fab) is (RefusalCode.SANDBOX_FAILED if privacy is NO_CLAIM else None)


def test_a_session_that_cannot_be_closed_stops_nothing(world: World) -> None:
    """A port that breaks its promise: ending its session is suppressed, and the next one is started."""

    def no(self: FakeSession) -> None:
        self.alive = False
        raise RecursionError

    world.decide(FAB)
    world.released(FAB, leg="1")
    world.sandbox.sessions[0].close = no.__get__(world.sandbox.sessions[0])  # type: ignore[method-assign]
    world.gate.end_run(7)
    world.released(FAB, leg="2")


def test_patients_are_those_of_the_table_and_column_that_the_terms_name(world: World) -> None:
    """A count of something else is no answer to how many patients there are."""
    store = {"table": "other.parquet", "patient_id": "patient_id", "columns": ["*"], "min_patients": 10}
    fab = make_fab(terms_table(data={"cohort": store}))
    world.decide(fab)
    assert world.code(fab) is RefusalCode.TERMS_VIOLATED
    assert world.sandbox.specs == []


def test_the_contract_used_here_is_what_the_tests_think(world: World) -> None:
    """Guards the others: TRAIN has one count, one ranged metric and two arrays."""
    rules = MessageTerms.model_validate(TRAIN)
    assert [metric.kind for metric in rules.metrics] == ["count", "mean"]
    assert sum(int(np.prod(rule.exact_shape or ())) for rule in rules.arrays) == 5


def test_a_warm_session_does_not_hold_its_first_message(world: World) -> None:
    """A model of 50 MB would stay in the gate's memory for as long as the run is warm."""
    world.decide(FAB)
    world.released(FAB)
    remembered = [bound.verified for bound in world.gate._sessions._bound.values()]
    assert [(v.task.content.nbytes, v.reference) for v in remembered] == [(0, {})]
    assert remembered[0].uses
