"""An honest federation under masks: n DIZ, and a hub that only passes on what they say, as the texts that would travel.

Nothing here knows Flower or a gate: states are values, and a `copy` is a fork from which a test may go several ways.
"""

import base64
import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import Self, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.secagg.epoch import Epoch
from flame_fl.secagg.hub import remove_masks, requests
from flame_fl.secagg.messages import (
    Advertisement,
    MaskRequest,
    Published,
    ShareRequest,
    Shares,
    Signed,
    Strict,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_fl.secagg.node import Member, advertise, mask, open_sum, share, sign_survivors, unmask
from flame_fl.secagg.parameters import Parameters, flaw
from flame_fl.secagg.streams import Words

CONTEXT = "00" * 32
NOBODY: tuple[str, ...] = ()
M = TypeVar("M", bound=Strict)


def fingerprint(identity: Ed25519PrivateKey) -> str:
    """How a DIZ is called."""
    digest = hashlib.sha256(identity.public_key().public_bytes_raw()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@cache
def identities(count: int) -> tuple[Ed25519PrivateKey, ...]:
    """Identity keys in the order of their fingerprints; the same for every test of this process."""
    return tuple(sorted((Ed25519PrivateKey.generate() for _ in range(count)), key=fingerprint))


def allowed(sites: int) -> list[Parameters]:
    """All terms that so many DIZ may run under."""
    pairs = ((d, c) for d in range(sites) for c in range(sites))
    return [Parameters(sites, d, c) for d, c in pairs if not flaw(sites, d, c)]


def subsets(things: Collection[str], most: int) -> Iterator[tuple[str, ...]]:
    """All subsets of at most so many."""
    for size in range(most + 1):
        yield from combinations(sorted(things), size)


class Federation:
    """One run. `parties` are sorted, so that `parties[k]` has place k + 1 in the sharing."""

    def __init__(
        self,
        sites: int,
        dropouts: int = 0,
        colluding: int = 0,
        *,
        min_sites: int | None = None,
        context: str = CONTEXT,
        supports: tuple[frozenset[str], ...] = (),
    ) -> None:
        keys = {fingerprint(identity): identity for identity in identities(sites)}
        roster = {party: identity.public_key() for party, identity in keys.items()}
        terms = (context, dropouts, colluding, min_sites or sites, supports)
        self.parameters = Parameters(sites, dropouts, colluding)
        self.parties = tuple(keys)
        self.members = {party: Member(identity, party, roster, *terms) for party, identity in keys.items()}
        self.states: dict[str, Epoch] = {}
        self.advertised: dict[str, Advertisement] = {}
        self.published: dict[str, Published] = {}
        self.transcript: list[bytes] = []
        """Every byte that passed the hub."""

    def copy(self) -> Self:
        """A fork: nothing that is done to it changes this one."""
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        fork.states, fork.published = dict(self.states), dict(self.published)
        fork.advertised, fork.transcript = dict(self.advertised), list(self.transcript)
        return fork

    def sent(self, message: M) -> M:
        """The message as its receiver reads it."""
        text = message.text()
        self.transcript.append(text.encode())
        return type(message).read(text)

    # Set-up

    def advertise(self, epoch: int = 1) -> Self:
        """The first leg: everybody's key for sealed messages."""
        for party, member in self.members.items():
            self.states[party], said = advertise(member, epoch)
            self.advertised[party] = self.sent(said)
        return self

    def share(self) -> Self:
        """The second: everybody is told all of these, and publishes for the first sum."""
        epoch = next(iter(self.advertised.values())).epoch
        request = self.sent(ShareRequest(epoch=epoch, advertisements=tuple(self.advertised.values())))
        for party, member in self.members.items():
            self.states[party], said = share(member, self.states[party], request)
            self.published[party] = self.sent(said)
        return self

    def set_up(self, epoch: int = 1) -> Self:
        """Both."""
        return self.advertise(epoch).share()

    # A sum

    @property
    def index(self) -> int:
        """Of the sum that keys were published for."""
        return next(iter(self.published.values())).key.index

    def requests(self) -> dict[str, MaskRequest]:
        """What an honest hub asks of all that published."""
        return {party: self.sent(request) for party, request in requests(self.published).items()}

    def mask(self, party: str, request: MaskRequest, vector: Words) -> Words:
        """One DIZ's masked vector, and its key for the next sum in place of the last."""
        masked = vector.copy()
        opening = open_sum(self.members[party], self.states[party], request)
        self.states[party], said = mask(self.members[party], self.states[party], opening, masked)
        self.published[party] = self.sent(said)
        self.transcript.append(masked.tobytes())
        return masked

    def mask_all(self, vectors: Mapping[str, Words], lost: Collection[str] = NOBODY) -> dict[str, Words]:
        """Everybody's masked vectors, but of those that are lost; what these had published is gone too."""
        asked = self.requests()
        masked = {party: self.mask(party, asked[party], vectors[party]) for party in asked if party not in lost}
        self.published = {party: self.published[party] for party in masked}
        return masked

    def sign(self, party: str, survivors: Collection[str], index: int) -> Signed:
        """One DIZ's signature under a list."""
        request = SurvivorsRequest(epoch=self.states[party].epoch, index=index, survivors=tuple(sorted(survivors)))
        self.states[party], said = sign_survivors(self.members[party], self.states[party], self.sent(request))
        return self.sent(said)

    def unmask(
        self, party: str, survivors: Collection[str], index: int, signatures: Mapping[str, str] | None = None
    ) -> Shares:
        """One DIZ's shares."""
        request = UnmaskRequest(
            epoch=self.states[party].epoch,
            index=index,
            survivors=tuple(sorted(survivors)),
            signatures=dict(signatures or {}),
        )
        self.states[party], said = unmask(self.members[party], self.states[party], self.sent(request))
        return self.sent(said)

    def sum(
        self,
        vectors: Mapping[str, Words],
        *,
        never: Collection[str] = NOBODY,
        masked: Collection[str] = NOBODY,
        signed: Collection[str] = NOBODY,
    ) -> tuple[Words, tuple[str, ...]]:
        """A whole round.

        Args:
            vectors: By party, of those that are in the sum at least.
            never: Lost before their vector came.
            masked: Lost after it came, before they signed the list: they are in the sum.
            signed: Lost after they signed, before they answered; the same as `masked` where nobody signs.

        Returns:
            The sum as the hub has it, and whose vectors are in it. Who was lost is out of the next sum.
        """
        keys, index = {party: said.key for party, said in self.published.items()}, self.index
        came = self.mask_all(vectors, never)
        survivors = tuple(sorted(came))
        signatures: dict[str, str] = {}
        if len(survivors) < len(keys):
            signatures = {p: self.sign(p, survivors, index).signature for p in survivors if p not in masked}
        answering = [party for party in survivors if party not in masked and party not in signed]
        answers = {party: self.unmask(party, survivors, index, signatures) for party in answering}
        total = added(came)
        remove_masks(total, self.parties, self.parameters.threshold, keys=keys, answers=answers, survivors=survivors)
        self.published = {party: self.published[party] for party in answering}
        return total, survivors


def added(vectors: Mapping[str, Words]) -> Words:
    """Their sum, modulo 2^32 or 2^64."""
    total: Words = np.zeros_like(next(iter(vectors.values())))
    for vector in vectors.values():
        total += vector  # type: ignore[arg-type]
    return total


def drawn(
    parties: Collection[str], size: int, seed: int, dtype: type[np.uint32 | np.uint64] = np.uint32
) -> dict[str, Words]:
    """A vector for each, over the whole range of the type."""
    source = np.random.default_rng(seed)
    most = np.iinfo(dtype).max
    return {party: source.integers(0, most, size, dtype=dtype, endpoint=True) for party in parties}
