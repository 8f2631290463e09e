"""The screen, as the hub runs it: which genes go with the outcome in each of several training sets.

The statistic is the correlation r of a gene with the residual of the outcome's null model (`site_screen`). For classes,
t = r sqrt((n - 2) / (1 - r^2)) is the two-sample t statistic with pooled variance. For times under observation, the sum
of residual times gene is the score of Cox's partial likelihood (Breslow's ties) for that gene at 0, and r sqrt(n - 1)
that score over its standard deviation if genes were permuted among patients (Peto and Peto, J. R. Stat. Soc. A 135,
1972). Genes that some sample of the set lacks, or that do not vary in it, are not chosen.

Nothing of a held-out sample enters the choice for a training set that it is held out of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.errors import StrategyError
from flame_strategies.sums import Exchange

from gene_expression.site_rows import CLASS, GENE
from gene_expression.validation import Population

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

SETS_PER_REQUEST = 10
"""Training sets in one answer at most; the release contract states the same number."""

_NUMBERS_PER_SUM = 600_000
"""Genes times sets in one of an answer's arrays, so that an answer stays below some 20 MB."""

_CONSTANT = 1e-10
"""A gene whose variance is less than this share of its mean square does not vary."""


@dataclass(frozen=True, eq=False)
class Screened:
    """Statistics of G genes in S sets.

    Attributes:
        genes: G ids.
        n: (S,) samples with an outcome.
        correlation: (S, G) with the residual; 0 for a gene that is not eligible.
        degrees: What makes t of it: 2 for classes, 1 for times.
    """

    genes: tuple[str, ...]
    n: Int
    correlation: Float
    degrees: int

    @property
    def statistic(self) -> Float:
        """(S, G) t of classes, or the standardised score of times; see the module."""
        rest = np.maximum(self.n[:, None] - self.degrees, 0)
        if self.degrees == 1:
            return np.asarray(self.correlation * np.sqrt(rest))
        return np.asarray(self.correlation * np.sqrt(rest / np.maximum(1 - self.correlation**2, 1e-15)))

    def top(self, index: int, count: int) -> tuple[str, ...]:
        """At most `count` genes of set `index`, the largest statistic first, equal ones in the panel's order."""
        size = np.abs(self.correlation[index])
        order = np.argsort(-size, kind="stable")[:count]
        return tuple(self.genes[place] for place in order.tolist() if size[place] > 0)


def screen_classes(
    exchange: Exchange, genes: Sequence[str], outcome: Mapping[str, Any], level: str, population: Population
) -> Screened:
    """Screen for a class against the others; an exchange for every ten sets or fewer.

    Args:
        exchange: Asks all sites and returns sums.
        genes: G ids.
        outcome: ``class_of``, the column, and ``classes``.
        level: The class.
        population: S sets.
    """
    said = {**outcome, "outcome": f"{CLASS}{level}"}
    return _screen(exchange, genes, said, population, None)


def screen_times(
    exchange: Exchange, genes: Sequence[str], outcome: Mapping[str, Any], grid: Float, population: Population
) -> tuple[Screened, Mapping[str, Int]]:
    """Screen for a time under observation; two exchanges for every ten sets or fewer.

    Args:
        exchange: Asks all sites and returns sums.
        genes: G ids.
        outcome: ``time`` and ``event``, the columns.
        grid: (T,) rising times.
        population: S sets.

    Returns:
        The screen, and ``events`` (S, T), ``leaving`` (S, T + 1).
    """
    times = _counts(exchange, outcome, grid, population)
    at_risk = np.cumsum(times["leaving"][:, ::-1], axis=1)[:, ::-1][:, :-1]
    jumps = np.divide(times["events"], at_risk, out=np.zeros(at_risk.shape), where=at_risk > 0)
    hazard = np.cumsum(np.concatenate([jumps, np.zeros((len(jumps), 1))], axis=1), axis=1)
    return _screen(exchange, genes, outcome, population, (grid, hazard)), times


def _counts(exchange: Exchange, outcome: Mapping[str, Any], grid: Float, population: Population) -> dict[str, Int]:
    parts = []
    for part in _portions(population, SETS_PER_REQUEST):
        content = {"phenotype": outcome, "of": part.content(), "times": {"grid": grid}}
        parts.append(exchange("query.phenotype_times", content))
    if int(parts[0]["checks"][0]):
        raise StrategyError(
            f"{int(parts[0]['checks'][0])} samples have {outcome['time']} below 0, or {outcome['event']} neither 0 nor "
            "1; filter them."
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in ("events", "leaving")}


def _screen(
    exchange: Exchange,
    genes: Sequence[str],
    outcome: Mapping[str, Any],
    population: Population,
    null: tuple[Float, Float] | None,
) -> Screened:
    most = max(1, min(SETS_PER_REQUEST, _NUMBERS_PER_SUM // max(len(genes), 1)))
    counts, found, done = [], [], 0
    for part in _portions(population, most):
        content: dict[str, Mapping[str, Any]] = {
            "phenotype": outcome,
            "of": part.content(),
            "screen": {"screened": [f"{GENE}{gene}" for gene in genes]},
        }
        if null is not None:
            content["times"] = {"grid": null[0], "hazard": null[1][done : done + part.count]}
        done += part.count
        sums = exchange("query.phenotype_screen", content)
        counts.append(np.asarray(sums["n"], dtype=np.int64))
        found.append(_correlation(sums))
    return Screened(tuple(genes), np.concatenate(counts), np.concatenate(found), 2 if null is None else 1)


def _correlation(sums: Mapping[str, npt.NDArray[Any]]) -> Float:
    """(S, G) correlations, 0 for a gene that is not eligible."""
    n = np.maximum(sums["n"].astype(np.float64), 1.0)[:, None]
    mean, mean_m = sums["sum_x"] / n, (sums["sum_m"] / n[:, 0])[:, None]
    square = sums["sum_xx"] / n
    variance = square - mean**2
    variance_m = (sums["sum_mm"] / n[:, 0])[:, None] - mean_m**2
    eligible = (sums["present"] == sums["n"][:, None]) & (variance > _CONSTANT * square) & (variance_m > 0)
    product = np.where(eligible, variance, 1.0) * np.where(variance_m > 0, variance_m, 1.0)
    return np.where(eligible, (sums["sum_mx"] / n - mean * mean_m) / np.sqrt(product), 0.0)


def _portions(population: Population, most: int) -> list[Population]:
    first, end = population.first, population.first + population.count
    return [population.of(start, min(most, end - start)) for start in range(first, end, most)]
