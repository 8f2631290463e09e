"""The ledger in the node's state file: what was debited from whom, and the caps that hold.

Rows are only ever added; the one change is from `reserved` to `committed`, which costs nothing back. A row holds the
event itself, never only its epsilon, so that a later accountant can read the same ledger.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flame_fl.gate.claims import Account
from flame_fl.gate.database import Database
from flame_fl.privacy.accounting import Events, PrivacyEvent, event_from
from flame_fl.privacy.filters import Filter, order_for

LIFETIME = ""
"""The project of a cap that all projects share."""
_NO_CLAIM = json.dumps({"event": "no-claim"})


@dataclass(frozen=True)
class LedgerEntry:
    """One debit from one account. `event` is "no-claim", and there is no account, where nothing is claimed."""

    at: str
    account: Account | None
    stores: tuple[str, ...]
    project: str
    digest: str
    run_id: str
    leg_id: str
    attempt: int
    event: Mapping[str, Any]
    distance: float
    state: str  # reserved | committed


@dataclass(frozen=True)
class Cap:
    """A cap as somebody set it. The newest one of an account and project holds."""

    account: Account
    project: str
    epsilon: float
    at: str
    by: str
    comment: str


@dataclass(frozen=True)
class Debit:
    """What one attempt at one leg is debited for."""

    project: str
    digest: str
    run_id: str
    leg_id: str
    attempt: int
    stores: tuple[str, ...] = ()


class LedgerStore(ABC):
    """Debits, accounts and caps. `Store` is one."""

    _db: Database

    @abstractmethod
    def record(self, kind: str, body: Mapping[str, Any]) -> str:
        """Append an audit entry; returns the new head."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""

    # --- debits ------------------------------------------------------------------------------------------------

    def debit(
        self, accounts: Iterable[Account], debit: Debit, event: PrivacyEvent | None, distance: float = 0.0
    ) -> None:
        """Reserve one release's event against accounts; without a claim it is noted, at no cost."""
        stated = _NO_CLAIM if event is None else json.dumps(event.as_json())
        rows = [(a.unit, a.namespace) for a in accounts] if event is not None else [("none", "")]
        for unit, namespace in rows:
            self._db.execute(
                "INSERT INTO debits(at, unit, namespace, stores, project, digest, run_id, leg_id, attempt, event,"
                " distance, state) VALUES(?,?,?,?,?,?,?,?,?,?,?,'reserved')",
                _now(), unit, namespace, ",".join(sorted(debit.stores)), debit.project, debit.digest, debit.run_id,
                debit.leg_id, debit.attempt, stated, distance,
            )  # fmt: skip

    def commit_debit(self, run_id: str, leg_id: str, attempt: int) -> None:
        """The release left: its debit is final."""
        self._db.execute(
            "UPDATE debits SET state='committed' WHERE run_id=? AND leg_id=? AND attempt=?", run_id, leg_id, attempt
        )

    def spent(self, account: Account, *, digest: str | None = None, project: str | None = None) -> Events:
        """The events debited from an account, by one analysis, one project, or all.

        Raises:
            ValueError: One is of a kind that this version does not know.
        """
        rows = self._db.rows(
            "SELECT event, COUNT(*) FROM debits WHERE unit=?1 AND namespace=?2 AND (?3 IS NULL OR digest=?3)"
            " AND (?4 IS NULL OR project=?4) GROUP BY event",
            account.unit,
            account.namespace,
            digest,
            project,
        )
        found: dict[PrivacyEvent, int] = {}
        for text, count in rows:
            if (event := event_from(json.loads(text))) is not None:
                found[event] = found.get(event, 0) + count
        return found

    def distance(self, account: Account) -> float:
        """The sum of the samplers' distances of everything debited from an account."""
        total: float = self._db.rows(
            "SELECT COALESCE(SUM(distance), 0.0) FROM debits WHERE unit=? AND namespace=?",
            account.unit,
            account.namespace,
        )[0][0]
        return total

    def ledger(self, account: Account | None = None) -> list[LedgerEntry]:
        """Every debit, or those of one account, oldest first."""
        rows = self._db.rows(
            "SELECT at, unit, namespace, stores, project, digest, run_id, leg_id, attempt, event, distance, state"
            " FROM debits WHERE ?1 IS NULL OR (unit=?1 AND namespace=?2) ORDER BY seq",
            account and account.unit,
            account and account.namespace,
        )
        return [
            LedgerEntry(
                at,
                None if unit == "none" else Account(unit, namespace),
                tuple(stores.split(",")) if stores else (),
                project,
                digest,
                run_id,
                leg_id,
                attempt,
                json.loads(event),
                distance,
                state,
            )
            for at, unit, namespace, stores, project, digest, run_id, leg_id, attempt, event, distance, state in rows
        ]

    def accounts(self) -> list[Account]:
        """Those that something was debited from, or that a cap was set for."""
        rows = self._db.rows(
            "SELECT unit, namespace FROM debits WHERE unit<>'none' UNION SELECT unit, namespace FROM caps ORDER BY 1, 2"
        )
        return [Account(unit, namespace) for unit, namespace in rows]

    def debitors(self, account: Account) -> list[str]:
        """Those that debited the account, or have a cap of their own there."""
        rows = self._db.rows(
            "SELECT project FROM debits WHERE unit=?1 AND namespace=?2 UNION"
            " SELECT project FROM caps WHERE unit=?1 AND namespace=?2 AND project<>'' ORDER BY 1",
            account.unit,
            account.namespace,
        )
        return [project for (project,) in rows]

    # --- caps --------------------------------------------------------------------------------------------------

    def caps(self, account: Account) -> list[Cap]:
        """Every cap that was ever set for an account, oldest first."""
        rows = self._db.rows(
            "SELECT project, epsilon, at, by, comment FROM caps WHERE unit=? AND namespace=? ORDER BY seq",
            account.unit,
            account.namespace,
        )
        return [Cap(account, *row) for row in rows]

    def cap(self, account: Account, project: str = LIFETIME) -> float | None:
        """The epsilon that was last set, if one was."""
        return next((cap.epsilon for cap in reversed(self.caps(account)) if cap.project == project), None)

    def set_cap(self, account: Account, epsilon: float, *, by: str, comment: str = "", project: str = LIFETIME) -> None:
        """Set a cap. That is the only way in which a budget ever grows, and the audit log says who did it.

        Raises:
            ValueError: epsilon is no positive number.
        """
        if not 0 < epsilon < float("inf"):
            raise ValueError("a cap is a positive number")
        with self.transaction():
            before = self.cap(account, project)
            self._db.execute(
                "INSERT INTO caps(unit, namespace, project, epsilon, at, by, comment) VALUES(?,?,?,?,?,?,?)",
                account.unit, account.namespace, project, epsilon, _now(), by, comment,
            )  # fmt: skip
            said = {"account": str(account), "project": project, "before": before, "epsilon": epsilon, "by": by}
            self.record("budget-cap", said | {"comment": comment})

    def opened(self, account: Account) -> tuple[float, float] | None:
        """(Rényi order, delta) of an account, which are fixed when it is first used; None before."""
        rows = self._db.rows(
            "SELECT renyi_order, delta FROM accounts WHERE unit=? AND namespace=?", account.unit, account.namespace
        )
        return rows[0] if rows else None

    def lifetime(self, account: Account, epsilon: float, delta: float) -> Filter:
        """The account's filter: the cap that was set for it, and never more than the node's settings say now.

        The first time, the account is opened: its delta and its Rényi order are fixed for ever, from the cap alone. A
        cap that is raised later leaves the order as it is.

        Args:
            account: Whose.
            epsilon: The cap in the node's settings.
            delta: Theirs, for an account that is opened now.
        """
        found = self.opened(account)
        if found is None:
            with self.transaction():
                if (known := self.cap(account)) is None:
                    self.set_cap(account, epsilon, by="node settings", comment="the account was opened")
                epsilon = epsilon if known is None else min(known, epsilon)
                order = order_for(epsilon, delta)
                self._db.execute(
                    "INSERT INTO accounts VALUES(?,?,?,?,?)", account.unit, account.namespace, order, delta, _now()
                )
                return Filter(epsilon, delta, order)
        order, fixed_delta = found
        return Filter(self.cap(account) or epsilon, fixed_delta, order)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
