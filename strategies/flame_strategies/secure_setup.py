"""What a hub knows of a set-up of secure aggregation: whose keys there are for the next sum. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flwr.app import ConfigRecord

from flame_fl.secagg.messages import Published
from flame_fl.secagg.parameters import Parameters


@dataclass(frozen=True)
class MaskTerms:
    """What the gates tell of their terms.

    Attributes:
        masked: Message types whose answers are masked; none where secure aggregation is not required.
        dropouts: d, how many nodes may be lost after a set-up.
        colluding: c, how many may collude with the hub.
        min_sites: So many nodes must be in a set-up.
        epoch: Number of the newest set-up of this run.
    """

    masked: frozenset[str] = frozenset()
    dropouts: int = 0
    colluding: int = 0
    min_sites: int = 1
    epoch: int = 0


@dataclass(frozen=True)
class SetUp:
    """One set-up.

    Attributes:
        parties: Each node's identity, by Flower's id; all that advertised.
        published: The keys for the next sum, by identity, of the nodes that are still in it.
        dropouts: d.
        colluding: c.
    """

    parties: Mapping[int, str]
    published: Mapping[str, Published]
    dropouts: int
    colluding: int

    @property
    def holders(self) -> tuple[str, ...]:
        """Everybody that holds shares."""
        return tuple(sorted(self.parties.values()))

    @property
    def parameters(self) -> Parameters:
        """What holds in it."""
        return Parameters(len(self.parties), self.dropouts, self.colluding)

    def after(self, published: Mapping[str, Published]) -> "SetUp":
        """After a sum: with the keys that came in its answers."""
        return replace(self, published=dict(published))


def terms_of(record: ConfigRecord) -> MaskTerms:
    """Read a gate's status answer."""
    masked = record.get("masked")
    if not isinstance(masked, list) or not masked:
        return MaskTerms()
    numbers = {name: record.get(name) for name in ("dropouts", "colluding", "min_sites", "epoch")}
    whole = {name: value for name, value in numbers.items() if isinstance(value, int)}
    return MaskTerms(frozenset(str(kind) for kind in masked), **whole)
