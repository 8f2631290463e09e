"""`flame hub …`: make a hub, run it, let nodes and researchers in."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, printable, stdout
from flame_fl.contract.places import hub_places

if TYPE_CHECKING:
    from flame_fl.hub.config import HubFiles

cli = typer.Typer(help="The hub of a federation: make it, run it, let nodes and researchers in.", no_args_is_help=True)
node = typer.Typer(help="The nodes that may connect.", no_args_is_help=True)
user = typer.Typer(help="The researchers who may start runs.", no_args_is_help=True)
project = typer.Typer(help="Projects: who works with which nodes.", no_args_is_help=True)
cli.add_typer(node, name="node")
cli.add_typer(user, name="user")
cli.add_typer(project, name="project")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Project = Annotated[str, typer.Option("--project", help="The FLAME project.")]


@cli.command("init")
def init(
    name: Annotated[
        list[str], typer.Option("--name", help="Host name or address by which others reach the hub; repeatable.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    as_json: Json = False,
) -> None:
    """Make a hub: its certificate authority and certificate, its secret, hub.toml, and nobody in it yet."""
    from flame_fl.hub.init import init_hub

    places = hub_places(os.environ)
    files = init_hub(places, tuple(name), host, port)
    if as_json:
        typer.echo(json.dumps({"config": str(places.config), "ca": str(files.ca), "state": str(files.state)}))
        return
    _say(f"Settings           {places.config}")
    _say(f"State              {files.state}")
    _say(f"Certificate        {files.ca}: give it to every node and researcher")
    _say(f"Authority's key    {files.ca_key}: not needed to run the hub; keep it offline if you can")
    _say("Next: name the ServerApps' image in [images], then `flame hub up`.")


@cli.command("up")
def up() -> None:
    """Run the hub in the foreground, until Ctrl-C or SIGTERM."""
    from flame_fl.hub.up import run_hub

    def say(text: str) -> None:
        typer.echo(f"{datetime.now():%H:%M:%S} {printable(text)}")  # noqa: DTZ005  (a person's clock)

    run_hub(hub_places(os.environ), say)


@cli.command("status")
def status(as_json: Json = False) -> None:
    """Whether the hub answers, who may do what, and until when its certificate holds."""
    import ssl

    import httpx

    from flame_fl.hub.config import HubFiles, load_config
    from flame_fl.hub.registry import read_access
    from flame_fl.hub.tls import valid_until

    places = hub_places(os.environ)
    config, files = load_config(places), HubFiles(places.state)
    access = read_access(files)
    try:
        context = ssl.create_default_context(cafile=files.ca)
        is_up = httpx.get(f"https://{config.own_address}/health", verify=context, timeout=3.0).is_success
    except (httpx.HTTPError, OSError):
        is_up = False
    until = valid_until(files.certificate.read_bytes())
    if as_json:
        said = {
            "up": is_up,
            "address": config.address,
            "certificate_until": until.date().isoformat(),
            "users": {name: list(account.projects) for name, account in access.users.items()},
            "nodes": {name: list(known.projects) for name, known in access.nodes.items()},
        }
        typer.echo(json.dumps(said))
        return
    _say(f"{'up' if is_up else 'down'}  {config.address}  certificate until {until:%Y-%m-%d}")
    table = Table()
    for column in ("project", "researchers", "nodes"):
        table.add_column(column)
    for name in sorted(access.projects):
        users = [who for who, account in access.users.items() if name in account.projects]
        nodes = [who for who, known in access.nodes.items() if name in known.projects]
        table.add_row(escaped(name), escaped(", ".join(users)), escaped(", ".join(nodes)))
    stdout.print(table)


@node.command("add")
def node_add(
    name: Annotated[str, typer.Argument(help="The DIZ's name.")],
    public_key: Annotated[Path, typer.Argument(help="The public key that its node signs with (EC, OpenSSH or PEM).")],
    project: Project,
    as_json: Json = False,
) -> None:
    """Let a DIZ's node into a project. The hub may be up or down."""
    from flame_fl.hub.config import load_config
    from flame_fl.hub.registry import add_node

    places, files = hub_places(os.environ), _files()
    config = load_config(places)
    node_id = add_node(files, name, public_key, project)
    if as_json:
        said = {"node": name, "node_id": str(node_id), "address": config.address, "ca": str(files.ca)}
        typer.echo(json.dumps(said))
        return
    _say(f"{name} may connect, for project {project}. Its DIZ needs:")
    _say(f"  address      {config.address}")
    _say(f"  certificate  {files.ca}")


@user.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="The researcher's name.")],
    project: Project,
    token_file: Annotated[Path | None, typer.Option(help="Write the token into this new file (0600).")] = None,
    hubs_file: Annotated[Path | None, typer.Option(help="Add the hub to this hubs.toml; needs --token-file.")] = None,
    hub_name: Annotated[str, typer.Option(help="What the researcher calls this hub.")] = "hub",
    as_json: Json = False,
) -> None:
    """Let a researcher into a project. The token is shown once and kept nowhere."""
    from flame_fl.contract.errors import InputError
    from flame_fl.data.files import write_new
    from flame_fl.hub.config import load_config
    from flame_fl.hub.registry import add_user
    from flame_fl.researcher.hubs import HubEntry, add_hub, snippet

    places, files = hub_places(os.environ), _files()
    config = load_config(places)
    if token_file is not None and token_file.exists():
        raise InputError(f"{token_file} exists.", mend="Choose another --token-file.")
    if hubs_file is not None and token_file is None:
        raise InputError("--hubs-file needs --token-file.", mend="Give both.")
    token = add_user(files, name, project)
    if token_file is not None:
        token_file.parent.mkdir(parents=True, exist_ok=True)
        write_new(token_file, token.encode(), 0o600)
    path = token_file or Path(f"~/.config/flame/{hub_name}.token")
    entry = HubEntry(address=config.address, ca=str(files.ca), token_file=str(path.absolute() if token_file else path))
    if hubs_file is not None:
        add_hub(hubs_file, hub_name, entry)
    if as_json:
        said: dict[str, object] = {"user": name, "project": project, "hub": hub_name, **entry.model_dump()}
        typer.echo(json.dumps(said if token_file is not None else {**said, "token": token}))
        return
    _say(f"{name} may start runs in project {project}.")
    if token_file is None:
        _say("The token, shown this once:")
        _say(f"  {token}")
    else:
        _say(f"The token is in {token_file}.")
    if hubs_file is None:
        _say("For ~/.config/flame/hubs.toml of the researcher, who also needs the certificate:")
        _say(snippet(hub_name, entry))


@project.command("add-member")
def project_add_member(
    project: Annotated[str, typer.Argument(help="The FLAME project.")],
    name: Annotated[str, typer.Argument(help="A researcher or a node that is known here.")],
) -> None:
    """Add a researcher or a node to one more project."""
    from flame_fl.hub.registry import add_member

    add_member(_files(), project, name)
    _say(f"{name} belongs to project {project}.")


def _files() -> "HubFiles":
    from flame_fl.hub.config import HubFiles, load_config

    places = hub_places(os.environ)
    load_config(places)
    return HubFiles(places.state)


def _say(text: str) -> None:
    typer.echo(printable(text))
