"""What went wrong with S3, in our own words: a server's words, and botocore's, can hold keys, signatures and names.

The codes are those of the S3 API reference, "Error responses".
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flame_fl.contract.errors import FlameError, InputError, UnreachableError

_BAD_CREDENTIALS = {
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_OVERLOADED = {429, 503}
# OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, {62, 64}


class ThrottledError(UnreachableError):
    """429, and botocore has not asked again."""


class CutError(UnreachableError):
    """A body that ends before its end."""


def translated(err: Exception, host: str, bucket: str, credentials: Path) -> FlameError:
    """The error to raise for one of boto3's, botocore's or urllib3's; it keeps nothing of it."""
    from botocore import exceptions as boto  # type: ignore[import-untyped]  # noqa: PLC0415
    from urllib3 import exceptions as urllib  # noqa: PLC0415

    if isinstance(err, boto.ClientError):
        return _answered(err.response, host, bucket, credentials)
    if isinstance(err, boto.SSLError | urllib.SSLError):
        return _untrusted(err, host)
    if isinstance(err, boto.ReadTimeoutError | boto.ConnectTimeoutError):
        return UnreachableError(f"{host} does not answer in time.", mend="Try again later, or ask its administrator.")
    if isinstance(err, boto.ResponseStreamingError | boto.IncompleteReadError | urllib.HTTPError):
        return CutError(f"{host} ends a connection too early.", mend="Try again later, or ask its administrator.")
    if isinstance(err, boto.ConnectionError | boto.HTTPClientError):
        return UnreachableError(f"{host} cannot be reached.", mend="Check the endpoint, the network and the proxy.")
    return UnreachableError(f"{host} does not answer as S3 does.", mend="Check the endpoint and `path_style`.")


def _answered(response: Any, host: str, bucket: str, credentials: Path) -> FlameError:
    metadata = response.get("ResponseMetadata") or {}
    status = metadata.get("HTTPStatusCode")
    status = status if isinstance(status, int) else 0
    code = str((response.get("Error") or {}).get("Code"))
    input_errors = (
        (
            code in _BAD_CREDENTIALS or status == 401,
            f"{host} does not accept the credentials in {credentials}.",
            "Correct them, and the region; a session token may have run out.",
        ),
        (code == "RequestTimeTooSkewed", f"The clocks of this machine and of {host} differ.", "Set the clock (NTP)."),
        (
            code == "NoSuchBucket",
            f"There is no bucket {bucket} at {host}.",
            "Correct bucket, endpoint or `path_style`.",
        ),
        (
            code in {"NoSuchKey", "PreconditionFailed"} or status == 412,
            f"An object in bucket {bucket} at {host} changed while the store was copied.",
            "Copy again when nobody writes there.",
        ),
        (
            code == "InvalidObjectState",
            f"An object in bucket {bucket} at {host} is archived.",
            "Have it restored first.",
        ),
        (
            status == 403,
            f"{host} allows the credentials in {credentials} no access to bucket {bucket}.",
            "Ask its administrator for the right to list and to read below the prefix.",
        ),
        (300 <= status < 400, f"Bucket {bucket} is elsewhere than at {host}.", "Correct endpoint and region."),
    )
    for fits, message, mend in input_errors:
        if fits:
            return InputError(message, mend=mend)
    if status in _OVERLOADED:
        kind = ThrottledError if status == 429 and not metadata.get("RetryAttempts") else UnreachableError
        return kind(f"{host} is overloaded or allows fewer requests ({status}).", mend="Try again later.")
    return UnreachableError(
        f"{host} refuses a request ({status}).",
        mend="Check the endpoint, the region and `path_style`, or ask its administrator.",
    )


def _untrusted(err: BaseException, host: str) -> FlameError:
    from urllib3.util.ssl_match_hostname import CertificateError  # noqa: PLC0415

    causes = list(_inside(err))
    codes = {cause.verify_code for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)}
    if _EXPIRED in codes:
        return InputError(f"The certificate of {host} has expired.", mend="Have it renewed.")
    if _NOT_YET in codes:
        return InputError(f"The certificate of {host} is not valid yet.", mend="Set this machine's clock (NTP).")
    if codes & _OTHER_HOST or any(isinstance(cause, CertificateError) for cause in causes):
        return InputError(f"The certificate of {host} is another host's.", mend="Correct the endpoint.")
    if codes:
        return InputError(
            f"The certificate of {host} is not from an authority that this node knows.",
            mend="Name the authority's PEM file as `ca`.",
        )
    return UnreachableError(f"No TLS connection with {host}.", mend="Check the endpoint: https, and the port.")


def _inside(err: BaseException) -> Iterator[BaseException]:
    """An error, and those that it wraps: urllib3 and botocore keep them in various places."""
    waiting: list[object] = [err]
    for _ in range(32):
        if not waiting:
            return
        one = waiting.pop(0)
        if isinstance(one, BaseException):
            yield one
            waiting += [*one.args, getattr(one, "kwargs", {}).get("error"), getattr(one, "reason", None)]
            waiting += [one.__cause__, one.__context__]
