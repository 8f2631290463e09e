"""The closed list of sums: per record one vector, in the order and shapes that the terms give.

Products and sums over columns are loops of elementwise operations (see the package's docstring).
"""

import math
from dataclasses import dataclass

import numpy as np

from flame_fl.contract import vetted_terms as terms
from flame_vetted.cohort import Floats, Indices, People, Readable, RowsOf, cells, people, standardised

_LARGEST_LOG_MEAN = 30.0  # of a Poisson model: beyond, exp says nothing any more


@dataclass(frozen=True)
class Prepared:
    """A cohort and what each of its records adds.

    Attributes:
        people: The patients with usable records.
        rows_of: Vectors of records.
        width: Their length.
    """

    people: People
    rows_of: RowsOf
    width: int


def prepare(work: terms.Sums, view: Readable, coefficients: Floats | None = None) -> Prepared:
    """Read what a formula needs; `coefficients` (1 + columns,) are those that a message brought.

    Raises:
        InputError: The view lacks a column.
        ValueError: The formula needs coefficients of another shape.
    """
    formula = work.formula
    every = np.ones(len(view.patients), dtype=np.bool_)
    width = sum(math.prod(shape) for shape in terms.formula_shapes(formula).values())

    def of(usable: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", rows_of: RowsOf) -> Prepared:
        return Prepared(people(view.patients, usable, work.records_per_patient), rows_of, width)

    if isinstance(formula, terms.Count):
        return of(every, lambda records: np.ones((len(records), 1)))
    if isinstance(formula, terms.Histogram):
        where = [cells(view, column) for column in formula.cells]
        cell = where[0] if len(where) == 1 else where[0] * formula.cells[1].cells + where[1]
        return of(np.logical_and.reduce([w >= 0 for w in where]), lambda records: _one_hot(cell[records], width))
    x, usable = standardised(view, formula.features)
    if isinstance(formula, terms.GroupMoments):
        group = cells(view, formula.groups)
        groups = formula.groups.cells
        return of(usable & (group >= 0), lambda records: _group_moments(x[records], group[records], groups))
    y = None
    if formula.target is not None:
        targets, there = standardised(view, (formula.target,))
        y, usable = targets[:, 0], usable & there
    if isinstance(formula, terms.GlmGradient):
        if y is None or coefficients is None or coefficients.shape != (x.shape[1] + 1,):
            raise ValueError("the message brings no coefficients of the right shape")
        return of(usable, lambda records: _glm(formula, x[records], y[records], coefficients))
    full = isinstance(formula, terms.Moments)
    return of(usable, lambda records: _moments(x[records], None if y is None else y[records], full=full))


def _one_hot(cell: Indices, width: int) -> Floats:
    return np.equal(cell[:, None], np.arange(width)).astype(np.float64)


def _moments(x: Floats, y: Floats | None, *, full: bool) -> Floats:
    """1, x, x² or the upper triangle of xxᵀ, and with a target y, y², xy."""
    n, p = x.shape
    second = p * (p + 1) // 2 if full else p
    out = np.empty((n, 1 + p + second + (0 if y is None else 2 + p)))
    out[:, 0] = 1.0
    out[:, 1 : 1 + p] = x
    if full:
        _triangle(x, out[:, 1 + p : 1 + p + second])
    else:
        np.multiply(x, x, out=out[:, 1 + p : 1 + p + second])
    if y is not None:
        with_target = out[:, 1 + p + second :]
        with_target[:, 0] = y
        with_target[:, 1] = y * y
        np.multiply(x, y[:, None], out=with_target[:, 2:])
    return out


def _group_moments(x: Floats, group: Indices, groups: int) -> Floats:
    """1, x, x² in the group's place, zero in the others'; all 1 first, then all x, then all x²."""
    here = _one_hot(group, groups)
    n, p = x.shape
    placed = (here[:, :, None] * x[:, None, :]).reshape(n, groups * p)
    squared = (here[:, :, None] * (x * x)[:, None, :]).reshape(n, groups * p)
    return np.concatenate([here, placed, squared], axis=1)


def _glm(formula: terms.GlmGradient, x: Floats, y: Floats, coefficients: Floats) -> Floats:
    """(y − m)(1, x), and m'(1, x)(1, x)ᵀ (McCullagh and Nelder 1989)."""
    one_x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    with np.errstate(all="ignore"):
        linear = np.zeros(len(x))
        for column in range(one_x.shape[1]):
            linear += one_x[:, column] * coefficients[column]
        if formula.family == "gaussian":
            mean, curvature = linear, np.ones(len(x))
        elif formula.family == "binomial":
            mean = 0.5 * (1.0 + np.tanh(0.5 * linear))
            curvature = mean * (1.0 - mean)
        else:
            mean = curvature = np.exp(np.minimum(linear, _LARGEST_LOG_MEAN))
        gradient: Floats = (y - mean)[:, None] * one_x
        if not formula.hessian:
            return gradient
        p = one_x.shape[1]
        out = np.empty((len(x), p + p * (p + 1) // 2))
        out[:, :p] = gradient
        _triangle(one_x, out[:, p:])
        out[:, p:] *= curvature[:, None]
        return out


def _triangle(x: Floats, into: Floats) -> None:
    """Products of columns i <= j, row by row of the triangle: (n, p) -> (n, p(p + 1)/2)."""
    at, p = 0, x.shape[1]
    for i in range(p):
        np.multiply(x[:, i : i + 1], x[:, i:], out=into[:, at : at + p - i])
        at += p - i
