"""The audits: each runs the product's own functions on inputs that would show a leak, and raises `Finding` if it does.

Two kinds. *Statistical* ones (`mechanism`, `two releases`, `through the gate`, `count at the threshold`) need many
releases with fresh noise of the operating system; their false alarms are at most `ALPHA` = 1e-6 each. *Exact* ones take
the noise away or fix it, and compare bits or integers: they cannot fail by chance.

An audit looks up what it audits where the product finds it, at the time it runs, so that a seeded bug is in its path.
"""

from collections.abc import Callable
from typing import Any

from tests.privacy.audit.attacks import Attack, attacks
from tests.privacy.audit.count_audits import audit_count, audit_count_is_made_once
from tests.privacy.audit.gate_audits import (
    audit_cap,
    audit_failing_block,
    audit_ledger_covers,
    audit_one_block_changes,
    audit_reply_says_nothing,
    audit_through_the_gate,
)
from tests.privacy.audit.release_audits import (
    audit_delta,
    audit_failure_is_zero,
    audit_form,
    audit_lattice,
    audit_mechanism,
    audit_noise_knows_no_data,
    audit_sensitivity,
    audit_two_releases,
)

Audit = Callable[[], Any]
FAST = 500  # releases about each neighbour: tests/privacy/audit/test_seeded_bugs.py states the power


def audits() -> dict[str, Audit]:
    """Every audit by name, at a size that a developer can wait for."""
    return {
        **{f"mechanism, {name}": _sized(audit_mechanism, attack, FAST) for name, attack in attacks().items()},
        "two releases": lambda: audit_two_releases(FAST),
        "sensitivity": audit_sensitivity,
        "noise knows no data": audit_noise_knows_no_data,
        "grid of integers": audit_lattice,
        "form": audit_form,
        "a failure is zero": audit_failure_is_zero,
        "delta": audit_delta,
        "through the gate": lambda: audit_through_the_gate(200),
        "ledger covers releases": audit_ledger_covers,
        "cap": audit_cap,
        "a failing block does not show": audit_failing_block,
        "one block changes": audit_one_block_changes,
        "reply says nothing": audit_reply_says_nothing,
        "count at the threshold": lambda: audit_count(2000),
        "count is made once": audit_count_is_made_once,
    }


def _sized(audit: Callable[[Attack, int], Any], attack: Attack, size: int) -> Audit:
    return lambda: audit(attack, size)
