"""Federated differential expression, equal to limma on the pooled samples, from sums over sites.

A linear model for each gene, contrasts of its coefficients, and moderated t tests (Smyth, Stat. Appl. Genet. Mol. Biol.
3(1), 2004; Ritchie et al., Nucleic Acids Research 43:e47, 2015): what R's lmFit, contrasts.fit, eBayes and topTable
give for all samples in one matrix. Exchanges: one for the design, and two for each `genes_per_message` genes; messages
and the sites' memory are bounded by that. The queries and their bounds are in `limma_fits`.

With `site_effects` each site has a constant of its own for each gene, as a batch has in the pooled design; no mean of a
site leaves it, and no column is added. A comparison then rests on sites that have both of what is compared.

Genes that were not measured in all samples are left out, and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_strategies.contrasts import contrast_matrix
from flame_strategies.expression_scaling import CountScaling
from flame_strategies.glm_design import Design
from flame_strategies.limma_fits import GeneFits, GeneQueries, Progress
from flame_strategies.moderated import benjamini_hochberg, moderate
from flame_strategies.student import log10_tails
from flame_strategies.sums import Exchange

__all__ = ["ContrastTable", "LimmaFit", "fit_limma"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ContrastTable:
    """One contrast's tests, by gene.

    Attributes:
        name: As it was asked for.
        log_fc: Estimate, a log2 fold change where groups are compared; shape (G,).
        standard_error: Moderated, shape (G,).
        t: Moderated t, shape (G,).
        p_value: Two-sided, shape (G,); 0 where it is below the smallest number.
        log10_p: Its logarithm of base 10, which is never lost; shape (G,).
        adjusted_p: By Benjamini and Hochberg, shape (G,).
    """

    name: str
    log_fc: Vector
    standard_error: Vector
    t: Vector
    p_value: Vector
    log10_p: Vector
    adjusted_p: Vector

    def order(self) -> Int:
        """Places of the genes, the clearest difference first; shape (G,)."""
        return np.argsort(self.log10_p, kind="stable").astype(np.int64)


@dataclass(frozen=True, eq=False)
class LimmaFit:
    """Linear models with moderated tests.

    Attributes:
        genes: Ids of the G genes.
        left_out: Ids of genes that were not measured in all samples.
        terms: Names of the q coefficients.
        coefficients: In own units, shape (G, q).
        sigma: Residual standard deviations, shape (G,).
        residual_df: Degrees of freedom of each.
        prior_df: Degrees of freedom that all genes together add; infinite if they are alike.
        prior_variance: Shape (1,), or with a trend (G,).
        posterior_variance: Shape (G,).
        total_df: Degrees of freedom of the tests.
        average: Mean expression, shape (G,).
        tables: The tests, by contrast.
        n: Samples.
        excluded: Samples left out because a column of the design was missing.
        sites: Sites with samples.
        exchanges: How many messages each site answered.
    """

    genes: tuple[str, ...]
    left_out: tuple[str, ...]
    terms: tuple[str, ...]
    coefficients: Matrix
    sigma: Vector
    residual_df: int
    prior_df: float
    prior_variance: Vector
    posterior_variance: Vector
    total_df: float
    average: Vector
    tables: dict[str, ContrastTable]
    n: int
    excluded: int
    sites: int
    exchanges: int


def fit_limma(
    exchange: Exchange,
    design: Design,
    panel: Sequence[str],
    contrasts: Sequence[str] = (),
    *,
    site_effects: bool = False,
    trend: bool = False,
    scaling: CountScaling | None = None,
    genes_per_message: int = 4000,
    progress: Progress | None = None,
) -> LimmaFit:
    """Fit and test every gene.

    Args:
        exchange: Asks all sites and returns sums, for instance a `GridExchange`.
        design: Its outcome is only a name; it has an intercept.
        panel: Ids of all genes, in the sites' order.
        contrasts: For instance ``Cancer-Normal`` or ``age``, see `contrasts`; by default each coefficient but the
            intercept.
        site_effects: A constant for each site and gene, instead of one intercept.
        trend: The prior variance follows mean expression.
        scaling: Where the sites hold counts: they become logarithms of counts per million, of the genes that it kept.
            Take `voom.fit_voom` for counts, or this with a trend if libraries are of similar size.
        genes_per_message: So many genes in one message at most.
        progress: Called after each exchange with how many there were and how many there will be.

    Raises:
        DesignError: The data do not allow this fit: the text names the columns.
        StrategyError: A reply is unusable, or too few sites contribute.
        ValueError: A contrast cannot be read, or the design cannot be used.
    """
    genes = np.arange(len(panel), dtype=np.int64) if scaling is None else scaling.genes
    terms = design.columns if site_effects else design.terms
    contrast_matrix(design, terms, contrasts)  # a mistake in words is told before anybody is asked
    queries = GeneQueries(
        exchange,
        design,
        site_effects=site_effects,
        scaling=scaling,
        genes_per_message=genes_per_message,
        legs=2,
        progress=progress,
    )
    return conclude(queries, queries.fit(genes), design, panel, contrasts, trend=trend)


def conclude(
    queries: GeneQueries,
    fits: GeneFits,
    design: Design,
    panel: Sequence[str],
    contrasts: Sequence[str],
    *,
    trend: bool,
) -> LimmaFit:
    """Moderate, and test the contrasts; nothing is asked any more."""
    names, weights = contrast_matrix(design, queries.terms, contrasts)
    own = queries.own_units
    shared = moderate(fits.variance, fits.degrees, fits.average if trend else None)
    tables = {}
    for name, column in zip(names, (own.T @ weights).T, strict=True):
        log_fc = fits.beta @ column
        error = np.sqrt(np.einsum("i,gij,j->g", column, fits.unscaled, column) * shared.variance)
        t = log_fc / error
        log10_p = log10_tails(t, shared.total_df)
        p_value = 10.0**log10_p
        tables[name] = ContrastTable(name, log_fc, error, t, p_value, log10_p, benjamini_hochberg(p_value))
    return LimmaFit(
        genes=tuple(panel[place] for place in fits.genes.tolist()),
        left_out=tuple(panel[place] for place in fits.left_out.tolist()),
        terms=queries.terms,
        coefficients=fits.beta @ own.T,
        sigma=np.sqrt(fits.variance),
        residual_df=fits.degrees,
        prior_df=shared.prior_df,
        prior_variance=shared.prior_variance,
        posterior_variance=shared.variance,
        total_df=shared.total_df,
        average=fits.average,
        tables=tables,
        n=queries.n,
        excluded=queries.excluded,
        sites=queries.sites,
        exchanges=queries.exchanges,
    )
