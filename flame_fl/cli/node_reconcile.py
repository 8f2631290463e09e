"""`flame node reconcile`: go on after a state that is older than what left the node."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, gate_of, open_here, user
from flame_fl.contract.errors import InputError

if TYPE_CHECKING:
    from flame_fl.node.reconcile import Plan


def reconcile(
    comment: Annotated[str, typer.Option(help="What happened, and who decided; kept in the audit chain.")],
    lost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIGEST=N",
            help="So many releases of an analysis are missing: they are debited. May be given again. Without it every"
            " account is closed until `flame node budget set`.",
        ),
    ] = None,
    held: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="What others hold: a hub's events.jsonl, a run's folder or result.json, another node's export. May be"
            " given again.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Unlock a state that is older than what left (docs/audit.md): debit what is missing, or close the accounts."""
    from flame_fl.gate.heads import held_in
    from flame_fl.node.reconcile import propose
    from flame_fl.node.reconcile import reconcile as decide

    if not comment.strip():
        raise InputError("A reconciliation needs a reason.", mend="Give it with --comment.")
    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        heads = [head for path in held or () for head in held_in(path)]
        plan = propose(gate, [_lost(word) for word in lost or ()], heads)
        if not yes:
            if as_json:
                raise InputError("With --json nobody can be asked.", mend="Add --yes.")
            _show(plan)
            typer.confirm("Go on?", abort=True)
        decide(gate, plan, by=user(), comment=comment)
    if as_json:
        lost_of = {one.record.analysis_digest: one.count for one in plan.lost}
        accounts = [str(account) for account in plan.accounts]
        typer.echo(json.dumps({"heads": len(plan.heads), "lost": lost_of, "closed": [] if plan.lost else accounts}))
        return
    stdout.print("Reconciled: the gate answers again.", highlight=False)
    if not plan.lost:
        stdout.print(
            "Every account is closed. Open one with `flame node budget set ACCOUNT --epsilon E`.", soft_wrap=True
        )


def _lost(text: str) -> tuple[str, int]:
    digest, _, number = text.partition("=")
    if not number.isascii() or not number.isdecimal() or len(number) > len("100000"):
        raise InputError(f"{text!r} is no DIGEST=N.", mend="As in --lost 3f2a90c1=12.")
    return digest, int(number)


def _show(plan: "Plan") -> None:
    for lock in plan.locks:
        stdout.print(
            f"locked {escaped(lock.at)}: {escaped(lock.why)} ({lock.head[:16]}…)", highlight=False, soft_wrap=True
        )
    stdout.print(f"Releases that are missing for certain: {len(plan.heads)}.", highlight=False)
    accounts = escaped(", ".join(map(str, plan.accounts)) or "no account")
    for one in plan.lost:
        said = f"{one.record.analysis_digest[:12]} ({escaped(one.record.manifest.app)}): {one.count} releases"
        stdout.print(f"Debited as missing: {said}.", highlight=False, soft_wrap=True)
    if plan.lost:
        stdout.print(f"From: {accounts}.", highlight=False, soft_wrap=True)
    else:
        stdout.print(
            f"Closed, as nobody states what is missing: {accounts}. Each one's cap becomes what is spent.",
            highlight=False,
            soft_wrap=True,
        )
