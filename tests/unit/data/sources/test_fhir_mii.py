"""The packaged views on made-up resources that follow the profiles of the MII core data set."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flame_fl.data.sources import fhir
from flame_fl.data.sources.fhir_definitions import PACKAGED
from flame_fl.data.sources.fhir_views import load

BASE = "https://fhir.example/fhir"
PROFILES = "https://www.medizininformatik-initiative.de/fhir/"
SCT, UCUM = "http://snomed.info/sct", "http://unitsofmeasure.org"
SUBJECT = {"subject": {"reference": "Patient/p1"}}


def concept(*codes: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} | more for system, code in codes]}


def quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def only_row(name: str, resource: dict[str, Any], *others: dict[str, Any]) -> dict[str, object]:
    view = load(name, BASE)
    view.on({f"{one['resourceType']}/{one['id']}": one for one in others})
    (row,) = view.rows(resource)
    return dict(zip(view.schema.names, row, strict=True))


@pytest.mark.parametrize("name", PACKAGED)
def test_each_names_its_profile_and_starts_with_the_patient(name: str) -> None:
    folder = Path(fhir.__file__).with_name("mii")
    definition = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert definition["profile"][0].startswith(PROFILES)
    assert load(name, BASE).schema.names[0] == "patient_id"


def test_the_folder_holds_the_packaged_views_and_nothing_else() -> None:
    assert {path.stem for path in Path(fhir.__file__).with_name("mii").iterdir()} == set(PACKAGED)


def test_person() -> None:
    resource = {
        "resourceType": "Patient",
        "id": "p1",
        "name": [{"family": "Somebody"}],
        "birthDate": "1977-05-24",
        "gender": "male",
        "deceasedDateTime": "2024-02-22",
        "address": [{"type": "postal", "postalCode": "99999"}, {"type": "both", "postalCode": "13051"}],
    }
    assert only_row("person", resource) == {
        "patient_id": "p1",
        "birth_date": date(1977, 5, 24),
        "gender": "male",
        "deceased": True,
        "deceased_date": date(2024, 2, 22),
        "postal_code_2": "13",
    }


@pytest.mark.parametrize(("deceased", "expected"), [({"deceasedBoolean": False}, False), ({}, None)])
def test_nothing_said_of_death_is_not_alive(deceased: dict[str, bool], expected: bool | None) -> None:
    resource = {"resourceType": "Patient", "id": "p1", "birthDate": "1962"} | deceased
    row = only_row("person", resource)
    assert row["deceased"] is expected
    assert row["birth_date"] == date(1962, 1, 1)


@pytest.mark.parametrize(
    "system", ["http://fhir.de/CodeSystem/bfarm/icd-10-gm", "http://fhir.de/CodeSystem/dimdi/icd-10-gm"]
)
def test_diagnose(system: str) -> None:
    certainty = {
        "url": "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit",
        "valueCoding": {"system": "https://fhir.kbv.de/CodeSystem/KBV_CS_SFHIR_ICD_DIAGNOSESICHERHEIT", "code": "G"},
    }
    resource = SUBJECT | {
        "resourceType": "Condition",
        "id": "c1",
        "encounter": {"reference": "Encounter/e1"},
        "clinicalStatus": concept(("http://terminology.hl7.org/CodeSystem/condition-clinical", "active")),
        "verificationStatus": concept(("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed")),
        "code": {
            "coding": [
                {"system": SCT, "code": "13420004"},
                {"system": system, "version": "2023", "code": "B05.3", "extension": [certainty]},
                {"system": "http://fhir.de/CodeSystem/bfarm/alpha-id", "code": "I29578"},
            ]
        },
        "onsetPeriod": {"start": "2024-02"},
        "recordedDate": "2024-02-21T08:00:00+01:00",
    }
    row = only_row("diagnose", resource)
    assert {name: value for name, value in row.items() if value is not None} == {
        "patient_id": "p1",
        "condition_id": "c1",
        "encounter_id": "e1",
        "icd_code": "B05.3",
        "icd_version": "2023",
        "icd_certainty": "G",
        "alpha_id": "I29578",
        "snomed_code": "13420004",
        "clinical_status": "active",
        "verification_status": "confirmed",
        "onset_date": date(2024, 2, 1),
        "recorded_date": date(2024, 2, 21),
    }


def laboratory(**more: Any) -> dict[str, Any]:
    return (
        SUBJECT
        | {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "category": [concept(("http://loinc.org", "26436-6"))],
            "code": concept(("http://loinc.org", "718-7")),
            "effectiveDateTime": "2024-02-15T11:05:00+01:00",
        }
        | more
    )


def test_laborbefund() -> None:
    resource = laboratory(
        valueQuantity=quantity(13.5, "g/dL") | {"comparator": "<"},
        interpretation=[concept(("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "N"))],
        referenceRange=[{"low": quantity(12, "g/dL"), "high": quantity(16.5, "g/dL")}],
        specimen={"reference": "Specimen/s1"},
    )
    row = only_row("laborbefund", resource)
    assert {name: value for name, value in row.items() if value is not None} == {
        "patient_id": "p1",
        "observation_id": "o1",
        "status": "final",
        "loinc_code": "718-7",
        "value": 13.5,
        "comparator": "<",
        "unit": "g/dL",
        "ucum_code": "g/dL",
        "effective_time": datetime(2024, 2, 15, 10, 5, tzinfo=UTC),
        "interpretation": "N",
        "reference_low": 12.0,
        "reference_high": 16.5,
        "specimen_id": "s1",
    }


def test_laborbefund_with_a_code_or_without_a_value() -> None:
    row = only_row("laborbefund", laboratory(valueCodeableConcept=concept((SCT, "260373001"))))
    assert (row["value"], row["value_code"]) == (None, "260373001")
    absent = concept(("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown"))
    assert only_row("laborbefund", laboratory(dataAbsentReason=absent))["data_absent_reason"] == "unknown"


def test_laborbefund_takes_laboratory_values_only() -> None:
    vital = concept(("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs"))
    lab = concept(("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"))
    view = load("laborbefund", BASE)
    assert not list(view.rows(laboratory(category=[vital])))
    assert len(list(view.rows(laboratory(category=[lab])))) == 1


def test_prozedur() -> None:
    intention = {
        "url": f"{PROFILES}core/modul-prozedur/StructureDefinition/Durchfuehrungsabsicht",
        "valueCoding": {"system": SCT, "code": "262202000"},
    }
    resource = SUBJECT | {
        "resourceType": "Procedure",
        "id": "x1",
        "extension": [intention],
        "status": "completed",
        "category": concept((SCT, "387713003")),
        "code": concept(("http://fhir.de/CodeSystem/bfarm/ops", "5-323.51"), (SCT, "726427004"), version="2023"),
        "bodySite": [concept((SCT, "44714003"))],
        "performedPeriod": {"start": "2024-02-20T10:14:00+01:00", "end": "2024-02-21"},
    }
    row = only_row("prozedur", resource)
    assert {name: value for name, value in row.items() if value is not None} == {
        "patient_id": "p1",
        "procedure_id": "x1",
        "status": "completed",
        "category_snomed": "387713003",
        "ops_code": "5-323.51",
        "ops_version": "2023",
        "snomed_code": "726427004",
        "intention": "262202000",
        "body_site_snomed": "44714003",
        "performed_date": date(2024, 2, 20),
        "performed_end": date(2024, 2, 21),
    }


CODES = concept(("http://fhir.de/CodeSystem/ifa/pzn", "06312077"), ("http://fhir.de/CodeSystem/bfarm/atc", "B01AC06"))
MEDICATION = {"resourceType": "Medication", "id": "m1", "code": CODES}
ROUTE = concept(("http://standardterms.edqm.eu", "20053000"))


@pytest.mark.parametrize(
    "medication",
    [
        {"medicationCodeableConcept": CODES},
        {"medicationReference": {"reference": "Medication/m1"}},
        {"medicationReference": {"reference": f"{BASE}/Medication/m1"}},
        {"medicationReference": {"reference": "#m"}, "contained": [MEDICATION | {"id": "m"}]},
    ],
)
def test_medikation_finds_the_substance_wherever_it_is(medication: dict[str, Any]) -> None:
    dosage = {
        "text": "in the words of anybody",
        "route": ROUTE,
        "doseAndRate": [{"doseQuantity": quantity(100, "mg")}],
        "timing": {"repeat": {"frequency": 1, "period": 1.5, "periodUnit": "d"}},
    }
    resource = (
        SUBJECT
        | medication
        | {
            "resourceType": "MedicationStatement",
            "id": "ms1",
            "status": "active",
            "context": {"reference": "Encounter/e1"},
            "effectivePeriod": {"start": "2020-08-30"},
            "dosage": [dosage],
        }
    )
    row = only_row("medikation", resource, MEDICATION)
    assert {name: value for name, value in row.items() if value is not None} == {
        "patient_id": "p1",
        "statement_id": "ms1",
        "encounter_id": "e1",
        "status": "active",
        "atc_code": "B01AC06",
        "pzn": "06312077",
        "start_time": datetime(2020, 8, 30, tzinfo=UTC),
        "dose": 100.0,
        "dose_unit": "mg",
        "dose_ucum": "mg",
        "route_edqm": "20053000",
        "frequency": 1,
        "period": 1.5,
        "period_unit": "d",
    }


def test_medikation_without_its_medication_has_no_code() -> None:
    resource = SUBJECT | {
        "resourceType": "MedicationStatement",
        "id": "ms1",
        "medicationReference": {"reference": "Medication/m1"},
    }
    assert only_row("medikation", resource)["atc_code"] is None


def test_what_one_resource_contains_is_not_found_from_the_next() -> None:
    reference = {"medicationReference": {"reference": "#m"}}
    first = (
        SUBJECT
        | reference
        | {"resourceType": "MedicationStatement", "id": "a", "contained": [MEDICATION | {"id": "m"}]}
    )
    second = SUBJECT | reference | {"resourceType": "MedicationStatement", "id": "b"}
    view = load("medikation", BASE)
    at = view.schema.names.index("atc_code")
    assert [row[at] for one in (first, second) for row in view.rows(one)] == ["B01AC06", None]


def test_medikationsgabe() -> None:
    resource = SUBJECT | {
        "resourceType": "MedicationAdministration",
        "id": "ma1",
        "status": "completed",
        "medicationReference": {"reference": "Medication/m1"},
        "effectivePeriod": {"start": "2024-02-16T10:20:00.000+01:00", "end": "2024-02-16T10:50:00.000+01:00"},
        "dosage": {"text": "…", "route": ROUTE, "dose": quantity(1500, "mg")},
    }
    row = only_row("medikationsgabe", resource, MEDICATION)
    assert (row["administration_id"], row["atc_code"], row["dose"], row["route_edqm"]) == (
        "ma1",
        "B01AC06",
        1500.0,
        "20053000",
    )
    assert row["end_time"] == datetime(2024, 2, 16, 9, 50, tzinfo=UTC)


def test_bioprobe() -> None:
    resource = SUBJECT | {
        "resourceType": "Specimen",
        "id": "s1",
        "status": "available",
        "type": concept((SCT, "122555007")),
        "parent": [{"reference": "Specimen/s0"}],
        "collection": {
            "collectedDateTime": "2024-02-15T11:05:00+01:00",
            "bodySite": concept((SCT, "789218009")),
            "fastingStatusCodeableConcept": concept(("http://terminology.hl7.org/CodeSystem/v2-0916", "F")),
        },
        "container": [{"type": concept((SCT, "83059008")), "specimenQuantity": quantity(10, "mL")}],
    }
    row = only_row("bioprobe", resource)
    assert {name: value for name, value in row.items() if value is not None} == {
        "patient_id": "p1",
        "specimen_id": "s1",
        "parent_id": "s0",
        "status": "available",
        "type_snomed": "122555007",
        "collected_time": datetime(2024, 2, 15, 10, 5, tzinfo=UTC),
        "body_site_snomed": "789218009",
        "fasting": "F",
        "container_snomed": "83059008",
        "quantity": 10.0,
        "quantity_unit": "mL",
    }


def test_a_reference_to_another_server_is_nobodys_record() -> None:
    resource = {
        "resourceType": "Specimen",
        "id": "s1",
        "subject": {"reference": "https://other.example/fhir/Patient/p1"},
    }
    assert only_row("bioprobe", resource)["patient_id"] is None
