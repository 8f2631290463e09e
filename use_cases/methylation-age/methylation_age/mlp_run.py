"""The federated MLP clock, as the hub runs it: choose inputs, then average the DIZ's networks round by round.

The inputs come either from sums over all DIZ (``inputs = "federated"``: the CpGs with the largest pooled correlation
with the transformed age, standardised by the pooled moments), or from what is public (``inputs = "public"``: CpGs of
published clocks, mean betas of public arrays and a fixed scale), which asks the DIZ nothing before the first round:
under noise every question costs budget.

Averaging is FedAvg (McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
AISTATS 2017).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.reference import Reference
from flame_strategies.sums import Exchange

from methylation_age import mlp
from methylation_age.clock import MlpClock
from methylation_age.errors import InputError
from methylation_age.panel import load_panel

PUBLIC_SCALE = 0.1
"""A usual standard deviation of a beta value between people of all ages."""

PUBLIC_AGE = (0.5, 1.2)
"""Centre and scale of the transformed age for a population from birth to old age."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the network reads, and how it is standardised.

    Attributes:
        columns: (q,) indices into the panel, ascending.
        centre: (q,) betas.
        scale: (q,) of the betas.
        y_centre: Of the transformed age.
        y_scale: Of the transformed age.
    """

    columns: npt.NDArray[np.intp]
    centre: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    y_centre: float
    y_scale: float

    def clock(self, arrays: Mapping[str, npt.NDArray[Any]], recipe: mlp.Recipe) -> MlpClock:
        """The clock of these inputs and a network's weights."""
        values = asdict(recipe)
        return MlpClock(self.columns, self.centre, self.scale, self.y_centre, self.y_scale, dict(arrays), values)


def federated_inputs(exchange: Exchange, count: int, folds: int) -> Inputs:
    """The `count` CpGs most correlated with the transformed age over all DIZ.

    Args:
        exchange: Asks all DIZ and returns sums.
        count: q.
        folds: Of the run; a DIZ answers about no others.
    """
    reference = Reference.from_moments(exchange("query.moments", {}))
    sums = exchange("query.target", {"reference": reference.content(), "folds": {"folds": folds}})
    correlation = np.where(reference.usable, np.abs(sums["xty"].sum(axis=0)), -1.0)
    columns = np.sort(np.argsort(-correlation, kind="stable")[:count])
    return Inputs(columns, reference.centre[columns], reference.scale[columns], reference.y_centre, reference.y_scale)


def public_inputs(panel: str, count: int) -> Inputs:
    """The panel's public CpGs.

    Raises:
        InputError: The panel does not name `count` public CpGs.
    """
    public = load_panel(panel).public
    if public is None or len(public.columns) != count:
        known = len(public.columns) if public else 0
        raise InputError(f"The panel {panel!r} names {known} public CpGs, mlp-inputs is {count}; set it accordingly.")
    scale = np.full(count, PUBLIC_SCALE)
    return Inputs(np.array(public.columns, dtype=np.intp), np.array(public.centre), scale, *PUBLIC_AGE)
