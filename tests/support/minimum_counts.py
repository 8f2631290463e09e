"""A whole minimum-count test in one process: the parties, and a hub that relays."""

import secrets
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flame_fl.secagg.threshold_terms import CountTest
from flame_fl.secagg.threshold_test import Party, Reached, Step, relayed

Sent = dict[str, dict[str, bytes]]


def names(count: int) -> list[str]:
    return [f"DIZ-{number:02}" for number in range(count)]


def a_test(parties: int, threshold: int, cells: int, colluding: int | None = None) -> CountTest:
    return CountTest.of(names(parties), threshold, cells, secrets.token_bytes(16), colluding)


def started(test: CountTest, counts: npt.ArrayLike) -> dict[str, Step]:
    """The first step of each; counts have shape (parties, cells)."""
    rows = np.asarray(counts)
    return {name: Party.start(test, name, row) for name, row in zip(test.parties, rows, strict=True)}


def stepped(steps: Mapping[str, Step]) -> dict[str, Step]:
    """The next step of each, every party written down and read in between."""
    received = relayed({name: step.send for name, step in steps.items()})
    return {name: Party.from_bytes(step.party.to_bytes()).step(received[name]) for name, step in steps.items()}


def exchanges(test: CountTest, counts: npt.ArrayLike) -> Iterator[dict[str, Step]]:
    """The steps after each message, until the test is over."""
    steps = started(test, counts)
    yield steps
    while not all(step.party.over for step in steps.values()):
        steps = stepped(steps)
        yield steps


def played(test: CountTest, counts: npt.ArrayLike) -> Sequence[Reached | None]:
    """Each party's result."""
    *_, last = exchanges(test, counts)
    return [step.reached for step in last.values()]
