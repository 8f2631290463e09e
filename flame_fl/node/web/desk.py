"""What all pages share: the node, its state, who may log in, and what is kept between two clicks."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request

from flame_fl.contract.errors import InputError
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.node.web.accounts import Accounts, accounts_file
from flame_fl.node.web.oidc import Oidc
from flame_fl.node.web.queries import Queries
from flame_fl.node.web.render import Renderer
from flame_fl.node.web.sessions import Sessions
from flame_fl.node.web.settings import OidcSection, WebSection
from flame_fl.node.web.sheets import DryRuns, Shelf
from flame_fl.node.web.throttle import Throttle
from flame_fl.node.web.verifying import ChainCheck
from flame_fl.node.wiring import Node, open_gate, open_store

_COOKIE: Final = "flame"


@dataclass
class Desk:
    """One node's web page."""

    node: Node
    web: WebSection
    store: Store
    gate: Gate
    accounts: Accounts
    sessions: Sessions
    throttle: Throttle
    queries: Queries
    shelf: Shelf
    dry_runs: DryRuns
    chain: ChainCheck
    renderer: Renderer
    oidc: Oidc | None

    @property
    def cookie(self) -> str:
        """The session cookie's name. With "__Host-" browsers take it over TLS only, and from no other host."""
        return f"__Host-{_COOKIE}" if self.web.is_secure else _COOKIE

    def behind_proxy(self, address: str) -> bool:
        """Whether an address is a proxy's before this page: everybody comes from it."""
        return bool(self.web.public_url) and address in {"127.0.0.1", "::1"}


def open_desk(node: Node, web: WebSection, closing: ExitStack) -> Desk:
    """Put it together; `closing` closes the state.

    Raises:
        InputError: A file that the settings name cannot be read.
    """
    store = open_store(node, closing)
    gate = open_gate(node, store)
    dry_runs = DryRuns(node, gate)
    queries = Queries(node.files.database)
    return Desk(
        node=node,
        web=web,
        store=store,
        gate=gate,
        accounts=Accounts(accounts_file(node.files.state)),
        sessions=Sessions(web.idle_minutes * 60.0, web.max_hours * 3600.0),
        throttle=Throttle(),
        queries=queries,
        shelf=Shelf(node, gate, dry_runs),
        dry_runs=dry_runs,
        chain=ChainCheck(lambda: store.verify_audit((gate.trust().node_key,))),
        renderer=Renderer(node.config.node.name, web.language, web.is_secure, lambda: bool(store.locks.open())),
        oidc=None
        if web.oidc is None
        else Oidc(web.oidc, web.origin, _secret(web.oidc, node.files.state), node.files.state),
    )


def desk_of(request: Request) -> Desk:
    """The desk of a request's page."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)  # noqa: S101  (the application was made with one)
    return desk


def _secret(section: OidcSection, state: Path) -> str:
    if not section.client_secret_file:
        return ""
    path = state / section.client_secret_file
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read.", mend="See client_secret_file in [web.oidc].") from err
