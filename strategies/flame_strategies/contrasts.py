"""Contrasts of a regression's coefficients, written as people write them: ``Cancer-Normal``, ``(A+B)/2-C``, ``age``.

A name is that of a coefficient (``age``, ``group[Cancer]``, ``(intercept)``), of the reference level
(``group[Normal]``, whose coefficient is 0), or a level alone (``Cancer``) if only one column has a level of that name
and it is no number. Levels stand for
differences from their column's reference. So the weights of a column's levels must add up to 0, unless each is written
with its column and the reference is not among them: ``group[Cancer]`` alone is the coefficient, Cancer less Normal.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flame_strategies.glm_design import Design

Weights = dict[str, float]

_NUMBER = re.compile(r"\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+")

_ZERO = 1e-9


def contrast_matrix(
    design: Design, terms: Sequence[str], contrasts: Sequence[str] = ()
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Weights of coefficients.

    Args:
        design: Whose coefficients.
        terms: Names of the q coefficients that are estimated.
        contrasts: k of them; if none, each coefficient but the intercept.

    Returns:
        The contrasts' names, and weights of shape (q, k).

    Raises:
        ValueError: A contrast cannot be read, or is none; the text says what is known.
    """
    names = tuple(contrasts) or tuple(name for name in terms if name in design.columns)
    if not terms or not names or len(set(names)) < len(names):
        raise ValueError("Name at least one contrast, and none twice; the design has no column to compare.")
    matrix = np.zeros((len(terms), len(names)))
    for place, text in enumerate(names):
        for name, weight in _read(design, terms, text).items():
            if name in terms:
                matrix[list(terms).index(name), place] = weight
    if nothing := [name for name, column in zip(names, matrix.T, strict=True) if not np.abs(column).any()]:
        raise ValueError(f"These contrasts compare something with itself: {', '.join(nothing)}.")
    return names, matrix


def _read(design: Design, terms: Sequence[str], text: str) -> Weights:
    """Weights by coefficient, references included."""
    full = {f"{column.name}[{level}]" for column in design.categorical for level in column.levels}
    known: dict[str, tuple[str, bool]] = {name: (name, False) for name in [*terms, *full]}
    levels = [level for column in design.categorical for level in column.levels]
    for column in design.categorical:
        for level in column.levels:
            if levels.count(level) == 1 and level not in known and not _NUMBER.fullmatch(level):
                known[level] = (f"{column.name}[{level}]", True)
    reader = _Reader(text, known)
    weights = reader.read()
    for column in design.categorical:
        own = {f"{column.name}[{level}]" for level in column.levels} & weights.keys()
        as_means = f"{column.name}[{column.reference}]" in own or own & reader.alone
        if as_means and abs(sum(weights[name] for name in own)) > _ZERO:
            raise ValueError(
                f"The contrast {text!r} compares levels of {column.name} with weights that do not add up to 0; write "
                f"for instance {column.compared[0]}-{column.reference}."
            )
    return weights


class _Reader:
    """Reads sums of names with weights: terms of ``*`` and ``/`` by numbers, parentheses, ``+`` and ``-``."""

    def __init__(self, text: str, known: dict[str, tuple[str, bool]]) -> None:
        self._text, self._at = text, 0
        self._known = known
        self._longest_first = sorted(known, key=len, reverse=True)
        self.alone: set[str] = set()

    def read(self) -> Weights:
        """The whole text."""
        value = self._sum()
        if self._at < len(self._text) or not isinstance(value, dict):
            raise self._wrong()
        return value

    def _sum(self) -> Weights | float:
        value = self._product()
        while (sign := self._next("+-")) is not None:
            other = self._product()
            factor = 1.0 if sign == "+" else -1.0
            if isinstance(value, dict) and isinstance(other, dict):
                value = {k: value.get(k, 0.0) + factor * other.get(k, 0.0) for k in [*value, *other]}
            elif isinstance(value, float) and isinstance(other, float):
                value += factor * other
            else:
                raise self._wrong()
        return value

    def _product(self) -> Weights | float:
        value = self._atom()
        while (sign := self._next("*/")) is not None:
            other = self._atom()
            if isinstance(other, float) and (sign == "*" or other != 0):
                value = _times(value, other if sign == "*" else 1.0 / other)
            elif isinstance(value, float) and sign == "*":
                value = _times(other, value)
            else:
                raise self._wrong()
        return value

    def _atom(self) -> Weights | float:
        self._skip()
        rest = self._text[self._at :]
        for name in self._longest_first:
            if rest.startswith(name):
                self._at += len(name)
                full, alone = self._known[name]
                if alone:
                    self.alone.add(full)
                return {full: 1.0}
        if (sign := self._next("+-")) is not None:
            return _times(self._product(), 1.0 if sign == "+" else -1.0)
        if self._next("(") is not None:
            value = self._sum()
            if self._next(")") is None:
                raise self._wrong()
            return value
        if (number := _NUMBER.match(rest)) is not None:
            self._at += number.end()
            return float(number.group())
        raise self._wrong()

    def _next(self, signs: str) -> str | None:
        self._skip()
        if self._at < len(self._text) and self._text[self._at] in signs:
            self._at += 1
            return self._text[self._at - 1]
        return None

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _wrong(self) -> ValueError:
        return ValueError(
            f"The contrast {self._text!r} cannot be read from {self._text[self._at :]!r} on. Known are "
            f"{', '.join(sorted(self._known))} (upper and lower case count), numbers, + - * / and parentheses."
        )


def _times(value: Weights | float, factor: float) -> Weights | float:
    return {k: factor * w for k, w in value.items()} if isinstance(value, dict) else factor * value
