"""What one minimum-count test is: public to all that take part, the same for each of them, and bounded."""

import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from flame_fl.contract.errors import InputError
from flame_fl.secagg.field import PRIME
from flame_fl.secagg.threshold_plan import Plan, best_plan

FEWEST_PARTIES, MOST_PARTIES = 3, 100
MOST_THRESHOLD = 1000
MOST_CELLS = 1 << 18
MOST_NAME = 200
SESSION_BYTES = range(16, 65)
"""Least and most bytes of a test's name."""
_LABEL = b"flame_fl minimum-count test 1"


@dataclass(frozen=True)
class CountTest:
    """One test: is the total of a cell at least k, for each of m cells?

    Attributes:
        parties: Their names, sorted: the place of a party is its share's argument.
        threshold: k.
        cells: m.
        session: A name that no other test of these parties has, 16 to 64 bytes.
        colluding: t, so many parties together learn nothing but the result; 2t + 1 ≤ n.
        prime: Of the field. Another than the constant is for tests.
    """

    parties: tuple[str, ...]
    threshold: int
    cells: int
    session: bytes
    colluding: int
    prime: int = PRIME

    @classmethod
    def of(
        cls, parties: Collection[str], threshold: int, cells: int, session: bytes, colluding: int | None = None
    ) -> "CountTest":
        """A test, with the largest `colluding` if none is given.

        Raises:
            InputError: As `check`.
        """
        most = (len(parties) - 1) // 2
        test = cls(tuple(sorted(parties)), threshold, cells, session, most if colluding is None else colluding)
        test.check()
        return test

    def check(self) -> None:
        """Hold the test to its bounds.

        Raises:
            InputError: One is broken; the sentence says which.
        """
        count = len(self.parties)
        if not FEWEST_PARTIES <= count <= MOST_PARTIES:
            raise InputError(f"A test is between {FEWEST_PARTIES} and {MOST_PARTIES} parties, not {count}.")
        if list(self.parties) != sorted(set(self.parties)):
            raise InputError("The parties of a test are not sorted, or one is named twice.")
        if any(not 1 <= len(name.encode()) <= MOST_NAME for name in self.parties):
            raise InputError(f"The name of a party has between 1 and {MOST_NAME} bytes.")
        if not 1 <= self.threshold <= MOST_THRESHOLD:
            raise InputError(f"A minimum count is between 1 and {MOST_THRESHOLD}, not {self.threshold}.")
        if not 1 <= self.cells <= MOST_CELLS:
            raise InputError(f"A test is of 1 to {MOST_CELLS} cells, not {self.cells}.", mend="Test them in parts.")
        if len(self.session) not in SESSION_BYTES:
            raise InputError(f"The name of a test has {SESSION_BYTES[0]} to {SESSION_BYTES[-1]} bytes.")
        if not 1 <= self.colluding <= (count - 1) // 2:
            raise InputError(f"Of {count} parties, between 1 and {(count - 1) // 2} may collude, not {self.colluding}.")
        if not count * self.threshold < self.prime <= PRIME:
            raise InputError("The field of a test is too small for its counts, or too large.")

    @property
    def fan(self) -> int:
        """So many shares are multiplied before they are shared anew: the product's degree stays below n."""
        return (len(self.parties) - 1) // self.colluding

    @cached_property
    def plan(self) -> Plan:
        """In which order is multiplied."""
        return best_plan(self.threshold, self.fan)

    @property
    def exchanges(self) -> int:
        """How many messages a party sends to each other: shares, one for each level of products, the opening."""
        return len(self.plan.products) + 2

    @property
    def legs(self) -> int:
        """How many messages a party gets and answers: one more, which brings the result."""
        return self.exchanges + 1

    def rows(self, exchange: int) -> int:
        """How many elements for each cell the messages of an exchange hold; exchanges count from 1."""
        return (3, *self.plan.products, 1, 0)[exchange - 1]

    def held(self, exchange: int) -> int:
        """How many shares of each cell a party keeps after it sent the messages of an exchange."""
        return 0 if exchange in {1, self.exchanges + 1} else 1 + self.plan.held(exchange - 2)

    @property
    def elements(self) -> int:
        """How many elements for each cell a party sends to each other, in all."""
        return sum(map(self.rows, range(1, self.exchanges + 1)))

    @property
    def error(self) -> float:
        """The chance that some cell that reaches k is reported as one that does not, at most."""
        return min(1.0, self.cells / self.prime)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all of it: two that disagree on a test refuse each other's messages."""
        numbers = struct.pack(">5Q", len(self.parties), self.threshold, self.cells, self.colluding, self.prime)
        names = (name.encode() for name in self.parties)
        parts = (_LABEL, numbers, self.session, *names)
        return hashlib.sha256(b"".join(struct.pack(">Q", len(part)) + part for part in parts)).digest()
