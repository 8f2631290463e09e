"""A data store as the gate sees it: which bytes, whose records may be used now, and views of them."""

import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.errors import InputError
from flame_fl.data.cohort import Cohort, choose, same_id
from flame_fl.data.disguise import Disguise, block_of, derived_key
from flame_fl.data.kind import CutsAtOnce, Kind, Rows, open_kind
from flame_fl.data.layout import Layout, Wanted, layout_of
from flame_fl.data.patients import PatientRegister, Revision
from flame_fl.data.select import chosen_columns, chosen_features
from flame_fl.data.spec import CohortRule

STORE_FILE = "store.json"
_NO_RULE = CohortRule()
_REMEMBERED = 64
_KIN = {"FID", "IID", "SID", "PAT", "MAT"}


class Unchanged(Protocol):
    """Checks that the files are still the snapshot's."""

    def __call__(self, *, fully: bool = False) -> None:
        """Raise `InputError` if they are not; `fully` before a view is made."""


def _nothing(*, fully: bool = False) -> None:
    """No check."""


@dataclass(eq=False)
class Offer:
    """One version of one store.

    Args:
        name: The store's.
        folder: Where its files are.
        snapshot: The keyed hash of its content.
        layout: How it was registered; None if only an analysis's terms say how (a simulation).
        rule: Whose records may be used.
        rule_sha256: Hash of everything registered that decides what a view holds.
        patients: The node's register of opt-outs and consents; None if there is none (a simulation).
        key: The node's; pseudonyms and patients' hashes come from it. None shows ids as they are.
        pseudonyms: Whether ids are hidden.
        shift_days: By how much dates are moved at most.
        namespace: Which patients its ids name: stores of one namespace share one privacy budget.
        unchanged: Raises `InputError` if the files are no longer the snapshot's.
    """

    name: str
    folder: Path
    snapshot: str
    layout: Layout | None = None
    rule: CohortRule = _NO_RULE
    rule_sha256: str = ""
    patients: PatientRegister | None = None
    key: bytes | None = field(default=None, repr=False)
    pseudonyms: bool = False
    shift_days: int = 0
    namespace: str = "patients"
    unchanged: Unchanged = _nothing
    _cohorts: dict[tuple[DataStore, date, Revision], Cohort] = field(default_factory=dict, init=False, repr=False)

    @property
    def binding(self) -> str:
        """What an approval is bound to: the bytes, and the rule that cuts them."""
        return f"{self.snapshot}/{self.rule_sha256}" if self.rule_sha256 else self.snapshot

    def fits(self, stated: DataStore) -> bool:
        """Whether the store is laid out as the analysis says, so that patients are counted alike."""
        if self.layout is None:
            return True
        own, theirs = self.layout, layout_of(stated)
        same = (own.kind, own.table, own.patient_id) == (theirs.kind, theirs.table, theirs.patient_id)
        return same and own.record_id == theirs.record_id and set(theirs.files) <= set(own.files)

    def cohort(self, stated: DataStore, today: date) -> Cohort:
        """Whose records this analysis may use on this day; computed anew when the patients' register changed.

        Raises:
            InputError: The files are not the snapshot's, or cannot be read, or a condition does not fit.
        """
        key = stated, today, self.patients.revision() if self.patients else ()
        if (known := self._cohorts.get(key)) is None:
            known = self._choose(stated, today)
            while len(self._cohorts) >= _REMEMBERED:
                self._cohorts.pop(next(iter(self._cohorts)))
            self._cohorts[key] = known
        return known

    def require(self, stated: DataStore, wanted: Wanted) -> None:
        """Check that there is all that an analysis asks to see, before anybody approves it or waits for it.

        Raises:
            InputError: A column, a feature or a file is not there; or it asks for no feature of a store that has some.
        """
        schema = self.kind(stated).schema()
        chosen_columns([c.name for c in schema.columns], schema.layout, wanted, f"Data store {self.name!r}")
        names = [name for features in schema.features for name in features.names]
        chosen_features(names, wanted, f"Data store {self.name!r}")
        if (names and not wanted.features) or (schema.pictures and not wanted.modalities):
            what = "features" if names else "modalities"
            raise InputError(
                f"The analysis asks for no {what} of data store {self.name!r}, so it would see none.",
                mend=f'Name them in [tool.flame.data.{self.name}], or {what} = ["*"] for every one.',
            )

    def _choose(self, stated: DataStore, today: date) -> Cohort:
        self.unchanged()
        if self.pseudonyms and {c.column for c in stated.where} & _ids(stated):
            raise InputError("A condition picks records by what pseudonyms hide.", mend="State no ids in `where`.")
        provisions = self.rule.consent.provisions if self.rule.consent else ()
        return choose(
            self.kind(stated),
            self.rule,
            where=stated.where,
            modalities=stated.modalities,
            opted_out=self.patients.opted_out() if self.patients else frozenset(),
            consenting=self.patients.consenting(provisions, today) if self.patients and provisions else None,
            mask=self._mask(),
        )

    def _mask(self) -> Callable[[str], int]:
        key = derived_key(self.key, "members") if self.key is not None else b"simulation"
        return lambda patient_id: int.from_bytes(hmac.new(key, patient_id.encode(), sha256).digest()[:8], "big")

    def kind(self, stated: DataStore | None = None) -> Kind:
        """The files, read as the analysis sees them: without further files that it does not name.

        Raises:
            InputError: As `open_kind`.
        """
        layout = layout_of(stated) if stated is not None else self.layout
        if layout is None:
            raise InputError(f"Data store {self.name!r} is not described.", mend="State it in [tool.flame.data].")
        return open_kind(self.folder, layout)

    def view(self, rows: Rows, stated: DataStore, wanted: Wanted, project: str, into: Path) -> None:
        """Write a view of these records into a folder that is made for it, readable by a sandbox's user.

        Raises:
            InputError: The files are not the snapshot's, or something wanted is not there.
            OSError: It cannot be written.
        """
        self.views([rows], stated, wanted, project, [into])

    def views(
        self, parts: Sequence[Rows], stated: DataStore, wanted: Wanted, project: str, intos: Sequence[Path]
    ) -> None:
        """Write several views, such as one per block of patients, reading the store once where its kind can.

        Raises:
            InputError: As `view`.
            OSError: As `view`.
        """
        self.unchanged(fully=True)
        for into in intos:
            into.mkdir(parents=True)
        kind, disguise = self.kind(stated), self.disguise(project)
        if isinstance(kind, CutsAtOnce):
            kind.cut(parts, wanted, disguise, intos)
        else:
            for rows, into in zip(parts, intos, strict=True):
                kind.subset(rows, wanted, disguise, into)
        for into in intos:
            _describe(into, self.name, stated, disguise)

    def blocks(self, cohort: Cohort, stated: DataStore, count: int, key: bytes) -> tuple[Rows, ...]:
        """The cohort's records in so many disjoint blocks of patients, by a keyed hash of the patient's id.

        A patient's records stay together; which block it is depends on the id and the key alone, so that nobody else's
        coming or going moves anybody. Nothing is balanced, and a block may be empty.

        Raises:
            InputError: The store cannot be read.
        """
        patients = self.kind(stated).patients()
        # one person's id may be written differently in two stores: "007" and 7 are in one block
        of = np.array([block_of(key, same_id(str(patients[row]))[1], count) for row in cohort.rows], dtype=np.int64)
        return tuple(cohort.rows[of == block] for block in range(count))

    def disguise(self, project: str) -> Disguise:
        """How ids and dates are shown to a project."""
        if not self.pseudonyms or self.key is None:
            return Disguise()
        return Disguise(derived_key(self.key, f"pseudonyms\0{project}"), self.shift_days)


