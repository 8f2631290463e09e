"""Registered data stores: what a DIZ offers, by name, and every version of it that an approval may still name.

A registration is a small file; which files a snapshot consists of is in another one beside the snapshot. Both are
written whole or not at all, the registration last: a store is there once its registration is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field, ValidationError

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError
from flame_fl.contract.words import Frozen
from flame_fl.data.files import PRIVATE, remove_tree
from flame_fl.data.files import replace as replace_file
from flame_fl.data.snapshot import Mode, Snapshot
from flame_fl.data.spec import StoreSpec


class Version(Frozen):
    """One version of a store: a snapshot under a rule."""

    number: int
    snapshot: str
    mode: Mode
    spec: StoreSpec
    at: str
    rows: int
    patients: int
    size: int
    schema_sha256: str
    provenance: str = ""

    @property
    def binding(self) -> str:
        """What an approval names."""
        return f"{self.snapshot}/{self.spec.rule_sha256}"


class Registration(Frozen):
    """A store's versions, oldest first; the last one is offered."""

    name: str
    versions: tuple[Version, ...] = Field(min_length=1)

    @property
    def current(self) -> Version:
        """What is offered now."""
        return self.versions[-1]

    def version(self, binding: str | None) -> Version | None:
        """The version with a binding, or the current one."""
        if binding is None:
            return self.current
        return next((v for v in reversed(self.versions) if v.binding == binding), None)


@dataclass(frozen=True)
class Registry:
    """The registrations and snapshots of a node.

    Args:
        stores: Folder of the registrations.
        snapshots: Folder of the snapshots that are the node's own, and of the lists of their files.
    """

    stores: Path
    snapshots: Path

    def all(self) -> dict[str, Registration]:
        """By name.

        Raises:
            InputError: A file is none of ours.
        """
        found = [self._read(path) for path in sorted(self.stores.glob("*.json"))]
        return {registration.name: registration for registration in found}

    def names(self) -> list[str]:
        """Of all stores."""
        return sorted(path.stem for path in self.stores.glob("*.json"))

    def path(self, name: str) -> Path:
        """Where a registration is."""
        return self.stores / f"{name}.json"

    def get(self, name: str) -> Registration:
        """One of them.

        Raises:
            InputError: There is none, or its file is none of ours.
        """
        if not self.path(name).is_file():
            raise InputError(f"There is no data store {name!r}.", mend="See `flame node data list`.")
        return self._read(self.path(name))

    @staticmethod
    def _read(path: Path) -> Registration:
        try:
            return Registration.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, ValidationError):
            raise InputError(
                f"{path} is no registration of a data store that this version knows.",
                mend=f"Move {path} away, and register the store again.",
            ) from None

    def snapshot(self, version: Version) -> Snapshot:
        """Which files a version consists of.

        Raises:
            InputError: The list is gone or none of ours.
        """
        path = self._list_of(version)
        try:
            return Snapshot.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            raise InputError(f"{path} is no list of a snapshot's files.", mend="Register the store again.") from None

    def numbered(self, name: str, version: Version) -> Version:
        """A version with its number: the one that the same content and rule had before, or the next one."""
        known = self._known(name)
        same = next((v.number for v in known if v.binding == version.binding), None)
        return version.model_copy(update={"number": same or 1 + max((v.number for v in known), default=0)})

    def put(self, name: str, version: Version, snapshot: Snapshot, *, dropped: Sequence[Version] = ()) -> Registration:
        """Register a store, or a new version of it, in the place of those that are dropped."""
        registration = Registration(name=name, versions=(*(v for v in self._known(name) if v not in dropped), version))
        for folder in (self.stores, self.snapshots):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(snapshot.as_json(), sort_keys=True)
        replace_file(self._list_of(version), text.encode(), PRIVATE)
        replace_file(self.path(name), registration.model_dump_json(indent=1, by_alias=True).encode(), PRIVATE)
        return registration

    def renew(self, version: Version, snapshot: Snapshot) -> None:
        """Note the times and inodes of files whose content was just found to be the version's."""
        replace_file(self._list_of(version), json.dumps(snapshot.as_json(), sort_keys=True).encode(), PRIVATE)

    def put_back(self, name: str, before: Registration | None) -> None:
        """Make a registration what it was."""
        if before is None:
            self.path(name).unlink(missing_ok=True)
        elif self._read(self.path(name)) != before:
            replace_file(self.path(name), before.model_dump_json(indent=1, by_alias=True).encode(), PRIVATE)

    def _known(self, name: str) -> tuple[Version, ...]:
        return self._read(self.path(name)).versions if self.path(name).is_file() else ()

    def remove(self, name: str) -> None:
        """Forget a store and delete its copies; a source folder is not touched.

        Raises:
            InputError: There is none.
        """
        versions = self.get(name).versions
        self.path(name).unlink()
        self.delete(versions)

    def adopt(self, incoming: Path, snapshot: Snapshot) -> Snapshot:
        """Give a copy that was just made its name; the same content twice is kept once."""
        folder = self.snapshots / snapshot.id
        if folder.exists():
            remove_tree(incoming)
            return self._kept(snapshot, folder)
        incoming.rename(folder)
        return replace(snapshot, folder=str(folder))

    def _kept(self, snapshot: Snapshot, folder: Path) -> Snapshot:
        for registration in self.all().values():
            for version in registration.versions:
                if version.snapshot == snapshot.id and version.mode != "in-place":
                    return self.snapshot(version)
        remove_tree(folder)  # left by somebody who died before registering it
        raise InputError("An unfinished snapshot was in the way; it is removed.", mend="Do it again.")

    def delete(self, versions: Sequence[Version]) -> None:
        """Delete what was kept of versions, unless a registration names it."""
        left = [v for registration in self.all().values() for v in registration.versions]
        lists, copies = {self._list_of(v) for v in left}, {v.snapshot for v in left if v.mode != "in-place"}
        for version in versions:
            if self._list_of(version) not in lists:
                self._list_of(version).unlink(missing_ok=True)
            if version.mode != "in-place" and version.snapshot not in copies:
                remove_tree(self.snapshots / version.snapshot)

    def _list_of(self, version: Version) -> Path:
        """One list for a copy, one for each place where data are used: the same content may lie in several."""
        place = "own" if version.mode != "in-place" else sha256_hex(str(version.spec.folder).encode())[:16]
        return self.snapshots / f"{version.snapshot}.{place}.json"
