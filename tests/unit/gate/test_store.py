"""What is stored comes back as it was, and what must happen once happens once."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flame_fl.contract.errors import VerificationError
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.approval import ApprovalRecord, Status
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.ledger_store import Cap, Debit
from flame_fl.gate.store import Store
from flame_fl.privacy.accounting import PrivacyEvent, Relation
from tests.support.gates import ENFORCED, make_fab, make_terms, manifest_from, terms_table

MANIFEST = manifest_from(make_fab(terms_table(privacy=ENFORCED)))
LARGE = bytes(100_000)
EVENT = PrivacyEvent(0.5, Relation.REPLACE_ONE_SITE)
PEOPLE = Account("patient", "patients")


@pytest.fixture(params=[True, False], ids=["durable", "quick"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(tmp_path / "state.db", durable=request.param)
    yield store
    store.close()


def reserve(store: Store, leg: str = "l") -> int:
    return store.reserve_leg("r", leg, "train", "sha")


class TestApprovals:
    def test_a_record_comes_back_as_it_was(self, store: Store) -> None:
        record = ApprovalRecord(
            MANIFEST.digest, Status.APPROVED, MANIFEST, "b", make_terms(), unsafe_open=True, by="x", at="y", comment="z"
        )
        store.put_approval(record)
        assert store.approval(MANIFEST.digest) == record

    def test_the_stored_manifest_has_the_same_digest(self, store: Store) -> None:
        store.put_approval(ApprovalRecord(MANIFEST.digest, Status.PENDING, MANIFEST))
        (record,) = store.approvals()
        assert record.manifest.digest == MANIFEST.digest

    def test_every_decision_is_audited_and_dated(self, store: Store) -> None:
        for status in (Status.PENDING, Status.APPROVED, Status.WITHDRAWN):
            store.put_approval(ApprovalRecord(MANIFEST.digest, status, MANIFEST))
        kinds = [entry["kind"] for entry, _ in store.audit_rows()]
        assert kinds == ["approval-pending", "approval-approved", "approval-withdrawn"]
        assert store.approvals()[0].at

    def test_analyses_are_listed_by_app(self, store: Store) -> None:
        other = manifest_from(make_fab(name="other-app"))
        for manifest in (MANIFEST, other):
            store.put_approval(ApprovalRecord(manifest.digest, Status.PENDING, manifest))
        assert [r.manifest.app for r in store.approvals()] == ["someone/an-app", "someone/other-app"]
        assert [r.manifest.app for r in store.approvals("someone/other-app")] == ["someone/other-app"]


class TestRuns:
    def test_a_run_is_counted_once(self, store: Store) -> None:
        for _ in range(3):
            store.open_run("r", "d", "f", {"a": 1}, max_runs=1)

    def test_one_run_too_many_is_refused(self, store: Store) -> None:
        store.open_run("r1", "d", "f", {}, max_runs=1)
        with pytest.raises(RefusedError) as caught:
            store.open_run("r2", "d", "f", {}, max_runs=1)
        assert caught.value.code is RefusalCode.TERMS_VIOLATED

    @pytest.mark.parametrize("change", [("e", "f", {"a": 1}), ("d", "g", {"a": 1}), ("d", "f", {"a": 2})])
    def test_a_run_id_stands_for_one_thing(self, store: Store, change: tuple[str, str, dict[str, int]]) -> None:
        store.open_run("r", "d", "f", {"a": 1}, max_runs=9)
        with pytest.raises(RefusedError):
            store.open_run("r", *change, max_runs=9)

    def test_an_integer_and_a_float_are_two_run_configs(self, store: Store) -> None:
        store.open_run("r", "d", "f", {"a": 1}, max_runs=9)
        with pytest.raises(RefusedError):
            store.open_run("r", "d", "f", {"a": 1.0}, max_runs=9)


class TestLegs:
    @pytest.mark.parametrize("reply", [b"small", LARGE], ids=["inline", "file"])
    def test_a_reply_comes_back_byte_for_byte(self, store: Store, reply: bytes) -> None:
        assert store.end_leg("r", "l", reserve(store), reply=[reply])
        leg = store.leg("r", "l")
        assert leg is not None
        assert (leg.reply, leg.state, leg.code) == (reply, "released", None)

    def test_attempts_are_counted(self, store: Store) -> None:
        assert [reserve(store) for _ in range(3)] == [1, 2, 3]
        assert store.legs_of("r") == 1

    def test_only_the_last_attempt_can_end_a_leg(self, store: Store) -> None:
        first, second = reserve(store), reserve(store)
        assert not store.end_leg("r", "l", first, reply=[b"first"])
        assert store.end_leg("r", "l", second, reply=[b"second"])

    def test_a_leg_ends_once(self, store: Store) -> None:
        attempt = reserve(store)
        assert store.end_leg("r", "l", attempt, reply=[b"first"])
        assert not store.end_leg("r", "l", attempt, reply=[b"second"])
        assert not store.end_leg("r", "l", attempt, code=RefusalCode.SANDBOX_FAILED)
        leg = store.leg("r", "l")
        assert leg is not None
        assert leg.reply == b"first"

    def test_a_refusal_comes_back_as_its_code(self, store: Store) -> None:
        store.end_leg("r", "l", reserve(store), code=RefusalCode.SANDBOX_TIMEOUT)
        leg = store.leg("r", "l")
        assert leg is not None
        assert (leg.reply, leg.state, leg.code) == (None, "refused", RefusalCode.SANDBOX_TIMEOUT)

    @pytest.mark.parametrize("damage", [None, b"", b"x" + LARGE[1:]], ids=["missing", "cut", "changed"])
    def test_a_reply_file_that_is_not_what_was_committed_is_never_sent(
        self, store: Store, damage: bytes | None
    ) -> None:
        store.end_leg("r", "l", reserve(store), reply=[LARGE])
        (file,) = [p for p in (store.path.parent / "replies").rglob("*") if p.is_file()]
        if damage is None:
            file.unlink()
        else:
            file.write_bytes(damage)
        with pytest.raises(VerificationError):
            store.leg("r", "l")

    def test_a_leg_id_that_looks_like_a_path_stays_in_its_folder(self, store: Store) -> None:
        store.end_leg("r", "../../../etc/x", reserve(store, "../../../etc/x"), reply=[LARGE])
        (file,) = [p for p in store.path.parent.rglob("*") if p.is_file() and p.stat().st_size == len(LARGE)]
        assert file.resolve().is_relative_to(store.path.parent / "replies")

    def test_an_attempt_that_lost_leaves_the_winner_s_reply_alone(self, store: Store) -> None:
        """Large replies are files: the loser's must not be written over the one that was committed."""
        first, second = reserve(store), reserve(store)
        assert store.end_leg("r", "l", second, reply=[LARGE])
        assert not store.end_leg("r", "l", first, reply=[LARGE[:-1] + b"x"])
        leg = store.leg("r", "l")
        assert leg is not None
        assert leg.reply == LARGE

    def test_forgetting_a_run_drops_its_replies_and_keeps_its_legs(self, store: Store) -> None:
        store.end_leg("r", "l", reserve(store), reply=[LARGE])
        store.forget_replies("r")
        leg = store.leg("r", "l")
        assert leg is not None
        assert (leg.state, leg.reply) == ("released", None)
        assert not [p for p in (store.path.parent / "replies").rglob("*") if p.is_file()]


