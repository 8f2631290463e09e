"""How the cross-validation's folds are formed: by patient, or by groups of DIZ.

By patient, a fold is a hash of the patient id and spans all DIZ. By DIZ, a fold is a group of at least two of them,
which tells how a clock does where it was not trained. That costs privacy: the hub, which names the groups, reads the
sums of each group and not only those of all DIZ. A DIZ refuses a group of one (`sums.fold_of_site`), but it cannot know
whether all the DIZ of its group exist, or still answer. Whoever approves ``folds-by = "sites"`` approves that; without
it a DIZ refuses such folds altogether.
"""

from collections.abc import Mapping
from typing import Any

from flame_strategies.sums import Content, Exchange, Sums

from methylation_age.errors import InputError
from methylation_age.sums import FEWEST_SITES_IN_FOLD

PATIENTS, SITES = "patients", "sites"


class Remembered:
    """An exchange that asks one message, which has no content, only once and remembers the sums.

    Attributes:
        sites: The fit's sites, as far as the exchange beneath knows them.
    """

    def __init__(self, exchange: Exchange, message_type: str) -> None:
        self._exchange, self._message_type = exchange, message_type
        self._kept: Sums | None = None

    @property
    def sites(self) -> tuple[int, ...]:
        """Node ids of the DIZ that answered, ascending."""
        return tuple(getattr(self._exchange, "sites", ()))

    def __call__(self, message_type: str, content: Content) -> Sums:
        """See `Exchange`."""
        if message_type != self._message_type:
            return self._exchange(message_type, content)
        if self._kept is None:
            self._kept = self._exchange(message_type, content)
        return self._kept


def fold_content(exchange: Remembered, folds: int, by: str) -> tuple[int, Mapping[str, Any]]:
    """How many folds, and what the message says of them.

    Args:
        exchange: Has been asked before, or is asked now.
        folds: Wanted; fewer are formed where there are not two DIZ for each.
        by: `PATIENTS` or `SITES`.

    Raises:
        InputError: There are too few DIZ for two groups.
    """
    if by == PATIENTS:
        return folds, {}
    exchange("query.moments", {})
    sites = sorted(exchange.sites)
    possible = min(folds, len(sites) // FEWEST_SITES_IN_FOLD)
    if possible < 2:
        raise InputError(
            f"{len(sites)} DIZ cannot be put into two groups of at least {FEWEST_SITES_IN_FOLD}; use folds-by = "
            f"{PATIENTS!r}."
        )
    groups = [sites[start::possible] for start in range(possible)]
    return possible, {"sites": [site for group in groups for site in group], "sizes": [len(group) for group in groups]}
