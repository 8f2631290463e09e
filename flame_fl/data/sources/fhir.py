"""A store fetched from a FHIR R4 server: searches, turned into tables by ViewDefinitions.

```
[source]
type = "fhir"
base_url = "https://fhir.diz.example/fhir"
views = ["person", "laborbefund", "bmi.json"]
search = { laborbefund = "code=http://loinc.org|718-7&date=ge2020-01-01" }
login = "basic"
credentials = "fhir.secrets"      # user = "…", password = "…"; for bearer: token; for mtls: cert and key, files
```
"""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from flame_fl.contract.addresses import service_url
from flame_fl.contract.errors import InputError
from flame_fl.contract.words import Frozen
from flame_fl.data import records
from flame_fl.data.files import PRIVATE, write_new
from flame_fl.data.kind import require
from flame_fl.data.sources.fhir_client import FhirClient
from flame_fl.data.sources.fhir_definitions import PACKAGED
from flame_fl.data.sources.fhir_views import View, load
from flame_fl.data.sources.secrets import read_secrets

_BATCH_ROWS = 10_000
_NEEDED = {"none": (), "basic": ("user", "password"), "bearer": ("token",), "mtls": ("cert", "key")}
_OURS = frozenset({"_count", "_include", "_revinclude", "_format", "_summary", "_elements"})
_INCLUDED = {
    "medikation": ("MedicationStatement:medication",),
    "medikationsgabe": ("MedicationAdministration:medication",),
}


def _base(url: str) -> str:
    return service_url(
        url,
        example="https://fhir.example.org/fhir",
        login="a login belongs into the credentials file",
        risk="data and requests could be read on their way",
    )


def _view(word: str) -> str:
    if word not in PACKAGED and not word.endswith(".json"):
        raise ValueError(f"must be a file of a ViewDefinition (.json), or one of {', '.join(PACKAGED)}")
    return word


