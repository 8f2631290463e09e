"""Locks in the node's state file: set when something shows that the state is older than what left (`rollback`)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flame_fl.contract.errors import VerificationError
from flame_fl.gate.checkpoints import Checkpoints
from flame_fl.gate.claims import Account
from flame_fl.gate.heads import Head
from flame_fl.gate.ledger_store import LedgerStore
from flame_fl.gate.rollback import LEFT, LastHead, Locks, closing_epsilon, evidence, is_behind, lost_heads
from flame_fl.privacy.filters import Filter


class LockStore(LedgerStore):
    """Locks, and the ledger that they protect. `Store` is one."""

    _points: Checkpoints
    _last_head: LastHead | None
    _public: str

    @property
    def locks(self) -> Locks:
        """Evidence that the state is older than what left, and what stewards said to it."""
        return Locks(self._db)

    def lock(self, why: str, head: str) -> None:
        """Answer nothing more until a steward has reconciled the state; once for each head."""
        with self.transaction():
            if self.locks.add(why, head, _now()):
                self.record("state-locked", {"why": why, "head": head})
                self._points.make(_now())

    def look_back(self) -> None:
        """Lock the state if a file of the node's shows it. Whenever the state is opened, before anything is decided.

        Raises:
            VerificationError: The file among the keys holds something else.
        """
        if self._public:
            for why, head in list(evidence(self.locks, self._points, self._last_head, self._public)):
                self.lock(why, head)

    def look_at(self, heads: Sequence[Head]) -> None:
        """Lock the state if one of these heads left this node and is not in its chain."""
        if self._public:
            for head in lost_heads(self.locks, heads, self._public):
                self.lock(LEFT, head)

    def keep_head(self) -> None:
        """Keep the newest head that left: once its release is committed, before it leaves.

        Where it cannot be written, that is tried again at the next release; a gate would not start then.
        """
        with suppress(OSError):
            self.require_head_kept()

    def require_head_kept(self) -> None:
        """As `keep_head`. What no steward has seen yet is not written over.

        Raises:
            OSError: It cannot be written.
        """
        if self._last_head is not None and not self.locks.open():
            self._last_head.write(*(self.locks.newest_release() or (0, "")))

    def reconcile(
        self, body: Mapping[str, Any], *, by: str, comment: str, heads: Sequence[str], stated: int, closed: bool
    ) -> None:
        """Answer again. `node.reconcile` says on which terms; the file that showed it is kept under another name.

        Args:
            body: What the audit entry says beside who and why.
            by: The local user.
            comment: Why.
            heads: Missing releases that others showed.
            stated: How many further ones are said to be missing.
            closed: Whether the accounts were closed.
        """
        at, file = _now(), self._points.file
        with suppress(VerificationError):  # no checkpoint: the check of the chain tells of it
            if is_behind(self.locks, self._points, self._public):  # first: after a crash the state is still locked
                file.rename(file.with_name(f"{file.name}.{at.replace(':', '')}"))
        with self.transaction():
            self.locks.release(at, by, comment, heads=heads, stated=stated, closed=closed)
            self.record("state-reconciled", {**body, "by": by, "comment": comment})
            self._points.make(at)
        self.keep_head()

    def lifetime(self, account: Account, epsilon: float, delta: float) -> Filter:
        """As the ledger's. What is opened after a reconciliation that closed every account is closed as well."""
        known = self.cap(account) is not None or not self.locks.closed
        found = super().lifetime(account, epsilon, delta)
        return found if known else self.close_account(account, found)

    def close_account(self, account: Account, lifetime: Filter, *, by: str = "node settings") -> Filter:
        """Set the cap to what is spent. Only an explicit cap opens the account again.

        Args:
            account: Which.
            lifetime: Its filter now.
            by: Who closes it.

        """
        try:
            spent = self.spent(account)
        except ValueError:  # an event that this version does not know: it cost something, and nothing is admitted
            spent = {}
        epsilon = closing_epsilon(lifetime, spent)
        self.set_cap(account, epsilon, by=by, comment="closed: releases may be missing since the state was restored")
        return Filter(epsilon, lifetime.delta, lifetime.order)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
