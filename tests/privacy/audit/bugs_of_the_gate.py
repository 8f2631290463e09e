"""Ways to break the gate round a release: blocks of patients, the ledger, the count of a cohort."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flame_fl.data.disguise import block_of
from flame_fl.data.offer import Offer
from flame_fl.gate import claims, cohort_check, ledger, workflow
from flame_fl.gate.ledger_store import LedgerStore
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.privacy.accounting import PrivacyEvent
from tests.support.gates import NoNoise

Patch = pytest.MonkeyPatch


# --- blocks --------------------------------------------------------------------------------------------------------


def _blocks(patch: Patch, block: Callable[[Offer, Any, Any, int, bytes], Any]) -> None:
    def cut(self: Offer, cohort: Any, stated: Any, count: int, key: bytes) -> Any:
        of = np.asarray(block(self, cohort, stated, count, key))
        return tuple(cohort.rows[of == number] for number in range(count))

    patch.setattr(Offer, "blocks", cut)


def _names(offer: Offer, cohort: Any, stated: Any) -> list[str]:
    owners = offer.kind(stated).patients()
    return [str(owners[row]) for row in cohort.rows]


def row_order(patch: Patch) -> None:
    _blocks(patch, lambda offer, cohort, stated, count, key: np.arange(len(cohort.rows)) % count)


def balanced(patch: Patch) -> None:
    def even(offer: Offer, cohort: Any, stated: Any, count: int, key: bytes) -> list[int]:
        names = _names(offer, cohort, stated)
        ranked = sorted(set(names), key=lambda name: block_of(key, name, 1 << 60))
        return [ranked.index(name) % count for name in names]

    _blocks(patch, even)


def keyed_by_size(patch: Patch) -> None:
    def moved(offer: Offer, cohort: Any, stated: Any, count: int, key: bytes) -> list[int]:
        other = key + str(cohort.patients).encode()
        return [block_of(other, name, count) for name in _names(offer, cohort, stated)]

    _blocks(patch, moved)


def by_record(patch: Patch) -> None:
    """Each record by itself: a patient with two is in two blocks."""

    def each(offer: Offer, cohort: Any, stated: Any, count: int, key: bytes) -> list[int]:
        names = _names(offer, cohort, stated)
        nth = [names[:i].count(name) for i, name in enumerate(names)]
        return [(block_of(key, name, count) + n) % count for name, n in zip(names, nth, strict=True)]

    _blocks(patch, each)


def two_blocks_each(patch: Patch) -> None:
    whole = Offer.blocks

    def overlapping(self: Offer, cohort: Any, stated: Any, count: int, key: bytes) -> Any:
        parts = whole(self, cohort, stated, count, key)
        return tuple(np.union1d(part, parts[number - 1]) for number, part in enumerate(parts))

    patch.setattr(Offer, "blocks", overlapping)


def size_in_the_view(patch: Patch) -> None:
    whole = Offer.views

    def telling(self: Offer, parts: Any, stated: Any, wanted: Any, project: str, intos: Sequence[Path]) -> None:
        whole(self, parts, stated, wanted, project, intos)
        for into in intos:
            (into / "cohort.json").write_text(str(sum(len(part) for part in parts)))

    patch.setattr(Offer, "views", telling)


# --- the ledger ------------------------------------------------------------------------------------------------------


def _debits(patch: Patch, made: Callable[[Any, int], bool]) -> None:
    whole, seen = LedgerStore.debit, [0]

    def debit(self: LedgerStore, accounts: Any, debit: Any, event: Any, distance: float = 0.0) -> None:
        seen[0] += not debit.leg_id.startswith("cohort")
        if made(debit, seen[0]):
            whole(self, accounts, debit, event, distance)

    patch.setattr(LedgerStore, "debit", debit)


def two_for_one(patch: Patch) -> None:
    _debits(patch, lambda debit, number: debit.leg_id.startswith("cohort") or number % 2 == 1)


def retry_free(patch: Patch) -> None:
    _debits(patch, lambda debit, number: debit.attempt == 1)


def debited_when_it_leaves(patch: Patch) -> None:
    """What dies before it leaves is not debited, though the sandbox saw the data."""
    whole, commit = LedgerStore.debit, LedgerStore.commit_debit
    waiting: dict[str, Any] = {}

    def debit(self: LedgerStore, *said: Any) -> None:
        waiting[said[1].leg_id] = said

    def later(self: LedgerStore, run_id: str, leg_id: str, attempt: int) -> None:
        whole(self, *waiting.pop(leg_id))
        commit(self, run_id, leg_id, attempt)

    patch.setattr(LedgerStore, "debit", debit)
    patch.setattr(LedgerStore, "commit_debit", later)


def half_sensitivity(patch: Patch) -> None:
    def event(privacy: Any) -> PrivacyEvent | None:
        right = whole(privacy)
        return right and replace(right, multiplier=right.multiplier * 2)

    whole = claims.event_of
    for module in (claims, ledger, workflow):
        patch.setattr(module, "event_of", event)


def patients_not_debited(patch: Patch) -> None:
    patch.setattr(ledger, "accounts_of", lambda privacy, namespaces: (claims.SITE,))


def cap_not_asked(patch: Patch) -> None:
    patch.setattr(ledger, "require_room", lambda *args, **more: None)


def resent_anew(patch: Patch) -> None:
    """The same message gets another answer, each with noise of its own."""
    reserve = Store.reserve_leg

    def again(self: Store, run_id: str, leg_id: str, *more: Any) -> int:
        self._db.execute("DELETE FROM legs WHERE run_id=? AND leg_id=?", run_id, leg_id)
        return reserve(self, run_id, leg_id, *more)

    patch.setattr(Gate, "_answered", lambda self, verified: None)
    patch.setattr(Store, "reserve_leg", again)


# --- the count of a cohort -----------------------------------------------------------------------------------------


def _count(patch: Patch, changed: Callable[..., None]) -> None:
    for module in (cohort_check, workflow):
        patch.setattr(module, "require_enough", changed)


def cohort_exact(patch: Patch) -> None:
    whole = cohort_check.require_enough
    _count(patch, lambda store, limits, noise, *more, **least: whole(store, limits, NoNoise(), *more, **least))


def cohort_noise_small(patch: Patch) -> None:
    whole = cohort_check.require_enough

    def quiet(noise: Any) -> Any:
        def draw(sigma: tuple[int, int], count: int) -> Any:
            return noise.discrete_gaussian((sigma[0], sigma[1] * 100), count)

        return SimpleNamespace(discrete_gaussian=draw, distance=noise.distance, seeded=noise.seeded)

    _count(patch, lambda store, limits, noise, *more, **least: whole(store, limits, quiet(noise), *more, **least))


def cohort_redrawn(patch: Patch) -> None:
    patch.setattr(Store, "cohort_check", lambda self, *which: None)
    patch.setattr(Store, "note_cohort_check", lambda self, *which, **what: None)


def cohort_free(patch: Patch) -> None:
    _debits(patch, lambda debit, number: not debit.leg_id.startswith("cohort"))
