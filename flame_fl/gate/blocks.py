"""Sample and aggregate: the patients of a message in disjoint blocks, each seen in a session of its own.

After GUPT (Mohan, Thakurta, Shi, Song, Culler, SIGMOD 2012) and Nissim, Raskhodnikova, Smith (STOC 2007). Rules:

1. A patient's block is a keyed hash of the id, modulo the number of blocks: it depends on nobody else, and the key is
   one for a run. Over all data stores of an analysis the same id is in the same block.
2. A block's fingerprint is of its own records alone: what happens to one block is no reason to touch another.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256

from flame_fl.data.kind import Rows
from flame_fl.gate.cohorts import StoreUse

Block = Mapping[str, Rows]
"""The records of one block, by data store."""


def run_key(key: bytes, run_id: str) -> bytes:
    """The partition's key for one run."""
    return hmac.new(key, f"flame_fl blocks\0{run_id}".encode(), sha256).digest()


def split(uses: Mapping[str, StoreUse], count: int, key: bytes) -> tuple[Block, ...]:
    """Every patient's records in one of `count` blocks; a block may be empty.

    Raises:
        InputError: A store cannot be read.
    """
    cut = {name: use.offer.blocks(use.cohort, use.stated, count, key) for name, use in uses.items()}
    return tuple({name: rows[index] for name, rows in cut.items()} for index in range(count))


def fingerprint(block: Block) -> str:
    """Changes when the records of this block change."""
    digest = sha256()
    for name, rows in sorted(block.items()):
        digest.update(f"{name}\0{len(rows)}\0".encode() + rows.tobytes())
    return digest.hexdigest()


def is_empty(block: Block) -> bool:
    """Whether it has no record at all."""
    return not any(len(rows) for rows in block.values())
