"""Shamir shares of a 256-bit secret (Shamir 1979), over GF(2^128) in two halves, by PyCryptodome."""

from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir

from flame_fl.secagg.errors import MaskError

SECRET_BYTES = 32
_HALF = SECRET_BYTES // 2


def split(secret: bytes, threshold: int, count: int) -> dict[int, bytes]:
    """Shares by place, from 1; `threshold` of them give the secret, fewer say nothing of it."""
    first = Shamir.split(threshold, count, secret[:_HALF], ssss=False)
    second = Shamir.split(threshold, count, secret[_HALF:], ssss=False)
    return {place: one + two for (place, one), (_, two) in zip(first, second, strict=True)}


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
    first = Shamir.combine([(place, share[:_HALF]) for place, share in chosen], ssss=False)
    return bytes(first + Shamir.combine([(place, share[_HALF:]) for place, share in chosen], ssss=False))
