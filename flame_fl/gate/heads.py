"""Heads of audit chains that others hold: what a node lets out, what it keeps of its peers, what an auditor brings.

A head that leaves carries no number (how many entries a node has would tell how busy it is) and no time. It is signed
by the node's identity: whoever keeps it can show that it came from that node, and nobody can make one up to accuse it.

Everything read here is hostile: records from the hub, files from anybody.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import canonical_json
from flame_fl.contract.errors import InputError
from flame_fl.gate.audit import GENESIS
from flame_fl.gate.signatures import AUDIT_NAMESPACE, public_text, sign, verified_key

NODES, HEADS, SIGNATURES = "heads_nodes", "heads", "heads_signatures"
"""What the hub may put into the gate's record of `query.flame_status`: three lists of strings, of one length."""
MOST_HEADS = 1000
_MOST_NAME_CHARS, _MOST_SIGNATURE_CHARS = 64, 500
_MOST_LINE_CHARS, _MOST_FILE_BYTES = 1 << 20, 64 << 20
_HEX = re.compile(r"[0-9a-f]{64}")
_FILES = ("result.json", "events.jsonl")


@dataclass(frozen=True)
class Head:
    """A head that left a node. `node` is "" where the holder did not note whose it is."""

    node: str
    head: str
    signature: str = ""


def sign_head(key: Ed25519PrivateKey, head: str) -> str:
    """The node's signature over a head that leaves."""
    return sign(key, _message(head, public_text(key.public_key())), AUDIT_NAMESPACE)


def is_signed_by(head: Head, key: str) -> bool:
    """Whether a head carries this node's signature."""
    try:
        return verified_key(head.signature, _message(head.head, key), AUDIT_NAMESPACE) == key
    except InputError:
        return False


def _message(head: str, key: str) -> bytes:
    return canonical_json({"audit_head_version": 1, "head": head, "node": key})


def witnessed_in(config: Mapping[str, object]) -> tuple[Head, ...]:
    """The heads of other nodes in a record that the hub sent; what is malformed is left out, all of it if too much."""
    nodes, heads = config.get(NODES), config.get(HEADS)
    if not isinstance(nodes, list) or not isinstance(heads, list) or not len(nodes) == len(heads) <= MOST_HEADS:
        return ()
    signatures = config.get(SIGNATURES)
    if not isinstance(signatures, list) or len(signatures) != len(heads):
        signatures = [""] * len(heads)
    found = (_head(*told) for told in zip(nodes, heads, signatures, strict=True))
    return tuple(dict.fromkeys(head for head in found if head is not None and head.node))


def _head(node: object, head: object, signature: object = "") -> Head | None:
    """A head, if it is one; without a signature that is none."""
    if not isinstance(node, str) or len(node) > _MOST_NAME_CHARS or not node.isprintable():
        return None
    if not isinstance(head, str) or not _HEX.fullmatch(head) or head == GENESIS:
        return None
    signed = isinstance(signature, str) and len(signature) <= _MOST_SIGNATURE_CHARS and signature.isascii()
    return Head(node, head, signature if signed and isinstance(signature, str) else "")


def held_in(path: Path) -> Iterator[Head]:
    """The heads that a file or a run's folder holds.

    A hub's events.jsonl, a run's result.json, an audit export (of another node: the heads that it keeps; an earlier
    one of the same node: its end), or text with a head on each line, after the node's name if there is one.

    Raises:
        InputError: It cannot be read.
    """
    if path.is_dir():
        files = [path / name for name in _FILES if (path / name).is_file()]
        if not files:
            raise InputError(
                f"{path} holds no heads.", mend=f"Give a run's folder with {' or '.join(_FILES)}, or a file."
            )
        for file in files:
            yield from held_in(file)
        return
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = lines.readline(_MOST_LINE_CHARS)
            lines.seek(0)
            if first.lstrip().startswith("{") and _json(first) is None:  # one value over many lines
                if path.stat().st_size > _MOST_FILE_BYTES:
                    raise InputError(f"{path} is too large.", mend=f"{_MOST_FILE_BYTES >> 20} MB are read at most.")
                yield from _told(_json(lines.read()), "")
            else:
                yield from _line_by_line(lines)
    except OSError as err:
        raise InputError(f"{path} cannot be read ({err.strerror}).", mend="Give a file that others hold.") from err


def _line_by_line(lines: TextIO) -> Iterator[Head]:
    exported = ""
    while line := lines.readline(_MOST_LINE_CHARS):
        value = _json(line) if line.lstrip().startswith("{") else None
        if value is None:
            *name, last = line.rsplit(None, 1) or [""]
            yield from filter(None, [_head("".join(name).strip(), last.strip())])
        elif value.get("line") == "export":
            exported = str(value.get("node", ""))
        else:
            yield from _told(value, exported)


def _told(value: dict[str, Any] | None, exported: str) -> Iterator[Head]:
    """The heads in one JSON object. `exported` is the node whose export the line is in."""
    value = value or {}
    told: list[Head | None] = []
    flame, nodes = value.get("flame"), value.get("nodes")
    if value.get("line") == "witnessed":
        told = [_head(value.get("node"), value.get("head"), value.get("signature", ""))]
    elif value.get("line") == "end":
        told = [_head(exported, value.get("head"))]
    elif value.get("kind") == "reply" and isinstance(flame, dict):
        name = flame.get("node", value.get("name"))
        told = [_head(name, flame.get("audit_head"), flame.get("audit_signature", ""))]
    elif isinstance(nodes, list):
        told = [_head(n.get("name"), n.get("audit_head")) for n in nodes if isinstance(n, dict)]
    yield from (head for head in told if head is not None)


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
