"""Consents of patients: FHIR Consents of the MII broad consent, and who permits what today.

Default deny: a patient consents if a consent that is active permits each code asked for on the day, and no refusal of
the same day or a newer one stands against it.

What was verified of the codes below, in public sources: the code system's OID and each code with its place in the
hierarchy, in the CodeSystem of the MII module Consent (2027.0.0-ballot.rc1, hierarchy "part-of"), and, for .6, .7, .8,
.19, .20 and .22, in the MII's test data of 2024. Names have changed: .8 was "MDAT wissenschaftlich nutzen EU DSGVO
NIVEAU" and has lost the last three words in 2027; .46 (use of retrospective data) is deprecated there. Whether a
hospital's consents are coded so, only the hospital can say.

What is decided here and the standard leaves open:

- A permit with conditions (actors, purposes, data, anything but type, period and code) is no permit; a refusal with
  conditions is one.
- A refusal of a module refuses its parts, and one of a part refuses the module; a permit is for its own code alone.
- A consent that denies and names nothing refuses everything (`EVERYTHING`).
- A consent with status `rejected` refuses whatever it names. Every other status but `active` counts for nothing.
- A permit that is dated later than today is none yet.
- A refusal holds from its consent's date until its period ends, also before that begins.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flame_fl.contract.errors import InputError
from flame_fl.data.files import PRIVATE, replace
from flame_fl.data.sources.fhir_columns import NotOfTypeError, day
from flame_fl.data.sources.fhir_paths import reference_key

POLICY_SYSTEM = "urn:oid:2.16.840.1.113883.3.1937.777.24.5.3"
_OID = "2.16.840.1.113883.3.1937.777.24.5.3."
EVERYTHING = "*"

PATIENT_DATA = _OID + "1"  # module: collect, store and use patients' data
MDAT_COLLECT = _OID + "6"
MDAT_STORE_PROCESS = _OID + "7"
MDAT_RESEARCH_USE = _OID + "8"
MDAT_MERGE_THIRD_PARTIES = _OID + "9"
RETROSPECTIVE_DATA = _OID + "44"  # module
MDAT_RETROSPECTIVE_STORE_PROCESS = _OID + "45"
MDAT_RETROSPECTIVE_RESEARCH_USE = _OID + "46"
BIOMATERIAL = _OID + "18"  # module
BIOMAT_COLLECT = _OID + "19"
BIOMAT_STORE_PROCESS = _OID + "20"
BIOMAT_RESEARCH_USE = _OID + "22"

_PARTS: Mapping[str, frozenset[str]] = {
    _OID + module: frozenset(_OID + part for part in parts.split())
    for module, parts in {
        "1": "2 3 4 5 6 7 8 9 37",
        "44": "45 46 47",
        "48": "49",
        "10": "11 12 13 38",
        "14": "15 16 17 39",
        "18": "19 20 21 22 23",
        "24": "25",
        "50": "51 52 53",
        "54": "55",
        "26": "27 28 29",
        "30": "31",
        "32": "33 34 40 41 42 43 56",
        "35": "36",
    }.items()
}
_CONDITIONS = (
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "class",
    "data",
    "dataPeriod",
    "modifierExtension",
)
_MOST_BYTES = 256 << 20
_MOST_DEPTH = 16
_WHOLE_DAY = len("2024-02-23")


@dataclass(frozen=True)
class Provision:
    """One line of a consent: a patient permits or refuses one thing.

    Attributes:
        patient_id: Whose it is: the logical id of the Patient resource.
        code: What it is about: an OID of the policy code system, or `EVERYTHING`.
        permit: Whether it is permitted without conditions; refused otherwise.
        start: Its first day, if it has one.
        end: Its last day, if it has one.
        status: Of the whole consent; only `active` permits.
        consent_date: Of the whole consent; None if no whole day is said. Without one a permit is older than any
            refusal, and a refusal newer than any permit.
    """

    patient_id: str
    code: str
    permit: bool
    start: date | None
    end: date | None
    status: str
    consent_date: date | None


_SCHEMA = pa.schema(
    [
        pa.field("patient_id", pa.string()),
        pa.field("code", pa.string()),
        pa.field("permit", pa.bool_()),
        pa.field("start", pa.date32()),
        pa.field("end", pa.date32()),
        pa.field("status", pa.string()),
        pa.field("consent_date", pa.date32()),
    ]
)


def provisions(resource: dict[str, Any]) -> list[Provision]:
    """What a FHIR R4 Consent says about codes of the MII's policies.

    Raises:
        InputError: It is no Consent, names no patient by a relative reference, or a date or period is none.
    """
    if resource.get("resourceType") != "Consent":
        raise InputError("A resource is no FHIR Consent.", mend="Give Consent resources.")
    patient = reference_key(_object(resource.get("patient")).get("reference"), "Patient")
    if not patient:
        raise InputError(
            "A FHIR Consent does not say whose it is.", mend='Each needs patient.reference = "Patient/ID", relative.'
        )
    status = resource.get("status")
    top = _object(resource.get("provision"))
    bound = "modifierExtension" in resource
    written = _day(resource, "dateTime")
    found = [
        Provision(
            patient,
            code,
            permit=one.get("type") == "permit" and not bound and not any(name in one for name in _CONDITIONS),
            start=_day(period, "start"),
            end=_day(period, "end"),
            status=status if isinstance(status, str) else "",
            consent_date=written if len(str(resource.get("dateTime"))) >= _WHOLE_DAY else None,
        )
        for one in _nested(top, 0)
        for period in [_object(one["period"] if "period" in one else top.get("period"))]
        for code in _codes(one, top)
    ]
    return sorted(set(found), key=_order)


def consenting(provisions: Iterable[Provision], codes: frozenset[str], today: date) -> frozenset[str]:
    """Patients who permit every one of these codes today; nobody if none is asked for."""
    permitted: dict[tuple[str, str], date] = {}
    refused: dict[tuple[str, str], date] = {}
    against = {wanted: _against(wanted) for wanted in codes}
    for one in provisions:
        ended = one.end is not None and one.end < today
        if one.status == "active" and one.permit:
            begun = max(one.start or date.min, one.consent_date or date.min) <= today
            if one.code in codes and not ended and begun:
                _note(permitted, (one.patient_id, one.code), one.consent_date or date.min)
        elif one.status in {"active", "rejected"} and not ended:
            for wanted in codes:
                if one.code in against[wanted]:
                    _note(refused, (one.patient_id, wanted), one.consent_date or date.max)
    holds: dict[str, set[str]] = {}
    for (patient, code), since in permitted.items():
        if (patient, code) not in refused or refused[patient, code] < since:
            holds.setdefault(patient, set()).add(code)
    return frozenset(patient for patient, held in holds.items() if codes and held == codes)


def read_provisions(path: Path) -> list[Provision]:
    """Provisions from a Parquet table: what `write_provisions` wrote, or the FHIR source's view "consent".

    Raises:
        InputError: It is no such table, or a row names no patient or no code.
    """
    names = [field.name for field in fields(Provision)]
    table = None
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if all(schema.names.count(one.name) == 1 and schema.field(one.name).type == one.type for one in _SCHEMA):
                table = file.read(columns=names).select(names)
    except (pa.ArrowException, OSError):
        pass
    if table is None:
        raise InputError(f"{path} is no table of consents that can be read.", mend="Import the consents again.")
    if any(table.column(name).null_count for name in ("patient_id", "code", "permit")):
        raise InputError(
            f"A consent in {path} does not say whose it is, or what it is about.",
            mend='Each needs patient.reference = "Patient/ID".',
        )
    columns = [table.column(name).to_pylist() for name in names]
    return [Provision(p, c, b, s, e, status or "", d) for p, c, b, s, e, status, d in zip(*columns, strict=True)]


def write_provisions(path: Path, provisions: Iterable[Provision]) -> None:
    """Write provisions as a Parquet table that only its owner can read, in the place of an older one.

    Raises:
        OSError: It cannot be written.
    """
    rows = [astuple(one) for one in sorted(set(provisions), key=_order)]
    columns = zip(*rows, strict=True) if rows else ([] for _ in _SCHEMA)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    buffer = BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), buffer)
    replace(path, buffer.getvalue(), PRIVATE)


def from_bundles(path: Path) -> list[Provision]:
    """Provisions of every Consent in a file, or in the files of a folder: `.json` (a resource, a Bundle), `.ndjson`.

    Raises:
        InputError: A file cannot be read or is a link, or holds no JSON; a Consent is bad; there is none at all.
    """
    if path.is_symlink():
        raise InputError(f"{path} is a link.", mend="Give the file itself.")
    if not path.exists():
        raise InputError(f"There is no {path}.", mend="Give .json files of Bundles, or .ndjson files.")
    files = sorted(one for one in path.iterdir() if one.suffix in {".json", ".ndjson"}) if path.is_dir() else [path]
    found: set[Provision] = set()
    consents = 0
    for file in files:
        for resource in _resources(file):
            if not path.is_dir() and _goes_on(resource):
                raise InputError(
                    f"{file} is one page of several: its Bundle has a link to the next.",
                    mend="Put all pages into a folder and give the folder, or export as .ndjson.",
                )
            for consent in _consents(resource, 0):
                consents += 1
                found.update(provisions(consent))
    if not consents:
        raise InputError(f"{path} holds no FHIR Consent.", mend="Give .json files of Bundles, or .ndjson files.")
    return sorted(found, key=_order)


def _goes_on(resource: dict[str, Any]) -> bool:
    links = resource.get("link")
    return isinstance(links, list) and any(isinstance(one, dict) and one.get("relation") == "next" for one in links)


def _resources(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is no file.", mend="Give the file itself, not a link.")
    if path.stat().st_size > _MOST_BYTES and path.suffix != ".ndjson":
        raise InputError(f"{path} is larger than {_MOST_BYTES >> 20} MiB.", mend="Export the consents as .ndjson.")
    with path.open("rb") as file:
        lines = iter(lambda: file.readline(_MOST_BYTES), b"") if path.suffix == ".ndjson" else [file.read()]
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _parsed(line, path, number)


def _parsed(text: bytes, path: Path, number: int) -> dict[str, Any]:
    content = None
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(text)
    if not isinstance(content, dict):
        where = f"Line {number} of {path}" if path.suffix == ".ndjson" else str(path)
        raise InputError(f"{where} is no JSON object.", mend="Give FHIR resources as JSON.")
    return content


def _consents(resource: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    if resource.get("resourceType") == "Consent":
        yield resource
    elif resource.get("resourceType") == "Bundle":
        if depth == _MOST_DEPTH:
            raise InputError("A Bundle holds Bundles too deep.", mend="Export the consents as .ndjson.")
        for entry in _objects(resource.get("entry")):
            yield from _consents(_object(entry.get("resource")), depth + 1)


def _nested(provision: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    if depth == _MOST_DEPTH:
        raise InputError("Provisions of a FHIR Consent are nested too deep.", mend="The MII profile has two levels.")
    yield provision
    for one in _objects(provision.get("provision")):
        yield from _nested(one, depth + 1)


def _codes(one: dict[str, Any], top: dict[str, Any]) -> list[str]:
    if one is top and one.get("type") == "deny" and not one.get("code") and not one.get("provision"):
        return [EVERYTHING]
    codings = [coding for concept in _objects(one.get("code")) for coding in _objects(concept.get("coding"))]
    return [str(coding["code"]) for coding in codings if coding.get("system") == POLICY_SYSTEM and coding.get("code")]


def _day(holder: dict[str, Any], name: str) -> date | None:
    """A day; of a month or a year its first one, also at an end: a consent is not made longer here."""
    if holder.get(name) is None:
        return None
    try:
        return day(holder[name])
    except NotOfTypeError:
        pass
    raise InputError(f"In a FHIR Consent, {name} is no date.", mend="Correct it: until then no consent is read.")


def _against(wanted: str) -> frozenset[str]:
    modules = {module for module, parts in _PARTS.items() if wanted in parts}
    return frozenset({wanted, EVERYTHING} | modules | _PARTS.get(wanted, frozenset()))


def _note(latest: dict[tuple[str, str], date], key: tuple[str, str], when: date) -> None:
    latest[key] = max(latest.get(key, date.min), when)


def _order(one: Provision) -> tuple[object, ...]:
    return tuple((value is not None, value) for value in astuple(one))


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _objects(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
