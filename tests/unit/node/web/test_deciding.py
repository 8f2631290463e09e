"""Decisions through the page: with the key at the node, with a key of one's own, by several, and what is refused."""

import html
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.statement import Statement, parse_statement
from flame_fl.gate.approval import Status
from flame_fl.gate.signatures import APPROVAL_NAMESPACE, sign
from tests.support.web import Fields, WebLab, make_web_node
from tests.unit.node.decisions import ask, fab_of


def status(lab: WebLab, digest: str) -> Status:
    record = lab.desk.store.approval(digest)
    assert record is not None
    return record.status


def asked(lab: WebLab, name: str, digest: str, comment: str = "seen") -> dict[str, str]:
    """The form in which signatures are pasted, with the statements that `name` is to sign."""
    browser = lab.browser(name)
    answer = browser.submit(f"/requests/{digest}/decide", "/statement", comment=comment)
    assert answer.status_code == 200, answer.text
    return next(fields for to, fields in Fields(answer.text).forms if to.endswith("/sign"))


def signed(fields: dict[str, str], key: Ed25519PrivateKey) -> dict[str, str]:
    """The same, with signatures."""
    made = dict(fields)
    for name in ("project_statement", "statement"):
        if name in made:
            signature = sign(key, parse_statement(made[name]).text, APPROVAL_NAMESPACE)
            made[name.replace("statement", "signature")] = signature
    return made


def enter(lab: WebLab, name: str, digest: str, fields: dict[str, str]) -> str:
    """Send it in a session of `name`; what the page says of it, "" if it was entered."""
    browser = lab.browser(name)
    answer = browser.post(f"/requests/{digest}/sign", {**fields, "csrf": browser.token})
    if answer.status_code == 303:
        return ""
    assert answer.status_code == 400
    return html.unescape(answer.text)


def test_the_key_at_the_node_signs_what_was_seen(lab: WebLab) -> None:
    """The statement names the sheet that was shown, which is kept; who clicked is audited beside it; then it runs."""
    fab = fab_of()
    digest = lab.file(fab)
    browser = lab.browser("maria")
    form = browser.form(f"/requests/{digest}/decide", "/approve")
    assert browser.submit(f"/requests/{digest}/decide", "/approve", comment="Vote 7").status_code == 303
    (made,) = lab.desk.store.decisions("analysis", digest)
    assert (made.act, made.comment, made.sheet) == ("approve", "Vote 7", form["sheet"])
    assert lab.desk.store.sheet(made.sheet) is not None
    said = [e["body"] for e, _ in lab.desk.store.audit_rows() if e["kind"] == "web-decision"]
    assert [(s["account"], s["act"], s["digest"]) for s in said] == [("maria", "approve", digest)]
    assert status(lab, digest) is Status.APPROVED


def test_only_accounts_that_may_sign_with_it(lab: WebLab) -> None:
    """Another steward is offered no button, and a form made by hand is refused."""
    digest = lab.file()
    form = lab.browser("maria").form(f"/requests/{digest}/decide", "/approve")
    browser = lab.browser("otto")
    page = browser.get(f"/requests/{digest}/decide").text
    assert "/approve" not in page
    assert "flame node steward add" in page
    answer = browser.post(f"/requests/{digest}/approve", {**form, "csrf": browser.token})
    assert answer.status_code == 400
    assert status(lab, digest) is Status.PENDING


def test_a_key_that_was_removed_at_the_node_signs_nothing(lab: WebLab) -> None:
    """Its file alone does not count."""
    digest = lab.file()
    form = lab.browser("maria").form(f"/requests/{digest}/decide", "/approve")
    for name in list(lab.desk.store.stewards().values()):
        lab.desk.store.remove_steward(name, "test")
    browser = lab.browser("maria")
    assert browser.post(f"/requests/{digest}/approve", {**form, "csrf": browser.token}).status_code == 400
    assert status(lab, digest) is Status.PENDING


