"""Federated limma-voom: differential expression from RNA-seq counts, equal to voom on the pooled samples.

Law, Chen, Shi and Smyth, "voom: precision weights unlock linear model analysis tools for RNA-seq read counts", Genome
Biology 15:R29, 2014. Counts become logarithms of counts per million; a first fit without weights gives each gene a mean
log count and a residual standard deviation; a smooth line through their square roots (`lowess`) tells the variance of a
log count of any size; its inverse at each value's fitted log count is that value's weight in the second fit, whose
tests are moderated as in `limma`. The line is drawn at the hub from one point per gene; fitted values and weights are
formed at the sites and stay there.

Exchanges: those of `expression_scaling.scale_counts`, then one for the design and three for each `genes_per_message`
genes.

A contrast of several coefficients is computed here from each gene's own weights. R's contrasts.fit takes one
correlation of coefficients for all genes there, an approximation; it is exact, and equal to this, for single
coefficients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.contrasts import contrast_matrix
from flame_strategies.errors import StrategyError
from flame_strategies.expression_scaling import CountScaling
from flame_strategies.glm_design import Design
from flame_strategies.limma import LimmaFit, conclude
from flame_strategies.limma_fits import GeneQueries, Progress
from flame_strategies.lowess import lowess
from flame_strategies.sums import Exchange

__all__ = ["VoomFit", "fit_voom"]

Vector = npt.NDArray[np.float64]

_LOG_MILLION = float(np.log2(1e6))


@dataclass(frozen=True, eq=False)
class VoomFit:
    """Tests, and the trend behind the weights.

    Attributes:
        limma: The second, weighted fit.
        scaling: How the libraries were scaled.
        gene_x: Each gene's mean log2 count, shape (G,).
        gene_y: Square root of its residual standard deviation in the first fit, shape (G,).
        trend_x: Rising log2 counts, shape (m,).
        trend_y: The line there, shape (m,).
    """

    limma: LimmaFit
    scaling: CountScaling
    gene_x: Vector
    gene_y: Vector
    trend_x: Vector
    trend_y: Vector


def fit_voom(
    exchange: Exchange,
    design: Design,
    scaling: CountScaling,
    panel: Sequence[str],
    contrasts: Sequence[str] = (),
    *,
    site_effects: bool = False,
    trend: bool = False,
    span: float = 0.5,
    genes_per_message: int = 4000,
    progress: Progress | None = None,
) -> VoomFit:
    """Fit and test every gene that `scaling` kept.

    Args:
        exchange: Asks all sites and returns sums, for instance a `GridExchange`.
        design: As in `limma.fit_limma`.
        scaling: From `scale_counts` over the same sites.
        panel: Ids of all genes, in the sites' order.
        contrasts: As in `limma.fit_limma`.
        site_effects: A constant for each site and gene, instead of one intercept.
        trend: The prior variance follows mean expression; seldom needed beside the weights.
        span: Share of the genes that each piece of the line takes.
        genes_per_message: So many genes in one message at most.
        progress: Called after each exchange with how many there were and how many there will be.

    Raises:
        DesignError: The data do not allow this fit: the text names the columns.
        StrategyError: A reply is unusable, too few sites contribute, or there are too few genes for a line.
        ValueError: A contrast cannot be read, or the design cannot be used.
    """
    contrast_matrix(design, design.columns if site_effects else design.terms, contrasts)
    queries = GeneQueries(
        exchange,
        design,
        site_effects=site_effects,
        scaling=scaling,
        genes_per_message=genes_per_message,
        legs=3,
        progress=progress,
    )
    first = queries.fit(scaling.genes)
    if len(first.genes) < 2:
        raise StrategyError("Fewer than two genes have reads, so no line can be drawn through them.")
    gene_x, gene_y = first.average + first.log_library - _LOG_MILLION, first.variance**0.25
    trend_x, trend_y = lowess(gene_x, gene_y, span=span)
    trend_x, at = np.unique(trend_x, return_index=True)  # equal log counts have the same line
    trend_y = trend_y[at]
    if not (trend_y > 0).all():
        raise StrategyError("The line through the genes' variances falls to 0: filter genes with few reads first.")
    second = queries.weighted(first, trend_x, trend_y)
    fit = conclude(queries, second, design, panel, contrasts, trend=trend)
    return VoomFit(fit, scaling, gene_x, gene_y, trend_x, trend_y)
