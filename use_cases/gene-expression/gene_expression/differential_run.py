"""Differential expression, as the hub runs it: `flame_strategies` on sums, and the table that people work with.

Files in the run's folder:

* ``results.tsv``, ``results.parquet``: by contrast and gene, the clearest first: logFC (logarithm of base 2), AveExpr,
  t (moderated), P.Value, adj.P.Val (Benjamini and Hochberg, within the contrast), log10.P, which is there where P.Value
  is below the smallest number;
* ``ranking.rnk`` (of further contrasts ``ranking-2.rnk`` and so on): gene and moderated t, the largest first, for
  preranked enrichment of pathways (GSEA, fgsea, gseapy).

What the hub has of a gene are sums over all DIZ. Their means at one DIZ are in no message that can be read, nor in any
file. A gene that was not measured in all samples is left out, and named in ``analysis.json``.
"""

import csv
import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from flame_strategies.expression_scaling import CountScaling, ExpressionFilter, scale_counts
from flame_strategies.glm_design import Categorical, Design
from flame_strategies.limma import ContrastTable, LimmaFit, fit_limma
from flame_strategies.output import write_atomically
from flame_strategies.sums import Exchange
from flame_strategies.voom import VoomFit, fit_voom

from gene_expression import plots
from gene_expression.hub import Hub
from gene_expression.results import Outcome, group, text
from gene_expression.settings import Settings
from gene_expression.table import COUNTS

GENES_PER_MESSAGE = 10_000
"""The release contract in ``pyproject.toml`` states the same number."""

TOP = 100
"""Genes of a contrast in the report; the files hold all."""

SIGNIFICANT = 0.05

COLUMNS = ("contrast", "gene", "logFC", "AveExpr", "t", "P.Value", "adj.P.Val", "log10.P")

_METHODS: dict[str, Literal["tmm", "upper_quartile", "none"]] = {
    "tmm": "tmm",
    "upper-quartile": "upper_quartile",
    "none": "none",
}


_MASKS = (
    "The hub could read sums over all DIZ alone where answers were masked. With fewer samples than genes such sums "
    "still say much about the samples together, and no mask hides that."
)


def run(hub: Hub) -> Outcome:
    """Fit, test, and write the tables."""
    settings = hub.settings
    panel = hub.panel.genes
    (fit, voom), sites = hub.fit(lambda exchange: differential(exchange, settings, panel))
    scaling = voom.scaling if isinstance(voom, VoomFit) else voom
    exchanges = fit.exchanges + (scaling.exchanges if scaling else 0)
    write_tables(hub, fit)
    figures = [
        entry
        for place, table in enumerate(fit.tables.values())
        for entry in plots.contrast(hub.folder, place, table, fit)
    ]
    if isinstance(voom, VoomFit):
        figures.append(plots.mean_variance(hub.folder, voom))
    return Outcome(
        title=f"Differential expression: {settings.set}",
        headline=tuple(_headline(fit)),
        figures=tuple(figures[:20]),
        tables=tuple(_top(table, fit) for table in list(fit.tables.values())[:10]),
        notes=tuple(_notes(settings, fit, scaling)),
        sites=sites,
        exchanges=exchanges,
        numbers={"prior": _prior(fit), **_scaling_numbers(scaling)},
        details={
            "contrasts": list(fit.tables),
            "terms": list(fit.terms),
            "samples": fit.n,
            "excluded": fit.excluded,
            "genes": len(fit.genes),
            "left_out": list(fit.left_out),
            "id_type": hub.panel.id_type,
        },
    )


def differential(
    exchange: Exchange, settings: Settings, panel: tuple[str, ...], progress: Callable[[int, int], None] | None = None
) -> tuple[LimmaFit, VoomFit | CountScaling | None]:
    """The tests, and with counts how they were scaled.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: Design, contrasts and method.
        panel: Gene ids.
        progress: Called after each exchange of the last fit.
    """
    design = design_of(settings)
    effects = settings.batch == "site"
    scaling = None
    if settings.scale == COUNTS:
        keep = None
        if settings.filter:
            keep = ExpressionFilter(group=settings.group or "", median_library=settings.median_library or None)
        method = _METHODS[settings.scaling]
        scaling = scale_counts(exchange, design, panel, method=method, keep=keep, genes_per_message=GENES_PER_MESSAGE)
    if scaling is not None and settings.method == "voom":
        voom = fit_voom(
            exchange,
            design,
            scaling,
            panel,
            settings.contrasts,
            site_effects=effects,
            genes_per_message=GENES_PER_MESSAGE,
            progress=progress,
        )
        return voom.limma, voom
    fit = fit_limma(
        exchange,
        design,
        panel,
        settings.contrasts,
        site_effects=effects,
        trend=scaling is not None or settings.method == "limma-trend",
        scaling=scaling,
        genes_per_message=GENES_PER_MESSAGE,
        progress=progress,
    )
    return fit, scaling


