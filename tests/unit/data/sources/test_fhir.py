"""Fetching from a FHIR server: what arrives, and what each failure is told as. The server is a stand-in."""

import json
import logging
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.data.consents import MDAT_RESEARCH_USE, POLICY_SYSTEM, Provision, read_provisions
from flame_fl.data.sources import fhir_client, fhir_errors
from flame_fl.data.sources.fhir import FhirSource, fetch
from tests.support.fhir_server import Authority, Fault, FhirServer, basic, outcome

SECRET, PATIENT = "s3cret-w0rd", "patient-4711"
Fetched = Callable[..., dict[str, pa.Table]]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, but by the server."""
    return [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]


def specimen(number: int, **more: Any) -> dict[str, Any]:
    subject = {"reference": f"Patient/{PATIENT}-{number % 3}"}
    return {"resourceType": "Specimen", "id": f"s{number}", "status": "available", "subject": subject} | more


@pytest.fixture(scope="module")
def plain() -> Iterator[FhirServer]:
    with FhirServer() as server:
        yield server


@pytest.fixture
def server(plain: FhirServer) -> FhirServer:
    plain.reset([specimen(number) for number in range(7)])
    return plain


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited."""
    seconds: list[float] = []
    monkeypatch.setattr(fhir_client, "sleep", seconds.append)
    return seconds


@pytest.fixture
def secrets(tmp_path: Path) -> Callable[..., Path]:
    def write(**words: str) -> Path:
        path = tmp_path / "secrets.toml"
        path.write_text("".join(f'{name} = "{word}"\n' for name, word in words.items()))
        path.chmod(0o600)
        return path

    return write


def source(server: FhirServer, **more: Any) -> FhirSource:
    return FhirSource.model_validate({"type": "fhir", "base_url": server.base, "views": ["bioprobe"]} | more)


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., tuple[dict[str, pa.Table], str]]:
    def run(asked: FhirSource) -> tuple[dict[str, pa.Table], str]:
        into = tmp_path / "into"
        into.mkdir()
        line = fetch(asked, into, lambda done, total: None)
        return {path.name: pq.read_table(path) for path in into.iterdir()}, line

    return run


@pytest.fixture
def fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """The sentence of a fetch that fails; checks that nothing secret is in it, behind it, or in the log."""

    def run(asked: FhirSource, kind: type[FlameError] = InputError) -> str:
        caplog.set_level(logging.DEBUG)
        into = Path(mkdtemp(dir=tmp_path))
        with pytest.raises(kind) as caught:
            fetch(asked, into, lambda done, total: None)
        chain: list[str] = []
        seen: BaseException | None = caught.value
        while seen is not None:
            chain += [str(seen), repr(seen), *map(repr, vars(seen).values())]
            seen = seen.__cause__ or seen.__context__
        shown = "".join(traceback.format_exception(caught.value))
        for word in (SECRET, PATIENT, basic("me", SECRET)):
            assert word not in "\n".join([*chain, shown, *logged(caplog)])
        assert caught.value.__context__ is None
        return str(caught.value)

    return run


