"""What a hub sees of a vector is uniform noise: tests of masked vectors, with fresh keys in every run.

Each test of a right mask fails with probability `ALPHA` = 1e-9 for each statistic. The statistics are shown to have
teeth: every one of them rejects a mask that is wrong in the way it looks for.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from flame_fl.secagg import node as node_module
from flame_fl.secagg.keys import new_secret
from flame_fl.secagg.node import open_sum
from flame_fl.secagg.streams import Words, add_streams
from tests.support.secagg import Federation
from tests.support.statistics import ALPHA

DTYPES = (np.uint32, np.uint64)
Kind = type[np.uint32 | np.uint64]
SIZE = 1 << 17
LAGS = (1, 2, 3, 4, 8, 16, 4096)
Bytes = npt.NDArray[np.uint8]


def zeros(dtype: Kind) -> Words:
    vector: Words = np.zeros(SIZE, dtype)  # type: ignore[assignment]
    return vector


def bytes_of(vector: Words) -> Bytes:
    return np.ascontiguousarray(vector).view(np.uint8)


def uniform(vector: Words) -> bool:
    """Pearson's chi-square over the 256 values at each place of a word; two-sided, as too even is no chance either."""
    table = bytes_of(vector).reshape(-1, vector.itemsize)
    pvalues = []
    for place in range(vector.itemsize):
        counts = np.bincount(table[:, place], minlength=256)
        statistic = float(np.sum((counts - len(table) / 256) ** 2) / (len(table) / 256))
        pvalues.append(2 * min(stats.chi2.sf(statistic, 255), stats.chi2.cdf(statistic, 255)))
    return min(pvalues) > ALPHA


def uncorrelated(one: Words, other: Words) -> bool:
    """Z-test of the correlation of two vectors, as numbers: independent if only one of them is uniform noise."""
    x, y = (v.astype(np.float64) - v.astype(np.float64).mean() for v in (one, other))
    r = float(np.dot(x, y) / np.sqrt(np.dot(x, x) * np.dot(y, y)))
    return bool(2 * stats.norm.sf(abs(r) * np.sqrt(len(x))) > ALPHA)


def no_serial_correlation(vector: Words) -> bool:
    return all(uncorrelated(vector[:-lag], vector[lag:]) for lag in LAGS)


def agree_by_chance(one: Words, other: Words) -> bool:
    """Binomial test of how many bytes are equal: one in 256."""
    equal = int(np.count_nonzero(bytes_of(one) == bytes_of(other)))
    return bool(stats.binomtest(equal, one.nbytes, 1 / 256).pvalue > ALPHA)


def same_distribution(one: Words, other: Words) -> bool:
    """Two-sample chi-square test of the bytes at each place of a word."""
    left, right = (bytes_of(v).reshape(-1, v.itemsize) for v in (one, other))
    pvalues = []
    for place in range(one.itemsize):
        table = np.array([np.bincount(side[:, place], minlength=256) for side in (left, right)])
        pvalues.append(stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue)
    return min(pvalues) > ALPHA


def masked(vector: Words, federation: Federation | None = None) -> Words:
    """A site's vector as the hub gets it."""
    federation = federation or Federation(3).set_up()
    party = federation.parties[0]
    return federation.mask(party, federation.requests()[party], vector)


def inputs(dtype: Kind) -> dict[str, Words]:
    steps, top = np.arange(SIZE, dtype=dtype), dtype(1 << (8 * np.dtype(dtype).itemsize - 1))
    return {"zeros": zeros(dtype), "high": np.full(SIZE, top), "steps": steps, "small": steps % dtype(3)}


