"""`flame node consent`: patients' wishes. Ids come from files, and only their number is ever shown."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from flame_fl.cli.console import stdout
from flame_fl.cli.node_common import AsJson, open_here, user
from flame_fl.contract.errors import InputError

cli = typer.Typer(help="Opt-outs and consents of patients; they hold for every store at once.", no_args_is_help=True)

Ids = Annotated[Path, typer.Option("--ids", help="A text file with one patient id per line.")]


@cli.command("withdraw")
def withdraw(ids: Ids, as_json: AsJson = False) -> None:
    """These patients opted out: from this moment no view holds them, and sandboxes that do are ended."""
    from flame_fl.data.patients import read_ids
    from flame_fl.node.data import known_ids

    wanted = read_ids(ids)
    added = _recorded("consent-withdrawn", lambda register: register.opt_out(wanted))
    found = known_ids(open_here().data, wanted)
    said = f"{added} patients added to the opt-outs, {len(wanted) - added} were there."
    if found < len(wanted):
        said += f" [yellow]{len(wanted) - found} of these ids occur in no store that is offered here.[/]"
    _tell(said, {"patients": added, "unknown_here": len(wanted) - found}, as_json=as_json)


@cli.command("restore")
def restore(ids: Ids, as_json: AsJson = False) -> None:
    """These patients take their opt-out back."""
    from flame_fl.data.patients import read_ids

    wanted = read_ids(ids)
    removed = _recorded("consent-restored", lambda register: register.opt_in(wanted))
    _tell(f"{removed} patients removed from the opt-outs.", {"patients": removed}, as_json=as_json)


@cli.command("import")
def import_consents(
    source: Annotated[
        Path, typer.Argument(help="FHIR Consents: a Bundle, NDJSON, a folder of those, or consent.parquet.")
    ],
    as_json: AsJson = False,
) -> None:
    """Replace the register of consents by these FHIR R4 Consents (MII broad consent)."""
    from flame_fl.data.consents import from_bundles, read_provisions

    provisions = tuple(read_provisions(source) if source.suffix == ".parquet" else from_bundles(source))
    if not provisions:
        raise InputError(
            f"{source} holds no provision of the MII broad consent, so nothing was changed.",
            mend="See which codes its Consents have; docs/data-stores.md says which are read.",
        )
    before = len({p.patient_id for p in open_here().data.patients.provisions()})

    def put(register):  # type: ignore[no-untyped-def]
        register.put_provisions(provisions)
        return len({p.patient_id for p in provisions})

    patients = _recorded("consents-imported", put)
    said = f"{len(provisions)} provisions of {patients} patients; before, the register held {before} patients."
    _tell(said, {"patients": patients, "patients_before": before}, as_json=as_json)


@cli.command("show")
def show(as_json: AsJson = False) -> None:
    """How many opted out, how many consents are registered."""
    register = open_here().data.patients
    out, people = len(register.opted_out()), len({p.patient_id for p in register.provisions()})
    if as_json:
        typer.echo(json.dumps({"opted_out": out, "patients_with_consents": people}))
        return
    stdout.print(f"{out} patients opted out; consents of {people} patients are registered.", highlight=False)


def _recorded(kind: str, change) -> int:  # type: ignore[no-untyped-def]
    """Make a change and audit it: who, and how many; never whose."""
    from flame_fl.node.wiring import open_store

    node = open_here()
    with ExitStack() as closing:
        store = open_store(node, closing)
        with store.transaction():
            count: int = change(node.data.patients)
            store.record(kind, {"patients": count, "by": user()})
    return count


def _tell(text: str, counts: dict[str, int], *, as_json: bool) -> None:
    typer.echo(json.dumps(counts)) if as_json else stdout.print(text, highlight=False)
