"""What can stop a federated computation on the server's side.

::

    StrategyError
    ├── NotEnoughNodes   fewer nodes than the analysis demands agreed, or contributed
    ├── SiteLost         a node that took part in an exact computation no longer does
    ├── UnusableReply    a node's reply does not have the agreed names, shapes or finite values
    ├── MessageTooLarge  a message that no node would read
    └── CheckpointError  a checkpoint that cannot be written, or does not fit the fit that it should continue

Each message is one sentence or table that names nodes, codes and mends; none carries a value from a node's
data.
"""


class StrategyError(RuntimeError):
    """Base of all errors here; a wrong argument is a `ValueError` instead."""


class NotEnoughNodes(StrategyError):  # noqa: N818 -- reads as what happened: `raise NotEnoughNodes`
    """Fewer nodes than required approved the analysis, or contributed to a round."""


class SiteLost(StrategyError):  # noqa: N818 -- reads as what happened
    """A node contributed earlier to a computation that is exact only if every node stays.

    Attributes:
        node_ids: The nodes that were lost, ascending.
    """

    def __init__(self, message: str, node_ids: tuple[int, ...]) -> None:
        super().__init__(message)
        self.node_ids = node_ids


class UnusableReply(StrategyError):  # noqa: N818 -- reads as what happened
    """A node's reply lacks an agreed array, or has one of another shape or type, or not finite."""


class NothingToAverage(UnusableReply):
    """A mean over the nodes has no weight: none of them has an example."""


class MessageTooLarge(StrategyError):  # noqa: N818 -- reads as what happened
    """A message is larger than nodes or hubs take, or its answer larger than the gates let out."""


class CheckpointError(StrategyError):
    """A checkpoint cannot be written, or is damaged, or belongs to another fit."""
