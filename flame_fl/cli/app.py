"""`flame app new|check|build`: a researcher's side of an analysis, before anybody is asked."""

import errno
import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.terms import DataStore, Terms

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
        typer.echo(json.dumps({"digest": manifest.digest, "fab_sha256": fab.sha256, "manifest": manifest.as_json()}))
        return
    _show(manifest, manifest.terms, len(fab.files))


@cli.command("mock")
def mock(
    schema: Annotated[Path, typer.Argument(help="A store's schema (JSON), as a DIZ's steward released it.")],
    out: Annotated[Path, typer.Option(help="Where to write: OUT/DIZ-1/STORE/…, as --data of `flame simulate` reads.")],
    store: Annotated[str, typer.Option(help="The store's name in [tool.flame.data].")],
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


def _show(manifest: Manifest, terms: Terms, files: int) -> None:
    p, project = terms.privacy, terms.project
    about = Table(title="What a steward will see", show_header=False, title_justify="left")
    about.add_column(style="bold")
    about.add_column(overflow="fold")
    rows = [
        ("project", f"{project.id}: {project.title}"),
        ("purpose", project.purpose),
        ("legal basis", project.legal_basis),
        ("ethics", project.ethics_reference),
        ("responsible", project.responsible_person),
        ("code", f"{manifest.app}, {files} files, content {manifest.fab_content_sha256[:16]}…"),
        ("analysis digest", manifest.digest),
        ("valid", f"{terms.validity.from_} to {terms.validity.until}, at most {terms.limits.runs} runs per DIZ"),
        ("privacy unit, ground", f"{p.unit}, {p.ground}"),
        ("privacy in words", privacy_in_words(terms)),
    ]
    for name, value in rows:
        about.add_row(name, escaped(value))
    for name, store in terms.data.items():
        about.add_row("reads", escaped(f"data store {name}: {reads_in_words(store)}"))
    stdout.print(about)
    leaves = Table(title="What may leave (nothing else does)", title_justify="left")
    for column in ("message", "per run", "item", "kind", "shape"):
        leaves.add_column(column, overflow="fold")
    for kind, message in terms.messages.items():
        for array in message.arrays:
            shape = " × ".join(str(d) for d in array.shape) or "scalar"
            leaves.add_row(kind, str(message.per_run), escaped(f"{array.record}/{array.name}"), array.dtype, shape)
        for metric in message.metrics:
            leaves.add_row(kind, str(message.per_run), escaped(f"{metric.record}/{metric.name}"), metric.kind, "")
    stdout.print(leaves)
    if (line := usefulness(terms)) is not None:
        stdout.print(escaped(line), highlight=False)


def reads_in_words(store: DataStore) -> str:
    """Which data, in one sentence: nothing that it does not name is in the app's view."""
    ids = store.patient_id if store.record_id is None else f"{store.patient_id} and {store.record_id}"
    columns = "every column" if store.columns == ("*",) else f"columns {', '.join(store.columns) or 'none'}"
    parts = [f"{store.kind} {store.table}, ids {ids}", columns]
    if store.files:
        parts.append(f"files {', '.join(store.files)}")
    if store.features_file is not None:
        parts.append(f"the features listed in {store.features_file}")
    elif store.features:
        parts.append("every feature" if store.features == ("*",) else f"{len(store.features)} features")
    if store.modalities:
        parts.append("every modality" if store.modalities == ("*",) else f"modalities {', '.join(store.modalities)}")
    parts += [f"only where {condition.in_words()}" for condition in store.where]
    return f"{'; '.join(parts)}; at least {store.min_patients} patients"


def privacy_in_words(terms: Terms) -> str:
    """One sentence a data protection officer can read."""
    p = terms.privacy
    if p.ground == "enforced":
        return (
            f"The gate clips each DIZ's update to {p.clip_norm:g} and adds noise {p.noise_multiplier:g} times that, "
            f"whatever the code does: at most ε = {p.epsilon_max:g} at δ = {p.delta:g} for the whole DIZ (unit: site)."
        )
    if p.mechanism == "clip":
        return f"No bound is claimed. The gate clips each update to {p.clip_norm:g}: less influence, same disclosure."
    return "No bound is claimed. What leaves is protected by your review of the code and of the list below."


def usefulness(terms: Terms) -> str | None:
    """Predicted signal to noise of one DIZ's update, told before anybody is asked; None without noise."""
    p = terms.privacy
    if p.ground != "enforced" or p.noise_multiplier is None:
        return None
    worst = 0
    for message in terms.messages.values():
        size = 0
        for array in message.arrays:
            count = 1
            for dimension in array.exact_shape or ():
                count *= dimension
            size += count
        worst = max(worst, size)
    ratio = 1.0 / (p.noise_multiplier * max(worst, 1) ** 0.5)
    verdict = "usable" if ratio >= 1 else "unusable"
    return (
        f"Signal to noise of one update: at most {ratio:.3g} ({worst} numbers, noise of each {p.noise_multiplier:g} × "
        f"clip_norm): {verdict}. With k DIZ averaged it grows by √k."
    )
