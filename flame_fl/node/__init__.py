"""A DIZ's installation: its settings and keys, its data stores, what its steward decides, and the processes it runs.

The gate itself is `flame_fl.gate`; here it is wired to a real SuperNode (`flame_fl.flower.runtime`), a real Docker
Engine (`flame_fl.sandbox.docker`) and real data.
"""
