"""Keys that the DIZ agree on through a hub: what a curious hub sees, and what one that meddles gets."""

import secrets

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_age.agreement import FEWEST, Circle, Member, in_words, pairing_key, public_of
from kernel_age.errors import InputError

NODES = (3, 5, 2**63 - 1)


def members(run: int = 1, pairing: bytes = b"", privates: list[bytes] | None = None) -> list[Member]:
    privates = privates or [secrets.token_bytes(32) for _ in NODES]
    circle = Circle(run, NODES, tuple(map(public_of, privates)))
    return [Member(circle, n, private, pairing) for n, private in zip(NODES, privates, strict=True)]


def test_every_site_opens_the_leaders_seed_and_no_other_sites_box() -> None:
    parties, seed = members(), secrets.token_bytes(32)
    boxes = {n: parties[0].seal(seed, n) for n in NODES}
    assert [party.unseal(boxes[party.node], NODES[0]) for party in parties] == [seed] * 3
    with pytest.raises(InputError, match="does not open"):
        parties[1].unseal(boxes[NODES[2]], NODES[0])


def test_what_passes_the_hub_holds_no_secret() -> None:
    """Keys and boxes hold neither the seed nor a private key, and opening a box with what is public fails."""
    parties, seed = members(), secrets.token_bytes(32)
    boxes = [parties[0].seal(seed, n) for n in NODES]
    transcript = b"".join([*parties[0].circle.keys, *boxes])
    assert not any(secret in transcript for secret in (seed, *(party.private for party in parties)))
    outsider = secrets.token_bytes(32)
    circle = Circle(1, (*NODES[:2], NODES[2]), (*parties[0].circle.keys[:2], public_of(outsider)))
    with pytest.raises(InputError, match="does not open"):
        Member(circle, NODES[2], outsider).unseal(boxes[1], NODES[0])
    assert not any(secret.hex() in repr(parties[0]) for secret in (parties[0].private, parties[1].private))


def between() -> tuple[Member, Member, list[bytes]]:
    """The leader and a victim as a hub that stands between them shows each to the other, and the hub's private keys."""
    honest, hub = [secrets.token_bytes(32) for _ in NODES], [secrets.token_bytes(32) for _ in NODES]
    seen = [[public_of((honest if i == j else hub)[j]) for j in range(3)] for i in range(3)]
    leader, victim = (Member(Circle(1, NODES, tuple(seen[i])), NODES[i], honest[i]) for i in (0, 1))
    return leader, victim, hub


def test_a_hub_with_keys_of_its_own_shows_in_the_fingerprints() -> None:
    leader, victim, _ = between()
    assert leader.circle.fingerprint != victim.circle.fingerprint
    with pytest.raises(InputError, match="Compare the fingerprints"):  # passing the box on does not work either
        victim.unseal(leader.seal(secrets.token_bytes(32), NODES[1]), NODES[0])


def as_hub(member: Member, hub: list[bytes], own: int, pairing: bytes = b"") -> Member:
    """What the hub holds in a DIZ's circle: the private key that it gave out for place `own`."""
    return Member(member.circle, NODES[own], hub[own], pairing)


def test_without_a_pairing_key_such_a_hub_reads_the_seed_and_chooses_the_victims() -> None:
    """What comparing fingerprints is for: nothing else in the protocol notices."""
    leader, victim, hub = between()
    seed = secrets.token_bytes(32)
    assert as_hub(leader, hub, 1).unseal(leader.seal(seed, NODES[1]), NODES[0]) == seed
    chosen = bytes(32)
    assert victim.unseal(as_hub(victim, hub, 0).seal(chosen, NODES[1]), NODES[0]) == chosen


def test_with_a_pairing_key_it_opens_and_forges_nothing() -> None:
    leader, victim, hub = between()
    pairing = secrets.token_bytes(32)
    leader, victim = (Member(one.circle, one.node, one.private, pairing) for one in (leader, victim))
    for guess in (b"", secrets.token_bytes(32)):
        with pytest.raises(InputError, match="does not open"):
            as_hub(leader, hub, 1, guess).unseal(leader.seal(bytes(32), NODES[1]), NODES[0])
        with pytest.raises(InputError, match="does not open"):
            victim.unseal(as_hub(victim, hub, 0, guess).seal(bytes(32), NODES[1]), NODES[0])


def test_a_box_of_another_run_does_not_open() -> None:
    privates = [secrets.token_bytes(32) for _ in NODES]
    one, two = members(1, privates=privates), members(2, privates=privates)
    with pytest.raises(InputError, match="does not open"):
        two[1].unseal(one[0].seal(bytes(32), NODES[1]), NODES[0])