def design_of(settings: Settings) -> Design:
    """The design's columns; the outcome, every gene in turn, is only a name."""
    categorical = tuple(Categorical(name, settings.levels[name]) for name in settings.categorical)
    return Design("expression", numeric=settings.numeric, categorical=categorical)


def rows_of(table: ContrastTable, fit: LimmaFit) -> dict[str, Any]:
    """The columns of a contrast's table, the clearest difference first."""
    order = table.order()
    numbers = (table.log_fc, fit.average, table.t, table.p_value, table.adjusted_p, table.log10_p)
    names = [table.name] * len(order), [fit.genes[place] for place in order.tolist()]
    return dict(zip(COLUMNS, (*names, *(column[order] for column in numbers)), strict=True))


def write_tables(hub: Hub, fit: LimmaFit) -> None:
    """Write results and rankings."""
    import pyarrow as pa  # noqa: PLC0415 -- only for this
    import pyarrow.parquet as pq  # noqa: PLC0415

    parts = [rows_of(table, fit) for table in fit.tables.values()]
    whole = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in COLUMNS}
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = zip(*(column.tolist() for column in whole.values()), strict=True)
    writer.writerows([cell if isinstance(cell, str) else repr(cell) for cell in row] for row in rows)
    write_atomically(hub.folder / "results.tsv", lines.getvalue().encode())
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({name: pa.array(column.tolist()) for name, column in whole.items()}), buffer)
    write_atomically(hub.folder / "results.parquet", buffer.getvalue().to_pybytes())
    for place, table in enumerate(fit.tables.values()):
        order = np.argsort(-table.t, kind="stable")
        ranking = "".join(f"{fit.genes[gene]}\t{float(table.t[gene])!r}\n" for gene in order.tolist())
        name = "ranking.rnk" if place == 0 else f"ranking-{place + 1}.rnk"
        write_atomically(hub.folder / name, ranking.encode())


def _headline(fit: LimmaFit) -> list[dict[str, str]]:
    found = []
    for table in list(fit.tables.values())[:4]:
        below = table.adjusted_p < SIGNIFICANT
        up = int((below & (table.log_fc > 0)).sum())
        found.append(
            {
                "label": f"{table.name}: genes that differ",
                "value": str(int(below.sum())),
                "note": f"adjusted p < {SIGNIFICANT}, of {len(fit.genes)}; {up} up, {int(below.sum()) - up} down",
            }
        )
    note = f"at {fit.sites} DIZ; {fit.excluded} more lack a column of the design"
    return [*found, {"label": "samples", "value": str(fit.n), "note": note}]


def _top(table: ContrastTable, fit: LimmaFit) -> dict[str, Any]:
    of = rows_of(table, fit)
    return {
        "title": f"{table.name}: the {min(TOP, len(fit.genes))} clearest genes",
        "caption": "logFC is the difference of log2 expression; p is adjusted after Benjamini and Hochberg.",
        "columns": ["gene", "logFC", "mean", "t", "p", "adjusted p"],
        "rows": [
            [of["gene"][row], *(text(float(of[name][row])) for name in COLUMNS[2:7])]
            for row in range(min(TOP, len(fit.genes)))
        ],
    }


def _notes(settings: Settings, fit: LimmaFit, scaling: CountScaling | None) -> list[str]:
    effects = (
        "Every DIZ has a mean of its own for each gene, so that a difference between DIZ is no difference between "
    )
    notes = [
        f"{settings.method} on ~ {' + '.join(settings.design)}; "
        + (f"{effects}groups." if settings.batch == "site" else "Differences between DIZ are not taken out."),
        "All of results.tsv, results.parquet and ranking.rnk comes from sums over all DIZ.",
        _MASKS,
    ]
    if fit.left_out:
        notes.append(f"{len(fit.left_out)} genes were not measured in all samples and are left out.")
    if scaling is not None:
        scaled = f"Library sizes were scaled by {settings.scaling}"
        if settings.scaling == "none":
            scaled = 'Library sizes were not scaled (state scaling = "tmm" for RNA-Seq)'
        notes.append(
            f"{scaled}; {len(scaling.filtered)} genes had too few reads and "
            f"{len(scaling.left_out)} were not measured in all samples."
        )
    return notes


def _prior(fit: LimmaFit) -> dict[str, float]:
    names = ("degrees of freedom", "residual degrees of freedom", "total degrees of freedom", "least variance")
    values = [fit.prior_df, float(fit.residual_df), fit.total_df, float(np.min(fit.prior_variance))]
    return group(names, values)


def _scaling_numbers(scaling: CountScaling | None) -> dict[str, dict[str, float]]:
    if scaling is None:
        return {}
    names = ("genes kept", "genes filtered", "median library", "mean log factor")
    values = [len(scaling.genes), len(scaling.filtered), scaling.median_library, scaling.log_factor]
    return {"scaling": group(names, values)}
