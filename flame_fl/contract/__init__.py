"""Words both sides share: frozen values without I/O.

Everything here can be read by a steward in an afternoon: what an analysis is (`manifest`), what a message holds
(`content`), how it crosses the sandbox's boundary (`frames`), what a refusal says (`refusal`), what can go wrong
(`errors`) and which ports the gate needs (`ports`). Nothing here opens a file, a socket or a database.
"""
