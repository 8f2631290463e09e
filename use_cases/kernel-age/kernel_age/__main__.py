"""`python -m kernel_age compare`: a simulated run beside pooled fits.

Bad input ends with one sentence and exit code 2; ``--debug`` shows the traceback.
"""

import argparse
import sys
from pathlib import Path

from kernel_age.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run the subcommand and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernel_age", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("compare", help="compare a simulated run with fits on the pooled rows")
    command.add_argument("--run", dest="run_folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--data", type=Path, required=True, help="folder with the DIZ's stores")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(arguments)
    try:
        from kernel_age import compare  # noqa: PLC0415 -- scikit-learn

        found = compare.compare(options.run_folder, options.data)
    except InputError as error:
        if options.debug:
            raise
        sys.stderr.write(f"kernel_age: {error}\n")
        return 2
    sys.stdout.write(f"pooled MAE {found['pooled_mae']:.4f} years, differs by {found['difference']:.1e}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
