"""`flame app new|check|build`: a researcher's side of an analysis, before anybody is asked."""

import errno
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.sheet import print_sheet
from flame_fl.cli.utility import utility
from flame_fl.contract.errors import InputError

cli = typer.Typer(help="Write, check and bundle a federated app.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="Folder of a Flower app.")]


@cli.command("new")
def new(folder: Annotated[Path, typer.Argument(help="Folder to make; its name is the app's (kebab-case).")]) -> None:
    """Make a small working app with terms, to start from."""
    from flame_fl.cli.scaffold import write_scaffold

    write_scaffold(folder)
    stdout.print(f"Made {escaped(folder)}. Try it:", highlight=False)
    stdout.print(f"  flame simulate {escaped(folder)} --nodes 3", highlight=False)
    stdout.print(f"  flame app check {escaped(folder)}", highlight=False)


@cli.command("check")
def check(folder: Folder, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the manifest and what a steward will see; exit code 2 if the terms are malformed or missing."""
    from flame_fl.cli.masked import masks
    from flame_fl.cli.usefulness import signal_to_noise
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.manifest import manifest_of
    from flame_fl.flower.bundle import build_fab

    fab = read_fab(build_fab(folder))
    fab.component("clientapp"), fab.component("serverapp")
    manifest = manifest_of(fab)
    if manifest.terms is None:
        raise InputError(
            f"{manifest.app} states no [tool.flame]: no DIZ can approve it on its own terms.",
            mend="Add [tool.flame] to its pyproject.toml; `flame app new` writes an example.",
        )
    if as_json:
        said = {"digest": manifest.digest, "fab_sha256": fab.sha256, "manifest": manifest.as_json()}
        ratios = {kind: ratio for kind, (_, ratio) in signal_to_noise(manifest.terms).items()}
        masked = {} if (found := masks(manifest.terms)) is None else {"secure_aggregation": found}
        typer.echo(json.dumps(said | {"signal_to_noise": ratios} | masked))
        return
    print_sheet(manifest, manifest.terms, title="What a steward will see", about_code=f", {len(fab.files)} files")


@cli.command("mock")
def mock(
    schema: Annotated[Path, typer.Argument(help="A store's schema (JSON), as a DIZ's steward released it.")],
    out: Annotated[Path, typer.Option(help="Where to write: OUT/DIZ-1/STORE/…, as --data of `flame simulate` reads.")],
    store: Annotated[str, typer.Option(help="The store's name, as the app's terms call it.")],
    nodes: Annotated[int, typer.Option(min=1, help="How many virtual DIZ.")] = 3,
    rows: Annotated[int, typer.Option(min=1, help="Records at each.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed, the same rows.")] = 1,
) -> None:
    """Make up data that look like a DIZ's store, from its released schema alone, to develop an app with."""
    from flame_fl.data.mock import make
    from flame_fl.data.schema import read_schema

    found = read_schema(schema)
    for node in range(1, nodes + 1):
        make(found, rows, seed * 1000 + node, out / f"DIZ-{node}" / store)
    stdout.print(f"{rows} made-up records for each of {nodes} virtual DIZ in {escaped(out)}", highlight=False)


cli.command("utility")(utility)


@cli.command("membership")
def membership(
    table: Annotated[Path, typer.Argument(help="Scores (CSV or Parquet), as the app's own tool writes them.")],
    run: Annotated[Path | None, typer.Option(help="The run's folder: its claim stands beside the attacks.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; without it, the table's.")] = None,
) -> None:
    """Judge how well a model's losses tell on whose records it was trained. Nothing of it leaves this machine."""
    from flame_fl.simulation.membership import membership as judge

    stdout.print(escaped(judge(table, run, out)), highlight=False, soft_wrap=True)


@cli.command("build")
def build(
    folder: Folder, out: Annotated[Path, typer.Option(help="Where to write the two files.")] = Path("dist")
) -> None:
    """Write the FAB and its manifest."""
    from flame_fl.contract.fab import read_fab
    from flame_fl.contract.manifest import manifest_of
    from flame_fl.flower.bundle import build_fab

    raw = build_fab(folder)
    fab = read_fab(raw)
    manifest = manifest_of(fab)
    stem = f"{manifest.app.rpartition('/')[2]}-{manifest.digest[:8]}"
    said = {"digest": manifest.digest, "fab_sha256": fab.sha256, "manifest": manifest.as_json()}
    text = json.dumps(said, indent=2, sort_keys=True) + "\n"
    _write_all(out, {f"{stem}.fab": raw, f"{stem}.manifest.json": text.encode()})
    stdout.print(f"{escaped(out / f'{stem}.fab')}\n{escaped(out / f'{stem}.manifest.json')}", highlight=False)
    stdout.print(f"analysis digest {manifest.digest}", highlight=False)


def _write_all(out: Path, files: dict[str, bytes]) -> None:
    """All of the files, or none of them."""
    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            beside = out / f".{name}.new"
            written.append(beside)
            beside.write_bytes(data)
            if (out / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for name in files:
            (out / f".{name}.new").replace(out / name)
    except OSError as err:
        for path in written:
            path.unlink(missing_ok=True)
        why = err.strerror or "it is in the way"
        raise InputError(f"{out} cannot be written ({why}).", mend="Choose another --out.") from err
