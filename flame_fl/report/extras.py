"""The report's optional libraries, imported here and nowhere else, and only when they are used.

A hospital's node installs flame_fl without them; importing ``flame_fl.report`` must therefore not need them.
"""

import importlib
from types import ModuleType

from flame_fl.contract.errors import FlameError

LIBRARIES = ("jinja2", "matplotlib")


def load(module: str) -> ModuleType:
    """Import ``module``: a part of one of `LIBRARIES`, or markupsafe, which comes with jinja2.

    Raises:
        FlameError: the library is not installed; the mend is the pip command.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != library:  # the library is there but broken: not ours to explain away
            raise
        raise FlameError(
            f"The report needs {library}, which is not installed.", mend="Run: pip install 'flame-fl[report]'"
        ) from missing


def require_extras() -> None:
    """Check before a long run that its report can be written at the end.

    Raises:
        FlameError: a library of the extra ``report`` is not installed.
    """
    for library in LIBRARIES:
        load(library)
