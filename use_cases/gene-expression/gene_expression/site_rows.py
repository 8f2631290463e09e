"""A DIZ's samples as rows of a phenotype model: expression and outcome become numeric columns of a table.

Columns that no sample sheet has are named with a prefix:

* ``gene:ID`` the expression of a gene on the scale of log2; of counts, log2 of counts per million of the sample's sum
  over the panel, log2((c + 1/2) / (sum + 1) 10^6), which needs nothing but the sample itself;
* ``class:LEVEL`` 1 if the column named ``class_of`` has this level, 0 if it has another one of ``classes``, and missing
  otherwise;
* ``period:event``, ``period:time``, ``period:log`` and the levels ``period`` of a discrete-time model.

A discrete-time model (Cox, J. R. Stat. Soc. B 34, 1972, §6; Singer and Willett, J. Educ. Stat. 18, 1993) has a row for
each period in which a patient was at risk: the bins of the declared grid, as in `site_cox`, from the first to the one
of the patient's last time, of these the ``kept`` ones, in which anybody has the event. ``period:event`` is 1 in the row
of the event.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from gene_expression.errors import InputError
from gene_expression.table import COUNTS, MISSING, Float, Request, Table
from gene_expression.validation import member

GENE, CLASS, PERIOD = "gene:", "class:", "period"


def view(table: Table, request: Request, *outcomes: str) -> Table:
    """The samples of the request's population, with the columns that its design and `outcomes` name.

    The expression itself is left out: the rows are those of a model, which names its genes.
    """
    taken = _take(replace(table, genes=table.genes[:, :0]), np.flatnonzero(member(table, request)))
    names = {*request.names("numeric"), *outcomes, *request.names("outcome")}
    genes = [name for name in names if name.startswith(GENE)]
    numbers = {name: values(taken, name) for name in names if name in taken.numbers or name in taken.codes}
    chosen = expression(table, [name.removeprefix(GENE) for name in genes])[member(table, request)]
    numbers |= dict(zip(genes, chosen.T, strict=True))
    numbers |= {name: is_class(taken, request, name) for name in names if name.startswith(CLASS)}
    with_columns = replace(taken, numbers=numbers)
    return _periods(with_columns, taken, request) if bool(request.config.get("discrete", False)) else with_columns


def values(table: Table, name: str) -> Float:
    """(rows,) a column as numbers, NaN where missing; one with levels as their indices."""
    if name not in table.numbers and name in table.codes:
        codes = table.codes[name]
        return np.where(codes == MISSING, np.nan, codes.astype(np.float64))
    return table.number(name)


def expression(table: Table, genes: list[str]) -> Float:
    """(rows, len(genes)) expression on the scale of log2, NaN where a gene was not measured.

    Raises:
        InputError: A gene is not in the panel.
    """
    places = _places(table.panel)
    if unknown := [gene for gene in genes if gene not in places]:
        raise InputError(f"{len(unknown)} genes are not in the panel, {unknown[0]!r} among them.")
    found = table.genes[:, [places[gene] for gene in genes]]
    if table.scale != COUNTS:
        return np.asarray(found)
    size = np.nansum(table.genes, axis=1, keepdims=True)
    return np.asarray(np.log2((found + 0.5) / (size + 1) * 1e6))


def classes(table: Table, request: Request) -> Float:
    """(rows,) places in the request's ``classes``, NaN where the column has none of them."""
    name, wanted = str(request.config["class_of"]), request.names("classes")
    codes, declared = table.code(name), table.levels[name]
    if unknown := sorted(set(wanted) - set(declared)):
        raise InputError(f"The column {name!r} has no declared level {', '.join(unknown)}.")
    places = [float(wanted.index(level)) if level in wanted else np.nan for level in declared]
    return np.array([*places, np.nan])[codes]  # the last entry is that of a missing value, -1


def is_class(table: Table, request: Request, name: str) -> Float:
    """(rows,) 1 for the level that ``class:LEVEL`` names, 0 for the other classes, NaN for none of them."""
    level, wanted = name.removeprefix(CLASS), request.names("classes")
    if level not in wanted:
        raise InputError(f"{level!r} is none of the classes {', '.join(wanted)}.")
    place = classes(table, request)
    return np.where(np.isnan(place), np.nan, (place == wanted.index(level)).astype(np.float64))


def _periods(table: Table, taken: Table, request: Request) -> Table:
    """One row for each patient and period at risk; rows without time or event get one row, without the event."""
    time, event = (values(taken, str(request.config[name])) for name in ("time", "event"))
    grid, kept = request.arrays["grid"], request.arrays["kept"].astype(np.int64)
    known = np.isfinite(time) & np.isfinite(event)
    bins = np.searchsorted(grid, np.where(known, time, np.inf))
    count = np.where(known, np.searchsorted(kept, bins, side="right"), 1)
    row = np.repeat(np.arange(table.rows), count)
    period = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    happened = (event[row] == 1) & (kept[period] == bins[row])
    at = grid[kept[period]]
    long = _take(table, row)
    added = {
        f"{PERIOD}:event": np.where(known[row], happened.astype(np.float64), np.nan),
        f"{PERIOD}:time": at,
        f"{PERIOD}:log": np.log(at),
    }
    levels = tuple(str(number + 1) for number in range(len(kept)))
    return replace(
        long,
        numbers={**long.numbers, **added},
        codes={**long.codes, PERIOD: period.astype(np.int64)},
        levels={**long.levels, PERIOD: levels},
    )


def _take(table: Table, rows: "np.typing.NDArray[np.int64]") -> Table:
    return replace(
        table,
        genes=table.genes[rows],
        numbers={name: column[rows] for name, column in table.numbers.items()},
        codes={name: column[rows] for name, column in table.codes.items()},
        patients=tuple(table.patients[row] for row in rows.tolist()),
    )


@lru_cache(maxsize=4)
def _places(panel: tuple[str, ...]) -> dict[str, int]:
    return {gene: place for place, gene in enumerate(panel)}