class TestLedger:
    def debit(
        self,
        store: Store,
        *accounts: Account,
        event: PrivacyEvent | None = EVENT,
        distance: float = 0.0,
        project: str = "p",
        digest: str = "d",
        attempt: int = 1,
    ) -> None:
        debit = Debit(project, digest, "r", "l", attempt, ("b", "a"))
        store.debit(accounts or (SITE,), debit, event, distance)

    def test_attempts_add_up_and_accounts_do_not(self, store: Store) -> None:
        assert store.spent(SITE) == {}
        self.debit(store, SITE, PEOPLE)
        self.debit(store, digest="e", attempt=2)
        assert (store.spent(SITE), store.spent(PEOPLE)) == ({EVENT: 2}, {EVENT: 1})
        assert (store.spent(SITE, digest="d"), store.spent(SITE, digest="none")) == ({EVENT: 1}, {})

    def test_projects_are_told_apart(self, store: Store) -> None:
        self.debit(store, PEOPLE)
        self.debit(store, PEOPLE, project="q", event=PrivacyEvent(2.0, Relation.ADD_OR_REMOVE_ONE_PATIENT, 0.1, 7))
        assert store.spent(PEOPLE, project="p") == {EVENT: 1}
        assert len(store.spent(PEOPLE)) == 2
        assert store.debitors(PEOPLE) == ["p", "q"]
        assert store.debitors(SITE) == []

    def test_namespaces_are_told_apart(self, store: Store) -> None:
        self.debit(store, Account("patient", "a"))
        assert store.spent(Account("patient", "b")) == {}
        assert store.accounts() == [Account("patient", "a")]

    def test_an_entry_holds_the_event_not_only_its_cost(self, store: Store) -> None:
        self.debit(store, distance=1e-30)
        (entry,) = store.ledger()
        assert entry.event == {"event": "gaussian", "noise_multiplier": 0.5, "relation": "replace-one-site"}
        assert (entry.account, entry.stores, entry.distance, entry.state) == (SITE, ("a", "b"), 1e-30, "reserved")

    def test_without_a_claim_it_is_noted_at_no_cost_and_on_no_account(self, store: Store) -> None:
        self.debit(store, SITE, event=None)
        (entry,) = store.ledger()
        assert (entry.account, entry.event) == (None, {"event": "no-claim"})
        assert store.spent(SITE) == {}
        assert store.accounts() == []

    def test_a_commit_names_the_attempt_and_is_of_every_account(self, store: Store) -> None:
        self.debit(store, SITE, PEOPLE, attempt=1)
        self.debit(store, SITE, PEOPLE, attempt=2)
        store.commit_debit("r", "l", 2)
        assert [entry.state for entry in store.ledger()] == ["reserved", "reserved", "committed", "committed"]
        assert [entry.state for entry in store.ledger(SITE)] == ["reserved", "committed"]
        assert store.spent(SITE) == {EVENT: 2}

    def test_distances_add_up(self, store: Store) -> None:
        for attempt in (1, 2):
            self.debit(store, SITE, PEOPLE, distance=1e-30, attempt=attempt)
        assert store.distance(SITE) == store.distance(PEOPLE) == 2e-30
        assert store.distance(Account("patient", "other")) == 0.0

    def test_what_this_version_does_not_know_is_an_error_and_not_nothing(self, store: Store) -> None:
        self.debit(store)
        store._db.execute("UPDATE debits SET event=?", '{"event": "of-tomorrow"}')
        with pytest.raises(ValueError, match="cannot be read"):
            store.spent(SITE)
        assert store.spent(PEOPLE) == {}


