"""What a DIZ computed from a message and may need again: messages bring all that is needed, most of it each time anew.

A result is kept by the digest of what it was computed from. A session that was restarted, or a run that is taken up
again, computes it once more and finds the same.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from gwas.site import Site

T = TypeVar("T")

ENTRIES = 4
"""So many results per DIZ; the oldest makes room."""

_KEPT: WeakKeyDictionary[Site, OrderedDict[str, Any]] = WeakKeyDictionary()
_LASTING: WeakKeyDictionary[Site, OrderedDict[str, Any]] = WeakKeyDictionary()


def digest(*words: object, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> str:
    """Of words (by their `repr`) and arrays (by name, kind, shape and bytes)."""
    found = hashlib.sha256(repr(words).encode())
    for name, array in sorted((arrays or {}).items()):
        found.update(repr((name, array.dtype.str, array.shape)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def remember(site: Site, key: str, make: Callable[[], T], *, lasting: bool = False) -> T:
    """What `make` gives, from memory where it was made for this DIZ and key before.

    Args:
        site: It is forgotten with the DIZ's data.
        key: See `digest`; name what it is for in its words.
        make: Computes it; the result must not be changed afterwards.
        lasting: Whether it depends on no message, and is kept as long as the DIZ's data.
    """
    kept = (_LASTING if lasting else _KEPT).setdefault(site, OrderedDict())
    if key not in kept:
        kept[key] = make()
        while len(kept) > ENTRIES and not lasting:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]  # type: ignore[no-any-return]
