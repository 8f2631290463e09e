"""What the commands of `flame node` share."""

import getpass
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from flame_fl.contract.errors import FlameError
from flame_fl.contract.places import node_places

if TYPE_CHECKING:
    from flame_fl.gate.workflow import Gate
    from flame_fl.node.wiring import Node

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def open_here(*, with_state: bool = True) -> "Node":
    """The node of this machine, or of FLAME_HOME."""
    from flame_fl.node.wiring import open_node

    return open_node(node_places(os.environ), with_state=with_state)


def gate_of(node: "Node", closing: ExitStack) -> "Gate":
    """Its gate, for decisions; `closing` closes its state."""
    from flame_fl.node.wiring import open_gate, open_store

    return open_gate(node, open_store(node, closing))


def note_user(gate: "Gate", act: str, subject: str, digest: str) -> None:
    """Which local user entered a signature: the decision itself names the key, which several people may use."""
    gate.store.record("cli-decision", {"user": user(), "act": act, "subject": subject, "digest": digest})


def user() -> str:
    """Who runs this.

    Raises:
        FlameError: It cannot be told.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError) as err:
        raise FlameError("Who runs this cannot be told.", mend="Run it as a user that the system knows.") from err
