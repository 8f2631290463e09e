"""What a minimum-count test costs, against a masked sum of the same length; and what it saves of a table.

    python benchmarks/threshold_test.py [--cells 10000] [--rounds 5] [--json]

Cost: processor time of one party over the whole test, with state written and read between messages as a gate does,
and bytes that it sends, sealing left out. The masked sum is one vector of uint32 with a stream for each peer and one
more (the party's own), as in secure aggregation: its keys, shares and unmasking don't grow with the length and are
left out, so that the ratio is the worst there is. Both alternate; the median of the rounds.

Use: a made-up cross table (cells as a Zipf law gives them, each patient at a site by chance, site sizes unequal). Of
cells whose total reaches k, and of the patients in them, the share that is released if each site drops its own small
cells, and if the test says which totals are small.
"""

import argparse
import json
import secrets
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from flame_fl.secagg.streams import add_streams
from flame_fl.secagg.threshold_terms import CountTest
from flame_fl.secagg.threshold_test import Party, Step, relayed

CASES = ((3, 5), (5, 5), (5, 10), (7, 10), (10, 10))
"""Parties and k."""
COLLUDING = 1
"""Beside the largest number of colluding parties, the cost is shown for this."""


def tested(test: CountTest, counts: npt.NDArray[np.int64]) -> tuple[float, int]:
    """Seconds of processor time and bytes sent of the first party; the answers are checked."""
    taken, sent = 0.0, 0

    def first(work: Callable[[], Step]) -> Step:
        nonlocal taken, sent
        begun = time.process_time()
        step = work()
        step.party.to_bytes()
        taken += time.process_time() - begun
        sent += sum(map(len, step.send.values()))
        return step

    steps: dict[str, Step] = {}
    for name, row in zip(test.parties, counts, strict=True):
        work = lambda name=name, row=row: Party.start(test, name, row)  # noqa: E731
        steps[name] = work() if steps else first(work)
    while not steps[test.parties[0]].party.over:
        received, parties = relayed({name: step.send for name, step in steps.items()}), steps
        steps = {}
        for name in test.parties:
            raw = parties[name].party.to_bytes()
            work = lambda name=name, raw=raw, received=received: Party.from_bytes(raw).step(received[name])  # noqa: E731
            steps[name] = work() if steps else first(work)
    assert all((step.reached == (counts.sum(axis=0) >= test.threshold)).all() for step in steps.values())
    return taken, sent


def masked(parties: int, cells: int) -> tuple[float, int]:
    """Seconds of processor time and bytes of one masked vector."""
    keys = [secrets.token_bytes(32) for _ in range(parties)]
    begun, repeats = time.process_time(), 20
    for _ in range(repeats):
        vector = np.zeros(cells, dtype=np.uint32)
        add_streams(vector, keys[: parties // 2], keys[parties // 2 :])
    return (time.process_time() - begun) / repeats, vector.nbytes


def cost(parties: int, threshold: int, colluding: int, cells: int, rounds: int) -> dict[str, float]:
    """One row."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2 * threshold // parties + 2, size=(parties, cells))
    ours, masks = [], []
    for _ in range(rounds):
        names = [f"DIZ-{number}" for number in range(parties)]
        test = CountTest.of(names, threshold, cells, secrets.token_bytes(16), colluding)
        ours.append(tested(test, counts))
        masks.append(masked(parties, cells))
    seconds, plain = statistics.median(one for one, _ in ours), statistics.median(one for one, _ in masks)
    return {
        "parties": parties, "k": threshold, "colluding": colluding, "legs": test.legs, "elements": test.elements,
        "microseconds_per_cell": seconds / cells * 1e6, "time_ratio": seconds / plain,
        "bytes_per_cell": ours[0][1] / cells, "bytes_ratio": ours[0][1] / masks[0][1],
    }  # fmt: skip


def use(sites: int, threshold: int, patients: int = 20_000, cells: int = 2_000) -> dict[str, float]:
    """Shares of cells and patients that each rule releases, of those whose total reaches k."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, cells + 1)
    sizes = rng.dirichlet(np.full(sites, 3.0))
    of_cell = rng.choice(cells, size=patients, p=weights / weights.sum())
    table = np.zeros((sites, cells), dtype=np.int64)
    np.add.at(table, (rng.choice(sites, size=patients, p=sizes), of_cell), 1)
    total = table.sum(axis=0)
    large = total >= threshold
    own = np.where(table >= threshold, table, 0)
    exact = large & ((table == 0) | (table >= threshold)).all(axis=0)
    return {
        "sites": sites, "k": threshold, "cells": int(large.sum()),
        "cells_released_exactly_by_site_rule": float(exact.sum() / large.sum()),
        "patients_released_by_site_rule": float(own[:, large].sum() / total[large].sum()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    tested(CountTest.of(["a", "b", "c"], 2, 10, bytes(16)), np.ones((3, 10), dtype=np.int64))  # imports MPyC
    wanted = [(parties, k, t) for parties, k in CASES for t in sorted({(parties - 1) // 2, COLLUDING}, reverse=True)]
    rows = [cost(*one, asked.cells, asked.rounds) for one in wanted]
    uses = [use(sites, k) for sites in (3, 5, 10) for k in (5, 10)]
    if asked.json:
        print(json.dumps({"cells": asked.cells, "cost": rows, "use": uses}))
        return
    print(f"{asked.cells} cells\n  n   k   t  legs  µs/cell  ÷ masks  bytes/cell  ÷ masks")
    for row in rows:
        print("{parties:>3} {k:>3} {colluding:>3} {legs:>5} {microseconds_per_cell:>8.1f} {time_ratio:>8.0f} "
              "{bytes_per_cell:>11.0f} {bytes_ratio:>8.0f}".format(**row))  # fmt: skip
    print("of cells whose total reaches k, exact if each site drops its own below k; and patients (the test keeps all)")
    for row in uses:
        print("{sites:>3} sites, k = {k:>2}: {cells} cells, {cells_released_exactly_by_site_rule:.0%} exact, "
              "{patients_released_by_site_rule:.0%} of their patients".format(**row))  # fmt: skip


if __name__ == "__main__":
    main()
