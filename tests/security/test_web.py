"""Attacks on the steward's page: from other sites, from researchers' texts, at the login, at the door."""

import html.parser
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flame_fl.gate.approval import Status
from flame_fl.node.web.guard import MAX_BODY_BYTES
from flame_fl.node.web.roles import Role
from flame_fl.node.web.settings import WebSection
from tests.support.gates import make_fab, terms_table
from tests.support.web import ORIGIN, PASSWORD, WebLab, make_web_node
from tests.unit.node.decisions import LONG

EVIL = "https://evil.example"
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</textarea></title></style><iframe src=//evil.example>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<b hx-get=/settings hx-trigger=load>",
)
HOSTILE = " ".join(PAYLOADS)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[WebLab]:
    lab = WebLab(make_web_node(tmp_path))
    with lab.closing:
        lab.account("maria", node_key=True)
        yield lab


def pending(lab: WebLab, digest: str) -> bool:
    record = lab.desk.store.approval(digest)
    assert record is not None
    return record.status is Status.PENDING


class Tags(html.parser.HTMLParser):
    """Elements with their attributes' names, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_fab(text: str, version: int) -> bytes:
    """Every text that a researcher controls is `text`: project, run config, arrays, file names, code."""
    project = {
        "id": "a-project", "title": text, "purpose": text, "legal_basis": text,
        "ethics_reference": text, "responsible_person": text,
    }  # fmt: skip
    arrays = [{"record": text, "name": text, "dtype": "float64", "shape": [4]}]
    train = {"per_run": 3, "arrays": arrays, "metrics": []}
    return make_fab(
        terms_table(validity=LONG, project=project, messages={"train": train}, run_config={}, limits={"runs": version}),
        config={"word": text},
        files={"app/client.py": f"# {text}\nx = {version}\n".encode(), f"app/{text.replace('/', '_')}.txt": b"x"},
    )


def test_no_text_of_a_researcher_becomes_markup(lab: WebLab) -> None:
    """On every page the elements and attributes are those of a harmless text; the hostile one is there, as text."""
    shapes: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for text in ("plain", HOSTILE):
        one = lab.file(hostile_fab(text, 1))
        two = lab.file(hostile_fab(text, 2))
        browser = lab.browser("maria")
        assert browser.submit(f"/requests/{two}/decide", "/close", comment=text).status_code == 303
        project = next(p.digest for p in lab.desk.store.projects() if p.project.title == text)
        pages = [f"/requests/{one}", f"/requests/{two}", f"/requests/{one}/decide", f"/requests/{two}/diff?to={one}"]
        seen = [Tags(browser.get(path).text) for path in (*pages, f"/projects/{project}")]
        shapes[text] = {tag for page in seen for tag in page.tags}
        if text == HOSTILE:
            assert all("<script>alert(1)</script>" in page.text for page in seen)
        lists = [Tags(browser.get(path).text) for path in ("/", "/requests?status=all", "/projects", "/runs", "/audit")]
        for page in (*seen, *lists):
            tags = [tag for tag, _ in page.tags]
            assert not {"iframe", "object", "embed", "base", "img"} & set(tags)
            assert tags.count("script") == 1
            assert not [names for _, names in page.tags if any(n.startswith("on") or n == "style" for n in names)]
            assert not [t for t, names in page.tags if t == "b" and "hx-get" in names]
    assert len(shapes[HOSTILE]) > 30
    more = {("ul", ("class",)), ("li", ("class",)), ("strong", ()), ("option", ("value",))}  # warnings, a longer list
    assert shapes[HOSTILE] <= shapes["plain"] | more


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_asked_for_is_not_reflected_as_markup(lab: WebLab, payload: str) -> None:
    """Search words, paths, names at the login, comments that are refused."""
    digest, browser = lab.file(), lab.browser("maria")
    pages = [
        browser.get("/audit"),
        browser.client.get("/audit", params={"about": payload}),
        browser.client.get("/requests", params={"status": payload}),
        browser.client.get("/requests", params={"before": payload}),
        browser.client.get(f"/{payload}"),
        browser.client.get(f"/requests/{digest}", params={"done": payload}),
        browser.submit(f"/requests/{digest}/decide", "/approve", comment=payload + "x" * 2001),
        lab.browser().login(payload, payload),
    ]
    for page in pages:
        seen = Tags(page.text)
        assert [tag for tag, _ in seen.tags].count("script") == 1
        assert not {"iframe", "img", "b"} & {tag for tag, _ in seen.tags}


def test_bidirectional_and_invisible_characters_are_spelt_out(lab: WebLab) -> None:
    """A line of code cannot be turned around on the page, nor a comment of another steward."""
    old = lab.file()
    digest = lab.file(make_fab(terms_table(validity=LONG), files={"app/a.py": "# a\u202eb\u200bc\n".encode()}))
    browser = lab.browser("maria")
    assert "\\u202e" in browser.get(f"/requests/{digest}/diff?to={old}").text
    browser.submit(f"/requests/{digest}/decide", "/close", comment="a\u202eb\u200bc")
    for path in (f"/requests/{digest}", f"/requests/{digest}/diff?to={old}", "/audit", "/"):
        assert not {"\u202e", "\u200b"} & set(browser.get(path).text)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": ORIGIN + ".evil.example"},
        {"origin": "http://localhost.evil.example:8443"},
        {"origin": "https://127.0.0.1:8443"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        {"origin": ORIGIN, "sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_changes_nothing(lab: WebLab, headers: dict[str, str]) -> None:
    """Even with the session's own token in it."""
    digest, browser = lab.file(), lab.browser("maria")
    form = browser.form(f"/requests/{digest}/decide", "/approve")
    assert browser.post(f"/requests/{digest}/approve", form, **headers).status_code == 403
    assert pending(lab, digest)


