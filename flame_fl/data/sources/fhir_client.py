"""A FHIR server's searches over HTTP: page by page, patient with the server, suspicious of its answers.

Search parameters, paging links and answers may hold patients' ids. No error says anything of them, none keeps an error
of httpx (which holds the request) in its context, and httpx's own log lines are dropped while this client asks.
"""

import json
import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from flame_fl.contract.errors import InputError
from flame_fl.data.sources import fhir_errors
from flame_fl.data.sources.fhir_errors import MOST_SECONDS, RETRIED, failed, failure_of, issue_of, objects, refused

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_MOST_EMPTY = 100  # pages in a row
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_JSON = frozenset({"application/fhir+json", "application/json"})
_PORTS = {"http": 80, "https": 443}
_asking: ContextVar[bool] = ContextVar("asking", default=False)


class _Silence(logging.Filter):
    """Drops what httpx and httpcore log of a request (its whole URL) while this module makes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _asking.get()


for _name in ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
    logging.getLogger(_name).addFilter(_Silence())


@dataclass(frozen=True)
class Page:
    """One page of a search.

    Attributes:
        matches: What was searched for.
        others: What was sent along: included resources.
        total: How many matches the server counts over all pages; None if it does not say.
    """

    matches: tuple[dict[str, Any], ...]
    others: tuple[dict[str, Any], ...]
    total: int | None


@dataclass(frozen=True)
class _Answer:
    """What a request came to: a status and a body, or why there is none."""

    status: int = 0
    kind: str = ""
    body: bytes = b""
    wait: str = ""
    failure: str = ""
    again: bool = False


class FhirClient:
    """Asks one server. A context manager.

    Args:
        base: The server's base address.
        tls: Whom to trust, and what to show.
        auth: User and password, if any.
        token: A bearer token, if any.
    """

    def __init__(self, base: str, tls: ssl.SSLContext, auth: tuple[str, str] | None = None, token: str = "") -> None:
        self.base, self.host = base.rstrip("/"), urlsplit(base).netloc
        headers = {"Accept": "application/fhir+json", "Accept-Encoding": "gzip", "User-Agent": "flame-fl"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            auth=auth, headers=headers, verify=tls, timeout=_TIMEOUT, follow_redirects=False, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def search(self, resource: str, parameters: Sequence[tuple[str, str]]) -> Iterator[Page]:
        """Every page of a search, in order.

        Raises:
            InputError: The login is refused, or the certificate; the server refuses the search; an answer is no search
                result; a link leads elsewhere, or round in a circle.
            UnreachableError: It does not answer, or is overloaded, for longer than we wait.
        """
        link = str(httpx.URL(f"{self.base}/{resource}", params=list(parameters)))
        seen: set[str] = set()
        empty = 0
        while link:
            if link in seen or empty > _MOST_EMPTY:
                raise InputError(
                    f"The pages of {resource} at {self.host} lead round in a circle.", mend="Ask the server's operator."
                )
            seen.add(link)
            bundle = self._bundle(resource, self._patiently(link))
            page = self._page(resource, bundle)
            empty = 0 if page.matches else empty + 1
            yield page
            link = self._next(resource, link, bundle)

    def _patiently(self, link: str) -> _Answer:
        for attempt in range(fhir_errors.TRIES):
            answer = self._ask(link)
            if not (answer.again or answer.status in RETRIED) or attempt + 1 == fhir_errors.TRIES:
                break
            sleep(_seconds(answer.wait, attempt))
        return answer

    def _ask(self, link: str) -> _Answer:
        """One request. What goes wrong is told in words of ours: raised outside, so that nothing of httpx hangs on."""
        deadline = monotonic() + MOST_SECONDS
        try:
            with _quietly(), self._http.stream("GET", link) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > fhir_errors.MOST_BYTES:
                        return _Answer(failure="large")
                    if monotonic() > deadline:
                        return _Answer(failure="slow")
                kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
                return _Answer(response.status_code, kind, bytes(body), response.headers.get("retry-after", ""))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as err:
            failure = failure_of(err)
        return _Answer(failure=failure, again=failure in {"timeout", "connection", "cut"})

    def _bundle(self, resource: str, answer: _Answer) -> dict[str, Any]:
        if answer.failure:
            raise failed(self.host, answer.failure)
        content = _content(answer)
        if answer.status != httpx.codes.OK:
            raise refused(self.host, resource, answer.status, issue_of(content))
        if answer.kind not in _JSON or content is None:
            raise InputError(
                f"{self.host} answers a search of {resource} with something that is no JSON.",
                mend="Give the base address of a FHIR R4 server that speaks JSON.",
            )
        if issue_of(content):
            raise refused(self.host, resource, answer.status, issue_of(content))
        if content.get("resourceType") != "Bundle" or content.get("type") != "searchset":
            raise InputError(
                f"{self.host} answers a search of {resource} with something that is no search result.",
                mend="Give the base address of a FHIR R4 server.",
            )
        return content

    def _page(self, resource: str, bundle: dict[str, Any]) -> Page:
        matches: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for entry in objects(bundle.get("entry")):
            found = entry.get("resource")
            mode = entry.get("search", {}).get("mode") if isinstance(entry.get("search"), dict) else None
            if not isinstance(found, dict):
                raise InputError(f"An entry of {resource} at {self.host} is empty.", mend="Ask the server's operator.")
            kind = found.get("resourceType")
            if kind == "OperationOutcome":
                if issue := issue_of(found):
                    raise refused(self.host, resource, httpx.codes.OK, issue)
            elif kind == resource and mode != "include":
                matches.append(found)
            elif mode == "match":
                raise InputError(
                    f"{self.host} answers a search of {resource} with other resources.",
                    mend="Ask the server's operator.",
                )
            else:
                others.append(found)
        total = bundle.get("total")
        counted = total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None
        return Page(tuple(matches), tuple(others), counted)

    def _next(self, resource: str, link: str, bundle: dict[str, Any]) -> str:
        links = [one.get("url") for one in objects(bundle.get("link")) if one.get("relation") == "next"]
        if not links:
            return ""
        found = _absolute(link, links[0]) if len(links) == 1 and isinstance(links[0], str) else ""
        if not found:
            raise InputError(
                f"A page of {resource} at {self.host} has no valid link to the next one.",
                mend="Ask the server's operator.",
            )
        if _origin(found) != _origin(self.base):
            raise InputError(
                f"A page of {resource} at {self.host} links to another origin (scheme, host, port): not followed.",
                mend="Set the server's own base address to the one given here (HAPI: hapi.fhir.server_address).",
            )
        return found


@contextmanager
def _quietly() -> Iterator[None]:
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


def _seconds(wait: str, attempt: int) -> float:
    """As long as the server asks for, within bounds; else twice as long each time."""
    asked = -1.0
    try:
        asked = float(int(wait))
    except ValueError:
        with suppress(ValueError, TypeError, OverflowError):
            asked = (parsedate_to_datetime(wait).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(asked if asked >= 0 else _FIRST_WAIT * 2**attempt, _LONGEST_WAIT)


def _content(answer: _Answer) -> dict[str, Any] | None:
    try:
        content = json.loads(answer.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _no_constant(word: str) -> float:
    raise ValueError(word)


def _absolute(link: str, other: str) -> str:
    try:
        found = urljoin(link, other)
        _origin(found)
        parts = urlsplit(found)
    except ValueError:
        return ""
    return "" if parts.username is not None or not parts.hostname or not found.isprintable() else found


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