def _parameters(text: str) -> str:
    for name, _ in _pairs(text):
        if not name or name in _OURS:
            raise ValueError("must be search parameters such as code=…&date=…, without _count, _include and _format")
    return text


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Parameters as they are written: "+" stays "+", for it is in times."""
    parts = [part.partition("=") for part in text.split("&") if part]
    return tuple((unquote(name), unquote(value)) for name, _, value in parts)


class FhirSource(Frozen):
    """Which resources of a FHIR server become which tables."""

    type: Literal["fhir"]
    base_url: Annotated[str, StringConstraints(max_length=512), AfterValidator(_base)]
    views: Annotated[tuple[Annotated[str, AfterValidator(_view)], ...], Field(min_length=1)]
    """Names of packaged views, or files of ViewDefinitions; `NAME.json` becomes `NAME.parquet`."""
    search: dict[str, Annotated[str, AfterValidator(_parameters)]] = {}  # noqa: RUF012  (pydantic copies it)
    """By a view's name: the parameters of its search."""
    include: dict[str, tuple[str, ...]] = {}  # noqa: RUF012
    """By a view's name: values of `_include`, for paths that `resolve()` references."""
    page_size: Annotated[int, Field(ge=1, le=10_000)] = 500
    ca: str = ""
    """A PEM file of the authority that signed the server's certificate, if that is the hospital's own."""
    login: Literal["none", "basic", "bearer", "mtls"] = "none"
    credentials: Path | None = None
    """A TOML file, mode 0600, with `user` and `password`, or `token`, or `cert` and `key` (PEM files)."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = [Path(view).stem for view in self.views]
        if len(set(names)) != len(names):
            raise ValueError("two views would be tables of one name")
        if unknown := sorted((set(self.search) | set(self.include)) - set(names)):
            raise ValueError(f"search or include names {unknown[0]!r}, which is none of the views")
        if (self.login == "none") != (self.credentials is None):
            raise ValueError("a login needs credentials, and only a login does")
        return self

    @property
    def host(self) -> str:
        """Its host, and the port if one is said."""
        return urlsplit(self.base_url).netloc


def fetch(source: FhirSource, into: Path, on_progress: Callable[[int, int], None]) -> str:
    """Write `NAME.parquet` for every view into an empty folder, and say in a line what was read from where.

    Args:
        source: The server, and what to read.
        into: The folder. After an error it is the caller's to remove.
        on_progress: Told the resources read so far, and those that the server counts (0 if it does not say).

    Raises:
        InputError: fhirpathpy is not installed; a view, the credentials or the CA cannot be used; the server refuses
            the login or a search, or answers with something else; a resource does not fit its view.
        UnreachableError: The server does not answer, or is overloaded.
    """
    require("fhir", ("fhirpathpy",), "fhir")
    views = [load(view, source.base_url) for view in source.views]
    started = datetime.now(UTC).isoformat(timespec="seconds")
    counts = []
    with _client(source) as client:
        before = 0
        for view in views:
            resources, rows = _table(client, source, view, into, lambda n, t: on_progress(before + n, t and before + t))  # noqa: B023
            before += resources
            counts.append(f"{view.name}: {rows} rows of {resources} {view.resource}")
    return f"FHIR {source.host}, {started}; {'; '.join(counts)}"


def _client(source: FhirSource) -> FhirClient:
    secrets = _secrets(source)
    auth = (secrets["user"], secrets["password"]) if source.login == "basic" else None
    token = secrets["token"] if source.login == "bearer" else ""
    if token and not (token.isascii() and " " not in token):
        raise InputError(f"The token in {source.credentials} is no bearer token.", mend="Write it without blanks.")
    return FhirClient(source.base_url, _tls(source, secrets), auth, token)


def _secrets(source: FhirSource) -> dict[str, str]:
    if source.credentials is None:
        return {}
    secrets = read_secrets(source.credentials)
    if set(secrets) != set(_NEEDED[source.login]):
        raise InputError(
            f"The credentials file {source.credentials} does not hold {' and '.join(_NEEDED[source.login])} alone.",
            mend=f"Login {source.login!r} needs these and nothing else.",
        )
    return secrets


def _tls(source: FhirSource, secrets: dict[str, str]) -> ssl.SSLContext:
    failed = f"The CA file {source.ca} is no PEM file that can be read."
    try:
        context = ssl.create_default_context(cafile=source.ca or None)
        failed = f"The certificate and key that {source.credentials} names cannot be read, or do not belong together."
        if source.login == "mtls" and source.credentials is not None:
            folder = source.credentials.parent
            # A password that is wanted and not there must fail, not ask at the terminal.
            context.load_cert_chain(folder / secrets["cert"], folder / secrets["key"], password="")
        return context
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        pass
    raise InputError(failed, mend="Name a PEM file; a key is not to be encrypted.")


def _table(
    client: FhirClient, source: FhirSource, view: View, into: Path, told: Callable[[int, int], None]
) -> tuple[int, int]:
    """Write a view's table; returns how many resources and rows there were."""
    read, rows = 0, 0
    path = into / f"{view.name}.parquet"
    write_new(path, b"", PRIVATE)  # before anything is in it
    with records.Writer(path) as writer:
        writer.write(_arrow(view, []))
        waiting: list[tuple[object, ...]] = []
        for resources, total in _resources(client, source, view):
            for resource in resources:
                waiting.extend(view.rows(resource))
                read += 1
                if len(waiting) >= _BATCH_ROWS:
                    writer.write(_arrow(view, waiting))
                    rows, waiting = rows + len(waiting), []
            told(read, total)
        writer.write(_arrow(view, waiting))
    return read, rows + len(waiting)


def _resources(client: FhirClient, source: FhirSource, view: View) -> Iterator[tuple[tuple[dict[str, Any], ...], int]]:
    """The matches of each page, with what was sent along set up for `resolve()`; and how many the server counts."""
    included = source.include.get(view.name, _INCLUDED.get(view.name, ()))
    parameters = [("_count", str(source.page_size)), *_pairs(source.search.get(view.name, ""))]
    parameters += [("_include", word) for word in included]
    seen: set[str] = set()
    for page in client.search(view.resource, parameters):
        for resource in page.matches:
            name = resource.get("id")
            if not isinstance(name, str) or name in seen:
                raise InputError(
                    f"{source.host} gives a {view.resource} twice, or one without an id.",
                    mend="Its pages moved while they were read: fetch again, or ask its operator.",
                )
            seen.add(name)
        view.on({f"{one.get('resourceType')}/{one.get('id')}": one for one in page.others})
        yield page.matches, page.total or 0


def _arrow(view: View, rows: list[tuple[object, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in view.schema)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, view.schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=view.schema)
