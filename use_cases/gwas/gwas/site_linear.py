"""A DIZ's part in linear association: sums over its samples, for the null model and variant by variant.

Let Z (n, q) be the columns of the design, the first of them ones, y the phenotype, g the copies of a variant, 0 where
the call is missing.

| query        | asks                    | answers                                                              |
|--------------|-------------------------|----------------------------------------------------------------------|
| gwas_centre  | nothing more            | n (1,), sites (1,), sum_x, sum_xx (1, k + 1): numeric covariates     |
|              |                         | and, last, the phenotype, in their own units                         |
| gwas_moments | the design's arrays     | n (1,), zz: Z'Z packed (1, q (q + 1) / 2), zy: Z'y (1, q), yy (1,)   |
| gwas_linear  | these, start, stop      | n, copies (m,): calls, and their copies; g, gg (m,): copies and      |
|              |                         | their squares in the test; zg (m, q - 1): Z'g but for the ones;      |
|              |                         | gy (m,); mzz (m, q (q + 1) / 2), mzy (m, q), myy (m,): what Z'Z, Z'y |
|              |                         | and y'y lose by the samples that do not enter the variant's test     |

Which samples those are is the run config's choice. ``missing = "exclude"``: the ones without a call, so that the hub
has the sums of the complete cases. ``missing = "impute"``: none where the DIZ has the variant, a missing call being the
DIZ's most frequent one, as in every other query. A DIZ without the variant leaves its test either way.

Few calls are missing as a rule: sums are made of all samples, and corrected by the few. ``carriers`` and ``classes``
guard the answer (see `site_classes` and the release contract) and do not leave. A variant whose test few samples leave
says nothing at all: its sums would differ by those few from sums that have them, of another variant or of a principal
component.
"""

from dataclasses import replace

import numpy as np

from gwas.settings import Settings
from gwas.site import Answer, Arrays, Float, Int, Request, Site
from gwas.site_calls import Tally, blocks, most_frequent, read_calls, take_missing, tallied
from gwas.site_classes import by_site, everyone, groups
from gwas.site_design import Design, analysed, design, own_units
from gwas.site_loco import offset

_AT_ONCE = 1_000_000
"""Numbers that are gathered at once for the corrections."""


def gwas_centre(site: Site, request: Request, settings: Settings) -> Arrays:
    """Sums of the numeric columns and of their squares."""
    del request
    keep = analysed(site, settings)
    values = own_units(site, settings, keep)
    return {
        "n": np.array([len(values)], dtype=np.int64),
        "sites": np.array([int(len(values) > 0)], dtype=np.int64),
        "sum_x": values.sum(axis=0, keepdims=True),
        "sum_xx": (values**2).sum(axis=0, keepdims=True),
        "classes": everyone(groups(site, settings, keep)),
    }


