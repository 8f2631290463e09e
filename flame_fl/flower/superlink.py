"""The hub's SuperLink: Flower's own server with FLAME's accounts, projects, delivery and allow-list plugged in.

`python -m flame_fl.flower.superlink --flame-access FILE --flame-runs FOLDER --flame-parent PID …` takes the options of
`flower-superlink` beside its own three. It ends with the process that started it.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from flame_fl.flower.parent import end_with_parent

_NEVER = ("FLWR_INTERNAL_GRPC_FLEET_API", "FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_OIDC_ENABLED")


def build_app(config: Any, access: Path, runs: Path) -> Any:
    """Flower's server, plugged together.

    Args:
        config: Flower's own configuration of a SuperLink.
        access: The hub's access file.
        runs: Folder of the runs' events and artefacts.
    """
    from starlette.middleware import Middleware

    from flame_fl.flower import superlink_checks, superlink_guard
    from flame_fl.flower.superlink_access import AccessFile, ProjectFederations, TokenLogin
    from flame_fl.flower.superlink_routes import RunRoutes
    from flame_fl.flower.superlink_state import state_factories

    main: Any = importlib.import_module("flwr.superlink.main")
    # the package's attribute of this name is a function
    command = importlib.import_module("flwr.superlink.cli.flower_superlink")
    file = AccessFile(access)
    file.read()
    config.authn_plugin = TokenLogin(file)
    stock_middleware = main._get_middleware
    main.get_federation_manager = lambda is_simulation=False: ProjectFederations(file)
    main.get_objectstore_linkstate_factories = state_factories
    main._get_middleware = lambda: [Middleware(superlink_guard.AllowList), *stock_middleware()]
    superlink_checks.install()
    app = main.create_app(config, command.SuperLinkLifespan)
    app.router.routes.extend(RunRoutes(runs).routes())
    return app


def run() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--flame-access", type=Path, required=True)
    parser.add_argument("--flame-runs", type=Path, required=True)
    parser.add_argument("--flame-parent", type=int, required=True)
    own, rest = parser.parse_known_args()
    sys.argv = [sys.argv[0], *rest]
    end_with_parent(own.flame_parent)
    for name in _NEVER:
        os.environ.pop(name, None)
    import uvicorn
    from flwr.supercore.http_logging import get_uvicorn_log_config
    from flwr.supercore.logger import console_handler

    command = importlib.import_module("flwr.superlink.cli.flower_superlink")
    config = command._parse_superlink_lifespan_config()
    uvicorn.run(
        build_app(config, own.flame_access, own.flame_runs),
        host=config.host,
        port=config.port,
        ssl_keyfile=config.ssl_keyfile,
        ssl_certfile=config.ssl_certfile,
        access_log=False,
        server_header=False,
        ws="none",
        log_config=get_uvicorn_log_config(console_handler.level),
        timeout_graceful_shutdown=3,
        workers=1,
    )


if __name__ == "__main__":
    run()
