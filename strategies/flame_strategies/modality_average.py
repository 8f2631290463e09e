"""Averaging part by part, where not every site has every part: an encoder each for images, genomes and clinical values.

A model falls into parts, such as one encoder for each modality, and what all sites share. Site i trains the parts that
it has data for. With n_i its examples, w_ip of them with modality p (0 where it has none) and d_ip its change of part
p, each part is to be averaged over the sites that have it, and over them alone::

    x_p = x_p + sum_i w_ip d_ip / sum_i w_ip

A mean over all sites would shrink the change of an encoder by the share of patients at sites without it. So would
zeros in a plain FedAvg (McMahan et al., AISTATS 2017), of which this is the form for what is missing in whole.

*In messages.* Site i sends, as its new part, x_p + s_ip d_ip with s_ip = w_ip / n_i, and beside the model the array
``shares`` with all its s_ip. Averaged by examples, as `fedavg` does it, the parts' change is sum_i w_ip d_ip / N and
the shares' mean is sum_i w_ip / N; their ratio is the change above. Both are linear in what the sites send: masks leave
them as they are, to the rounding of their fixed point. The gates' noise is divided by the mean share with the rest, so
a part that few have is noisier by that.

*Who has a part.* Each site says 0 or 1 in the metric ``sites-PART``, a sum: the rounds' `holders` are known under masks
too. A round in which a part is there at fewer than `min_holders` sites, and not at none, ends the fit: the sum of so
few is nearly one site's. This is a rule for an honest hub, which alone can see it before it goes on. Against another
one, the terms name who supplies a part (``support`` of [tool.flame.secure_aggregation]): then the gates themselves do
not open a sum with too few of those, and add zeros where a site is not among them.

Proximal terms (FedProx) are added at the sites; normalisation layers that stay at the sites (FedBN) are in no message.
The two classes below put both together with parts.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from flame_strategies.averaging import Arrays
from flame_strategies.errors import NotEnoughNodes
from flame_strategies.fedavg import FlameFedAvg
from flame_strategies.fedbn import FlameFedBN
from flame_strategies.fedprox import FlameFedProx

SHARES = "shares"
"""The array beside the model: in messages 0, in replies the shares of the parts, in their order."""

HOLDERS = "sites-"
"""Begins the name of the metric that says whether a site has a part."""

FEWEST_HOLDERS = 3
"""As with all sums: of fewer sites, who knows its own part knows the other's."""


def with_shares(model: ArrayRecord, parts: Sequence[str]) -> ArrayRecord:
    """A model as it is sent: with ``shares`` of 0 beside it."""
    dtype = next(iter(model.values())).numpy().dtype
    return ArrayRecord({**model, SHARES: Array(np.zeros(len(parts), dtype=dtype))})


def without_shares(model: ArrayRecord) -> ArrayRecord:
    """The model alone."""
    return ArrayRecord({name: array for name, array in model.items() if name != SHARES})


