"""Everything that knows Flower: translation of messages, bundles, and the few lines that run inside a sandbox.

Flower's private API may be imported here and nowhere else; `tests/unit/flower/test_identity.py` says what we
rely on, so that a new Flower breaks a test and not a node.
"""

WORKER_PARENT = "FLAME_WORKER_PARENT"
"""Who started a worker, in its environment: to ask the system would be too late where that one has died already."""
