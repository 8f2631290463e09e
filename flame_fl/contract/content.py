"""What a message holds, in neutral values: named records of arrays, metrics and configuration.

The gate decides over these, never over Flower's objects: the same code judges a simulated and a real message. A
`Content` is not yet trusted by being one; it is only well-formed (known dtypes, plain scalars).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Metric = int | float | list[int] | list[float]
ConfigValue = int | float | str | bool | bytes | list[int] | list[float] | list[str] | list[bool] | list[bytes]

# Fixed-size numbers only. Object, string, datetime and structured dtypes can hide anything.
DTYPES = frozenset(
    {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"}
)
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Content:
    """Records by name. Mappings are to be treated as read-only."""

    arrays: Mapping[str, Mapping[str, Array]] = field(default_factory=lambda: EMPTY)
    metrics: Mapping[str, Mapping[str, Metric]] = field(default_factory=lambda: EMPTY)
    configs: Mapping[str, Mapping[str, ConfigValue]] = field(default_factory=lambda: EMPTY)

    def array_items(self) -> list[tuple[str, str, Array]]:
        """(record, name, array) in a fixed order: sorted by record, then as the record lists them."""
        return [(r, n, a) for r in sorted(self.arrays) for n, a in self.arrays[r].items()]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for _, _, a in self.array_items())
