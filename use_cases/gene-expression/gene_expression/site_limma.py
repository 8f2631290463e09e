"""A DIZ's part in differential expression: sums over its samples, gene by gene.

Let Z be the columns of the design, Y the expression, both less the DIZ's means if each site has an effect of its own
(`site_design`). Expression is what the store holds if that is logarithms; counts become logarithms of counts per
million, log2((count + 0.5) / (library size + 1) 10^6) (Law et al., Genome Biology 15:R29, 2014). A value that is
missing stands at 0, and the gene's number of values tells the hub to leave it out.

| query        | asks                            | answers                                             |
|--------------|---------------------------------|-----------------------------------------------------|
| de_design    | nothing more                    | n, excluded, sites (1,), sum_x, sum_xx (p,)         |
| de_products  | genes (g,), centre, scale (p,)  | n (1,), present (g,), xx: Z'Z packed, xy: Y'Z       |
|              |                                 | (g, q), sum_y (g,), sum_log_library (1,)            |
| de_residuals | the same, coefficients (g, q)   | n (1,), rss (g,): squares of Y - Z b                |
| de_weighted  | the same, trend_x, trend_y (m,) | n (1,), wxx (g, q (q + 1) / 2), wxr (g, q),         |
|              |                                 | wrr (g,)                                            |

The weights of `de_weighted` are those of voom: the trend, read at each value's fitted log count, to the power of -4.
Its sums are of Z and the residuals of the fit before, so that no large numbers cancel at the hub.
"""

import numpy as np

from gene_expression.errors import InputError
from gene_expression.site_design import Samples, build, centred, has_site_effects, pairs, standardise
from gene_expression.site_scaling import counts_of, effective_sizes, genes_of
from gene_expression.table import COUNTS, Answer, Arrays, Float, Request, Table

_MILLION = 1e6

STEEPEST, WIDEST = 5.0, 100.0
"""How much a trend's logarithm may change per unit of log2 count, and its largest value over its smallest. Trends
through genes of measured data change a hundred times less. A notch in it would give one sample's values all the weight:
log counts differ from sample to sample by the library size, and the weights are fourth powers."""


def de_design(table: Table, request: Request) -> Arrays:
    """How many samples there are, and sums of the columns and their squares."""
    samples = build(table, request)
    return {
        "n": np.array([samples.rows], dtype=np.int64),
        "excluded": np.array([samples.excluded], dtype=np.int64),
        "sites": np.array([int(samples.rows > 0)], dtype=np.int64),
        "sum_x": samples.X.sum(axis=0),
        "sum_xx": (samples.X**2).sum(axis=0),
    }


def de_products(table: Table, request: Request) -> Arrays:
    """Products of the columns with each other, and with each gene's expression."""
    samples = build(table, request)
    Z, Y = standardise(samples, request), _expression(table, request, samples)
    missing = ~np.isfinite(Y)
    if missing.any():
        Y = np.where(missing, 0.0, Y)
    own = centred(Y) if has_site_effects(request) else Y
    log_library = np.log2(effective_sizes(table, request, samples) + 1) if _is_counts(request) else np.zeros(1)
    return {
        "n": np.array([samples.rows], dtype=np.int64),
        "present": samples.rows - missing.sum(axis=0, dtype=np.int64),
        "xx": pairs(Z).sum(axis=0),
        "xy": own.T @ Z,
        "sum_y": Y.sum(axis=0),
        "sum_log_library": np.array([log_library.sum()]),
    }


def de_residuals(table: Table, request: Request) -> Arrays:
    """By gene: the sum of squares of what the pooled coefficients leave."""
    samples = build(table, request)
    residuals = _fit(table, request, samples)[1]
    return {
        "n": np.array([samples.rows], dtype=np.int64),
        "rss": np.einsum("ng,ng->g", residuals, residuals),
    }


def de_weighted(table: Table, request: Request) -> Arrays:
    """By gene: weighted products of the columns, with the residuals, and of the residuals."""
    samples = build(table, request)
    fitted, R = _fit(table, request, samples)
    Z = standardise(samples, request)
    log_counts = fitted + (np.log2(effective_sizes(table, request, samples) + 1) - np.log2(_MILLION))[:, None]
    W = np.interp(log_counts, *_trend(request)) ** -4
    WR = W * R
    sums = {"wxx": W.T @ pairs(Z), "wxr": WR.T @ Z, "wrr": np.einsum("ng,ng->g", WR, R)}
    if has_site_effects(request) and samples.rows:
        # less the weighted means, which differ from gene to gene
        total, wz, wr = W.sum(axis=0), W.T @ Z, WR.sum(axis=0)
        sums["wxx"] -= pairs(wz) / total[:, None]
        sums["wxr"] -= wz * (wr / total)[:, None]
        sums["wrr"] -= wr**2 / total
    return {"n": np.array([samples.rows], dtype=np.int64), **sums}


ANSWERS: dict[str, Answer] = {
    "de_design": de_design,
    "de_products": de_products,
    "de_residuals": de_residuals,
    "de_weighted": de_weighted,
}
"""By the query's name without ``query.``."""


def _trend(request: Request) -> tuple[Float, Float]:
    """Log counts (m,), rising, and the trend (m,) there.

    Raises:
        InputError: It is not of that form, or no smooth line.
    """
    x, y = request.arrays["trend_x"], request.arrays["trend_y"]
    fits = x.ndim == 1 and x.shape == y.shape and x.size > 0
    if not fits or not (np.isfinite(x).all() and np.isfinite(y).all() and (np.diff(x) > 0).all() and (y > 0).all()):
        raise InputError("The trend's log counts must rise, and its values be above 0.")
    steps = np.abs(np.diff(np.log(y)))
    if (steps > STEEPEST * np.diff(x) + 1e-9).any() or y.max() > WIDEST * y.min():
        raise InputError("The trend is too steep to be one of genes' variances; a notch would single samples out.")
    return x, y


def _is_counts(request: Request) -> bool:
    return "library" in request.arrays


def _expression(table: Table, request: Request, samples: Samples) -> Float:
    """(n, g) logarithms of base 2, not finite where missing."""
    if not _is_counts(request):
        if table.scale == COUNTS:
            raise InputError("The values are raw counts; scale them first, or take logarithms of normalised values.")
        return genes_of(table, request, samples)
    sizes = effective_sizes(table, request, samples)
    counts = counts_of(table, request, samples)
    return np.asarray(np.log2((counts + 0.5) / ((sizes + 1) / _MILLION)[:, None]))


def _fit(table: Table, request: Request, samples: Samples) -> tuple[Float, Float]:
    """(n, g) fitted values and (n, g) residuals at the message's coefficients, 0 where a value is missing."""
    Z, Y = standardise(samples, request), _expression(table, request, samples)
    if not np.isfinite(Y).all():
        Y = np.where(np.isfinite(Y), Y, 0.0)
    fitted = Z @ request.arrays["coefficients"].T
    if has_site_effects(request) and samples.rows:
        fitted += Y.mean(axis=0)
    return fitted, Y - fitted
