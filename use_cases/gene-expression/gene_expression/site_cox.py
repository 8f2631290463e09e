"""A DIZ's part of Cox regression: sums over its complete rows by time bin, or its own partial likelihood.

A grid of times e_0 < e_1 < ... is declared. A time t is counted in the first bin with t <= e_k, as if it were e_k;
beyond the last, as under observation to the end without an event. If every time is one of the grid (days, months),
nothing is rounded. Let z be a row's columns, centred and scaled as the hub says, and r = e^(z'b). A row leaves in the
last bin with any event that is not later than its own. At risk in a bin are the rows that leave in it or later; the hub
adds them up, so the sums here are over the rows that leave.

With strata by site nothing of that is needed: a DIZ's partial likelihood is its own (Kalbfleisch and Prentice, "The
Statistical Analysis of Failure Time Data", 2nd ed. 2002, §4.4), computed from its exact times.
"""

from dataclasses import dataclass

import numpy as np

from gene_expression.errors import InputError
from gene_expression.site_design import build, standardise
from gene_expression.site_glm import pack
from gene_expression.site_rows import values, view
from gene_expression.table import Answer, Arrays, Float, Int, Request, Table

_MOST = 300.0
"""Linear predictors are cut here, far beyond any that fits, so that sums stay finite."""


@dataclass(frozen=True, eq=False)
class Times:
    """Complete rows with the time under observation.

    Attributes:
        X: (n, q) columns in their own units.
        Z: (n, q) the same as the hub centres and scales them; empty before it said how.
        time: (n,).
        event: (n,) whether the time is that of an event.
        excluded: How many rows are left out because something is missing.
        invalid: How many have a time below 0 or an event that is neither 0 nor 1; they count as without event.
    """

    X: Float
    Z: Float
    time: Float
    event: np.typing.NDArray[np.bool_]
    excluded: int
    invalid: int

    def moments(self) -> Arrays:
        """Counts of rows; sums of the columns, of their squares, and over the events."""
        return {
            "n": np.array([len(self.time)], dtype=np.int64),
            "excluded": np.array([self.excluded], dtype=np.int64),
            "sum_x": self.X.sum(axis=0),
            "sum_xx": (self.X**2).sum(axis=0),
        }


def cox_counts(table: Table, request: Request) -> Arrays:
    """Events and last times by bin, and what centring, scaling and the checks need; see `flame_strategies.cox`."""
    times, grid = _times(table, request), request.arrays["grid"]
    bins = np.searchsorted(grid, times.time)
    inside = bins < len(grid)
    off_grid = int((grid[bins[inside]] != times.time[inside]).sum())
    happened = times.event & inside
    return {
        **times.moments(),
        "events": np.bincount(bins[happened], minlength=len(grid)).astype(np.int64),
        "leaving": np.bincount(bins, minlength=len(grid) + 1).astype(np.int64),
        "sum_x_events": times.X[happened].sum(axis=0),
        "checks": np.array([times.invalid, off_grid, int((~inside).sum())], dtype=np.int64),
    }


def cox_moments(table: Table, request: Request) -> Arrays:
    """`cox_counts` without time, for strata by site."""
    times = _times(table, request)
    return {
        **times.moments(),
        "events": np.array([times.event.sum()], dtype=np.int64),
        "sum_x_events": times.X[times.event].sum(axis=0),
        "checks": np.array([times.invalid, 0, 0], dtype=np.int64),
    }


def cox_step(table: Table, request: Request) -> Arrays:
    """By bin with events: sums of r, r z and r z z' over the rows that leave in it; see `flame_strategies.cox`."""
    return _by_time(table, request)


def cox_efron(table: Table, request: Request) -> Arrays:
    """`cox_step`, and for the bins in ``tied`` the same sums over the rows with an event in them."""
    return _by_time(table, request, request.arrays["tied"].astype(np.int64))


