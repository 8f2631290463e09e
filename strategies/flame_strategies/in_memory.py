"""The sites' side of the sums, in plain numpy: an `Exchange` without Flower.

For trying a fit on arrays at hand, for tests, and as the shortest statement of what a ClientApp must answer:
each method of `SiteRows` is one query of `elastic_net` or `fista`. A ClientApp in a sandbox writes its own
(it cannot import this package) and can be compared with this one.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.sums import Content, Sums, add_up

Arrays = dict[str, npt.NDArray[Any]]


def fold_of(patient_ids: Iterable[str], folds: int) -> npt.NDArray[np.int64]:
    """Each patient's fold: SHA-256 of the UTF-8 id, read as one big-endian number, modulo `folds`.

    All rows of a patient share a fold, at whichever site they lie.
    """
    digests = (hashlib.sha256(str(patient).encode()).digest() for patient in patient_ids)
    return np.array([int.from_bytes(digest, "big") % folds for digest in digests], dtype=np.int64)


@dataclass(frozen=True)
class SiteRows:
    """The rows of one site.

    Attributes:
        X: Shape (n, p), NaN where missing.
        y: Shape (n,), already transformed.
        patient_ids: One for each row.
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    patient_ids: Sequence[str]

    def answer(self, message_type: str, content: Content) -> Arrays:
        """The arrays of this site's reply."""
        match message_type.removeprefix("query."):
            case "moments":
                return self.moments()
            case "target":
                return self.target(content)
            case "columns":
                return self.columns(content)
            case "gradient":
                return self.gradient(content)
        raise ValueError(f"There is no query {message_type} in memory.")

    def moments(self) -> Arrays:
        """Counts, sums and sums of squares of what is present."""
        present = ~np.isnan(self.X)
        X = np.where(present, self.X, 0.0)
        return {
            "n": np.array([len(self.y)]),
            "count": present.sum(axis=0),
            "sum_x": X.sum(axis=0),
            "sum_xx": (X**2).sum(axis=0),
            "sum_y": np.array([self.y.sum(), (self.y**2).sum()]),
        }

    def target(self, content: Content) -> Arrays:
        """By fold: rows, sums of columns and outcome, and their products with the outcome."""
        Z, y = self._standardise(content)
        parts = self._folds(content)
        return {
            "n": parts.sum(axis=1).astype(np.int64),
            "sum_z": parts @ Z,
            "xty": (parts * y) @ Z,
            "sum_y": parts @ y,
            "yy": parts @ y**2,
        }

    def columns(self, content: Content) -> Arrays:
        """By fold: products of all columns with the requested ones."""
        Z, _ = self._standardise(content)
        chosen = Z[:, content["reference"]["columns"]]
        return {"gram": np.stack([(Z * part[:, None]).T @ chosen for part in self._folds(content)])}

    def gradient(self, content: Content) -> Arrays:
        """Gradient of half the squared error at the coefficients that were sent."""
        Z, y = self._standardise(content)
        return {"gradient": Z.T @ (Z @ content["reference"]["coefficients"] - y)}

    def _standardise(self, content: Content) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        reference = content["reference"]
        filled = np.where(np.isnan(self.X), reference["centre"], self.X)
        Z = (filled - reference["centre"]) / reference["scale"]
        return Z, (self.y - reference["y_centre"]) / reference["y_scale"]

    def _folds(self, content: Content) -> npt.NDArray[np.float64]:
        """Indicator of each fold's rows, shape (K, n)."""
        folds = int(content["folds"]["folds"])
        return np.equal.outer(np.arange(folds), fold_of(self.patient_ids, folds)).astype(np.float64)


class InMemorySites:
    """An `Exchange` over arrays in memory.

    Attributes:
        asked: The message types so far, in order.
    """

    def __init__(self, sites: Sequence[SiteRows]) -> None:
        self._sites = tuple(sites)
        self.asked: list[str] = []

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every site, and sum."""
        self.asked.append(message_type)
        return add_up({number: site.answer(message_type, content) for number, site in enumerate(self._sites)})
