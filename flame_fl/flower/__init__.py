"""Everything that knows Flower: translation of messages, bundles, and the few lines that run inside a sandbox.

Flower's private API may be imported here and nowhere else; `tests/integration/test_flower_contract.py` says what we
rely on, so that a new Flower breaks a test and not a node.
"""
