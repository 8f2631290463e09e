"""A federation on one machine, round Flower's ServerApp.

Virtual nodes have a gate, data, a policy and a ledger of their own. The gate is the one a DIZ runs; only the transport
(an in-process `Grid`) and the steward (a written policy) differ.
"""