def test_a_form_that_says_not_where_it_is_from_changes_nothing(lab: WebLab) -> None:
    """Every browser says so of a form; what says nothing is no browser."""
    digest, browser = lab.file(), lab.browser("maria")
    form = browser.form(f"/requests/{digest}/decide", "/approve")
    assert browser.client.post(f"/requests/{digest}/approve", data=form).status_code == 403
    assert pending(lab, digest)


def test_nothing_is_decided_by_a_link(lab: WebLab) -> None:
    """GET changes nothing, whatever its parameters; JSON and multipart bodies are no forms."""
    digest, browser = lab.file(), lab.browser("maria")
    form = browser.form(f"/requests/{digest}/decide", "/approve")
    for verb in ("approve", "close", "sign"):
        assert browser.client.get(f"/requests/{digest}/{verb}", params=form).status_code in {404, 405}
    origin = {"origin": ORIGIN}
    assert browser.client.post(f"/requests/{digest}/approve", json=form, headers=origin).status_code == 403
    files = {name: (None, value) for name, value in form.items()}
    assert browser.client.post(f"/requests/{digest}/approve", files=files, headers=origin).status_code == 403
    assert pending(lab, digest)


def test_a_login_from_elsewhere_logs_nobody_in(lab: WebLab) -> None:
    """A form without the login page's word, or with another browser's."""
    victim, attacker = lab.browser(), lab.browser()
    attacker.get("/login")
    word = attacker.form("/login", "/login")["word"]
    for fields in ({}, {"word": ""}, {"word": word}):
        victim.get("/login")
        answer = victim.post("/login", {**fields, "name": "maria", "password": PASSWORD})
        assert answer.status_code == 403
        assert lab.desk.cookie not in answer.cookies


def test_a_session_cannot_be_planted(lab: WebLab) -> None:
    """The id that a browser had before the login is none after it, nor one that somebody made up."""
    first = lab.browser("maria")
    old = first.client.cookies[lab.desk.cookie]
    first.login("maria")
    new = first.client.cookies[lab.desk.cookie]
    assert old != new
    thief = lab.browser()
    thief.client.cookies.set(lab.desk.cookie, old)
    assert thief.get("/").status_code == 303
    planted = lab.browser()
    planted.client.cookies.set(lab.desk.cookie, "planted-by-somebody")
    planted.login("maria")
    thief.client.cookies.set(lab.desk.cookie, "planted-by-somebody")
    assert thief.get("/").status_code == 303


