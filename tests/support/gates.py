"""A gate with a sandbox that plays the adversary: whatever `answer` returns or raises is what the app "did".

`World` is one DIZ: a state file, data, a gate round them, and short words for approving and asking.
"""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.content import Content
from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.frames import decode, encode
from flame_fl.contract.manifest import Manifest, manifest_of, parse_terms
from flame_fl.contract.ports import Envelope, NoiseSource, SandboxSpec
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.statement import Statement, project_digest
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.contract.terms import DataStore, MessageTerms, Privacy, Terms
from flame_fl.data.cohort import Cohort
from flame_fl.data.disguise import block_of
from flame_fl.data.kind import Rows
from flame_fl.data.layout import Layout, Wanted
from flame_fl.data.offer import Offer
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.claims import SITE
from flame_fl.gate.ledger_store import LedgerEntry
from flame_fl.gate.signatures import APPROVAL_NAMESPACE, public_text, sign
from flame_fl.gate.store import Store
from flame_fl.gate.trust import Signed, Subject, Trust
from flame_fl.gate.workflow import Event, Gate, NodeLimits
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.simulation.policy import identity_file, simulated_key, simulated_trust

TODAY = date(2026, 6, 1)
ENFORCED = {
    "unit": "site",
    "ground": "enforced",
    "mechanism": "discrete-gaussian",
    "clip_norm": 1.0,
    "noise_multiplier": 1.0,
    "epsilon_max": 50.0,
    "delta": 1e-5,
}
BLOCKS = ENFORCED | {"unit": "patient", "blocks": 4, "slot_seconds": 1.0}
SUMS: dict[str, Any] = {
    "unit": "patient",
    "ground": "vetted",
    "mechanism": "sums",
    "clip_norm": 1.0,
    "noise_multiplier": 1.5,
    "epsilon_max": 8.0,
    "delta": 1e-5,
}
DP_SGD = SUMS | {"mechanism": "dp-sgd", "sample_rate": 0.1, "steps": 30}
NO_CLAIM = {"unit": "none", "ground": "none", "mechanism": "none"}
TRAIN = {
    "per_run": 3,
    "arrays": [
        {"record": "arrays", "name": "w", "dtype": "float64", "shape": [4]},
        {"record": "arrays", "name": "b", "dtype": "float32", "shape": [1]},
    ],
    "metrics": [
        {"record": "metrics", "name": "num-examples", "kind": "count"},
        {"record": "metrics", "name": "loss", "kind": "mean", "min": 0.0, "max": 10.0},
    ],
}


def terms_table(*, privacy: Mapping[str, Any] = NO_CLAIM, **changes: Any) -> dict[str, Any]:
    """A complete [tool.flame], with top-level tables replaced by `changes`."""
    table = {
        "schema": 1,
        "project": {
            "id": "a-project",
            "title": "A title",
            "purpose": "A purpose",
            "legal_basis": "A basis",
            "ethics_reference": "A vote",
            "responsible_person": "A person",
        },
        "data": {
            "cohort": {"table": "samples.parquet", "patient_id": "patient_id", "columns": ["*"], "min_patients": 10}
        },
        "messages": {"train": TRAIN},
        "run_config": {"rounds": {"min": 1, "max": 5}},
        "privacy": dict(privacy),
        "limits": {"runs": 2},
        "validity": {"from": date(2026, 1, 1), "until": date(2026, 12, 31)},
    }
    return deepcopy(table | changes)  # a test that changes its own changes no other's


def make_terms(**changes: Any) -> Terms:
    return parse_terms(terms_table(**changes))


def message_terms(**changes: Any) -> MessageTerms:
    return MessageTerms.model_validate({**TRAIN, **changes})


def enforced(**changes: Any) -> Privacy:
    return Privacy.model_validate({**ENFORCED, **changes})


