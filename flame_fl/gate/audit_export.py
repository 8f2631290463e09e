"""An audit export: JSON lines that an auditor checks with `deploy/auditor/verify_audit.py` and nothing of ours.

```
{"line": "export", "version": 1, "node", "key", "since"}         the node, its public key, the number of the first entry
{"line": "entry", "text", "hash"}                                the very text that was hashed, and the hash stored
{"line": "checkpoint", "seq", "head", "at", "signature"}         oldest first, the one in the file beside it last
{"line": "witnessed", "node", "head", "signature", "run", "at"}  what this node keeps of its peers
{"line": "end", "entries", "head", "sha256"}                     how many, the last hash; SHA-256 of the lines before
```
An entry's text stays text: whoever checks it needs no rule for how to write JSON, only SHA-256. What is damaged is
exported as it is, so that it can be looked at; a text that is no UTF-8 is null.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from flame_fl.contract.errors import VerificationError
from flame_fl.gate.checkpoints import Checkpoint, Checkpoints
from flame_fl.gate.database import Database
from flame_fl.gate.witnesses import Witnesses

VERSION = 1
DAMAGED = Checkpoint(-1, "", "", "")
"""Stands for a file that is no checkpoint: no entry has such a number."""


def export_lines(database: Database, *, node: str, key: str, since: int = 1) -> Iterator[str]:
    """The lines of an export, each with its end of line; ASCII only. Streamed: memory does not grow with the chain.

    Args:
        database: The node's state.
        node: The node's name.
        key: Its public key, "" if it has none.
        since: The first entry wanted.
    """
    chain = Checkpoints(database)
    points = _points(chain, since)  # before the entries: a gate may be adding some of both meanwhile
    state, count, head = hashlib.sha256(), 0, ""

    def told(kind: str, **fields: Any) -> str:
        line = json.dumps({"line": kind, **fields}) + "\n"
        state.update(line.encode())
        return line

    yield told("export", version=VERSION, node=node, key=key, since=since)
    for text, stored in chain.entries(since):
        count, head = count + 1, stored
        yield told("entry", text=_decoded(text), hash=stored)
    for point in points:
        yield told("checkpoint", seq=point.seq, head=point.head, at=point.at, signature=point.signature)
    for kept in Witnesses(database).all():
        peer = kept.head
        yield told("witnessed", node=peer.node, head=peer.head, signature=peer.signature, run=kept.run_id, at=kept.at)
    yield told("end", entries=count, head=head, sha256=state.hexdigest())


def _points(chain: Checkpoints, since: int) -> list[Checkpoint]:
    points = list(chain.stored(since - 1))
    try:
        newest = chain.in_file()
    except VerificationError:
        newest = DAMAGED
    return points if newest is None or newest in points else [*points, newest]


def _decoded(text: bytes | None) -> str | None:
    try:
        return None if text is None else text.decode()
    except UnicodeDecodeError:
        return None
