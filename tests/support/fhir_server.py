"""A stand-in for a FHIR R4 server, for tests. It is no FHIR server.

The servers that hospitals run, HAPI and Blaze, could not be installed here from a package: they come as web archives
or images, and Maven's part that is served here has only pieces of HAPI. Debian has none; what PyPI and npm have under
the name (fhirsnake, dfhir, gnuhealth-fhir-server, node-fhir-server-core) are by their descriptions servers of files,
alphas, or frameworks to write one with, and would not stand for those two either. So this speaks as much of the RESTful
API as `flame_fl.data.sources.fhir` uses, the way HAPI does:

- Faithful: `GET [base]/[type]?…` answers a searchset Bundle with `total`, `link` (self, next) and `entry.search.mode`;
  paging by opaque `[base]?_getpages=…&_getpagesoffset=…&_count=…&_bundletype=searchset` links over a snapshot of the
  search; `_include`d resources on the page of their matches; an unknown parameter is a 400 with an OperationOutcome;
  content type `application/fhir+json`; basic and bearer login with 401; TLS and mTLS by the system's own OpenSSL.
- Not faithful: only the parameters `_id`, `code`, `status`, `patient`, `subject` and `date` (compared as text), one
  `_include` per reference element, no validation, no other operation, no XML, nothing of what real servers do wrong
  but what a test injects as a `Fault`.
"""

import base64
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Resource = dict[str, Any]
FHIR_JSON = "application/fhir+json;charset=UTF-8"
_ELEMENTS = {"patient": ("subject", "patient"), "subject": ("subject",)}
_DATES = ("effectiveDateTime", "recordedDate", "performedDateTime", "dateTime", "date")


@dataclass
class Fault:
    """What one request meets instead of, or on top of, the right answer.

    Attributes:
        status: Of the answer.
        headers: Of the answer.
        body: In place of the right one.
        change: What happens to the right one.
        wait: Seconds before it answers.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    change: Callable[[Resource], Resource] | None = None
    wait: float = 0.0


def outcome(code: str, diagnostics: str = "", severity: str = "error") -> Resource:
    """An OperationOutcome with one issue."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": diagnostics}],
    }


class Authority:
    """A certificate authority in a folder.

    Attributes:
        pem: Its own certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a test")])
        certificate = (
            self._builder(self._name, self._key.public_key(), timedelta(days=-1), timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = folder / f"ca-{uuid.uuid4().hex}.pem"
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str = "localhost", *, expired: bool = False) -> tuple[Path, Path]:
        """A certificate for servers and clients, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        since, until = (timedelta(days=-3), timedelta(days=-2)) if expired else (timedelta(days=-1), timedelta(days=1))
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ip_address("127.0.0.1")))
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key.public_key(), since, until)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        word = uuid.uuid4().hex
        paths = self._folder / f"{word}.pem", self._folder / f"{word}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, since: timedelta, until: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + since)
            .not_valid_after(now + until)
        )


