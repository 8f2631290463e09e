"""Sites in memory that answer queries about tables, for fits without Flower."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from federated_statistics.table import Answer, Arrays, Request, Table
from flame_strategies.sums import Content, Sums, add_up


class TableSites:
    """An `Exchange` over tables.

    Attributes:
        sites: The sites of the last exchange.
        asked: The message types so far, in order.
        replies: The answers of the last exchange, by site.
    """

    def __init__(
        self, tables: Sequence[Table], answers: Mapping[str, Answer], *, lost: Mapping[int, int] | None = None
    ) -> None:
        self._tables, self._answers, self._lost = dict(enumerate(tables)), answers, dict(lost or {})
        self.sites: tuple[int, ...] = tuple(self._tables)
        self.asked: list[str] = []
        self.replies: dict[int, Arrays] = {}

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every site, and sum; sites in `lost` are silent from the exchange of that number on."""
        self.asked.append(message_type)
        config = {k: v for part in content.values() for k, v in part.items() if not isinstance(v, np.ndarray)}
        arrays = {k: v for part in content.values() for k, v in part.items() if isinstance(v, np.ndarray)}
        request = Request(config, arrays)
        self.sites = tuple(s for s in self._tables if len(self.asked) < self._lost.get(s, 10**9))
        answer = self._answers[message_type.removeprefix("query.")]
        self.replies = {site: answer(self._tables[site], request) for site in self.sites}
        return add_up(self.replies)


def split_table(
    numbers: Mapping[str, npt.ArrayLike],
    homes: npt.ArrayLike,
    codes: Mapping[str, npt.ArrayLike] | None = None,
    levels: Mapping[str, tuple[str, ...]] | None = None,
    patients: Sequence[str] | None = None,
) -> list[Table]:
    """One table per site from pooled columns and each row's home (0, 1, ...)."""
    homes = np.asarray(homes)
    tables = []
    for home in range(int(homes.max(initial=0)) + 1):
        rows = np.flatnonzero(homes == home)
        tables.append(
            Table(
                numbers={name: np.asarray(column, dtype=np.float64)[rows] for name, column in numbers.items()},
                codes={name: np.asarray(column, dtype=np.int64)[rows] for name, column in (codes or {}).items()},
                rows=len(rows),
                levels=dict(levels or {}),
                patients=() if patients is None else tuple(patients[row] for row in rows),
            )
        )
    return tables
