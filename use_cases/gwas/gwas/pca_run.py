"""Principal components, as the hub runs them: loadings of the pooled genotypes, from products with X'X alone.

The loadings are the leading right singular vectors of the pooled standardised genotypes of the pruned variants
(`ld_run`), found in a block Krylov space (`flame_strategies.block_krylov`); the largest loading of each is positive.
Nobody's component is known here: each DIZ multiplies its genotypes with the loadings.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.block_krylov import Leading, leading_eigenvectors
from flame_strategies.errors import StrategyError
from flame_strategies.sums import Exchange, Sums

from gwas.hub import Hub
from gwas.ld_run import Checked, Common, Float, Int, common, pruned
from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site_pca import EXTRA_COLUMNS, MOST_VARIANTS
from gwas.steps import Steps

TOLERANCE = 1e-7
"""Of the angle between the found and the wanted space."""


class _WithheldError(Exception):
    """Rows of a product are 0: too few carry these variants. Their columns count as well, so it begins without them."""

    def __init__(self, there: Int) -> None:
        super().__init__()
        self.there = there


@dataclass(frozen=True, eq=False)
class Components:
    """K principal components of p1 variants.

    Attributes:
        variants: What they are of.
        loadings: (p1, K) orthonormal.
        eigenvalues: (K,) of X'X, falling.
        share: (K,) of the sum of all eigenvalues.
        spread: (K,) standard deviations of the scores X loadings, that components are divided by.
        samples: That they are of, over all DIZ.
        candidates: Variants before pruning.
        angle: Estimated bound of the sine of the angle to the wanted space.
        rounds: Products that it took.
        converged: Whether the angle reached `TOLERANCE`.
    """

    variants: Common
    loadings: Float
    eigenvalues: Float
    share: Float
    spread: Float
    samples: int
    candidates: int
    angle: float
    rounds: int
    converged: bool

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As messages bring them to `site_design`."""
        return {**self.variants.arrays("pc"), "loadings": self.loadings, "pc_spread": self.spread}

    def notes(self) -> tuple[str, ...]:
        """Sentences for the report."""
        said = (
            f"{len(self.eigenvalues)} principal components of {self.variants.size} variants that pruning left of "
            f"{self.candidates}, in {self.rounds} rounds; estimated angle to the pooled ones {self.angle:.1e}."
        )
        hint = (
            "The last components are hardly set apart from the next one, and their space is not determined to "
            f"{TOLERANCE:.0e}; the leading ones are. Take fewer (pcs), or more rounds (pca-rounds)."
        )
        directions = self.rounds * (len(self.eigenvalues) + EXTRA_COLUMNS)
        told = (
            f"The products together have {directions} columns, and there are {self.samples} samples: the hub could "
            "work out X'X as a whole. Ask for fewer components or rounds, or have more samples."
        )
        more = [*([] if self.converged else [hint]), *([told] if directions >= self.samples else [])]
        return (said, *more)


def principal_components(hub: Hub, quality: Checked) -> Components | None:
    """Principal components of all DIZ; none if the run config asks for none.

    Args:
        hub: The run.
        quality: Which variants passed.

    Raises:
        StrategyError: There are too few or too many variants, or fewer components than asked for.
    """
    if not hub.settings.pcs:
        return None

    def run(exchange: Exchange) -> Components:
        return components(exchange, hub.panel, hub.settings, quality, hub.grid)

    return hub.fit(run)[0]


def components(exchange: Exchange, panel: Panel, settings: Settings, quality: Checked, grid: Any = None) -> Components:
    """Prune, and find the components.

    Args:
        exchange: Asks all DIZ and returns sums.
        panel: The variants, p.
        settings: What was asked.
        quality: Which variants passed.
        grid: That wants to know how far the fit is, if any.

    Raises:
        StrategyError: As `principal_components`.
    """
    candidates = common(panel, quality, settings)
    return of_variants(exchange, pruned(exchange, candidates, panel, settings), settings, candidates.size, grid)


def of_variants(
    exchange: Exchange, variants: Common, settings: Settings, candidates: int, grid: Any = None
) -> Components:
    """The components of given variants."""
    width = settings.pcs + EXTRA_COLUMNS
    if not width <= variants.size <= MOST_VARIANTS:
        raise StrategyError(
            f"{variants.size} variants are left for principal components; {width} to {MOST_VARIANTS} are needed. "
            "Change pca-maf, ld-r2 or pcs in the run config; variants whose frequency the panel does not state do not "
            "count."
        )
    last: dict[str, Sums] = {}

    def multiply(basis: Float) -> Float:
        sums = exchange("query.gwas_pca", {"pca": {**variants.arrays("pca"), "basis": basis}})
        there = np.flatnonzero(sums["product"].any(axis=1))
        if not last and len(there) < variants.size:
            raise _WithheldError(there)
        last["sums"] = sums
        return np.asarray(sums["product"])

    steps = Steps(grid, settings.pca_rounds)

    def progress(number: int, angle: float) -> None:
        steps.done(number, angle=angle)

    start = np.random.default_rng(settings.seed).standard_normal((variants.size, width))
    try:
        found: Leading = leading_eigenvectors(
            multiply, start, settings.pcs, rounds=settings.pca_rounds, tolerance=TOLERANCE, progress=progress
        )
    except _WithheldError as rare:
        return of_variants(exchange, variants.take(rare.there), settings, candidates, grid)
    samples, squares = int(last["sums"]["n"][0]), float(last["sums"]["spread"][0])
    return Components(
        variants=variants,
        loadings=found.vectors,
        eigenvalues=found.values,
        share=found.values / squares,
        spread=np.sqrt(found.values / samples),
        samples=samples,
        candidates=candidates,
        angle=found.angle,
        rounds=found.rounds,
        converged=found.converged,
    )
