"""`flame node diff`: what changed between two versions of an app, in its code and in its terms."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, gate_of, open_here
from flame_fl.cli.node_decide import Digest
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from flame_fl.node.diff import Diff
    from flame_fl.node.terms_diff import Change

Against = Annotated[
    str | None, typer.Argument(metavar="EARLIER", help="Another analysis; default: the last approved one of the app.")
]


def diff(digest: Digest, against: Against = None, as_json: AsJson = False) -> None:
    """What changed since the last version that was approved here: terms first, then every line of code."""
    from flame_fl.node.diff import diff as compare
    from flame_fl.node.sheet import previous_approved
    from flame_fl.node.steward import files_of, find
    from flame_fl.node.terms_diff import terms_diff

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        record = find(gate, digest)
        before = previous_approved(gate.store, record) if against is None else find(gate, against)
        if before is None:
            raise InputError(
                f"No earlier version of {record.manifest.app} was approved here.",
                mend="Name one: flame node requests --all",
            )
        terms = terms_diff(before.manifest.as_json(), record.manifest.as_json())
        files = [files_of(gate, each) for each in (before, record)]
    changed = None if files[0] is None or files[1] is None else compare(files[0], files[1])
    if as_json:
        code = None if changed is None else asdict(changed)
        said = {"before": before.analysis_digest, "after": record.analysis_digest}
        typer.echo(json.dumps(said | {"terms": [asdict(change) for change in terms], "code": code}))
        return
    stdout.print(f"{before.analysis_digest[:12]} → {record.analysis_digest[:12]}", highlight=False)
    _show_terms(terms)
    _show_code(changed)


def _show_terms(changes: "tuple[Change, ...]") -> None:
    table = Table(title="Terms and run config", title_justify="left")
    for column in ("field", "before", "after", ""):
        table.add_column(column, overflow="fold")
    colours = {"looser": "red", "tighter": "green"}
    for change in changes:
        cells = (change.path, change.before or "–", change.after or "–")
        colour = colours.get(change.direction, "white")
        table.add_row(*(escaped(cell) for cell in cells), f"[{colour}]{change.direction}[/]")
    stdout.print(table if changes else "The terms and the run config are the same.")


def _show_code(changed: "Diff | None") -> None:
    if changed is None:
        stdout.print("One of the two bundles is not kept here: its code cannot be compared.")
        return
    stdout.print(
        f"Code: {len(changed.files)} files differ (+{changed.added} −{changed.removed} lines), "
        f"{changed.same} are the same.",
        highlight=False,
    )
    for file in changed.files:
        size = f"{file.bytes_before} → {file.bytes_after} bytes"
        stdout.print(f"\n[bold]{escaped(file.path)}[/] {file.how}, {file.form}, {size}", highlight=False)
        for line in file.lines:
            colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "white")
            stdout.print(f"[{colour}]{escaped(line)}[/]", highlight=False, soft_wrap=True)
        if file.left_out:
            stdout.print(f"… and {file.left_out} more lines", highlight=False)
