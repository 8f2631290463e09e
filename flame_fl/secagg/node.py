"""The DIZ's half of the protocol: pure transitions from one state and one message to the next state and the answer.

Rules this module follows:

1. Who is not on the DIZ's own roster does not take part, whatever the hub says.
2. A key masks one vector. The state after masking no longer has it, and is stored before anything leaves.
3. Of each sum a DIZ signs, or answers for, one list of survivors; one that is not everybody only with T signatures.
4. For each peer it gives a share of one secret: the seed of one that is in the sum, the key of one that is not.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flame_fl.contract.canonical import canonical_json
from flame_fl.secagg.epoch import (
    Epoch,
    Sum,
    channel_key,
    commitment_of,
    context_of,
    pair_stream,
    places,
    seed_stream,
    setup_of,
)
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.keys import new_secret, public_of, require_signature, seal, sign, unseal
from flame_fl.secagg.messages import (
    Advertisement,
    MaskKey,
    MaskRequest,
    Published,
    ShareRequest,
    Shares,
    Signed,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_fl.secagg.parameters import FEWEST_SITES, Parameters
from flame_fl.secagg.sharing import SECRET_BYTES, split
from flame_fl.secagg.streams import Words, add_streams


@dataclass(frozen=True)
class Member:
    """A DIZ in a run: who it is, whom it takes for a DIZ, and on what terms it takes part.

    Attributes:
        identity: Its identity key.
        party: The fingerprint of that key.
        roster: The DIZ of the project by fingerprint, itself among them.
        context: Digest of the analysis and the run.
        dropouts: d of the terms.
        colluding: c of the terms.
        min_sites: So many must be in a set-up.
        supports: Parties that supply each group of numbers which not all of them supply.
    """

    identity: Ed25519PrivateKey = field(repr=False)
    party: str
    roster: Mapping[str, Ed25519PublicKey]
    context: str
    dropouts: int
    colluding: int
    min_sites: int
    supports: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True)
class Opening:
    """A sum that may be masked: who is in it, and the keys of all streams."""

    index: int
    context: str
    sealed: Mapping[str, str]
    plus: tuple[bytes, ...] = field(repr=False)
    minus: tuple[bytes, ...] = field(repr=False)


def advertise(member: Member, epoch: int) -> tuple[Epoch, Advertisement]:
    """Begin a set-up with a fresh key for sealed messages."""
    secret = new_secret()
    channel = public_of(secret).hex()
    said = {"context": member.context, "epoch": epoch, "channel": channel}
    state = Epoch(epoch=epoch, channel=secret.hex(), dropouts=member.dropouts, colluding=member.colluding)
    signature = sign(member.identity, "advertisement", said)
    return state, Advertisement(party=member.party, epoch=epoch, channel=channel, signature=signature)


def share(member: Member, state: Epoch, request: ShareRequest) -> tuple[Epoch, Published]:
    """Take part with those that advertised, and publish the first sum's key.

    Raises:
        MaskError: One of them is on no roster, did not sign its key, or they are too few for the terms.
    """
    _same(request.epoch, state.epoch, "set-up")
    if state.holders:
        raise MaskError("this set-up has its participants already")
    channels = {ad.party: ad.channel for ad in request.advertisements}
    if len(channels) < len(request.advertisements):
        raise MaskError("a site stands in a set-up twice")
    for ad in request.advertisements:
        _same(ad.epoch, state.epoch, "set-up")
        said = {"context": member.context, "epoch": ad.epoch, "channel": ad.channel}
        require_signature(_identity(member, ad.party), ad.signature, "advertisement", said)
    if channels.get(member.party) != public_of(bytes.fromhex(state.channel)).hex():
        raise MaskError("this site's own key is not in the set-up")
    if len(channels) < member.min_sites:
        raise MaskError(f"{len(channels)} sites are in the set-up, the terms ask for {member.min_sites}")
    parameters = Parameters(len(channels), state.dropouts, state.colluding)
    parameters.check()
    setup = setup_of(member.context, state.epoch, parameters, channels)
    taken = state.model_copy(update={"holders": dict(sorted(channels.items())), "setup": setup})
    first, published = _publish(member, taken, 1)
    return taken.model_copy(update={"sums": (first,)}), published


def open_sum(member: Member, state: Epoch, request: MaskRequest, asked: str = "") -> Opening:
    """Check who is in a sum, before the data are looked at.

    Args:
        member: This DIZ.
        state: Its set-up.
        request: Who is in the sum.
        asked: Digest of what is asked: masks of sites that were asked something else do not cancel.

    Raises:
        MaskError: The key for this sum was used, a site's key is not its own or of another set-up or sum, or the sites
            are too few.
    """
    _same(request.epoch, state.epoch, "set-up")
    own = state.next
    if own is None or own.seed is None or own.key is None or state.setup is None:
        raise MaskError("there is no unused key in this set-up")
    _same(request.index, own.index, "sum")
    keys = {key.party: key for key in request.keys}
    if len(keys) < len(request.keys) or not keys.keys() <= state.holders.keys():
        raise MaskError("a site stands in a sum twice, or is not in its set-up")
    for key in request.keys:
        _same(key.epoch, state.epoch, "set-up")
        _same(key.index, own.index, "sum")
        if key.setup != state.setup:
            raise MaskError("a site was told of another set-up")
        require_signature(_identity(member, key.party), key.signature, "mask-key", _said(key))
    mine = keys.get(member.party)
    if mine is None or mine.mask != public_of(bytes.fromhex(own.key)).hex():
        raise MaskError("this site's own key is not in the sum")
    if state.last is not None and not keys.keys() <= set(state.last.listed or {*state.last.sealed, member.party}):
        raise MaskError("a site that was not in the sum before is in this one; it may come back in a new set-up")
    _require_enough(state.parameters, keys, member.supports)
    if request.shares.keys() != keys.keys() - {member.party}:
        raise MaskError("the shares are not those of the sites in the sum")
    context = context_of(state.setup, own.index, request.keys, asked)
    plus, minus = [seed_stream(bytes.fromhex(own.seed), context, member.party)], list[bytes]()
    for party, key in sorted(keys.items()):
        if party != member.party:
            stream = pair_stream(bytes.fromhex(own.key), bytes.fromhex(key.mask), context, (member.party, party))
            (plus if member.party < party else minus).append(stream)
    return Opening(own.index, context, {**request.shares, member.party: ""}, tuple(plus), tuple(minus))


def mask(
    member: Member, state: Epoch, opening: Opening, vector: Words, *, whole: bool = False
) -> tuple[Epoch, Published]:
    """Mask a vector in place, and publish the next sum's key. The state that is returned cannot mask this sum again."""
    own = state.next
    if own is None or own.index != opening.index:
        raise MaskError("there is no unused key for this sum")
    add_streams(vector, opening.plus, opening.minus)
    sealed = {party: text for party, text in opening.sealed.items() if text}
    used = own.model_copy(
        update={"seed": None, "key": None, "context": opening.context, "sealed": sealed, "whole": whole}
    )
    following, published = _publish(member, state, own.index + 1)
    return state.model_copy(update={"sums": (used, following)}), published


