"""Shamir shares of a 256-bit secret (Shamir 1979), over the field of the largest prime below 2^256."""

import secrets
from collections.abc import Mapping

from flame_fl.secagg.errors import MaskError

SECRET_BYTES = 32
PRIME = (1 << 256) - 189


def split(secret: bytes, threshold: int, count: int) -> dict[int, bytes]:
    """Shares by place, from 1; `threshold` of them give the secret, fewer say nothing of it.

    Raises:
        MaskError: The secret is no element of the field: of random ones one in 2^248 is not.
    """
    value = int.from_bytes(secret, "big")
    if len(secret) != SECRET_BYTES or value >= PRIME:
        raise MaskError("a secret is not 256 bits, or too large to be shared")
    coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    shares = {}
    for place in range(1, count + 1):
        at = 0
        for coefficient in (*coefficients, value):
            at = (at * place + coefficient) % PRIME
        shares[place] = at.to_bytes(SECRET_BYTES, "big")
    return shares


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret that `threshold` of the shares give; which of them is no matter, so the first are taken.

    Raises:
        MaskError: There are too few, or one is no share.
    """
    if len(shares) < threshold:
        raise MaskError(f"{len(shares)} shares are there, {threshold} are needed")
    chosen = sorted(shares.items())[:threshold]
    if any(place < 1 or len(share) != SECRET_BYTES for place, share in chosen):
        raise MaskError("a share has another length, or no place")
    secret = 0
    for place, share in chosen:
        above = below = 1
        for other, _ in chosen:
            if other != place:
                above, below = above * other % PRIME, below * (other - place) % PRIME
        secret += int.from_bytes(share, "big") * above * pow(below, -1, PRIME)
    return (secret % PRIME).to_bytes(SECRET_BYTES, "big")
