"""Serves the page until Ctrl-C or SIGTERM."""

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvicorn

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.node.web.app import make_app
from flame_fl.node.web.desk import open_desk
from flame_fl.node.web.settings import WebSection
from flame_fl.node.wiring import Node

_AT_ONCE = 100
_GRACE_SECONDS = 5


def serve(node: Node, web: WebSection, log: Callable[[str], None]) -> None:
    """Serve a node's page in the foreground.

    Args:
        node: The node.
        web: Where it listens.
        log: Told where, once.

    Raises:
        InputError: A file that the settings name cannot be used.
        FlameError: The port is taken.
    """
    with ExitStack() as closing:
        desk = open_desk(node, web, closing)
        desk.accounts.prepare()
        certificate, key = _tls(node.files.state, web)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(desk),
                host=web.host,
                port=web.port,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                log_level="warning",
                access_log=False,  # addresses and names are in the audit chain; nothing else is kept
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                limit_concurrency=_AT_ONCE,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        desk.store.record("web-started", {"host": web.host, "port": web.port})
        log(f"the steward's page is at {web.origin}/")
        try:
            server.run()
        except SystemExit as err:  # uvicorn's word for a port that is taken
            raise FlameError(
                f"Nothing could listen at {web.host}:{web.port}.", mend="Choose another port in [web] of node.toml."
            ) from err


def _tls(state: Path, web: WebSection) -> tuple[str | None, str | None]:
    if not web.tls_cert:
        return None, None
    certificate, key = state / web.tls_cert, state / web.tls_key
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as err:
        raise InputError(
            f"{certificate} and {key} are no certificate and its key.", mend="See tls_cert and tls_key in [web]."
        ) from err
    return str(certificate), str(key)
