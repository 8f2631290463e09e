"""How many DIZ a sum is over, how many may drop out or collude, and what follows (`contract.secure_terms` says why)."""

from dataclasses import dataclass

from flame_fl.contract.secure_terms import FEWEST_SITES, MOST_SITES, flaw, threshold
from flame_fl.secagg.errors import MaskError

__all__ = ["FEWEST_SITES", "MOST_SITES", "Parameters", "flaw", "threshold"]


@dataclass(frozen=True)
class Parameters:
    """What holds in one set-up.

    Attributes:
        sites: n, how many DIZ take part in it.
        dropouts: d, how many of them may be lost over the set-up's life.
        colluding: c, how many of them may be one with the hub.
    """

    sites: int
    dropouts: int
    colluding: int

    @property
    def threshold(self) -> int:
        """T, so many shares open a secret."""
        return threshold(self.sites, self.colluding)

    @property
    def fewest(self) -> int:
        """So many DIZ must be in every sum."""
        return self.sites - self.dropouts

    @property
    def honest(self) -> int:
        """So many of them are honest, at least: these share the noise."""
        return self.sites - self.dropouts - self.colluding

    def check(self) -> None:
        """Raise a `MaskError` that says which rule does not hold, and what would."""
        why = flaw(self.sites, self.dropouts, self.colluding)
        if why:
            raise MaskError(why)
