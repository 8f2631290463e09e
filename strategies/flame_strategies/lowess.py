"""Robust locally weighted regression, a smooth line through points.

Cleveland, "Robust locally weighted regression and smoothing scatterplots", JASA 74, 1979, and "LOWESS: a program for
smoothing scatterplots", The American Statistician 35, 1981, whose program is in the public domain (netlib): at a point,
the nearest share of points is fitted by a straight line with tricube weights; the fit is repeated with weights that
fall with the residual; fits are made at points at least `delta` apart, and lines drawn between.
"""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_FAR, _CLOSE = 0.999, 0.001
"""Shares of a half-width beyond which a weight counts as 0, and within which as 1."""

_ENOUGH = 1e-7
"""Residuals whose median is this share of their mean are as good as 0."""


def lowess(x: npt.ArrayLike, y: npt.ArrayLike, *, span: float = 0.5, iterations: int = 3) -> tuple[Vector, Vector]:
    """Smooth points, as R's function of this name does.

    Args:
        x: Shape (n,), n at least 1, finite.
        y: Shape (n,), finite.
        span: Share of the points that each fit takes, above 0 and at most 1.
        iterations: Fits after the first, with robust weights.

    Returns:
        x in rising order and the line at each of them, both of shape (n,).
    """
    abscissa, ordinate = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if abscissa.ndim != 1 or abscissa.shape != ordinate.shape or not abscissa.size or not 0 < span <= 1:
        raise ValueError("lowess takes as many x as y, at least one, and a span above 0 and at most 1.")
    order = np.argsort(abscissa, kind="stable")
    xs, ys = abscissa[order], ordinate[order]
    n, apart = len(xs), 0.01 * float(xs[-1] - xs[0])
    if n < 2:
        return xs, ys
    near = max(min(n, int(span * n + 1e-7)), 2)
    robust: Vector | None = None
    fit = ys
    for turn in range(iterations + 1):
        fit = _line(xs, ys, near, apart, robust)
        if turn == iterations:
            break
        off = np.abs(ys - fit)
        ranked = np.sort(off)
        half = n // 2
        scale = 3.0 * (ranked[half] + ranked[n - half - 1])  # six medians
        if scale < _ENOUGH * off.mean():
            break
        share = off / scale if scale > 0 else np.zeros(n)
        robust = np.where(share <= _CLOSE, 1.0, np.where(share <= _FAR, (1 - np.minimum(share, 1) ** 2) ** 2, 0.0))
    return xs, fit


def _line(x: Vector, y: Vector, near: int, apart: float, robust: Vector | None) -> Vector:
    """One pass over the points from left to right."""
    n, left, last, i = len(x), 0, -1, 0
    fit = np.empty(n)
    while True:
        while left + near < n and x[i] - x[left] > x[left + near] - x[i]:
            left += 1
        fit[i] = _at(x, y, i, slice(left, left + near), robust)
        if last < i - 1:  # points passed over lie on the line between
            share = (x[last + 1 : i] - x[last]) / (x[i] - x[last])
            fit[last + 1 : i] = share * fit[i] + (1 - share) * fit[last]
        last = i
        cut = x[last] + apart
        i = last + 1
        while i < n and x[i] <= cut:
            if x[i] == x[last]:
                fit[i] = fit[last]
                last = i
            i += 1
        i = max(last + 1, i - 1)
        if last >= n - 1:
            return fit


def _at(x: Vector, y: Vector, i: int, near: slice, robust: Vector | None) -> float:
    """The line fitted around point i, there; the point itself if no other has a weight."""
    left = near.start
    width = max(x[i] - x[left], x[near.stop - 1] - x[i])
    end = int(np.searchsorted(x, x[i] + _FAR * width, side="right"))  # equal abscissas beyond the last near one count
    end = max(end, left + 1)
    away = np.abs(x[left:end] - x[i])
    weight = np.where(away <= _CLOSE * width, 1.0, (1 - (away / width if width > 0 else away) ** 3) ** 3)
    weight[away > _FAR * width] = 0.0
    if robust is not None:
        weight = weight * robust[left:end]
    total = weight.sum()
    if total <= 0:
        return float(y[i])
    weight = weight / total
    if width > 0:
        centre = weight @ x[left:end]
        spread = weight @ (x[left:end] - centre) ** 2
        if np.sqrt(spread) > _CLOSE * (x[-1] - x[0]):
            weight = weight * (1 + (x[i] - centre) / spread * (x[left:end] - centre))
    return float(weight @ y[left:end])
