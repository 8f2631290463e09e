"""A hub that means harm, with the sites that are one with it: everything they hold of one sum, and all that follows.

Streams whose keys it does not have are independent and uniform to it. So of the honest sites' vectors it learns those
linear combinations in which every such stream cancels, and no other: a stream of a seed stands in one vector alone, a
stream of two sites in the vectors of both if these masked with the same keys, else in one. What cancels is constant on
the connected pieces of "shares an unknown stream"; a piece with a stream that stands in one vector alone gives nothing.
"""

from collections.abc import Collection

from flame_fl.secagg.epoch import channel_key, commitment_of, context_of, pair_stream, places, seed_stream
from flame_fl.secagg.keys import public_of, sign, unseal
from flame_fl.secagg.messages import MaskRequest, Shares
from flame_fl.secagg.node import _about
from flame_fl.secagg.sharing import join
from flame_fl.secagg.streams import Words, add_streams
from tests.support.secagg import Federation


class Adversary:
    """Built when the keys of a sum are published and nobody has masked yet."""

    def __init__(self, federation: Federation, colluders: Collection[str] = ()) -> None:
        self.colluders = frozenset(colluders)
        self.keys = {party: said.key for party, said in federation.published.items()}
        self.threshold, self.place = federation.parameters.threshold, places(federation.parties)
        self.seed_shares: dict[str, dict[int, bytes]] = {party: {} for party in self.keys}
        self.key_shares: dict[str, dict[int, bytes]] = {party: {} for party in self.keys}
        self.requests: dict[str, MaskRequest] = {}
        self.masked: dict[str, Words] = {}
        self._own: dict[str, tuple[bytes, bytes]] = {}
        self._members = federation.members
        for party in self.colluders:
            state = federation.states[party]
            assert state.next is not None
            assert state.setup is not None
            self._own[party] = bytes.fromhex(state.next.seed or ""), bytes.fromhex(state.next.key or "")
            for other, said in federation.published.items():
                if other != party:
                    box = channel_key(bytes.fromhex(state.channel), bytes.fromhex(state.holders[other]), state.setup)
                    about = _about(state.setup, said.key.index, other, party)
                    text = unseal(box, bytes.fromhex(said.shares[party]), about)
                    self.seed_shares[other][self.place[party]] = text[:32]
                    self.key_shares[other][self.place[party]] = text[32:]

    def saw(self, party: str, request: MaskRequest, masked: Words) -> None:
        """An honest site's masked vector, and what it had been told."""
        self.requests[party], self.masked[party] = request, masked

    def hear(self, answer: Shares) -> None:
        """An honest site's shares."""
        for party, share in answer.seeds.items():
            self.seed_shares[party][self.place[answer.party]] = bytes.fromhex(share)
        for party, share in answer.keys.items():
            self.key_shares[party][self.place[answer.party]] = bytes.fromhex(share)

    def context(self, party: str) -> str:
        """What an honest site's masks are bound to."""
        request = self.requests[party]
        return context_of(request.keys[0].setup, request.index, request.keys)

    def signatures(self, context: str, survivors: Collection[str]) -> dict[str, str]:
        """The colluders' under a list."""
        said = [context, sorted(survivors)]
        return {party: sign(self._members[party].identity, "survivors", said) for party in self.colluders}

    def seed(self, party: str) -> bytes | None:
        """Of a site's own mask, if it is known."""
        if party in self._own:
            return self._own[party][0]
        seed = self._joined(self.seed_shares[party])
        return seed if seed and commitment_of(seed) == self.keys[party].commitment else None

    def key(self, party: str) -> bytes | None:
        """A site's private key, if it is known."""
        if party in self._own:
            return self._own[party][1]
        key = self._joined(self.key_shares[party])
        return key if key and public_of(key).hex() == self.keys[party].mask else None

    def _joined(self, shares: dict[int, bytes]) -> bytes | None:
        return join(shares, self.threshold) if len(shares) >= self.threshold else None

    def learned(self) -> dict[frozenset[str], Words]:
        """The smallest sets of honest sites whose sum it has, with that sum: worked out from what it holds."""
        known = {party for party in self.keys if self.key(party)}
        seeds = {party for party in self.masked if self.seed(party)}
        found: dict[frozenset[str], Words] = {}
        left = set(self.masked)
        while left:
            piece, todo, alone = set[str](), [min(left)], False
            while todo:
                party = todo.pop()
                piece.add(party)
                alone |= party not in seeds
                for key in self.requests[party].keys:
                    if key.party == party or {key.party, party} & known:
                        continue
                    if key.party in self.masked and self.context(key.party) == self.context(party):
                        todo += [key.party] if key.party not in piece else []
                    else:
                        alone = True
            left -= piece
            if not alone:
                found[frozenset(piece)] = self._stripped(piece)
        return found

    def _stripped(self, piece: Collection[str]) -> Words:
        total, plus, minus = sum(self.masked[party] for party in piece), list[bytes](), list[bytes]()
        for party in piece:
            context, seed = self.context(party), self.seed(party)
            assert seed is not None
            minus.append(seed_stream(seed, context, party))
            for key in self.requests[party].keys:
                if key.party == party:
                    continue
                mine, theirs = self.key(party), self.key(key.party)
                if mine:
                    stream = pair_stream(mine, bytes.fromhex(key.mask), context, (party, key.party))
                elif theirs:
                    own = bytes.fromhex(self.keys[party].mask)
                    stream = pair_stream(theirs, own, context, (party, key.party))
                else:
                    continue  # the other of the piece has it with the other sign
                (minus if party < key.party else plus).append(stream)
        add_streams(total, plus, minus)  # type: ignore[arg-type]
        return total  # type: ignore[return-value]
