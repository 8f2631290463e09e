"""The budget's figures, what more fits, caps, the plot, and recomputing it all."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.errors import InputError, VerificationError
from flame_fl.contract.refusal import RefusedError
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.ledger import lifetime_now, lifetime_of, require_room
from flame_fl.gate.ledger_store import Debit
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits
from flame_fl.node.accounts import account_from, account_now, all_accounts, is_opened, room
from flame_fl.node.budget import budget_of, propose_cap, set_cap
from flame_fl.node.budget_plot import stacked, write_plot
from flame_fl.node.budget_verify import check_account
from flame_fl.node.budget_would import kind_from, would_fit
from flame_fl.privacy.accounting import PrivacyEvent, Relation, epsilon_of
from flame_fl.privacy.filters import filter_for
from flame_fl.privacy.risk import risk_of

LIMITS = NodeLimits(epsilon_cap=10.0, delta=1e-5, min_patients=5)
PATIENTS = Account("patient", "patients")
ADD_OR_REMOVE = Relation.ADD_OR_REMOVE_ONE_PATIENT
EVENT = PrivacyEvent(2.0, ADD_OR_REMOVE)
SAMPLED = PrivacyEvent(1.2, ADD_OR_REMOVE, 0.025, 1200)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty state."""
    store = Store(tmp_path / "state.db", durable=False)
    yield store
    store.close()


def debit(
    store: Store,
    count: int = 1,
    *,
    account: Account = PATIENTS,
    event: PrivacyEvent = EVENT,
    project: str = "p",
    committed: int = 0,
    ask: bool = True,
) -> None:
    """Debit events as the gate does; `committed` of them left."""
    begun = len(store.ledger())
    for number in range(begun, begun + count):
        stated = Debit(project, "d" * 64, "run", f"leg-{number}", 1, ("cohort",))
        if ask:
            require_room(store, LIMITS, account, stated, event=event, distance=0.0)
        store.debit((account,), stated, event)
        if number - begun < committed:
            store.commit_debit("run", f"leg-{number}", 1)


class TestFigures:
    def test_spent_reserved_and_left(self, store: Store) -> None:
        """Shares add up to one; what did not leave is spent all the same."""
        debit(store, 3, committed=2)
        debit(store, 2, project="q", committed=2)
        found = budget_of(store, LIMITS, PATIENTS)
        assert (found.total.debits, found.committed.debits, found.reserved.debits) == (5, 4, 1)
        assert found.total.share + found.left == pytest.approx(1.0)
        assert found.committed.share + found.reserved.share == pytest.approx(found.total.share)
        assert [(p.project, p.spent.debits) for p in found.projects] == [("p", 3), ("q", 2)]
        assert sum(p.spent.share for p in found.projects) == pytest.approx(found.total.share)

    def test_epsilon_and_risk_are_those_of_the_events(self, store: Store) -> None:
        """At the account's delta; the loss distributions' figure is smaller."""
        debit(store, 4)
        total = budget_of(store, LIMITS, PATIENTS).total
        risk = risk_of({EVENT: 4})
        assert total.epsilon == epsilon_of({EVENT: 4}, 1e-5)
        assert 0 < total.epsilon_pld < total.epsilon < 10
        assert (total.advantage, total.tpr) == (risk.advantage, risk.tpr)

    def test_nothing_spent(self, store: Store) -> None:
        """All is left, and reading changes nothing."""
        found = budget_of(store, LIMITS, SITE)
        assert (found.total.debits, found.total.epsilon, found.left, found.opened) == (0, 0.0, 1.0, False)
        assert (store.accounts(), store.verify_audit()[0]) == ([], 0)

    def test_what_is_left_is_one_release_that_just_fits(self, store: Store) -> None:
        """A Gaussian release of that epsilon is admitted, and one of a little more is not."""
        debit(store, 5)
        found = budget_of(store, LIMITS, PATIENTS)
        now = account_now(store, LIMITS, PATIENTS)
        low, high = 1e-2, 1e3  # the multiplier whose epsilon is the one that was told
        for _ in range(200):
            middle = (low * high) ** 0.5
            cheaper = epsilon_of({PrivacyEvent(middle, ADD_OR_REMOVE): 1}, 1e-5) < found.left_epsilon
            low, high = (low, middle) if cheaper else (middle, high)
        assert room([now], PrivacyEvent(low * 1.001, ADD_OR_REMOVE))[0] == 1
        assert room([now], PrivacyEvent(low * 0.999, ADD_OR_REMOVE))[0] == 0

    def test_an_unknown_event_is_no_zero(self, store: Store) -> None:
        """A later version's debit: the figures stop rather than leave it out."""
        debit(store)
        store._db.execute("UPDATE debits SET event=replace(event, 'gaussian', 'laplace')")
        for read in (budget_of, check_account):
            with pytest.raises(VerificationError, match="not known"):
                read(store, LIMITS, PATIENTS)


