"""Genotypes as columns of a matrix: less their pooled mean, over their pooled spread.

A message that brings weights on variants (a basis, loadings, a ridge model) asks about X w, and multiplied with other
genotypes that is X'X w. Sums are linear: whoever sees the same genotypes in two representations sees the difference,
which may be one patient's. So there is one representation for all queries of an analysis, and a message changes it by a
mean and a scale alone, which is the same change for every patient:

* a missing call is the most frequent one of this DIZ's analysed samples, whatever the message says and whichever of
  them a sum is over (`filled`);
* only variants that the approved panel states as common take weights (`weighable`), and one of which a DIZ has fewer
  than `min_carriers` carriers of an allele, but some, is absent there for every query (`site_few`). A DIZ refuses
  weights on a variant that it lacks.

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
from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site import Bool, Float, Int, Request, Site
from gwas.site_cache import digest, remember
from gwas.site_calls import most_frequent

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


def weighable(panel: Panel, settings: Settings) -> Bool:
    """(p,) variants that may take weights: on autosomes, and common by the panel's own frequencies."""
    frequency = panel.alt_frequency.astype(np.float64)
    with np.errstate(invalid="ignore"):
        minor = np.minimum(frequency, 1 - frequency)
        return np.asarray((minor >= settings.pca_maf) & (panel.chromosome <= AUTOSOMES))


def filled(calls: Calls) -> Float:
    """Copies, a missing call being this DIZ's most frequent one, as in every test.

    Args:
        calls: (n, m) of all analysed samples, -1 missing; never of some of them, as a fold.

    Returns:
        (n, m) float64 in Fortran's order; 0 where nobody has a call.
    """
    by_variant = calls.T  # its rows lie together
    found = by_variant.astype(np.float64)
    rows = np.flatnonzero((by_variant < 0).any(axis=1))
    if len(rows):
        some = by_variant[rows]
        found[rows] = np.where(some < 0, most_frequent(some.T)[:, None], some)
    return found.T


def scaled(calls: Calls, mean: Float, scale: Float) -> Float:
    """Columns of the matrix.

    Args:
        calls: (n, m) copies, -1 missing, of all analysed samples.
        mean: (m,) pooled means of the copies.
        scale: (m,) what they are divided by, above 0.

    Returns:
        (n, m) float64 in Fortran's order.
    """
    found = filled(calls).T
    found -= mean[:, None]
    found /= scale[:, None]
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
        yield of, calls, scaled(calls, mean[of], scale[of])


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
    must_be_there(site, index)
    return index.astype(np.int64)


def must_be_there(site: Site, index: Int) -> None:
    """Refuse weights on variants that this DIZ lacks: such a sum would tell of this DIZ.

    Raises:
        InputError: It lacks some.
    """
    if absent := int((~site.genotypes.present[index]).sum()):
        raise InputError(
            f"{absent} of the {len(index)} variants that the message weighs are not at this DIZ, or too few carry them "
            "here; weigh variants that all DIZ have."
        )


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
