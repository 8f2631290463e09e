"""From many associated variants to one for each signal.

The variant with the least p is an index variant; what is near it, and correlated with it where correlations are known,
belongs to its clump and is taken out; and so on with what is left (Purcell et al., "PLINK: a tool set for whole-genome
association and population-based linkage analyses", American Journal of Human Genetics 81, 2007; the command --clump).

The report's loci are by position alone, without correlations: two signals near each other count as one there. A
score's variants are clumped by the squared correlation of the training samples of all DIZ, from sums.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwas.panel import Panel
from gwas.results import Associations

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

GENOME_WIDE = 5e-8
SUGGESTIVE = 1e-5
WINDOW_KB = 500.0
"""Of the report's loci."""

MOST = 50_000
"""Variants that are clumped for a report: those with the least p."""

Correlation = Callable[[int, Int], Float]
"""Squared correlations of a variant with others, by their rows in the table that is clumped."""


@dataclass(frozen=True)
class Clump:
    """One signal.

    Attributes:
        lead: Row of its index variant.
        members: Rows of the others, ascending.
    """

    lead: int
    members: tuple[int, ...]


def clump(
    chromosome: npt.ArrayLike,
    position: npt.ArrayLike,
    log10p: npt.ArrayLike,
    *,
    kb: float,
    r2: float = 0.0,
    correlation: Correlation | None = None,
    at_least: float = 0.0,
) -> list[Clump]:
    """Clumps of variants sorted by chromosome and position, the clearest first.

    Args:
        chromosome: (m,)
        position: (m,)
        log10p: (m,) -log10 p; of equal ones the first variant leads.
        kb: A clump's variants are nearer to its lead than so many thousand bases.
        r2: With `correlation`: and have at least this squared correlation with it.
        correlation: Of rows; by default position alone decides.
        at_least: -log10 p of a lead.
    """
    place, at, p = np.asarray(chromosome), np.asarray(position, dtype=np.int64), np.asarray(log10p, dtype=np.float64)
    free = np.ones(len(p), dtype=np.bool_)
    found: list[Clump] = []
    for lead in np.argsort(-p, kind="stable").tolist():
        if not free[lead]:
            continue
        if not p[lead] >= at_least:
            break
        free[lead] = False
        low, high = at[lead] - 1000 * kb, at[lead] + 1000 * kb
        first, last = (int(edge) for edge in np.searchsorted(place, [place[lead], place[lead] + 1]))
        start = first + int(np.searchsorted(at[first:last], low, side="right"))
        stop = first + int(np.searchsorted(at[first:last], high))
        near = start + np.flatnonzero(free[start:stop])
        if correlation is not None and len(near):
            near = near[correlation(lead, near) >= r2]
        free[near] = False
        found.append(Clump(lead, tuple(near.tolist())))
    return found


def best(
    associations: Associations, columns: tuple[str, ...], p: float, most: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Columns of the variants with a p value of at most `p`, by place in the panel; of too many the `most` clearest."""
    threshold = -np.log10(p)
    heap: list[tuple[float, int, tuple[float, ...]]] = []
    for part in associations.tested(dict.fromkeys(("index", "log10p", *columns))):
        for row in np.flatnonzero(part["log10p"] >= threshold).tolist():
            clearness, index = float(part["log10p"][row]), int(part["index"][row])
            if len(heap) == most and heap[0][0] >= clearness:
                continue
            item = clearness, -index, tuple(float(part[name][row]) for name in columns)
            (heapq.heappushpop if len(heap) == most else heapq.heappush)(heap, item)
    kept = sorted(heap, key=lambda item: -item[1])
    found = {
        "index": np.array([-index for _, index, _ in kept], dtype=np.int64),
        "log10p": np.array([clearness for clearness, *_ in kept], dtype=np.float64),
    }
    rest = {name: np.array([values[place] for *_, values in kept]) for place, name in enumerate(columns)}
    return {**rest, **found}


@dataclass(frozen=True)
class Locus:
    """A signal of the report.

    Attributes:
        index: Place in the panel of its lead.
        start: Position of the first variant below the suggestive threshold.
        stop: Position of the last one.
        variants: How many there are.
        row: The lead's numbers.
    """

    index: int
    start: int
    stop: int
    variants: int
    row: dict[str, float]


def loci(associations: Associations, panel: Panel, *, p: float = SUGGESTIVE) -> list[Locus]:
    """The signals with a lead of at most `p`, the clearest first; by position alone (`WINDOW_KB`)."""
    columns = ("n", "alt_count", "beta", "se", "p", "sites", "test")
    table = best(associations, columns, p, MOST)
    index = table["index"].astype(np.int64)
    position = panel.position[index]
    found = []
    for of in clump(panel.chromosome[index], position, table["log10p"], kb=WINDOW_KB):
        places = position[[of.lead, *of.members]]
        row = {name: float(table[name][of.lead]) for name in (*columns, "log10p")}
        found.append(Locus(int(index[of.lead]), int(places.min()), int(places.max()), len(places), row))
    return found
