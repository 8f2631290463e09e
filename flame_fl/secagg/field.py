"""Shamir shares over a prime field, many at a time, by MPyC.

A secret s in F_p is dealt by a random polynomial f of degree at most t with f(0) = s; party i = 1, 2, … n gets f(i).
Any t of these are uniform and independent of s; t + 1 give s as a fixed linear combination of them (Shamir, "How to
Share a Secret", CACM 1979). Sums and public factors go through: a share of a·s + b is a·f(i) + b. A product of shares
lies on a polynomial of twice the degree.

The arithmetic, the polynomials, their random coefficients (from `secrets`) and the recombination are MPyC's
(`mpyc.finfields`, `mpyc.thresha`); its runtime, which connects parties by TCP, isn't used. Outside of this module
elements are uint64 in [0, p), little-endian where they travel.
"""

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from importlib import import_module
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError

Elements = npt.NDArray[np.uint64]

PRIME = (1 << 61) - 1
"""The prime in use: large, so that a random element is hardly ever 0, and a sum of two fits 64 bits."""
_PIECE = 1 << 14  # elements at a time: as Python integers they take five times the memory
_LOCK = Lock()


@dataclass(frozen=True)
class Field:
    """F_p.

    Attributes:
        prime: p, above the number of parties. Another than `PRIME` is for tests.
    """

    prime: int = PRIME

    def random(self, count: int) -> Elements:
        """Uniform elements, shape (count,)."""
        return np.fromiter((secrets.randbelow(self.prime) for _ in range(count)), np.uint64, count=count)

    def deal(self, values: Elements, degree: int, parties: int) -> Elements:
        """Shares of each value, by polynomials of their own.

        Args:
            values: Shape (rows, cells).
            degree: Of the polynomials; so many parties together know nothing. Below `parties`.
            parties: n.

        Returns:
            Shape (n, rows, cells): what each party gets.
        """
        field, thresha, flat = self._type, _mpyc()[1], values.reshape(-1)
        shares = np.empty((parties, flat.size), dtype=np.uint64)
        for part in _pieces(flat.size):
            shares[:, part] = thresha.np_random_split(field, self._array(flat[part]), degree, parties)
        return shares.reshape(parties, *values.shape)

    def recover(self, shares: Elements) -> Elements:
        """The values at 0 of the polynomials of degree below n through all shares.

        Args:
            shares: Shape (n, rows, cells), those of party 1 first.

        Returns:
            Shape (rows, cells).
        """
        field, thresha = self._type, _mpyc()[1]
        flat = shares.reshape(len(shares), -1)
        values = np.empty(flat.shape[1], dtype=np.uint64)
        for part in _pieces(values.size):
            points = [(place, share[part].astype(object)) for place, share in enumerate(flat, start=1)]
            values[part] = thresha.np_recombine(field, points).value
        return values.reshape(shares.shape[1:])

    def add(self, terms: Sequence[Elements]) -> Elements:
        """Their sum, element by element."""
        prime = np.uint64(self.prime)
        return reduce(lambda left, right: (left + right) % prime, terms)

    def multiply(self, factors: Sequence[Elements]) -> Elements:
        """Their product, element by element; shape (cells,) each."""
        return self._by_piece(len(factors[0]), lambda part: reduce(_times, (self._array(one[part]) for one in factors)))

    def evaluate(self, coefficients: Sequence[int], powers: Sequence[Elements]) -> Elements:
        """c_0 + c_1·x + c_2·x² + …, element by element.

        Args:
            coefficients: c_0, c_1, …; any integers, at least two.
            powers: x, x², …, shape (cells,) each, no fewer than there are coefficients after the first.
        """
        constant, *rest = (int(one) % self.prime for one in coefficients)

        def piece(part: slice) -> Any:
            terms = (self._array(power[part]) * one for one, power in zip(rest, powers, strict=False))
            return reduce(_plus, terms) + constant

        return self._by_piece(len(powers[0]), piece)

    def holds(self, values: Elements) -> bool:
        """Whether all are elements."""
        return bool((values < np.uint64(self.prime)).all())

    def _by_piece(self, count: int, work: Callable[[slice], Any]) -> Elements:
        out = np.empty(count, dtype=np.uint64)
        for part in _pieces(count):
            out[part] = work(part).value
        return out

    @property
    def _type(self) -> Any:
        return _mpyc()[0].GF(self.prime)

    def _array(self, values: Elements) -> Any:
        return self._type.array(values.astype(object))


def expanded(roots: Sequence[int]) -> tuple[int, ...]:
    """The coefficients of Π (X - root), from the constant one up."""
    coefficients = [1]
    for root in roots:
        shifted = [0, *coefficients]
        coefficients = [high - root * low for high, low in zip(shifted, [*coefficients, 0], strict=True)]
    return tuple(coefficients)


def _times(left: Any, right: Any) -> Any:
    return left * right


def _plus(left: Any, right: Any) -> Any:
    return left + right


def _pieces(count: int) -> Iterator[slice]:
    return (slice(*ends) for ends in pairwise([*range(0, count, _PIECE), count]))


@lru_cache(maxsize=1)
def _mpyc() -> tuple[Any, Any]:
    """MPyC's fields and sharing.

    Its import reads the program's arguments, sets up logging and asyncio's event loop: all of this is kept from it, or
    put back.
    """
    with _LOCK:
        root, arguments, environment = logging.getLogger(), sys.argv, dict(os.environ)
        policy = asyncio.get_event_loop_policy()
        silent = logging.NullHandler()
        root.addHandler(silent)  # one handler is enough to make basicConfig do nothing
        level, handlers = root.level, root.handlers[:]
        sys.argv = [*sys.argv[:1], "--no-log"]
        os.environ["MPYC_NOUVLOOP"] = os.environ["MPYC_NOGMPY"] = "1"
        try:
            return import_module("mpyc.finfields"), import_module("mpyc.thresha")
        except ImportError as err:
            raise InputError("A minimum-count test needs mpyc.", mend="Install flame-fl[mpc].") from err
        finally:
            sys.argv = arguments
            root.handlers[:] = [one for one in handlers if one is not silent]
            root.setLevel(level)
            asyncio.set_event_loop_policy(policy)
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
