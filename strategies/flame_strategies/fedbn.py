"""FedBN (Li et al., ICLR 2021, arXiv:2102.07623): everything is averaged but what each site keeps for itself.

What it keeps are the normalisation layers. With w the shared arrays, b_i the local ones of site i and shares p_i, each
round is::

    (y_i, b_i) = site i's training from (w, b_i)
    w          = sum p_i y_i

It is for sites whose measurements differ in scale or offset (scanners, stainings, laboratories): a normalisation that
is the mean over sites fits none of them.

The local arrays are told by patterns of their names. They are in no message, no reply and no release contract: the
server's part is to send none, and to use no reply that holds one. `split_local` cuts a model in two for that. The site
keeps its part in Context.state, which lives as long as the run's session. Both formulas are linear in what the sites
send, so masks and the gates' noise leave them as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from flame_strategies.averaging import Arrays
from flame_strategies.fedavg import FlameFedAvg

Value = TypeVar("Value")


def is_local(name: str, patterns: Sequence[str]) -> bool:
    """Whether an array stays at its site: one of the patterns fits all of its name (*, ? and [...] as in a shell)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def split_local(model: Mapping[str, Value], patterns: Sequence[str]) -> tuple[dict[str, Value], dict[str, Value]]:
    """A whole model by array name in two parts: what is shared, and what stays.

    Args:
        model: Arrays, tensors or anything else, by name.
        patterns: Of the names of those that stay.

    Raises:
        ValueError: A pattern fits no array, so that what it was meant for would leave; or nothing is left to share.
    """
    if idle := [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in model)]:
        raise ValueError(f"No array of the model has a name like {', '.join(idle)}.")
    local = {name: value for name, value in model.items() if is_local(name, patterns)}
    if len(local) == len(model):
        raise ValueError("All arrays of the model would stay at their site; nothing is left to share.")
    return {name: value for name, value in model.items() if name not in local}, local


class FlameFedBN(FlameFedAvg):
    """Federated averaging of what is shared."""

    def __init__(self, *, local: Sequence[str], **terms: Any) -> None:
        """Set the patterns of the local arrays' names, such as ``*.bn?.*``, and the terms of `FlameFedAvg`."""
        if isinstance(local, str) or not local or not all(local):
            raise ValueError("local is a list of patterns of names, and at least one.")
        super().__init__(**terms)
        self.local = tuple(local)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `FlameFedAvg.configure_train`.

        Raises:
            ValueError: The model holds arrays that are to stay at the sites.
        """
        if kept := [name for name in arrays if is_local(name, self.local)]:
            raise ValueError(f"Start from the shared part of the model (split_local), without {', '.join(kept)}.")
        return super().configure_train(server_round, arrays, config, grid)

    def _flaw(self, content: RecordDict, before: list[RecordDict], model: Arrays | None) -> str | None:
        names = [name for record in content.array_records.values() for name in record]
        if kept := sorted(name for name in names if is_local(name, self.local)):
            return f"it holds arrays that are to stay at the site: {', '.join(kept)}"
        return super()._flaw(content, before, model)
