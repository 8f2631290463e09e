"""`plot`: draw a run's figures anew, from its tests on disk; no DIZ is asked."""

import argparse
import sys
from pathlib import Path
from typing import Any

from gwas import output
from gwas.errors import InputError
from gwas.panel import load_panel
from gwas.presets import made_up
from gwas.report import read_result
from gwas.results import Associations
from gwas.settings import Settings


def register(commands: Any) -> None:
    """Add the command to `python -m gwas`."""
    command = commands.add_parser("plot", help="draw the Manhattan and QQ plot of a run anew")
    command.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    command.add_argument("--out", type=Path, help="folder to draw into (default: the run's)")
    command.set_defaults(run=_main)


def plot(run: Path, out: Path | None = None) -> list[Path]:
    """Draw the figures, and return their paths.

    Raises:
        InputError: `run` is not the folder of a finished run, or has no tests.
    """
    try:
        settings = Settings.from_json(read_result(run)["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run} holds no result of this app; give the folder of a finished run.") from None
    folder = out or run
    folder.mkdir(parents=True, exist_ok=True)
    mark = made_up(settings.set, settings.phenotype)
    entries = output.figures(folder, Associations(run / "associations"), load_panel(settings.panel), mark)
    if not entries:
        raise InputError(f"{run} has no tested variants; there is nothing to draw.")
    return [folder / entry["file"] for entry in entries]


def _main(options: argparse.Namespace) -> None:
    for path in plot(options.run_folder, options.out):
        sys.stdout.write(f"{path}\n")
