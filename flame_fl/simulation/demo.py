"""The researcher's own tools round a simulation: making data before it, comparing after it.

An app names a module in `[tool.flame.simulation]`; `python -m MODULE prepare` makes the virtual DIZ's data, and
`python -m MODULE compare` runs after the federation. Both are programs of their own, started here: the core imports no
app, and what they see is the researcher's own data on the researcher's own machine, outside every gate.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from flame_fl.contract.errors import FlameError
from flame_fl.contract.terms import Variant
from flame_fl.simulation.derive import PrivacyWish
from flame_fl.simulation.run import Settings


def run_app_tool(module: str, arguments: list[str], app_dir: Path) -> None:
    """Run `python -m module arguments`, with the app's folder on the path; it talks to the terminal itself.

    Raises:
        FlameError: It ended with an error; its own words stand above.
    """
    path = os.pathsep.join(p for p in (str(app_dir.resolve()), os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(  # noqa: S603  (the researcher's own module, by this interpreter)
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode in {-signal.SIGINT, 130}:
        raise KeyboardInterrupt
    if done.returncode != 0:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        raise FlameError(
            f"`python -m {module} {arguments[0]}` ended with {how}.", mend="Its own message, if any, stands above."
        )


def variant_settings(settings: Settings, variant: Variant, run: Path) -> Settings:
    """The settings of a derived analysis that a demonstration runs beside the stated one, in its run's folder."""
    return replace(
        settings,
        wish=PrivacyWish(variant.privacy, variant.epsilon, messages=variant.messages, blocks=variant.blocks),
        overrides=dict(variant.run_config),
        out=run / "variants" / variant.name,
    )