def test_a_key_of_ones_own_project_and_analysis_in_one_go(lab: WebLab) -> None:
    """Both statements are shown, both signatures entered together."""
    key, digest = lab.steward_key("otto"), lab.file()
    fields = asked(lab, "otto", digest)
    assert {"project_statement", "statement"} <= set(fields)
    assert enter(lab, "otto", digest, signed(fields, key)) == ""
    assert status(lab, digest) is Status.APPROVED
    assert lab.desk.store.projects()[0].status is Status.APPROVED
    assert lab.desk.store.decisions("analysis", digest)[0].by == "otto"


def test_ssh_keygen_signs_what_is_downloaded(lab: WebLab, tmp_path: Path) -> None:
    """The file that the page gives, the command that it shows, the text that it takes."""
    digest = lab.file()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    assert lab.desk.store.add_steward(public, "otto", "test")
    fields = asked(lab, "otto", digest)
    browser = lab.browser("otto")
    for name in ("project_statement", "statement"):
        got = browser.post("/statement.json", {"csrf": browser.token, "statement": fields[name]})
        assert got.headers["content-disposition"].startswith("attachment")
        file = tmp_path / f"{name}.json"
        file.write_bytes(got.content)
        command = ["ssh-keygen", "-Y", "sign", "-n", "flame-approval", "-f", tmp_path / "key", file]
        subprocess.run(command, check=True, capture_output=True)
        fields[name.replace("statement", "signature")] = (tmp_path / f"{name}.json.sig").read_text()
    assert enter(lab, "otto", digest, fields) == ""
    assert status(lab, digest) is Status.APPROVED


def test_one_bad_signature_enters_neither(lab: WebLab) -> None:
    """All or nothing: the project is not approved by half a form."""
    key, digest = lab.steward_key("otto"), lab.file()
    fields = signed(asked(lab, "otto", digest), key)
    fields["signature"] = fields["project_signature"]
    assert enter(lab, "otto", digest, fields)
    assert lab.desk.store.projects()[0].status is Status.PENDING
    assert lab.desk.store.decisions("project", lab.desk.store.projects()[0].digest) == []


