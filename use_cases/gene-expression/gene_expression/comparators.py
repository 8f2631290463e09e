"""What the DIZ would find without each other: every DIZ's own tests, combined by meta-analysis.

Computed at the desk from the rows of a simulation; no gate would let a DIZ's own results out of this app.
"""

from dataclasses import replace

import numpy as np
from flame_strategies.errors import StrategyError
from flame_strategies.sums import Content, Sums, add_up

from gene_expression import site_limma, site_scaling
from gene_expression.differential_run import differential
from gene_expression.meta_analysis import METHODS, SiteResult
from gene_expression.settings import Settings
from gene_expression.table import Float, Request, Table

_ANSWERS = {**site_limma.ANSWERS, **site_scaling.ANSWERS}


class TableSites:
    """An exchange over tables in memory: the sums of their answers."""

    def __init__(self, tables: list[Table]) -> None:
        self._tables = tables

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask all tables one thing."""
        config: dict[str, object] = {}
        arrays: dict[str, np.typing.NDArray[np.generic]] = {}
        for record in content.values():
            for key, value in record.items():
                (arrays if isinstance(value, np.ndarray) else config)[key] = value
        answer = _ANSWERS[message_type.removeprefix("query.")]
        request = Request(config, arrays)
        return add_up({node: answer(table, request) for node, table in enumerate(self._tables)})


def site_results(tables: list[Table], settings: Settings, genes: tuple[str, ...]) -> dict[str, list[SiteResult]]:
    """By contrast, the tests of each DIZ that can make them.

    Args:
        tables: The DIZ's.
        settings: Design, contrasts and method.
        genes: Those to answer for, in order; a gene that a DIZ's filter left out counts as no difference there.
    """
    found: dict[str, list[SiteResult]] = {}
    for table in tables:
        try:
            fit, _ = differential(TableSites([table]), _own(table, settings), table.panel)
        except (StrategyError, ValueError):
            continue  # one group alone, or too few samples: this DIZ says nothing
        place = {gene: row for row, gene in enumerate(fit.genes)}
        there = np.array([gene in place for gene in genes])
        rows = np.array([place.get(gene, 0) for gene in genes], dtype=np.intp)
        for name, tests in fit.tables.items():
            found.setdefault(name, []).append(
                SiteResult(
                    np.where(there, tests.log_fc[rows], 0.0),
                    np.where(there, tests.standard_error[rows], np.inf),
                    np.where(there, tests.log10_p[rows], 0.0),
                    fit.n,
                )
            )
    return {name: results for name, results in found.items() if results}


def _own(table: Table, settings: Settings) -> Settings:
    """The settings without what this DIZ has no sample of, as it would choose them by itself.

    Raises:
        ValueError: It lacks a reference, and so has other contrasts.
    """
    levels = dict(settings.levels)
    for name in settings.categorical:
        there = set(table.code(name).tolist())
        levels[name] = tuple(level for code, level in enumerate(table.levels[name]) if code in there)
        if levels[name][:1] != settings.levels[name][:1]:
            raise ValueError(name)
    design = tuple(name for name in settings.design if name not in levels or len(levels[name]) > 1)
    return replace(settings, levels=levels, design=design, batch="none", filter_group="")


def meta(results: list[SiteResult]) -> dict[str, Float]:
    """Log10 p by method, each (G,)."""
    return {name: combine(results) for name, combine in METHODS.items()}
