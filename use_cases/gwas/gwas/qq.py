"""The QQ plot of millions of tests, from their counts in fine steps of -log10 p; the clearest are drawn one by one."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gwas import plots
from gwas.manhattan import height, ticks, value
from gwas.plots import BLUE, GREY
from gwas.results import Associations

Float = npt.NDArray[np.float64]

_FINE, _TOP = 4000, 40.0
"""Steps of the count per unit of -log10 p, and how far they go."""

_KEPT = 2_000
"""Tests that are drawn one by one."""


def qq(
    folder: Path, associations: Associations, tests: int, largest: float, inflation: float, *, mark: str = ""
) -> plots.Entry:
    """Observed against expected -log10 p, with the 95 % band of chance at each rank.

    Args:
        folder: The run's folder.
        associations: The tests.
        tests: How many.
        largest: The largest finite -log10 p.
        inflation: Their lambda.
        mark: See `plots.figure`.
    """
    expected, observed = points(associations, tests, largest)
    right, top = expected.max(initial=1.0) * 1.03, float(height(max(largest, 1.0))) * 1.05
    x, low, high = band(tests)
    with plots.figure(folder, "qq", 4.8, 4.8, cloud=True, mark=mark) as (axes,):
        axes.fill_between(x, height(low), height(np.minimum(high, value(top))), color=GREY, alpha=0.25, lw=0)
        ends = np.linspace(0, right, 200)
        axes.plot(ends, height(ends), color=GREY, lw=1)
        axes.scatter(expected, height(observed), s=7, lw=0, color=BLUE)
        axes.set(xlim=(0, right), ylim=(0, top), xlabel="expected −log10 p", ylabel="observed −log10 p")
        ticks(axes, largest)
        axes.text(0.04, 0.95, f"λ = {inflation:.3f}", transform=axes.transAxes, va="top")
    caption = f"{tests} tests, from sums over all DIZ; grey: where 95 % of tests of this rank lie by chance alone."
    return plots.entry("qq", "QQ plot", caption, cloud=True)


def points(associations: Associations, tests: int, largest: float) -> tuple[Float, Float]:
    """Expected and observed -log10 p: the clearest tests, then one point for each step of -log10 p that has any."""
    counts = np.zeros(int(_FINE * _TOP) + 1, dtype=np.int64)
    clear = np.empty(0)
    for part in associations.tested(("log10p",)):
        values = np.minimum(part["log10p"], largest)
        counts += np.bincount(np.minimum(values * _FINE, len(counts) - 1).astype(np.int64), minlength=len(counts))
        clear = np.concatenate([clear, values])
        if len(clear) > 20 * _KEPT:
            clear = np.partition(clear, -_KEPT)[-_KEPT:]
    clear = np.sort(clear)[::-1][:_KEPT]  # these are drawn one by one, the rest by steps of their count
    above = tests - np.cumsum(counts)
    used = np.flatnonzero((counts > 0) & (above >= len(clear)))
    rank = np.concatenate([np.arange(1, len(clear) + 1) - 0.5, above[used] + counts[used] / 2])
    observed = np.concatenate([clear, (used + 0.5) / _FINE])
    return -np.log10(rank / max(tests, 1)), observed


def band(tests: int) -> tuple[Float, Float, Float]:
    """Expected -log10 p, and where 95 % of the p values of that rank are if all tests are chance.

    The k-th smallest of n uniform numbers has a beta distribution (k, n - k + 1). Its quantiles are those of the ratio
    of two gamma variables, each by the cube root that makes it nearly normal (Wilson and Hilferty, PNAS 17, 1931;
    Paulson, "An approximate normalization of the analysis of variance distribution", Annals of Mathematical Statistics
    13, 1942), and exact for the smallest and the largest number.

    Returns:
        Each (r,), from large p to small.
    """
    ranks = np.unique(np.geomspace(1, max(tests, 1), 200).astype(np.int64)).astype(np.float64)
    n = max(float(tests), 1.0)
    other = n - ranks + 1
    s, r = 1 / (9 * other), 1 / (9 * ranks)
    ends = []
    for z, tail in ((1.959963984540054, 0.975), (-1.959963984540054, 0.025)):
        square = (1 - s) ** 2 - z**2 * s
        inner = ((1 - s) * (1 - r)) ** 2 - square * ((1 - r) ** 2 - z**2 * r)
        ratio = (((1 - s) * (1 - r) + np.sign(z) * np.sqrt(inner)) / square) ** 3
        found = ranks * ratio / (other + ranks * ratio)
        found[ranks == n] = tail ** (1 / n)
        found[ranks == 1] = 1 - (1 - tail) ** (1 / n)
        ends.append(-np.log10(found))
    order = np.argsort(-ranks)
    return -np.log10((ranks - 0.5) / n)[order], ends[0][order], ends[1][order]
