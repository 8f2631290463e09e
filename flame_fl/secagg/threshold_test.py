"""Is the total over all sites at least k? Answered for m cells at a time, and nothing else is.

Each of n parties has a count x_i for each cell. What any of them learns is whether Σ x_i ≥ k: neither the total nor a
count, as long as no more than t of them (n ≥ 2t + 1) put together what they saw. The hub in between relays sealed
bytes.

1.  With c_i = min(x_i, k), which changes no answer and bounds s = Σ c_i by n·k, party i deals Shamir shares of degree
    t of c_i and of a random r_i, and shares of degree n - 1 of 0. Adding up what they got, the parties hold shares of
    s, of r = Σ r_i, and of 0.
2.  They multiply r · s·(s - 1) … (s - k + 1), in the order of `threshold_plan`. A product of shares lies on a
    polynomial of a higher degree: each party deals its own anew with degree t, and the combination that gives the
    product of n such points gives shares of it (Gennaro, Rabin and Rabin, PODC 1998, after Ben-Or, Goldwasser and
    Wigderson, STOC 1988).
3.  The last product is not dealt anew: each party adds its share of 0 to it and sends it to all. What n such points
    give is 0 if s < k, and otherwise r times something that is not 0: uniform, whatever s is. The share of 0 makes
    every other coefficient uniform too.

The protocol withstands parties that are curious, not ones that cheat: one that does not follow it may falsify the
answer. A party that stops ends the test. Every message must be sealed from party to party by the caller, who also
sees to it that a session's name is used once: here are neither keys nor clocks. docs/mpc.md has the proof.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.secagg.field import Elements, Field, expanded
from flame_fl.secagg.threshold_plan import PowerLevel
from flame_fl.secagg.threshold_terms import CountTest
from flame_fl.secagg.threshold_wire import (
    NONCE_BYTES,
    Address,
    Kept,
    read_message,
    read_state,
    write_message,
    write_state,
)

Reached = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Step:
    """What follows from a message.

    Attributes:
        party: The party from now on; its bytes must be kept until the next message.
        send: By name of each other party: what is to be sealed for it. Empty when the test is over.
        reached: For each cell whether its total is at least k, shape (cells,), when the test is over.
    """

    party: "Party"
    send: Mapping[str, bytes]
    reached: Reached | None = None


@dataclass(frozen=True)
class Party:
    """One party of a test, between two messages."""

    kept: Kept

    @classmethod
    def start(cls, test: CountTest, me: str, counts: npt.ArrayLike) -> Step:
        """Begin: the first exchange.

        Args:
            test: The test, the same for all parties.
            me: This party's name.
            counts: Its own, integers, none negative, shape (cells,).

        Raises:
            InputError: The counts are something else, the test is out of its bounds, or this party isn't in it.
        """
        test.check()
        if me not in test.parties:
            raise InputError(f"{me} does not take part in this test.")
        field, place, nonce = Field(test.prime), test.parties.index(me), secrets.token_bytes(NONCE_BYTES)
        values = np.stack([field.random(test.cells), _clamped(counts, test)])
        zero = field.deal(np.zeros((1, test.cells), dtype=np.uint64), len(test.parties) - 1, len(test.parties))
        dealt = np.concatenate([zero, field.deal(values, test.colluding, len(test.parties))], axis=1)
        nothing = np.empty((0, test.cells), dtype=np.uint64)
        return cls(Kept(test, place, 0, test.digest, nonce, nothing, nothing))._sending(dealt)

    def step(self, received: Mapping[str, bytes]) -> Step:
        """Take what all others sent in this exchange, and go on.

        Args:
            received: By name of each other party: what it sent, unsealed.

        Raises:
            InputError: A message is missing, another's or malformed, or the test is over. The party is as it was; what
                a caller can do about it is to end the test.
        """
        kept, test = self.kept, self.kept.test
        if self.over:
            raise InputError("This minimum-count test is over.")
        nonces, parts = self._opened(received)
        field = Field(test.prime)
        if kept.exchange == test.exchanges:
            empty = kept.own[:0]
            party = Party(replace(kept, exchange=kept.exchange + 1, held=empty, own=empty))
            return Step(party, {}, field.recover(np.stack(parts))[0] != 0)
        if kept.exchange == 1:
            tag = hashlib.sha256(kept.tag + b"".join(nonces)).digest()
            party = Party(replace(kept, tag=tag, held=field.add(parts)))
        else:
            party = Party(replace(kept, held=self._joined(field.recover(np.stack(parts)))))
        return party._multiplied(field)

    @property
    def over(self) -> bool:
        """Whether the result was given."""
        return self.kept.exchange > self.kept.test.exchanges

    def to_bytes(self) -> bytes:
        """What is to be kept: secret, of use for the next message only."""
        return write_state(self.kept)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Party":
        """The party that was kept.

        Raises:
            InputError: These are no such bytes.
        """
        return cls(read_state(raw))

    def _opened(self, received: Mapping[str, bytes]) -> tuple[list[bytes], list[Elements]]:
        """Nonces and elements by place, its own among them."""
        kept, parties = self.kept, self.kept.test.parties
        others = set(parties) - {parties[kept.place]}
        if missing := sorted(others - received.keys()):
            raise InputError(f"{missing[0]} sent nothing.", mend="A minimum-count test needs all its parties.")
        if received.keys() - others:
            raise InputError("A message comes from somebody that does not take part in the test.")
        nonces, parts = [], []
        for place, name in enumerate(parties):
            address = Address(kept.tag, kept.exchange, place, kept.place)
            mine = place == kept.place
            nonce, part = (kept.nonce, kept.own) if mine else read_message(received[name], address, kept.test)
            nonces.append(nonce)
            parts.append(part)
        return nonces, parts

    def _joined(self, products: Elements) -> Elements:
        """Held rows, the last level's products among them: the share of 0, then r's factor, then the others."""
        held, plan, level = self.kept.held, self.kept.test.plan, self.kept.exchange - 2
        if level < len(plan.powers):
            taken = bool(plan.powers[level].taken)
            first = products[:1] if taken else held[1:2]
            return np.concatenate([held[:1], first, held[2:], products[int(taken) :]])
        groups, found = plan.tree[level - len(plan.powers)].groups, iter(products)
        return np.stack([held[0], *(next(found) if len(group) > 1 else held[1 + group[0]] for group in groups)])

    def _multiplied(self, field: Field) -> Step:
        """Go on to the next level, or open."""
        test, plan, level = self.kept.test, self.kept.test.plan, self.kept.exchange - 1
        party = self
        if level == len(plan.powers):
            zero, mask, *powers = self.kept.held
            party = Party(replace(self.kept, held=np.stack([zero, mask, *_factors(field, plan.roots, powers)])))
        zero, *held = party.kept.held
        if level < len(plan.powers):
            products = _power_products(field, plan.powers[level], held)
        elif level < len(plan.products):
            groups = plan.tree[level - len(plan.powers)].groups
            products = [field.multiply([held[at] for at in group]) for group in groups if len(group) > 1]
        else:
            opened = field.add([zero, field.multiply(held)])[np.newaxis]
            return party._sending(np.broadcast_to(opened, (len(test.parties), *opened.shape)))
        return party._sending(field.deal(np.stack(products), test.colluding, len(test.parties)))

    def _sending(self, dealt: Elements) -> Step:
        """The next exchange; `dealt` is what each party gets, shape (parties, rows, cells)."""
        kept = replace(self.kept, exchange=self.kept.exchange + 1, own=dealt[self.kept.place])
        nonce = kept.nonce if kept.exchange == 1 else b""
        send = {
            name: write_message(Address(kept.tag, kept.exchange, kept.place, place), nonce, dealt[place])
            for place, name in enumerate(kept.test.parties)
            if place != kept.place
        }
        return Step(Party(kept), send)


def relayed(sent: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, bytes]]:
    """What a hub does in each exchange: by receiver and sender what came by sender and receiver."""
    return {to: {name: one[to] for name, one in sent.items() if to in one} for to in sent}


def _clamped(counts: npt.ArrayLike, test: CountTest) -> Elements:
    values = np.asarray(counts)
    if values.shape != (test.cells,) or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"The counts of a test are {test.cells} integers.")
    if (values < 0).any():
        raise InputError("A count is negative.")
    return np.minimum(values.astype(np.uint64), np.uint64(test.threshold))


def _factors(field: Field, roots: Iterable[range], powers: Sequence[Elements]) -> list[Elements]:
    return [field.evaluate(expanded(one), powers) for one in roots]


def _power_products(field: Field, level: PowerLevel, held: Sequence[Elements]) -> list[Elements]:
    """What r's factor becomes, where it takes something up, and then the new powers."""
    mask, *powers = held
    taken = [field.multiply([mask, *_factors(field, level.taken, powers)])] if level.taken else []
    return taken + [field.multiply([powers[one - 1] for one in group]) for group in level.groups]
