"""A hub's own certificate authority and its server certificate."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
SERVER_DAYS = 1825
_ALWAYS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Certificates:
    """PEM: the authority, which everybody is given, with its key, and the server's pair."""

    ca: bytes
    ca_key: bytes
    server: bytes
    server_key: bytes


def make_certificates(names: Sequence[str], now: datetime | None = None) -> Certificates:
    """A new authority, and a certificate of it for a server of these names (host names or addresses).

    Args:
        names: The first is the server's main name; `localhost` and `127.0.0.1` are added.
        now: When it begins to be valid; five minutes earlier, as clocks differ.
    """
    begin = (now or datetime.now(UTC)) - timedelta(minutes=5)
    ca_key, server_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer = _name(f"FLAME hub {names[0]}: certificate authority")
    ca = (
        _builder(issuer, issuer, key=ca_key.public_key(), signer=ca_key.public_key(), begin=begin, days=CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, SHA256())
    )
    alternatives = [_alternative(name) for name in dict.fromkeys((*names, *_ALWAYS))]
    server = (
        _builder(
            _name(names[0]),
            issuer,
            key=server_key.public_key(),
            signer=ca_key.public_key(),
            begin=begin,
            days=SERVER_DAYS,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(ca_key, SHA256())
    )
    return Certificates(
        ca.public_bytes(Encoding.PEM), _pem(ca_key), server.public_bytes(Encoding.PEM), _pem(server_key)
    )


def valid_until(certificate: bytes) -> datetime:
    """When a PEM certificate ends."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    *,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    begin: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
