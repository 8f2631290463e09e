"""HTTP to a FLAME Hub that may be slow, large or hostile: every request has so many seconds and so many bytes.

The bounds lie below HTTP, where bytes are read and written, so they hold for headers, chunks, and TLS's handshake too.
Nothing is unpacked: an answer that is compressed is refused. Imported by flame_fl.node.flame_hub only, once httpx2 and
httpcore2, which come with the Hub's client, are known to be there.
"""

import logging
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore2
import httpx2

_STEP_SECONDS = 10.0
_asking: ContextVar[bool] = ContextVar("asking", default=False)


class BoundsError(Exception):
    """An answer was too large, too slow or packed. Its text says which, in words that follow "is"."""


class _Silence(logging.Filter):
    """Drops what the libraries log of a request while this module makes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _asking.get()


for _name in ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
    logging.getLogger(_name).addFilter(_Silence())


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing of httpx2 is logged meanwhile, in this thread."""
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


class _Allowance:
    """What is left of one request's bytes and seconds."""

    def __init__(self, most_bytes: int, most_seconds: float) -> None:
        self._most_bytes, self._most_seconds = most_bytes, most_seconds
        self.start()

    def start(self) -> None:
        self._bytes, self._deadline = self._most_bytes, time.monotonic() + self._most_seconds

    def seconds(self) -> float:
        if (left := self._deadline - time.monotonic()) <= 0:
            raise BoundsError("too slow")
        return min(left, _STEP_SECONDS)

    def took(self, data: bytes) -> bytes:
        self._bytes -= len(data)
        if self._bytes < 0:
            raise BoundsError("too large")
        self.seconds()
        return data


class _Stream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream, allowance: _Allowance) -> None:
        self._inner, self._allowance = inner, allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return self._allowance.took(self._inner.read(max_bytes, self._allowance.seconds()))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        self._inner.write(buffer, self._allowance.seconds())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        del timeout
        inner = self._inner.start_tls(ssl_context, server_hostname, self._allowance.seconds())
        return _Stream(inner, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, allowance: _Allowance) -> None:
        self._inner, self._allowance = httpcore2.SyncBackend(), allowance

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        del timeout
        inner = self._inner.connect_tcp(host, port, self._allowance.seconds(), local_address, socket_options)
        return _Stream(inner, self._allowance)


class BoundedTransport(httpx2.BaseTransport):
    """What a client of httpx2 sends its requests through. One request at a time.

    Args:
        tls: Whom to trust.
        most_bytes: Of one answer, headers included.
        most_seconds: For one request, connecting included.

    Attributes:
        status: Of the last answer since `begin`; 0 if there is none.
        at_login: Whether the last request was one for a token.
        date: The `Date` of the last answer.
        answered_at: When it came, in seconds since 1970.
    """

    def __init__(self, tls: ssl.SSLContext, most_bytes: int, most_seconds: float) -> None:
        self._allowance = _Allowance(most_bytes, most_seconds)
        backend = _Backend(self._allowance)
        self._pool = httpcore2.ConnectionPool(ssl_context=tls, max_connections=2, network_backend=backend)
        self.date, self.answered_at = "", 0.0
        self.begin()

    def begin(self) -> None:
        """Forget the last answer: another question follows."""
        self.status, self.at_login = 0, False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The whole answer.

        Raises:
            BoundsError: It is too large, too slow, or packed.
        """
        self._allowance.start()
        self.status, self.at_login = 0, request.url.path.endswith("/token")
        url = httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = self._pool.handle_request(
            httpcore2.Request(request.method, url, headers=request.headers.raw, content=request.read())
        )
        self.status, self.answered_at = answer.status, time.time()
        try:
            headers = httpx2.Headers(answer.headers)
            if headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise BoundsError("compressed, which was not asked for")
            body = answer.read()
        finally:
            answer.close()
        self.date = headers.get("date", "")
        return httpx2.Response(answer.status, headers=answer.headers, content=body)

    def close(self) -> None:
        """Close what is open."""
        self._pool.close()
