"""What a FHIR server's refusals and failures are told as: sentences of ours, and of the server's words one code."""

import ssl
from typing import Any

import httpx

from flame_fl.contract.errors import FlameError, InputError, UnreachableError

TRIES = 6
RETRIED = frozenset({429, 502, 503, 504})
MOST_BYTES = 256 << 20
MOST_SECONDS = 900.0
# http://hl7.org/fhir/R4/codesystem-issue-type.html: a server's word that is none of these is not repeated.
_ISSUES = frozenset(
    "invalid structure required value invariant security login unknown expired forbidden suppressed processing"  # noqa: SIM905
    " not-supported duplicate multiple-matches not-found deleted too-long code-invalid extension too-costly"
    " business-rule conflict transient lock-error no-store exception timeout incomplete throttled informational".split()
)
# What TLS says of a client's certificate: RFC 8446, 6.2, and, of one that is missing, TLS 1.2.
_ABOUT_CLIENTS = ("certificate", "unknown_ca", "handshake_failure", "decrypt_error", "access_denied")


def refused(host: str, resource: str, status: int, issue: str) -> FlameError:
    """What to say of an answer with this status, or with an issue of this code (empty for none)."""
    said = f" (issue: {issue})" if issue else ""
    if status in {401, 403}:
        return InputError(
            f"{host} refuses the login for {resource} with status {status}{said}.",
            mend="Check login, the credentials file, and what this account may read.",
        )
    if status in RETRIED:
        return UnreachableError(
            f"{host} is overloaded or not ready: status {status} to each of {TRIES} requests{said}.",
            mend="Try again later, or with a smaller page_size.",
        )
    if status // 100 == 3:
        return InputError(
            f"{host} redirects a search of {resource} to another address; it is not followed.",
            mend="Give the server's final base address.",
        )
    if status // 100 == 5:
        return UnreachableError(
            f"{host} fails at a search of {resource} with status {status}{said}.", mend="Ask its operator."
        )
    return InputError(
        f"{host} refuses the search of {resource} with status {status}{said}.",
        mend="Check base_url, search and include of this view.",
    )


def failed(host: str, failure: str) -> FlameError:
    """What to say of a request that came to nothing."""
    return {
        "expired": InputError(
            f"The certificate of {host} has expired.", mend="Have it renewed by the server's operator."
        ),
        "hostname": InputError(
            f"The certificate of {host} is for another host.", mend="Use the host name that it is for."
        ),
        "certificate": InputError(
            f"The certificate of {host} is signed by nobody we trust.",
            mend="Name the hospital's own authority: ca = FILE.pem.",
        ),
        "client": InputError(
            f"{host} does not take our client certificate, or wants one.",
            mend="Use login = mtls and name cert and key in the credentials file.",
        ),
        "tls": InputError(f"There is no TLS connection with {host}.", mend="Check the port, and https or http."),
        "large": InputError(
            f"A page of {host} is larger than {MOST_BYTES >> 20} MiB.", mend="Set a smaller page_size."
        ),
        "other": InputError(
            f"{host} answers in a way that cannot be read.", mend="Check base_url; ask the server's operator."
        ),
        "cut": UnreachableError(
            f"{host} ends the connection without an answer, {TRIES} times.",
            mend="Check base_url; it may want a client certificate (login = mtls), or https.",
        ),
        "slow": UnreachableError(
            f"{host} takes longer than {MOST_SECONDS:.0f} s for a page.", mend="Set a smaller page_size."
        ),
        "timeout": UnreachableError(
            f"{host} did not answer in time, {TRIES} times.",
            mend="Try again later, or with a smaller page_size.",
        ),
    }.get(failure) or UnreachableError(
        f"There is no connection with {host}, after {TRIES} tries.", mend="Check base_url and the network."
    )


def failure_of(err: BaseException) -> str:
    """A word for what went wrong with a request; only the word is kept of the error."""
    if isinstance(err, httpx.TimeoutException):
        return "timeout"
    inner: BaseException | None = err
    while inner is not None and not isinstance(inner, ssl.SSLError):
        inner = inner.__cause__ or inner.__context__
    if isinstance(inner, ssl.SSLCertVerificationError):
        return {10: "expired", 62: "hostname", 64: "hostname"}.get(inner.verify_code, "certificate")
    if isinstance(inner, ssl.SSLError):
        reason = str(inner.reason or "").lower()
        return "client" if "alert" in reason and any(word in reason for word in _ABOUT_CLIENTS) else "tls"
    if isinstance(err, httpx.RemoteProtocolError):
        return "cut"
    return "connection" if isinstance(err, httpx.TransportError | OSError) else "other"


def issue_of(content: dict[str, Any] | None) -> str:
    """The code of the first issue that is an error; its texts are never read."""
    if content is None or content.get("resourceType") != "OperationOutcome":
        return ""
    for issue in objects(content.get("issue")):
        if issue.get("severity") in {"error", "fatal"}:
            code = issue.get("code")
            return code if isinstance(code, str) and code in _ISSUES else "unknown"
    return ""


def objects(found: object) -> list[dict[str, Any]]:
    """The objects of a JSON array; none if it is no array."""
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
