"""Consents: what a FHIR Consent says, and who consents on a day. Default deny."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data.consents import (
    BIOMAT_RESEARCH_USE,
    EVERYTHING,
    MDAT_RESEARCH_USE,
    MDAT_STORE_PROCESS,
    PATIENT_DATA,
    POLICY_SYSTEM,
    Provision,
    consenting,
    from_bundles,
    provisions,
    read_provisions,
    write_provisions,
)
from flame_fl.data.sources.fhir_views import load

USE, STORE = MDAT_RESEARCH_USE, MDAT_STORE_PROCESS
TODAY = date(2026, 1, 1)


def rule(code: str, kind: str = "permit", /, **more: Any) -> dict[str, Any]:
    period = {"period": {"start": "2024-02-23", "end": "2054-01-31"}}
    return period | {"type": kind, "code": [{"coding": [{"system": POLICY_SYSTEM, "code": code}]}]} | more


def consent(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    top = {"type": "deny", "period": {"start": "2024-02-23", "end": "2054-01-31"}}
    return {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "patient": {"reference": "Patient/p1"},
        "dateTime": "2024-02-23T12:00:00+01:00",
        "provision": top | ({"provision": list(rules)} if rules else {}),
    } | more


def said(code: str = USE, *, permit: bool = True, **more: Any) -> Provision:
    usual = Provision("p1", code, permit, date(2024, 2, 23), date(2054, 1, 31), "active", date(2024, 2, 23))
    return replace(usual, **more)


def holds(*given_provisions: Provision, codes: frozenset[str] = frozenset({USE}), today: date = TODAY) -> bool:
    return consenting(given_provisions, codes, today) == {"p1"}


def test_a_consent_of_the_mii() -> None:
    assert provisions(consent(rule(USE), rule(STORE, "deny"))) == [said(STORE, permit=False), said(USE)]


def test_codes_of_other_systems_say_nothing() -> None:
    other = {"coding": [{"system": "https://example.org", "code": USE}]}
    assert provisions(consent(rule(USE) | {"code": [other]})) == []


def test_rules_at_the_top_and_deeper_count_too() -> None:
    top = {"type": "permit", "code": rule(USE)["code"], "provision": [rule(STORE, provision=[rule(USE, "deny")])]}
    found = provisions(consent(provision=top))
    assert {(one.code, one.permit) for one in found} == {(USE, True), (STORE, True), (USE, False)}


def test_a_rule_without_a_period_has_the_consents() -> None:
    bare = rule(USE)
    del bare["period"]
    assert provisions(consent(bare)) == [said()]


@pytest.mark.parametrize("condition", ["actor", "purpose", "class", "data", "dataPeriod", "modifierExtension"])
def test_a_permit_with_conditions_is_none_and_a_refusal_is_one(condition: str) -> None:
    assert not provisions(consent(rule(USE) | {condition: [{}]}))[0].permit
    assert provisions(consent(rule(USE, "deny") | {condition: [{}]})) == [said(permit=False)]


def test_a_consent_that_only_denies_refuses_everything() -> None:
    (one,) = provisions(consent())
    assert one == said(EVERYTHING, permit=False)
    assert not holds(said(consent_date=date(2024, 1, 1)), one)


@pytest.mark.parametrize(
    ("resource", "sentence"),
    [
        ({"resourceType": "Patient"}, "no FHIR Consent"),
        (consent(rule(USE), patient={"identifier": {"value": "p-secret"}}), "does not say whose"),
        (consent(rule(USE), patient={"reference": "https://x/fhir/Patient/p-secret"}), "does not say whose"),
        (consent(rule(USE, period={"start": "p-secret"})), "start is no date"),
        (consent(rule(USE), dateTime="p-secret"), "dateTime is no date"),
    ],
)
def test_a_bad_consent_is_an_error_that_quotes_nothing(resource: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        provisions(resource)
    assert "p-secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_who_permits_consents_and_nobody_else() -> None:
    assert holds(said())
    assert not holds()
    assert not holds(said(permit=False))
    assert not consenting([said()], frozenset(), TODAY)


def test_every_code_must_be_permitted() -> None:
    both = frozenset({USE, STORE})
    assert not holds(said(), codes=both)
    assert holds(said(), said(STORE), codes=both)
    assert not holds(said(), said(STORE, patient_id="p2"), codes=both)


def test_a_permit_of_the_module_is_not_one_of_its_parts() -> None:
    assert not holds(said(PATIENT_DATA))


@pytest.mark.parametrize("refused", [USE, PATIENT_DATA, EVERYTHING])
def test_a_refusal_of_a_code_its_module_or_everything(refused: str) -> None:
    assert not holds(said(), said(refused, permit=False))


def test_a_refusal_of_a_part_refuses_the_module_and_of_another_module_nothing() -> None:
    assert not holds(said(PATIENT_DATA), said(USE, permit=False), codes=frozenset({PATIENT_DATA}))
    assert holds(said(), said(BIOMAT_RESEARCH_USE, permit=False))


@pytest.mark.parametrize(("days", "expected"), [(-1, True), (0, False), (1, False)])
def test_a_refusal_of_the_same_day_or_newer_wins(days: int, expected: bool) -> None:
    when = date(2024, 2, 23) + timedelta(days=days)
    assert holds(said(), said(permit=False, consent_date=when)) is expected


def test_an_undated_refusal_wins_and_an_undated_permit_loses() -> None:
    assert not holds(said(), said(permit=False, consent_date=None))
    assert not holds(said(consent_date=None), said(permit=False, consent_date=date(1999, 1, 1)))
    assert holds(said(consent_date=None))


def test_a_consent_dated_by_month_is_undated() -> None:
    assert provisions(consent(rule(USE), dateTime="2024-02"))[0].consent_date is None


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ({"start": TODAY, "end": TODAY}, True),
        ({"start": None, "end": None}, True),
        ({"end": TODAY - timedelta(days=1)}, False),
        ({"start": TODAY + timedelta(days=1)}, False),
    ],
)
def test_a_permit_holds_within_its_period(period: dict[str, Any], expected: bool) -> None:
    assert holds(replace(said(), **period)) is expected


def test_a_refusal_holds_until_its_period_ends_also_before_it_begins() -> None:
    assert not holds(said(), said(permit=False, start=TODAY + timedelta(days=9)))
    assert holds(said(), said(permit=False, end=TODAY - timedelta(days=1)))


@pytest.mark.parametrize("status", ["draft", "proposed", "inactive", "entered-in-error", "rejected", ""])
def test_only_active_consents_permit(status: str) -> None:
    assert not holds(said(status=status))


def test_a_rejected_consent_refuses_and_one_entered_in_error_does_not() -> None:
    assert not holds(said(), said(status="rejected"))
    assert holds(said(), said(permit=False, status="entered-in-error"))


PROVISIONS = st.builds(
    Provision,
    patient_id=st.sampled_from(["p1", "p2"]),
    code=st.sampled_from([USE, STORE, PATIENT_DATA, EVERYTHING]),
    permit=st.booleans(),
    start=st.none() | st.dates(),
    end=st.none() | st.dates(),
    status=st.sampled_from(["active", "inactive", "rejected"]),
    consent_date=st.none() | st.dates(),
)


@given(st.lists(PROVISIONS, max_size=8), st.dates(), PROVISIONS)
def test_more_refusals_never_make_more_consents(known: list[Provision], today: date, more: Provision) -> None:
    codes = frozenset({USE, STORE})
    before = consenting(known, codes, today)
    assert consenting([*known, replace(more, permit=False)], codes, today) <= before
    assert consenting(list(reversed(known)), codes, today) == before
    permits = {(one.patient_id, one.code) for one in known if one.permit and one.status == "active"}
    assert all((patient, code) in permits for patient in before for code in codes)


@given(known=st.lists(PROVISIONS, max_size=8))
def test_written_provisions_are_read_back(known: list[Provision], tmp_path: Path) -> None:
    path = tmp_path / "consents.parquet"
    write_provisions(path, known)
    assert set(read_provisions(path)) == set(known)
    content = path.read_bytes()
    write_provisions(path, list(reversed(known)))
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(InputError, match="no table of consents"):
        read_provisions(path)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="no table of consents"):
        read_provisions(path)


def test_the_packaged_view_says_what_this_module_says() -> None:
    view = load("consent", "https://x/fhir")
    at = [view.schema.names.index(name) for name in Provision.__dataclass_fields__]
    nested = {
        "type": "deny",
        "period": {"start": "2024"},
        "code": rule(STORE)["code"],
        "provision": [rule(USE, provision=[rule(STORE)])],
    }
    bare = rule(USE)
    del bare["period"]
    for resource in (
        consent(rule(USE), rule(STORE, "deny", actor=[{}])),
        consent(rule(USE, purpose=[{}]), bare),
        consent(),
        consent(provision=nested),
        consent(rule(USE), dateTime="2024-02", status="rejected"),
        consent(rule(USE), modifierExtension=[{"url": "x"}]),
        consent(rule(USE, period={"start": "2024-02-23T23:30:00+01:00"})),
    ):
        rows = {Provision(*(row[i] for i in at)) for row in view.rows(resource)}
        assert rows == set(provisions(resource))


def test_files_of_bundles(tmp_path: Path) -> None:
    bundle = {
        "resourceType": "Bundle",
        "entry": [{"resource": {"resourceType": "Patient"}}, {"resource": consent(rule(USE))}],
    }
    nested = {"resourceType": "Bundle", "entry": [{"resource": bundle}]}
    (tmp_path / "a.json").write_text(json.dumps(nested))
    other = consent(rule(USE), patient={"reference": "Patient/p2"})
    (tmp_path / "b.ndjson").write_text(json.dumps(other) + "\n\n" + json.dumps(consent(rule(STORE))) + "\n")
    (tmp_path / "c.txt").write_text("not read")
    assert from_bundles(tmp_path) == sorted(
        [said(), said(STORE), said(patient_id="p2")], key=lambda one: (one.patient_id, one.code)
    )
    assert from_bundles(tmp_path / "a.json") == [said()]


def test_files_that_are_none_are_errors_that_quote_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "a.ndjson"
    bad.write_text('{"resourceType": "Patient"}\n{"p-secret\n')
    with pytest.raises(InputError, match=r"Line 2 of .* is no JSON object") as caught:
        from_bundles(bad)
    assert "p-secret" not in str(caught.value)
    assert caught.value.__context__ is None
    (tmp_path / "link.json").symlink_to(bad)
    with pytest.raises(InputError, match="is a link"):
        from_bundles(tmp_path / "link.json")
    with pytest.raises(InputError, match="There is no"):
        from_bundles(tmp_path / "none.json")
    bad.write_text('{"resourceType": "Patient"}\n')
    with pytest.raises(InputError, match="holds no FHIR Consent"):
        from_bundles(bad)


def test_one_page_of_a_search_is_not_taken_for_all(tmp_path: Path) -> None:
    """It would replace the register by its twenty patients; a folder is taken to hold every page."""
    page = {"resourceType": "Bundle", "link": [{"relation": "next", "url": "x"}], "entry": []}
    (tmp_path / "page.json").write_text(json.dumps(page))
    with pytest.raises(InputError, match="one page of several"):
        from_bundles(tmp_path / "page.json")
    with pytest.raises(InputError, match="holds no FHIR Consent"):
        from_bundles(tmp_path)
