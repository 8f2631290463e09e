"""The seccomp profile of sandboxes: the system calls that an app may make, and no other.

`seccomp.json` is an allow-list in Docker's format, with a comment on each rule. Everything else is refused, also what a
later kernel brings. It is for containers with no-new-privileges: runc then loads it last, after it has set user and
capabilities by calls that are not allowed here.
"""

import json
from functools import cache
from importlib import resources

from flame_fl.contract.canonical import sha256_hex

__all__ = ["digest", "profile"]


@cache
def profile() -> str:
    """The allow-list as compact JSON without its comments: what Docker takes in `security_opt` after "seccomp="."""
    table = json.loads(resources.files("flame_fl.sandbox").joinpath("seccomp.json").read_text(encoding="utf-8"))
    rules = [{key: value for key, value in rule.items() if key != "comment"} for rule in table["syscalls"]]
    return json.dumps({**table, "syscalls": rules}, separators=(",", ":"), sort_keys=True)


@cache
def digest() -> str:
    """SHA-256 of `profile()` in hex: names the profile in an approval and in a container's label."""
    return sha256_hex(profile().encode())