def test_logout_ends_the_session_for_everybody_who_has_its_cookie(lab: WebLab) -> None:
    """Not only the cookie is gone."""
    browser = lab.browser("maria")
    cookie = browser.client.cookies[lab.desk.cookie]
    assert browser.submit("/", "/logout").status_code == 303
    browser.client.cookies.set(lab.desk.cookie, cookie)
    assert browser.get("/").status_code == 303


def test_sessions_end_by_themselves(lab: WebLab) -> None:
    """After a quarter of an hour without a click, and after eight hours of clicking."""
    browser = lab.browser("maria")
    lab.seconds = 15 * 60 + 1
    assert browser.get("/").status_code == 303
    browser = lab.browser("maria")
    begun = lab.seconds
    while lab.seconds < begun + 8 * 3600 - 600:
        lab.seconds += 600
        assert browser.get("/").status_code == 200
    lab.seconds += 601
    assert browser.get("/").status_code == 303


def test_a_changed_account_has_no_session_left(lab: WebLab) -> None:
    """Disabled, other roles, another password, removed: at the next click, in the other process too."""
    accounts = lab.desk.accounts
    for change in (
        lambda: accounts.change("maria", disabled=True),
        lambda: accounts.change("maria", roles=(Role.AUDITOR,)),
        lambda: accounts.change("maria", password="another good pass phrase"),
        lambda: accounts.remove("maria"),
    ):
        if "maria" in accounts.all():
            accounts.remove("maria")
        lab.account("maria", node_key=True)
        browser = lab.browser("maria")
        assert browser.get("/").status_code == 200
        change()
        assert browser.get("/").status_code == 303


def test_guessing_a_password_becomes_slow(lab: WebLab) -> None:
    """Five are free; then each costs twice the waiting, for the right one too; the audit log does not fill up."""
    browser = lab.browser()
    for _ in range(5):
        assert browser.login("maria", "wrong password!").status_code == 401
    for _ in range(50):
        answer = browser.login("maria", PASSWORD)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
    assert lab.kinds().count("login-failed") == 5
    lab.seconds += 1.1
    assert browser.login("maria", "wrong password!").status_code == 401
    lab.seconds += 1.1
    assert browser.login("maria", PASSWORD).status_code == 429
    lab.seconds += 1.1
    assert browser.login("maria", PASSWORD).status_code == 303


def test_a_steward_cannot_be_locked_out_for_long(lab: WebLab) -> None:
    """However often somebody fails under the name from elsewhere: a minute at most."""
    attacker = [lab.browser(address=f"10.0.0.{n}") for n in range(60)]
    for each in attacker:
        lab.seconds += 61
        each.login("maria", "wrong password!")
    lab.seconds += 61
    assert lab.browser(address="10.1.1.1").login("maria").status_code == 303


def test_spraying_names_from_one_address_becomes_slow(lab: WebLab) -> None:
    """Many accounts, one address."""
    browser = lab.browser(address="10.0.0.1")
    codes = [browser.login(f"name{n}", "wrong password!").status_code for n in range(40)]
    assert codes.count(401) == 15
    assert set(codes[15:]) == {429}


def test_a_forwarded_address_is_not_believed(lab: WebLab) -> None:
    """A header does not make a new address."""
    browser = lab.browser(address="10.0.0.1")
    codes = []
    for number in range(20):
        word = browser.form("/login", "/login")["word"]
        fields = {"word": word, "name": f"name{number}", "password": "wrong password!"}
        codes.append(browser.post("/login", fields, **{"x-forwarded-for": f"10.9.9.{number}"}).status_code)
    assert 429 in codes


