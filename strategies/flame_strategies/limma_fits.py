"""One linear model for every gene over all sites, from sums: the exchanges behind `limma` and `voom`.

The sites answer, in the array record ``sums``, for g genes of a message, p columns and q coefficients (the intercept
and the columns; with an effect for each site the columns only):

1. ``query.de_design``, input: config record ``design`` (`Design.content`, and ``site_effects``). Reply: ``n``,
   ``excluded``, ``sites`` (1,) int64, the last one 1 for a site with samples; ``sum_x``, ``sum_xx`` (p,).
2. ``query.de_products``, input also: array record ``reference`` with ``genes`` (g,) places in the panel, ``centre`` and
   ``scale`` (p,); for counts what `CountScaling` says. Reply, for z = (x - centre) / scale after a 1, or less the
   site's means: ``n`` (1,), ``present`` (g,) int64, samples that have the gene; ``xx`` (q (q + 1) / 2,) the sum of z
   z'; ``xy`` (g, q) that of y z; ``sum_y`` (g,); ``sum_log_library`` (1,), of log2(library size + 1), 0 without counts.
3. ``query.de_residuals``, input also ``coefficients`` (g, q). Reply: ``n``; ``rss`` (g,), the sum of squares of the
   residuals. They are formed at the sites: taken from y'y at the hub they would be small differences of large sums.
4. ``query.de_weighted``, for voom, input also ``trend_x``, ``trend_y`` (m,). Reply, for the residuals r of 3 and the
   weights w of voom: ``n``; ``wxx`` (g, q (q + 1) / 2), ``wxr`` (g, q), ``wrr`` (g,).

With site effects the sites subtract their own means from z and y, in 4 weighted ones, which is the same as one more
column for each site (Frisch-Waugh-Lovell); the residual degrees of freedom are n less the columns less the sites.

Bounds, for fixed-point encoding, with N samples in all sites: the squares of one column of z sum to N at most, so
``xx`` is at most N and ``xy`` at most N times the largest |y|, in logarithms of base 2 about 20. The rounding of a sum
is about the bound times the number of sites / 2^63.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_strategies.errors import UnusableReply
from flame_strategies.expression_scaling import CountScaling
from flame_strategies.glm_design import (
    CONSTANT,
    INTERCEPT,
    Collinear,
    Design,
    DesignError,
    Scaling,
    must_be_seen,
    must_vary,
    unpack,
)
from flame_strategies.glm_newton import inverse
from flame_strategies.sums import Exchange, Sums

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class GeneFits:
    """A linear model for each of G genes, in the columns z.

    Attributes:
        genes: Their places in the panel, shape (G,).
        left_out: Places of genes that were not measured in all samples.
        beta: Coefficients, shape (G, q).
        unscaled: Covariance of the coefficients over the residual variance, shape (1, q, q), or with weights (G, q, q).
        variance: Residual variances, shape (G,).
        degrees: Residual degrees of freedom.
        average: Mean expression, shape (G,).
        log_library: Mean of log2(library size + 1); 0 without counts.
    """

    genes: Int
    left_out: Int
    beta: Matrix
    unscaled: Matrix
    variance: Vector
    degrees: int
    average: Vector
    log_library: float


class GeneQueries:
    """Asks for one design; after construction its columns are known to vary, and how to scale them.

    Attributes:
        terms: Names of the q coefficients.
        n: Samples.
        excluded: Samples left out because a column was missing.
        sites: Sites with samples.
        exchanges: How many messages each site answered.
    """

    def __init__(
        self,
        exchange: Exchange,
        design: Design,
        *,
        site_effects: bool,
        scaling: CountScaling | None,
        genes_per_message: int,
        legs: int,
        progress: Progress | None,
    ) -> None:
        if not design.intercept or design.offset or design.exposure or genes_per_message < 1:
            raise ValueError("The design needs an intercept and no offset, and a message at least one gene.")
        if site_effects and not design.columns:
            raise ValueError("Beside the sites' effects the design needs a column to compare.")
        self._exchange, self._design, self._scaling, self._progress = exchange, design, scaling, progress
        self._config = {**design.content(), "site_effects": site_effects}
        self._site_effects, self._per_message, self._legs = site_effects, genes_per_message, legs
        self.terms = design.columns if site_effects else (INTERCEPT, *design.columns)
        self.exchanges, self._expected = 0, 0
        p = len(design.columns)
        sums = self._ask("de_design", {})
        expect(sums, {"n": (1,), "excluded": (1,), "sites": (1,), "sum_x": (p,), "sum_xx": (p,)})
        self.n, self.excluded, self.sites = (int(sums[name][0]) for name in ("n", "excluded", "sites"))
        if not self.n:
            raise DesignError("No sample of any site has all columns of the design.")
        must_be_seen(design, sums, self.n)
        self._columns = Scaling.of(sums, intercept=not site_effects, centred=True)
        must_vary(design, (sums["sum_xx"] / self.n - self._columns.centre**2) / self._columns.scale**2)
        self.degrees = self.n - len(self.terms) - (self.sites if site_effects else 0)
        if self.degrees < 1:
            more = f" and {self.sites} sites" if site_effects else ""
            raise DesignError(
                f"{self.n} samples leave nothing for the variance beside {len(self.terms)} coefficients{more}. Ask for "
                "fewer columns."
            )

    @property
    def own_units(self) -> Matrix:
        """Shape (q, q): coefficients in own units are this times those for z."""
        return self._columns.own_units()

    def fit(self, genes: Int) -> GeneFits:
        """Fit all genes without weights; 2 exchanges for each message's worth of genes.

        Args:
            genes: Their places in the panel, rising.
        """
        parts: list[tuple[Int, Matrix, Vector, Vector]] = []
        self._expected = 1 + self._legs * len(range(0, len(genes), self._per_message))
        unscaled, log_library = np.empty(0), 0.0
        for chunk in self._chunks(genes):
            arrays = {"genes": chunk}
            sums = self._ask("de_products", arrays)
            q, g = len(self.terms), len(chunk)
            shapes = {"n": (1,), "present": (g,), "xx": (q * (q + 1) // 2,), "xy": (g, q), "sum_y": (g,)}
            expect(sums, {**shapes, "sum_log_library": (1,)})
            self._same_samples(sums)
            unscaled = self._inverse(unpack(np.asarray(sums["xx"], dtype=np.float64), q))
            log_library = float(sums["sum_log_library"][0]) / self.n
            whole = sums["present"] == self.n
            beta = np.where(whole[:, None], sums["xy"] @ unscaled, 0.0)
            sums_again = self._ask("de_residuals", {**arrays, "coefficients": beta})
            expect(sums_again, {"n": (1,), "rss": (g,)})
            self._same_samples(sums_again)
            variance = np.maximum(sums_again["rss"], 0.0) / self.degrees
            parts.append((chunk[whole], beta[whole], variance[whole], sums["sum_y"][whole] / self.n))
        kept, beta, variance, average = (np.concatenate(part) for part in zip(*parts, strict=True))
        if not len(kept):
            raise DesignError("No gene was measured in all samples of all sites; compare the panels and data stores.")
        left_out = np.setdiff1d(genes, kept)
        return GeneFits(kept, left_out, beta, unscaled[None], variance, self.degrees, average, log_library)

    def weighted(self, fits: GeneFits, trend_x: Vector, trend_y: Vector) -> GeneFits:
        """Fit them again with voom's weights; 1 exchange for each message's worth of genes."""
        q = len(self.terms)
        packed = q * (q + 1) // 2
        beta, variance = fits.beta.copy(), np.empty_like(fits.variance)
        unscaled = np.empty((len(fits.genes), q, q))
        for first, chunk in zip(range(0, len(fits.genes), self._per_message), self._chunks(fits.genes), strict=True):
            part, g = slice(first, first + len(chunk)), len(chunk)
            arrays = {"genes": chunk, "coefficients": fits.beta[part], "trend_x": trend_x, "trend_y": trend_y}
            sums = self._ask("de_weighted", arrays)
            expect(sums, {"n": (1,), "wxx": (g, packed), "wxr": (g, q), "wrr": (g,)})
            self._same_samples(sums)
            unscaled[part] = self._inverses(unpack(np.asarray(sums["wxx"], dtype=np.float64), q))
            step = np.einsum("gij,gj->gi", unscaled[part], sums["wxr"])
            beta[part] += step
            # what the step explains of the old residuals is a small part of them
            explained = np.einsum("gi,gi->g", step, sums["wxr"])
            variance[part] = np.maximum(sums["wrr"] - explained, 0.0) / self.degrees
        return GeneFits(
            fits.genes, fits.left_out, beta, unscaled, variance, fits.degrees, fits.average, fits.log_library
        )

    def _chunks(self, genes: Int) -> Iterator[Int]:
        for first in range(0, len(genes), self._per_message):
            yield np.ascontiguousarray(genes[first : first + self._per_message], dtype=np.int64)

    def _ask(self, query: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Sums:
        self.exchanges += 1
        content: dict[str, Mapping[str, Any]] = {"design": self._config}
        if arrays:
            content["reference"] = {**arrays, "centre": self._columns.centre, "scale": self._columns.scale}
            if self._scaling is not None:
                content["ask"] = self._scaling.config()
                content["reference"] = {**content["reference"], **self._scaling.arrays()}
        sums = self._exchange(f"query.{query}", content)
        if self._progress is not None and arrays:
            self._progress(self.exchanges, max(self._expected, self.exchanges))
        return sums

    def _same_samples(self, sums: Sums) -> None:
        if int(sums["n"][0]) != self.n:
            raise UnusableReply(f"The sites had {self.n} samples and now {int(sums['n'][0])}; start again.")

    def _inverse(self, products: Matrix) -> Matrix:
        """Inverse of the sum of z z'; raises `Collinear`."""
        little = products.diagonal() < CONSTANT * self.n
        if self._site_effects and little.any():
            names = [name for name, nothing in zip(self.terms, little.tolist(), strict=True) if nothing]
            raise DesignError(
                f"Beside the sites' effects nothing can be said about {', '.join(names)}: it does not vary within any "
                "site, for instance because a group lies at one site only. Leave it out, or find a site with both."
            )
        try:
            return inverse(products, self.terms)
        except Collinear as error:
            if not self._site_effects:
                raise
            raise Collinear(
                f"{error} With an effect for each site, groups that share no site depend on them."
            ) from None

    def _inverses(self, products: Matrix) -> Matrix:
        """Inverses of (g, q, q), scaled to diagonals of ones first."""
        diagonal = np.einsum("gii->gi", products)
        if not (diagonal > 0).all():
            raise DesignError("With its weights the data of a gene say nothing about a column; filter genes first.")
        unit = 1.0 / np.sqrt(diagonal)
        try:
            own = np.linalg.inv(products * unit[:, :, None] * unit[:, None, :])
        except np.linalg.LinAlgError:
            raise Collinear("With its weights a gene's columns depend on each other; filter genes first.") from None
        return np.asarray(own * unit[:, :, None] * unit[:, None, :])


def expect(sums: Sums, shapes: Mapping[str, Sequence[int]]) -> None:
    """Complain about arrays that are not there, or of another shape."""
    if wrong := [name for name, shape in shapes.items() if name not in sums or sums[name].shape != tuple(shape)]:
        raise UnusableReply(f"The sites answer without {', '.join(wrong)}, or in another shape; check the ClientApp.")
