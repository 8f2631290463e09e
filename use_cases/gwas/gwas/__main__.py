"""`python -m gwas`: prepare data, write a panel, check files, compare a run with the pooled analysis, use a score.

Bad input ends with one sentence and exit code 2; ``--debug`` shows the traceback.
"""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from gwas.errors import InputError
from gwas.panel import BUILDS
from gwas.presets import PRESETS
from gwas.settings import AMBIGUOUS


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"gwas: {error}\n")
        return 2
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from gwas import prepare  # noqa: PLC0415 -- each command imports only what it needs
    from gwas.own import Own  # noqa: PLC0415

    if options.own:
        stamp = prepare.prepare_own(
            options.out,
            Own(
                options.own,
                options.pheno,
                options.covar,
                _names(options.pheno_name),
                _names(options.covar_name),
                options.site_column,
                options.one,
                options.ignore_unmatched,
            ),
        )
    elif options.pheno or options.covar or options.site_column or options.one:
        raise InputError("--pheno, --covar, --site-column and --one belong to --own.")
    else:
        stamp = prepare.prepare_packaged(options.out, options.set, options.nodes, options.seed, uneven=options.uneven)
    for node, facts in stamp["nodes"].items():
        sys.stdout.write(
            f"{node:<8} {facts['samples']:>7} samples {facts['patients']:>7} patients {facts['variants']:>9} variants"
            f"{'' if facts['site'] == node else '   ' + facts['site']}\n"
        )
    facts = dict(stamp["quality"])
    if facts.pop("synthetic", None) is not None:
        sys.stdout.write(f"{PRESETS[options.set].note}\n")
    for what, count in facts.items():
        sys.stdout.write(f"{what.replace('_', ' ')}: {count}\n")


def _panel(options: argparse.Namespace) -> None:
    from gwas import panel_command  # noqa: PLC0415

    if options.show:
        sys.stdout.write(panel_command.show_panel(options.name, 20) + "\n")
        return
    text = panel_command.write_panel(
        options.name,
        options.variants or [],
        options.build,
        options.frequency,
        options.title,
        options.origin,
        counted=options.count,
    )
    sys.stdout.write(text + "\n")


def _check(options: argparse.Namespace) -> None:
    from gwas import desk_check  # noqa: PLC0415

    for line in desk_check.check_files(options.source, options.panel, options.ambiguous):
        sys.stdout.write(line + "\n")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gwas", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--set", choices=sorted(PRESETS), default="synthetic", help="packaged set")
    command.add_argument("--own", type=Path, metavar="GENOTYPES", help="own .bed, .pgen, .vcf, .vcf.gz or .bcf")
    command.add_argument("--pheno", type=Path, help="table FID IID and phenotypes, as PLINK has it")
    command.add_argument("--pheno-name", default="", help="which of its columns, 'bmi,t2d'; else all")
    command.add_argument("--covar", type=Path, help="table FID IID and covariates")
    command.add_argument("--covar-name", default="", help="which of its columns; else all")
    command.add_argument("--one", action="store_true", help="diseases are coded 0 and 1 (PLINK's --1), not 1 and 2")
    command.add_argument("--site-column", default="", help="column of a table that names the site; else one DIZ")
    command.add_argument("--ignore-unmatched", action="store_true", help="pass over rows about samples not genotyped")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ of a packaged set (default 5)")
    command.add_argument("--seed", type=int, default=0, help="of the split, and of made-up values (default 0)")
    command.add_argument(
        "--uneven",
        action="store_true",
        help="of a packaged set: one DIZ with swapped and flipped alleles, one without a chromosome",
    )
    command.set_defaults(run=_prepare)

    command = commands.add_parser("panel", help="write a panel: the variants of a study, for all its DIZ")
    command.add_argument("--name", required=True, help='kebab-case; the run config says panel = "NAME"')
    command.add_argument("--variants", type=Path, nargs="+", help=".bim, .pvar, .vcf, a table, or prepared folders")
    command.add_argument("--build", choices=BUILDS, default="", help="genome build of the positions")
    command.add_argument("--frequency", type=Path, help="frequencies of a reference population (plink2 --freq)")
    command.add_argument("--count", action="store_true", help="count unknown frequencies in the .bed beside each .bim")
    command.add_argument("--title", default="Variants of our study", help="what the variants are")
    command.add_argument("--origin", default="own list", help="where the list comes from")
    command.add_argument("--show", action="store_true", help="print the panel of this name instead")
    command.set_defaults(run=_panel)

    command = commands.add_parser("check", help="say how own files fit a panel; nothing leaves")
    command.add_argument("source", type=Path, help="a .bed, a data store, or a folder that prepare wrote")
    command.add_argument("--panel", required=True, help="name of the panel")
    command.add_argument("--ambiguous", choices=AMBIGUOUS, default="drop", help="what becomes of A/T and C/G variants")
    command.set_defaults(run=_check)

    for module in ("compare", "plot_command", "score_command"):
        if find_spec(f"gwas.{module}"):
            import_module(f"gwas.{module}").register(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
