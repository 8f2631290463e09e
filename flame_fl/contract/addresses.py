"""Addresses of services that settings may name: what is plain, and what only this machine reaches."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def service_url(url: str, *, example: str, login: str, risk: str) -> str:
    """A service's base URL, without a slash at its end: https, or http to this machine only.

    Args:
        url: As somebody wrote it.
        example: What it should look like.
        login: Where the login belongs, since a URL is no place for it.
        risk: What http would let others do.

    Raises:
        ValueError: It is none, or holds more than scheme, host, port and path.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http"} or not host or parts.port == 0 or not url.isprintable() or " " in url:
        raise ValueError(f"must be a URL such as {example}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"must be scheme, host, port and path only; {login}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"must be https: with http, {risk}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
