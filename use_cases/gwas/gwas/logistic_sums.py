"""What the DIZ answer about logistic models, in the words of `flame_strategies.logistic_scan`.

A DIZ sends sums of all samples, and apart from them what those add that are not in a variant's test; the difference is
the test's. A row of zeros is one that the gates withhold, and so is one without all of those that are not in the test.
Coefficients that a DIZ would refuse are not asked for: a step that leads there counts as one where nothing is seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.errors import UnusableReply
from flame_strategies.logistic_scan import Evaluation, pack, unpack
from flame_strategies.sums import Exchange, Sums

from gwas.settings import Settings

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class LogisticSums:
    """The questions about m models.

    Attributes:
        exchange: Asks all DIZ.
        settings: The run's.
        content: What every message brings: the design's arrays, and of variants their chunk.
        index: (m,) the variants; None for the one model without any.
        samples: n, of the model without a variant; 0 if it is this one.
        counts: (m, c) samples and cases or, of variants, samples with a call, cases, copies and copies of cases among
            them, and samples in the test, as the first exchange counted them; 0 before it, and where they are withheld.
        stop_separated: Whether a fit ends where the counts say that it has no maximum.
    """

    exchange: Exchange
    settings: Settings
    content: Mapping[str, Mapping[str, Any]]
    index: Int | None
    samples: int
    counts: Int
    stop_separated: bool
    _asked: list[bool] = field(default_factory=list)

    @classmethod
    def null(cls, exchange: Exchange, settings: Settings, arrays: Arrays) -> "LogisticSums":
        """Of the model without a variant, by the design's arrays."""
        counts = np.zeros((1, 2), dtype=np.int64)
        return cls(exchange, settings, {"design": arrays}, None, 0, counts, stop_separated=False)

    def variants(self, span: tuple[int, int], index: Int) -> "LogisticSums":
        """Of variants (m,) of a chunk, once the model without a variant was fitted."""
        content = {**self.content, "variants": {"start": span[0], "stop": span[1]}}
        counts = np.zeros((len(index), 5), dtype=np.int64)
        samples = int(self.counts[0, 0])
        return LogisticSums(self.exchange, self.settings, content, index, samples, counts, stop_separated=True)

    def part(self, rows: Int) -> "LogisticSums":
        """The same about some of the models, whatever the counts say of a maximum."""
        index = None if self.index is None else self.index[rows]
        return replace(self, index=index, counts=self.counts[rows], stop_separated=False, _asked=list(self._asked))

    @property
    def decided(self) -> Bool:
        """(m,) whether there are cases and controls among the samples."""
        return np.asarray((self.counts[:, 1] > 0) & (self.counts[:, 1] < self.counts[:, 0]))

    def evaluate(self, rows: Int, at: Float) -> Evaluation:
        """Log-likelihood, gradient and information of some models at coefficients (r, k): one exchange."""
        r, k = at.shape
        within = (np.abs(at) <= self.settings.coefficient_limit).all(axis=1)
        found = {name: np.zeros((r, *_shape(name, k))) for name in ("loglik", "gradient", "hessian")}
        counts, whole = np.zeros((r, self.counts.shape[1]), dtype=np.int64), np.zeros(r, dtype=np.bool_)
        if within.any():
            message = "query.gwas_null" if self.index is None else "query.gwas_logistic"
            sums = self._ask(message, rows[within], {"coefficients": at[within]}, tuple(found))
            for name, array in found.items():
                array[within] = sums[name]
            counts[within], whole[within] = sums["counts"], self._whole(sums)
        if not self._asked:
            self._asked.append(True)
            self.counts[rows] = counts
        seen = whole & (counts[:, 0] > 0) & (counts == self.counts[rows]).all(axis=1)
        information = unpack(found["hessian"], k)
        return Evaluation(found["loglik"], found["gradient"], information, seen, seen & self._separated(counts))

    def modify(self, rows: Int, at: Float, inverse: Float) -> tuple[Float, Float]:
        """Firth's score and its curvature at coefficients (r, k) with inverse informations (r, k, k): one exchange."""
        fit = {"coefficients": at, "inverse": pack(inverse)}
        sums = self._ask("query.gwas_firth", rows, fit, ("score", "curvature"))
        return np.asarray(sums["score"]), unpack(sums["curvature"], at.shape[1])

    def _ask(self, message: str, rows: Int, fit: Arrays, names: tuple[str, ...]) -> Sums:
        """Sums over the samples in the test, and what was counted."""
        named = {} if self.index is None else {"index": self.index[rows]}
        sums = self.exchange(message, {**self.content, "fit": {**named, **fit}})
        k = fit["coefficients"].shape[1]
        wanted = {"counts": self.counts.shape[1:], **{name: _shape(name, k) for name in names}}
        if self.index is not None:
            wanted |= {"left": (), **{f"left_{name}": _shape(name, k - 1) for name in names}}
        if any(name not in sums or sums[name].shape != (len(rows), *shape) for name, shape in wanted.items()):
            raise UnusableReply(f"The DIZ answer {message} without {', '.join(wanted)}; check the ClientApp.")
        if self.index is None:
            return sums
        tested = {name: sums[name].copy() for name in names}
        for name, array in tested.items():
            array[(..., *_columns(name, k))] -= sums[f"left_{name}"]
        return {**sums, **tested}

    def _whole(self, sums: Sums) -> Bool:
        """(r,) whether what is to be taken off was told of all samples that are not in the test."""
        if self.index is None:
            return np.ones(len(sums["counts"]), dtype=np.bool_)
        return np.asarray(sums["left"] == self.samples - sums["counts"][:, 4])

    def _separated(self, counts: Int) -> Bool:
        """(r,) whether an allele has no copies among the cases, or among the controls, that have a call.

        Imputed calls could then give a maximum that rests on them alone.
        """
        if not self.stop_separated:
            return np.zeros(len(counts), dtype=np.bool_)
        samples, cases, copies, of_cases = counts.T[:4]
        controls, of_controls = samples - cases, copies - of_cases
        cells = np.stack([of_cases, of_controls, 2 * cases - of_cases, 2 * controls - of_controls])
        return np.asarray((cells <= 0).any(axis=0) & (copies > 0) & (copies < 2 * samples))


_RANK = {"loglik": 0, "gradient": 1, "score": 1, "hessian": 2, "curvature": 2}
"""Of what a row of a sum is: a number, a vector of k, a triangle of k times k."""


def _shape(name: str, k: int) -> tuple[int, ...]:
    """Of a row."""
    return ((), (k,), (k * (k + 1) // 2,))[_RANK[name]]


def _columns(name: str, k: int) -> tuple[Int, ...]:
    """Which of a row's elements have nothing to do with the last column; all of them if the row is a number."""
    places = (np.arange(k), np.triu_indices(k)[1])[_RANK[name] - 1]
    return () if _RANK[name] == 0 else (np.flatnonzero(places < k - 1),)
