"""Genotypes as columns of a matrix: less their pooled mean, over their pooled spread, a missing call at the mean.

A message that brings weights on variants (a basis, loadings, a ridge model) asks about X w, and multiplied with other
genotypes that is X'X w. If w has one variant, and one patient carries it, this is the carrier's genome. Masks and
counts of who carries the *other* variants do not help against it. So where fewer than `fewest` of a DIZ's analysed
samples carry an allele, nobody there counts as carrying it: all of them, those without a call as well, are alike. Then
whatever the weights, each variant that tells samples apart has so many carriers of either allele at that DIZ. Of common
variants (`pca_maf`) at a DIZ of hundreds this changes little; with `fewest` of 1 nothing at all, and sums are the
pooled ones.

Not prevented: weights on several common variants whose sum is large in one patient alone, such as the difference of two
that differ in one patient. A hub that knows such weights gets that patient's genotypes from one answer. It has to find
them first, from sums that are bounded in number (`per_run` in the terms), but nothing here keeps it from that: who does
not trust the hub with second moments of common variants should not run principal components or the two-step method.
Nor is it prevented that a variant which only one DIZ has, or lacks, makes a sum that tells of this DIZ (its allele
frequencies, not its patients).
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Bool, Float, Int, Request, Site
from gwas.site_cache import digest, remember

Calls = npt.NDArray[np.int8]

AUTOSOMES = 22

BLOCK = 1_000
"""Variants that are unpacked at once."""

_HELD = 1 << 29
"""Bytes of calls that are kept for the next message about the same variants."""


def carriers(calls: Calls) -> Int:
    """(m, 2) samples with at least one `alt`, and with at least one `ref`, of calls (n, m)."""
    alt, ref = (calls > 0).sum(axis=0), ((calls == 0) | (calls == 1)).sum(axis=0)
    return np.stack([alt, ref], axis=1).astype(np.int64)


def scaled(calls: Calls, mean: Float, scale: Float, *, fewest: int) -> Float:
    """Columns of the matrix.

    Args:
        calls: (n, m) copies, -1 missing.
        mean: (m,) pooled means of the copies.
        scale: (m,) what they are divided by, above 0.
        fewest: Carriers of an allele at this DIZ, below which it does not count (see the module); 1 for no such rule.

    Returns:
        (n, m) float64 in Fortran's order.
    """
    by_variant = calls.T  # its rows lie together
    found = by_variant.astype(np.float64)
    found -= mean[:, None]
    found /= scale[:, None]
    found[by_variant < 0] = 0.0
    if fewest > 1:
        few = carriers(calls) < fewest
        alike = np.flatnonzero(few.any(axis=1))
        copies = np.where(few[alike, 0], 0.0, 2.0)
        value = np.where(few[alike].all(axis=1), 0.0, (copies - mean[alike]) / scale[alike])
        found[alike] = value[:, None]
    return found.T


def blocks(
    site: Site, request: Request, settings: Settings, keep: Bool, prefix: str
) -> Iterator[tuple[slice, Calls, Float]]:
    """The variants that a message names as ``{prefix}_index``, a block at a time: its place, calls and columns.

    Raises:
        InputError: As `variants` and `numbers`.
    """
    index, mean, scale = centred_variants(site, request, prefix)
    held = len(index) * site.samples <= _HELD
    for start in range(0, len(index), BLOCK):
        of = slice(start, min(start + BLOCK, len(index)))
        calls = _held(site, index, keep)[:, of] if held else site.genotypes.pick(index[of])[keep]
        yield of, calls, scaled(calls, mean[of], scale[of], fewest=settings.min_carriers)


def centred_variants(site: Site, request: Request, prefix: str) -> tuple[Int, Float, Float]:
    """``{prefix}_index``, ``{prefix}_mean`` and ``{prefix}_scale`` of a message, (m,) each.

    Raises:
        InputError: They are not what they should be.
    """
    index = variants(site, request, f"{prefix}_index")
    mean, scale = (numbers(request, f"{prefix}_{name}", (len(index),)) for name in ("mean", "scale"))
    if not (scale > 0).all():
        raise InputError("The message's scales must be above 0.")
    return index, mean, scale


def variants(site: Site, request: Request, name: str) -> Int:
    """Places in the panel that a message names, in order, on autosomes.

    Raises:
        InputError: There are none, one is named twice, or is not such a place.
    """
    index = request.arrays.get(name)
    if index is None or index.ndim != 1 or index.dtype.kind != "i" or not len(index):
        raise InputError(f"The message brings no list of variants {name!r}.")
    if (np.diff(index, prepend=-1) <= 0).any() or index[-1] >= site.panel.size:
        raise InputError(f"The variants {name!r} must be places in the panel, each once and in order.")
    if (site.panel.chromosome[index] > AUTOSOMES).any():
        raise InputError(f"The variants {name!r} must lie on autosomes.")
    return index.astype(np.int64)


def numbers(request: Request, name: str, shape: tuple[int, ...]) -> Float:
    """Finite numbers that a message brings.

    Raises:
        InputError: They are not there, not finite, or of another shape.
    """
    array = request.arrays.get(name)
    if array is None or array.shape != shape or array.dtype.kind not in "fi" or not np.isfinite(array).all():
        raise InputError(f"The message's {name!r} must be finite numbers of shape {shape}.")
    return array.astype(np.float64)


def _held(site: Site, index: Int, keep: Bool) -> Calls:
    """(kept, m) calls, in Fortran's order, remembered."""

    def read() -> Calls:
        return np.ascontiguousarray(site.genotypes.pick(index).T[:, keep]).T

    return remember(site, digest("calls", arrays={"index": index, "keep": keep}), read)