@pytest.mark.parametrize("place", [0, 11, 12, 43, 44, 59])
def test_a_changed_box_does_not_open(place: int) -> None:
    parties = members()
    box = bytearray(parties[0].seal(bytes(32), NODES[1]))
    box[place] ^= 1
    with pytest.raises(InputError, match="does not open"):
        parties[1].unseal(bytes(box), NODES[0])


@pytest.mark.parametrize("length", [0, 11, 12, 59])
def test_a_box_cut_short_does_not_open(length: int) -> None:
    parties = members()
    with pytest.raises(InputError, match="does not open"):
        parties[1].unseal(parties[0].seal(bytes(32), NODES[1])[:length], NODES[0])


def test_a_key_of_small_order_gives_no_secret() -> None:
    private = secrets.token_bytes(32)
    member = Member(Circle(1, NODES, (bytes(32), public_of(private), b"\x01" + bytes(31))), NODES[1], private)
    with pytest.raises(InputError, match="gives no secret"):
        member.seal(bytes(32), NODES[0])


def test_a_site_whose_own_key_was_swapped_refuses() -> None:
    keys = tuple(public_of(secrets.token_bytes(32)) for _ in NODES)
    with pytest.raises(InputError, match="do not hold its own"):
        Member(Circle(1, NODES, keys), NODES[0], secrets.token_bytes(32))


KEYS = tuple(public_of(bytes([i]) * 32) for i in range(1, 4))


@pytest.mark.parametrize(
    ("nodes", "keys", "sentence"),
    [
        (NODES[:2], KEYS[:2], f"at least {FEWEST}"),
        ((5, 3, 9), KEYS, "in the order"),
        ((3, 3, 9), KEYS, "in the order"),
        (NODES, (KEYS[0], KEYS[0], KEYS[1]), "key of its own"),
        (NODES, KEYS[:2], "key of its own"),
        (NODES, (*KEYS[:2], KEYS[2][:31]), "32 bytes"),
    ],
    ids=["two", "unordered", "twice", "shared key", "a key too few", "short"],
)
def test_what_is_no_circle_is_refused(nodes: tuple[int, ...], keys: tuple[bytes, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Circle(1, nodes, keys)


@given(values=st.lists(st.floats(-(2.0**18) + 1, 2.0**18 - 1), min_size=1, max_size=20))
def test_the_receiver_reads_the_sum_to_fixed_point(values: list[float]) -> None:
    one, two, three = members()
    numbers = np.array(values)
    salts = {one.node: secrets.token_bytes(32), three.node: secrets.token_bytes(32)}
    total = one.hide(numbers, two.node, salts[one.node]) + three.hide(-numbers / 3, two.node, salts[three.node])
    np.testing.assert_allclose(two.reveal(total, salts), numbers * (2 / 3), rtol=0, atol=2.0**-40 + 1e-10)


def test_a_hidden_number_looks_like_any_other_and_never_the_same_twice() -> None:
    one, two, _ = members()
    zeros = [one.hide(np.zeros(4000), two.node, secrets.token_bytes(32)) for _ in range(2)]
    assert (zeros[0] != zeros[1]).all()
    for words in zeros:  # bits are even, to 5 standard errors
        bits = np.unpackbits(words.view(np.uint8))
        assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(bits))


def test_who_is_not_the_receiver_reads_nothing() -> None:
    one, two, three = members()
    salt = secrets.token_bytes(32)
    hidden = one.hide(np.arange(5.0), two.node, salt)
    assert np.abs(three.reveal(hidden, {one.node: salt}) - np.arange(5.0)).min() > 1
    np.testing.assert_allclose(two.reveal(hidden, {one.node: salt}), np.arange(5.0))


@pytest.mark.parametrize("number", [2.0**18, -(2.0**18), np.inf, -np.inf, np.nan])
def test_a_number_out_of_range_is_not_hidden(number: float) -> None:
    one, two, _ = members()
    with pytest.raises(InputError, match="out of range"):
        one.hide(np.array([0.0, number]), two.node, bytes(32))


def test_a_pairing_key_is_32_bytes_in_hexadecimal_digits() -> None:
    assert pairing_key("ab" * 32, required=True) == b"\xab" * 32
    assert pairing_key("ab" * 32, required=False) == b""
    for text in (None, "", "a secret phrase", "AB" * 32, "ab" * 31, "ab" * 33, "ab" * 32 + "\n"):
        with pytest.raises(InputError, match="openssl rand -hex 32") as caught:
            pairing_key(text, required=True)
        assert not text or text.strip() not in str(caught.value)


def test_a_fingerprint_is_read_out_in_groups() -> None:
    words = in_words(members()[0].circle.fingerprint)
    assert [len(group) for group in words.split(" ")] == [4] * 16
