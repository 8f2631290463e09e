"""`flame node image`: the images that sandboxes run in."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stderr, stdout, stdout_kept_free

cli = typer.Typer(help="The images that sandboxes run in.", no_args_is_help=True)

App = Annotated[Path, typer.Argument(help="Folder of a Flower app, or its .fab.")]
Constraints = Annotated[
    Path | None, typer.Option(help="Versions to take, in pip's format; default: those installed here.", exists=True)
]
Wheels = Annotated[Path | None, typer.Option(help="Take every wheel from this folder; no index.", exists=True)]
Engine = Annotated[str | None, typer.Option(help="Address of the Docker Engine; DOCKER_HOST or the default socket.")]
AsJson = Annotated[bool, typer.Option("--json")]


@cli.command("build")
def build(
    app: App,
    tag: Annotated[str | None, typer.Option(help="Name of the image; default: flame-sandbox-NAME.")] = None,
    base: Annotated[str | None, typer.Option(help="Image to start from; default: python:3.X-slim.")] = None,
    constraints: Constraints = None,
    wheels: Wheels = None,
    context: Annotated[
        Path | None, typer.Option(help="Only write the folder that docker build needs, and build nothing.")
    ] = None,
    engine: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Build the image for an app's requirements; the app's own code is not in it."""
    from flame_fl.node.image import BASE, build_image, write_context
    from flame_fl.sandbox.docker import connect

    if context:
        write_context(app, context, constraints=constraints, wheels=wheels)
        stdout.print(f"docker build --network none --tag NAME {escaped(context)}", highlight=False, soft_wrap=True)
        return
    with stdout_kept_free():
        image = build_image(
            app,
            client=connect(engine, timeout_seconds=1800),
            tag=tag,
            base=base or BASE,
            constraints=constraints,
            wheels=wheels,
            say=lambda text: stderr.print(f"{escaped(text)} ...", highlight=False),
        )
    if as_json:
        typer.echo(json.dumps(image.as_json()))
        return
    stdout.print(f"{escaped(', '.join(image.tags))}  {image.size_bytes / 1e6:.0f} MB", highlight=False)
    stdout.print(escaped(image.id), highlight=False, soft_wrap=True)


@cli.command("list")
def list_(engine: Engine = None, as_json: AsJson = False) -> None:
    """The sandbox images on the engine; --json has their whole ids."""
    from flame_fl.node.image import list_images
    from flame_fl.sandbox.docker import connect

    images = list_images(connect(engine))
    if as_json:
        typer.echo(json.dumps([image.as_json() for image in images]))
        return
    table = Table()
    for column in ("name", "app", "flame-fl", "MB", "id"):
        table.add_column(column, overflow="fold")
    for image in images:
        cells = (", ".join(image.tags), image.app, image.flame_version, f"{image.size_bytes / 1e6:.0f}", image.id[:19])
        table.add_row(*map(escaped, cells))
    stdout.print(table)
