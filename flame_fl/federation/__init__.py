"""A hub and several nodes for real on one machine: the same programs, keys, TLS and containers as anywhere else.

For trying things out and for demonstrations. Nothing here is needed at a DIZ.
"""