class TestWould:
    @pytest.mark.parametrize(
        ("text", "event", "unit"),
        [
            ("noise_multiplier=4,releases=10", PrivacyEvent(2.0, Relation.REPLACE_ONE_SITE), "site"),
            ("noise_multiplier=4, unit=patient", PrivacyEvent(2.0, ADD_OR_REMOVE), "patient"),
            ("mechanism=sums,noise_multiplier=4", PrivacyEvent(4.0, ADD_OR_REMOVE), "patient"),
            ("noise_multiplier=1.2,sample_rate=0.025,steps=1200", SAMPLED, "patient"),
        ],
    )
    def test_a_kind_costs_what_such_terms_cost(self, text: str, event: PrivacyEvent, unit: str) -> None:
        """The multiplier is the terms', over clip_norm."""
        kind = kind_from(text)
        assert (kind.event, kind.unit) == (event, unit)

    @pytest.mark.parametrize(
        "text",
        ["noise_multiplier", "noise_multiplier=0", "releases=3", "noise=4", "noise_multiplier=4,steps=0",
         "noise_multiplier=4,mechanism=magic", "noise_multiplier=nan", "noise_multiplier=4,releases=x",
         "mechanism=sums,unit=site,noise_multiplier=4"],
    )  # fmt: skip
    def test_what_is_no_kind_is_refused(self, text: str) -> None:
        """With what it should look like."""
        with pytest.raises(InputError):
            kind_from(text)

    def test_the_gate_admits_as_many_as_are_told(self, store: Store) -> None:
        """One more is refused; and a project's cap counts."""
        debit(store, 2)
        set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 6.0, "p"), by="ada", comment="a pilot")
        all_of_them, of_p = (
            would_fit(store, LIMITS, [SITE, PATIENTS], kind_from(f"noise_multiplier=4,unit=patient,releases=8{more}"))
            for more in ("", ",project=p")
        )
        assert [(fits.account, fits.refused_by) for fits in all_of_them] == [("patient:patients", "account")]
        (fits,) = of_p
        assert (fits.refused_by, fits.fits) == ("project", False)
        assert 0 < fits.admitted < all_of_them[0].admitted
        debit(store, fits.admitted)
        with pytest.raises(RefusedError) as refused:
            debit(store)
        assert "project has spent its cap" in refused.value.detail

    def test_the_benchmark_admits_four(self, store: Store) -> None:
        """q = 0.025, sigma = 1.2, 1,200 steps at lifetime epsilon 10: four projects under the filter."""
        (fits,) = would_fit(
            store, LIMITS, [SITE, PATIENTS], kind_from("noise_multiplier=1.2,sample_rate=0.025,steps=1200")
        )
        assert fits.admitted == 4


