"""`flame node budget`: what was spent of each account, what is left, the caps, and whether the sums are right."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.node_common import AsJson, gate_of, open_here, user
from flame_fl.contract.errors import InputError, VerificationError

if TYPE_CHECKING:
    from click import Context

    from flame_fl.gate.claims import Account
    from flame_fl.gate.workflow import Gate
    from flame_fl.node.budget import AccountBudget
    from flame_fl.node.budget_would import Fits


class _ShowByDefault(TyperGroup):
    """`flame node budget patient:patients` is `flame node budget show patient:patients`."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Put `show` before what names no command."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


cli = typer.Typer(help="The privacy budget: accounts, caps, what is left.", cls=_ShowByDefault)

Name = Annotated[str | None, typer.Argument(metavar="[ACCOUNT]", help='"site" or "patient:NAMESPACE" (default: all).')]


@cli.command("show")
def show(
    account: Name = None,
    would: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="How many more releases fit: of a kind, as in noise_multiplier=4,releases=10 (also mechanism,"
            " sample_rate, steps, unit, project), or of an analysis, by the beginning of its digest.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw an account, as .svg or .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was spent of each account, by which project, in which figures; what is in flight; what is left."""
    from flame_fl.node.budget import budget_of

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        accounts = _chosen(gate, account)
        budgets = [budget_of(gate.store, gate.limits, one) for one in accounts]
        answers = None if would is None else _would(gate, accounts, would)
        if plot is not None:
            _plot(gate, accounts, plot)
    if as_json:
        found: dict[str, Any] = {"accounts": [budget.as_json() for budget in budgets]}
        if answers is not None:
            found["would"] = [answer.__dict__ | {"fits": answer.fits} for answer in answers]
        typer.echo(json.dumps(found))
        return
    for budget in budgets:
        _show(budget)
    if plot is not None:
        stdout.print(f"Plot: [bold]{escaped(plot)}[/]", soft_wrap=True, highlight=False)
    for answer in answers or ():
        _show_fits(answer)


@cli.command("set")
def set_(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help='"site" or "patient:NAMESPACE".')],
    epsilon: Annotated[float, typer.Option(help="The cap, at the account's delta.")],
    comment: Annotated[str, typer.Option(help="Why; kept in the audit chain.")],
    project: Annotated[str, typer.Option(help="Of this project alone, by its id (default: of all together).")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the cap of an account, or of a project there. Nothing else ever changes one, and nothing refills."""
    from flame_fl.node.accounts import account_from
    from flame_fl.node.budget import propose_cap, set_cap

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        cap = propose_cap(gate.store, gate.limits, account_from(account), epsilon, project)
        if not comment.strip():
            raise InputError("A cap needs a reason.", mend="Give it with --comment; it is kept in the audit chain.")
        said = f"{cap.account}{f', project {project}' if project else ''}"
        spent = f"{100 * cap.used:.3g} % of it is spent" + ("; nothing more is admitted" if cap.used >= 1 else "")
        if not yes:
            if as_json:
                raise InputError("With --json nobody can be asked.", mend="Add --yes.")
            before = "no cap of its own" if cap.before is None else f"ε = {cap.before:g}"
            stdout.print(
                f"{escaped(said)}: from {before} to ε = {cap.epsilon:g}. {spent}.", highlight=False, soft_wrap=True
            )
            typer.confirm("Set it?", abort=True)
        set_cap(gate.store, gate.limits, cap, by=user(), comment=comment)
    if as_json:
        answer = {"account": str(cap.account), "project": project, "before": cap.before, "epsilon": cap.epsilon}
        typer.echo(json.dumps(answer | {"used": cap.used}))
        return
    stdout.print(f"{escaped(said)}: ε = {cap.epsilon:g} holds from now on. {spent}.", highlight=False, soft_wrap=True)


@cli.command("verify")
def verify(account: Name = None, as_json: AsJson = False) -> None:
    """Recompute every account with dp-accounting and replay what was admitted; exit code 5 if one does not hold."""
    from flame_fl.node.budget_verify import check_account

    with ExitStack() as closing:
        gate = gate_of(open_here(), closing)
        checked = [check_account(gate.store, gate.limits, one) for one in _chosen(gate, account)]
    if as_json and not any(one.problems for one in checked):
        typer.echo(json.dumps([one.as_json() for one in checked]))
        return
    if not as_json:
        table = Table()
        for column in ("account", "debits", "of the cap", "ε (RDP)", "ε by dp-accounting: RDP", "PLD", "holds"):
            table.add_column(column)
        for one in checked:
            figures = (f"{value:.4g}" for value in (one.epsilon, one.epsilon_rdp, one.epsilon_pld))
            share = f"{100 * one.share:.3g} % of ε = {one.cap:g}"
            table.add_row(escaped(one.account), str(one.debits), share, *figures, "no" if one.problems else "yes")
        stdout.print(table)
        for one in checked:
            if one.unasked:
                stdout.print(
                    f"{escaped(one.account)}: {one.unasked} debits are from before the account was opened. They count,"
                    " but its filter was not asked about them.",
                    highlight=False,
                )
    if wrong := [f"{one.account}: {problem}" for one in checked for problem in one.problems]:
        raise VerificationError(f"{'; '.join(wrong)}.", mend="Stop the gate, keep the state file, and find out why.")


def _chosen(gate: "Gate", account: str | None) -> "list[Account]":
    from flame_fl.node.accounts import account_from, all_accounts

    known = all_accounts(gate.store)
    if account is None:
        return known
    if (wanted := account_from(account)) not in known:
        raise InputError(
            f"Nothing was debited from {account}, and it has no cap of its own.",
            mend=f"There is {', '.join(map(str, known))}.",
        )
    return [wanted]


def _would(gate: "Gate", accounts: "Sequence[Account]", text: str) -> "list[Fits]":
    from flame_fl.node.budget_would import analysis_would_fit, kind_from, would_fit

    if "=" in text:
        return would_fit(gate.store, gate.limits, accounts, kind_from(text))
    return [analysis_would_fit(gate, text)]


def _plot(gate: "Gate", accounts: "Sequence[Account]", path: Path) -> None:
    from flame_fl.gate.ledger import lifetime_now
    from flame_fl.node.budget_plot import write_plot

    if len(accounts) != 1:
        raise InputError("--plot draws one account.", mend=f"Name it: {', '.join(map(str, accounts))}.")
    (account,) = accounts
    lifetime = lifetime_now(gate.store, gate.limits, account)
    write_plot(path, str(account), gate.store.ledger(account), lifetime, datetime.now(UTC))


def _show(budget: "AccountBudget") -> None:
    table = Table(title=f"[bold]{escaped(budget.account)}[/]", title_justify="left")
    for column in ("", "debits", "of the cap", "ε", "ε (PLD)", "advantage", "TPR at 1 % FPR", "own cap"):
        table.add_column(column, overflow="fold")
    rows = [("spent", budget.total, ""), ("of it, left the node", budget.committed, "")]
    rows.append(("of it, in flight or failed", budget.reserved, ""))
    for p in budget.projects:
        own = "" if p.cap is None else f"ε = {p.cap:g}, {100 * (p.share_of_cap or 0):.3g} % spent"
        rows.append((f"project {p.project}", p.spent, own))
    for name, amount, own in rows:
        figures = (f"{value:.3g}" for value in (amount.epsilon, amount.epsilon_pld, amount.advantage, amount.tpr))
        table.add_row(escaped(name), str(amount.debits), f"{100 * amount.share:.3g} %", *figures, escaped(own))
    stdout.print(table)
    own = "the node's setting" if budget.cap_set is None else f"set: {budget.cap_set:g}"
    stdout.print(
        f"Cap: ε = {budget.cap:g} at δ = {budget.delta:g} ({own}; epsilon_cap in node.toml: {budget.cap_of_node:g})."
        f" Left: {100 * budget.left:.3g} % of it, enough for one release of ε = {budget.left_epsilon:.3g}.",
        highlight=False,
        soft_wrap=True,
    )
    stdout.print(
        "The cap holds however releases were chosen: its filter counts Rényi divergence of order"
        f" {budget.order:.3g}, which is what % of the cap means. ε, advantage and TPR are those of the same list"
        " fixed beforehand.\n",
        highlight=False,
        soft_wrap=True,
    )


def _show_fits(answer: "Fits") -> None:
    why = {
        "analysis": "the analysis's own epsilon_max",
        "project": "the project's cap",
        "account": "the lifetime cap",
        "": "nothing",
    }[answer.refused_by]
    verdict = f"; of {answer.wanted} wanted, {'all' if answer.fits else answer.admitted} fit" if answer.wanted else ""
    stdout.print(
        f"{escaped(answer.account)}: {answer.admitted} more fit{verdict}; {why} refuses the next one.",
        highlight=False,
        soft_wrap=True,
    )