def sign_survivors(member: Member, state: Epoch, request: SurvivorsRequest) -> tuple[Epoch, Signed]:
    """Sign whose vectors are in a sum.

    Raises:
        MaskError: Another list was signed or answered, or these are too few.
    """
    state, one = _listed(member, state, request)
    signature = sign(member.identity, "survivors", [one.context, list(request.survivors)])
    return state, Signed(party=member.party, signature=signature)


def unmask(member: Member, state: Epoch, request: UnmaskRequest) -> tuple[Epoch, Shares]:
    """This DIZ's shares: what takes the masks off the sum of exactly these sites.

    Raises:
        MaskError: Another list was signed or answered, these are too few, or fewer than T signed that others dropped
            out.
    """
    state, one = _listed(member, state, request)
    everybody = {*one.sealed, member.party}
    survivors = set(request.survivors)
    if survivors != everybody:
        signers = [party for party in request.signatures if party in state.holders]
        for party in signers:
            said = [one.context, list(request.survivors)]
            require_signature(_identity(member, party), request.signatures[party], "survivors", said)
        if len(signers) < state.parameters.threshold:
            raise MaskError(f"{len(signers)} sites signed who is alive, {state.parameters.threshold} must")
    seeds, keys = {}, {}
    for party in sorted(everybody):
        try:
            seed_share, key_share = _shares_of(member, state, one, party)
        except MaskError:  # what one site sealed wrongly hinders no other
            continue
        if party in survivors:
            seeds[party] = seed_share
        else:
            keys[party] = key_share
    return state, Shares(party=member.party, seeds=seeds, keys=keys)