class TestCaps:
    def test_a_smaller_cap_holds_at_once(self, store: Store) -> None:
        """The gate's own filter has it; the entry says who and why."""
        debit(store, 2)
        cap = propose_cap(store, LIMITS, PATIENTS, 6.0)
        assert (cap.before, 0 < cap.used < 1) == (10.0, True)
        set_cap(store, LIMITS, cap, by="ada", comment="the committee's vote")
        assert lifetime_of(store, LIMITS, PATIENTS).epsilon == 6.0
        (*_, last) = store.caps(PATIENTS)
        assert (last.epsilon, last.by, last.comment, last.project) == (6.0, "ada", "the committee's vote", "")

    def test_an_account_is_opened_by_its_first_cap(self, store: Store) -> None:
        """With the order that suits the cap, and the gate keeps both."""
        set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 2.0), by="ada", comment="why")
        assert is_opened(store, PATIENTS)
        found = lifetime_of(store, LIMITS, PATIENTS)
        assert (found.epsilon, found.order) == (2.0, filter_for(2.0, 1e-5).order)

    def test_the_settings_are_above_all_caps(self, store: Store) -> None:
        """A larger one is refused; and when the settings go down, so does what holds."""
        with pytest.raises(InputError, match=r"more than epsilon_cap = 10"):
            propose_cap(store, LIMITS, PATIENTS, 10.5)
        debit(store)
        assert lifetime_now(store, replace(LIMITS, epsilon_cap=7.0), PATIENTS).epsilon == 7.0

    def test_a_cap_that_admits_nothing_at_the_fixed_order_is_refused(self, store: Store) -> None:
        """The order was fixed for epsilon 10: there even the smallest release costs more than 3."""
        debit(store)
        with pytest.raises(InputError, match="nothing at all would be admitted"):
            propose_cap(store, LIMITS, PATIENTS, 3.0)

    def test_a_cap_below_what_is_spent_is_said(self, store: Store) -> None:
        """It may be wanted: nothing more is admitted then."""
        debit(store, 8)
        cap = propose_cap(store, LIMITS, PATIENTS, 5.0)
        assert cap.used > 1
        set_cap(store, LIMITS, cap, by="ada", comment="stop")
        assert room([account_now(store, LIMITS, PATIENTS)], EVENT) == (0, "account", "patient:patients")

    @pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
    def test_what_is_no_cap(self, store: Store, epsilon: float) -> None:
        """Refused, before anything is written."""
        with pytest.raises(InputError):
            propose_cap(store, LIMITS, PATIENTS, epsilon)

    def test_a_project_that_nobody_knows_gets_none(self, store: Store) -> None:
        """A slip of the pen would cap nothing."""
        with pytest.raises(InputError, match="no project"):
            propose_cap(store, LIMITS, PATIENTS, 1.0, "typo")

    def test_without_a_reason_none_is_set(self, store: Store) -> None:
        """And the account is not opened."""
        with pytest.raises(InputError, match="reason"):
            set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 5.0), by="ada", comment=" ")
        assert not is_opened(store, PATIENTS)


def test_accounts_are_read_as_they_are_written() -> None:
    """And nothing else is one."""
    for account in (SITE, PATIENTS, Account("patient", "a:b")):
        assert account_from(str(account)) == account
    for text in ("", "patient", "patient:", "site:", "site:x", "Site", "patients"):
        with pytest.raises(InputError):
            account_from(text)


def test_the_site_comes_first(store: Store) -> None:
    """Also if nothing was debited from it."""
    debit(store)
    assert all_accounts(store) == [SITE, PATIENTS]


class TestVerify:
    def test_what_the_gate_admitted_holds(self, store: Store) -> None:
        """Gaussian and sampled events, projects with caps, a cap that changed on the way."""
        debit(store, 3, event=EVENT)
        set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 4.0, "p"), by="ada", comment="why")
        debit(store, 1, event=SAMPLED, project="q")
        set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 9.0), by="ada", comment="why")
        checked = check_account(store, LIMITS, PATIENTS)
        assert checked.problems == ()
        assert (checked.debits, checked.unasked, checked.cap) == (4, 0, 9.0)
        # between whole orders ours is an upper bound, which holds for the discrete noise too
        assert checked.epsilon_rdp * (1 - 1e-6) <= checked.epsilon <= checked.epsilon_rdp * 1.02
        assert 0 < checked.epsilon_pld < checked.epsilon < 9.0

    def test_an_empty_account_holds(self, store: Store) -> None:
        assert check_account(store, LIMITS, SITE).problems == ()

    def test_a_debit_that_no_filter_admitted_is_found(self, store: Store) -> None:
        """Seeded: a gate that debits without asking."""
        debit(store)
        debit(store, 40, ask=False)
        (problem, *_) = check_account(store, LIMITS, PATIENTS).problems
        assert "did not fit into the cap of 10" in problem

    def test_a_cap_that_came_later_judges_nothing_before_it(self, store: Store) -> None:
        """Lowered below what was spent: no debit was wrong in its time."""
        debit(store, 8)
        _wait_a_millisecond(store)
        set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 5.0), by="ada", comment="stop")
        assert [p for p in check_account(store, LIMITS, PATIENTS).problems if "did not fit" in p] == []

    def test_debits_from_before_the_account_was_opened_count(self, store: Store) -> None:
        """As an older schema leaves them."""
        debit(store, 2, ask=False)
        _wait_a_millisecond(store)
        debit(store, 1)
        checked = check_account(store, LIMITS, PATIENTS)
        assert (checked.debits, checked.unasked, checked.problems) == (3, 2, ())
        assert checked.epsilon == pytest.approx(epsilon_of({EVENT: 3}, 1e-5))

    def test_an_overdrawn_project_is_found(self, store: Store) -> None:
        """Seeded: its cap was not asked."""
        debit(store)
        set_cap(store, LIMITS, propose_cap(store, LIMITS, PATIENTS, 2.5, "p"), by="ada", comment="why")
        _wait_a_millisecond(store)
        debit(store, 5, ask=False)
        assert any("project p has spent" in p for p in check_account(store, LIMITS, PATIENTS).problems)

    def test_a_distance_too_large_is_found(self, store: Store) -> None:
        """Of the samplers' noise."""
        debit(store)
        store._db.execute("UPDATE debits SET distance=1e-3")
        assert any("distances" in p for p in check_account(store, LIMITS, PATIENTS).problems)

    def test_it_reads_only(self, store: Store, tmp_path: Path) -> None:
        """Nothing in the file is another afterwards."""
        debit(store, 2)

        def dump() -> list[str]:
            with sqlite3.connect(store.path) as database:
                return list(database.iterdump())

        before = dump()
        check_account(store, LIMITS, PATIENTS)
        check_account(store, LIMITS, SITE)
        budget_of(store, LIMITS, SITE)
        assert dump() == before


