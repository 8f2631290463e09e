"""`flame node data`: the data stores a node offers."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from flame_fl.cli.console import escaped, size, stderr, stdout
from flame_fl.cli.node_common import AsJson, open_here, user
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from flame_fl.data.quality import Quality
    from flame_fl.data.spec import StoreSpec
    from flame_fl.node.data import Adding
    from flame_fl.node.registry import Version
    from flame_fl.node.wiring import Node

cli = typer.Typer(help="The data stores a node offers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The store's name, as the terms of analyses call it.")]
Copy = Annotated[
    bool | None,
    typer.Option(
        "--copy/--in-place",
        help="Where files cannot be shared with the node's own snapshot: copy them, or use them where they lie. "
        "Without either you are asked; nobody to ask means where they lie.",
    ),
]


@cli.command("add")
def add(
    name: Name,
    folder: Annotated[
        Path | None, typer.Argument(help="The folder that holds the store; it is never written to.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help="A TOML file that says it all: layout, source (folder, S3, FHIR), cohort.")
    ] = None,
    kind: Annotated[str, typer.Option(help="table, anndata, plink, pgen, vcf or images.")] = "table",
    table: Annotated[str, typer.Option(help="The file with one row per record.")] = "",
    patient_id: Annotated[str, typer.Option(help="Its column that says whose a record is.")] = "",
    record_id: Annotated[str, typer.Option(help="Its column that names a record in further files.")] = "",
    file: Annotated[list[str] | None, typer.Option(help="A further file; may be repeated.")] = None,
    copy: Copy = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="The store is registered, and shall get another layout, source or rule.")
    ] = False,
    mock: Annotated[bool, typer.Option("--mock", help="Made-up data: nobody's.")] = False,
    plain_ids: Annotated[
        bool, typer.Option("--plain-ids", help="Show ids as they are, for public and made-up data only.")
    ] = False,
    namespace: Annotated[
        str,
        typer.Option(
            help="Which patients the ids name: stores of one namespace share one privacy budget. Another one is for"
            " ids that can never name the same people."
        ),
    ] = "patients",
    as_json: AsJson = False,
) -> None:
    """Offer a store: look at it, hash it, report on its quality. Approvals bind the content and the rule."""
    from flame_fl.node.data import add as register
    from flame_fl.node.wiring import open_store

    node = open_here()
    wanted = _spec(
        folder, spec, _Flags(kind, table, patient_id, record_id, tuple(file or ()), mock, plain_ids, namespace)
    )
    _require_sandbox(node, wanted)
    with ExitStack() as closing, _working(node, copy, quiet=as_json, replace=replace) as how:
        registration = register(node.data, open_store(node, closing), name, wanted, how)
    _tell_version(name, registration.current, as_json=as_json)
    if registration.current.patients < (least := node.config.limits.min_patients) and not as_json:
        stdout.print(
            f"[yellow]Fewer patients than min_patients in node.toml ({least}): nothing will run on it.[/]"
            " Does the rule leave whom you meant?",
            highlight=False,
        )


@cli.command("refresh")
def refresh(name: Name, copy: Copy = None, as_json: AsJson = False) -> None:
    """Look at a store's source again. Another content is a new version; earlier approvals stay with theirs."""
    from flame_fl.node.data import refresh as again
    from flame_fl.node.wiring import open_store

    node = open_here()
    with ExitStack() as closing, _working(node, copy, quiet=as_json) as how:
        registration = again(node.data, open_store(node, closing), name, how)
    _tell_version(name, registration.current, as_json=as_json)


@cli.command("check")
def check(name: Name, as_json: AsJson = False) -> None:
    """Hash a store's files again and report on their quality. The report holds patients' values: it stays here."""
    from flame_fl.node.data import check as look

    node = open_here()
    with _working(node, None, quiet=as_json) as how:
        quality = look(node.data, name, node.data_key, how.progress)
    if as_json:
        typer.echo(quality.model_dump_json())
        return
    stdout.print(f"{escaped(name)}: unchanged.", highlight=False)
    _tell_quality(quality)


