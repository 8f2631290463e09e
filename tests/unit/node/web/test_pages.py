"""Every page: who may see it, what it shows, and that it shows it in both languages, readable by everybody."""

import re
import time
from html.parser import HTMLParser

import pytest
from fastapi.routing import APIRoute

from flame_fl.contract.errors import InputError
from flame_fl.node import dry_run
from flame_fl.node.web.app import PAGES, make_routes
from flame_fl.node.web.guard import POLICY
from flame_fl.node.web.roles import Role
from flame_fl.sandbox.subprocess import SubprocessSandbox
from tests.support.gates import ENFORCED, make_fab, terms_table
from tests.support.web import Fields, WebLab
from tests.unit.node.decisions import LONG, ask, fab_of

PUBLIC = {("GET", "/login"), ("POST", "/login"), ("GET", "/login/oidc"), ("GET", "/login/oidc/return")}
DECIDE, STOP, SETTINGS = "decide", "stop", "settings"
NEEDS = {
    ("GET", "/requests/{digest}/decide"): DECIDE,
    ("POST", "/requests/{digest}/dry-run"): DECIDE,
    ("POST", "/requests/{digest}/approve"): DECIDE,
    ("POST", "/requests/{digest}/statement"): DECIDE,
    ("POST", "/requests/{digest}/sign"): DECIDE,
    ("POST", "/requests/{digest}/close"): DECIDE,
    ("POST", "/statement.json"): DECIDE,
    ("POST", "/projects/{digest}/approve"): DECIDE,
    ("POST", "/projects/{digest}/statement"): DECIDE,
    ("POST", "/projects/{digest}/sign"): DECIDE,
    ("POST", "/projects/{digest}/close"): DECIDE,
    ("GET", "/runs/{run_id}/stop"): STOP,
    ("POST", "/runs/{run_id}/stop"): STOP,
    ("GET", "/settings"): SETTINGS,
}
MAY = {"maria": {DECIDE, STOP}, "anna": {STOP, SETTINGS}, "rita": {SETTINGS}}


def routes(lab: WebLab) -> list[tuple[str, str]]:
    """(method, path) of every page."""
    found = [route for pages in PAGES for route in pages.router.routes]
    assert all(isinstance(route, APIRoute) for route in found)
    assert len(make_routes(lab.desk).routes) == len(PAGES) + 3  # and the static files
    return [(m, r.path) for r in found if isinstance(r, APIRoute) for m in sorted(r.methods)]


def filled(path: str, digest: str, project: str) -> str:
    what = project if path.startswith("/projects") else digest
    return path.replace("{digest}", what).replace("{sha256}", what).replace("{run_id}", "7")


class Ids:
    """A digest and a project that are there."""

    def __init__(self, lab: WebLab) -> None:
        self.digest = lab.file()
        self.project = lab.desk.store.projects()[0].digest


def test_there_is_nothing_beside_pages_and_static_files(lab: WebLab) -> None:
    """No documentation, no schema, no web socket."""
    found = [getattr(route, "path", "") for route in make_routes(lab.desk).routes]
    assert sorted(filter(None, found)) == ["/static/flame.css", "/static/flame.svg", "/static/htmx.min.js"]