def _ids(stated: DataStore) -> set[str | None]:
    """Columns that a view shows as pseudonyms. Whoever chose records by them would know whose the pseudonyms are."""
    of_kind = {"images": {"path"}, "plink": _KIN, "pgen": _KIN}.get(stated.kind, set())
    return {stated.patient_id, stated.record_id} | of_kind


def _describe(into: Path, name: str, stated: DataStore, disguise: Disguise) -> None:
    """Say in the view what it is, and let a sandbox's user read it and nobody write it."""
    said = {
        "flame_store": 1,
        "name": name,
        "kind": stated.kind,
        "table": stated.table,
        "patient_id": stated.patient_id,
        "record_id": stated.record_id,
        "files": list(stated.files),
        "pseudonyms": disguise.key is not None,
        "dates_shifted": disguise.shift_days > 0,
    }
    (into / STORE_FILE).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    for path in (into, *into.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o444)


class Offers(Protocol):
    """The stores of a node."""

    def names(self) -> Iterable[str]:
        """Those it offers now."""

    def get(self, name: str, snapshot: str | None = None) -> Offer | None:
        """A store as it is offered now, or the version with this binding; None if there is none."""


class FixedOffers:
    """Stores that do not change: those of a simulation."""

    def __init__(self, offers: Mapping[str, Offer]) -> None:
        self._offers = dict(offers)

    def names(self) -> Iterable[str]:
        """All of them."""
        return sorted(self._offers)

    def get(self, name: str, snapshot: str | None = None) -> Offer | None:
        """The one of that name, if it has that binding."""
        offer = self._offers.get(name)
        return None if offer is None or snapshot not in {None, offer.binding} else offer
