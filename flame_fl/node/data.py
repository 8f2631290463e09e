"""`flame node data`: a store is looked at, hashed, reported on and registered, or nothing of it is left."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.data.cohort import Cohort, choose, same_id
from flame_fl.data.files import PRIVATE, remove_tree, replace
from flame_fl.data.kind import Examines, Kind, open_kind
from flame_fl.data.patients import PatientRegister
from flame_fl.data.quality import Quality, report
from flame_fl.data.schema import StoreSchema
from flame_fl.data.snapshot import Mode, Progress, Snapshot, keep, take, verify
from flame_fl.data.sources import fhir, s3
from flame_fl.data.sources.fhir import FhirSource
from flame_fl.data.sources.s3 import S3Source
from flame_fl.data.spec import FolderSource, StoreSpec
from flame_fl.gate.approval import Status
from flame_fl.gate.store import Store
from flame_fl.node.registry import Registration, Registry, Version

StepProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DataFiles:
    """Where a node keeps what belongs to its data."""

    state: Path

    @property
    def registry(self) -> Registry:
        """Registrations and snapshots."""
        return Registry(self.state / "stores", self.state / "snapshots")

    @property
    def patients(self) -> PatientRegister:
        """Opt-outs and consents."""
        return PatientRegister(self.state / "patients")

    def quality(self, snapshot_id: str) -> Path:
        """The quality report of a snapshot. It holds patients' values and stays here."""
        return self.state / "quality" / f"{snapshot_id}.json"

    def schema(self, name: str) -> Path:
        """The schema that the steward released."""
        return self.state / "schemas" / f"{name}.json"


@dataclass(frozen=True)
class Adding:
    """How a store is registered.

    Attributes:
        replace: The store may get another layout, source or rule than it has.
        copy: Make a copy of the node's own where files cannot be shared: yes, no, or ask (None).
        ask: Asks a person whether so many bytes may be copied; None where nobody can be asked.
        progress: Told what is done, how far, of how much.
        by: Who does it, for the audit chain.
    """

    key: bytes = field(repr=False)
    by: str
    copy: bool | None = None
    replace: bool = False
    ask: Callable[[int], bool] | None = None
    progress: StepProgress = lambda what, done, total: None


def add(files: DataFiles, store: Store, name: str, spec: StoreSpec, how: Adding) -> Registration:
    """Register a store, or a new version of one that is there.

    Raises:
        InputError: It cannot be a data store; the sentence says why, and never names a value.
        UnreachableError: Its source does not answer.
        FlameError: It cannot be written.
    """
    _check_name(name)
    registry = files.registry
    _require_namespace(registry, name, spec)
    if not how.replace:
        _require_same(registry, name, spec)
    with _incoming(registry) as incoming:
        snapshot, provenance = _taken(spec, how, incoming, _hashed_before(registry, name))
        folder = Path(snapshot.folder)
        kind = open_kind(folder, spec.layout.layout)
        schema, found = kind.schema(), cohort_today(kind, spec, files)
        quality = _examined(kind)
        _require_unique_records(spec, quality)
        if snapshot.mode != "in-place":
            snapshot = registry.adopt(folder, snapshot)
        stated = Version(
            number=1,
            snapshot=snapshot.id,
            mode=snapshot.mode,
            spec=spec,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            rows=len(found.rows),
            patients=found.patients,
            size=snapshot.size,
            schema_sha256=schema.sha256,
            provenance=provenance,
        )
        with _or_nothing(files, name, stated):
            replace_made(files.quality(snapshot.id), quality.model_dump_json(indent=1).encode())
            dropped = _unnamed(registry, store, name, stated)
            version = registry.numbered(name, stated)
            with store.transaction():
                store.record("data-registered", _told(name, version, by=how.by))
                registration = registry.put(name, version, snapshot, dropped=dropped)
        registry.delete(dropped)
        _forget_reports(files)
    return registration


def _told(name: str, version: Version, *, by: str) -> dict[str, object]:
    return {
        "store": name,
        "version": version.number,
        "binding": version.binding,
        "schema": version.schema_sha256,
        "mode": version.mode,
        "by": by,
    }


@contextmanager
def _or_nothing(files: DataFiles, name: str, version: Version) -> Iterator[None]:
    """If it fails, the registration is the one before, and of the new version nothing is kept."""
    registry = files.registry
    before = registry.get(name) if registry.path(name).is_file() else None
    try:
        yield
    except BaseException:
        registry.put_back(name, before)
        registry.delete([version])
        _forget_reports(files)
        raise


def refresh(files: DataFiles, store: Store, name: str, how: Adding) -> Registration:
    """Look at a store's source again; another content is a new version, which no approval names yet.

    Raises:
        InputError: As `add`; or there is no such store.
    """
    registration = files.registry.get(name)
    copied = registration.current.mode in {"copy", "reflink"}
    again = replace_fields(how, copy=how.copy if how.copy is not None else copied)
    return add(files, store, name, registration.current.spec, again)


