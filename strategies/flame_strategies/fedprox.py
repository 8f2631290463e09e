"""FedProx (Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, arXiv:1812.06127).

Each node minimises its own loss plus mu/2 |w - w_t|^2, w_t being the model it was sent, so that sites with
different patients do not pull the model apart. The server's part is to say mu, in the training configuration
as ``proximal-mu``; adding the term to the loss is the ClientApp's.
"""

from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from flame_strategies.fedavg import FlameFedAvg


class FlameFedProx(FlameFedAvg):
    """Federated averaging that tells the nodes the weight of the proximal term."""

    def __init__(self, *, proximal_mu: float, **terms: Any) -> None:
        """Set mu (at least 0; 0 is FedAvg) and the terms of `FlameFedAvg`."""
        if not proximal_mu >= 0:
            raise ValueError(f"proximal_mu is {proximal_mu}; it must be at least 0.")
        super().__init__(**terms)
        self.proximal_mu = float(proximal_mu)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As `FlameFedAvg.configure_train`, with ``proximal-mu`` in the configuration."""
        own = ConfigRecord({**config, "proximal-mu": self.proximal_mu})
        return super().configure_train(server_round, arrays, own, grid)
