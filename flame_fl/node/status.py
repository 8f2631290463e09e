"""`flame node status`: the node in one look."""

from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from flame_fl.gate.approval import status_on
from flame_fl.node.accounts import account_now
from flame_fl.node.up import running_gate
from flame_fl.node.wiring import Node, open_store
from flame_fl.privacy.accounting import epsilon_of


def status_of(node: Node, closing: ExitStack) -> dict[str, Any]:
    """What runs, what is offered, what waits, what was spent.

    Raises:
        VerificationError: The audit chain does not hold.
    """
    store, limits = open_store(node, closing), node.config.limits
    entries, head = store.verify_audit()
    today = datetime.now(UTC).date()
    pid = running_gate(node)
    accounts = [account_now(store, limits.for_gate(), account) for account in store.accounts()]
    locks = store.locks.open()
    return {
        "state": f"LOCKED since {locks[0].at}: {locks[0].why}; flame node reconcile" if locks else "open",
        "node": node.config.node.name,
        "hub": node.config.hub.address,
        "gate": f"runs (process {pid})" if pid else "does not run",
        "sandbox": f"{node.config.sandbox.kind}, {node.config.sandbox.runtime}",
        "data_stores": {name: f"({r.current.patients} patients)" for name, r in node.data.registry.all().items()},
        "analyses": dict(Counter(status_on(r, today).value for r in store.approvals())),
        "epsilon_spent": {
            str(now.account): f"{epsilon_of(now.spent, now.lifetime.delta):.3g} of {now.lifetime.epsilon:g}"
            for now in accounts
            if now.spent
        }
        or "none",
        "audit": f"holds: {entries} entries, head {head[:16]}…",
    }