def average_parts(model: Arrays, mean: Arrays, parts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The new model from the mean over all sites of what they sent.

    Args:
        model: As it was sent, arrays by name, ``shares`` among them.
        mean: The mean of the replies by examples, likewise, in float64.
        parts: By part, patterns of its arrays' names; what none fits belongs to every site.

    Returns:
        float64 by name. A part that no site has is as it was; ``shares`` is 0 again.
    """
    shares = dict(zip(parts, np.asarray(mean[SHARES], dtype=np.float64), strict=True))
    moved: dict[str, Any] = {}
    for name, sent in model.items():
        x, y = sent.astype(np.float64), np.asarray(mean[name], dtype=np.float64)
        part = part_of(name, parts)
        if name == SHARES:
            moved[name] = np.zeros_like(x)
        elif part is None:
            moved[name] = y
        else:
            moved[name] = x + (y - x) / shares[part] if shares[part] > 0 else x
    return moved


def part_of(name: str, parts: Mapping[str, Sequence[str]]) -> str | None:
    """The part that an array belongs to; None for what every site has."""
    return next((part for part, of in parts.items() if any(fnmatchcase(name, pattern) for pattern in of)), None)


class FlameModalityAverage(FlameFedAvg):
    """Federated averaging, part by part.

    Attributes:
        parts: By part, patterns of its arrays' names, in the order of ``shares``.
        holders: By round and part, how many sites had it.
    """

    def __init__(self, *, parts: Mapping[str, Sequence[str]], min_holders: int = FEWEST_HOLDERS, **terms: Any) -> None:
        """Set the parts, the fewest sites for each, and the terms of `FlameFedAvg`.

        Args:
            parts: By part, patterns of names (*, ? and [...] as in a shell).
            min_holders: A part is at none or at so many sites.
            terms: See `FlameFedAvg`.
        """
        if not parts or any(isinstance(patterns, str) or not patterns for patterns in parts.values()):
            raise ValueError("parts is a list of patterns of names for each part, and at least one part.")
        if min_holders < 1:
            raise ValueError(f"min_holders is {min_holders}; it must be at least 1.")
        super().__init__(**terms)
        self.parts = {part: tuple(patterns) for part, patterns in parts.items()}
        self.min_holders = min_holders
        self.holders: dict[int, dict[str, int]] = {}
        self._counted: dict[str, int] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `FlameFedAvg.configure_train`.

        Raises:
            ValueError: The model is without ``shares``, or a part without arrays.
        """
        if SHARES not in arrays or arrays[SHARES].numpy().shape != (len(self.parts),):
            raise ValueError("Start from with_shares(model, parts): the sites send what they have beside the model.")
        used = {part_of(name, self.parts) for name in arrays}
        if idle := [part for part in self.parts if part not in used]:
            raise ValueError(f"No array of the model belongs to {', '.join(idle)}.")
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """As `FlameFedAvg.aggregate_train`; the metrics ``sites-PART`` are how many sites had the part.

        Raises:
            NotEnoughNodes: As there, or a part was there at fewer than `min_holders` sites, but not at none.
        """
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.holders[server_round] = dict(self._counted)
        kept = {name: value for name, value in metrics.items() if not name.startswith(HOLDERS)}
        return arrays, MetricRecord({**kept, **{HOLDERS + part: count for part, count in self._counted.items()}})

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """See `average_parts`; what no site had stays, whatever a fixed point rounds 0 to."""
        absent = [part for part, count in self._counted.items() if count == 0]
        moved = average_parts(model, mean, self.parts)
        for name, sent in model.items():
            if part_of(name, self.parts) in absent:
                moved[name] = sent.astype(np.float64)
        return moved

    def save_facts(self) -> dict[str, Any]:
        """As `FlameFedAvg.save_facts`, with the holders."""
        return {**super().save_facts(), "holders": {str(number): had for number, had in self.holders.items()}}

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Take back what `save_facts` gave."""
        super().load_facts(facts)
        self.holders = {int(number): dict(had) for number, had in facts["holders"].items()}

    def _weights(self, contents: list[RecordDict]) -> list[float]:
        self._counted = {part: _count(contents, HOLDERS + part) for part in self.parts}
        self._require_holders()
        return super()._weights(contents)

    def _require_holders(self) -> None:
        few = {part: count for part, count in self._counted.items() if 0 < count < self.min_holders}
        if few:
            told = ", ".join(f"{part} at {count}" for part, count in few.items())
            raise NotEnoughNodes(
                f"A part of the model must be at {self.min_holders} sites or at none, else its sum is nearly one "
                f"site's: {told}. Leave these modalities out, or wait for more sites that have them."
            )

    def _flaw(self, content: RecordDict, before: list[RecordDict], model: Arrays | None) -> str | None:
        names = {name for record in content.metric_records.values() for name in record}
        lacking = [HOLDERS + part for part in self.parts if HOLDERS + part not in names]
        if model is not None and names and lacking:
            return f"it does not say whether it has the part: {', '.join(lacking)}"
        return super()._flaw(content, before, model)


class FlameModalityProx(FlameModalityAverage, FlameFedProx):
    """Part by part, and telling the nodes the weight of the proximal term: ``proximal_mu``, beside the above."""


class FlameModalityBN(FlameModalityAverage, FlameFedBN):
    """Part by part, without the arrays that stay at their site: ``local``, patterns of names, beside the above."""


def _count(contents: Sequence[RecordDict], name: str) -> int:
    """The sum of a metric over the replies; under masks the first holds all of it, in a fixed point."""
    values = (record[name] for content in contents for record in content.metric_records.values() if name in record)
    return round(sum(float(value) for value in values if isinstance(value, int | float)))
