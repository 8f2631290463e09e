"""`flame node approve|reject|withdraw|stop`: a steward's decisions at the command line."""

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, gate_of, note_user, open_here, user
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from flame_fl.contract.statement import Statement
    from flame_fl.gate.workflow import Gate
    from flame_fl.node.config import NodeFiles
    from flame_fl.node.steward import Prepared, Request
    from flame_fl.node.wiring import Node

Digest = Annotated[
    str, typer.Argument(help="The beginning of the analysis's digest, as `flame node requests` shows it.")
]
Comment = Annotated[str, typer.Option(help="Why; kept in the audit chain.")]
Key = Annotated[
    Path | None, typer.Option(help="Your Ed25519 key (ssh-keygen -t ed25519); default: the one kept at the node.")
]
Until = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day, if before the terms' own.")]
StatementOut = Annotated[
    Path | None,
    typer.Option(help="Write what is to be signed to this file, and decide nothing: sign it on your own device."),
]
StatementIn = Annotated[Path | None, typer.Option("--statement", help="The file that you signed.")]
SignatureIn = Annotated[
    Path | None, typer.Option("--signature", help="What `ssh-keygen -Y sign -n flame-approval` made of it.")
]


def approve(
    digest: Digest,
    terms: Annotated[
        Path | None,
        typer.Option(help="Terms that you write (TOML, as below tool.flame in an app), instead of the app's."),
    ] = None,
    with_project: Annotated[bool, typer.Option("--with-project", help="Approve its project in the same step.")] = False,
    key: Key = None,
    until: Until = None,
    statement_out: StatementOut = None,
    statement: StatementIn = None,
    signature: SignatureIn = None,
    comment: Comment = "",
    as_json: AsJson = False,
) -> None:
    """Sign that an analysis may run here, on its terms or yours, with the image and the data as they are now."""
    from flame_fl.gate.decisions import Wish
    from flame_fl.node.steward import approve as enter
    from flame_fl.node.steward import approve_with_key, prepare, read_terms, statement_of

    node = open_here()
    with ExitStack() as closing:
        gate = gate_of(node, closing)
        what = prepare(gate, digest, None if terms is None else read_terms(terms))
        if statement is not None or signature is not None:
            decided = enter(gate, what, signed_files(statement, signature))
        else:
            wish = Wish(comment, until.date() if until else None, _shown(node, gate, what))
            if statement_out is not None:
                write_statement(statement_out, statement_of(gate, what, wish))
                return
            decided = approve_with_key(gate, what, key_of(node.files, key), wish, with_project=with_project)
        note_user(gate, "approve", "analysis", decided.digest)
    show_decision(decided, as_json=as_json)


def reject(digest: Digest, comment: Comment = "", as_json: AsJson = False) -> None:
    """Do not let an analysis run here; an approved one is withdrawn, from this moment."""
    from flame_fl.node.steward import reject as decide

    with ExitStack() as closing:
        decided = decide(gate_of(open_here(), closing), digest, by=user(), comment=comment)
    show_decision(decided, as_json=as_json)


def withdraw(digest: Digest, comment: Comment = "", as_json: AsJson = False) -> None:
    """Take an approval back: its sandbox is ended at once, nothing further leaves."""
    from flame_fl.node.steward import withdraw as decide

    with ExitStack() as closing:
        decided = decide(gate_of(open_here(), closing), digest, by=user(), comment=comment)
    show_decision(decided, as_json=as_json)


def stop(run_id: Annotated[int, typer.Argument(help="The run's id, as `flame node runs` shows it.")]) -> None:
    """End one run here, now; its analysis stays approved."""
    with ExitStack() as closing:
        if not gate_of(open_here(), closing).store.stop_run(str(run_id), user()):
            raise InputError(f"There is no run {run_id} here.", mend="`flame node runs` lists them.")
    stdout.print(f"run {run_id}: stopped; it is answered no more", highlight=False)


def key_of(files: "NodeFiles", given: Path | None) -> "Ed25519PrivateKey":
    """The key to sign with.

    Raises:
        InputError: None was given, and none is kept at the node; or it cannot be read.
    """
    from flame_fl.gate.signatures import read_private_key

    path = given or files.steward_key
    if given is None and not path.is_file():
        raise InputError(
            "No steward's key is kept at this node.",
            mend="Give yours with --key, or sign elsewhere: --statement-out, then --statement and --signature.",
        )
    return read_private_key(path)


def signed_files(statement: Path | None, signature: Path | None) -> "tuple[Statement, str]":
    """A statement that was signed elsewhere, and the signature.

    Raises:
        InputError: One is missing, or is not what it should be.
    """
    from flame_fl.contract.statement import parse_statement

    if statement is None or signature is None:
        raise InputError("Give both --statement and --signature.", mend="--statement-out writes the statement.")
    try:
        return parse_statement(statement.read_bytes()), signature.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{statement} or {signature} cannot be read.", mend="See their permissions.") from err


def write_statement(path: Path, statement: "Statement") -> None:
    """What is to be signed, to a file, and how to sign it."""
    try:
        path.write_bytes(statement.text)
    except OSError as err:
        raise InputError(f"{path} cannot be written ({err.strerror}).", mend="Choose another file.") from err
    stdout.print(f"Written to {escaped(path)}. Sign it on your device, within seven days:", highlight=False)
    stdout.print(f"  ssh-keygen -Y sign -n flame-approval -f KEY {escaped(path.name)}", highlight=False, soft_wrap=True)
    stdout.print("then: the same command with --statement FILE --signature FILE.sig", highlight=False)


def _shown(node: "Node", gate: "Gate", what: "Prepared") -> str:
    """The hash of the sheet as it is now, which is kept: `flame node show` prints the same."""
    from flame_fl.node.sheet import build_sheet

    sheet = build_sheet(gate, node.config, what.record)
    gate.store.keep_sheet(sheet.sha256, sheet.text.decode())
    return sheet.sha256


def show_decision(decided: "Request", *, as_json: bool) -> None:
    """What became of it."""
    if as_json:
        typer.echo(json.dumps(decided.__dict__))
        return
    stdout.print(f"{escaped(decided.app)} {decided.digest[:12]}: [bold]{decided.status}[/]", highlight=False)
    if decided.status == "pending" and decided.signed:
        stdout.print(f"signed by {escaped(decided.signed)}; more stewards must sign", highlight=False)
