"""Where random words come from: one fresh key per call, a known cipher, nothing kept."""

import os

import numpy as np
import pytest

from flame_fl.privacy import randomness
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.privacy.randomness import KEY_BYTES, Stream, fresh_key, seeded_key

SIGMA_SQUARED = (1 << 40, 1)
# RFC 8439, appendix A.1, test vectors 1 and 2: the first two blocks of the all-zero key and nonce
RFC_8439 = bytes.fromhex(
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
)


class TestStream:
    def test_its_words_are_chacha20s(self) -> None:
        assert Stream(bytes(32)).words(32).tolist() == np.frombuffer(RFC_8439, dtype="<u4").tolist()

    def test_whoever_asks_gets_the_next_bits_and_none_twice(self) -> None:
        stream = Stream(bytes(32))
        first = stream.words(4).tobytes()
        between = stream.integer(16).to_bytes(16, "big")
        assert first + between + stream.words(4).tobytes() + stream.words(8).tobytes() == RFC_8439[:80]

    def test_another_key_is_another_stream(self) -> None:
        assert Stream(bytes(32)).words(4).tolist() != Stream(bytes(31) + b"\1").words(4).tolist()


class TestKeys:
    def test_a_key_is_the_operating_systems_and_256_bits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr(os, "urandom", lambda size: asked.append(size) or b"k" * size)
        assert fresh_key() == b"k" * KEY_BYTES
        assert asked == [32]

    def test_every_call_has_a_key_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real, keys = os.urandom, []

        def written_down(size: int) -> bytes:
            keys.append(real(size))
            return keys[-1]

        monkeypatch.setattr(randomness.os, "urandom", written_down)
        noise = ExactNoise()
        draws = [noise.discrete_gaussian(SIGMA_SQUARED, 50).tolist() for _ in range(5)]
        assert len(set(keys)) == len(keys) == 5
        assert len({tuple(draw) for draw in draws}) == 5

    def test_a_key_used_again_would_be_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A seeded mistake: the test above fails if the system's randomness repeats itself."""
        monkeypatch.setattr(randomness.os, "urandom", bytes)
        one, other = (ExactNoise().discrete_gaussian(SIGMA_SQUARED, 50).tolist() for _ in range(2))
        assert one == other

    def test_a_forked_process_draws_other_noise(self) -> None:
        """After the parent has drawn, so that anything kept between calls would be inherited."""
        noise = ExactNoise()
        noise.discrete_gaussian(SIGMA_SQUARED, 50)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.write(write, noise.discrete_gaussian(SIGMA_SQUARED, 50).tobytes())
            os._exit(0)
        os.close(write)
        mine = noise.discrete_gaussian(SIGMA_SQUARED, 50)
        theirs = b"".join(iter(lambda: os.read(read, 4096), b""))
        os.close(read)
        assert os.waitpid(child, 0)[1] == 0
        assert len(theirs) == 400
        assert np.count_nonzero(np.frombuffer(theirs, dtype=np.int64) == mine) <= 3  # more: by chance below 1e-20

    def test_a_tests_keys_differ_by_seed_and_by_call(self) -> None:
        keys = {seeded_key(seed, call) for seed in (-1, 0, 1, 11) for call in (0, 1, 11)}
        assert len(keys) == 12
        assert {len(key) for key in keys} == {KEY_BYTES}
