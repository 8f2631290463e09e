"""`python -m multimodal_imaging`: prepare data, check own data, write a panel, compare a run with the pooled model.

Bad input ends with one sentence and exit code 2; ``--debug`` shows the traceback.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimodal_imaging.errors import InputError, many
from multimodal_imaging.presets import PRESETS

if TYPE_CHECKING:
    from multimodal_imaging.own import OwnFiles


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"multimodal_imaging: {error}\n")
        return 2
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from multimodal_imaging import prepare  # noqa: PLC0415 -- each command imports only what it needs

    if options.own:
        found = prepare.prepare_own(
            options.out,
            _own_files(options),
            site_column=options.site_column,
            leave_out=options.leave_out,
            seed=options.seed,
        )
        for site, report in found["quality"].items():
            _say_report(site, report)
    else:
        if options.table or options.images or options.diagnoses or options.laboratory or options.site_column:
            raise InputError("--table, --images, --diagnoses, --laboratory and --site-column belong to --own.")
        found = prepare.prepare_packaged(
            options.out,
            options.set,
            options.nodes,
            options.seed,
            complete=options.complete,
            missing=options.missing,
            voxel=options.voxel,
            scale=options.scale,
        )
    for node, facts in found["nodes"].items():
        has = [*facts["features"], *([many(facts["images"], "image")] if facts["images"] else [])]
        site = "" if facts["site"] == node else f"   {facts['site']}"
        sys.stdout.write(
            f"{node:<8} {facts['patients']:>6} patients {facts['test']:>5} held out   {', '.join(has)}{site}\n"
        )
    if not options.own:
        sys.stdout.write(f"{PRESETS[options.set].note}\n")


def _check(options: argparse.Namespace) -> None:
    from multimodal_imaging import prepare  # noqa: PLC0415 -- pandas

    _, reports = prepare.check_own(
        _own_files(options), site_column=options.site_column, leave_out=True, seed=options.seed
    )
    for site, report in reports.items():
        _say_report(site, report)
    if any(report.get("problems") for report in reports.values()):
        raise InputError("Some images cannot be used; see above.")


def _panel(options: argparse.Namespace) -> None:
    from multimodal_imaging import panel_command  # noqa: PLC0415 -- pandas

    sys.stdout.write(panel_command.write_panel(options.name, options.data, options.weights, options.title) + "\n")


def _compare(options: argparse.Namespace) -> None:
    from multimodal_imaging import compare  # noqa: PLC0415 -- pandas, scikit-learn

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    compare.compare(options.run_folder, options.data, say)


def _own_files(options: argparse.Namespace) -> "OwnFiles":
    from multimodal_imaging.own import OwnFiles  # noqa: PLC0415 -- pandas
    from multimodal_imaging.settings import parse_names  # noqa: PLC0415

    tables: dict[str, Path] = {}
    for stated in options.table:
        name, _, file = stated.partition("=")
        if not name or not file:
            raise InputError(f"--table {stated}: put the modality's name before the file, as in --table genome=FILE.")
        if name in tables:
            raise InputError(f"--table names {name!r} twice; give each modality one table.")
        tables[name] = Path(file)
    return OwnFiles(
        options.own,
        tables,
        options.diagnoses,
        options.laboratory,
        parse_names(options.codes),
        options.images,
        parse_names(options.pictures),
    )


def _say_report(site: str, report: dict[str, Any]) -> None:
    from multimodal_imaging import quality  # noqa: PLC0415 -- pandas

    for line in quality.lines(report):
        sys.stdout.write(f"{site}: {line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m multimodal_imaging", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--set", choices=sorted(PRESETS), default="brain", help="packaged set")
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ of the set brain (default 5)")
    command.add_argument("--complete", action="store_true", help="brain: every DIZ has images and genomes")
    command.add_argument("--voxel", type=float, default=4.0, help="brain: mm of the volumes (default 4)")
    command.add_argument("--scale", type=float, default=1.0, help="brain: factor on the number of patients")
    command.add_argument("--missing", action="store_true", help="brca: four of six regions lack a block")
    command.add_argument("--leave-out", action="store_true", help="own images that cannot be used are left out")
    _own_options(command, required=False)
    command.set_defaults(run=_prepare)

    command = commands.add_parser("check", help="say what is wrong with own files, and write nothing")
    _own_options(command, required=True)
    command.set_defaults(run=_check)

    command = commands.add_parser("panel", help="write a panel: the features of a study's tables, for all its DIZ")
    command.add_argument("--name", required=True, help='kebab-case; the run config says panel = "NAME"')
    command.add_argument("--data", type=Path, required=True, help="a folder that prepare wrote")
    command.add_argument("--weights", type=Path, help="table of a score: columns feature and weight")
    command.add_argument("--title", default="Features of our study", help="what they are")
    command.set_defaults(run=_panel)

    command = commands.add_parser("compare", help="compare a simulated run with the model of the pooled patients")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.set_defaults(run=_compare)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _own_options(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--own", type=Path, required=required, metavar="PATIENTS", help="own patients' table")
    command.add_argument("--table", action="append", default=[], metavar="NAME=FILE", help="a table of features")
    command.add_argument("--diagnoses", type=Path, help="long table as the FHIR view diagnose")
    command.add_argument("--laboratory", type=Path, help="long table as the FHIR view laborbefund")
    command.add_argument("--codes", default="", help="ICD and LOINC codes that become columns, 'I10, 718-7'")
    command.add_argument("--images", type=Path, metavar="MANIFEST", help="table with patient_id, path and modality")
    command.add_argument("--pictures", default="", help="modalities that are single pictures and not volumes")
    command.add_argument("--site-column", default="", help="column that names the site; else one DIZ")
    command.add_argument("--seed", type=int, default=0, help="of who tests, and of a made-up cohort (default 0)")


if __name__ == "__main__":
    sys.exit(main())
