"""Turns what the gates know after a run into the values a report is made from."""

from collections.abc import Mapping
from datetime import UTC, datetime

from flame_fl.contract.errors import VerificationError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.terms import Privacy, Scalar
from flame_fl.gate.approval import status_on
from flame_fl.gate.claims import accounts_of
from flame_fl.gate.workflow import Gate
from flame_fl.privacy.accounting import epsilon_of
from flame_fl.privacy.risk import risk_of
from flame_fl.report.facts import (
    AccountFacts,
    NodeFacts,
    RoundFacts,
    TermsFacts,
    installed_versions,
    refusal_facts,
)
from flame_fl.simulation.nodes import patients_of
from flame_fl.simulation.tally import Tally


def terms_facts(manifest: Manifest, *, open_simulation: bool) -> TermsFacts:
    """The privacy terms as approved."""
    privacy = Privacy() if manifest.terms is None or open_simulation else manifest.terms.privacy
    return TermsFacts(**privacy.model_dump(include=set(TermsFacts.model_fields)))


def node_facts(gate: Gate, manifest: Manifest, tally: Tally) -> NodeFacts:
    """What one gate's state says of a run."""
    record = gate.store.approval(manifest.digest)
    privacy = manifest.terms.privacy if manifest.terms and not (record and record.unsafe_open) else Privacy()
    counted = tally.nodes[gate.node]
    try:
        entries, head = gate.store.verify_audit()
        verified = True
    except VerificationError:
        entries, head, verified = 0, "", False
    accounts = _accounts(gate, manifest, privacy)
    dearest = max((a for a in accounts if a.unit == privacy.unit), key=lambda a: a.epsilon_spent, default=None)
    return NodeFacts(
        name=gate.node,
        status=status_on(record, datetime.now(UTC).date()).value if record else "unknown",
        approved_by=record.by if record else "",
        patients=patients_of(gate.data, manifest.terms) or None,
        refusals=refusal_facts(counted.refusals),
        messages=counted.messages,
        bytes_in=counted.bytes_in,
        bytes_out=counted.bytes_out,
        seconds_sandbox=counted.sandbox_seconds,
        seconds_gate=max(0.0, counted.seconds - counted.sandbox_seconds),
        epsilon_spent=dearest and dearest.epsilon_spent,
        epsilon_cap=dearest and dearest.epsilon_cap,
        delta=dearest and dearest.delta,
        accounts=accounts,
        unit=privacy.unit,
        ground=privacy.ground,
        audit_entries=entries,
        audit_head=head,
        audit_verified=verified,
    )


def _accounts(gate: Gate, manifest: Manifest, privacy: Privacy) -> tuple[AccountFacts, ...]:
    """What the analysis is debited from, as the ledger has it now."""
    stores = manifest.terms.data if manifest.terms else {}
    offers = [offer for name in stores if (offer := gate.data.get(name)) is not None]
    cap, delta, found = gate.limits.epsilon_cap, gate.limits.delta, []
    for account in accounts_of(privacy, [offer.namespace for offer in offers]):
        spent = gate.store.spent(account)
        risk = risk_of(spent)
        found.append(
            AccountFacts(
                unit=account.unit,
                namespace=account.namespace,
                epsilon_spent=epsilon_of(spent, delta),
                epsilon_cap=min(gate.store.cap(account) or cap, cap),
                delta=delta,
                advantage=risk.advantage,
                tpr=risk.tpr,
            )
        )
    return tuple(found)


def round_facts(tally: Tally) -> tuple[RoundFacts, ...]:
    """Every batch of messages the ServerApp sent."""
    return tuple(
        RoundFacts(
            index=batch.index,
            message_type=batch.message_type,
            started=batch.started,
            seconds=batch.seconds,
            replied=batch.replied,
            refused=batch.refused,
            bytes_in=batch.bytes_in,
            bytes_out=batch.bytes_out,
            metrics=batch.metrics,
        )
        for batch in tally.batches
    )


def versions() -> Mapping[str, str]:
    """What the run was made with."""
    return installed_versions("flame-fl", "flame-strategies", "flwr", "numpy", "torch")


def plain_config(config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A run config in key order."""
    return {key: config[key] for key in sorted(config)}