class TestPasted:
    """Signatures that do not count."""

    @pytest.fixture
    def approved_project(self, lab: WebLab) -> Ed25519PrivateKey:
        """Otto's key; the project of all analyses is approved."""
        key = lab.steward_key("otto")
        project = lab.file(fab_of(limits={"runs": 9}))
        lab.browser("maria").submit(f"/requests/{project}/decide", "/approve", comment="project")
        return key

    def test_by_a_key_that_is_no_steward_s(self, lab: WebLab, approved_project: Ed25519PrivateKey) -> None:
        """In German, for it is what people meet."""
        digest = lab.file()
        fields = signed(asked(lab, "otto", digest), Ed25519PrivateKey.generate())
        assert "gehört keinem Data Steward" in enter(lab, "otto", digest, fields)
        assert status(lab, digest) is Status.PENDING

    def test_by_another_steward(self, lab: WebLab, approved_project: Ed25519PrivateKey) -> None:
        """Each enters their own."""
        digest = lab.file()
        fields = signed(asked(lab, "otto", digest), approved_project)
        lab.steward_key("maria")
        assert "another steward's" in enter(lab, "maria", digest, fields)
        assert status(lab, digest) is Status.PENDING

    def test_under_another_analysis(self, lab: WebLab, approved_project: Ed25519PrivateKey) -> None:
        """Well signed, but not for this one."""
        one, other = lab.file(), lab.file(fab_of(limits={"runs": 3}))
        fields = signed(asked(lab, "otto", one), approved_project)
        assert "andere Analyse" in enter(lab, "otto", other, fields)
        assert status(lab, other) is Status.PENDING

    def test_of_a_statement_that_was_changed(self, lab: WebLab, approved_project: Ed25519PrivateKey) -> None:
        """One more day."""
        digest = lab.file()
        fields = signed(asked(lab, "otto", digest), approved_project)
        changed = parse_statement(fields["statement"]).model_copy(update={"comment": "something else"})
        fields["statement"] = changed.text.decode()
        assert "keine Ed25519-Signatur" in enter(lab, "otto", digest, fields)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"until": datetime.now(UTC).date() - timedelta(days=1)}, "letzte Tag"),
            ({"at": "2020-01-01T00:00:00+00:00"}, "within 7 days"),
            ({"number": 1}, "Ablehnung"),
            ({"node": "SHA256:" + "A" * 43}, "anderen Knoten"),
            ({"binding": "0" * 64}, "andere Sandbox"),
        ],
    )
    def test_of_a_statement_for_another_time_or_place(
        self, lab: WebLab, approved_project: Ed25519PrivateKey, change: dict[str, object], words: str
    ) -> None:
        """Signed by the right key, and still worthless."""
        digest = lab.file()
        said = parse_statement(asked(lab, "otto", digest)["statement"]).model_dump() | change
        statement = Statement.model_validate(said)
        fields = signed({"statement": statement.text.decode()}, approved_project)
        assert words in enter(lab, "otto", digest, fields)
        assert status(lab, digest) is Status.PENDING

    def test_for_another_purpose(self, lab: WebLab, approved_project: Ed25519PrivateKey) -> None:
        """A signature of a file or of a git commit is none of an approval."""
        digest = lab.file()
        fields = asked(lab, "otto", digest)
        fields["signature"] = sign(approved_project, fields["statement"].encode(), "file")
        assert "anderen Zweck" in enter(lab, "otto", digest, fields)

    @pytest.mark.parametrize("garbage", ["", "hello", "-----BEGIN SSH SIGNATURE-----\n!!\n-----END SSH SIGNATURE-----"])
    def test_garbage(self, lab: WebLab, approved_project: Ed25519PrivateKey, garbage: str) -> None:
        """Said in a sentence; what was written stays in the form."""
        digest = lab.file()
        fields = asked(lab, "otto", digest) | {"signature": garbage}
        assert "Das ging nicht" in enter(lab, "otto", digest, fields)

    def test_again_after_a_withdrawal(self, lab: WebLab, approved_project: Ed25519PrivateKey) -> None:
        """A form that is sent a second time does not bring a withdrawn approval back."""
        digest = lab.file()
        fields = signed(asked(lab, "otto", digest), approved_project)
        assert enter(lab, "otto", digest, fields) == ""
        lab.browser("maria").submit(f"/requests/{digest}/decide", "/close", comment="no longer")
        assert "Ablehnung" in enter(lab, "otto", digest, fields)
        assert status(lab, digest) is Status.WITHDRAWN


def test_a_form_from_before_a_withdrawal_approves_nothing(lab: WebLab) -> None:
    """Also with the key at the node: what was looked at is not what is there."""
    digest = lab.file()
    browser = lab.browser("maria")
    form = browser.form(f"/requests/{digest}/decide", "/approve")
    assert browser.post(f"/requests/{digest}/approve", form).status_code == 303
    assert browser.post(f"/requests/{digest}/approve", form).status_code == 400  # signed already
    assert browser.submit(f"/requests/{digest}/decide", "/close", comment="no").status_code == 303
    answer = browser.post(f"/requests/{digest}/approve", form)
    assert answer.status_code == 400
    assert "has changed since you looked" in answer.text
    assert status(lab, digest) is Status.WITHDRAWN


def test_a_sheet_that_was_not_shown_cannot_be_named(lab: WebLab) -> None:
    """Nor one of another analysis."""
    one, other = lab.file(), lab.file(fab_of(limits={"runs": 3}))
    browser = lab.browser("maria")
    shown = browser.form(f"/requests/{other}/decide", "/approve")["sheet"]
    for sheet in ("", "0" * 64, shown):
        form = browser.form(f"/requests/{one}/decide", "/approve") | {"sheet": sheet}
        assert browser.post(f"/requests/{one}/approve", form).status_code == 400
    assert status(lab, one) is Status.PENDING