def cox_site_step(table: Table, request: Request) -> Arrays:
    """The DIZ's own log partial likelihood, its gradient and negative Hessian."""
    times = _times(table, request)
    efron = bool(request.config["efron"])
    Z, r = times.Z, _risk(times.Z, request)
    order = np.argsort(-times.time, kind="stable")  # latest first: rows at risk are those before
    Z, r, event, time = Z[order], r[order], times.event[order], times.time[order]
    q = Z.shape[1]
    loglik, gradient, hessian = 0.0, np.zeros(q), np.zeros((q, q))
    s0, s1, s2 = 0.0, np.zeros(q), np.zeros((q, q))
    edges = np.flatnonzero(np.diff(time, prepend=np.inf, append=-np.inf))
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        z, weight, dead = Z[first:end], r[first:end], event[first:end]
        s0, s1, s2 = s0 + weight.sum(), s1 + weight @ z, s2 + (z * weight[:, None]).T @ z
        if not dead.any():
            continue
        z, weight, deaths = z[dead], weight[dead], int(dead.sum())
        d0, d1, d2 = weight.sum(), weight @ z, (z * weight[:, None]).T @ z
        loglik, gradient = loglik + float(np.log(weight).sum()), gradient + z.sum(axis=0)
        for share in np.arange(deaths) / deaths if efron else np.zeros(deaths):
            mean = (s1 - share * d1) / (s0 - share * d0)
            loglik -= float(np.log(s0 - share * d0))
            gradient -= mean
            hessian += (s2 - share * d2) / (s0 - share * d0) - np.outer(mean, mean)
    return {
        "n": np.array([len(r)], dtype=np.int64),
        "events": np.array([event.sum()], dtype=np.int64),
        "fit": np.array([loglik]),
        "gradient": gradient,
        "hessian": pack(hessian),
    }


def _by_time(table: Table, request: Request, tied: Int | None = None) -> Arrays:
    times, grid, kept = _times(table, request), request.arrays["grid"], request.arrays["kept"].astype(np.int64)
    bins = np.searchsorted(grid, times.time)
    happened = times.event & (bins < len(grid))
    leaving = np.searchsorted(kept, bins, side="right") - 1  # the last bin with events at or before; -1: before all
    own = np.searchsorted(kept, bins)
    if not np.isin(bins[happened], kept).all():
        raise InputError("There are events in time bins that had none before; the data store changed.")
    Z, r = times.Z, _risk(times.Z, request)
    answer = {
        "n": np.array([len(r)], dtype=np.int64),
        "events": np.bincount(own[happened], minlength=len(kept)).astype(np.int64),
        "event_z": Z[happened].sum(axis=0),
        **_by_bin("risk", leaving, Z, r, len(kept)),
    }
    if tied is not None:
        place = np.full(len(kept) + 1, -1, dtype=np.int64)
        place[tied] = np.arange(len(tied))
        answer |= _by_bin("tied", place[own[happened]], Z[happened], r[happened], len(tied))
    return answer


def _times(table: Table, request: Request) -> Times:
    name = str(request.config["event"])
    rows = view(table, request, name)
    samples, time, event = build(rows, request), values(rows, str(request.config["outcome"])), values(rows, name)
    known = np.isfinite(time[samples.kept]) & np.isfinite(event[samples.kept])
    kept = np.flatnonzero(samples.kept)[known]
    Z = standardise(samples, request)[known, 1:] if "centre" in request.arrays else np.empty((len(kept), 0))
    time, event = time[kept], event[kept]
    invalid = int(((time < 0) | ((event != 0) & (event != 1))).sum())
    return Times(samples.X[known], Z, time, event == 1, rows.rows - len(kept), invalid)


def _risk(Z: Float, request: Request) -> Float:
    """(n,) relative risks r."""
    return np.asarray(np.exp(np.clip(Z @ request.arrays["coefficients"], -_MOST, _MOST)))


def _by_bin(name: str, bins: Int, Z: Float, r: Float, count: int) -> Arrays:
    """Sums of r (count,), r z (count, q) and r z z' (count, q (q + 1) / 2) over the rows of each bin; -1 is none."""
    q = Z.shape[1]
    zeroth, first, second = np.zeros(count), np.zeros((count, q)), np.zeros((count, q * (q + 1) // 2))
    order = np.argsort(bins, kind="stable")
    edges = np.searchsorted(bins[order], np.arange(count + 1))
    for place in np.flatnonzero(np.diff(edges)).tolist():
        rows = order[edges[place] : edges[place + 1]]
        z, weight = Z[rows], r[rows]
        zeroth[place], first[place], second[place] = weight.sum(), weight @ z, pack((z * weight[:, None]).T @ z)
    return {f"{name}_r": zeroth, f"{name}_rz": first, f"{name}_rzz": second}


ANSWERS: dict[str, Answer] = {
    "cox_counts": cox_counts,
    "cox_moments": cox_moments,
    "cox_step": cox_step,
    "cox_efron": cox_efron,
    "cox_site_step": cox_site_step,
}