def zip_of(files: Iterable[tuple[str, bytes]], **how: Any) -> bytes:
    """A zip with these entries, repeated names and all."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how.pop("compression", zipfile.ZIP_DEFLATED)) as bundle:
        for name, data in files:
            bundle.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, bundle.compression)
    return out.getvalue()


def make_fab(
    terms: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    name: str = "an-app",
) -> bytes:
    """A bundle's bytes. `terms` is [tool.flame]; an empty mapping leaves it out."""
    stated = terms_table() if terms is None else dict(terms)
    app = {
        "publisher": "someone",
        "components": {"clientapp": "app.client:app", "serverapp": "app.server:app"},
        "config": {"rounds": 3, "rate": 0.5, "word": "a", "flag": True} if config is None else dict(config),
    }
    tool = {"flwr": {"app": app}} | ({"flame": stated} if stated else {})
    pyproject = tomli_w.dumps({"project": {"name": name, "version": "1"}, "tool": tool}).encode()
    content = {"pyproject.toml": pyproject, "app/__init__.py": b"", "app/client.py": b"app = 1\n", **(files or {})}
    return zip_of(content.items())


def manifest_from(raw_fab: bytes) -> Manifest:
    return manifest_of(read_fab(raw_fab))


def good_update() -> Content:
    """What an honest app sends under `TRAIN`: the norm of its arrays is 0.5."""
    arrays = {"w": np.array([0.3, 0.0, 0.0, 0.0]), "b": np.array([0.4], np.float32)}
    return Content({"arrays": arrays}, {"metrics": {"num-examples": 50, "loss": 2.5}})


def sent_message() -> Content:
    return Content({"arrays": {"w": np.ones(4), "b": np.ones(1, np.float32)}})


class NoNoise:
    """Zeros: to see what noise would hide."""

    seeded = True

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        return np.zeros(count, dtype=np.int64)

    def distance(self, sigma_squared: tuple[int, int], count: int) -> float:
        return 0.0


Answer = Callable[[Envelope], Content | bytes]


@dataclass
class FakeSession:
    """A session whose app is `answer`. Bytes are what came through the pipe; an exception ends the session."""

    answer: Answer
    alive: bool = True
    closed: bool = False
    paused: bool = False
    deadlines: list[float] = field(default_factory=list)

    def handle(self, message: Envelope, deadline_seconds: float, max_reply_bytes: int) -> Content:
        self.deadlines.append(deadline_seconds)
        try:
            said = self.answer(message)
            raw = said if isinstance(said, bytes) else b"".join(encode(said))
            return decode(raw)[0]
        except Exception:
            self.alive = False
            raise

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.alive, self.closed = False, True


@dataclass
class FakeSandbox:
    """Starts `FakeSession`s and remembers what it was told.

    Attributes:
        answer: What the app does with a message.
        works: The same for an app that looks at its data, in place of `answer`.
        specs: What each session was started with.
        sessions: All of them, ended ones too.
        messages: What was handled.
        awake: With each message, how many sessions could run.
    """

    answer: Answer = lambda message: good_update()
    kind: str = "fake"
    works: Callable[[SandboxSpec, Envelope], Content | bytes] | None = None
    specs: list[SandboxSpec] = field(default_factory=list)
    sessions: list[FakeSession] = field(default_factory=list)
    messages: list[Envelope] = field(default_factory=list)
    awake: list[int] = field(default_factory=list)

    def kind_of(self, app: str) -> str:
        return self.kind

    def start(self, spec: SandboxSpec) -> FakeSession:
        self.specs.append(spec)
        self.sessions.append(FakeSession(partial(self._heard, spec)))
        return self.sessions[-1]

    def _heard(self, spec: SandboxSpec, message: Envelope) -> Content | bytes:
        self.messages.append(message)
        self.awake.append(sum(session.alive and not session.paused for session in self.sessions))
        return self.answer(message) if self.works is None else self.works(spec, message)


