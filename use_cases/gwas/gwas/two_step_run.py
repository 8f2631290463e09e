"""The two-step method, as the hub runs it: polygenic predictions first, then tests of what they leave of the trait.

The first step is whole-genome regression in the manner of REGENIE (Mbatchou et al., Nature Genetics 53, 2021), from
sums by fold (`flame_strategies.block_ridge`, `site_ridge`): of common autosomal variants that passed the quality
control, in blocks of neighbours. The second step tests every variant by linear regression of the trait less the
prediction from the other chromosomes (`linear_run`, `site_loco`). What the predictions take up, relatedness and
structure among it, no longer inflates the tests.

Folds are of patients, not of families: a relative in another fold helps to predict, which is what takes relatedness up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies import block_ridge
from flame_strategies.block_ridge import BlockModel, Covariates, LevelOne, Predictions
from flame_strategies.errors import StrategyError
from flame_strategies.sums import Exchange

from gwas import linear_run
from gwas.hub import Hub
from gwas.ld_run import Common, Float, common
from gwas.moments_run import HasArrays, moments
from gwas.panel import Panel
from gwas.quality_rules import Quality
from gwas.results import Associations
from gwas.settings import Settings
from gwas.site_ridge import FEWEST_OF_A_BLOCK, MOST_COLUMNS
from gwas.steps import Steps

Arrays = Mapping[str, npt.NDArray[Any]]

HIDDEN = (
    "A fold holds fewer patients, or fewer of a declared level, than the release contract lets out (min_total): sums "
    "by fold stay hidden. Leave the rare level out, state fewer folds, or have more patients."
)

FEWEST_CHROMOSOMES = 2
"""With one chromosome, leaving it out leaves nothing."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Neighbouring variants, a block at a time.

    Attributes:
        variants: All of them, M variants.
        ranges: Which of them each block has, one after another.
        chromosomes: Of each block.
    """

    variants: Common
    ranges: tuple[slice, ...]
    chromosomes: tuple[int, ...]

    @property
    def number(self) -> npt.NDArray[np.int64]:
        """(M,) the block of each variant, from 0."""
        return np.repeat(np.arange(len(self.ranges)), [of.stop - of.start for of in self.ranges])


@dataclass(frozen=True, eq=False)
class Loco:
    """Predictions that leave a chromosome out.

    Attributes:
        variants: What they are of, M variants.
        weights: (M, K) of standardised genotypes by fold.
        shifts: (K, q) of covariates, if no chromosome with blocks is left out.
        without: (K, q) of covariates, by the chromosome that is left out.
        level_one: How the blocks' predictions were put together.
        blocks: How many there are.
        exchanges: That the first step took.
    """

    variants: Common
    weights: Float
    shifts: Float
    without: Mapping[int, Float]
    level_one: LevelOne
    blocks: int
    exchanges: int

    def arrays(self, chromosome: int) -> Arrays:
        """As messages about a chromosome's variants bring them to `site_loco`."""
        return {
            **self.variants.arrays("loco"),
            "loco_weights": self.weights,
            "loco_z": self.without.get(chromosome, self.shifts),
            "loco_chromosome": np.array([chromosome], dtype=np.int64),
        }

    def notes(self) -> tuple[str, ...]:
        """Sentences for the report."""
        explained = 1 - min(self.level_one.errors)
        said = (
            f"Two-step: ridge regression in {self.blocks} blocks of {self.variants.size} variants; held-out folds are "
            f"predicted with r2 = {explained:.3f} of what the covariates leave (penalty of heritability "
            f"{self.level_one.heritability:g})."
        )
        return (said,)


def run(hub: Hub, quality: Quality, components: HasArrays | None) -> Associations:
    """Both steps.

    Args:
        hub: The run.
        quality: Which variants passed, and their frequencies.
        components: Principal components that are covariates, if any.

    Raises:
        DesignError: See `moments_run.moments`.
        StrategyError: There are too few variants or chromosomes, or too many blocks.
    """

    def first(exchange: Exchange) -> Loco:
        null = moments(exchange, hub.settings, components)
        blocks = blocks_of(common(hub.panel, quality, hub.settings), hub.panel, hub.settings)
        return step_one(exchange, blocks, hub.settings, null.arrays, hub.grid)

    loco, nodes = hub.fit(first)
    found = linear_run.run(replace(hub, nodes=nodes), quality, components, loco=loco)
    return replace(found, notes=(*found.notes, *loco.notes()), exchanges=found.exchanges + loco.exchanges)


