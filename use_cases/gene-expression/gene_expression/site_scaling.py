"""A DIZ's part in scaling RNA-seq libraries: sizes and factors stay here, sums by gene leave.

A sample's library size is the number of its reads in the genes of the library (`library` in the message: measured at
every DIZ, and left by the filter). Its factor says how far its counts are off those of the pooled profile, the sum of
all samples' counts (`profile`), for another reason than size:

* ``tmm``: trimmed mean of M values (Robinson and Oshlack, Genome Biology 11:R25, 2010) with the pooled profile as the
  reference: 30 % of the log ratios and 5 % of the mean logs trimmed at either end, genes with ranks on the edge kept,
  tied genes at their mean rank; weights are the inverse of the asymptotic variances;
* ``upper_quartile``: the upper quartile of counts over library size, over genes with any reads (Bullard et al., BMC
  Bioinformatics 11:94, 2010);
* ``none``: 1.

The hub learns the sum of the factors' logarithms, and sends their mean back, so that all factors multiply to 1.
"""

import hashlib
from weakref import ref

import numpy as np
import numpy.typing as npt

from gene_expression.errors import InputError
from gene_expression.site_design import Samples, build
from gene_expression.table import COUNTS, Answer, Arrays, Float, Request, Table

_TRIM_RATIO, _TRIM_SUM = 0.3, 0.05

_ALIKE = 1e-6
"""If no log ratio is larger, the sample is the reference's multiple."""

_TIE = 1e-12
"""A count exactly at the cut-off is above it, whatever rounding says."""

_KNOWN: dict[int, tuple[ref[Float], bytes, Float]] = {}
"""Library sizes already computed, by the identity of the values: one fit asks for the same ones many times."""


def genes_of(table: Table, request: Request, samples: Samples, name: str = "genes") -> Float:
    """(n, g) values of the genes at the places that the message names.

    Raises:
        InputError: A place is not in the panel.
    """
    places = np.asarray(request.arrays[name], dtype=np.int64)
    if places.ndim != 1 or places.size == 0 or places.min() < 0 or places.max() >= table.genes.shape[1]:
        raise InputError("The message asks for genes that are not in the panel; the panels differ.")
    first, last = int(places[0]), int(places[-1])
    whole = last - first + 1 == len(places) and bool((np.diff(places) == 1).all())
    chosen = table.genes[:, first : last + 1] if whole else table.genes[:, places]
    return np.asarray(chosen if samples.excluded == 0 else chosen[samples.kept])


def counts_of(table: Table, request: Request, samples: Samples, name: str = "genes") -> Float:
    """`genes_of` where they are counts."""
    if table.scale != COUNTS:
        raise InputError("The values are logarithms; this analysis needs raw counts of reads.")
    return genes_of(table, request, samples, name)


def library_sizes(table: Table, request: Request, samples: Samples) -> Float:
    """(n,) library sizes.

    Raises:
        InputError: A sample has none of the genes measured, or no reads.
    """
    sizes = counts_of(table, request, samples, "library").sum(axis=1)
    if not (sizes > 0).all():  # NaN too
        raise InputError("A sample has no reads, or no value, in genes that are analysed; leave it out of the store.")
    return np.asarray(sizes)


def effective_sizes(table: Table, request: Request, samples: Samples) -> Float:
    """(n,) library sizes times factors, which multiply to 1 over all DIZ."""
    key, place = _key(request, samples), id(table.genes)
    if place in _KNOWN:
        values, known, sizes = _KNOWN[place]
        if values() is table.genes and known == key:
            return sizes
    factors = np.exp(_log_factors(table, request, samples) - float(request.config["log_factor"]))
    sizes = library_sizes(table, request, samples) * factors
    for gone in [other for other, (values, *_) in _KNOWN.items() if values() is None]:
        del _KNOWN[gone]
    _KNOWN[place] = ref(table.genes), key, sizes
    return sizes


def scale_genes(table: Table, request: Request) -> Arrays:
    """By gene: in how many samples it was measured, and the sum of their counts."""
    samples = build(table, request)
    counts = counts_of(table, request, samples)
    return {
        "n": np.array([samples.rows], dtype=np.int64),
        "present": np.isfinite(counts).sum(axis=0, dtype=np.int64),
        "total": np.nansum(counts, axis=0),
    }