@cli.command("list")
def list_stores(as_json: AsJson = False) -> None:
    """The registered data stores, and whether their files look touched since."""
    from flame_fl.data.snapshot import changed

    node = open_here()
    rows = []
    for name, registration in node.data.registry.all().items():
        version = registration.current
        snapshot = node.data.registry.snapshot(version)
        now = "touched" if changed(snapshot) else "unchanged"
        now = now if Path(snapshot.folder).is_dir() else "missing"
        rows.append({"name": name, **_said(version), "now": now, "versions": len(registration.versions)})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    shown = Table("name", "kind", "patients", "records", "size", "kept", "now")
    for row in rows:
        kind = f"{row['kind']} (mock)" if row["mock"] else row["kind"]
        cells = (row["name"], kind, row["patients"], row["rows"], size(row["size"]), row["mode"])
        shown.add_row(
            *(escaped(c) for c in cells), row["now"] if row["now"] == "unchanged" else f"[red]{row['now']}[/]"
        )
    stdout.print(shown)
    if any(row["now"] == "touched" for row in rows):
        stdout.print("touched: flame node data check NAME tells whether the content changed", highlight=False)


@cli.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """One store: its versions, who is approved for them, its rule, its quality report. For the node's own people."""
    from flame_fl.data.quality import Quality
    from flame_fl.node.data import approvals_of, released_schema
    from flame_fl.node.wiring import open_store

    node = open_here()
    registration = node.data.registry.get(name)
    with ExitStack() as closing:
        store = open_store(node, closing)
        versions = [{**_said(v), "approved": approvals_of(store, name, v)} for v in registration.versions]
    current = registration.current
    path = node.data.quality(current.snapshot)
    quality = Quality.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
    if as_json:
        found = {
            "name": name,
            "versions": versions,
            "spec": current.spec.model_dump(mode="json", by_alias=True),
            "schema_released": released_schema(node.data, name) is not None,
            "quality": quality.model_dump(mode="json") if quality else None,
        }
        typer.echo(json.dumps(found))
        return
    stdout.print(
        f"[bold]{escaped(name)}[/]  {escaped(current.provenance or current.spec.source.type)}", highlight=False
    )
    shown = Table("version", "registered", "patients", "records", "kept", "approved analyses")
    for row in versions:
        digests = ", ".join(d[:12] for d in row["approved"]) or "none"
        cells = (row["version"], row["at"][:16], row["patients"], row["rows"], row["mode"], digests)
        shown.add_row(*(escaped(c) for c in cells))
    stdout.print(shown)
    stdout.print(f"records used: {escaped(current.spec.in_words())}", highlight=False, soft_wrap=True)
    stdout.print(f"released schema: {'yes' if released_schema(node.data, name) else 'no'}", highlight=False)
    if quality is not None:
        _tell_quality(quality)


@cli.command("remove")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Offer a store no longer and delete the node's own copies; its source is not touched."""
    from flame_fl.node.data import remove as forget
    from flame_fl.node.wiring import open_store

    node = open_here()
    with ExitStack() as closing:
        forget(node.data, open_store(node, closing), name, by=user())
    typer.echo(json.dumps({"removed": name})) if as_json else stdout.print(f"{escaped(name)} is offered no longer.")


@cli.command("schema")
def schema(
    name: Name,
    release: Annotated[
        Path | None, typer.Option(help="Release this schema: you read it and stand for every value in it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the draft or the released schema here.")] = None,
) -> None:
    """Draft a store's schema (names and types, no value), or release one that you completed, for mock data."""
    from flame_fl.data.schema import read_schema
    from flame_fl.node.data import drafted_schema, release_schema, released_schema
    from flame_fl.node.wiring import open_store

    node = open_here()
    if release is not None:
        with ExitStack() as closing:
            release_schema(node.data, open_store(node, closing), name, read_schema(release), by=user())
        stdout.print(f"The schema of {escaped(name)} is released.")
        return
    found = released_schema(node.data, name) or drafted_schema(node.data, name)
    text = found.model_dump_json(indent=1)
    if out is None:
        typer.echo(text)
    else:
        if out.exists():
            raise InputError(f"{out} is there already.", mend="Name a new file: yours may hold what you wrote.")
        out.write_text(text + "\n", encoding="utf-8")
        stdout.print(f"{escaped(out)}: complete it, then --release it.", highlight=False)


