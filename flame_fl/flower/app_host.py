"""Loads a ClientApp from an unpacked bundle and hands it messages, as Flower's own runner would.

Used inside a sandbox (`runner`) and by the in-process sandbox. Nothing here is trusted by the gate.
"""

import contextlib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.date import now

from flame_fl.contract.content import Content
from flame_fl.contract.ports import Envelope
from flame_fl.flower.seeding import seeded
from flame_fl.flower.translate import to_content, to_records

_SERVER_NODE_ID = 1


def load_component(app_dir: Path, reference: str) -> Any:
    """Import "module:object" with the bundle first on the path.

    Raises:
        ImportError: The module cannot be imported, or has no such object.
    """
    folder = str(app_dir)
    sys.path[:] = [folder, *(p for p in sys.path if p != folder)]
    importlib.invalidate_caches()
    module_name, _, attribute = reference.partition(":")
    # a bundle shadows an installed copy of itself
    top = module_name.partition(".")[0]
    loaded = sys.modules.get(top)
    origin = getattr(loaded, "__file__", None)
    if loaded is not None and not (origin and Path(origin).is_relative_to(app_dir)):
        for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
            del sys.modules[name]
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ImportError(f"module {module_name!r} has no object {attribute!r}") from None


class AppHost:
    """One ClientApp with its context, which lives as long as the session."""

    def __init__(
        self,
        app_dir: Path,
        component: str,
        *,
        run_id: int,
        node_id: int,
        run_config: Mapping[str, Any],
        node_config: Mapping[str, Any],
    ) -> None:
        app = load_component(app_dir, component)
        if not isinstance(app, ClientApp):
            raise ImportError(f"{component!r} is no flwr.clientapp.ClientApp")
        self._app = app
        self._context = Context(
            run_id=run_id,
            node_id=node_id,
            node_config=dict(node_config),
            state=RecordDict(),
            run_config=dict(run_config),
        )

    def handle(self, message: Envelope) -> Content:
        """Call the app on a message and read its reply."""
        with contextlib.nullcontext() if message.seed is None else seeded(message.seed):
            reply: object = self._app(_to_flower(message, self._context), self._context)
        if not isinstance(reply, Message) or not reply.has_content():
            raise TypeError("the app did not return a message with content")
        return to_content(reply.content)


def load_host(hello: Mapping[str, Any]) -> AppHost:
    """The host that `SandboxSpec.hello` describes."""
    return AppHost(
        Path(hello["app_dir"]),
        hello["component"],
        run_id=hello["run_id"],
        node_id=hello["node_id"],
        run_config=hello["run_config"],
        node_config=hello["node_config"],
    )


def _to_flower(message: Envelope, context: Context) -> Message:
    metadata = Metadata(
        run_id=context.run_id,
        message_id=message.message_id,
        src_node_id=_SERVER_NODE_ID,
        dst_node_id=context.node_id,
        reply_to_message_id="",
        group_id=message.group_id,
        created_at=now().timestamp(),
        ttl=43200.0,
        message_type=message.message_type,
    )
    flower_message: Message = Message(content=to_records(message.content), metadata=metadata)  # type: ignore[call-overload]
    return flower_message
