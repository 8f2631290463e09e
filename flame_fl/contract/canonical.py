"""Canonical JSON (RFC 8785) and the digests built on it: one byte string per value, on every machine."""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

from flame_fl.contract.errors import InputError


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value.

    Raises:
        InputError: The value has no canonical form: NaN, infinity, an integer beyond ±(2^53 - 1), a key that is no
            string, text that is no Unicode, or nesting beyond reason.
    """
    try:
        return rfc8785.dumps(value)
    except (ValueError, TypeError, RecursionError) as err:  # the library's own error is a ValueError
        raise InputError(
            f"This value has no canonical JSON form (RFC 8785): {err}.",
            mend="Use finite numbers, integers within ±(2^53 - 1), and string keys.",
        ) from err


def sha256_hex(*parts: bytes | memoryview) -> str:
    """SHA-256 of the parts, one after the other, as 64 lower-case hex digits."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of a mapping's canonical JSON."""
    return sha256_hex(canonical_json(value))