def scale_ranks(table: Table, request: Request) -> Arrays:
    """How many library sizes are at most each threshold (1, t)."""
    sizes = np.sort(library_sizes(table, request, build(table, request)))
    at_most = np.searchsorted(sizes, request.arrays["thresholds"][0], side="right")
    return {"count": np.array([len(sizes)], dtype=np.int64), "at_most": at_most.astype(np.int64)[None, :]}


def scale_above(table: Table, request: Request) -> Arrays:
    """By gene: samples with at least `cutoff` counts per million."""
    samples = build(table, request)
    sizes = library_sizes(table, request, samples)
    least = float(request.config["cutoff"]) * (1 - _TIE) * 1e-6 * sizes
    above = counts_of(table, request, samples) >= least[:, None]
    return {"n": np.array([samples.rows], dtype=np.int64), "above": above.sum(axis=0, dtype=np.int64)}


def scale_factors(table: Table, request: Request) -> Arrays:
    """Sum of the logarithms of the samples' factors."""
    samples = build(table, request)
    total = _log_factors(table, request, samples).sum()
    return {"n": np.array([samples.rows], dtype=np.int64), "sum_log": np.array([total])}


ANSWERS: dict[str, Answer] = {
    "scale_genes": scale_genes,
    "scale_ranks": scale_ranks,
    "scale_above": scale_above,
    "scale_factors": scale_factors,
}
"""By the query's name without ``query.``."""


def _log_factors(table: Table, request: Request, samples: Samples) -> Float:
    """(n,) natural logarithms of the factors, before they are made to multiply to 1."""
    method = str(request.config["method"])
    if method == "none":
        return np.zeros(samples.rows)
    counts, profile = counts_of(table, request, samples, "library"), np.asarray(request.arrays["profile"])
    sizes = library_sizes(table, request, samples)
    if profile.shape != (counts.shape[1],):
        raise InputError(f"The message has a profile of {profile.size} genes and a library of {counts.shape[1]}.")
    if method == "tmm":
        return np.array([_tmm(row, size, profile) for row, size in zip(counts, sizes, strict=True)], dtype=np.float64)
    if method != "upper_quartile":
        raise InputError(f"There is no scaling {method!r}; take tmm, upper_quartile or none.")
    upper = np.quantile(counts[:, profile > 0] / sizes[:, None], 0.75, axis=1)
    if not (upper > 0).all():
        raise InputError("In a sample a quarter of the genes or fewer have reads; scale by tmm, or filter the genes.")
    return np.asarray(np.log(upper))


def _tmm(counts: Float, size: float, profile: Float) -> float:
    """Logarithm of one sample's trimmed mean of M values."""
    both = (counts > 0) & (profile > 0)
    reads, whole = profile[both], float(profile.sum())
    own = counts[both]
    ratio = np.log2((own / size) / (reads / whole))
    if not both.any() or np.abs(ratio).max() < _ALIKE:
        return 0.0
    mean = (np.log2(own / size) + np.log2(reads / whole)) / 2
    kept = _middle(ratio, _TRIM_RATIO) & _middle(mean, _TRIM_SUM)
    weight = 1.0 / ((size - own) / size / own + (whole - reads) / whole / reads)[kept]
    return float(np.log(2.0) * (weight @ ratio[kept]) / weight.sum()) if kept.any() else 0.0


def _middle(values: Float, trim: float) -> npt.NDArray[np.bool_]:
    """Which values are left if a share is cut off at either end."""
    edge = np.floor(len(values) * trim)
    rank = _ranks(values)
    return np.asarray((rank >= edge + 1) & (rank <= len(values) - edge))


def _ranks(values: Float) -> Float:
    """Ranks from 1; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    new = np.diff(values[order], prepend=np.nan) != 0
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = ((first + 1 + last) / 2)[np.cumsum(new) - 1]
    return ranks


def _key(request: Request, samples: Samples) -> bytes:
    """What the library sizes of a table depend on: the samples, the genes and the scaling."""
    words = [str(request.config["method"]), float(request.config["log_factor"])]
    digest = hashlib.sha256(repr(words).encode() + np.packbits(samples.kept).tobytes())
    for name in ("library", "profile"):
        digest.update(np.ascontiguousarray(request.arrays[name]).tobytes())
    return digest.digest()