def check(files: DataFiles, name: str, key: bytes, progress: StepProgress = lambda what, done, total: None) -> Quality:
    """Hash a store's files again, and report on them anew.

    Raises:
        InputError: They are not what was registered.
    """
    version = files.registry.get(name).current
    snapshot = verify(files.registry.snapshot(version), key, lambda done, total: progress("checking", done, total))
    quality = _examined(open_kind(Path(snapshot.folder), version.spec.layout.layout))
    replace_made(files.quality(snapshot.id), quality.model_dump_json(indent=1).encode())
    files.registry.renew(version, snapshot)
    return quality


def _examined(kind: Kind) -> Quality:
    """A report on a store, after it was seen that views of it can be made."""
    if isinstance(kind, Examines):
        kind.examine()
    return report(kind)


def _offered(files: DataFiles, registration: Registration) -> Kind:
    """A registered store as it is offered now."""
    version = registration.current
    return open_kind(Path(files.registry.snapshot(version).folder), version.spec.layout.layout)


def remove(files: DataFiles, store: Store, name: str, *, by: str) -> None:
    """Forget a store, unless an approval names it. Its source is not touched.

    Raises:
        InputError: There is none, or an analysis is approved for it.
    """
    registration = files.registry.get(name)
    if named := sorted(digest for v in registration.versions for digest in approvals_of(store, name, v)):
        raise InputError(
            f"{len(named)} approved analyses name data store {name!r}, {named[0][:12]} for example.",
            mend="Take the approvals back first: flame node reject DIGEST.",
        )
    with store.transaction():
        store.record("data-removed", {"store": name, "by": by})
        files.registry.remove(name)
    _forget_reports(files)
    files.schema(name).unlink(missing_ok=True)


def _forget_reports(files: DataFiles) -> None:
    """Drop the reports on snapshots that are registered no longer."""
    known = {v.snapshot for registration in files.registry.all().values() for v in registration.versions}
    for path in files.quality("any").parent.glob("*.json"):
        if path.stem not in known:
            path.unlink()


def cohort_today(kind: Kind, spec: StoreSpec, files: DataFiles) -> Cohort:
    """The cohort of today under the store's own rule.

    Raises:
        InputError: A column of the rule is not there, or no record belongs to anybody.
    """
    if not any(p is not None for p in kind.patients()):
        raise InputError(
            f"No record in {spec.layout.table} names its patient in {spec.layout.patient_id!r}.",
            mend="Name the column that holds the patient ids.",
        )
    provisions = spec.cohort.consent.provisions if spec.cohort.consent else ()
    return choose(
        kind,
        spec.cohort,
        opted_out=files.patients.opted_out(),
        consenting=files.patients.consenting(provisions, datetime.now(UTC).date()) if provisions else None,
    )


