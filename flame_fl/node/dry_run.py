"""A dry run: an analysis works once on made-up data, so that a steward sees it work before deciding. Nothing real.

Rules this module follows:

1. No data store of the node's is mounted, copied or read but for its schema (names and types). What the app sees is
   drawn from the schema (`flame_fl.data.mock`).
2. State, keys, trust and budget are thrown away with the folder that holds them; the node's own are not opened.
3. The sandbox is the node's own, with its own label: ending a dry run ends no session of the gate's.
4. Time, sizes and text are bounded, and everything is removed at the end, whatever happened.
5. Where the terms want answers masked, the trial's do not: one node has nobody to add up with. The outcome says so.

The messages are made up as well: shapes from the release contract, small numbers, the bundle's own run config. An app
may fail on them and be sound, and one that works on them may still do something else on real ones.
"""

import fcntl
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.content import Array, Content
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.ports import Sandbox
from flame_fl.contract.task import Reply, Run, Task
from flame_fl.contract.terms import Scalar, SecureAggregation, Terms
from flame_fl.data.files import remove_tree
from flame_fl.data.offer import FixedOffers
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.decisions import Wish, by_key, enter_analysis, enter_project, statement_for
from flame_fl.gate.signatures import public_text
from flame_fl.gate.store import Store
from flame_fl.gate.trust import Trust
from flame_fl.gate.verify import sandbox_app
from flame_fl.gate.workflow import Event, Gate, StoppedError
from flame_fl.node.dry_run_made_up import made_up_message, made_up_stores
from flame_fl.node.dry_run_outcome import DryMessage, DryRunOutcome
from flame_fl.node.shown import shown
from flame_fl.node.wiring import Node
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.sandbox.docker import DockerSandbox

MAX_SECONDS = 600.0
MAX_OUTPUT_CHARS = 2000
_RULE = "dry run"
_ORDER = ("train", "evaluate", "query")
_RUN_ID = 1
_LOG_BYTES = 64 * 1024
_MOST_DETAIL = 600


def dry_run(
    node: Node, gate: Gate, record: ApprovalRecord, *, rows: int = 50, seed: int = 1, max_seconds: float = MAX_SECONDS
) -> DryRunOutcome:
    """Let an analysis answer one message of each type, on made-up data, in a sandbox of the node's kind.

    Args:
        node: The node.
        gate: Its gate: the bundle and the limits are read from it; nothing is written to it.
        record: The analysis; with the steward's terms in it, if there are any.
        rows: Made-up records of each data store; more if the terms ask for more patients.
        seed: Of the made-up data.
        max_seconds: For all messages together.

    Raises:
        InputError: It cannot be tried: no terms, no bundle, a data store that is not here, a sandbox that confines
            nothing beside real data, or another dry run that goes on.
    """
    terms, raw_fab = record.terms, gate.store.bundle(record.fab_sha256)
    if terms is None:
        raise InputError("Without terms there is nothing to try.", mend="Write them first: --terms terms.toml.")
    if raw_fab is None:
        raise InputError("The bundle of this analysis is not kept here.", mend="Ask the researcher to run it again.")
    started, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as closing:
        root = closing.enter_context(_folder(node))
        sandbox = _sandbox(node, root, closing)
        offers, stores = made_up_stores(node, terms, root / "stores", (rows, seed), gate.today())
        trial = _trial(node, gate, _unmasked(record, terms), (sandbox, offers, root), closing)
        timer = threading.Timer(max_seconds, trial.gate.stop)
        timer.daemon = True
        closing.callback(timer.cancel)
        timer.start()
        messages = trial.all_messages(Run(_RUN_ID, raw_fab))
        trial.gate.stop()
        return DryRunOutcome(
            at=at,
            analysis=record.analysis_digest,
            sandbox=shown(sandbox.kind_of(sandbox_app(record.manifest.app, record.terms)), 200),
            unmasked=terms.secure_aggregation.required,
            stores=stores,
            messages=messages,
            output=_output(root / "logs"),
            seconds=round(time.monotonic() - started, 3),
        )


@contextmanager
def _folder(node: Node) -> Iterator[Path]:
    """A folder that the engine sees, one dry run at a time, removed at the end; with what an earlier one left."""
    base = node.files.state / "dry-runs"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError("Another dry run goes on.", mend="Wait until it has ended.") from None
        for left in base.iterdir():
            if left.is_dir():
                remove_tree(left)
        root = base / secrets.token_hex(8)
        root.mkdir(mode=0o700)
        try:
            yield root
        finally:
            remove_tree(root)


def _sandbox(node: Node, root: Path, closing: ExitStack) -> Sandbox:
    """The node's kind, as an installation of its own.

    Raises:
        InputError: It confines nothing.
    """
    section = node.config.sandbox
    if section.kind != "docker":
        raise InputError(
            f'The sandbox "{section.kind}" confines nothing, and nobody has approved this code.',
            mend='A dry run needs kind = "docker" in [sandbox] of node.toml.',
        )
    sandbox = DockerSandbox(
        node.images,
        owner=f"{node.config.node.id}-dry-run",
        folder=root / "sandboxes",
        runtime=section.runtime,
        engine=section.engine or None,
        patience_seconds=5.0,
    )

    def swept() -> None:
        with suppress(FlameError):
            sandbox.remove_orphans()

    swept()
    closing.callback(swept)
    return sandbox


def _unmasked(record: ApprovalRecord, terms: Terms) -> ApprovalRecord:
    """The same analysis, under terms that want nothing masked; all of the noise is then this node's own."""
    if not terms.secure_aggregation.required:
        return record
    privacy = terms.privacy.model_copy(update={"trust": "local"})
    plain = terms.model_copy(update={"secure_aggregation": SecureAggregation(), "privacy": privacy})
    return replace(record, steward_terms=plain)


