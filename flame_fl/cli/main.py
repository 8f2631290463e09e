"""`flame`: the commands, and what a person sees of an error.

An error is one sentence that names the thing and one that says the mend, on standard error, with the exit code of its
kind (`flame_fl.contract.errors`); `--debug` adds the traceback. Ctrl-C is 130.
"""

import json
import os
import sys
from typing import Annotated, NoReturn

import click
import typer

# Nodes use the cores; two BLAS threads on small matrices cost a server more than they give. Before NumPy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from flame_fl import __version__  # noqa: E402
from flame_fl.cli import app, audit, simulate  # noqa: E402
from flame_fl.cli.console import escaped, stderr  # noqa: E402
from flame_fl.contract.errors import FlameError  # noqa: E402
from flame_fl.contract.refusal import RefusedError  # noqa: E402

cli = typer.Typer(
    name="flame",
    help="Federated learning across hospitals' data integration centres, each behind a gate of its own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.command("demo")(simulate.demo)
cli.command("simulate")(simulate.simulate)
cli.add_typer(app.cli, name="app")
cli.add_typer(audit.cli, name="node")


@cli.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Flower's own log.")] = False,
) -> None:
    if version:
        typer.echo(f"flame-fl {__version__}")
        raise typer.Exit
    simulate.DEBUG.on = debug


def main() -> NoReturn:
    """Entry point of the `flame` command."""
    try:
        code = cli(standalone_mode=False) or 0
    except click.ClickException as err:
        err.show()
        code = 2
    except click.exceptions.Exit as err:
        code = err.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        stderr.print("Interrupted.")
        code = 130
    except FlameError as err:
        if "--debug" in sys.argv:
            stderr.print_exception()
        if "--json" in sys.argv:
            said: dict[str, object] = {"error": err.message, "mend": err.mend, "exit_code": err.exit_code}
            if isinstance(err, RefusedError):
                said["code"] = int(err.code)
            typer.echo(json.dumps(said))
        stderr.print(f"[bold red]Error:[/] {escaped(err.message)}", highlight=False)
        if err.mend:
            stderr.print(escaped(err.mend), highlight=False)
        code = err.exit_code
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