def step_one(exchange: Exchange, blocks: Blocks, settings: Settings, design: Arrays, grid: Any = None) -> Loco:
    """The first step.

    Args:
        exchange: Asks all DIZ and returns sums.
        blocks: Of variants.
        settings: What was asked.
        design: What messages bring for the covariates.
        grid: That wants to know how far the fit is, if any.
    """
    penalty = block_ridge.penalties(settings.ridge, float(blocks.variants.size))
    models: list[BlockModel] = []
    steps = Steps(grid, len(blocks.ranges))
    for number, of in enumerate(blocks.ranges, 1):
        block = {**blocks.variants.take(of).arrays("ridge"), **design}
        sums = exchange("query.gwas_ridge", {"block": block})
        if not sums["n"].any():
            raise StrategyError(HIDDEN)
        covariates = Covariates(sums["n"][0], _squares(sums["zz"][0]), sums["zy"][0], sums["yy"][0])
        models.append(block_ridge.block_model(covariates, sums["xx"], sums["xz"], sums["xy"], penalty))
        steps.done(number)
    weights = [model.weights.transpose(1, 0, 2).reshape(model.weights.shape[1], -1) for model in models]
    asked = {**blocks.variants.arrays("ridge"), "block": blocks.number, "weights": np.concatenate(weights), **design}
    sums = exchange("query.gwas_level1", {"blocks": asked})
    predictions = Predictions(_squares(sums["ww"][0]), sums["wz"][0], sums["wy"][0])
    found = block_ridge.level_one(covariates, models, predictions, settings.ridge)
    return Loco(
        blocks.variants,
        block_ridge.genome_weights(models, found.coefficients),
        *block_ridge.shifts_without(models, found.coefficients, blocks.chromosomes),
        found,
        len(models),
        len(models) + 1,
    )


def blocks_of(variants: Common, panel: Panel, settings: Settings) -> Blocks:
    """Blocks of neighbours, those of a chromosome about equally long; none of a chromosome with few variants.

    Raises:
        StrategyError: There are too few chromosomes, or too many blocks.
    """
    chromosome = panel.chromosome[variants.index]
    codes, counts = np.unique(chromosome, return_counts=True)
    variants = variants.take(np.isin(chromosome, codes[counts >= FEWEST_OF_A_BLOCK]))
    chromosome = panel.chromosome[variants.index]
    if len(np.unique(chromosome)) < FEWEST_CHROMOSOMES:
        raise StrategyError(
            "The two-step method leaves the tested chromosome out of the prediction, so it needs "
            f"{FEWEST_OF_A_BLOCK} common variants on each of "
            'two chromosomes at least; state analysis = "linear", or lower pca-maf.'
        )
    ranges: list[slice] = []
    for code in np.unique(chromosome):
        places = np.flatnonzero(chromosome == code)
        parts = np.array_split(places, -(-len(places) // settings.blocks))
        ranges += [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
    columns = len(ranges) * len(settings.ridge)
    if columns > MOST_COLUMNS:
        raise StrategyError(
            f"{len(ranges)} blocks with {len(settings.ridge)} penalties are {columns} predictions; at most "
            f"{MOST_COLUMNS} are possible. Raise blocks (variants per block) or pca-maf."
        )
    return Blocks(variants, tuple(ranges), tuple(int(chromosome[of.start]) for of in ranges))


def _squares(packed: Float) -> Float:
    """(K, q, q) from packed upper triangles (K, q (q + 1) / 2)."""
    size = int(np.sqrt(2 * packed.shape[1]))
    rows, columns = np.triu_indices(size)
    found = np.empty((len(packed), size, size))
    found[:, rows, columns] = found[:, columns, rows] = packed
    return found
