"""`python -m gene_expression`: prepare data, write a panel, compare a run with the pooled analysis.

Bad input ends with one sentence and exit code 2; ``--debug`` shows the traceback.
"""

import argparse
import sys
from pathlib import Path

from gene_expression.errors import InputError
from gene_expression.presets import PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"gene_expression: {error}\n")
        return 2
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from gene_expression import prepare  # noqa: PLC0415 -- each command imports only what it needs
    from gene_expression.settings import parse_design  # noqa: PLC0415
    from gene_expression.store import parse_levels  # noqa: PLC0415

    if options.own:
        expression, *sheet = options.own
        if len(sheet) > 1:
            raise InputError("--own takes one expression file and at most one sample sheet.")
        stamp = prepare.prepare_own(
            options.out,
            expression,
            sheet[0] if sheet else None,
            site_column=options.site_column,
            layer=options.layer,
            scale=options.scale,
            design=parse_design(options.design),
            levels=parse_levels(options.levels),
        )
    elif options.site_column or options.layer or options.scale or options.design or options.levels:
        raise InputError("--site-column, --layer, --scale, --design and --levels belong to --own.")
    else:
        stamp = prepare.prepare_packaged(options.out, options.set, options.nodes, options.seed)
    for node, facts in stamp["nodes"].items():
        sys.stdout.write(
            f"{node:<8} {facts['samples']:>6} samples {facts['patients']:>6} patients {facts['test']:>5} held out"
            f"{'' if facts['site'] == node else '   ' + facts['site']}\n"
        )
    for what, count in stamp["quality"].items():
        sys.stdout.write(f"{what.replace('_', ' ')}: {count}\n")


def _panel(options: argparse.Namespace) -> None:
    from gene_expression import panel_command  # noqa: PLC0415 -- pandas

    sys.stdout.write(panel_command.write_panel(options.name, options.genes, options.title, options.origin) + "\n")


def _compare(options: argparse.Namespace) -> None:
    from gene_expression import compare  # noqa: PLC0415 -- pandas, statsmodels

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    compare.compare(options.run_folder, options.data, say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gene_expression", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--set", choices=sorted(PRESETS), default="synthetic-rnaseq", help="packaged set")
    command.add_argument(
        "--own", type=Path, nargs="+", metavar=("EXPRESSION", "SAMPLES"), help="own .h5ad, or own matrix and sheet"
    )
    command.add_argument("--site-column", default="", help="column of the sheet that names the site; else one DIZ")
    command.add_argument("--layer", default="", help="of the .h5ad file; else X")
    command.add_argument("--scale", choices=["counts", "log2"], default="", help="what the values are; else found out")
    command.add_argument("--design", default="", help="columns to check, '~ cancer + age'")
    command.add_argument("--levels", default="", help="declared levels, 'cancer=Normal|Cancer'")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ of a packaged set (default 5)")
    command.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("panel", help="write a panel: the genes of a study, for all its DIZ")
    command.add_argument("--name", required=True, help='kebab-case; the run config says panel = "NAME"')
    command.add_argument(
        "--genes", type=Path, required=True, help="a text file with one id a line, a prepared folder, or an .h5ad file"
    )
    command.add_argument("--title", default="Genes of our study", help="what the genes are")
    command.add_argument("--origin", default="own list", help="where the list comes from")
    command.set_defaults(run=_panel)

    command = commands.add_parser("compare", help="compare a simulated run with the analysis of the pooled samples")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.set_defaults(run=_compare)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
