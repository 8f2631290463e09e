"""A minimum-count test equals the plain comparison, for any parties, threshold and counts; and no bytes crash it."""

from contextlib import suppress
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.secagg.threshold_test import Party, relayed
from tests.support.minimum_counts import a_test, exchanges, names, played, started, stepped


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, int, list[list[int]]]:
    """Parties, colluding, threshold, and each party's counts: cells with few, cells at the edge, cells with many."""
    parties = draw(st.integers(3, 7))
    colluding = draw(st.integers(1, (parties - 1) // 2))
    threshold = draw(st.integers(1, 12))
    cells = []
    for kind in draw(st.lists(st.sampled_from(["any", "below", "at", "zeros", "large"]), min_size=1, max_size=5)):
        match kind:
            case "any":
                cell = draw(st.lists(st.integers(0, threshold), min_size=parties, max_size=parties))
            case "below" | "at":
                cuts = draw(st.lists(st.integers(0, threshold), min_size=parties - 1, max_size=parties - 1))
                total = threshold - (kind == "below")
                edges = [0, *sorted(min(cut, total) for cut in cuts), total]
                cell = [high - low for low, high in pairwise(edges)]
            case "zeros":
                cell = [0] * parties
            case _:
                cell = draw(st.lists(st.integers(0, 2**62), min_size=parties, max_size=parties))
        cells.append(draw(st.permutations(cell)))
    return parties, colluding, threshold, [list(row) for row in zip(*cells, strict=True)]


@given(cases())
@settings(max_examples=60)
def test_it_is_the_plain_comparison(case: tuple[int, int, int, list[list[int]]]) -> None:
    parties, colluding, threshold, counts = case
    test = a_test(parties, threshold, len(counts[0]), colluding)
    expected = [sum(column) >= threshold for column in zip(*counts, strict=True)]
    for result in played(test, counts):
        assert result is not None
        assert result.tolist() == expected


@given(cases(), st.data())
@settings(max_examples=40)
def test_a_changed_message_is_refused_or_taken_as_other_numbers(
    case: tuple[int, int, int, list[list[int]]], data: st.DataObject
) -> None:
    """Nothing but an `InputError` comes of it, at any exchange."""
    parties, colluding, threshold, counts = case
    test = a_test(parties, threshold, len(counts[0]), colluding)
    steps = started(test, counts)
    for _ in range(data.draw(st.integers(0, test.exchanges - 1))):
        steps = stepped(steps)
    received = relayed({name: step.send for name, step in steps.items()})["DIZ-00"]
    raw = bytearray(received["DIZ-01"])
    match data.draw(st.sampled_from(["change", "cut", "replace"])):
        case "change":
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
        case _:
            raw = bytearray(data.draw(st.binary(max_size=200)))
    try:
        step = steps["DIZ-00"].party.step({**received, "DIZ-01": bytes(raw)})
    except InputError:
        return
    assert len(raw) == len(received["DIZ-01"])
    assert step.party.kept.exchange == steps["DIZ-00"].party.kept.exchange + 1


@given(st.integers(3, 6), st.integers(1, 12), st.data())
@settings(max_examples=40)
def test_a_party_is_read_as_it_was_written(parties: int, threshold: int, data: st.DataObject) -> None:
    test = a_test(parties, threshold, 3)
    every = list(exchanges(test, np.ones((parties, 3), dtype=int)))
    party = data.draw(st.sampled_from(every))[data.draw(st.sampled_from(names(parties)))].party
    raw = party.to_bytes()
    assert Party.from_bytes(raw).to_bytes() == raw
    changed = bytearray(raw)
    changed[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(InputError):
        assert Party.from_bytes(bytes(changed)).kept.test.cells >= 1
