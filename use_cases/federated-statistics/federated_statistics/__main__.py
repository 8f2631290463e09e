"""`python -m federated_statistics`: prepare data, compare a run with the pooled analysis.

Bad input ends with one sentence and exit code 2; ``--debug`` shows the traceback.
"""

import argparse
import sys
from pathlib import Path

from federated_statistics.errors import InputError
from federated_statistics.presets import PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"federated_statistics: {error}\n")
        return 2
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from federated_statistics import prepare  # noqa: PLC0415 -- each command imports only what it needs

    if options.own and options.site_column:
        stamp = prepare.prepare_own(options.out, options.own, options.site_column)
    elif options.own or options.site_column:
        raise InputError("--own and --site-column go together: a table, and its column that names the site.")
    else:
        stamp = prepare.prepare_packaged(options.out, options.set, options.nodes, options.seed)
    for node, facts in stamp["nodes"].items():
        sys.stdout.write(f"{node:<8} {facts['rows']:>6} rows {facts['patients']:>6} patients\n")


def _compare(options: argparse.Namespace) -> None:
    from federated_statistics import compare  # noqa: PLC0415 -- pandas, scikit-learn, statsmodels

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    compare.compare(options.run_folder, options.data, say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m federated_statistics", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--set", choices=sorted(PRESETS), default="breast-cancer", help="packaged set")
    command.add_argument("--own", type=Path, metavar="TABLE", help="an own CSV or Parquet table instead")
    command.add_argument("--site-column", help="column of TABLE that names the site")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ (default 5)")
    command.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("compare", help="compare a simulated run with the analysis of the pooled rows")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.set_defaults(run=_compare)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
