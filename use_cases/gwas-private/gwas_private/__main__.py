"""`python -m gwas_private`: what a researcher does before and after a run."""

import argparse
import sys
from pathlib import Path

from gwas_private import prepare, terms
from gwas_private.errors import InputError
from gwas_private.variants import Study, own_study, parse_trait, read_variants

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


def _study(options: argparse.Namespace) -> Study:
    study = own_study()
    trait = study.trait if options.trait is None else parse_trait(options.trait)
    return Study(trait, study.variants if options.variants is None else read_variants(options.variants))


def _prepare(options: argparse.Namespace) -> None:
    study, truth = _study(options), None
    if options.nodes < 1 or options.patients < 1:
        raise InputError("There is nobody to deal out; give --nodes and --patients of at least 1.")
    if options.own is None:
        table, truth = prepare.synthetic(study, options.patients, options.nodes, options.seed)
    else:
        table = prepare.own(options.own, study, options.nodes, options.seed)
    stamp = prepare.write(table, options.out, options.nodes, truth)
    kind = "synthetic patients" if stamp["synthetic"] else "patients"
    _say(f"{sum(stamp['patients'].values())} {kind} at {options.nodes} DIZ")


def _terms(options: argparse.Namespace) -> None:
    study = _study(options)
    terms.write(APP, options.epsilon, study, options.out)
    _say(f"{options.out}: {len(study.variants)} variants, with terms for epsilon {options.epsilon:g}")


def _compare(options: argparse.Namespace) -> None:
    from gwas_private.compare import OUTSIDE, compare  # noqa: PLC0415 -- matplotlib

    found = compare(options.run_folder, options.data)
    _say(", ".join(f"{name} {value:.4g}" for name, value in found.items()) + f" ({OUTSIDE})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gwas_private", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--own", type=Path, metavar="TABLE", help="own table instead of synthetic patients")
    command.add_argument("--variants", type=Path, metavar="CSV", help="other variants than the app's")
    command.add_argument("--trait", metavar="NAME:LOW:HIGH:CENTRE:SCALE", help="another trait than the app's")
    command.add_argument("--patients", type=int, default=6000, help="synthetic patients (default 6000)")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ (default 5)")
    command.add_argument("--seed", type=int, default=1, help="of patients (default 1)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("terms", help="write a copy of the app with other terms")
    command.add_argument("--epsilon", type=float, required=True, help="0.5, 1, 2, 4 or 8")
    command.add_argument("--variants", type=Path, metavar="CSV", help="other variants than the app's")
    command.add_argument("--trait", metavar="NAME:LOW:HIGH:CENTRE:SCALE", help="another trait than the app's")
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
