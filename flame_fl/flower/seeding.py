"""Seeds the random states an app may use, so that a simulation gives the same result twice.

`random`, NumPy's legacy state and, if the app uses it, torch. Torch may be imported later, in the middle of a message;
a hook on its import seeds it then, so that a worker that was restarted repeats what the first one did.
"""

import contextlib
import importlib.abc
import importlib.machinery
import random
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any


class _SeedTorchOnImport(importlib.abc.MetaPathFinder):
    """Wraps torch's loader once; otherwise finds nothing."""

    def __init__(self) -> None:
        self.seed = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_seed(module: ModuleType) -> None:
            execute(module)
            _seed_torch(module, self.seed)

        spec.loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec


_HOOK = _SeedTorchOnImport()


def seed_everything(seed: int) -> None:
    """Seed `random`, `numpy.random` and torch (now, or when it is imported). `seed` is in [0, 2^32)."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (apps use the legacy state)
    _HOOK.seed = seed
    if "torch" in sys.modules:
        _seed_torch(sys.modules["torch"], seed)
    elif _HOOK not in sys.meta_path:
        sys.meta_path.insert(0, _HOOK)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed everything for a while; afterwards the states are as if nothing had happened.

    A ServerApp in the same process must draw the same numbers as one whose nodes are other processes.
    """
    import numpy as np

    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    before = sys.modules.get("torch")
    torch_state = None if before is None else before.get_rng_state()
    hook_seed, hooked = _HOOK.seed, _HOOK in sys.meta_path
    seed_everything(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        _HOOK.seed = hook_seed
        if not hooked and _HOOK in sys.meta_path:
            sys.meta_path.remove(_HOOK)
        if before is not None:
            before.set_rng_state(torch_state)
        elif "torch" in sys.modules and hooked:
            _seed_torch(sys.modules["torch"], hook_seed)
        elif "torch" in sys.modules:
            sys.modules["torch"].seed()  # nobody had seeded this process: as fresh as after any import


def _seed_torch(torch: Any, seed: int) -> None:
    torch.manual_seed(seed)
