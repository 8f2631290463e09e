"""Shares of a secret."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.keys import new_secret
from flame_fl.secagg.sharing import SECRET_BYTES, join, split
from tests.support.statistics import ALPHA


@pytest.mark.parametrize(("threshold", "count"), [(2, 3), (3, 4), (4, 4), (3, 5), (5, 6)])
def test_every_threshold_of_the_shares_gives_the_secret(threshold: int, count: int) -> None:
    secret = new_secret()
    shares = split(secret, threshold, count)
    assert sorted(shares) == list(range(1, count + 1))
    assert {len(share) for share in shares.values()} == {SECRET_BYTES}
    for chosen in combinations(shares, threshold):
        assert join({place: shares[place] for place in chosen}, threshold) == secret
    assert join(shares, threshold) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 16 + bytes(16), (1).to_bytes(32, "big")])
def test_special_secrets_come_back(secret: bytes) -> None:
    assert join(split(secret, 3, 5), 3) == secret


def test_a_threshold_less_one_gives_something_else() -> None:
    secret = new_secret()
    shares = split(secret, 3, 5)
    for chosen in combinations(shares, 2):
        assert join({place: shares[place] for place in chosen}, 2) != secret


def test_a_share_in_another_place_or_changed_gives_something_else() -> None:
    secret = new_secret()
    shares = split(secret, 2, 3)
    assert join({1: shares[2], 2: shares[1]}, 2) != secret
    assert join({1: shares[1], 3: shares[2]}, 2) != secret
    for place in (0, 15, 16, 31):
        changed = bytearray(shares[1])
        changed[place] ^= 1
        assert join({1: bytes(changed), 2: shares[2]}, 2) != secret


def test_one_share_says_nothing_of_the_secret() -> None:
    """Shares of two secrets have the same, uniform, distribution. Each statistic fails with probability 1e-9."""
    for secret in (bytes(32), b"\x7f" * 32):
        seen = np.frombuffer(b"".join(split(secret, 2, 3)[3] for _ in range(2000)), np.uint8)
        assert stats.chisquare(np.bincount(seen, minlength=256)).pvalue > ALPHA


def test_secrets_are_shared_afresh_each_time() -> None:
    secret = new_secret()
    assert split(secret, 2, 3) != split(secret, 2, 3)


@pytest.mark.parametrize(
    "shares",
    [{}, {1: bytes(32)}, {1: bytes(32), 2: bytes(31)}, {1: bytes(32), 2: bytes(33)}, {0: bytes(32), 1: bytes(32)}],
    ids=["none", "too few", "short", "long", "place"],
)
def test_what_are_no_shares_are_refused(shares: dict[int, bytes]) -> None:
    with pytest.raises(MaskError):
        join(shares, 2)
