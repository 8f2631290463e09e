"""A DIZ's part in logistic association: sums over its samples at coefficients that the hub sends, variant by variant.

Let x be a sample's columns of the design and, last, its copies g of a variant, b the variant's coefficients, eta = x'b,
mu = 1 / (1 + e^-eta), w = mu (1 - mu). The link is canonical, so the gradient of the log-likelihood is the sum of
x (y - mu), and the negative Hessian the sum of w x x' (McCullagh and Nelder, "Generalized Linear Models", 2nd ed.
1989, §2.5). For Firth's method the message brings the pooled inverse information V as well, and each sample gets its
hat value h = w x'Vx (`flame_strategies.firth` says what the sums are for).

| query         | asks                        | answers                                                            |
|---------------|-----------------------------|--------------------------------------------------------------------|
| gwas_null     | the design's arrays,        | counts (1, 2): samples, cases; loglik (1,), gradient (1, q),       |
|               | coefficients (1, q)         | hessian (1, q (q + 1) / 2): of the model without a genotype        |
| gwas_logistic | the same (m, q + 1), start, | counts (m, 5): samples with a call, cases, copies and copies of    |
|               | stop, index (m,)            | cases among them, samples in the test; loglik (m,), gradient       |
|               |                             | (m, q + 1), hessian (m, (q + 1)(q + 2) / 2)                        |
| gwas_firth    | and inverse                 | counts; score (m, q + 1): sum of x (y - mu + h (1/2 - mu));        |
|               | (m, (q + 1)(q + 2) / 2)     | curvature (m, (q + 1)(q + 2) / 2): sum of w (1 + h) x x'           |

Triangles are packed row by row, the genotype last. Whether a sample without a call leaves the variant's test, or has
the DIZ's most frequent call, is the run config's choice (`missing`); a DIZ without the variant leaves it either way.
Sums are of all samples, those that leave with g = 0; what these alone add, to the columns that are not the genotype, is
told apart for the hub to take off: left (m,), their number; left_loglik (m,), left_gradient (m, q) and left_hessian (m,
q (q + 1) / 2), or left_score and left_curvature. Where few leave, nothing of the variant leaves the DIZ: their sums
would be known otherwise, from those of a variant that nobody leaves.

The weights w differ between those with no copy, one, and two, so that a few answers tell the three sums apart. A row
leaves only if each genotype has nobody, or as many as the gates want (``classes``, with the groups of `site_classes`).

What a hub could do with coefficients: a sample with |eta| far from 0 has no weight, so coefficients that saturate
everybody but one patient leave sums that are that patient's columns, and two such sums whose borders have one patient
between them differ by that patient. Therefore only samples with |eta| within `saturation` count as carriers, of both
alleles; a row with too few of them over all DIZ does not leave (``carriers`` guards the answer and is not part of it).
Nothing is refused because of a patient's own eta: a refusal would tell it.
Coefficients of more than `coefficient_limit` are refused, whoever the patients are; no fit in these units needs them.
Sums with hat values are linear in V, which is not cut off anywhere, so that no V singles a patient out: all of them
together tell the pooled fourth moments of the columns, weighted by w^2, and no more. But these are about people who
have two variants at once, of whom there may be one: Firth's sums are answered only if the approved run config asks for
the method (`firth`).

What is not prevented: many sums at many coefficients, each of many patients, tell more than a fit needs, and two sums
whose samples differ by few tell of these. The release contract bounds their number; noise alone bounds what they tell.
"""

from collections.abc import Iterator

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Bool, Float, Int, Request, Site
from gwas.site_calls import Calls, most_frequent, read_calls
from gwas.site_classes import by_site, everyone, groups
from gwas.site_design import Design, design

_MOST = 30.0
"""Linear predictors are cut here: sums stay finite, and beyond it y - mu and w are what they are here to 13 digits."""

_WIDEST = 1e6
"""Of inverse informations: no coefficient has a standard error of a thousand."""

_BLOCK = 60_000
"""Numbers of one kind that are computed at once: a handful of such arrays stay in the processor's cache."""


def gwas_null(site: Site, request: Request, settings: Settings) -> Arrays:
    """Log-likelihood, gradient and Hessian of the model without a genotype."""
    samples = design(site, request, settings)
    b = _coefficients(request, settings, 1, samples.z.shape[1])
    linear = np.clip(b @ samples.z.T, -_MOST, _MOST)
    loglik, residual, weight = _fit(samples.y, linear)
    told = (np.abs(linear) <= settings.saturation).sum(axis=1)
    return {
        "counts": np.array([[samples.rows, samples.y.sum()]], dtype=np.int64),
        "loglik": loglik.sum(axis=1),
        "gradient": residual @ samples.z,
        "hessian": weight @ _pairs(samples.z),
        "carriers": told[:, None].astype(np.int64),
        "classes": everyone(groups(site, settings, samples.keep)),
    }


