"""flame_fl: the gate a hospital owns around Flower federated learning."""

__version__ = "0.1.0"
