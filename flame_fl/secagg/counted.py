"""Counts that are added up only where their total over all DIZ is at least k: the DIZ's half, pure.

The counts stay at the DIZ while a minimum-count test (`threshold_test`) finds out which totals reach k; then the others
are set to zero, and what is left is masked as ever. All DIZ of the sum are needed until then; who is lost ends it. What
one DIZ sends another in the test is sealed with the set-up's channel keys: the hub relays it.
"""

import base64
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from flame_fl.contract.canonical import canonical_json
from flame_fl.contract.errors import InputError
from flame_fl.secagg.epoch import Epoch, channel_key
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.keys import seal, unseal
from flame_fl.secagg.messages import Number, Strict, TestStep
from flame_fl.secagg.node import Member, Opening
from flame_fl.secagg.streams import Words
from flame_fl.secagg.threshold_terms import CountTest
from flame_fl.secagg.threshold_test import Party, Reached, Step


class Rows(Strict):
    """Rows of one array in the vector that a guard decides about.

    Attributes:
        start: Where the array begins.
        elements: How many numbers stand behind one of the guard's rows; with two axes, behind a row and a column.
        axes: 2: rows and columns alike.
    """

    start: Annotated[int, Field(ge=0)]
    elements: Annotated[int, Field(ge=0)]
    axes: Literal[1, 2] = 1


class Guard(Strict):
    """Counts that do not leave, and decide which rows of others do: those with every total of k or more.

    Attributes:
        shape: (m, c), of the counts.
        counts: They, as base64 of little-endian int64.
        places: Where the rows are.
        zero: A total of 0 does as well: each is tested for k and for 1.
    """

    shape: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
    counts: str
    places: tuple[Rows, ...]
    zero: bool = False

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64], places: tuple[Rows, ...], *, zero: bool = False) -> "Guard":
        """Of an array (m, c)."""
        rows, columns = counts.shape
        return cls(
            shape=(rows, columns),
            counts=base64.b64encode(counts.astype("<i8").tobytes()).decode(),
            places=places,
            zero=zero,
        )

    @property
    def cells(self) -> npt.NDArray[np.int64]:
        """The counts, flat."""
        return np.frombuffer(base64.b64decode(self.counts), "<i8").astype(np.int64)

    def clear(self, vector: Words, reached: Reached, more_than_none: Reached) -> None:
        """Set to zero what a total below k stands behind.

        Args:
            vector: What leaves.
            reached: (m · c) which totals reach k.
            more_than_none: (m · c) which reach 1; empty unless `zero`.
        """
        fine = reached | ~more_than_none if self.zero else reached
        kept: Reached = np.asarray(fine.reshape(self.shape).all(axis=1))
        rows = len(kept)
        for place in self.places:
            size = rows**place.axes * place.elements
            part = vector[place.start : place.start + size].reshape(*[rows] * place.axes, place.elements)
            part[~kept] = 0
            if place.axes == 2:
                part[:, ~kept] = 0


class Held(Strict):
    """What waits for the result of a test; secret, and stored between messages."""

    index: Number
    exchange: int
    """The one whose messages are expected next."""
    layout: str
    bits: int
    spans: tuple[tuple[int, int], ...] = Field(max_length=1000)
    """Where in the vector the counts are: from, to."""
    guards: tuple[Guard, ...] = Field(default=(), max_length=100)
    vector: str
    party: str

    def words(self) -> Words:
        """The vector, to be masked."""
        raw = base64.b64decode(self.vector)
        return (np.frombuffer(raw, np.uint32) if self.bits == 32 else np.frombuffer(raw, np.uint64)).copy()


