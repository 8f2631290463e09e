"""Scaling of RNA-seq libraries over sites, and which genes are expressed, from sums.

Library sizes and scaling factors are the sites' own, sample by sample; what is summed is, by gene, the counts over all
samples: the *pooled profile*, which serves as TMM's reference. In edgeR's words: TMM factors here are those of
``calcNormFactors`` on the pooled count matrix with one more column, the sums of all others, as ``refColumn``, after
that column is taken away and the factors made to multiply to 1. Upper-quartile factors are those of ``calcNormFactors``
without more ado. The genes kept are those of ``filterByExpr`` with ``group``.

The sites answer, in the array record ``sums``, for the samples of the design (config record ``design``):

1. ``query.scale_genes``, input: array record ``reference`` with ``genes`` (g,) places. Reply: ``n`` (1,), ``present``
   (g,) int64, samples that have the gene, and ``total`` (g,), their counts.
2. For the filter ``query.scale_ranks``, input ``library`` (K,) places of genes measured in all samples and
   ``thresholds`` (1, t). Reply: ``count`` (1,), ``at_most`` (1, t) int64, libraries up to each size. An exact search
   for the median (`quantiles`), which may be one sample's size; give `median_library`, a constant, where that must not
   be.
3. For the filter ``query.scale_above``, input also ``genes``, and ``cutoff`` in the config record ``ask``. Reply:
   ``n``, ``above`` (g,) int64, samples with so many counts per million.
4. ``query.scale_factors``, input ``library`` and ``profile`` (K,), and ``method``. Reply: ``n``, ``sum_log`` (1,), of
   the factors' natural logarithms.

The group sizes of the filter come with ``query.de_design``. Counts are exact under masks; the profile is exact to the
rounding of its bound, far below one read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.glm_design import Design
from flame_strategies.quantiles import quantiles
from flame_strategies.sums import Content, Exchange, Sums

Method = Literal["tmm", "upper_quartile", "none"]
Vector = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_POINTS = 4095
"""Thresholds in one exchange of the search for the median."""

_TIE = 1e-14

_WHOLE = 1e-3
"""Sums this near to whole numbers are such, but for the rounding of masked sums."""


@dataclass(frozen=True, eq=False)
class CountScaling:
    """What every site needs to scale its counts.

    Attributes:
        method: How.
        genes: Places of the K genes that are analysed and make up the libraries, rising.
        total: The pooled profile, their counts over all samples, shape (K,).
        log_factor: Mean of the natural logarithms of the samples' factors.
        left_out: Places of genes that were not measured in all samples.
        filtered: Places of genes with too few reads.
        median_library: The median library size, or what was declared for it; NaN without a filter.
        n: Samples.
        exchanges: How many messages each site answered.
    """

    method: Method
    genes: Int
    total: Vector
    log_factor: float
    left_out: Int
    filtered: Int
    median_library: float
    n: int
    exchanges: int

    def config(self) -> dict[str, Any]:
        """Numbers and words for a message."""
        return {"method": self.method, "log_factor": self.log_factor}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for a message: ``library`` and ``profile`` (K,)."""
        return {"library": self.genes, "profile": self.total}


@dataclass(frozen=True)
class ExpressionFilter:
    """Which genes have enough reads: enough counts per million in as many samples as the smallest group has.

    Attributes:
        group: Categorical column of the design whose smallest group counts; all samples are one group if empty.
        min_count: Reads in a library of median size.
        min_total_count: Reads over all samples.
        large_n: Beyond so many samples of a group a share of the further ones is enough.
        min_prop: That share.
        median_library: Size of a typical library; None for the exact median.
    """

    group: str = ""
    min_count: float = 10.0
    min_total_count: float = 15.0
    large_n: int = 10
    min_prop: float = 0.7
    median_library: float | None = None

    def least_samples(self, smallest: float) -> float:
        """In so many samples a gene must be expressed."""
        beyond = max(smallest - self.large_n, 0.0)
        return min(smallest, self.large_n) + beyond * self.min_prop