def test_unknown_names_are_neither_told_nor_noted(lab: WebLab) -> None:
    """The same answer, the same work; a password in the wrong field does not get into the audit log."""
    known, unknown = lab.browser().login("maria", "wrong password!"), lab.browser().login("hunter2!", "x")
    word = 'name="word" value="'
    pages = [page.text.split(word)[0] + page.text.split(word)[1].split('"', 1)[1] for page in (known, unknown)]
    assert pages[0] == pages[1]
    bodies = [e["body"] for e, _ in lab.desk.store.audit_rows() if e["kind"] == "login-failed"]
    assert [body["account"] for body in bodies] == ["maria", ""]
    checked = []
    lab.desk.accounts.hasher = type(  # type: ignore[assignment]
        "Counting", (), {"verify": lambda self, *_: checked.append(1) or True, "hash": lambda self, _: "x"}
    )()
    for name in ("maria", "nobody"):
        lab.desk.accounts.check(name, "x")
    assert len(checked) == 2


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example#127.0.0.1", "", "[::1", "a b"],
)
def test_the_page_answers_under_its_own_names_only(lab: WebLab, host: str) -> None:
    """A name that somebody else's DNS points here (rebinding) is refused before anything else."""
    answer = lab.browser().client.get("/login", headers={"host": host})
    assert answer.status_code == 400
    assert "evil" not in answer.text


def test_other_methods_are_refused(lab: WebLab) -> None:
    """PUT, DELETE, TRACE, OPTIONS and what does not exist."""
    client = lab.browser("maria").client
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HACK"):
        assert client.request(method, "/requests", headers={"origin": ORIGIN}).status_code == 405


def test_a_body_is_bounded(lab: WebLab) -> None:
    """Announced, or sent in pieces without saying how much."""
    browser = lab.browser()
    big = b"a=" + b"x" * MAX_BODY_BYTES
    headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    assert browser.client.post("/login", content=big, headers=headers).status_code == 413
    pieces = (big[at : at + 4096] for at in range(0, len(big), 4096))
    assert browser.client.post("/login", content=pieces, headers=headers).status_code == 413
    assert browser.client.post("/login", content=b"x", headers={**headers, "content-length": "-1"}).status_code == 413


def test_forms_with_many_fields_are_not_read(lab: WebLab) -> None:
    """Nor such as are no text."""
    browser = lab.browser("maria")
    many = "&".join(f"f{n}=1" for n in range(1000)) + f"&csrf={browser.token}"
    headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    for body in (many.encode(), b"csrf=\xff\xfe"):
        assert browser.client.post("/logout", content=body, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/node.toml", "/static//etc/passwd",
        "/sheets/../../node.toml", "/sheets/%2e%2e%2fnode.toml", "/requests/../../etc/passwd", "/runs/..%2f..%2f/stop",
        "/requests/%00", "/requests/" + "0" * 64, "/requests/" + "A" * 64, "/sheets/" + "0" * 64,
    ],
)  # fmt: skip
def test_no_path_leads_out(lab: WebLab, path: str) -> None:
    """Nothing from a path reaches the disk; what is not known is not there."""
    assert lab.browser("maria").client.get(path).status_code == 404


def test_a_language_parameter_leads_nowhere(lab: WebLab) -> None:
    """Nothing redirects to where a parameter says, and no cookie has a value from one."""
    browser = lab.browser("maria")
    for query in ("lang=https://evil.example", "lang=%0d%0aset-cookie:a=b", "next=//evil.example"):
        answer = browser.get(f"/requests?{query}")
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers


def test_behind_tls_cookies_are_bound_to_the_host(tmp_path: Path) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite=Strict; browsers are told to come with TLS only."""
    with ExitStack() as closing:
        lab = WebLab(make_web_node(tmp_path), closing, WebSection(public_url="https://flame.example.org"))
        lab.account("maria")
        browser = lab.browser()
        answer = browser.login("maria")
        cookie = next(c for c in answer.headers.get_list("set-cookie") if "flame=" in c)
        assert cookie.startswith("__Host-flame=")
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= {p.strip().lower() for p in cookie.split(";")}
        assert "domain" not in cookie.lower()
        assert browser.get("/").headers["strict-transport-security"]


def test_a_locked_accounts_file_lets_nobody_in(lab: WebLab) -> None:
    """Broken by hand, it is an error, not an open door."""
    browser = lab.browser("maria")
    lab.desk.accounts.path.write_text("{}garbage")
    assert browser.get("/").status_code in {400, 500}
    assert lab.desk.accounts.path.stat().st_mode & 0o777 == 0o600
