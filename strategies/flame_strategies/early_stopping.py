"""When a fit ends before its last round: once a metric has not become better for some rounds (Prechelt, 1998).

Terms and state are values: `EarlyStopping.after` takes a state and returns the next, so that a fit can be saved and
resumed, and gives the same decision whenever it is asked.

>>> rule, state = EarlyStopping("mae", patience=2), StopState()
>>> for number, mae in enumerate([5.0, 4.0, 4.5, 4.2], start=1):
...     state = rule.after(state, number, mae)
>>> state.best, state.best_round, rule.is_over(state)
(4.0, 2, True)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Source = Literal["evaluate", "train", "server"]


@dataclass(frozen=True)
class StopState:
    """How a fit has gone so far.

    Attributes:
        best: The metric's best value, None before the first.
        best_round: The round it is of, 0 before the first.
        waited: Rounds with a value since then.
    """

    best: float | None = None
    best_round: int = 0
    waited: int = 0


@dataclass(frozen=True)
class EarlyStopping:
    """End a fit that no longer becomes better, and keep the best model.

    Attributes:
        metric: Name of a metric of the mean over the nodes. A mean is all that is known under secure aggregation, so
            a rule on single sites does not exist.
        patience: So many rounds in a row without a better value end the fit; at least 1.
        min_delta: A value is better only if it is so by more than this; at least 0, in the metric's unit.
        mode: Whether smaller or larger values are better.
        source: Whose metric: the nodes' evaluation, their training, or the ServerApp's own evaluation.
    """

    metric: str
    patience: int = 5
    min_delta: float = 0.0
    mode: Literal["min", "max"] = "min"
    source: Source = "evaluate"

    def __post_init__(self) -> None:
        if self.patience < 1 or not 0 <= self.min_delta < math.inf:
            raise ValueError("Early stopping needs a patience of at least 1 and a min_delta of at least 0.")
        if self.mode not in {"min", "max"} or self.source not in {"evaluate", "train", "server"}:
            raise ValueError("Early stopping has the modes min and max, and the sources evaluate, train and server.")

    def after(self, state: StopState, server_round: int, value: float | None) -> StopState:
        """The state after a round.

        Args:
            state: The state before it.
            server_round: Its number.
            value: The metric. None (no result) changes nothing; a value that is not finite is no better one.
        """
        if value is None:
            return state
        if self._is_better(value, state.best):
            return StopState(value, server_round, 0)
        return replace(state, waited=state.waited + 1)

    def is_over(self, state: StopState) -> bool:
        """Whether the fit ends here."""
        return state.waited >= self.patience

    def value_in(self, metrics: Mapping[str, Any] | None) -> float | None:
        """The metric in a round's record; None if the round has no record.

        Raises:
            ValueError: The record lacks it, or has a list under its name.
        """
        if metrics is None:
            return None
        value = metrics.get(self.metric)
        if isinstance(value, bool) or not isinstance(value, int | float):
            known = ", ".join(sorted(metrics)) or "none"
            raise ValueError(f"Early stopping needs one number as {self.metric!r}; the round has {known}.")
        return float(value)

    def _is_better(self, value: float, best: float | None) -> bool:
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        return value < best - self.min_delta if self.mode == "min" else value > best + self.min_delta
