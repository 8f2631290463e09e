"""The hospital's own login: one good way in, and every bad one refused without a session."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from flame_fl.contract.errors import FlameError
from flame_fl.node.web.oidc import CALLBACK, Oidc
from flame_fl.node.web.roles import Role
from flame_fl.node.web.settings import OidcSection, WebSection
from tests.support.issuer import CLIENT, Issuer
from tests.support.web import Browser, WebLab, make_web_node

ORIGIN = "http://127.0.0.1:8443"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


def client_of(issuer: Issuer, **changes: Any) -> Oidc:
    return Oidc(OidcSection(issuer=issuer.url, client_id=CLIENT, **changes), ORIGIN, "")


def come_back(oidc: Oidc, issuer: Issuer, **query: str) -> Any:
    location, browser = oidc.begin()
    return oidc.finish(issuer.authorize(location) | query, browser)


def refused(oidc: Oidc, issuer: Issuer, **query: str) -> str:
    with pytest.raises(FlameError) as caught:
        come_back(oidc, issuer, **query)
    return caught.value.message


def test_a_good_login(issuer: Issuer) -> None:
    """Name, subject and the roles that are mapped."""
    issuer.roles = ("flame-steward", "flame-auditor", "something-else")
    person = come_back(client_of(issuer), issuer)
    assert (person.name, person.subject, person.roles) == ("berta", "8e3c-1", (Role.AUDITOR, Role.STEWARD))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": [CLIENT, "another-client"]},  # of several audiences one must be named as the party
        {"azp": "another-client"},
        {"nonce": "of-another-login"},
        {"nonce": None},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"exp": "2099"},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"sub": None},
    ],
    # no time in an id: two processes that run the tests must agree on them
    ids=lambda claims: "-".join(f"{k}={'time' if isinstance(v, int) else v}" for k, v in claims.items())[:40],
)
def test_a_token_that_says_something_else_is_refused(issuer: Issuer, claims: dict[str, Any]) -> None:
    """Well signed, but for another purpose, person, time or login."""
    issuer.claims = claims
    assert refused(client_of(issuer), issuer) == "The hospital's login gave a token that does not hold."


def other_key(issuer: Issuer, claims: dict[str, Any]) -> str:
    stranger = Issuer(key=rsa.generate_private_key(65537, 2048), kid=issuer.kid)
    return stranger.signed(claims)


@pytest.mark.parametrize(
    "forge",
    [
        Issuer.without_signature,
        Issuer.with_public_key_as_secret,
        other_key,
        lambda issuer, claims: issuer.signed(claims) + "A",
        lambda issuer, claims: issuer.signed(claims, kid="unknown"),
        lambda issuer, claims: issuer.signed(claims, crit=["exp"]),
        lambda issuer, claims: "not a token",
        lambda issuer, claims: issuer.signed(claims).rsplit(".", 1)[0] + ".",
    ],
    ids=["alg none", "HS256 confusion", "another key", "changed", "unknown key", "crit", "garbage", "empty signature"],
)
def test_a_forged_token_is_refused(issuer: Issuer, forge: Any) -> None:
    """Whatever stands in its header: only the provider's keys, and only public-key algorithms, count."""
    issuer.forge = forge
    assert refused(client_of(issuer), issuer) == "The hospital's login gave a token that does not hold."


@pytest.mark.parametrize(
    ("roles", "claims"),
    [((), {}), (("admin",), {}), ((), {"realm_access": "flame-steward"}), ((), {"realm_access": None})],
)
def test_without_a_mapped_role_nobody_gets_in(issuer: Issuer, roles: tuple[str, ...], claims: dict[str, Any]) -> None:
    """Default deny; the claim may be missing or of another kind."""
    issuer.roles, issuer.claims = roles, claims
    assert refused(client_of(issuer), issuer) == "You have no role here."


def test_a_role_claim_of_ones_own(issuer: Issuer) -> None:
    """A flat claim, and a map that the administrator wrote."""
    issuer.claims = {"groups": ["DIZ-Revision"]}
    oidc = client_of(issuer, role_claim="groups", role_map={"DIZ-Revision": "auditor"})
    assert come_back(oidc, issuer).roles == (Role.AUDITOR,)