def gwas_moments(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products of the design's columns with each other and with the phenotype."""
    samples = design(site, request, settings)
    z, y = samples.z, samples.y - offset(site, request, settings, samples)
    return {
        "n": np.array([samples.rows], dtype=np.int64),
        "zz": (z.T @ z)[np.triu_indices(z.shape[1])][None],
        "zy": (z.T @ y)[None],
        "yy": np.array([y @ y]),
        "classes": everyone(groups(site, settings, samples.keep)),
    }


def gwas_linear(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products of a chunk's variants with the columns and the phenotype."""
    samples = design(site, request, settings)
    y = samples.y - offset(site, request, settings, samples)
    return linear_sums(site, request.span, replace(samples, y=y), settings)


ANSWERS: dict[str, Answer] = {"gwas_centre": gwas_centre, "gwas_moments": gwas_moments, "gwas_linear": gwas_linear}
"""By the query's name without ``query.``."""


def linear_sums(site: Site, span: tuple[int, int], samples: Design, settings: Settings) -> Arrays:
    """The answer of `gwas_linear`.

    Args:
        site: The DIZ's data.
        span: The chunk, of m variants.
        samples: Which, their columns and phenotype.
        settings: The approved run config's.
    """
    z, y = samples.z, samples.y
    calls = read_calls(site, *span, samples.keep)
    rows, width = calls.shape
    fill = most_frequent(calls).astype(np.int64)
    places = take_missing(calls)
    zy, q = np.column_stack([z, y]), z.shape[1]
    products, squares = np.empty((width, q + 1)), np.empty(width)
    for of, block in blocks(calls):
        np.matmul(block, zy, out=products[of])
        np.einsum("ij,ij->i", block, block, out=squares[of])
    found = tallied(calls, places, products[:, 0], squares)
    n = rows - found.missing
    leaving, filled = found.missing, np.zeros(width, dtype=np.int64)
    if settings.missing == "impute":
        products += fill[:, None] * _sums_of_missing(found, zy, rows)
        leaving, filled = np.where(n > 0, 0, rows), fill * found.missing
    none, one, two = found.genotypes(rows)
    lost = _lost(found, z, y, leaving, rows)
    tested, classes = _groups(found, groups(site, settings, samples.keep), leaving, rows, settings)
    return {
        "n": n,
        "copies": found.copies,
        "g": found.copies + filled,
        "gg": found.squares + fill * filled,
        "zg": products[:, 1:q],
        "gy": products[:, q],
        **lost,
        "carriers": np.column_stack([one + two, none + one, tested, by_site(n, settings)]),
        "classes": classes,
    }


def _groups(found: Tally, of: Float, leaving: Int, rows: int, settings: Settings) -> tuple[Int, Int]:
    """(m, L) groups (rows, L) in the test; and of those who leave it, at a DIZ without the variant or without a call.

    With ``missing = "impute"`` nobody leaves it without a call, and classes are (m, L), else (m, 2 L).
    """
    lacks, everyone_of = (found.missing == rows)[:, None], everyone(of)
    without = np.zeros((len(leaving), of.shape[1]), dtype=np.int64)
    absent = np.where(lacks, everyone_of, 0)
    if settings.missing == "impute":
        return np.where(lacks, 0, everyone_of), absent
    if leaving.any():
        without = np.where(lacks, 0, np.rint(_sums_of_missing(found, of, rows)).astype(np.int64))
    return np.where(lacks, 0, everyone_of - without), np.column_stack([absent, without])


def _lost(found: Tally, z: Float, y: Float, leaving: Int, rows: int) -> Arrays:
    """Products of the columns and the phenotype over the samples that leave a variant's test."""
    q = z.shape[1]
    upper, lower = np.triu_indices(q)
    pairs = len(upper)
    sums = np.zeros((len(leaving), pairs + q + 1))
    if leaving.any():
        of = np.column_stack([z[:, upper] * z[:, lower], z * y[:, None], y**2])
        if (leaving == found.missing).all():
            sums = _sums_of_missing(found, of, rows)
        else:
            sums[leaving > 0] = of.sum(axis=0)
    return {"mzz": sums[:, :pairs], "mzy": sums[:, pairs:-1], "myy": sums[:, -1]}


def _sums_of_missing(found: Tally, of: Float, rows: int) -> Float:
    """(m, c) sums of columns (rows, c) over each variant's samples without a call."""
    width = len(found.missing)
    sums = np.zeros((width, of.shape[1]))
    ends = np.concatenate([[0], np.cumsum(found.missing)])
    whole = found.missing == rows
    sums[whole] = of.sum(axis=0)
    wanted = np.flatnonzero((found.missing > 0) & ~whole)
    samples = found.places % max(rows, 1)
    step = max(1, _AT_ONCE // of.shape[1])
    first = 0
    while first < len(wanted):
        begin = ends[wanted[first]]
        last = max(first + 1, int(np.searchsorted(ends[wanted + 1], begin + step, side="right")))
        some = wanted[first:last]
        gathered = of[_within(samples, ends, some)]
        sums[some] = np.add.reduceat(gathered, np.concatenate([[0], np.cumsum(found.missing[some])[:-1]]), axis=0)
        first = last
    return sums


def _within(samples: Int, ends: Int, variants: Int) -> Int:
    """Samples of some variants' missing calls, variant after variant."""
    if variants[-1] - variants[0] + 1 == len(variants):
        return samples[ends[variants[0]] : ends[variants[-1] + 1]]
    return np.concatenate([samples[ends[variant] : ends[variant + 1]] for variant in variants])