@cli.command("mock")
def mock_data(
    name: Name,
    out: Annotated[Path, typer.Option(help="A new folder for the made-up store.")],
    rows: Annotated[int, typer.Option(min=1, help="How many records.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed, the same rows.")] = 1,
) -> None:
    """Made-up records with the released schema, drawn from the schema alone."""
    from flame_fl.data.mock import make
    from flame_fl.node.data import released_schema

    found = released_schema(open_here().data, name)
    if found is None:
        raise InputError(
            f"No schema of {name!r} is released.",
            mend=f"flame node data schema {name} --out schema.json, complete it, then --release schema.json",
        )
    make(found, rows, seed, out)
    stdout.print(f"{rows} made-up records in {escaped(out)}", highlight=False)


class _Flags(NamedTuple):
    """What the options say of a store in a folder."""

    kind: str
    table: str
    patient_id: str
    record_id: str
    files: tuple[str, ...]
    mock: bool
    plain_ids: bool
    namespace: str


def _spec(folder: Path | None, file: Path | None, flags: _Flags) -> "StoreSpec":
    from flame_fl.contract.settings import parse_settings
    from flame_fl.data.spec import StoreSpec, read_spec

    if (folder is None) == (file is None):
        raise InputError("Give the folder of the store, or --spec.", mend="flame node data add NAME FOLDER --table …")
    if file is not None:
        if flags != _Flags("table", "", "", "", (), False, False, "patients"):
            raise InputError(
                "--spec says it all; the other options would be left out.", mend="Write them into the file."
            )
        return read_spec(file)
    if not flags.table or not flags.patient_id:
        raise InputError(
            "The store's table and its patient id column are needed.", mend="--table FILE --patient-id COLUMN"
        )
    import tomli_w

    layout = {
        "kind": flags.kind,
        "table": flags.table,
        "patient_id": flags.patient_id,
        "files": list(flags.files),
    }
    stated = {
        "layout": layout | ({"record_id": flags.record_id} if flags.record_id else {}),
        "source": {"type": "folder", "path": str(Path(str(folder)).expanduser().resolve())},
        "namespace": flags.namespace,
        "pseudonyms": not flags.plain_ids,
        "mock": flags.mock,
    }
    return parse_settings(tomli_w.dumps(stated), StoreSpec, "What the options say")


def _require_sandbox(node: "Node", spec: "StoreSpec") -> None:
    if node.config.sandbox.kind != "docker" and not spec.mock:
        raise InputError(
            'The sandbox "subprocess" confines nothing, and this store is not marked as mock data.',
            mend='Set kind = "docker" in [sandbox] of node.toml.',
        )


@contextmanager
def _working(node: "Node", copy: bool | None, *, quiet: bool, replace: bool = False) -> Iterator["Adding"]:
    """How a store is looked at, with a bar where a person waits."""
    from flame_fl.node.data import Adding

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=quiet or not stderr.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        def ask(amount: int) -> bool:
            bar.stop()
            said = typer.confirm(f"Copy {size(amount)} into the node's state folder? No: use the files where they lie.")
            bar.start()
            return said

        asked = ask if sys.stdin.isatty() and not quiet and "CI" not in os.environ else None
        yield Adding(node.data_key, user(), copy, replace=replace, ask=asked, progress=progress)


def _said(version: "Version") -> dict[str, Any]:
    return {
        "version": version.number,
        "kind": version.spec.layout.kind,
        "layout": asdict(version.spec.layout.layout),
        "patients": version.patients,
        "rows": version.rows,
        "size": version.size,
        "mode": version.mode,
        "mock": version.spec.mock,
        "at": version.at,
        "content": version.snapshot,
        "rule": version.spec.rule_sha256,
        "schema": version.schema_sha256,
        "provenance": version.provenance,
    }


def _tell_version(name: str, version: "Version", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"name": name, **_said(version)}))
        return
    where = {"in-place": "used where it lies", "copy": "copied", "reflink": "shared blocks", "fetched": "fetched"}
    stdout.print(
        f"{escaped(name)} version {version.number}: {version.rows} records of {version.patients} patients, "
        f"{size(version.size)} ({where[version.mode]}), content {version.snapshot[:16]}…",
        highlight=False,
    )


def _tell_quality(quality: "Quality") -> None:
    for line in quality.lines():
        stdout.print(f"  {escaped(line)}", highlight=False, soft_wrap=True)
