"""A hub's certificates, used as they will be: by a TLS client that trusts the authority and nothing else."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flame_fl.hub.tls import SERVER_DAYS, Certificates, make_certificates, valid_until


def handshake(made: Certificates, folder: Path, name: str, *, trust: bytes | None = None) -> str:
    """A handshake in memory; returns the protocol."""
    (folder / "server.pem").write_bytes(made.server_key + made.server)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "server.pem")
    client_context = ssl.create_default_context(cadata=(trust or made.ca).decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version() or ""


@pytest.mark.parametrize("name", ["hub.example.org", "10.1.2.3", "localhost", "127.0.0.1"])
def test_every_name_is_served(tmp_path: Path, name: str) -> None:
    """The given ones, and this machine."""
    made = make_certificates(["hub.example.org", "10.1.2.3"])
    assert handshake(made, tmp_path, name) == "TLSv1.3"


def test_another_name_is_not(tmp_path: Path) -> None:
    """Nor is it with another hub's authority."""
    made = make_certificates(["hub.example.org"])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(made, tmp_path, "other.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, tmp_path, "hub.example.org", trust=make_certificates(["hub.example.org"]).ca)


def test_it_ends() -> None:
    """And says when."""
    made = make_certificates(["h"], datetime(2026, 1, 1, tzinfo=UTC))
    assert (valid_until(made.server) - datetime(2025, 12, 31, 23, 55, tzinfo=UTC)).days == SERVER_DAYS