ROWS = "rows.txt"


class FakeOffer(Offer):
    """A data store of numbered patients, each with so many samples.

    A view holds the folder's files, if there are any, and with `shows_rows` the numbers of its rows: row r is of
    patient r // samples. Nobody in `unreadable` can be put into a view. `people`, too, may be changed between messages.
    """

    def __init__(
        self,
        folder: Path,
        snapshot: str = "5" * 64,
        patients: int = 100,
        *,
        namespace: str = "patients",
        samples: int = 1,
        shows_rows: bool = False,
    ) -> None:
        layout = Layout("table", "samples.parquet", "patient_id")
        super().__init__("cohort", folder, snapshot, layout, namespace=namespace)
        self.people: Sequence[int] = range(patients)
        self.samples, self.shows_rows, self.unreadable = samples, shows_rows, frozenset[int]()

    def cohort(self, stated: DataStore, today: date) -> Cohort:
        members = np.array(sorted(self.people), dtype=np.uint64)
        rows = members.astype(np.int64)[:, None] * self.samples + np.arange(self.samples)
        return Cohort(rows.reshape(-1), len(members), members)

    def views(
        self, parts: Sequence[Rows], stated: DataStore, wanted: Wanted, project: str, intos: Sequence[Path]
    ) -> None:
        for rows, into in zip(parts, intos, strict=True):
            if self.unreadable & {int(row) // self.samples for row in rows}:
                raise InputError("A record cannot be read.")
            shutil.copytree(self.folder, into) if self.folder.is_dir() else into.mkdir(parents=True)
            if self.shows_rows:
                (into / ROWS).write_text(" ".join(map(str, rows)))

    def blocks(self, cohort: Cohort, stated: DataStore, count: int, key: bytes) -> tuple[Rows, ...]:
        of = np.array([block_of(key, str(row // self.samples), count) for row in cohort.rows], dtype=np.int64)
        return tuple(cohort.rows[of == block] for block in range(count))


def rows_of(spec: SandboxSpec, store: str = "cohort") -> list[int]:
    """The rows that an app finds in its view of a store that shows them."""
    return [int(word) for word in (spec.data[store] / ROWS).read_text().split()]


class FakeOffers(dict[str, FakeOffer]):
    """The stores of a DIZ, which a test may change."""

    def names(self) -> list[str]:
        return sorted(self)

    def get(self, name: str, snapshot: str | None = None) -> FakeOffer | None:  # type: ignore[override]
        offer = super().get(name)
        return None if offer is None or snapshot not in {None, offer.binding} else offer


STEWARD = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
STEWARD_KEY = public_text(STEWARD.public_key())
NODE_KEY = public_text(Ed25519PrivateKey.from_private_bytes(b"\x08" * 32).public_key())


def signed_by_steward(store: Store, trust: Trust, record: ApprovalRecord, **changes: Any) -> ApprovalRecord:
    """The record with a test steward's signature under it; its project is approved in the same way."""
    if record.terms is not None and not record.unsafe_open:
        project = store.project(project_digest(record.terms.project)) or ProjectRecord(
            record.terms.project, Status.PENDING
        )
        approved = replace(project, status=Status.APPROVED)
        store.put_project(replace(approved, signatures=(signature_under(approved.subject, trust, **changes),)))
    number = known.number if (known := store.approval(record.analysis_digest)) else 0
    subject = replace(record, number=number).subject(record.binding_digest or "0" * 64)
    return replace(record, number=number, signatures=(signature_under(subject, trust, **changes),))


def signature_under(subject: Subject, trust: Trust, **changes: Any) -> Signed:
    """The test steward's."""
    fields = {"until": date(2999, 12, 31), "at": datetime.now(UTC).isoformat(timespec="seconds")} | changes
    statement = Statement(act="approve", node=trust.node, **asdict(subject), **fields)
    return Signed(statement, sign(STEWARD, statement.text, APPROVAL_NAMESPACE), "steward")


LIMITS = NodeLimits(epsilon_cap=50.0, delta=1e-5, min_patients=5, fixed_slots=False)
"""A node's that does not wait."""


@dataclass
class World:
    """One DIZ. `today` may be set to another day."""

    folder: Path
    noise: NoiseSource = field(default_factory=lambda: ExactNoise(seed_for_tests=1))
    limits: NodeLimits = field(default_factory=lambda: LIMITS)
    sandbox: FakeSandbox = field(default_factory=FakeSandbox)
    data: FakeOffers | None = None
    today: date = TODAY
    name: str = "DIZ-1"

    def __post_init__(self) -> None:
        self.store = Store(self.folder / "state.db", durable=False)
        key = simulated_key(identity_file(self.store.path))
        self.trust = replace(simulated_trust(key), stewards={STEWARD_KEY: "steward"})
        self.events: list[Event] = []
        if self.data is None:
            self.data = FakeOffers(cohort=FakeOffer(self.folder / "cohort"))
        self.gate = Gate(
            node=self.name,
            node_id=1,
            store=self.store,
            sandbox=self.sandbox,
            data=self.data,
            limits=self.limits,
            noise=self.noise,
            log_dir=self.folder,
            view_dir=self.folder / "views",
            trust=lambda: self.trust,
            on_event=self.events.append,
            today=lambda: self.today,
            block_key=b"\x09" * 32,
            identity=key,
        )

    def decide(self, raw_fab: bytes, status: Status = Status.APPROVED, **changes: Any) -> Manifest:
        """The steward's decision about a bundle."""
        manifest = manifest_from(raw_fab)
        steward_terms = changes.get("steward_terms")
        terms = None if changes.get("unsafe_open") else (steward_terms or manifest.terms)
        binding = self.gate.binding(manifest.app, terms, steward_terms)
        fields = {"binding_digest": binding.digest, "data": binding.data, "by": "steward"} | changes
        now = datetime.now(UTC).isoformat()
        record = ApprovalRecord(manifest.digest, status, manifest, at=now, **fields)
        if status is Status.APPROVED:
            record = signed_by_steward(self.store, self.trust, record)
        self.store.put_approval(record)
        return manifest

    def ask(
        self,
        raw_fab: bytes,
        content: Content | None = None,
        *,
        leg: str = "1",
        kind: str = "train",
        run_id: int = 7,
        overrides: Mapping[str, Any] | None = None,
        group: str = "1",
    ) -> Reply | Refusal:
        run = Run(run_id, raw_fab, overrides or {})
        return self.gate.handle(Task(run, leg, kind, group, sent_message() if content is None else content))

    def released(self, raw_fab: bytes, **how: Any) -> Content:
        """The content that left; fails if something was refused."""
        answer = self.ask(raw_fab, **how)
        assert isinstance(answer, Reply), (answer, self.events[-1].detail)
        return answer.content

    def code(self, raw_fab: bytes, **how: Any) -> RefusalCode | None:
        """The refusal's code; None if something left."""
        answer = self.ask(raw_fab, **how)
        return answer.code if isinstance(answer, Refusal) else None

    @property
    def detail(self) -> str:
        """What the node's own log says of the last event."""
        return self.events[-1].detail

    def audit(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [(entry["kind"], entry["body"]) for entry, _ in self.store.audit_rows()]

    @property
    def releases(self) -> list[LedgerEntry]:
        """What releases cost the site (or nobody): the ledger without the patients' account."""
        return [entry for entry in self.store.ledger() if entry.account is None or entry.account == SITE]

    def replaced(self, **changes: Any) -> "World":
        """The same DIZ after a restart, with something changed."""
        self.store.close()
        fields = {"noise": self.noise, "limits": self.limits, "data": self.data, "today": self.today, "name": self.name}
        return World(self.folder, **(fields | changes))
