"""`[web]` of node.toml: where the steward's page listens, and who may log in through the hospital's own login."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from flame_fl.contract.addresses import is_loopback
from flame_fl.contract.words import Frozen
from flame_fl.node.web.roles import Role

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.\-]{1,253}$|^[0-9A-Fa-f:]{2,45}$", to_lower=True)]


def _plain_origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("must be an address without a path, such as https://flame.example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _safe_issuer(url: str) -> str:
    parts = urlsplit(url)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)) or parts.query:
        raise ValueError("must begin with https://")
    return url


class OidcSection(Frozen):
    """The hospital's login (OpenID Connect, for example Keycloak)."""

    issuer: Annotated[str, StringConstraints(max_length=500), AfterValidator(_safe_issuer)]
    """As its discovery document states it."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """This page's name there."""
    client_secret_file: str = ""
    """File with the client's secret, relative to the state folder; empty: a public client, PKCE alone."""
    name_claim: Literal["preferred_username", "email", "sub"] = "preferred_username"
    """What a person is called here."""
    role_claim: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*$")] = (
        "realm_access.roles"
    )
    """Where the ID token lists roles, dotted."""
    role_map: dict[str, Role] = Field(default_factory=lambda: {f"flame-{role.value}": role for role in Role})
    """Roles here by roles there."""
    may_use_node_key: bool = False
    """Whether its stewards may sign with the key that the node keeps."""
    ca: str = ""
    """The authority of its certificate, relative to the state folder; empty: those the system knows."""


class WebSection(Frozen):
    """Where the page listens."""

    host: HostName = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8443
    tls_cert: str = ""
    """Certificate chain (PEM), relative to the state folder; without one only this machine can reach the page."""
    tls_key: str = ""
    public_url: Annotated[str, AfterValidator(lambda url: _plain_origin(url) if url else "")] = ""
    """What people type, if that is not host and port: a name, or the address of a proxy that ends TLS."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Further names under which the page may be asked for."""
    language: Literal["de", "en"] = "de"
    idle_minutes: Annotated[int, Field(ge=1, le=240)] = 15
    """A session without a click for so long is over."""
    max_hours: Annotated[int, Field(ge=1, le=24)] = 8
    """So is every session after so many hours."""
    oidc: OidcSection | None = None

    @model_validator(mode="after")
    def _tls_beyond_this_machine(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together")
        if not self.tls_cert and not is_loopback(self.host):
            raise ValueError(f"host {self.host} is reachable from elsewhere: it needs tls_cert and tls_key")
        return self

    @property
    def origin(self) -> str:
        """What a browser says the page's forms come from."""
        if self.public_url:
            return self.public_url
        scheme, usual = ("https", 443) if self.tls_cert else ("http", 80)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}" if self.port == usual else f"{scheme}://{host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether browsers speak TLS with it."""
        return self.origin.startswith("https://")

    @property
    def names(self) -> frozenset[str]:
        """Hosts under which the page may be asked for."""
        public = urlsplit(self.origin).hostname or ""
        here = ("localhost", "127.0.0.1", "::1") if is_loopback(self.host) else ()
        return frozenset({self.host, public, *self.allowed_hosts, *here})
