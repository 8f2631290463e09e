"""An app that tries to smuggle single patients out: see `client_app`. All its patients are made up."""

from hashlib import sha256

CANARIES = 256
"""Patients at each node about whom a coin decides whether they are there; what the attack wants to know."""
OTHERS = 272
LOUD_ENOUGH = 1e9
"""What no honest number in a reply is as large as."""


def is_there(node: int, canary: int) -> bool:
    """The coin of one canary at one node: made known to who prepares the data and to the audit, not to the app."""
    return bool(sha256(f"smuggler/{node}/{canary}".encode()).digest()[0] & 1)
