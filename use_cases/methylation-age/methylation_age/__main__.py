"""`python -m methylation_age`: prepare data, compare a run with pooled training, apply a clock.

Bad input ends with one sentence and exit code 2; ``--debug`` shows the traceback.
"""

import argparse
import sys
from pathlib import Path

from methylation_age.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"methylation_age: {error}\n")
        return 2
    return 0


def _prepare(options: argparse.Namespace) -> None:
    from methylation_age import prepare  # noqa: PLC0415 -- each command imports only what it needs

    if (options.own is not None) + bool(options.pair) + bool(options.shift) > 1:
        raise InputError("--own, --pair and --shift exclude each other; give one of them.")
    if options.own:
        betas, samples = options.own
        stamp = prepare.prepare_own(
            options.out,
            betas,
            samples,
            site_column=options.site_column,
            nodes=options.nodes,
            seed=options.seed,
        )
    elif options.site_column:
        raise InputError("--site-column belongs to --own; the packaged sets name no site.")
    elif options.pair:
        stamp = prepare.prepare_pair(options.out, options.pair, options.nodes, options.seed)
    elif options.shift:
        stamp = prepare.prepare_shifted(
            options.out,
            options.set,
            options.nodes,
            options.seed,
            kind=options.shift,
            shift_seed=options.shift_seed,
        )
    else:
        stamp = prepare.prepare_packaged(options.out, options.set, options.nodes, options.seed)
    for node, facts in stamp["nodes"].items():
        target = f" {facts['target']:>5} target" if facts.get("target") else ""
        counts = f"{facts['train']:>5} train {facts['test']:>5} test{target}"
        sys.stdout.write(f"{node:<8} {counts}   median age {facts['median_age']:>5}\n")
    if "shift" in stamp["source"]:
        sys.stdout.write("The target is semi-real: its samples are real, its shift is synthetic.\n")
    if dropped := stamp["quality"]:
        sys.stdout.write(
            f"dropped: {dropped['cpgs_dropped']} CpGs, {dropped['samples_dropped']} samples; "
            f"{dropped['values_missing']} values are missing\n"
        )


def _compare(options: argparse.Namespace) -> None:
    from methylation_age import compare  # noqa: PLC0415 -- scikit-learn and matplotlib

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    compare.compare(options.run_folder, options.data, say)


def _apply(options: argparse.Namespace) -> None:
    from methylation_age import apply  # noqa: PLC0415 -- pandas

    sys.stdout.write(apply.apply(options.model, options.betas, options.out, options.clock) + "\n")


def _membership(options: argparse.Namespace) -> None:
    from methylation_age import membership  # noqa: PLC0415 -- torch

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    table = membership.membership(options.run_folder, options.data, out=options.out, shadows=options.shadows, say=say)
    sys.stdout.write(f"flame app membership {table} --run {options.run_folder}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m methylation_age", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="write one data folder per DIZ")
    command.add_argument("--out", type=Path, required=True, help="folder to write")
    command.add_argument("--set", choices=["gse74193", "blood"], default="gse74193", help="packaged set")
    command.add_argument("--own", type=Path, nargs=2, metavar=("BETAS", "SAMPLES"), help="own tables instead")
    command.add_argument("--site-column", help="column of SAMPLES that names the site; without it: dealt out by age")
    command.add_argument("--shift", choices=["permuted", "flipped", "mean"], help="semi-real: test samples, corrupted")
    command.add_argument("--shift-seed", type=int, default=0, help="of the corruption (default 0)")
    command.add_argument(
        "--pair", choices=["blood-brain", "brain-blood", "adult-foetal"], help="real source and target"
    )
    command.add_argument("--nodes", type=int, default=5, help="number of virtual DIZ (default 5)")
    command.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("compare", help="compare a simulated run with pooled and local training")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.set_defaults(run=_compare)

    command = commands.add_parser("apply", help="predict ages with a trained clock")
    command.add_argument("--model", type=Path, required=True, help="model.json of a run")
    command.add_argument("--betas", type=Path, required=True, help="beta matrix")
    command.add_argument("--out", type=Path, required=True, help="CSV to write")
    command.add_argument("--clock", help="elastic-net or mlp, where the model has both")
    command.set_defaults(run=_apply)

    command = commands.add_parser("membership", help="score who was trained on, to be judged by flame app membership")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    command.add_argument("--out", type=Path, help="CSV to write; without it membership.csv in the run's folder")
    command.add_argument("--shadows", type=int, default=16, help="shadow networks, an even number; 0: none")
    command.set_defaults(run=_membership)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
