"""Probabilities without sampling: what a table's bins say, and what they should say, both exact enough to compare."""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction

from flame_fl.privacy.tables import MASS_BITS, Table

EXACT = Context(prec=100, Emin=MIN_EMIN, Emax=MAX_EMAX)


def masses_of(table: Table) -> dict[int, int]:
    """The integer mass of every outcome, in units of 2^-160, read from thresholds and aliases alone."""
    size, width = 1 << table.bits, MASS_BITS - table.bits
    masses: dict[int, int] = {}
    for i, (lead, rest) in enumerate(zip(table.threshold.tolist(), table.rest, strict=True)):
        first = ((lead << (MASS_BITS - 32)) | rest) - (i << width)
        assert 0 <= first < 1 << width
        for outcome, mass in ((table.outcome[i], first), (table.outcome[size + i], (1 << width) - first)):
            if mass:
                masses[int(outcome)] = masses.get(int(outcome), 0) + mass
    return masses


def ideal(sigma_squared: Fraction, reach: int) -> dict[int, Decimal]:
    """P[X = x] for |x| ≤ reach, each by an exponential of its own; `reach` is far enough out to normalise."""
    with localcontext(EXACT):
        step = -Decimal(sigma_squared.denominator) / (2 * Decimal(sigma_squared.numerator))
        weights = [(step * x * x).exp() for x in range(reach + 1)]
        total = 2 * sum(weights, Decimal(0)) - 1
        return {x: weights[abs(x)] / total for x in range(-reach, reach + 1)}


def total_variation(masses: dict[int, int], unit: int, probabilities: dict[int, Decimal]) -> Decimal:
    """Half the sum of |mass/unit - p| over all outcomes of either."""
    with localcontext(EXACT):
        outcomes = masses.keys() | probabilities.keys()
        differences = (abs(Decimal(masses.get(x, 0)) / unit - probabilities.get(x, Decimal(0))) for x in outcomes)
        return sum(differences, Decimal(0)) / 2