class FhirServer:
    """Holds resources and answers searches. A context manager.

    Args:
        resources: What it holds; may be replaced while it runs.
        authorization: What the header of that name must be; empty for no login.
        certificate: Its own, with key; TLS then.
        clients: The authority of clients that it wants; mTLS then.

    Attributes:
        faults: What the next requests meet, one each; None is the right answer.
        requests: Paths and queries of the requests, as they came.
    """

    def __init__(
        self,
        resources: list[Resource] | None = None,
        *,
        authorization: str = "",
        certificate: tuple[Path, Path] | None = None,
        clients: Path | None = None,
    ) -> None:
        self.resources = resources or []
        self.authorization = authorization
        self.faults: list[Fault | None] = []
        self.requests: list[str] = []
        self._searches: dict[str, tuple[list[Resource], list[str]]] = {}
        self._scheme = "https" if certificate else "http"
        app = Starlette(routes=[Route("/fhir", self._answer), Route("/fhir/{kind}", self._answer)])
        tls: dict[str, Any] = {}
        if certificate:
            tls = {"ssl_certfile": str(certificate[0]), "ssl_keyfile": str(certificate[1])}
        if clients:
            tls |= {"ssl_ca_certs": str(clients), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none", access_log=False, **tls
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the stand-in FHIR server did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    @property
    def base(self) -> str:
        """Its base address."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"{self._scheme}://localhost:{port}/fhir"

    def reset(self, resources: list[Resource]) -> None:
        """Hold other resources, and forget what was."""
        self.resources, self.faults, self.requests, self.authorization = resources, [], [], ""

    def _answer(self, request: Request) -> Response:  # in a thread of starlette's: a slow answer blocks no other
        self.requests.append(f"{request.url.path}?{request.url.query}")
        fault = (self.faults.pop(0) if self.faults else None) or Fault()
        time.sleep(fault.wait)
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return JSONResponse(outcome("login"), 401, {"WWW-Authenticate": "Basic"}, FHIR_JSON)
        if fault.body is not None:
            return Response(fault.body, fault.status, {"content-type": FHIR_JSON} | fault.headers)
        try:
            content = self._search(request)
        except KeyError as err:
            return JSONResponse(outcome("processing", f"unknown parameter {err}"), 400, media_type=FHIR_JSON)
        content = fault.change(content) if fault.change else content
        return Response(json.dumps(content), fault.status, {"content-type": FHIR_JSON} | fault.headers)

    def _search(self, request: Request) -> Resource:
        query = request.query_params
        count = int(query.get("_count", "20"))
        if "_getpages" in query:
            word, start = query["_getpages"], int(query["_getpagesoffset"])
            found, includes = self._searches[word]
        else:
            word, start = str(uuid.uuid4()), 0
            includes = query.getlist("_include")
            asked = [(k, v) for k, v in query.multi_items() if k not in {"_count", "_include"}]
            kind = request.path_params["kind"]
            found = [r for r in self.resources if r["resourceType"] == kind and all(_fits(r, *pair) for pair in asked)]
            self._searches[word] = found, includes
        here = found[start : start + count]
        links = [{"relation": "self", "url": str(request.url)}]
        if start + count < len(found):
            following = f"_getpages={word}&_getpagesoffset={start + count}&_count={count}&_bundletype=searchset"
            links.append({"relation": "next", "url": f"{self.base}?{following}"})
        entries = [self._entry(one, "match") for one in here]
        named = {name for one in here for name in _included(one, includes)}
        entries += [self._entry(r, "include") for r in self.resources if f"{r['resourceType']}/{r['id']}" in named]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links, "entry": entries}

    def _entry(self, resource: Resource, mode: str) -> Resource:
        url = f"{self.base}/{resource['resourceType']}/{resource['id']}"
        return {"fullUrl": url, "resource": resource, "search": {"mode": mode}}


def basic(user: str, password: str) -> str:
    """The header of a basic login."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _fits(resource: Resource, name: str, value: str) -> bool:
    if name == "_id":
        return bool(resource["id"] in value.split(","))
    if name == "status":
        return resource.get("status") == value
    if name in _ELEMENTS:
        references = [resource.get(element, {}).get("reference") for element in _ELEMENTS[name]]
        return value in references or f"Patient/{value}" in references
    if name == "code":
        system, _, code = value.rpartition("|")
        codings = resource.get("code", {}).get("coding", [])
        return any(one.get("code") == code and (not system or one.get("system") == system) for one in codings)
    if name == "date":
        day = next((resource[element] for element in _DATES if element in resource), "")
        bound = value.lstrip("gelqt")
        return bool(day) and (day[: len(bound)] >= bound if value.startswith("ge") else day[: len(bound)] <= bound)
    raise KeyError(name)


def _included(resource: Resource, includes: list[str]) -> list[str]:
    names = [word.partition(":")[2] for word in includes if word.startswith(f"{resource['resourceType']}:")]
    return [
        value["reference"]
        for name in names
        for element, value in resource.items()
        if element in {name, f"{name}Reference"} and isinstance(value, dict) and "reference" in value
    ]