def test_every_page_needs_a_session(lab: WebLab) -> None:
    """Without one the login is all there is; parts of pages say so to htmx."""
    ids, browser, asked = Ids(lab), lab.browser(), 0
    for method, path in routes(lab):
        if (method, path) in PUBLIC:
            continue
        target = filled(path, ids.digest, ids.project)
        answer = browser.get(target) if method == "GET" else browser.post(target, {})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login"), (method, path)
        asked += 1
    assert asked > 25
    part = browser.get("/runs/table", **{"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login")


@pytest.mark.parametrize("name", list(MAY))
def test_every_page_needs_its_right(lab: WebLab, name: str) -> None:
    """A table of all pages: a role that lacks the right is refused, before anything is looked at."""
    ids, browser = Ids(lab), lab.browser(name)
    token = browser.token
    before = len(lab.kinds())
    for method, path in routes(lab):
        if (method, path) in PUBLIC or path == "/logout":
            continue
        target, right = filled(path, ids.digest, ids.project), NEEDS.get((method, path), "read")
        if right == "read" or right in MAY[name]:
            if method == "GET":
                assert browser.get(target).status_code in {200, 404}, (name, path)
            continue
        answer = browser.get(target) if method == "GET" else browser.post(target, {"csrf": token, "comment": "x"})
        assert answer.status_code == 403, (name, method, path)
    assert len(lab.kinds()) == before
    assert lab.desk.store.approval_counts() == {"pending": 1}


def test_every_form_needs_the_session_s_token(lab: WebLab) -> None:
    """Without it, with none, or with another session's, nothing happens."""
    ids = Ids(lab)
    browser, other = lab.browser("maria"), lab.browser("otto").token
    before = len(lab.kinds())
    for method, path in routes(lab):
        if method == "POST" and (method, path) not in PUBLIC:
            for fields in ({"comment": "x"}, {"csrf": "", "comment": "x"}, {"csrf": other, "comment": "x"}):
                answer = browser.post(filled(path, ids.digest, ids.project), fields)
                assert answer.status_code == 403, path
    assert len(lab.kinds()) == before
    assert browser.get("/").status_code == 200  # nobody was logged out either


def released(lab: WebLab, runs: int = 1) -> str:
    """An analysis that ran."""
    fab = fab_of(limits={"runs": 5})
    digest = lab.file(fab)
    lab.browser("maria").submit(f"/requests/{digest}/decide", "/approve", comment="go")
    for number in range(runs):
        ask(lab.desk.gate, fab, run_id=20 + number, leg="a")
    return digest


SHOWN = ("/", "/requests", "/requests?status=all", "/projects", "/runs", "/data", "/budget", "/audit", "/settings")


class Accessible(HTMLParser):
    """Collects what a person with a screen reader would miss."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.labels: set[str] = set()
        self.inputs: list[str] = []
        self.ids: list[str] = []
        self.counts: dict[str, int] = {}
        self.tables = self.captions = 0
        self.language = ""
        self.feed(page)
        self.wrong += [f"no label for {name}" for name in self.inputs if name not in self.labels]
        self.wrong += [f"id {name} twice" for name in set(self.ids) if self.ids.count(name) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "html":
            self.language = found.get("lang", "")
        if tag == "label":
            self.labels.add(found.get("for", ""))
        if tag in {"input", "textarea", "select"} and found.get("type") != "hidden":
            self.inputs.append(found.get("id", "?"))
        if tag == "table" and found.get("role") != "presentation":
            self.tables += 1
        if tag == "caption":
            self.captions += 1
        if tag == "th" and "scope" not in found:
            self.wrong.append("a header without scope")
        if tag == "progress" and "aria-label" not in found:
            self.wrong.append("a bar without a label")
        if "style" in found or any(name.startswith("on") for name in found):
            self.wrong.append(f"inline style or script in {tag}")
        if tag == "script" and not found.get("src", "").startswith("/static/"):
            self.wrong.append("a script that is not ours")


@pytest.mark.parametrize("language", ["de", "en"])
def test_pages_are_readable_by_everybody(lab: WebLab, language: str) -> None:
    """One heading, labels, captions, scopes, a language, a way past the menu; no inline style or script."""
    digest = released(lab)
    second = lab.file(make_fab(terms_table(validity=LONG, privacy=ENFORCED)))
    project = lab.desk.store.projects()[0].digest
    lab.account("all", *Role)
    browser = lab.browser("all")
    more = [f"/requests/{digest}", f"/requests/{second}", f"/requests/{second}/decide", f"/requests/{second}/diff"]
    more += [f"/projects/{project}", "/runs/20/stop", "/nothing"]
    for path in (*SHOWN, *more):
        answer = browser.get(f"{path}{'&' if '?' in path else '?'}lang={language}")
        assert answer.status_code in {200, 404}, path
        seen = Accessible(answer.text)
        assert seen.wrong == [], path
        assert (seen.language, seen.counts["h1"], seen.counts["main"]) == (language, 1, 1), path
        assert seen.tables == seen.captions, path
        assert 'class="skip"' in answer.text


def test_both_languages_say_something_else(lab: WebLab) -> None:
    """And what was chosen stays chosen."""
    browser = lab.browser("maria")
    assert "Anträge" in browser.get("/requests").text
    assert "Requests" in browser.get("/requests?lang=en").text
    assert "Requests" in browser.get("/requests").text
    assert "Anträge" in browser.get("/requests?lang=de").text


def test_what_runs_shows_how_far_it_is(lab: WebLab) -> None:
    """Answered messages of those that the terms allow; the part alone keeps no session alive."""
    released(lab)
    browser = lab.browser("maria")
    assert re.search(r'<progress max="3" value="\d"', browser.get("/runs").text)
    lab.seconds = 14 * 60.0
    assert browser.get("/runs/table").status_code == 200
    lab.seconds = 15 * 60.0 + 1
    assert browser.get("/runs/table").status_code == 303


def test_an_administrator_stops_a_run(lab: WebLab) -> None:
    """It is asked once more; then it is stopped, and the page says by whom."""
    released(lab)
    browser = lab.browser("anna")
    assert browser.submit("/runs/20/stop", "/stop").status_code == 303
    assert lab.desk.store.is_stopped("20")
    assert "anna" in browser.get("/runs").text
    assert "run-stopped" in lab.kinds()
    assert browser.get("/runs/99/stop").status_code == 404


def test_requests_come_in_pages(lab: WebLab) -> None:
    """Twenty-five at a time, newest first, each once."""
    digests = [lab.file(fab_of(limits={"runs": n + 1})) for n in range(30)]
    browser, seen, path = lab.browser("rita"), [], "/requests"
    while path:
        links = Fields(browser.get(path).text).links
        seen += [link.removeprefix("/requests/") for link in links if re.fullmatch(r"/requests/[0-9a-f]{64}", link)]
        path = next((link for link in links if "before=" in link), "")
    assert seen == digests[::-1]


def test_the_audit_log_in_pages_and_about_one_thing(lab: WebLab) -> None:
    """Fifty at a time down to the first entry; a search finds what holds a word."""
    for number in range(120):
        lab.desk.store.record("noise", {"number": number})
    browser, pages, path = lab.browser("rita"), 0, "/audit"
    while path:
        page = browser.get(path).text
        pages, path = pages + 1, next((link for link in Fields(page).links if "before=" in link), "")
    assert pages == 3
    assert "node-made" in page
    found = browser.get("/audit?about=rita").text
    assert "login" in found
    assert "noise" not in found


def test_the_chain_is_checked_on_a_click(lab: WebLab) -> None:
    """It holds; after somebody changed an entry it does not, and the page says where."""
    browser = lab.browser("rita")
    browser.submit("/audit", "/audit/verify")
    lab.desk.chain.wait(10)
    assert "✓" in browser.get("/audit").text
    lab.desk.store._db.execute("UPDATE audit SET entry=replace(entry, 'DIZ-1', 'DIZ-2') WHERE seq=1")
    browser.submit("/audit", "/audit/verify")
    lab.desk.chain.wait(10)
    page = browser.get("/audit").text
    assert "✓" not in page
    assert "entry 1" in page


def test_the_budget_over_time(lab: WebLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture per account with its values in tables; a release about the site counts against its patients, too."""
    monkeypatch.setattr("flame_fl.gate.cohort_check.MARGIN", -1000)  # the count has noise, but always suffices
    fab = make_fab(terms_table(validity=LONG, privacy={**ENFORCED, "noise_multiplier": 50.0}))
    digest = lab.file(fab)
    browser = lab.browser("maria")
    assert "<svg" not in browser.get("/budget").text
    browser.submit(f"/requests/{digest}/decide", "/approve", comment="go")
    for leg in ("a", "b"):
        ask(lab.desk.gate, fab, run_id=30, leg=leg)
    page = browser.get("/budget").text
    assert page.count('class="spent"') == len(lab.desk.store.accounts()) == 2
    debits = [entry for entry in lab.desk.store.ledger() if entry.account is not None]
    assert page.count('<tr><th scope="row">') == len(debits)
    assert page.count("<tr><td>a-project</td>") == 2
    assert "(patients)" in page


def test_looking_at_the_budget_opens_no_account(lab: WebLab) -> None:
    """Its order is fixed by the first debit or cap, and by nobody who reads."""
    assert lab.browser("maria").get("/budget").status_code == 200
    assert lab.desk.store.accounts() == []
    kinds = [row.kind for row in lab.desk.queries.audit_page(limit=50)]
    assert "budget-cap" not in kinds


def test_stores_are_counts_and_versions(lab: WebLab) -> None:
    """No value of a patient, no path."""
    page = lab.browser("rita").get("/data").text
    assert "cohort" in page
    assert ">30<" in page
    assert "p17" not in page
    assert str(lab.node.files.state) not in page


def test_settings_hold_no_secret(lab: WebLab) -> None:
    """No hash of a password, no key, no path of this machine."""
    page = lab.browser("anna").get("/settings").text
    assert "argon2" not in page
    assert "PRIVATE" not in page
    assert str(lab.node.files.state) not in page
    assert "signatures_needed" in page


def test_headers_are_on_every_answer(lab: WebLab) -> None:
    """Pages, static files, redirections, refusals, what is not there, and errors of ours."""
    browser = lab.browser("maria")
    lab.desk.queries = None  # type: ignore[assignment]  # the first page fails
    answers = [
        browser.get(path) for path in ("/", "/requests", "/static/flame.css", "/nothing", "/settings", "/runs/9/stop")
    ]
    answers += [browser.post("/logout", {}), browser.post("/logout", {}, origin="https://evil.example")]
    assert {a.status_code for a in answers} == {500, 200, 404, 403}
    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        cached = answer.headers["cache-control"]
        assert cached == "no-store" or str(answer.url).endswith(".css"), answer.url
    assert "Traceback" not in answers[0].text


def test_a_dry_run_needs_a_sandbox_that_confines(lab: WebLab) -> None:
    """Nobody has approved the code: a subprocess could read the node's keys."""
    record = lab.desk.store.approval(lab.file())
    assert record is not None
    with pytest.raises(InputError, match="confines nothing"):
        dry_run.dry_run(lab.desk.node, lab.desk.gate, record)


def test_a_dry_run_becomes_part_of_the_sheet(lab: WebLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time; its outcome is on the page, and the sheet has another hash then."""
    monkeypatch.setattr(dry_run, "_sandbox", lambda *_: SubprocessSandbox())
    digest = lab.file()
    record = lab.desk.store.approval(digest)
    assert record is not None
    before = lab.desk.shelf.sheet(record).sha256
    browser = lab.browser("maria")
    assert browser.submit(f"/requests/{digest}", "/dry-run").status_code == 303
    for _ in range(600):
        if not lab.desk.dry_runs.going:
            break
        time.sleep(0.1)
    assert browser.get(f"/requests/{digest}/dry-run").headers["hx-refresh"] == "true"
    assert digest in lab.desk.dry_runs.outcomes
    assert lab.desk.shelf.sheet(record).sha256 != before
    assert browser.get(f"/requests/{digest}").status_code == 200
    assert "dry-run" in lab.kinds()
