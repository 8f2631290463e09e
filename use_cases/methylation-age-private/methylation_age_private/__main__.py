"""`python -m methylation_age_private`: what a researcher does before and after a run."""

import argparse
import sys
from pathlib import Path

from methylation_age_private import prepare, terms
from methylation_age_private.errors import InputError

APP = Path(__file__).resolve().parents[1]


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
    table = prepare.packaged() if options.own is None else prepare.own(options.own)
    stamp = prepare.write(table, options.out, options.nodes, options.seed)
    _say(f"{sum(stamp['patients'].values())} patients at {options.nodes} DIZ, {stamp['held_out']} held out")


def _terms(options: argparse.Namespace) -> None:
    terms.write(APP, options.epsilon, options.out)
    _say(f"{options.out}: the app with terms for epsilon {options.epsilon:g}")


def _compare(options: argparse.Namespace) -> None:
    from methylation_age_private.compare import OUTSIDE, compare  # noqa: PLC0415 -- matplotlib

    found = compare(options.run_folder, options.data)
    _say(f"Mean absolute error {found['mae']:.2f} years; guessing {found['guess']:.1f} ({OUTSIDE}).")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m methylation_age_private", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--own", type=Path, metavar="TABLE", help="own table instead of the packaged set")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ (default 5)")
    command.add_argument("--seed", type=int, default=1, help="of the split (default 1)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("terms", help="write a copy of the app with the terms for another epsilon")
    command.add_argument("--epsilon", type=float, required=True, help="0.5, 1, 2, 4 or 8")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.set_defaults(run=_terms)

    command = commands.add_parser("compare", help="score a simulated run's clock on held-out patients")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.set_defaults(run=_compare)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
