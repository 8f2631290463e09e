"""The registered data stores as the gate sees them: offers, by name, in the version that an approval names."""

from collections.abc import Iterable
from pathlib import Path

from flame_fl.contract.errors import InputError
from flame_fl.data.files import Stamp, stamp
from flame_fl.data.offer import Offer
from flame_fl.data.patients import PatientRegister
from flame_fl.data.snapshot import Snapshot, changed, verify
from flame_fl.node.registry import Registration, Registry, Version


class NodeOffers:
    """Looks at the registrations again whenever one of their files changed. A store that cannot be read is not there.

    Args:
        registry: The node's.
        patients: Its register of opt-outs and consents.
        key: Its key for pseudonyms, patients' hashes and snapshots' names.
    """

    def __init__(self, registry: Registry, patients: PatientRegister, key: bytes) -> None:
        self._registry, self._patients, self._key = registry, patients, key
        self._read: dict[str, tuple[Stamp, Registration]] = {}
        self._offers: dict[tuple[str, str], Offer] = {}

    def names(self) -> Iterable[str]:
        """Those that are registered."""
        return self._registry.names()

    def get(self, name: str, snapshot: str | None = None) -> Offer | None:
        """A store as it is offered now, or the version with this binding."""
        try:
            version = self._registration(name).version(snapshot)
            return None if version is None else self._offer(name, version)
        except (OSError, InputError):
            return None

    def _registration(self, name: str) -> Registration:
        seen = stamp(self._registry.path(name))
        known = self._read.get(name)
        if known is None or known[0] != seen:
            self._read[name] = known = (seen, self._registry.get(name))
            # the same version may be kept elsewhere now: a copy, or another folder
            self._offers = {key: offer for key, offer in self._offers.items() if key[0] != name}
        return known[1]

    def _offer(self, name: str, version: Version) -> Offer:
        if (offer := self._offers.get((name, version.binding))) is None:
            snapshot = self._registry.snapshot(version)
            offer = Offer(
                name=name,
                folder=Path(snapshot.folder),
                snapshot=version.snapshot,
                layout=version.spec.layout.layout,
                rule=version.spec.cohort,
                rule_sha256=version.spec.rule_sha256,
                patients=self._patients,
                key=self._key,
                pseudonyms=version.spec.pseudonyms,
                shift_days=version.spec.shift_dates_days,
                namespace=version.spec.namespace,
                unchanged=SnapshotCheck(snapshot, self._key),
            )
            self._offers[name, version.binding] = offer
        return offer


class SnapshotCheck:
    """Whether a snapshot's files are still its own: looked at each time, hashed again if anything about them differs.

    A copy of the node's own is hashed whenever a view is made of it (`fully`): nobody else may write there, so a time
    that did not change proves less than it does for a source that people work with.
    """

    def __init__(self, snapshot: Snapshot, key: bytes) -> None:
        self._snapshot, self._key = snapshot, key

    def __call__(self, *, fully: bool = False) -> None:
        """Check.

        Raises:
            InputError: They are not.
        """
        if changed(self._snapshot) or (fully and self._snapshot.mode != "in-place"):
            self._snapshot = verify(self._snapshot, self._key)
