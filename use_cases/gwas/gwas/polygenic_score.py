"""A trained polygenic score, on its way from training to files and report."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from flame_strategies.polygenic import FoldProducts, PolygenicFit

from gwas.moments_run import Moments

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Score:
    """A trained score.

    Attributes:
        index: (m,) places in the panel, of variants with a weight.
        mean: (m,) copies that a missing call counts as.
        weights: (m,) in the phenotype's unit per copy of alt.
        covariates: (q,) in the phenotype's unit per unit of the design's columns, the intercept first.
        candidates: Variants below the threshold.
        clumps: Signals among them.
        fit: The path of penalties.
        null: Of the training samples.
        products: Likewise.
        exchanges: Messages that it took.
    """

    index: Int
    mean: Float
    weights: Float
    covariates: Float
    candidates: int
    clumps: int
    fit: PolygenicFit
    null: Moments
    products: FoldProducts
    exchanges: int