def test_tables_have_the_views_columns_and_are_private(server: FhirServer, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    line = fetch(source(server, page_size=3), tmp_path, lambda done, total: told.append((done, total)))
    (path,) = tmp_path.iterdir()
    table = pq.read_table(path)
    assert path.name == "bioprobe.parquet"
    assert table.schema.field("collected_time").type == pa.timestamp("us", tz="UTC")
    assert table.column("specimen_id").to_pylist() == [f"s{number}" for number in range(7)]
    assert path.stat().st_mode & 0o777 == 0o600
    assert told == [(3, 7), (6, 7), (7, 7)]
    assert line.startswith(f"FHIR {source(server).host}, ")
    assert line.endswith("bioprobe: 7 rows of 7 Specimen")
    assert PATIENT not in line


def test_an_empty_search_is_an_empty_table_with_its_columns(server: FhirServer, get: Any) -> None:
    server.resources = []
    table = get(source(server))[0]["bioprobe.parquet"]
    assert table.num_rows == 0
    assert table.schema.names[0] == "patient_id"


@settings(max_examples=12)
@given(size=st.integers(1, 40), batch=st.integers(1, 9))
def test_pages_and_batches_of_any_size_make_the_same_table(
    plain: FhirServer, size: int, batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain.reset([specimen(number, receivedTime=f"20{number:02d}") for number in range(31)])
    into = tmp_path_factory.mktemp("into")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flame_fl.data.sources.fhir._BATCH_ROWS", batch)
        fetch(source(plain, page_size=size), into, lambda done, total: None)
    table = pq.read_table(into / "bioprobe.parquet")
    assert table.column("specimen_id").to_pylist() == [f"s{number}" for number in range(31)]
    assert [when.year for when in table.column("received_time").to_pylist()] == [2000 + n for n in range(31)]
    assert len(plain.requests) == -(-31 // size)


def test_search_parameters_reach_the_server_as_they_are_written(server: FhirServer, get: Any) -> None:
    coded = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    lab = {"category": [{"coding": [{"system": "http://loinc.org", "code": "26436-6"}]}]}
    server.resources = [
        lab | {"resourceType": "Observation", "id": name, "code": code, "effectiveDateTime": when}
        for name, code, when in (
            ("a", coded, "2021-01-01T00:00:00+01:00"),
            ("b", coded, "2019-01-01"),
            ("c", {}, "2021-01-01"),
        )
    ]
    words = "code=http://loinc.org|718-7&date=ge2020-01-01T00:00:00+01:00"
    tables, _ = get(source(server, views=["laborbefund"], search={"laborbefund": words}))
    assert tables["laborbefund.parquet"].column("observation_id").to_pylist() == ["a"]
    assert dict(httpx.URL(f"http://x{server.requests[0]}").params)["date"] == "ge2020-01-01T00:00:00+01:00"


def test_included_resources_are_found_on_their_page(server: FhirServer, get: Any) -> None:
    code = {"coding": [{"system": "http://fhir.de/CodeSystem/bfarm/atc", "code": "B01AC06"}]}
    server.resources = [
        {"resourceType": "Medication", "id": "m1", "code": code},
        *(
            {
                "resourceType": "MedicationStatement",
                "id": f"s{n}",
                "medicationReference": {"reference": "Medication/m1"},
            }
            for n in range(3)
        ),
    ]
    tables, line = get(source(server, views=["medikation"], page_size=2))
    assert tables["medikation.parquet"].column("atc_code").to_pylist() == ["B01AC06"] * 3
    assert line.endswith("3 rows of 3 MedicationStatement")


def test_own_definitions_and_several_views(server: FhirServer, get: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    columns = [{"name": "patient_id", "path": "subject.getReferenceKey(Patient)"}]
    path.write_text(json.dumps({"resource": "Specimen", "select": [{"column": columns}]}))
    tables, _ = get(source(server, views=[str(path), "person"], search={"mine": "status=available"}))
    assert set(tables) == {"mine.parquet", "person.parquet"}
    assert tables["mine.parquet"].column("patient_id").to_pylist()[0] == f"{PATIENT}-0"
    assert tables["mine.parquet"].schema.names == ["patient_id"]


def test_consents_fetched_are_provisions(server: FhirServer, tmp_path: Path) -> None:
    rule = {"type": "permit", "code": [{"coding": [{"system": POLICY_SYSTEM, "code": MDAT_RESEARCH_USE}]}]}
    server.resources = [
        {
            "resourceType": "Consent",
            "id": "c",
            "status": "active",
            "patient": {"reference": "Patient/p1"},
            "dateTime": "2024-02-23",
            "provision": {"type": "deny", "period": {"start": "2024-02-23"}, "provision": [rule]},
        }
    ]
    fetch(source(server, views=["consent"]), tmp_path, lambda done, total: None)
    since = datetime(2024, 2, 23, tzinfo=UTC).date()
    assert read_provisions(tmp_path / "consent.parquet") == [
        Provision("p1", MDAT_RESEARCH_USE, True, since, None, "active", since)
    ]
    server.resources[0]["patient"] = {"reference": "https://elsewhere/fhir/Patient/p1"}
    (tmp_path / "consent.parquet").unlink()
    fetch(source(server, views=["consent"]), tmp_path, lambda done, total: None)
    with pytest.raises(InputError, match="does not say whose"):
        read_provisions(tmp_path / "consent.parquet")


# Logins


def test_basic_and_bearer(server: FhirServer, get: Any, fails: Any, secrets: Any) -> None:
    server.authorization = basic("me", SECRET)
    asked = source(server, login="basic", credentials=secrets(user="me", password=SECRET))
    assert get(asked)[0]["bioprobe.parquet"].num_rows == 7
    server.authorization = f"Bearer {SECRET}"
    sentence = fails(asked)
    assert "refuses the login for Specimen with status 401 (issue: login)" in sentence
    asked = source(server, login="bearer", credentials=secrets(token=SECRET))
    fetch(asked, asked.credentials.parent, lambda done, total: None)  # type: ignore[union-attr]


def test_a_login_refused_has_its_sentence(server: FhirServer, fails: Any, secrets: Any) -> None:
    server.faults = [Fault(403, body=json.dumps(outcome("forbidden", f"{PATIENT} is not yours")).encode())]
    sentence = fails(source(server, login="bearer", credentials=secrets(token=SECRET)))
    assert "refuses the login for Specimen with status 403 (issue: forbidden)" in sentence
    assert "credentials file" in sentence


def test_credentials_must_be_those_of_the_login(server: FhirServer, fails: Any, secrets: Any) -> None:
    for words in ({"user": "me"}, {"user": "me", "password": SECRET, "token": "t"}):
        sentence = fails(source(server, login="basic", credentials=secrets(**words)))
        assert "does not hold user and password alone" in sentence
    assert "is no bearer token" in fails(source(server, login="bearer", credentials=secrets(token=f"{SECRET} x")))


def test_tls_with_the_hospitals_authority(authority: Authority, get: Any) -> None:
    with FhirServer([specimen(1)], certificate=authority.issue()) as server:
        assert get(source(server, ca=str(authority.pem)))[0]["bioprobe.parquet"].num_rows == 1


def test_an_authority_not_trusted(authority: Authority, fails: Any, waits: list[float], tmp_path: Path) -> None:
    with FhirServer(certificate=authority.issue()) as server:
        assert "is signed by nobody we trust" in fails(source(server))
        assert "is signed by nobody we trust" in fails(source(server, ca=str(Authority(tmp_path).pem)))
    assert not waits


def test_an_expired_certificate(authority: Authority, fails: Any, waits: list[float]) -> None:
    with FhirServer(certificate=authority.issue(expired=True)) as server:
        assert f"The certificate of {source(server).host} has expired." in fails(source(server, ca=str(authority.pem)))
    assert not waits


def test_a_certificate_for_another_host(authority: Authority, fails: Any) -> None:
    with FhirServer(certificate=authority.issue("elsewhere.example")) as server:
        assert "is for another host" in fails(source(server, ca=str(authority.pem)))


def test_mutual_tls(authority: Authority, get: Any, fails: Any, secrets: Any, waits: list[float]) -> None:
    with FhirServer([specimen(1)], certificate=authority.issue(), clients=authority.pem) as server:
        cert, key = authority.issue("client")
        own = secrets(cert=str(cert), key=str(key))
        asked = source(server, ca=str(authority.pem), login="mtls", credentials=own)
        assert get(asked)[0]["bioprobe.parquet"].num_rows == 1
        # asyncio ends the connection without the alert that other servers send.
        assert "may want a client certificate" in fails(source(server, ca=str(authority.pem)), UnreachableError)
    assert len(waits) == fhir_errors.TRIES - 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_tls_says_of_a_client_certificate(
    authority: Authority, fails: Any, secrets: Any, tmp_path: Path, waits: list[float], version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    context.load_verify_locations(authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    cert, key = Authority(tmp_path).issue("stranger")
    strange = {"login": "mtls", "credentials": secrets(cert=str(cert), key=str(key))}

    def refuse(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        base = f"https://localhost:{listener.getsockname()[1]}/fhir"
        for more in ({}, strange):
            usual = {"type": "fhir", "base_url": base, "views": ["bioprobe"], "ca": str(authority.pem)}
            assert "does not take our client certificate, or wants one" in fails(
                FhirSource.model_validate(usual | more)
            )
        thread.join(10)
    assert not waits


def test_files_of_tls_that_are_none(server: FhirServer, fails: Any, secrets: Any, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text(SECRET)
    for path in (junk, tmp_path / "none.pem"):
        assert "is no PEM file" in fails(source(server, ca=str(path)))
        own = secrets(cert=str(path), key=str(path))
        assert "cannot be read, or do not belong" in fails(source(server, login="mtls", credentials=own))


# Failures that pass, and failures that do not


def test_too_many_requests_and_other_pauses_are_waited_for(server: FhirServer, get: Any, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.faults = [
        Fault(429, {"retry-after": "7"}, b"{}"),
        Fault(503, {"retry-after": date}, b"{}"),
        Fault(502, {"retry-after": "999999"}, b"{}"),
        Fault(504, {"retry-after": "soon"}, b"{}"),
        None,
        Fault(503, {}, b"{}"),
    ]
    table = get(source(server, page_size=4))[0]["bioprobe.parquet"]
    assert table.num_rows == 7
    assert (waits[0], waits[2], waits[3], waits[4]) == (7.0, 60.0, 8.0, 1.0)
    assert 25 < waits[1] <= 30


def test_patience_ends(server: FhirServer, fails: Any, waits: list[float]) -> None:
    server.faults = [Fault(503, {}, json.dumps(outcome("transient", PATIENT)).encode()) for _ in range(20)]
    sentence = fails(source(server), UnreachableError)
    assert "status 503 to each of 6 requests (issue: transient)" in sentence
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert len(server.requests) == fhir_errors.TRIES


def test_nobody_there(fails: Any, waits: list[float]) -> None:
    with FhirServer() as gone:
        asked = source(gone, search={"bioprobe": f"subject={PATIENT}"})
    assert "There is no connection with" in fails(asked, UnreachableError)
    assert len(waits) == fhir_errors.TRIES - 1


def test_a_server_too_slow(server: FhirServer, fails: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir_client, "_TIMEOUT", httpx.Timeout(0.05))
    monkeypatch.setattr(fhir_errors, "TRIES", 2)
    server.faults = [Fault(wait=0.4), Fault(wait=0.4)]
    assert "did not answer in time, 2 times" in fails(source(server), UnreachableError)
    assert waits == [1.0]


def test_one_slow_answer_is_asked_for_again(
    server: FhirServer, get: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_client, "_TIMEOUT", httpx.Timeout(5.0, read=0.3))
    server.faults = [Fault(wait=0.8)]
    assert get(source(server))[0]["bioprobe.parquet"].num_rows == 7
    assert waits == [1.0]


def linked(url: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda bundle: bundle | {"link": [{"relation": "next", "url": url}]}


@pytest.mark.parametrize(
    "change", ["https://localhost", "http://other.example", "http://localhost:1", "http://me@localhost"]
)
def test_a_link_to_another_origin_is_not_followed(server: FhirServer, fails: Any, change: str) -> None:
    port = "" if change.endswith(":1") else server.base.removeprefix("http://localhost").removesuffix("/fhir")
    server.faults = [Fault(change=linked(f"{change}{port}/fhir?_getpages={PATIENT}"))]
    sentence = fails(source(server))
    assert "links to another origin" in sentence or "no valid link" in sentence
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", [7, "http://[", "", "javascript:x", None])
def test_a_link_that_is_none(server: FhirServer, fails: Any, url: Any) -> None:
    server.faults = [Fault(change=linked(url))]
    sentence = fails(source(server))
    assert any(words in sentence for words in ("no valid link", "another origin", "in a circle"))


def test_a_relative_link_is_followed(server: FhirServer, get: Any) -> None:
    def relative(bundle: dict[str, Any]) -> dict[str, Any]:
        links = [link | {"url": str(httpx.URL(link["url"]).raw_path, "ascii")} for link in bundle["link"]]
        return bundle | {"link": links}

    server.faults = [Fault(change=relative)]
    assert get(source(server, page_size=4))[0]["bioprobe.parquet"].num_rows == 7


def test_links_that_lead_round(server: FhirServer, fails: Any) -> None:
    def again(bundle: dict[str, Any]) -> dict[str, Any]:
        return linked(f"{server.base}/Specimen?_count=500")(bundle) | {"entry": []}

    server.faults = [Fault(change=again) for _ in range(3)]
    assert "lead round in a circle" in fails(source(server))
    assert len(server.requests) == 1


def test_empty_pages_without_end(server: FhirServer, fails: Any) -> None:
    count = iter(range(10_000))

    def more(bundle: dict[str, Any]) -> dict[str, Any]:
        return linked(f"{server.base}/Specimen?_id=x{next(count)}")(bundle) | {"entry": []}

    server.faults = [Fault(change=more) for _ in range(200)]
    assert "lead round in a circle" in fails(source(server))
    assert len(server.requests) < 110


def test_a_resource_twice(server: FhirServer, fails: Any) -> None:
    server.resources = [specimen(1), specimen(2), specimen(1)]
    assert "gives a Specimen twice" in fails(source(server, page_size=2))
    server.resources = [specimen(1, id=5)]
    assert "without an id" in fails(source(server))


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(body=b'{"resourceType": "Bundle", "entry": [{"resource": {"id": "patient-4711'), "that is no JSON"),
        (Fault(body=b"[1]"), "that is no JSON"),
        (Fault(body=b'{"resourceType": "Bundle", "type": "searchset", "total": NaN}'), "that is no JSON"),
        (Fault(body=b"[" * 100_000), "that is no JSON"),
        (Fault(body=b"<Bundle/>", headers={"content-type": "application/fhir+xml"}), "that is no JSON"),
        (Fault(body=b"{}", headers={"content-type": "text/html"}), "that is no JSON"),
        (Fault(body=b"x" * 99, headers={"content-encoding": "gzip"}), "in a way that cannot be read"),
        (Fault(body=b'{"resourceType": "Bundle", "type": "collection"}'), "that is no search result"),
        (Fault(body=b'{"resourceType": "Patient", "id": "patient-4711"}'), "that is no search result"),
        (Fault(body=b'{"resourceType": "Bundle", "type": "searchset", "entry": [{}]}'), "An entry of Specimen"),
        (Fault(302, {"location": "http://localhost/patient-4711"}, b""), "redirects a search"),
        (Fault(404, body=b"patient-4711"), "refuses the search of Specimen with status 404."),
        (Fault(410, body=b"{}"), "refuses the search of Specimen with status 410."),
        (
            Fault(400, body=json.dumps(outcome("invalid", "patient-4711")).encode()),
            "refuses the search of Specimen with status 400 (issue: invalid).",
        ),
        (Fault(400, body=json.dumps(outcome("patient-4711")).encode()), "status 400 (issue: unknown)."),
        (Fault(body=json.dumps(outcome("too-costly", "patient-4711")).encode()), "status 200 (issue: too-costly)."),
    ],
)
def test_answers_that_are_no_page(server: FhirServer, fails: Any, fault: Fault, sentence: str) -> None:
    server.faults = [fault]
    assert sentence in fails(source(server, search={"bioprobe": f"subject={PATIENT}"}))
    assert len(server.requests) == 1


def test_a_server_that_fails_is_not_asked_again(server: FhirServer, fails: Any) -> None:
    server.faults = [Fault(500, body=json.dumps(outcome("exception", PATIENT)).encode())]
    assert "fails at a search of Specimen with status 500 (issue: exception)" in fails(source(server), UnreachableError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("severity", "told"), [("fatal", True), ("error", True), ("warning", False), ("information", False)]
)
def test_an_outcome_among_the_entries(server: FhirServer, fails: Any, get: Any, severity: str, *, told: bool) -> None:
    def warned(bundle: dict[str, Any]) -> dict[str, Any]:
        said = {"resource": outcome("incomplete", PATIENT, severity), "search": {"mode": "outcome"}}
        return bundle | {"entry": [*bundle["entry"], said]}

    server.faults = [Fault(change=warned)]
    if told:
        assert "(issue: incomplete)" in fails(source(server))
    else:
        assert get(source(server))[0]["bioprobe.parquet"].num_rows == 7


def test_matches_of_another_type(server: FhirServer, fails: Any) -> None:
    def other(bundle: dict[str, Any]) -> dict[str, Any]:
        entry = {"resource": {"resourceType": "Patient", "id": PATIENT}, "search": {"mode": "match"}}
        return bundle | {"entry": [entry]}

    server.faults = [Fault(change=other)]
    assert "with other resources" in fails(source(server))


def test_a_page_too_large(server: FhirServer, fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir_errors, "MOST_BYTES", 1 << 20)
    server.faults = [Fault(body=b" " * (2 << 20))]
    assert "is larger than 1 MiB" in fails(source(server))


def test_a_resource_that_does_not_fit_is_not_quoted(server: FhirServer, fails: Any) -> None:
    server.resources = [specimen(1, receivedTime=PATIENT)]
    sentence = fails(source(server))
    assert "finds a value for the column 'received_time' that is no dateTime" in sentence


def test_parameters_the_server_does_not_know(server: FhirServer, fails: Any) -> None:
    sentence = fails(source(server, search={"bioprobe": f"{PATIENT}=x"}))
    assert "refuses the search of Specimen with status 400 (issue: processing)" in sentence


def test_this_client_is_silent_and_no_other(server: FhirServer, get: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    get(source(server, search={"bioprobe": f"subject=Patient/{PATIENT}-0"}))
    assert not [line for line in logged(caplog) if PATIENT in line or "HTTP Request" in line]
    httpx.get(f"{server.base}/Specimen")
    assert [line for line in logged(caplog) if "HTTP Request" in line]


def test_a_proxy_of_the_environment_is_not_told(server: FhirServer, get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert get(source(server))[0]["bioprobe.parquet"].num_rows == 7


# Settings


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://fhir.example.org/fhir"},
        {"base_url": "https://me:pw@fhir.example.org"},
        {"base_url": "https://fhir.example.org/fhir?x=1"},
        {"base_url": "ftp://fhir.example.org"},
        {"base_url": "fhir.example.org"},
        {"views": []},
        {"views": ["nope"]},
        {"views": ["person", "/x/person.json"]},
        {"search": {"nope": "a=b"}},
        {"search": {"person": "_count=5"}},
        {"search": {"person": "_format=xml"}},
        {"search": {"person": "=5"}},
        {"page_size": 0},
        {"login": "basic"},
        {"credentials": "/x"},
        {"login": "digest"},
        {"more": 1},
    ],
)
def test_settings_that_are_refused(change: dict[str, Any]) -> None:
    usual = {"type": "fhir", "base_url": "https://fhir.example.org/fhir/", "views": ["person"]}
    assert FhirSource.model_validate(usual).base_url == "https://fhir.example.org/fhir"
    with pytest.raises(ValidationError):
        FhirSource.model_validate(usual | change)


def test_loopback_may_be_http() -> None:
    for host in ("localhost", "127.0.0.1:8080", "[::1]"):
        FhirSource.model_validate({"type": "fhir", "base_url": f"http://{host}/fhir", "views": ["person"]})