def _wait_a_millisecond(store: Store) -> None:
    """Moments in the ledger have milliseconds: move what is there one second back."""
    for table in ("debits", "caps"):
        for seq, at in store._db.rows(f"SELECT seq, at FROM {table}"):
            earlier = datetime.fromisoformat(at) - timedelta(seconds=1)
            store._db.execute(f"UPDATE {table} SET at=? WHERE seq=?", earlier.isoformat(timespec="milliseconds"), seq)


class TestPlot:
    def test_projects_are_stacked_by_their_share(self, store: Store) -> None:
        """The one with most first; the last heights are what each has spent."""
        debit(store, 1, project="small")
        debit(store, 3, project="large")
        now = account_now(store, LIMITS, PATIENTS)
        moments, series = stacked(store.ledger(PATIENTS), now.lifetime, NOW)
        assert list(series) == ["large", "small"]
        assert len(moments) == 5
        assert sum(heights[-1] for heights in series.values()) == pytest.approx(now.lifetime.share(now.spent))
        assert all(heights == sorted(heights) for heights in series.values())

    def test_many_projects_have_one_series_for_the_rest(self, store: Store) -> None:
        """As many colours as there are."""
        for number in range(12):
            debit(store, 1, project=f"p{number:02}", event=PrivacyEvent(20.0, ADD_OR_REMOVE))
        _, series = stacked(store.ledger(PATIENTS), filter_for(10, 1e-5), NOW)
        assert len(series) == 8
        assert "others" in series

    @pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<svg"), ("a.png", b"\x89PNG")])
    @pytest.mark.parametrize("count", [0, 3])
    def test_a_picture_is_written(self, store: Store, tmp_path: Path, name: str, begins: bytes, count: int) -> None:
        """Also of an account that nothing was debited from, which it says."""
        pytest.importorskip("matplotlib")
        debit(store, count)
        path = tmp_path / name
        write_plot(path, "patient:patients", store.ledger(PATIENTS), filter_for(10, 1e-5), NOW)
        drawn = path.read_bytes()
        assert drawn.startswith(begins)
        if name == "a.svg":
            assert ("Nothing was debited yet." in drawn.decode()) == (count == 0)
            assert "cap: ε = 10 at δ = 1e-05" in drawn.decode()

    @pytest.mark.parametrize("name", ["a.pdf", "a"])
    def test_another_format_is_refused(self, tmp_path: Path, name: str) -> None:
        """Before anything is drawn."""
        with pytest.raises(InputError, match=r"neither \.svg nor \.png"):
            write_plot(tmp_path / name, "site", [], filter_for(10, 1e-5), NOW)


def test_json_is_plain(store: Store) -> None:
    """Numbers, texts, lists."""
    import json

    debit(store)
    found: dict[str, Any] = json.loads(json.dumps(budget_of(store, LIMITS, PATIENTS).as_json()))
    assert found["account"] == "patient:patients"
    assert found["projects"][0]["spent"]["debits"] == 1
