"""Puts a node's gate together from its settings: state, sandbox, data, limits, noise."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.ports import ExternalApprovals, NoExternal, Sandbox
from flame_fl.data.disguise import KEY_BYTES, derived_key
from flame_fl.gate.database import require_state
from flame_fl.gate.rollback import LAST_HEAD
from flame_fl.gate.signatures import read_private_key, read_public_key
from flame_fl.gate.store import Store
from flame_fl.gate.trust import Trust
from flame_fl.gate.workflow import Event, Gate
from flame_fl.node.config import NodeConfig, NodeFiles, load_config
from flame_fl.node.data import DataFiles
from flame_fl.node.offers import NodeOffers
from flame_fl.node.registry import Registration
from flame_fl.node.rules import rules_of
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.sandbox.docker import DockerSandbox, Images
from flame_fl.sandbox.subprocess import SubprocessSandbox


@dataclass(frozen=True)
class Node:
    """A node's settings and where its files are."""

    config: NodeConfig
    files: NodeFiles

    @property
    def data(self) -> DataFiles:
        """What belongs to its data stores."""
        return DataFiles(self.files.state)

    @property
    def data_key(self) -> bytes:
        """The key of pseudonyms and of snapshots' names.

        Raises:
            InputError: It cannot be read.
        """
        try:
            key = self.files.data_key.read_bytes()
        except OSError:
            key = b""
        if len(key) != KEY_BYTES:  # a shorter one could be guessed, and every pseudonym with it
            raise InputError(
                f"{self.files.data_key} cannot be read.", mend="Restore it: without it no store keeps its name."
            )
        return key

    @property
    def images(self) -> Images:
        """Which image an app runs in."""
        by_app = {app: image for app, image in self.config.images.items() if app != "default" and image}
        return Images(self.config.images.get("default") or None, by_app)


def open_node(places: Places, *, with_state: bool = True) -> Node:
    """Read a node's settings. `with_state` is False where only its SuperNode runs: that one does not touch the state.

    Raises:
        InputError: There is no node, or its settings are not as they should be.
        VerificationError: Its state is none.
    """
    node = Node(load_config(places), NodeFiles(places.state))
    if with_state:
        require_state(node.files.database)
    return node


def open_store(node: Node, closing: ExitStack) -> Store:
    """The node's state; `closing` closes it. One that is older than what left the node is locked.

    Raises:
        VerificationError: The file with the last head holds something else.
    """
    key = read_private_key(node.files.identity_key)
    store = Store(node.files.database, key=key, last_head=node.files.keys / LAST_HEAD)
    closing.callback(store.close)
    store.look_back()
    return store


def trust_of(node: Node, store: Store) -> Trust:
    """Whose signatures make an approval here, by the settings, and by the stewards as they are now.

    Raises:
        InputError: The node's identity cannot be read.
    """
    try:
        own = read_public_key(node.files.identity_key.with_suffix(".pub").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{node.files.identity_key}.pub cannot be read.", mend="Restore it from a backup.") from err
    return Trust(own, store.stewards(), node.config.approval.signatures_needed, rules_of(node.config))


def make_sandbox(node: Node) -> Sandbox:
    """Where apps run.

    Raises:
        InputError: The sandbox does not confine, and a store holds data that are not mock.
    """
    section = node.config.sandbox
    if section.kind == "docker":
        return DockerSandbox(
            node.images,
            owner=node.config.node.id,
            folder=node.files.sandboxes,
            runtime=section.runtime,
            engine=section.engine or None,
        )
    require_mock(node.data.registry.all())
    return SubprocessSandbox()


def require_mock(stores: dict[str, Registration]) -> None:
    """Real data need a real sandbox.

    Raises:
        InputError: A store is not marked as mock data.
    """
    real = sorted(name for name, store in stores.items() if not store.current.spec.mock)
    if real:
        raise InputError(
            f'Data store {real[0]!r} holds real data, and the sandbox "subprocess" confines nothing.',
            mend='Set kind = "docker" in [sandbox] of node.toml.',
        )


def open_gate(
    node: Node,
    store: Store,
    *,
    node_id: int = 0,
    external: ExternalApprovals | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Gate:
    """The gate. `node_id` is Flower's, once it is known; no decision depends on it.

    Raises:
        InputError: As `make_sandbox`.
    """
    trust = trust_of(node, store)
    return Gate(
        node=node.config.node.name,
        node_id=node_id,
        store=store,
        sandbox=make_sandbox(node),
        trust=lambda: replace(trust, stewards=store.stewards()),  # the rest is of the settings, read once
        filing=node.config.approval.filing(),
        external=external or NoExternal(),
        data=NodeOffers(node.data.registry, node.data.patients, node.data_key),
        limits=node.config.limits.for_gate(),
        noise=ExactNoise(),
        log_dir=node.files.logs,
        view_dir=node.files.views,
        on_event=on_event,
        identity=read_private_key(node.files.identity_key),
        block_key=derived_key(node.data_key, "blocks"),
    )
