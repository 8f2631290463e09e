"""The exact test of Hardy-Weinberg equilibrium for many variants, from numbers of genotypes.

Given the numbers of both alleles, the number of heterozygous samples h has the distribution

    P(h) = n! / (a! h! b!) 2^h r! (2 n - r)! / (2 n)!

with a and b the homozygous ones and r copies of the rarer allele. p is the probability of all h that are no likelier
than the observed one (Wigginton, Cutler and Abecasis, American Journal of Human Genetics 76, 2005). On X, given the
numbers of females, males and alleles, the number of males with the rarer allele and that of heterozygous females have a
joint distribution, and p is the probability of all pairs that are no likelier than the observed one (Graffelman and
Weir, Heredity 116, 2016).

P has one peak, so that all h that are no likelier lie in two tails, and each tail is summed from its likeliest h
outward by the ratio of neighbours until nothing is added. All variants go side by side.
"""

import math

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]

_AS_LIKELY = 1e-8
"""Two probabilities whose logarithms differ by less are the same one: they come from products of whole numbers."""

_NOTHING = 1e-17

_X_AT_ONCE = 500
_SMALL = 256


def exact_test(none: npt.ArrayLike, one: npt.ArrayLike, two: npt.ArrayLike) -> Vector:
    """The test's p, variant by variant.

    Args:
        none: Samples with no copy of an allele, shape (m,).
        one: With one copy.
        two: With two.

    Returns:
        Shape (m,); 1 for a variant that nobody has, or all.
    """
    a, h, b = (np.asarray(counts, dtype=np.int64) for counts in (none, one, two))
    n, rare = a + h + b, 2 * np.minimum(a, b) + h
    return _no_likelier(n, rare, _log_p(n, rare, h) + _AS_LIKELY)


def exact_test_of_x(
    females: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], males: tuple[npt.ArrayLike, npt.ArrayLike]
) -> Vector:
    """The same for variants of X, where the males' alleles count as well.

    Args:
        females: With no copy of an allele, one, and two, shape (m,) each.
        males: Without the allele, and with it, shape (m,) each.

    Returns:
        Shape (m,).
    """
    a, h, b = (np.asarray(counts, dtype=np.int64) for counts in females)
    without, have = (np.asarray(counts, dtype=np.int64) for counts in males)
    found = np.ones(len(a))
    for first in range(0, len(a), _X_AT_ONCE):
        of = slice(first, first + _X_AT_ONCE)
        found[of] = _of_x(a[of] + h[of] + b[of], without[of] + have[of], h[of] + 2 * b[of] + have[of], h[of], have[of])
    return found


def _of_x(women: Int, men: Int, copies: Int, h: Int, have: Int) -> Vector:
    """(m,) p from the numbers of women, men and copies, the heterozygous women, and the men with the allele."""

    def log_men(rows: Int, with_it: Int) -> Vector:
        """Logarithm of the probability that so many men have the allele."""
        n, k, everyone = men[rows], copies[rows], (men + 2 * women)[rows]
        return _log_choose(n, with_it) + _log_choose(everyone - n, k - with_it) - _log_choose(everyone, k)

    rows = np.arange(len(women))
    own = copies - have
    observed = log_men(rows, have) + _log_p(women, np.minimum(own, 2 * women - own), h)
    least, most = np.maximum(copies - 2 * women, 0), np.minimum(men, copies)
    rows = np.repeat(rows, most - least + 1)
    with_it = np.arange(len(rows)) - np.repeat(np.cumsum(most - least + 1) - (most - least + 1), most - least + 1)
    with_it += least[rows]
    log_share = log_men(rows, with_it)
    counts = log_share > observed[rows] + math.log(_NOTHING)
    rows, with_it, log_share = rows[counts], with_it[counts], log_share[counts]
    left = copies[rows] - with_it
    n = women[rows]
    part = _no_likelier(n, np.minimum(left, 2 * n - left), observed[rows] - log_share + _AS_LIKELY)
    return np.minimum(np.bincount(rows, np.exp(log_share) * part, minlength=len(women)), 1.0)