class TestCaps:
    def test_the_newest_cap_of_an_account_and_project_holds(self, store: Store) -> None:
        assert store.cap(SITE) is None
        store.set_cap(SITE, 3.0, by="ada")
        store.set_cap(SITE, 2.0, by="ada", project="p")
        store.set_cap(SITE, 5.0, by="bob", comment="a new vote")
        assert (store.cap(SITE), store.cap(SITE, "p"), store.cap(SITE, "q"), store.cap(PEOPLE)) == (
            5.0,
            2.0,
            None,
            None,
        )
        assert [(cap.project, cap.epsilon, cap.by) for cap in store.caps(SITE)] == [
            ("", 3.0, "ada"),
            ("p", 2.0, "ada"),
            ("", 5.0, "bob"),
        ]
        assert isinstance(store.caps(SITE)[0], Cap)
        assert store.debitors(SITE) == ["p"]

    def test_who_set_it_is_in_the_chain_with_what_held_before(self, store: Store) -> None:
        for epsilon in (3.0, 5.0):
            store.set_cap(SITE, epsilon, by="ada", comment="a vote")
        bodies = [entry["body"] for entry, _ in store.audit_rows() if entry["kind"] == "budget-cap"]
        assert bodies == [
            {"account": "site", "project": "", "before": b, "epsilon": e, "by": "ada", "comment": "a vote"}
            for b, e in ((None, 3.0), (3.0, 5.0))
        ]

    @pytest.mark.parametrize("epsilon", [0.0, -1.0, float("inf"), float("nan")])
    def test_what_is_no_positive_number_is_no_cap(self, store: Store, epsilon: float) -> None:
        with pytest.raises(ValueError, match="positive"):
            store.set_cap(SITE, epsilon, by="ada")
        assert store.caps(SITE) == []

    def test_an_account_is_opened_once_and_says_so(self, store: Store) -> None:
        first = store.lifetime(SITE, 8.0, 1e-5)
        assert store.lifetime(SITE, 20.0, 1e-3) == first
        assert [cap.by for cap in store.caps(SITE)] == ["node settings"]
        assert store.lifetime(PEOPLE, 20.0, 1e-3).delta == 1e-3

    def test_the_order_is_fixed_for_ever_when_a_cap_is_raised(self, store: Store) -> None:
        first = store.lifetime(SITE, 2.0, 1e-5)
        store.set_cap(SITE, 20.0, by="ada")
        raised = store.lifetime(SITE, 2.0, 1e-5)
        assert (raised.epsilon, raised.order, raised.delta) == (20.0, first.order, first.delta)


class TestCohortChecks:
    def test_a_decision_is_made_once(self, store: Store) -> None:
        assert store.cohort_check("d", "s", "b") is None
        store.note_cohort_check("d", "s", "b", enough=False, noised=12)
        assert store.cohort_check("d", "s", "b") is False
        assert store.cohort_check("d", "s", "another version") is None
        assert store.cohort_check("another analysis", "s", "b") is None
        with pytest.raises(sqlite3.IntegrityError):
            store.note_cohort_check("d", "s", "b", enough=True, noised=90)
