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
from flame_fl.cli import app, federation, hub, node, simulate  # noqa: E402
from flame_fl.cli import run as run_command  # noqa: E402
from flame_fl.cli.console import escaped, stderr  # noqa: E402
from flame_fl.contract.errors import FlameError  # noqa: E402
from flame_fl.contract.refusal import RefusedError  # noqa: E402

_INTERRUPTED = 130

cli = typer.Typer(
    name="flame",
    help="Federated learning across hospitals' data integration centres, each behind a gate of its own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.command("demo")(simulate.demo)
cli.command("simulate")(simulate.simulate)
cli.command("run")(run_command.run)
cli.add_typer(app.cli, name="app")
cli.add_typer(node.cli, name="node")
cli.add_typer(hub.cli, name="hub")
cli.add_typer(federation.cli, name="federation")


@cli.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and Flower's own log; also after a command.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"flame-fl {__version__}")
        raise typer.Exit
    simulate.DEBUG.on = debug


def main() -> NoReturn:
    """Entry point of the `flame` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. `--debug` may stand anywhere before `--`."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug, as_json = "--debug" in options, "--json" in options
    if debug:
        arguments = ["--debug", *(a for a in options if a != "--debug"), *arguments[len(options) :]]
    try:
        code = cli(arguments, standalone_mode=False)
        if code == _INTERRUPTED:  # typer makes it of Ctrl-C
            raise KeyboardInterrupt
    except click.ClickException as err:
        err.show()
        return _failed(err.format_message(), "", 2, as_json=as_json, shown=True)
    except click.exceptions.Exit as err:
        return err.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _failed(
            "Interrupted; nothing is left half done.",
            "A run that had begun resumes with the same command.",
            _INTERRUPTED,
            as_json=as_json,
        )
    except FlameError as err:
        if debug:
            stderr.print_exception()
        refusal = int(err.code) if isinstance(err, RefusedError) else None
        return _failed(err.message, err.mend, err.exit_code, as_json=as_json, refusal=refusal)
    except Exception as err:  # a bug, or the machine: still one sentence
        if debug:
            stderr.print_exception()
        mend = "This is not your input's fault as far as flame can tell; --debug shows where it happened."
        return _failed(f"{type(err).__name__}: {err}", mend, 1, as_json=as_json)
    return code if isinstance(code, int) else 0


def _failed(
    message: str, mend: str, exit_code: int, *, as_json: bool, refusal: int | None = None, shown: bool = False
) -> int:
    if as_json:
        said: dict[str, object] = {"error": message, "mend": mend, "exit_code": exit_code}
        typer.echo(json.dumps(said if refusal is None else {**said, "code": refusal}))
    if not shown:
        stderr.print(f"[bold red]Error:[/] {escaped(message)}", highlight=False, soft_wrap=True)
        if mend:
            stderr.print(escaped(mend), highlight=False, soft_wrap=True)
    return exit_code


if __name__ == "__main__":
    main()
