"""Login through the hospital's own OpenID provider: authorization code with PKCE (OpenID Connect Core 1.0, RFC 7636).

```
1 begin     state, nonce and verifier are made here and kept, bound to the browser by a cookie
2 return    state and cookie must be those; an error of the provider ends it
3 exchange  the code, with the verifier, for an ID token
4 verify    signature by a key of the provider's, RS256/PS256/ES256/EdDSA only; issuer, audience, nonce, times
5 roles     from the claim that the settings name; none that is mapped: no session
```
Each login attempt can be returned to once, within ten minutes.
"""

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

from flame_fl.contract.errors import FlameError, InputError, UnreachableError
from flame_fl.node.web.roles import Role
from flame_fl.node.web.settings import OidcSection

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_TTL_SECONDS, _MOST_ATTEMPTS = 600.0, 1000
_LEEWAY_SECONDS = 60
_KEEP_KEYS_SECONDS = 3600.0
_MAX_ANSWER_BYTES = 512 * 1024
_SECONDS = 10.0
CALLBACK: Final = "/login/oidc/return"


@dataclass(frozen=True)
class Person:
    """Who logged in there."""

    name: str
    subject: str
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class _Attempt:
    browser: str
    nonce: str
    verifier: str
    begun: float


@dataclass
class Oidc:
    """The provider, as far as this page knows it.

    Args:
        section: The settings.
        origin: The page's own address; its return address is below it.
        secret: The client's secret, or "".
        state: Folder that `ca` is relative to.
    """

    section: OidcSection
    origin: str
    secret: str = field(repr=False)
    state: Path = Path()
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[str, _Attempt] = {}
        self._known: tuple[dict[str, Any], KeySet, float] | None = None
        verify: ssl.SSLContext | bool = True
        if self.section.ca:
            try:
                verify = ssl.create_default_context(cafile=str(self.state / self.section.ca))
            except (OSError, ssl.SSLError) as err:
                raise InputError(f"{self.section.ca} is no certificate.", mend="See ca in [web.oidc].") from err
        self._http = httpx.Client(verify=verify, timeout=_SECONDS, follow_redirects=False)

    @property
    def return_address(self) -> str:
        """Where the provider sends people back to; it must be registered there."""
        return self.origin + CALLBACK

    # --- 1 begin -----------------------------------------------------------------------------------------------

    def begin(self) -> tuple[str, str]:
        """A new attempt; returns where to send the browser, and what its cookie must hold.

        Raises:
            FlameError: The provider does not answer, or not as one does.
        """
        document, _ = self._provider()
        state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
        now = self.clock()
        with self._lock:
            self._attempts = {s: a for s, a in self._attempts.items() if now - a.begun < _TTL_SECONDS}
            if len(self._attempts) >= _MOST_ATTEMPTS:
                raise FlameError("Too many people log in at the moment.", mend="Try again in some minutes.")
            self._attempts[state] = _Attempt(browser, nonce, verifier, now)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.section.client_id,
            "redirect_uri": self.return_address,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        joined = "&" if urlsplit(document["authorization_endpoint"]).query else "?"
        return f"{document['authorization_endpoint']}{joined}{urlencode(query)}", browser

    # --- 2 return, 3 exchange ----------------------------------------------------------------------------------

    def finish(self, query: Mapping[str, str], browser: str) -> Person:
        """Who it is.

        Raises:
            FlameError: Anything is not as it must be; the sentence holds nothing that came with the request.
        """
        with self._lock:
            attempt = self._attempts.pop(query.get("state", ""), None)
        if attempt is None or self.clock() - attempt.begun > _TTL_SECONDS:
            raise InputError("This login was not begun here, or is over.", mend="Begin again.")
        if not hmac.compare_digest(browser.encode(), attempt.browser.encode()):
            raise InputError("This login was begun in another browser.", mend="Begin again.")
        document, keys = self._provider()
        if query.get("iss", document["issuer"]) != document["issuer"]:  # RFC 9207
            raise InputError("The answer is another provider's.", mend="Begin again.")
        if "error" in query or not query.get("code"):
            raise InputError("The hospital's login let nobody in.", mend="Ask its administrator.")
        form = {
            "grant_type": "authorization_code",
            "code": query["code"],
            "redirect_uri": self.return_address,
            "client_id": self.section.client_id,
            "code_verifier": attempt.verifier,
        }
        if self.secret:
            form["client_secret"] = self.secret
        answer = self._json(self._ask("POST", document["token_endpoint"], data=form))
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise FlameError("The hospital's login gave no ID token.", mend="See its client's settings.")
        try:
            claims = self._claims(token, keys)
        except _UnknownKeyError:
            document, keys = self._provider(again=True)
            claims = self._claims(token, keys, last=True)
        return self._person(claims, attempt.nonce)

    # --- 4 verify ----------------------------------------------------------------------------------------------

    def _claims(self, token: str, keys: KeySet, *, last: bool = False) -> dict[str, Any]:
        try:
            return dict(jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims)
        except (JoseError, ValueError, TypeError, KeyError) as err:
            if not last and self._is_unknown(token, keys):
                raise _UnknownKeyError from err
            raise _refused() from err

    @staticmethod
    def _is_unknown(token: str, keys: KeySet) -> bool:
        """Whether the token names a key that was not there when the keys were read: providers change them."""
        try:
            named = extract_compact(token.encode()).headers().get("kid")
        except (JoseError, ValueError):
            return False
        return isinstance(named, str) and named not in {key.kid for key in keys.keys}

    def _person(self, claims: Mapping[str, Any], nonce: str) -> Person:
        now, own = self.wall_clock(), self.section.client_id
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        holds = (
            claims.get("iss") == self.section.issuer
            and own in audiences
            and (claims.get("azp", own) == own if len(audiences) == 1 else claims.get("azp") == own)
            and isinstance(stated := claims.get("nonce"), str)
            and hmac.compare_digest(stated.encode(), nonce.encode())
            and _is_time(claims.get("exp"))
            and claims["exp"] > now - _LEEWAY_SECONDS
            and _is_time(claims.get("iat"))
            and claims["iat"] < now + _LEEWAY_SECONDS
            and (claims.get("nbf") is None or (_is_time(claims["nbf"]) and claims["nbf"] < now + _LEEWAY_SECONDS))
        )
        subject, name = claims.get("sub"), claims.get(self.section.name_claim)
        if not holds or not isinstance(subject, str) or not subject:
            raise _refused()
        if not isinstance(name, str) or not 0 < len(name) <= 64 or not name.isprintable():
            raise InputError(
                "The hospital's login gave no name that can be used.", mend="See name_claim in [web.oidc]."
            )
        return Person(name, subject, self._roles(claims))

    # --- 5 roles -----------------------------------------------------------------------------------------------

    def _roles(self, claims: Mapping[str, Any]) -> tuple[Role, ...]:
        value: Any = claims
        for part in self.section.role_claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        listed = {entry for entry in value if isinstance(entry, str)} if isinstance(value, list) else set()
        roles = tuple(sorted({mine for theirs, mine in self.section.role_map.items() if theirs in listed}))
        if not roles:
            raise InputError("You have no role here.", mend="Ask the node's administrator; see role_map in [web.oidc].")
        return roles

    # --- the provider ------------------------------------------------------------------------------------------

    def _provider(self, *, again: bool = False) -> tuple[dict[str, Any], KeySet]:
        known = self._known
        if known is not None and not again and self.clock() - known[2] < _KEEP_KEYS_SECONDS:
            return known[0], known[1]
        base = self.section.issuer.rstrip("/")
        document = self._json(self._ask("GET", f"{base}/.well-known/openid-configuration"))
        if document.get("issuer") != self.section.issuer:
            raise FlameError("The hospital's login calls itself otherwise.", mend="Correct issuer in [web.oidc].")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not _is_safe(document.get(name), self.section.issuer):
                raise FlameError(
                    f"The hospital's login states no {name} that can be used.", mend="Ask its administrator."
                )
        try:
            keys = KeySet.import_key_set(self._json(self._ask("GET", document["jwks_uri"])))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError) as err:
            raise FlameError(
                "The hospital's login states no keys that can be read.", mend="Ask its administrator."
            ) from err
        self._known = (document, keys, self.clock())
        return document, keys

    def _ask(self, method: str, url: str, data: Mapping[str, str] | None = None) -> bytes:
        try:
            with self._http.stream(method, url, data=data, headers={"accept": "application/json"}) as answer:
                read = b""
                for piece in answer.iter_bytes():
                    read += piece
                    if len(read) > _MAX_ANSWER_BYTES:
                        break
        except (httpx.HTTPError, httpx.InvalidURL) as err:
            raise UnreachableError(
                "The hospital's login does not answer.", mend="Try again, or use a local account."
            ) from err
        if answer.status_code != 200 or len(read) > _MAX_ANSWER_BYTES:
            raise FlameError("The hospital's login refused, or answered with something else.", mend="Begin again.")
        return read

    @staticmethod
    def _json(raw: bytes) -> dict[str, Any]:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise FlameError("The hospital's login answered with something else.", mend="Ask its administrator.")
        return value


class _UnknownKeyError(Exception):
    pass


def _refused() -> InputError:
    return InputError("The hospital's login gave a token that does not hold.", mend="Begin again.")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_safe(url: object, issuer: str) -> bool:
    """TLS, unless the issuer itself, on this machine, is without."""
    if not isinstance(url, str):
        return False
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or parts.scheme == urlsplit(issuer).scheme)
