"""What a simulation does around a ServerApp in this process: where Flower's log goes, and that nothing of it stays."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from flame_fl.flower.server_app import run_server_app

__all__ = ["flower_log_to", "forget_app", "run_server_app"]


@contextlib.contextmanager
def flower_log_to(path: Path, *, also_console: bool) -> Iterator[None]:
    """Send Flower's own log, which is chatty, to a file while a run goes on."""
    logger = logging.getLogger("flwr")
    before, propagate = list(logger.handlers), logger.propagate
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if not also_console:
        logger.handlers = []
        logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.handlers, logger.propagate = before, propagate


def forget_app(app_dir: Path) -> None:
    """Take a bundle off the import path again, and its modules out of this process: its files go away."""
    with contextlib.suppress(ValueError):
        sys.path.remove(str(app_dir))
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if isinstance(origin, str) and Path(origin).is_relative_to(app_dir):
            del sys.modules[name]