# --- a gate that is thrown away ----------------------------------------------------------------------------------


@dataclass
class _Trial:
    """A gate over nothing of the node's, with the analysis approved."""

    gate: Gate
    terms: Terms
    run_config: Mapping[str, Scalar]
    events: list[Event]

    def all_messages(self, run: Run) -> tuple[DryMessage, ...]:
        """One message of each type: train, evaluate, query."""
        kinds = sorted(self.terms.messages, key=lambda kind: _ORDER.index(kind.split(".")[0]))
        sent: dict[tuple[str, str], Array] = {}
        done: list[DryMessage] = []
        for number, kind in enumerate(kinds):
            if any(message.outcome == "stopped" for message in done):
                done.append(DryMessage(message_type=kind, outcome="skipped", detail="the time was over"))
                continue
            done.append(self._message(run, str(number), kind, sent))
        return tuple(done)

    def _message(self, run: Run, leg: str, kind: str, known: dict[tuple[str, str], Array]) -> DryMessage:
        content = made_up_message(self.terms, kind, self.run_config, known)
        if content is None:
            return DryMessage(message_type=kind, outcome="skipped", detail="its arrays are too large for a dry run")
        self.events.clear()
        begun, printed = time.monotonic(), _printed(self.gate.log_dir)
        try:
            answer = self.gate.handle(Task(run, leg, kind, "1", content))
        except StoppedError:
            spent = round(time.monotonic() - begun, 3)
            return DryMessage(message_type=kind, outcome="stopped", detail="the time was over", seconds=spent)
        seconds = round(time.monotonic() - begun, 3)
        detail = shown(self.events[-1].detail, _MOST_DETAIL) if self.events else ""
        said = self._said(printed) if detail else ""
        if not isinstance(answer, Reply):
            return DryMessage(
                message_type=kind, outcome="refused", code=int(answer.code), detail=detail, said=said, seconds=seconds
            )
        known.update({(record, name): array for record, name, array in answer.content.array_items()})
        return DryMessage(
            message_type=kind,
            outcome="zero" if detail else "released",
            detail=detail,
            said=said,
            seconds=seconds,
            bytes_out=answer.content.nbytes,
            items=_items(answer.content),
        )

    def _said(self, before: int) -> str:
        """The last line that was printed since there were `before` bytes.

        What an app prints while it fails may be read only when its session ends, so that is ended; unless the app would
        lose a state that its terms require.
        """
        if not self.terms.limits.requires_state:
            self.gate.close_idle()
        return (_output(self.gate.log_dir) or ("",))[-1] if _printed(self.gate.log_dir) > before else ""


def _trial(
    node: Node,
    gate: Gate,
    record: ApprovalRecord,
    world: tuple[Sandbox, FixedOffers, Path],
    closing: ExitStack,
) -> _Trial:
    terms = record.terms
    assert terms is not None  # noqa: S101  (the caller asked)
    (sandbox, offers, root), events = world, list[Event]()
    store = Store(root / "state" / "state.db", durable=False)
    closing.callback(store.close)
    key = Ed25519PrivateKey.generate()
    rule = sha256_hex(_RULE.encode())
    trust = Trust(public_text(key.public_key()), rules={_RULE: rule})
    day = min(max(gate.today(), terms.validity.from_), terms.validity.until)
    trial = Gate(
        node=node.config.node.name,
        node_id=gate.node_id,
        store=store,
        sandbox=sandbox,
        data=offers,
        limits=replace(gate.limits, min_patients=1, max_sessions=1, max_block_sessions=0, fixed_slots=False),
        noise=ExactNoise(),
        log_dir=root / "logs",
        view_dir=root / "views",
        trust=lambda: trust,
        node_config=gate.node_config,
        on_event=events.append,
        today=lambda: day,
    )
    closing.callback(trial.stop)
    wish, digest = Wish(rule=(_RULE, rule)), record.analysis_digest
    with store.transaction():
        project = ProjectRecord(terms.project, Status.PENDING)
        store.put_project(project)
        enter_project(store, trust, project, by_key(statement_for(project, None, trust, wish), key), today=day)
        filed = ApprovalRecord(digest, Status.PENDING, record.manifest, steward_terms=record.steward_terms)
        store.put_approval(filed)
        binding = trial.binding(record.manifest.app, terms, record.steward_terms)
        signed = by_key(statement_for(filed, binding, trust, wish), key)
        enter_analysis(store, trust, digest, binding, signed, today=day, steward_terms=record.steward_terms)
    return _Trial(trial, terms, record.manifest.run_config, events)


# --- what is told of it ------------------------------------------------------------------------------------------


def _items(content: Content) -> tuple[str, ...]:
    arrays = [f"{r}/{n} {a.dtype.name} {'×'.join(map(str, a.shape)) or '1'}" for r, n, a in content.array_items()]
    metrics = [f"{record}/{name}" for record, of in content.metrics.items() for name in of]
    return tuple(shown(item, 300) for item in (*arrays, *metrics))


def _printed(logs: Path) -> int:
    """Bytes that the app has printed so far."""
    return sum(path.stat().st_size for path in logs.glob("*.log")) if logs.is_dir() else 0


def _output(logs: Path) -> tuple[str, ...]:
    """The last lines that were printed, escaped, not more than MAX_OUTPUT_CHARS of them."""
    raw = b""
    for path in sorted(logs.glob("*.log")) if logs.is_dir() else ():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            raw += file.read(_LOG_BYTES)
    kept: list[str] = []
    room = MAX_OUTPUT_CHARS
    for line in reversed(raw.decode(errors="replace").splitlines()):
        text = shown(line, 300)
        room -= len(text)
        if room < 0:
            break
        kept.append(text)
    return tuple(reversed(kept))
