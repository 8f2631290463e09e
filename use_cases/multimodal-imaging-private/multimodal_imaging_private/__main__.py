"""`python -m multimodal_imaging_private`: what a researcher does before and after a run."""

import argparse
import sys
from pathlib import Path

from multimodal_imaging_private import prepare, terms
from multimodal_imaging_private.errors import InputError

APP = Path(__file__).resolve().parents[1]
PATIENTS = 800
"""At each DIZ, in the terms as shipped."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit code 2 and one sentence where the input is bad."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _prepare(options: argparse.Namespace) -> None:
    if options.nodes < 1 or options.patients < 1:
        raise InputError("There is nobody to deal out; give --nodes and --patients of at least 1.")
    if options.own is None:
        table, volumes = prepare.packaged(options.patients, options.nodes, options.seed)
    else:
        table, volumes = prepare.own(options.own, options.nodes, options.seed)
    made_up = options.own is None
    stamp = prepare.write(table, volumes, options.out, nodes=options.nodes, seed=options.seed, made_up=made_up)
    kind = "synthetic patients" if made_up else "patients"
    _say(f"{sum(stamp['patients'].values())} {kind} at {options.nodes} DIZ, {stamp['held_out']} held out")


def _terms(options: argparse.Namespace) -> None:
    terms.write(APP, options.epsilon, options.patients, options.out)
    _say(f"{options.out}: terms for epsilon {options.epsilon:g}, about {options.patients} patients at each DIZ")


def _compare(options: argparse.Namespace) -> None:
    from multimodal_imaging_private.compare import OUTSIDE, compare  # noqa: PLC0415 -- matplotlib

    found = compare(options.run_folder, options.data)
    _say(", ".join(f"{name} {value:.4g}" for name, value in found.items()) + f" ({OUTSIDE})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m multimodal_imaging_private", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument(
        "--own", type=Path, metavar="CSV", help="patient_id, age, path of a NIfTI file; else synthetic"
    )
    command.add_argument("--patients", type=int, default=5000, help="synthetic patients (default 5000)")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ (default 5)")
    command.add_argument("--seed", type=int, default=1, help="of patients and split (default 1)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("terms", help="write a copy of the app with other terms")
    command.add_argument("--epsilon", type=float, required=True, help="1, 2, 4 or 8")
    command.add_argument("--patients", type=int, default=PATIENTS, help="public guess for one DIZ (default 800)")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.set_defaults(run=_terms)

    command = commands.add_parser("compare", help="put a simulated run beside the pooled rows")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.set_defaults(run=_compare)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
