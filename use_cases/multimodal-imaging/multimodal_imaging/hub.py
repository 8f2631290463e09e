"""What an analysis has at the hub: the DIZ that agreed, the settings, and a folder for what it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flame_strategies.sums import GridExchange, fit_on_whoever_stays
from flwr.serverapp import Grid

from multimodal_imaging.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Hub:
    """One run at the hub.

    Attributes:
        grid: Flower's.
        nodes: The DIZ that agreed.
        settings: What was asked.
        min_nodes: So many must contribute.
        timeout: Seconds to wait for a reply.
        folder: The run's, for files.
    """

    grid: Grid
    nodes: tuple[int, ...]
    settings: Settings
    min_nodes: int
    timeout: float
    folder: Path

    def fit(self, run: Callable[[GridExchange], T]) -> tuple[T, tuple[int, ...]]:
        """Something that is exact for one set of DIZ; begun anew on those that are left where one is lost.

        Returns:
            What `run` gave, and the nodes that it is of.
        """
        return fit_on_whoever_stays(run, self.grid, self.nodes, min_nodes=self.min_nodes, timeout=self.timeout)
