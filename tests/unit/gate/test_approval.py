"""The approval table: every stored state against every day, and the code each gives."""

from dataclasses import replace
from datetime import date

import pytest

from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.gate.approval import ApprovalRecord, Status, check_approval, status_on
from flame_fl.gate.trust import Trust
from tests.support.gates import NODE_KEY, STEWARD_KEY, make_fab, make_terms, manifest_from, signature_under

MANIFEST = manifest_from(make_fab())
PLAIN = manifest_from(make_fab({}))
BEFORE, FIRST, WITHIN, LAST, AFTER = (
    date.fromisoformat(day) for day in ("2025-12-31", "2026-01-01", "2026-06-01", "2026-12-31", "2027-01-01")
)
B, TRUST = "b" * 64, Trust(NODE_KEY, {STEWARD_KEY: "steward"})
PENDING, REJECTED = RefusalCode.PENDING_APPROVAL, RefusalCode.NOT_APPROVED
GONE, TERMS = RefusalCode.WITHDRAWN_OR_EXPIRED, RefusalCode.TERMS_VIOLATED


def record(status: Status, **changes: object) -> ApprovalRecord:
    fields = {"manifest": MANIFEST, "binding_digest": B} | changes
    stored = ApprovalRecord("d" * 64, status, **fields)  # type: ignore[arg-type]
    return replace(stored, signatures=(signature_under(stored.subject(B), TRUST),))


def code(stored: ApprovalRecord | None, today: date = WITHIN, binding: str = B) -> RefusalCode | None:
    try:
        check_approval(stored, binding, today, TRUST)
    except RefusedError as err:
        return err.code
    return None


@pytest.mark.parametrize(
    ("status", "codes"),
    [
        (Status.PENDING, [PENDING] * 5),
        (Status.REJECTED, [REJECTED] * 5),
        (Status.WITHDRAWN, [GONE] * 5),
        (Status.EXPIRED, [GONE] * 5),
        (Status.APPROVED, [TERMS, None, None, None, GONE]),
    ],
)
def test_every_state_on_every_day_gives_its_code(status: Status, codes: list[RefusalCode | None]) -> None:
    assert [code(record(status), day) for day in (BEFORE, FIRST, WITHIN, LAST, AFTER)] == codes


def test_an_unknown_analysis_is_pending() -> None:
    assert code(None) is PENDING


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.APPROVED])
def test_only_approved_lets_anything_through_even_unsafely(status: Status) -> None:
    assert code(record(status, unsafe_open=True)) is not None


def test_another_binding_is_refused() -> None:
    assert code(record(Status.APPROVED), binding="c" * 64) is TERMS


def test_an_approval_that_was_never_bound_is_refused() -> None:
    assert code(record(Status.APPROVED, binding_digest=None)) is TERMS


def test_approval_without_terms_allows_nothing() -> None:
    assert code(record(Status.APPROVED, manifest=PLAIN)) is REJECTED


def test_the_stewards_terms_win_over_the_stated_ones() -> None:
    own = make_terms(limits={"runs": 7})
    assert check_approval(record(Status.APPROVED, steward_terms=own), B, WITHIN, TRUST).terms == own


def test_the_stewards_terms_decide_the_days() -> None:
    own = make_terms(validity={"from": BEFORE, "until": BEFORE})
    assert code(record(Status.APPROVED, steward_terms=own), BEFORE) is None
    assert code(record(Status.APPROVED, steward_terms=own), FIRST) is GONE


def test_an_unsafe_open_approval_holds_no_terms() -> None:
    assert check_approval(record(Status.APPROVED, unsafe_open=True), B, WITHIN, TRUST).terms is None


def test_status_on_a_day_tells_expiry() -> None:
    assert status_on(record(Status.APPROVED), LAST) is Status.APPROVED
    assert status_on(record(Status.APPROVED), AFTER) is Status.EXPIRED
