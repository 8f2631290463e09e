"""The steward's page in a real browser, beside a real node at a real hub: from the first request to the withdrawal."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.hub.lab import free_port, wait_for
from tests.integration.node.nodelab import NodeLab, toy
from tests.integration.runs import FLAME, Done, rows
from tests.support.chromium import Chromium, chromium

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PASSWORD = "correct horse battery staple"
NODE = [FLAME, "node"]


@pytest.fixture(scope="module")
def lab() -> Iterator[NodeLab]:
    """A hub and a node that are up."""
    lab = NodeLab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.make_node()
        lab.up()
        lab.node_up()
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def origin(lab: NodeLab) -> Iterator[str]:
    """Where the page is; `maria` may sign with the key at the node."""
    port = free_port()
    environment = {**os.environ, "FLAME_HOME": str(lab.node_home)}
    subprocess.run(
        [*NODE, "account", "add", "maria", "--role", "steward", "--node-key", "--password-stdin"],
        input=PASSWORD + "\n", text=True, check=True, env=environment, capture_output=True,
    )  # fmt: skip
    with (lab.root / "web.log").open("ab") as out:
        process = subprocess.Popen([*NODE, "web", "--port", str(port)], stdout=out, stderr=out, env=environment)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (lab.root / "web.log").read_text()
        try:
            return httpx.get(f"{address}/login").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_for(answers, "the page")
        yield address
    finally:
        process.terminate()
        assert process.wait(20) in {0, -15}, (lab.root / "web.log").read_text()


@pytest.fixture
def browser(origin: str, tmp_path: Path) -> Iterator[Chromium]:
    """Maria's."""
    with chromium(origin, tmp_path / "profile") as browser:
        yield browser


class InBackground(threading.Thread):
    """`flame run`, while the test clicks."""

    def __init__(self, lab: NodeLab, *arguments: Any) -> None:
        super().__init__()
        self.lab, self.arguments = lab, arguments
        self.done: Done | None = None
        self.start()

    def run(self) -> None:
        self.done = self.lab.run(*self.arguments)


def released(lab: NodeLab, digest: str) -> int:
    """How many messages of an analysis were answered."""
    sql = f"SELECT COUNT(*) FROM legs JOIN runs USING(run_id) WHERE digest='{digest}' AND state='released'"
    found = rows(lab.node_home / "state.db", sql)
    return int(found[0][0]) if found else 0


def filed(lab: NodeLab, app: Path, out: Path) -> str:
    """Submit an app that nobody here has seen; its digest."""
    before = {r["digest"] for r in lab.requests()}
    lab.run(app, "-c", "rounds=1", "--out", out)
    (digest,) = {r["digest"] for r in lab.requests()} - before
    return str(digest)


def test_from_the_request_to_the_withdrawal(lab: NodeLab, browser: Chromium, tmp_path: Path) -> None:
    """Request, sheet, difference, approval with a comment, progress, withdrawal: the run stops within one round."""
    earlier = filed(lab, toy(tmp_path / "1", 1), tmp_path / "out1")
    assert lab.node("approve", earlier[:12], "--with-project", "--comment", "first version").code == 0
    change = ("toy/client_app.py", "import random\n", "import random\nimport socket\n")
    app = toy(tmp_path / "2", 2, change)
    digest = filed(lab, app, tmp_path / "out2")

    browser.open("/login?lang=en")
    browser.login("maria", PASSWORD)
    assert "Overview" in browser.text
    browser.click("Requests")
    assert digest[:12] in browser.text
    assert earlier[:12] not in browser.text
    browser.picture("web-requests")

    browser.follow(f'a[href="/requests/{digest}"]')
    assert "waiting" in browser.text
    assert "socket" in browser.text  # the scan saw it
    browser.picture("web-sheet")
    browser.click("Differences")
    assert "import socket" in browser.text
    assert browser.find("#to").text.startswith(earlier[:12])
    browser.picture("web-diff")
    browser.driver.back()

    browser.click("Decide")
    browser.fill(comment="Vote 17/2026 seen; <b>only</b> until the end of the study.")
    browser.picture("web-decide")
    browser.click("Approve")
    assert "Your decision is stored" in browser.text
    assert "Vote 17/2026 seen; <b>only</b>" in browser.text
    assert [r["status"] for r in lab.requests() if r["digest"] == digest] == ["approved"]

    out = tmp_path / "out3"
    run = InBackground(lab, app, "-c", "rounds=15", "-c", "pause=1.0", "--out", out)
    browser.open("/runs")
    wait_for(lambda: released(lab, digest) >= 2, "two rounds")
    wait_for(lambda: browser.number("document.querySelector('progress')?.value") >= 2, "the bar")
    assert "running" in browser.text or "open" in browser.text
    browser.picture("web-runs")

    browser.open(f"/requests/{digest}/decide")
    browser.fill(why="A patient asked.")
    browser.click("Withdraw")
    at_click = released(lab, digest)
    assert "withdrawn" in browser.text
    run.join(100)
    assert run.done is not None
    assert at_click >= 2
    assert released(lab, digest) == at_click  # what was at work did not leave either
    codes = [reply["code"] for reply in lab.replies_of(out) if "code" in reply]
    assert set(codes) == {907}
    assert browser.said() == []


@pytest.fixture
def plain(origin: str, tmp_path: Path) -> Iterator[Chromium]:
    """A browser that runs no JavaScript."""
    with chromium(origin, tmp_path / "plain", javascript=False) as browser:
        yield browser


def test_a_run_is_stopped_by_a_button(lab: NodeLab, plain: Chromium, tmp_path: Path) -> None:
    """The analysis stays approved, its run is answered no more; all of it without JavaScript, and in German."""
    app, browser = toy(tmp_path / "3", 3), plain
    digest = filed(lab, app, tmp_path / "out1")
    browser.login("maria", PASSWORD)
    browser.open(f"/requests/{digest}/decide?lang=de")
    browser.click("Freigeben")
    run = InBackground(lab, app, "-c", "rounds=15", "-c", "pause=1.0", "--out", tmp_path / "out2")
    wait_for(lambda: released(lab, digest) >= 1, "a round")
    browser.open("/runs")
    browser.click("Anhalten", "td/*")
    browser.click("Jetzt anhalten")
    assert "angehalten" in browser.text
    run.join(100)
    assert {reply["code"] for reply in lab.replies_of(tmp_path / "out2") if "code" in reply} == {907}
    assert [r["status"] for r in lab.requests() if r["digest"] == digest] == ["approved"]


def test_the_audit_log_and_its_verification(lab: NodeLab, browser: Chromium, tmp_path: Path) -> None:
    """Every click that decided is there; the chain is checked on a click."""
    digest = filed(lab, toy(tmp_path / "4", 4), tmp_path / "out1")
    browser.login("maria", PASSWORD)
    browser.open(f"/requests/{digest}/decide?lang=en")
    browser.click("Approve")
    browser.open("/audit?lang=en")
    browser.click("Check the whole chain")
    wait_for(lambda: "signed checkpoints hold" in browser.text, "the verdict")
    assert "web-decision" in browser.text
    browser.picture("web-audit")
    for page in ("/projects", "/data", "/budget"):
        browser.open(page)
    assert browser.said() == []
