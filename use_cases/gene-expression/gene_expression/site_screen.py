"""A DIZ's part of the screen: which genes go with the outcome, from sums over the samples of training sets.

Every sample has a residual m of the outcome's null model: its class, 1 or 0; or, of a time under observation, the
martingale residual, 1 if it is that of the event less the cumulative hazard up to it (the hub sends the pooled one by
bin of the declared grid). The hub forms the correlation of m with each gene (`screen`), in one exchange for several
training sets at once, which is all that a two-sample t test needs, and for times the score test of Cox's model at 0.
"""

import numpy as np

from gene_expression.errors import InputError
from gene_expression.site_rows import CLASS, GENE, expression, is_class, values
from gene_expression.table import Answer, Arrays, Float, Request, Table
from gene_expression.validation import members


def phenotype_screen(table: Table, request: Request) -> Arrays:
    """Sums by training set, over its samples with an outcome, of m, of each gene and of their products.

    A gene's sums are over the samples in which it was measured; ``present`` says how many these are.
    """
    genes = request.names("screened") or list(table.panel)
    sets = members(table, request)
    m = _residuals(table, request, len(sets))
    inside = (sets & np.isfinite(m)).astype(np.float64)
    x = expression(table, [gene.removeprefix(GENE) for gene in genes])
    measured = np.isfinite(x)
    x = np.where(measured, x, 0.0)
    m = np.where(inside > 0, m, 0.0)
    return {
        "n": inside.sum(axis=1).astype(np.int64),
        "present": np.rint(inside @ measured).astype(np.int64),
        "sum_m": m.sum(axis=1),
        "sum_mm": (m**2).sum(axis=1),
        "sum_x": inside @ x,
        "sum_xx": inside @ x**2,
        "sum_mx": m @ x,
    }


def phenotype_times(table: Table, request: Request) -> Arrays:
    """Events and last times by bin, for each training set; ``checks`` as in `site_cox.cox_counts`."""
    time, event, grid = *_time(table, request), request.arrays["grid"]
    known = np.isfinite(time) & np.isfinite(event)
    bins = np.searchsorted(grid, np.where(known, time, np.inf))
    happened = (event == 1) & (bins < len(grid))
    sets = members(table, request) & known
    anyone = sets.any(axis=0)
    off_grid = anyone & (bins < len(grid)) & (np.append(grid, np.nan)[bins] != time)
    invalid = anyone & ((time < 0) | ((event != 0) & (event != 1)))
    return {
        "events": np.array([np.bincount(bins[s & happened], minlength=len(grid)) for s in sets], dtype=np.int64),
        "leaving": np.array([np.bincount(bins[s], minlength=len(grid) + 1) for s in sets], dtype=np.int64),
        "checks": np.array([part.sum() for part in (invalid, off_grid, anyone & (bins == len(grid)))], dtype=np.int64),
    }


def _residuals(table: Table, request: Request, sets: int) -> Float:
    """(sets, rows) m, NaN where the outcome is missing."""
    name = str(request.config.get("outcome", ""))
    if name.startswith(CLASS):
        return np.repeat(is_class(table, request, name)[None, :], sets, axis=0)
    time, event = _time(table, request)
    hazard, grid = request.arrays["hazard"], request.arrays["grid"]
    if hazard.shape != (sets, len(grid) + 1):
        raise InputError(f"The hazards of {sets} sets over {len(grid)} times are asked, {hazard.shape} came.")
    known = np.isfinite(time) & np.isfinite(event)
    bins = np.searchsorted(grid, np.where(known, time, np.inf))
    happened = (event == 1) & (bins < len(grid))
    return np.where(known, happened - hazard[:, bins], np.nan)


def _time(table: Table, request: Request) -> tuple[Float, Float]:
    return values(table, str(request.config["time"])), values(table, str(request.config["event"]))


ANSWERS: dict[str, Answer] = {"phenotype_screen": phenotype_screen, "phenotype_times": phenotype_times}