def _publish(member: Member, state: Epoch, index: int) -> tuple[Sum, Published]:
    """A fresh key and seed for a sum: shared with everybody of the set-up, sealed for each."""
    assert state.setup is not None  # noqa: S101  (only a set-up with participants publishes)
    seed, key = new_secret(), new_secret()
    threshold, place = state.parameters.threshold, places(state.holders)
    seeds, keys = (split(secret, threshold, len(place)) for secret in (seed, key))
    own = place[member.party]
    sealed = {}
    for party, channel in state.holders.items():
        if party != member.party:
            box = channel_key(bytes.fromhex(state.channel), bytes.fromhex(channel), state.setup)
            text = seeds[place[party]] + keys[place[party]]
            sealed[party] = seal(box, text, _about(state.setup, index, member.party, party)).hex()
    unsigned = MaskKey(
        party=member.party,
        epoch=state.epoch,
        index=index,
        setup=state.setup,
        mask=public_of(key).hex(),
        commitment=commitment_of(seed),
        signature="0" * 128,
    )
    signature = sign(member.identity, "mask-key", _said(unsigned))
    stated = unsigned.model_copy(update={"signature": signature})
    kept = Sum(index=index, seed=seed.hex(), key=key.hex(), own_shares=(seeds[own].hex(), keys[own].hex()))
    return kept, Published(key=stated, shares=sealed)


def _shares_of(member: Member, state: Epoch, one: Sum, party: str) -> tuple[str, str]:
    """What this DIZ holds of a peer's seed and key."""
    if party == member.party:
        return one.own_shares
    assert state.setup is not None  # noqa: S101  (a masked sum has a set-up)
    box = channel_key(bytes.fromhex(state.channel), bytes.fromhex(state.holders[party]), state.setup)
    text = unseal(box, bytes.fromhex(one.sealed[party]), _about(state.setup, one.index, party, member.party))
    if len(text) != 2 * SECRET_BYTES:
        raise MaskError("a sealed share has another length")
    return text[:SECRET_BYTES].hex(), text[SECRET_BYTES:].hex()


def _listed(member: Member, state: Epoch, request: SurvivorsRequest | UnmaskRequest) -> tuple[Epoch, Sum]:
    """Bind the last sum to one list of survivors."""
    _same(request.epoch, state.epoch, "set-up")
    one = state.last
    if one is None:
        raise MaskError("nothing was masked in this set-up yet")
    _same(request.index, one.index, "sum")
    survivors = request.survivors
    if list(survivors) != sorted(set(survivors)) or not set(survivors) <= {*one.sealed, member.party}:
        raise MaskError("a list of survivors is not sorted, or names a site that is not in the sum")
    if member.party not in survivors:
        raise MaskError("this site masked a vector, and is not among the survivors")
    if one.whole and set(survivors) != {*one.sealed, member.party}:
        raise MaskError("the totals of this sum were tested over all its sites; without one it is not unmasked")
    if one.listed is not None and one.listed != survivors:
        raise MaskError("this site has signed or answered another list of survivors for this sum")
    _require_enough(state.parameters, survivors, member.supports)
    one = one.model_copy(update={"listed": survivors})
    return state.model_copy(update={"sums": tuple(one if old.index == one.index else old for old in state.sums)}), one


def _require_enough(parameters: Parameters, parties: Collection[str], supports: tuple[frozenset[str], ...]) -> None:
    if len(parties) < parameters.fewest:
        raise MaskError(f"{len(parties)} sites are left, {parameters.fewest} are the fewest that this set-up adds up")
    least = max(FEWEST_SITES, parameters.colluding + 2)
    for group in supports:
        if len(group & set(parties)) < least:
            raise MaskError(f"fewer than {least} of the sites that supply a part of the sum are left")


def _identity(member: Member, party: str) -> Ed25519PublicKey:
    key = member.roster.get(party)
    if key is None:
        raise MaskError("a site is not on this project's roster here")
    return key


def _said(key: MaskKey) -> dict[str, object]:
    return key.model_dump(exclude={"signature"})


def _about(setup: str, index: int, sender: str, receiver: str) -> bytes:
    return canonical_json([setup, index, sender, receiver])


def _same(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise MaskError(f"a message is about another {what} than this site is in")