def gwas_logistic(site: Site, request: Request, settings: Settings) -> Arrays:
    """Log-likelihood, gradient and Hessian of variants of a chunk, each at its own coefficients."""
    samples, calls = _read(site, request, settings)
    b = _coefficients(request, settings, calls.shape[1], samples.z.shape[1] + 1)
    return logistic_sums(samples, calls, b, settings, groups_of=groups(site, settings, samples.keep))


def gwas_firth(site: Site, request: Request, settings: Settings) -> Arrays:
    """The penalised score and its curvature, at coefficients and inverse informations that the message brings."""
    if settings.firth == "no":
        raise InputError('The approved run config has firth = "no": sums of Firth\'s method are not answered.')
    samples, calls = _read(site, request, settings)
    b = _coefficients(request, settings, calls.shape[1], samples.z.shape[1] + 1)
    inverse, k = request.arrays.get("inverse"), b.shape[1]
    if inverse is None or inverse.shape != (len(b), k * (k + 1) // 2) or not (np.abs(inverse) <= _WIDEST).all():
        raise InputError("The message's inverse informations do not belong to its variants, or are beyond all reason.")
    return logistic_sums(samples, calls, b, settings, groups_of=groups(site, settings, samples.keep), inverse=inverse)


def logistic_sums(
    samples: Design, calls: Calls, b: Float, settings: Settings, *, groups_of: Float, inverse: Float | None = None
) -> Arrays:
    """The answer of `gwas_logistic`, or with inverse informations that of `gwas_firth`.

    Args:
        samples: The analysed ones, with q columns.
        calls: (kept, m) their copies, -1 where there is no call.
        b: (m, q + 1) coefficients.
        settings: Whether a missing call is the DIZ's most frequent one, and beyond which |eta| a sample does not count
            as a carrier.
        groups_of: (kept, L) of `site_classes.groups`.
        inverse: (m, (q + 1)(q + 2) / 2) packed.
    """
    z, y, m, q = samples.z, samples.y, len(b), samples.z.shape[1]
    pairs, (zz, zg, gg) = _pairs(z), _places(q)
    loglik, vector, matrix = np.empty(m), np.empty((m, q + 1)), np.empty((m, len(zz) + q + 1))
    left_loglik, left_vector, left_matrix = np.zeros(m), np.zeros((m, q)), np.zeros((m, len(zz)))
    counts, carriers = np.empty((m, 6), dtype=np.int64), np.empty((m, 2 + groups_of.shape[1]), dtype=np.int64)
    impute = settings.missing == "impute"
    classes = np.empty((m, 3 + groups_of.shape[1] * (1 if impute else 2)), dtype=np.int64)
    for of in _blocks(m, len(y)):
        g, called, used = _genotypes(calls[:, of], impute=impute)
        linear = b[of, :q] @ z.T
        linear += b[of, q:] * g
        np.clip(linear, -_MOST, _MOST, out=linear)
        fit, residual, weight = _fit(y, linear)
        told = np.abs(linear) <= settings.saturation
        counts[of], classes[of] = _counts(g, called, used, y), _classes(g, called, used, groups_of, impute=impute)
        alleles = [(told & of_kind).sum(axis=1) for of_kind in (called & (g > 0), called & (g < 2))]
        carriers[of] = np.column_stack([*alleles, np.rint(used.astype(np.float64) @ groups_of)])
        if inverse is not None:
            v = inverse[of]
            hat = v[:, zz] * _often(q) @ pairs.T + 2 * g * (v[:, zg] @ z.T) + g * g * v[:, gg, None]
            hat *= weight
            residual += hat * (0.5 - y + residual)
            weight *= 1 + hat
        if not used.all():
            left_loglik[of] = np.where(used, 0.0, fit).sum(axis=1)
            left_vector[of], left_matrix[of] = np.where(used, 0.0, residual) @ z, np.where(used, 0.0, weight) @ pairs
        loglik[of] = fit.sum(axis=1)
        vector[of, :q], vector[of, q] = residual @ z, np.einsum("ij,ij->i", residual, g)
        matrix[of, zz] = weight @ pairs
        weight *= g
        matrix[of, zg], matrix[of, gg] = weight @ z, np.einsum("ij,ij->i", weight, g)
    carriers = np.column_stack([carriers, by_site(counts[:, 0], settings)])
    found: Arrays = {"counts": counts[:, :5], "left": counts[:, 5], "carriers": carriers, "classes": classes}
    if inverse is not None:
        return {**found, "score": vector, "curvature": matrix, "left_score": left_vector, "left_curvature": left_matrix}
    found |= {"loglik": loglik, "gradient": vector, "hessian": matrix}
    return {**found, "left_loglik": left_loglik, "left_gradient": left_vector, "left_hessian": left_matrix}


def _read(site: Site, request: Request, settings: Settings) -> tuple[Design, Calls]:
    """The analysed samples and (kept, m) their calls of the variants that are asked for."""
    samples, (start, stop) = design(site, request, settings), request.span
    index = request.arrays.get("index")
    if index is None or index.ndim != 1 or index.dtype.kind != "i" or (np.diff(index, prepend=start - 1) <= 0).any():
        raise InputError("The message's variants are not named once each, in the panel's order.")
    if not len(index) or index[-1] >= stop:
        raise InputError("The message's variants do not lie within its chunk.")
    first, last = int(index[0]), int(index[-1]) + 1
    calls = read_calls(site, first, last, samples.keep)
    return samples, calls if last - first == len(index) else calls[:, index - first]


def _coefficients(request: Request, settings: Settings, count: int, columns: int) -> Float:
    """(count, columns) of the message."""
    b, limit = request.arrays.get("coefficients"), settings.coefficient_limit
    if b is None or b.shape != (count, columns) or not np.isfinite(b).all():
        raise InputError("The message's coefficients are not finite numbers, one for each variant and column.")
    if (np.abs(b) > limit).any():
        raise InputError(f"The message's coefficients go beyond {limit:g}; no fit in units of the spread needs them.")
    return np.asarray(b, dtype=np.float64)


def _genotypes(calls: Calls, *, impute: bool) -> tuple[Float, Bool, Bool]:
    """Copies, which of them were called, and which samples count; each (variants, samples)."""
    g = calls.T.astype(np.float64)
    called = g >= 0
    if called.all():
        return g, called, called
    if not impute:
        g[~called] = 0.0
        return g, called, called
    filled = np.where(called, g, most_frequent(calls)[:, None])
    return filled, called, np.repeat(called.any(axis=1)[:, None], g.shape[1], axis=1)


def _counts(g: Float, called: Bool, used: Bool, y: Float) -> Int:
    """(variants, 6) samples with a call, cases and copies among them, cases' copies, samples in the test and not."""
    known, copies = called.astype(np.float64), np.where(called, g, 0.0)
    tested = used.sum(axis=1)
    sums = (known.sum(axis=1), known @ y, copies.sum(axis=1), copies @ y, tested, len(y) - tested)
    return np.column_stack(sums).round().astype(np.int64)


def _classes(g: Float, called: Bool, used: Bool, of: Float, *, impute: bool) -> Int:
    """(variants, 3 + L or 2 L) genotypes in the test; groups (samples, L) at a DIZ where nobody has a call, or else.

    Else: those who leave the test without a call; where calls are imputed there are none, and no such columns.
    """
    lacks = ~called.any(axis=1, keepdims=True)
    genotypes = [(used & (g == copies)).sum(axis=1) for copies in range(3)]
    leaving = (~used & lacks,) if impute else (~used & lacks, ~used & ~lacks)
    parts = [kind.astype(np.float64) @ of for kind in leaving]
    return np.rint(np.column_stack([*genotypes, *parts])).astype(np.int64)


def _fit(y: Float, linear: Float) -> tuple[Float, Float, Float]:
    """Log-likelihood, y - mu and w of each variant and sample, shaped like `linear`."""
    sign = 2 * y - 1
    odds = np.exp(-sign * linear)  # against what was observed
    miss = odds / (1 + odds)
    return -np.log1p(odds), sign * miss, miss / (1 + odds)


def _pairs(z: Float) -> Float:
    """(n, q (q + 1) / 2) products of each two columns, in the order of a packed triangle."""
    rows, columns = np.triu_indices(z.shape[1])
    return np.asarray(z[:, rows] * z[:, columns])


def _often(q: int) -> Float:
    """(q (q + 1) / 2,) how often an element of a packed triangle stands in the matrix."""
    rows, columns = np.triu_indices(q)
    return np.where(rows == columns, 1.0, 2.0)


def _places(q: int) -> tuple[Int, Int, int]:
    """Where in the packed triangle of q columns and a genotype: the columns' pairs, those with it, and its square."""
    columns = np.triu_indices(q + 1)[1]
    with_genotype = np.flatnonzero(columns == q)
    return np.flatnonzero(columns < q), with_genotype[:-1], int(with_genotype[-1])


def _blocks(variants: int, samples: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(samples, 1))
    for start in range(0, variants, step):
        yield slice(start, min(start + step, variants))


ANSWERS: dict[str, Answer] = {"gwas_null": gwas_null, "gwas_logistic": gwas_logistic, "gwas_firth": gwas_firth}
"""By the query's name without ``query.``."""