def begin(
    member: Member, state: Epoch, opening: Opening, *, layout: str, vector: Words, spans: tuple[tuple[int, int], ...],
    guards: tuple[Guard, ...] = (), least: int,
) -> tuple[Held, dict[str, bytes]]:  # fmt: skip
    """Hold a vector back, and begin the test of its counts.

    Args:
        member: This DIZ.
        state: Its set-up.
        opening: The sum that the vector is for.
        layout: How the vector is read, as text.
        vector: Shape (m,).
        spans: Where the counts are in it.
        guards: Counts that are not in it, and decide about rows of it.
        least: k.

    Returns:
        What is to be stored, and what is to be sent to each other DIZ, sealed.

    Raises:
        MaskError: The counts are too many for a test, or there is no unused key.
    """
    if state.next is None:
        raise MaskError("there is no unused key in this set-up")
    signed = vector.view(np.int32 if vector.itemsize == 4 else np.int64)
    counts = np.concatenate([*[signed[start:end] for start, end in spans], *[guard.cells for guard in guards]])
    needed = least * (1 + member.colluding)
    # made-up counts here hide rows and show none, so that a site's one patient may count for all that is needed
    some = [needed * np.minimum(guard.cells, 1) for guard in guards if guard.zero]
    parties = tuple(sorted(opening.sealed))
    try:
        # a colluder may make up counts, and takes them off again: each counts for k at most, and k of the others stay
        cells = np.concatenate([np.minimum(counts, least) if member.colluding else counts, *some])
        test = CountTest.of(parties, needed, len(cells), bytes.fromhex(opening.context), max(1, member.colluding))
        step = Party.start(test, member.party, cells)
    except InputError as err:
        raise MaskError(f"minimum-count test: {err.message}") from err
    held = Held(
        index=state.next.index,
        exchange=1,
        layout=layout,
        bits=8 * vector.itemsize,
        spans=spans,
        guards=guards,
        vector=base64.b64encode(vector.tobytes()).decode(),
        party=base64.b64encode(step.party.to_bytes()).decode(),
    )
    return held, _sealed(member, state, held, step)


def take(
    member: Member, state: Epoch, held: Held, request: TestStep, received: Mapping[str, bytes]
) -> tuple[Held, dict[str, bytes], bool]:
    """Take what all others sent in one exchange.

    Returns:
        What is to be stored, what is to be sent, and whether the test is over: the vector then holds zeros where a
        total does not reach k, and may be masked.

    Raises:
        MaskError: A message is missing or was changed, or is of another exchange.
    """
    if (request.epoch, request.index, request.exchange) != (state.epoch, held.index, held.exchange):
        raise MaskError("a message of a minimum-count test is of another exchange than the one that is expected")
    opened = {
        party: unseal(_key(state, party), text, _about(state, held, held.exchange, (party, member.party)))
        for party, text in received.items()
        if party in state.holders and party != member.party
    }
    try:
        step = Party.from_bytes(base64.b64decode(held.party)).step(opened)
    except InputError as err:
        raise MaskError(f"minimum-count test: {err.message}") from err
    if step.reached is None:
        after = held.model_copy(
            update={"exchange": held.exchange + 1, "party": base64.b64encode(step.party.to_bytes()).decode()}
        )
        return after, _sealed(member, state, after, step), False
    vector, offset = held.words(), 0
    for start, end in held.spans:
        vector[start:end] = np.where(_kept(step.reached[offset : offset + end - start]), vector[start:end], 0)
        offset += end - start
    first = offset + sum(len(guard.cells) for guard in held.guards)
    for guard in held.guards:
        size = len(guard.cells)
        more_than_none = step.reached[first : first + size * guard.zero]
        guard.clear(vector, step.reached[offset : offset + size], more_than_none)
        offset, first = offset + size, first + size * guard.zero
    return held.model_copy(update={"vector": base64.b64encode(vector.tobytes()).decode(), "party": ""}), {}, True


def _kept(reached: Reached) -> Reached:
    """The cells that leave. With a lone small one the next goes too: it could be had by subtraction from a known total.

    Every site decides the same, since all know what was reached.
    """
    small = np.flatnonzero(~reached)
    if len(small) != 1 or len(reached) < 2:
        return reached
    kept = reached.copy()
    kept[(small[0] + 1) % len(kept)] = False
    return kept


def _sealed(member: Member, state: Epoch, held: Held, step: Step) -> dict[str, bytes]:
    return {
        party: seal(_key(state, party), text, _about(state, held, held.exchange, (member.party, party)))
        for party, text in step.send.items()
    }


def _key(state: Epoch, party: str) -> bytes:
    if state.setup is None or party not in state.holders:
        raise MaskError("a site is not in the set-up")
    own, theirs = bytes.fromhex(state.channel), bytes.fromhex(state.holders[party])
    return channel_key(own, theirs, state.setup)


def _about(state: Epoch, held: Held, exchange: int, route: tuple[str, str]) -> bytes:
    return canonical_json(["minimum-count", state.setup, held.index, exchange, *route])