def test_state_and_browser_must_be_those_of_the_attempt(issuer: Issuer) -> None:
    """Another state, another browser, or the same answer twice."""
    oidc = client_of(issuer)
    assert "not begun here" in refused(oidc, issuer, state="of-somebody-else")
    location, _ = oidc.begin()
    with pytest.raises(FlameError, match="another browser"):
        oidc.finish(issuer.authorize(location), "stolen")
    location, browser = oidc.begin()
    query = issuer.authorize(location)
    oidc.finish(query, browser)
    with pytest.raises(FlameError, match="not begun here"):
        oidc.finish(query, browser)


def test_an_attempt_ends_after_ten_minutes(issuer: Issuer) -> None:
    """And is forgotten."""
    oidc, now = client_of(issuer), 0.0
    oidc.clock = lambda: now
    location, browser = oidc.begin()
    now = 601.0
    with pytest.raises(FlameError, match="is over"):
        oidc.finish(issuer.authorize(location), browser)


def test_another_provider_cannot_answer(issuer: Issuer) -> None:
    """RFC 9207: the answer names who it is from."""
    assert "another provider" in refused(client_of(issuer), issuer, iss="https://other.example")


def test_a_document_of_another_issuer_is_not_used(issuer: Issuer) -> None:
    """Nor one whose addresses are without TLS where the issuer's is not, or none."""
    issuer.document = {"issuer": "https://other.example"}
    with pytest.raises(FlameError, match="calls itself otherwise"):
        client_of(issuer).begin()
    issuer.document = {"token_endpoint": "file:///etc/passwd"}
    with pytest.raises(FlameError, match="no token_endpoint that can be used"):
        client_of(issuer).begin()


def test_new_keys_are_read_once_when_a_token_names_one(issuer: Issuer) -> None:
    """Providers change their keys."""
    oidc = client_of(issuer)
    come_back(oidc, issuer)
    issuer.key, issuer.kid = rsa.generate_private_key(65537, 2048), "k2"
    assert come_back(oidc, issuer).name == "berta"


def test_the_secret_is_sent_and_not_shown(issuer: Issuer) -> None:
    """In the exchange only."""
    oidc = Oidc(OidcSection(issuer=issuer.url, client_id=CLIENT), ORIGIN, "very secret")
    assert "very secret" not in repr(oidc)
    assert "very secret" not in json.dumps(oidc.begin())


@pytest.fixture
def lab(issuer: Issuer, tmp_path: Path) -> Iterator[WebLab]:
    """A page that knows the provider."""
    section = OidcSection(issuer=issuer.url, client_id=CLIENT)
    with ExitStack() as closing:
        yield WebLab(make_web_node(tmp_path), closing, WebSection(oidc=section))


def through(browser: Browser, issuer: Issuer) -> Any:
    """The whole way in a browser."""
    begun = browser.get("/login/oidc")
    assert begun.status_code == 303
    query = issuer.authorize(begun.headers["location"])
    return browser.get(f"{CALLBACK}?code={query['code']}&state={query['state']}")


def test_the_whole_way_in_a_browser(lab: WebLab, issuer: Issuer) -> None:
    """Back here there is a session with the roles from there; it is audited, with method and subject."""
    browser = lab.browser()
    answer = through(browser, issuer)
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
    assert "berta" in browser.get("/").text
    ((_, body),) = [(e["kind"], e["body"]) for e, _ in lab.desk.store.audit_rows() if e["kind"] == "login"]
    assert (body["account"], body["method"], body["subject"], body["roles"]) == ("berta", "oidc", "8e3c-1", ["steward"])


def test_a_failed_way_leaves_no_session(lab: WebLab, issuer: Issuer) -> None:
    """It says why, in words of ours."""
    issuer.roles = ()
    browser = lab.browser()
    assert through(browser, issuer).status_code == 403
    assert browser.get("/").status_code == 303
    assert "login-failed" in lab.kinds()


def test_a_local_account_cannot_be_taken_over(lab: WebLab, issuer: Issuer) -> None:
    """Who is called so there is not who is called so here."""
    lab.account("berta", Role.ADMIN)
    browser = lab.browser()
    assert through(browser, issuer).status_code == 403
    assert browser.get("/").status_code == 303


def test_the_way_back_in_another_browser_is_refused(lab: WebLab, issuer: Issuer) -> None:
    """Somebody's answer cannot log another person in."""
    begun = lab.browser().get("/login/oidc")
    query = issuer.authorize(begun.headers["location"])
    victim = lab.browser()
    assert victim.get(f"{CALLBACK}?code={query['code']}&state={query['state']}").status_code == 403
    assert victim.get("/").status_code == 303