def released_schema(files: DataFiles, name: str) -> StoreSchema | None:
    """The schema that was released for a store, if one was."""
    try:
        return StoreSchema.model_validate_json(files.schema(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def drafted_schema(files: DataFiles, name: str) -> StoreSchema:
    """A schema of names and types, from the store as it is.

    Raises:
        InputError: There is no such store, or it cannot be read.
    """
    return _offered(files, files.registry.get(name)).schema()


def _names_of(schema: StoreSchema) -> set[str]:
    return {c.name for c in schema.columns} | {name for f in schema.features for name in f.names}


def known_ids(files: DataFiles, ids: Iterable[str]) -> int:
    """How many of these ids occur in a store that is offered; stores that cannot be read are left out."""
    wanted, found = {word: same_id(word) for word in ids}, set[str]()
    for registration in files.registry.all().values():
        with suppress(InputError, OSError):
            patients = _offered(files, registration).patients()
            found.update(form for p in patients if p is not None for form in same_id(p))
    return sum(not found.isdisjoint(forms) for forms in wanted.values())


def release_schema(files: DataFiles, store: Store, name: str, schema: StoreSchema, *, by: str) -> None:
    """Let researchers have a schema: the steward read it and stands for every value in it.

    Raises:
        InputError: It describes another store than this one.
    """
    layout = files.registry.get(name).current.spec.layout.layout
    if schema.layout != layout:
        raise InputError(
            "The schema describes a store of another kind or with other files.", mend="`flame node data schema NAME`."
        )
    if unknown := sorted(_names_of(schema) - _names_of(drafted_schema(files, name))):
        raise InputError(
            f"The store has no column or feature {unknown[0]!r}, which the schema names.",
            mend="Begin with `flame node data schema NAME --out FILE` of the store as it is now.",
        )
    with store.transaction():
        store.record("schema-released", {"store": name, "schema": schema.sha256, "by": by})
        replace_made(files.schema(name), schema.model_dump_json(indent=1).encode())


def approvals_of(store: Store, name: str, version: Version) -> list[str]:
    """Digests of the approved analyses that name a version."""
    return [
        record.analysis_digest
        for record in store.approvals()
        if record.status is Status.APPROVED and record.data.get(name) == version.binding
    ]


def replace_made(path: Path, data: bytes) -> None:
    """Write a file of the node's own, in a folder that is made for it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(path, data, PRIVATE)


def _hashed_before(registry: Registry, name: str) -> Snapshot | None:
    """The store's current snapshot, where it lies in its source: what was not touched since is not read again."""
    if not registry.path(name).is_file() or (version := registry.get(name).current).mode != "in-place":
        return None
    try:
        return registry.snapshot(version)
    except InputError:
        return None  # it would only have spared some reading


def _taken(spec: StoreSpec, how: Adding, incoming: Path, before: Snapshot | None) -> tuple[Snapshot, str]:
    """The source's bytes, hashed: where they lie, or in a copy of ours."""
    source, provenance = spec.source, ""
    mode: Mode
    if isinstance(source, FolderSource):
        folder = Path(source.path).expanduser().resolve()
        names = open_kind(folder, spec.layout.layout).snapshot()
        mode = _kept(folder, names, incoming, how)
        folder = folder if mode == "in-place" else incoming
    else:
        incoming.mkdir(mode=0o700, parents=True)
        provenance = _fetched(source, incoming, lambda done, total: how.progress("fetching", done, total))
        folder, mode = incoming, "fetched"
        names = open_kind(folder, spec.layout.layout).snapshot()
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o400)
    told = take(
        folder,
        names,
        how.key,
        mode=mode,
        known=before.files if before is not None and before.folder == str(folder) else (),
        progress=lambda done, total: how.progress("hashing", done, total),
    )
    return told, provenance


def _fetched(source: FhirSource | S3Source, into: Path, progress: Progress) -> str:
    return fhir.fetch(source, into, progress) if isinstance(source, FhirSource) else s3.fetch(source, into, progress)


def _kept(folder: Path, names: tuple[str, ...], incoming: Path, how: Adding) -> Mode:
    def progress(done: int, total: int) -> None:
        how.progress("copying", done, total)

    if how.copy is False:
        return "in-place"
    mode = keep(folder, names, incoming, may_copy=how.copy is True, progress=progress)
    if mode == "in-place" and how.copy is None and how.ask is not None:
        size = sum((folder / name).stat().st_size for name in names)
        if how.ask(size):
            return keep(folder, names, incoming, may_copy=True, progress=progress)
    return mode


@contextmanager
def _incoming(registry: Registry) -> Iterator[Path]:
    """A place for a copy in the making; whatever is still there in the end is removed."""
    place = registry.snapshots / f".incoming-{secrets.token_hex(8)}"
    try:
        registry.snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield place
    except OSError as err:
        raise FlameError(
            f"The store could not be registered ({err.strerror}); nothing of it is left.",
            mend="See the disk and the permissions of the state folder.",
        ) from None
    finally:
        if place.exists():
            remove_tree(place)


def _unnamed(registry: Registry, store: Store, name: str, new: Version) -> list[Version]:
    """Earlier versions that no approval names: they are not kept."""
    if not registry.path(name).is_file():
        return []
    return [v for v in registry.get(name).versions if v.binding == new.binding or not approvals_of(store, name, v)]


def _require_unique_records(spec: StoreSpec, quality: Quality) -> None:
    if spec.layout.record_id is not None and quality.duplicate_record_ids:
        raise InputError(
            f"{quality.duplicate_record_ids} record ids in {spec.layout.table} occur more than once in "
            f"{spec.layout.record_id!r}.",
            mend="Name a column whose values are unique, or leave --record-id out.",
        )


def _require_namespace(registry: Registry, name: str, spec: StoreSpec) -> None:
    """Whose budget a store draws on is decided once: what was released about its patients stays debited."""
    if registry.path(name).is_file() and (known := registry.get(name).current.spec.namespace) != spec.namespace:
        raise InputError(
            f"The patients of data store {name!r} are those of the namespace {known!r}, for ever.",
            mend=f"Leave it at {known!r}; other patients are another store.",
        )


def _require_same(registry: Registry, name: str, spec: StoreSpec) -> None:
    """Another store under a name that is taken is said, not done: a wrong column would be a silent version 2."""
    if not registry.path(name).is_file():
        return
    before = registry.get(name).current.spec.model_dump(mode="json", by_alias=True)
    now = spec.model_dump(mode="json", by_alias=True)
    if differing := [key for key in now if now[key] != before.get(key)]:
        raise InputError(
            f"Data store {name!r} is registered with another {', '.join(differing)}.",
            mend="Choose another name; or --replace, for a new version that no approval names yet.",
        )


def _check_name(name: str) -> None:
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name) or len(name) > 64:
        raise InputError(
            f"{name!r} is no name for a data store.", mend="Use letters, digits, - and _, as the terms of analyses do."
        )
