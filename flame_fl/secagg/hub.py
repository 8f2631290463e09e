"""The hub's half: who is in a sum, and how the masks come off. Nobody trusts it, so it has no secret.

What it cannot do is what the DIZ's half refuses; what it may find out is that a DIZ sent a wrong share: every seed was
committed to and every key is public, so that a wrong one is noticed, and others are tried.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import SystemRandom

from flame_fl.secagg.epoch import commitment_of, context_of, pair_stream, places, seed_stream
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.keys import public_of
from flame_fl.secagg.messages import MaskKey, MaskRequest, Published, Shares
from flame_fl.secagg.sharing import join
from flame_fl.secagg.streams import Words, add_streams

_MOST_TRIES = 1000


def requests(published: Mapping[str, Published]) -> dict[str, MaskRequest]:
    """What each DIZ is told of a sum over all that published a key for it."""
    for party, said in published.items():
        if said.key.party != party or not published.keys() - {party} <= said.shares.keys():
            raise MaskError(f"what {party} published is not its own, or not for every site in the sum")
    keys = tuple(published[party].key for party in sorted(published))
    return {
        party: MaskRequest(
            epoch=keys[0].epoch,
            index=keys[0].index,
            keys=keys,
            shares={other: said.shares[party] for other, said in sorted(published.items()) if other != party},
        )
        for party in published
    }


def remove_masks(
    total: Words,
    holders: Sequence[str],
    threshold: int,
    *,
    keys: Mapping[str, MaskKey],
    answers: Mapping[str, Shares],
    survivors: Sequence[str],
    context: str | None = None,
) -> None:
    """Take the masks off the sum of the survivors' vectors, in place.

    Args:
        total: Shape (m,), that sum modulo 2^32 or 2^64.
        holders: Who is in the set-up.
        threshold: So many shares open a secret there.
        keys: Who is in the sum, with their keys.
        answers: The shares, by who sent them.
        survivors: Whose vectors are in `total`.
        context: What the sites say that the sum is bound to; None where nothing was asked.

    Raises:
        MaskError: Too few shares fit; nothing is learned of the sum.
    """
    place = places(holders)
    first = next(iter(keys.values()))
    context = context or context_of(first.setup, first.index, tuple(keys.values()))
    plus: list[bytes] = []
    minus: list[bytes] = []
    for party in survivors:
        shares = {
            place[a]: bytes.fromhex(said.seeds[party])
            for a, said in answers.items()
            if a in place and party in said.seeds
        }
        seed = _opened(shares, threshold, partial(_is_seed, keys[party]))
        minus.append(seed_stream(seed, context, party))
    for party in sorted(keys.keys() - set(survivors)):
        shares = {
            place[a]: bytes.fromhex(said.keys[party])
            for a, said in answers.items()
            if a in place and party in said.keys
        }
        key = _opened(shares, threshold, partial(_is_key, keys[party]))
        for other in survivors:
            stream = pair_stream(key, bytes.fromhex(keys[other].mask), context, (party, other))
            (minus if other < party else plus).append(stream)
    add_streams(total, plus, minus)


def _is_seed(key: MaskKey, secret: bytes) -> bool:
    return commitment_of(secret) == key.commitment


def _is_key(key: MaskKey, secret: bytes) -> bool:
    return public_of(secret).hex() == key.mask


def _opened(shares: Mapping[int, bytes], threshold: int, fits: Callable[[bytes], bool]) -> bytes:
    """The secret that fits what was published of it."""
    if len(shares) < threshold:
        raise MaskError(f"{len(shares)} sites sent a share that is needed, {threshold} must")
    for _ in range(_MOST_TRIES):  # at random: in order, all of the first ones would hold the first share
        secret = join({place: shares[place] for place in SystemRandom().sample(sorted(shares), threshold)}, threshold)
        if fits(secret):
            return secret
    raise MaskError("the shares that were sent do not fit what was published; a site sent a wrong one")