def test_to_close_needs_a_reason_and_takes_hold(lab: WebLab) -> None:
    """Without one nothing happens; with it the gate refuses."""
    fab = fab_of()
    digest = lab.file(fab)
    browser = lab.browser("maria")
    browser.submit(f"/requests/{digest}/decide", "/approve", comment="go")
    assert browser.submit(f"/requests/{digest}/decide", "/close", comment="  ").status_code == 400
    assert status(lab, digest) is Status.APPROVED
    browser.submit(f"/requests/{digest}/decide", "/close", comment="a patient asked")
    assert status(lab, digest) is Status.WITHDRAWN
    assert ask(lab.desk.gate, fab, leg="after") == 907
    made = lab.desk.store.decisions("analysis", digest)[-1]
    assert (made.act, made.by, made.comment) == ("withdraw", "maria", "a patient asked")


def test_projects_are_decided_on_their_own_page(lab: WebLab) -> None:
    """Approved with a comment, withdrawn with a reason; each is kept."""
    lab.file()
    project = lab.desk.store.projects()[0].digest
    browser = lab.browser("maria")
    form = browser.form(f"/projects/{project}", "/approve")
    assert browser.post(f"/projects/{project}/approve", {**form, "seen": "x"}).status_code == 400
    assert browser.post(f"/projects/{project}/approve", {**form, "comment": "vote"}).status_code == 303
    assert lab.desk.store.projects()[0].status is Status.APPROVED
    assert browser.submit(f"/projects/{project}", "/close", comment="over").status_code == 303
    assert [d.act for d in lab.desk.store.decisions("project", project)] == ["approve", "withdraw"]


def test_two_must_sign(tmp_path: Path) -> None:
    """The project first, by both; the page says who has signed; then the analysis, by both."""
    lab = WebLab(make_web_node(tmp_path, ("signatures_needed = 1", "signatures_needed = 2")))
    with lab.closing:
        lab.account("maria", node_key=True)
        lab.account("otto")
        key, digest = lab.steward_key("otto"), lab.file()
        project = lab.desk.store.projects()[0].digest
        browser, other = lab.browser("maria"), lab.browser("otto")
        assert f"/projects/{project}" in browser.get(f"/requests/{digest}/decide").text
        assert browser.submit(f"/projects/{project}", "/approve", comment="one").status_code == 303
        assert "1 von 2" in browser.get(f"/projects/{project}").text
        answer = other.submit(f"/projects/{project}", "/statement", comment="two")
        fields = signed(next(f for to, f in Fields(answer.text).forms if to.endswith("/sign")), key)
        assert other.post(f"/projects/{project}/sign", fields).status_code == 303
        assert lab.desk.store.projects()[0].status is Status.APPROVED

        assert browser.submit(f"/requests/{digest}/decide", "/approve", comment="one").status_code == 303
        assert status(lab, digest) is Status.PENDING
        assert "1 von 2" in other.get(f"/requests/{digest}").text
        assert browser.submit(f"/requests/{digest}/decide", "/approve", comment="again").status_code in {303, 400}
        assert status(lab, digest) is Status.PENDING  # one key counts once
        assert enter(lab, "otto", digest, signed(asked(lab, "otto", digest), key)) == ""
        assert status(lab, digest) is Status.APPROVED


def test_a_comment_and_a_day_are_checked(lab: WebLab) -> None:
    """Too long, no date, over: a sentence, and nothing is signed."""
    digest = lab.file()
    browser = lab.browser("maria")
    for fields in ({"comment": "x" * 2001}, {"until": "tomorrow"}, {"until": "2020-01-01"}):
        assert browser.submit(f"/requests/{digest}/decide", "/approve", **fields).status_code == 400, fields
    assert status(lab, digest) is Status.PENDING