def _no_likelier(n: Int, rare: Int, limit: Vector) -> Vector:
    """(m,) the probability of all h with log P(h) up to `limit`."""
    mode = _mode(n, rare)
    low, high = _nearest(n, rare, mode, limit)
    p = _tail(n, rare, low, -2) + _tail(n, rare, high, 2)
    everything = (high - low <= 2) | (n == 0)  # no h between the two tails
    return np.asarray(np.where(everything, 1.0, np.minimum(p, 1.0)))


def _mode(n: Int, rare: Int) -> Int:
    """(m,) the likeliest h: of the parity of `rare`, where the ratio of neighbours passes 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = np.where(n > 0, rare * (2 * n - rare) / np.maximum(2 * n, 1), 0)
    h = guess.astype(np.int64)
    h += (h - rare) % 2
    h = np.clip(h, rare % 2, rare)
    for _ in range(8):
        up = (h + 2 <= rare) & (_ratio(n, rare, h) > 1)
        down = ~up & (h >= 2) & (_ratio(n, rare, np.maximum(h - 2, 0)) < 1)
        if not (up | down).any():
            break
        h = h + 2 * up - 2 * down
    return h


def _ratio(n: Int, rare: Int, h: Int) -> Vector:
    """(m,) P(h + 2) / P(h)."""
    a = (rare - h) / 2
    return np.asarray(4 * a * (n - h - a) / ((h + 2.0) * (h + 1.0)))


def _log_p(n: Int, rare: Int, h: Int) -> Vector:
    """(m,) log P(h)."""
    a = (rare - h) // 2
    b = n - h - a
    given = _log_factorial(n) + _log_factorial(rare) + _log_factorial(2 * n - rare) - _log_factorial(2 * n)
    return given - _log_factorial(a) - _log_factorial(h) - _log_factorial(b) + h * math.log(2)


def _nearest(n: Int, rare: Int, mode: Int, limit: Vector) -> tuple[Int, Int]:
    """On each side of the peak, the h nearest to it with log P(h) up to `limit`, or beyond the end."""
    sides = []
    for sign in (-1, 1):
        most = np.where(sign < 0, mode - rare % 2, rare - mode) // 2  # steps of 2 from the peak to the end
        near, far = np.zeros_like(mode) - 1, most + 1  # likelier at `near`, no likelier at `far`
        while (far - near > 1).any():
            middle = (near + far) // 2
            no_likelier = _log_p(n, rare, np.clip(mode + 2 * sign * middle, rare % 2, rare)) <= limit
            open_ = far - near > 1
            far = np.where(open_ & no_likelier, middle, far)
            near = np.where(open_ & ~no_likelier, middle, near)
        sides.append(mode + 2 * sign * far)
    return sides[0], sides[1]


def _tail(n: Int, rare: Int, start: Int, step: int) -> Vector:
    """(m,) sum of P from `start` outward, 0 where that is beyond the end."""
    there = (start >= rare % 2) & (start <= rare)
    total = np.zeros(len(n))
    rows = np.flatnonzero(there)
    n, rare, h = n[rows], rare[rows], start[rows]
    scale = np.exp(_log_p(n, rare, h))
    term, own = np.ones(len(rows)), np.ones(len(rows))
    active = np.arange(len(rows))
    while len(active):
        of = n[active], rare[active]
        at = h[active]
        going = (at + step >= 0) & (at + step <= of[1])
        ratio = _ratio(*of, at) if step > 0 else 1 / np.where(going, _ratio(*of, np.maximum(at - 2, 0)), 1.0)
        term[active] *= np.where(going, ratio, 0.0)
        own[active] += term[active]
        h[active] += step
        active = active[going & (term[active] > _NOTHING * own[active])]
    total[rows] = scale * own
    return total


def _log_choose(n: Int, k: Int) -> Vector:
    return _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k)


def _log_factorial(of: Int) -> Vector:
    """Logarithms of factorials, by a table for small numbers and Stirling's series for others."""
    x = np.maximum(of, _SMALL) + 1.0
    series = 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5)
    large = (x - 0.5) * np.log(x) - x + 0.5 * math.log(2 * math.pi) + series
    return np.where(of < _SMALL, _TABLE[np.clip(of, 0, _SMALL - 1)], large)


_TABLE = np.array([math.lgamma(k + 1) for k in range(_SMALL)])