@pytest.mark.parametrize("dtype", DTYPES)
class TestUniform:
    @pytest.mark.parametrize("name", ["zeros", "high", "steps", "small"])
    def test_a_masked_vector_is_uniform_noise(self, dtype: Kind, name: str) -> None:
        found = masked(inputs(dtype)[name])
        assert uniform(found)
        assert no_serial_correlation(found)

    def test_so_it_is_under_the_masks_of_pairs_alone(self, dtype: Kind) -> None:
        """That is what protects a site whose own seed was opened."""
        federation = Federation(3).set_up()
        party = federation.parties[1]
        opening = open_sum(federation.members[party], federation.states[party], federation.requests()[party])
        found = zeros(dtype)
        pairs = list(opening.plus[1:]), opening.minus
        assert sum(map(len, pairs)) == 2
        add_streams(found, *pairs)
        assert uniform(found)
        assert no_serial_correlation(found)

    @pytest.mark.parametrize("name", ["high", "steps", "small"])
    def test_what_is_masked_makes_no_difference(self, dtype: Kind, name: str) -> None:
        vector = inputs(dtype)[name]
        found = masked(vector)
        assert same_distribution(found, masked(zeros(dtype)))
        assert agree_by_chance(found, vector)
        assert name == "high" or uncorrelated(found, vector)

    def test_masks_of_different_sums_and_sites_have_nothing_in_common(self, dtype: Kind) -> None:
        federation = Federation(3).set_up()
        seen: list[Words] = []
        for _ in range(3):
            asked = federation.requests()
            seen += [federation.mask(party, asked[party], zeros(dtype)) for party in federation.parties]
        for place, one in enumerate(seen):
            for other in seen[:place]:
                assert agree_by_chance(one, other)
                assert uncorrelated(one, other)
                assert uniform(one - other)

    def test_one_bit_of_a_key_changes_half_of_the_stream(self, dtype: Kind) -> None:
        key = new_secret()
        streams = []
        for bit in (None, 0, 255):
            changed = bytearray(key)
            if bit is not None:
                changed[bit // 8] ^= 1 << (bit % 8)
            stream = zeros(dtype)
            add_streams(stream, [bytes(changed)])
            streams.append(stream)
        for other in streams[1:]:
            differing = int(np.unpackbits(bytes_of(streams[0] ^ other)).sum())
            assert stats.binomtest(differing, 8 * other.nbytes, 0.5).pvalue > ALPHA


def wrong(dtype: Kind, how: str) -> Callable[..., None]:
    """`add_streams`, broken."""
    bits = 8 * np.dtype(dtype).itemsize

    def add(vector: Words, plus: object, minus: object = ()) -> None:
        noise = np.random.default_rng().integers(0, (1 << bits) - 1, len(vector), dtype, endpoint=True)
        if how == "half":  # a stream of half the width
            noise >>= dtype(bits // 2)
        elif how == "sign":  # one bit of 32 or 64 is never set
            noise &= dtype((1 << (bits - 1)) - 1)
        elif how == "repeats":
            noise = np.resize(noise[:4096], len(vector))
        elif how == "walks":  # each number starts from the one before
            noise = np.cumsum(noise >> dtype(bits // 2 + 3), dtype=dtype)
        elif how == "same":
            noise = np.random.default_rng(1).integers(0, (1 << bits) - 1, len(vector), dtype, endpoint=True)
        vector += noise

    return add


@pytest.mark.parametrize("dtype", DTYPES)
class TestControls:
    """Wrong masks that each statistic has to reject."""

    @pytest.mark.parametrize("how", ["half", "sign"])
    def test_a_mask_that_does_not_fill_the_range_is_rejected(
        self, dtype: Kind, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_module, "add_streams", wrong(dtype, how))
        found = masked(zeros(dtype))
        assert not uniform(found)
        assert not same_distribution(found, masked(inputs(dtype)["high"]))

    @pytest.mark.parametrize("how", ["repeats", "walks"])
    def test_a_mask_whose_numbers_depend_on_each_other_is_rejected(
        self, dtype: Kind, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_module, "add_streams", wrong(dtype, how))
        assert not no_serial_correlation(masked(zeros(dtype)))

    def test_a_mask_that_is_used_twice_is_rejected(self, dtype: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(node_module, "add_streams", wrong(dtype, "same"))
        one, other = (masked(zeros(dtype)) for _ in range(2))
        assert uniform(one)  # which alone would not show it
        assert not agree_by_chance(one, other)
        assert not uncorrelated(one, other)

    def test_a_vector_that_is_not_masked_is_rejected(self, dtype: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(node_module, "add_streams", lambda *_: None)
        steps = inputs(dtype)["steps"]
        assert not uncorrelated(masked(steps), steps)
        assert not agree_by_chance(masked(steps), steps)
        assert not uniform(masked(steps))

    def test_noise_that_is_too_even_is_rejected(self, dtype: Kind) -> None:
        assert not uniform(np.arange(SIZE, dtype=dtype) * dtype((1 << (8 * np.dtype(dtype).itemsize)) // SIZE + 1))
