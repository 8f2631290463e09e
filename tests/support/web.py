"""The steward's page of a node in a folder: accounts with quick hashes, browsers that send what they are told."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from flame_fl.contract.places import Places
from flame_fl.data.spec import StoreSpec
from flame_fl.gate.signatures import public_text
from flame_fl.hub.tls import make_certificates
from flame_fl.node.data import Adding, add
from flame_fl.node.init import NewNode, init_node
from flame_fl.node.web.app import make_app
from flame_fl.node.web.desk import Desk, open_desk
from flame_fl.node.web.roles import Role
from flame_fl.node.web.settings import WebSection
from flame_fl.node.wiring import Node, open_node, open_store
from tests.support.gates import manifest_from
from tests.unit.node.decisions import ask, fab_of

PASSWORD = "correct horse battery staple"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ORIGIN = "http://127.0.0.1:8443"


def make_web_node(root: Path, *changes: tuple[str, str]) -> Node:
    """A node that offers mock data `cohort` and runs apps in subprocesses; `changes` are of its node.toml."""
    places = Places(root / "node" / "node.toml", root / "node")
    (root / "ca.crt").write_bytes(make_certificates(("localhost",)).ca)
    init_node(places, NewNode("DIZ-1", "localhost:8000", root / "ca.crt", image="sha256:" + "ab" * 32))
    text = places.config.read_text()
    for old, new in (('kind = "docker"', 'kind = "subprocess"'), *changes):
        assert old in text
        text = text.replace(old, new)
    places.config.write_text(text)
    node = open_node(places)
    folder = root / "cohort"
    folder.mkdir()
    table = pa.table({"patient_id": [f"p{n}" for n in range(30)] * 2, "value": list(range(60))})
    pq.write_table(table, folder / "samples.parquet")
    (folder / "samples.parquet").chmod(0o644)
    folder.chmod(0o755)
    spec = StoreSpec.model_validate(
        {
            "layout": {"table": "samples.parquet", "patient_id": "patient_id"},
            "source": {"type": "folder", "path": str(folder)},
            "mock": True,
        }
    )
    with ExitStack() as closing:
        add(node.data, open_store(node, closing), "cohort", spec, Adding(node.data_key, by="ada", copy=False))
    return node


class Fields(HTMLParser):
    """The forms of a page: action, and its fields with their values."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.links: list[str] = []
        self._area = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found.get("action", ""), {}))
        elif tag == "input" and self.forms and found.get("name"):
            self.forms[-1][1][found["name"]] = found.get("value", "")
        elif tag == "textarea" and self.forms:
            self._area = found.get("name", "")
            self.forms[-1][1][self._area] = ""
        elif tag == "a":
            self.links.append(found.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1][1][self._area] += data


@dataclass
class Browser:
    """Keeps cookies, and says where its forms come from, as browsers do."""

    client: TestClient
    origin: str = ORIGIN
    last: Any = None

    def get(self, path: str, **headers: str) -> Any:
        """A page; redirections are not followed."""
        self.last = self.client.get(path, headers=headers)
        return self.last

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Any:
        """A form, from the page's own origin unless told otherwise."""
        self.last = self.client.post(path, data=dict(fields), headers={"origin": self.origin, **headers})
        return self.last

    def form(self, path: str, action: str) -> dict[str, str]:
        """The fields of a page's form whose action ends so."""
        page = self.get(path)
        assert page.status_code == 200, (path, page.status_code)
        found = [fields for to, fields in Fields(page.text).forms if to.endswith(action)]
        assert found, (path, action)
        return dict(found[0])

    def submit(self, path: str, action: str, **fields: str) -> Any:
        """Fill in a form of a page, and send it."""
        page = self.get(path)
        (to, given), *_ = [each for each in Fields(page.text).forms if each[0].endswith(action)] or [("", {})]
        assert to, (path, action, page.status_code)
        return self.post(to, {**given, **fields})

    def login(self, name: str, password: str = PASSWORD) -> Any:
        """Log in."""
        return self.submit("/login", "/login", name=name, password=password)

    @property
    def token(self) -> str:
        """What forms of this session must hold."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/").text)
        assert found
        return found[1]


@dataclass
class WebLab:
    """One node's page."""

    node: Node
    closing: ExitStack = field(default_factory=ExitStack)
    web: WebSection = field(default_factory=WebSection)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.desk: Desk = open_desk(self.node, self.web, self.closing)
        self.closing.callback(self.desk.gate.stop)
        self.desk.accounts.hasher = QUICK
        self.desk.sessions.clock = lambda: self.seconds
        self.desk.throttle._clock = lambda: self.seconds
        self.app = make_app(self.desk)

    def account(self, name: str, *roles: Role, node_key: bool = False) -> None:
        """Make one."""
        self.desk.accounts.add(name, roles or (Role.STEWARD,), PASSWORD, node_key=node_key)

    def steward_key(self, name: str) -> Ed25519PrivateKey:
        """A steward's own key, which the node trusts."""
        key = Ed25519PrivateKey.generate()
        assert self.desk.store.add_steward(public_text(key.public_key()), name, "test")
        return key

    def browser(self, name: str = "", *, address: str = "127.0.0.1") -> Browser:
        """One that is logged in, or not."""
        client = TestClient(
            self.app,
            base_url=self.web.origin,
            follow_redirects=False,
            client=(address, 5000),
            raise_server_exceptions=False,
        )
        browser = Browser(client, self.web.origin)
        if name:
            assert browser.login(name).status_code == 303
        return browser

    def file(self, fab: bytes | None = None, **terms: Any) -> str:
        """An analysis that was seen once; returns its digest."""
        fab = fab_of(**terms) if fab is None else fab
        ask(self.desk.gate, fab, leg=f"first-{manifest_from(fab).digest}")
        return manifest_from(fab).digest

    def kinds(self) -> list[str]:
        """Kinds of all audit entries."""
        return [str(entry["kind"]) for entry, _ in self.desk.store.audit_rows()]
