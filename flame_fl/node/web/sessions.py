"""Sessions of the web page, in memory: a restart logs everybody out.

A session's id is 256 random bits that only the browser's cookie holds; here is its hash. Logging in makes a new one.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flame_fl.contract.canonical import sha256_hex
from flame_fl.node.web.roles import Role

_MOST = 1000


@dataclass
class Session:
    """One login.

    Attributes:
        name: The account's, or what the hospital's login calls the person.
        method: "password" or "oidc".
        roles: As they were at the login; a local account's are looked up again for every page.
        mark: What must still be so of a local account: a hash over its password's hash.
        node_key: Whether this steward may sign with the key that the node keeps.
        csrf: What forms of this session must hold.
        address: From where the login came.
        begun: Monotonic seconds.
        seen: Monotonic seconds of the last click.
    """

    name: str
    method: str
    roles: tuple[Role, ...]
    mark: str
    node_key: bool
    address: str
    begun: float
    seen: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def has_token(self, given: str) -> bool:
        """Whether a form is this session's."""
        return hmac.compare_digest(given.encode(), self.csrf.encode())


@dataclass
class Sessions:
    """All sessions. `idle_seconds` without a click, or `max_seconds` in all, end one."""

    idle_seconds: float
    max_seconds: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._by_hash: dict[str, Session] = {}

    def begin(
        self,
        name: str,
        method: str,
        roles: tuple[Role, ...],
        *,
        mark: str = "",
        node_key: bool = False,
        address: str = "",
    ) -> tuple[str, Session]:
        """A new session; returns its id, for the cookie, and it."""
        now, token = self.clock(), secrets.token_urlsafe(32)
        session = Session(name, method, roles, mark, node_key, address, now, now)
        with self._lock:
            self._drop_old(now)
            while len(self._by_hash) >= _MOST:
                self._by_hash.pop(min(self._by_hash, key=lambda key: self._by_hash[key].seen))
            self._by_hash[_key(token)] = session
        return token, session

    def get(self, token: str, *, touch: bool = True) -> Session | None:
        """The session of a cookie. `touch` is False for what a page asks by itself, without a person's click."""
        now = self.clock()
        with self._lock:
            session = self._by_hash.get(_key(token))
            if session is None:
                return None
            if self._is_over(session, now):
                del self._by_hash[_key(token)]
                return None
            if touch:
                session.seen = now
            return session

    def end(self, token: str) -> None:
        """Forget a session."""
        with self._lock:
            self._by_hash.pop(_key(token), None)

    def _is_over(self, session: Session, now: float) -> bool:
        return now - session.seen > self.idle_seconds or now - session.begun > self.max_seconds

    def _drop_old(self, now: float) -> None:
        self._by_hash = {key: s for key, s in self._by_hash.items() if not self._is_over(s, now)}


def _key(token: str) -> str:
    return sha256_hex(token.encode("utf-8", "surrogatepass"))
