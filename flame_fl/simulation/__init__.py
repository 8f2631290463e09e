"""A federation on one machine: virtual nodes, each with its own gate, data, policy and ledger, round Flower's ServerApp.

The gate is the one a DIZ runs; only the transport (an in-process `Grid`) and the steward (a written policy) differ.
"""
