"""`flame node init`: keys, secret, settings and state of a node, made once, and never over something that is there."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.places import Places
from flame_fl.data.disguise import KEY_BYTES
from flame_fl.data.files import PRIVATE, PUBLIC, write_new
from flame_fl.data.patients import PatientRegister
from flame_fl.gate.signatures import public_text
from flame_fl.gate.store import Store
from flame_fl.node.config import NodeFiles, config_text, parse_config

NODE_HELD = "steward (key kept at the node)"
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class NewNode:
    """What was asked for.

    Attributes:
        ca: The hub's authority, a PEM file.
        image: Id of the image for apps that have none of their own, or "".
    """

    name: str
    hub: str
    ca: Path
    port: int = 9094
    image: str = ""


def init_node(places: Places, wish: NewNode) -> NodeFiles:
    """Make a node. It offers no data and approves nothing yet.

    Raises:
        InputError: A node is there already, or something that was given is none of what it should be.
        FlameError: A file cannot be written.
    """
    files = NodeFiles(places.state)
    text = config_text(node_id=secrets.token_hex(6), name=wish.name, hub=wish.hub, port=wish.port, image=wish.image)
    parse_config(text, "The node to be made")
    there = [path for path in (places.config, files.flower_key, files.identity_key, files.database) if path.exists()]
    if there:
        raise InputError(
            f"There is a node here already: {there[0]} exists.", mend="Choose another FLAME_HOME, or use that node."
        )
    ca = read_ca(wish.ca)
    try:
        places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (files.keys, files.views, files.sandboxes, files.logs):
            folder.mkdir(mode=0o700, exist_ok=True)
        places.config.parent.mkdir(parents=True, exist_ok=True)
        write_new(files.ca(parse_config(text)), ca, PUBLIC)
        _write_pair(files.flower_key, ec.generate_private_key(ec.SECP384R1()), wish.name)
        identity = ed25519.Ed25519PrivateKey.generate()
        _write_pair(files.identity_key, identity, wish.name)
        steward = ed25519.Ed25519PrivateKey.generate()
        _write_pair(files.steward_key, steward, f"steward-{wish.name}")
        write_new(files.data_key, secrets.token_bytes(KEY_BYTES), PRIVATE)
        PatientRegister(files.patients).make()
        write_new(files.secret, secrets.token_hex(32).encode(), PRIVATE)
        store = Store(files.database, key=identity)
        store.record("node-made", {"name": wish.name, "hub": wish.hub})
        store.add_steward(public_text(steward.public_key()), NODE_HELD, by="flame node init")
        store.close()
        files.database.chmod(PRIVATE)
        write_new(places.config, text.encode(), PUBLIC)  # last: a node is there once its settings are
    except OSError as err:
        raise FlameError(
            f"{err.filename or files.state} cannot be written ({err.strerror}).",
            mend="Give FLAME_HOME a folder of your own, or run it as the node's administrator.",
        ) from err
    return files


def read_ca(path: Path) -> bytes:
    """The hub's authority, checked to be a certificate.

    Raises:
        InputError: It is none.
    """
    try:
        data = path.read_bytes()
        x509.load_pem_x509_certificates(data)
    except (OSError, ValueError) as err:
        raise InputError(
            f"{path} is no certificate that can be read.",
            mend="Give the file ca.crt that the hub's administrator sent.",
        ) from err
    return data


def _write_pair(path: Path, key: PrivateKey, name: str) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_new(path, private, PRIVATE)
    write_new(path.with_suffix(".pub"), public + f" {name.replace(' ', '-')}\n".encode(), PUBLIC)