def scale_counts(
    exchange: Exchange,
    design: Design,
    panel: Sequence[str],
    *,
    method: Method = "tmm",
    keep: ExpressionFilter | None = None,
    genes_per_message: int = 4000,
) -> CountScaling:
    """Choose the genes, and find the factors' mean.

    Args:
        exchange: Asks all sites and returns sums, for instance a `GridExchange`.
        design: Its samples are those that have all of its columns.
        panel: Ids of all genes, in the sites' order.
        method: ``tmm``, ``upper_quartile`` or ``none``.
        keep: Which genes have enough reads; None keeps all that have any.
        genes_per_message: So many genes in one answer at most.

    Raises:
        StrategyError: No gene is left, or a reply is unusable.
        ValueError: An argument is none of those allowed.
    """
    if method not in ("tmm", "upper_quartile", "none") or genes_per_message < 1 or not len(panel):
        raise ValueError("The method is tmm, upper_quartile or none, and there is at least one gene in a message.")
    if keep is not None and keep.group and keep.group not in {column.name for column in design.categorical}:
        raise ValueError(f"The filter's group {keep.group!r} is no categorical column of the design.")
    ask = _Asker(exchange, design, genes_per_message)
    everything = np.arange(len(panel), dtype=np.int64)
    replies = ask.by_gene("scale_genes", everything, {"present": np.int64, "total": np.float64})
    n, whole = ask.n, replies["present"] == ask.n
    if not n or not whole.any():
        raise StrategyError("No gene was measured in all samples of all sites; compare the panels and data stores.")
    measured, total = everything[whole], replies["total"][whole]
    kept, median = total > 0, math.nan
    if keep is not None:
        # counts are whole numbers, and the search for one of those is short
        whole_numbers = bool((np.abs(total - np.rint(total)) < _WHOLE).all())
        median = keep.median_library or ask.median_library(measured, whole_numbers=whole_numbers)
        cutoff = keep.min_count / median * 1e6
        more = {"library": measured}
        above = ask.by_gene("scale_above", measured, {"above": np.int64}, more, {"cutoff": cutoff})["above"]
        least = keep.least_samples(ask.smallest_group(keep.group)) - _TIE
        kept = (above >= least) & (total >= keep.min_total_count - _TIE)
    if not kept.any():
        raise StrategyError("No gene has enough reads; lower the filter's counts, or check that the values are counts.")
    genes, profile, log_factor = measured[kept], total[kept], 0.0
    if method != "none":
        sums = ask("scale_factors", {"library": genes, "profile": profile}, {"method": method})
        log_factor = float(sums["sum_log"][0]) / n
    return CountScaling(
        method, genes, profile, log_factor, everything[~whole], measured[~kept], median, n, ask.exchanges
    )


class _Asker:
    """Asks about the samples of one design."""

    def __init__(self, exchange: Exchange, design: Design, genes_per_message: int) -> None:
        self._exchange, self._design, self._per_message = exchange, design, genes_per_message
        self.exchanges, self.n = 0, -1

    def __call__(
        self, query: str, arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any] | None = None
    ) -> Sums:
        """One exchange; the number of samples must stay the same."""
        self.exchanges += 1
        content: dict[str, Mapping[str, Any]] = {"design": self._design.content()}
        if config:
            content["ask"] = config
        if arrays:
            content["reference"] = arrays
        sums = self._exchange(f"query.{query}", content)
        counted = int(sums["n" if "n" in sums else "count"][0])
        if self.n not in (-1, counted):
            raise UnusableReply(f"The sites had {self.n} samples and now {counted}; start again.")
        self.n = counted
        return sums

    def by_gene(
        self,
        query: str,
        genes: Int,
        wanted: Mapping[str, type],
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Arrays of one number per gene, asked for in parts."""
        found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in wanted}
        for first in range(0, len(genes), self._per_message):
            chunk = genes[first : first + self._per_message]
            sums = self(query, {"genes": chunk, **(arrays or {})}, config)
            for name, kind in wanted.items():
                if name not in sums or sums[name].shape != chunk.shape or sums[name].dtype != kind:
                    raise UnusableReply(f"The sites answer {query} without {name} by gene; check the ClientApp.")
                found[name].append(sums[name])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def median_library(self, genes: Int, *, whole_numbers: bool) -> float:
        """The exact median of the library sizes over the genes."""

        def ranks(_: str, content: Content) -> Sums:
            return self("scale_ranks", {"library": genes, "thresholds": content["reference"]["thresholds"]})

        median = quantiles(
            ranks,
            ["library"],
            [0.5],
            method="linear",
            whole=["library"] if whole_numbers else (),
            ranges={"library": (0.0, 2e8)},
            points=_POINTS,
        )
        return float(median.values[0, 0])

    def smallest_group(self, group: str) -> float:
        """Samples of the smallest group that has any."""
        if not group:
            return float(self.n)
        sums = self("de_design", {})
        counts = self._design.level_sums(np.asarray(sums["sum_x"], dtype=np.float64), float(self.n))
        own = next(column for column in self._design.categorical if column.name == group)
        sizes = [round(counts[f"{group}[{level}]"]) for level in own.levels]
        return float(min(size for size in sizes if size > 0))
