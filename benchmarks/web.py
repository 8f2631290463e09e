"""How quick the steward's page stays when much waits: 1,000 pending requests and 100,000 audit entries by default.

    python benchmarks/web.py [REQUESTS] [ENTRIES]

The page is a process of its own, as in use, and is asked over HTTP with a session: every page, one at a time, and then
by four people at once. The aim is a 95th percentile below 300 ms.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from flame_fl.contract.places import Places
from flame_fl.gate.approval import ApprovalRecord, Status
from flame_fl.gate.store import Store
from flame_fl.node.web.serve import serve
from flame_fl.node.web.settings import WebSection
from flame_fl.node.wiring import open_node

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.integration.hub.lab import free_port
from tests.support.gates import make_fab, manifest_from, terms_table
from tests.support.web import PASSWORD, WebLab, make_web_node
from tests.unit.node.decisions import LONG

REPEATS = 40
AIM_SECONDS = 0.3


def fill(root: Path, requests: int, entries: int) -> list[str]:
    """A node with so much in it; the digests of the requests."""
    node = make_web_node(root)
    with ExitStack() as closing:
        lab = WebLab(node, closing)
        lab.account("maria", node_key=True)
        approved = lab.file(make_fab(terms_table(validity=LONG), files={"app/old.py": b"x = 1\n" * 500}))
        lab.browser("maria").submit(f"/requests/{approved}/decide", "/approve", comment="for the benchmark")
    store = Store(node.files.database, durable=False)
    digests = []
    with store.transaction():
        for number in range(requests):
            fab = make_fab(
                terms_table(validity=LONG, limits={"runs": 1 + number}),
                files={f"app/part{part}.py": b"import numpy as np\nx = np.zeros(3)\n" * 200 for part in range(5)},
            )
            manifest = manifest_from(fab)
            sha = f"{number:064x}"
            digests.append(manifest.digest)
            store.keep_bundle(sha, fab)
            store.put_approval(
                ApprovalRecord(manifest.digest, Status.PENDING, manifest, by="gate", fab_sha256=sha, submitter="alice")
            )
    _entries(store, entries)
    store.close()
    return digests


def _entries(store: Store, entries: int) -> None:
    """Entries as long as those of releases, up to so many; each still goes into the chain."""
    with store.transaction():
        for leg in range(entries - sum(1 for _ in store.audit_rows())):
            store.record(
                "released", {"run": "1234567890123456789", "leg": f"{leg:064x}", "content": "ab" * 32, "bytes": 4096}
            )


def measure(
    ask: Callable[[str], httpx.Response], paths: dict[str, list[str]], people: int
) -> dict[str, tuple[float, float]]:
    """Median and 95th percentile in seconds, by page."""

    def once(path: str) -> float:
        started = time.perf_counter()
        answer = ask(path)
        assert answer.status_code == 200, (path, answer.status_code)
        return time.perf_counter() - started

    found = {}
    for name, asked in paths.items():
        once(asked[-1])
        with ThreadPoolExecutor(people) as pool:
            times = list(pool.map(once, (asked * REPEATS)[:REPEATS]))
        found[name] = (statistics.median(times), statistics.quantiles(times, n=20)[-1])
    return found


def main(requests: int = 1000, entries: int = 100_000) -> int:
    """Measure, and print a table; 1 if a page misses the aim."""
    with tempfile.TemporaryDirectory() as folder:
        root, port = Path(folder), free_port()
        digests = fill(root, requests, entries)
        digest = digests[-1]
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(root / "node"), str(port)])
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        try:
            _login(client)
            paths = {
                "overview": "/",
                "requests": "/requests",
                "requests, last page": f"/requests?before={requests // 20}",
                "requests, all": "/requests?status=all",
                "sheet, again": f"/requests/{digest}",
                "decide": f"/requests/{digest}/decide",
                "difference": f"/requests/{digest}/diff",
                "projects": "/projects",
                "runs": "/runs",
                "data stores": "/data",
                "budget": "/budget",
                "audit": "/audit",
                "audit, middle": f"/audit?before={entries // 2}",
                "audit, search": f"/audit?about={digest[:16]}",
            }
            alone = measure(client.get, {name: [path] for name, path in paths.items()} | _new(digests[:REPEATS]), 1)
            together = measure(
                client.get, {name: [path] for name, path in paths.items()} | _new(digests[REPEATS : 2 * REPEATS]), 4
            )
            started = time.perf_counter()
            _verify(client)
            checked = time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(20)
    print(f"{requests} pending requests, {entries} audit entries; milliseconds")
    print(f"{'page':22} {'median':>8} {'p95':>8}   {'4 people':>8} {'p95':>8}")
    for name in alone:
        one, four = alone[name], together[name]
        print(f"{name:22} {one[0] * 1e3:8.1f} {one[1] * 1e3:8.1f}   {four[0] * 1e3:8.1f} {four[1] * 1e3:8.1f}")
    print(f"whole chain checked in {checked:.1f} s")
    print(
        json.dumps({"p95_alone": max(p for _, p in alone.values()), "p95_four": max(p for _, p in together.values())})
    )
    return int(max(p for _, p in alone.values()) > AIM_SECONDS)


def _new(digests: list[str]) -> dict[str, list[str]]:
    """Sheets that nobody has looked at yet: each is built."""
    return {"sheet, first sight": [f"/requests/{digest}" for digest in digests]}


def _login(client: httpx.Client) -> None:
    from tests.support.web import Fields

    for _ in range(200):
        try:
            page = client.get("/login")
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    origin = {"origin": str(client.base_url).rstrip("/")}
    fields = {**dict(Fields(page.text).forms)["/login"], "name": "maria", "password": PASSWORD}
    assert client.post("/login", data=fields, headers=origin).status_code == 303


def _verify(client: httpx.Client) -> None:
    from tests.support.web import Fields

    fields = dict(Fields(client.get("/audit").text).forms)["/audit/verify"]
    origin = {"origin": str(client.base_url).rstrip("/")}
    assert client.post("/audit/verify", data=fields, headers=origin).status_code == 303
    while "hx-get" in client.get("/audit/verdict").text:
        time.sleep(0.1)
    assert "✓" in client.get("/audit/verdict").text


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        state = Path(sys.argv[2])
        serve(open_node(Places(state / "node.toml", state)), WebSection(port=int(sys.argv[3])), print)
    else:
        sys.exit(main(*map(int, sys.argv[1:3])))
