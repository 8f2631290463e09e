"""The gate's workflow: six numbered steps between Flower and the data.

```
1 verify    the FAB's bytes, the run config and the message against the approval
2 reserve   run, leg and message counters, and the privacy budget, durably
3 run       the message in the sandbox; what comes back is an update, unreleased
4 release   allow-list, size, finite, clip, noise; what the terms want masked is turned to integers
5 commit    spend the budget, mask, store the reply
6 record    the audit entry, in the same transaction; then, and only then, the reply leaves
```
Step 5 looks at the approval once more, inside its transaction: what a steward decides while the app works holds before
anything leaves.

Rules this module follows:

- Nothing configured means refused.
- A leg is answered once. The same message again gets the same bytes; another message under the same leg gets 908.
- One message at a time: a second thread waits, so that nothing a decision was based on changes before it is stored.
- Every path ends in a `Reply` or a `Refusal`; what a sandbox does can end neither the gate nor another run.
- The legs of secure aggregation (`query.flame_sa_*`) need no sandbox: `flame_fl.gate.masks` answers them.
- Refusal details go to the audit log and to `on_event`; only the code's fixed text leaves.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.content import ConfigValue, Content
from flame_fl.contract.errors import InputError, SandboxError, SandboxTimeoutError
from flame_fl.contract.frames import FrameError, decode, encode
from flame_fl.contract.manifest import Manifest, NodeBinding
from flame_fl.contract.ports import ExternalApprovals, NoExternal, NoiseSource, Sandbox
from flame_fl.contract.refusal import Refusal, RefusalCode, RefusedError
from flame_fl.contract.task import OWN_RECORD, STATUS_MESSAGE, Reply, Run, Task
from flame_fl.contract.terms import Privacy, Scalar, SecureAggregation, Terms
from flame_fl.data.offer import Offers
from flame_fl.gate.allow_list import rejected
from flame_fl.gate.approval import ApprovalRecord, Status, status_on
from flame_fl.gate.audit import plain
from flame_fl.gate.blocks import Block, fingerprint, is_empty, run_key, split
from flame_fl.gate.claims import event_of
from flame_fl.gate.cohort_check import require_enough
from flame_fl.gate.cohorts import cohorts_sha256, fingerprints, namespaces
from flame_fl.gate.disclosure import DisclosureFacts, disclose, tested_guards, without_companions
from flame_fl.gate.filing import Filing
from flame_fl.gate.heads import witnessed_in
from flame_fl.gate.ledger import debit_release
from flame_fl.gate.ledger_store import Debit
from flame_fl.gate.masking import Masking, distance_of, leaving, open_sum, release_noised, same_of, to_mask
from flame_fl.gate.masks import LEGS, MOST_EXCHANGES, SPARE_LEGS, Masks
from flame_fl.gate.noised import NoisedSum, clip_norm_of
from flame_fl.gate.release import Released, release
from flame_fl.gate.sessions import WHOLE, Sessions, StoppedError
from flame_fl.gate.slots import Slots
from flame_fl.gate.store import Store
from flame_fl.gate.trust import Trust
from flame_fl.gate.verify import NodeLimits, Verified, Verifier
from flame_fl.secagg.messages import TEST

__all__ = ["STATUS_MESSAGE", "Event", "Gate", "NodeLimits", "StoppedError"]

_UNLIMITED_RUNS = 1 << 31
_MOST_SHAPES = 1000  # in one audit entry
_OVER = frozenset({RefusalCode.NOT_APPROVED, RefusalCode.PENDING_APPROVAL, RefusalCode.WITHDRAWN_OR_EXPIRED})


@dataclass(frozen=True)
class Event:
    """Something the node's own people may see: a step taken, with details that never leave."""

    node: str
    kind: str  # released | refused | resent
    run_id: int
    leg_id: str = ""
    message_type: str = ""
    detail: str = ""
    code: int = 0
    seconds: float = 0.0
    sandbox_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    analysis: str = ""


@dataclass
class Gate:
    """One DIZ's gate.

    Args:
        node: The DIZ's name.
        node_id: Flower's id of the node.
        store: Its state.
        sandbox: Where apps run.
        data: The data stores it offers.
        limits: The DIZ's own bounds.
        noise: Exact noise; the operating system's but in tests.
        log_dir: Where the apps' own output is kept.
        view_dir: Where views of the data stores are made; the sandbox's engine must see it under the same path.
        trust: Whose signatures make an approval, as it is now.
        filing: Rules about requests.
        external: An authority beside the DIZ's own.
        node_config: What an app finds in `context.node_config` beside its data.
        seed: Seeds the apps (never the noise) in simulations.
        on_event: Told of every step, for logs and progress.
        today: The date in UTC, for approvals.
        identity: The node's key, which signs its part in secure aggregation.
        block_key: Decides, with the run, which block a patient is in; the node's own secret.
    """

    node: str
    node_id: int
    store: Store
    sandbox: Sandbox
    data: Offers
    limits: NodeLimits
    noise: NoiseSource
    log_dir: Path
    view_dir: Path
    trust: Callable[[], Trust]
    filing: Filing = field(default_factory=Filing)
    external: ExternalApprovals = field(default_factory=NoExternal)
    node_config: Mapping[str, Scalar] = field(default_factory=dict)
    seed: int | None = None
    on_event: Callable[[Event], None] = lambda event: None
    today: Callable[[], date] = lambda: datetime.now(UTC).date()
    identity: Ed25519PrivateKey | None = field(default=None, repr=False)
    block_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._masks = Masks(self.store, self.identity)
        self._verifier = Verifier(
            self.store,
            self.sandbox.kind_of,
            self.data,
            self.limits,
            self.today,
            self.trust,
            self.filing,
            self.external,
        )
        self._sessions = Sessions(
            self.node,
            self.node_id,
            self.sandbox,
            self.store,
            self.data,
            self.node_config,
            self.log_dir,
            self.view_dir,
            self.limits.max_sessions,
            self.limits.max_block_sessions,
            self.seed,
        )

    def handle(self, task: Task) -> Reply | Refusal:
        """Answer one message: the six steps. Never raises for anything the app, the hub or the message does.

        Raises:
            StoppedError: `stop` was called meanwhile.
        """
        if task.message_type == STATUS_MESSAGE:
            return self.status(task.run, task.content.configs.get(OWN_RECORD, {}))
        with self._one_at_a_time:
            return self._answer_leg(task) if task.message_type in LEGS else self._handle(task)

    def _handle(self, task: Task) -> Reply | Refusal:
        started = time.monotonic()
        try:
            verified = self._verifier.verify(task)  # 1
            if (answered := self._answered(verified)) is not None:
                return answered
            clip_norm = self._clip_norm(verified)
            masking = open_sum(self._masks, verified)
            self._require_enough(verified)  # in a transaction of its own: what it decides stays decided
            attempt = self._reserve(verified, masking)  # 2
        except RefusedError as err:
            self._end_if_over(task.run, err)
            return self._refuse(task, err, started)
        reserved = time.monotonic()
        ran = reserved
        try:
            if verified.enforced:
                noised = self._run_enforced(verified, clip_norm)  # 3
                ran = time.monotonic()
                released = release_noised(noised, self.noise, masking)  # 4
            else:
                update = self._run(verified)  # 3
                ran = time.monotonic()
                released = to_mask(verified, self._release(verified, update), masking)  # 4
            reply = self._commit_and_record(verified, attempt, released, masking)  # 5 and 6
        except RefusedError as err:
            self._end_if_over(task.run, err)
            return self._refuse(task, err, started, attempt)
        self._tell("released", task, started, ran - reserved, released.failed, bytes_out=reply.content.nbytes)
        return reply

    def _clip_norm(self, verified: Verified) -> float:
        if verified.terms is None or not verified.enforced:
            return 0.0
        return clip_norm_of(verified.task.content, verified.terms.privacy)

    # --- secure aggregation ------------------------------------------------------------------------------------

    def _answer_leg(self, task: Task) -> Reply | Refusal:
        """A leg of secure aggregation: no sandbox, no data, one answer."""
        started = time.monotonic()
        try:
            verified = self._verifier.verify_leg(task)
            if (answered := self._answered(verified)) is not None:
                return answered
            with self.store.transaction():
                reply = self._store_leg(verified)
        except RefusedError as err:
            self._end_if_over(task.run, err)
            return self._refuse(task, err, started)
        self._tell("released", task, started, bytes_out=len(reply.encoded))
        return reply

    def _store_leg(self, verified: Verified) -> Reply:
        task, terms, run_id = verified.task, verified.terms, verified.run_id
        if terms is None or not terms.secure_aggregation.required:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, "the terms want nothing masked")
        self._open_run(verified)
        most = sum(rules.per_run for rules in terms.messages.values()) + SPARE_LEGS
        if task.message_type == TEST:
            most *= MOST_EXCHANGES
            uses = self._verifier.uses(verified.fab, verified.approved)
            self._masks.require_same(run_id, same_of(verified, uses))
        if self.store.legs_of(run_id, task.message_type) >= most:
            raise RefusedError(
                RefusalCode.TERMS_VIOLATED, f"the run has had its messages of type {task.message_type!r}"
            )
        attempt = self.store.reserve_leg(run_id, task.leg_id, task.message_type, task.sha256)
        answer = self._masks.answer(task.message_type, terms, verified.approved.digest, run_id, task.content)
        self.store.record(
            "secure-aggregation",
            {
                "run": run_id,
                "leg": task.leg_id,
                "message_type": task.message_type,
                "message": task.sha256,
                "answer": sha256_hex(*encode(answer)),
                "arrays": _shapes(answer),
                "analysis": verified.approved.digest,
            },
        )
        said = {"node": self.node, **answer.configs[OWN_RECORD]}
        content = replace(answer, configs={OWN_RECORD: said})
        self.store.end_leg(run_id, task.leg_id, attempt, reply=encode(content))
        return Reply(content)

    # --- 2 reserve ---------------------------------------------------------------------------------------------

    def _answered(self, verified: Verified) -> Reply | Refusal | None:
        """The stored answer to a leg that was already decided, or None.

        Raises:
            RefusedError: 908, the leg stands for another message, or its run is over.
        """
        task = verified.task
        leg = self.store.leg(verified.run_id, task.leg_id)
        if leg is None:
            return None
        self._open_run(verified)
        if leg.message_sha256 != task.sha256:
            raise RefusedError(RefusalCode.TERMS_VIOLATED, "another message was already sent under this leg")
        if leg.state == "released":
            if leg.reply is None:
                raise RefusedError(RefusalCode.TERMS_VIOLATED, "this leg of an ended run is over")
            content = decode(leg.reply)[0]
            self._tell("resent", task, time.monotonic(), bytes_out=content.nbytes)
            return Reply(content, leg.reply)
        return None if leg.code is None else Refusal(leg.code)

    def _open_run(self, verified: Verified) -> None:
        most_runs = verified.terms.limits.runs if verified.terms else _UNLIMITED_RUNS
        self.store.open_run(
            verified.run_id, verified.approved.digest, verified.fab.sha256, verified.run_config, most_runs
        )

    def _reserve(self, verified: Verified, masking: Masking | None) -> int:
        """Counters and budget, all or nothing; returns which attempt at the leg this is."""
        task, terms = verified.task, verified.terms
        with self.store.transaction():
            self._open_run(verified)
            if verified.rules is not None and self.store.leg(verified.run_id, task.leg_id) is None:
                had = self.store.legs_of(verified.run_id, task.message_type)
                if had >= verified.rules.per_run:
                    raise RefusedError(
                        RefusalCode.TERMS_VIOLATED, f"the run has had its {had} messages of type {task.message_type!r}"
                    )
            attempt = self.store.reserve_leg(verified.run_id, task.leg_id, task.message_type, task.sha256)
            event = event_of(terms.privacy) if terms else None
            if terms is not None:
                distance = distance_of(self.noise, verified, masking)
                debit = Debit(
                    terms.project.id, verified.approved.digest, verified.run_id, task.leg_id, attempt, tuple(terms.data)
                )
                debit_release(
                    self.store,
                    self.limits,
                    terms.privacy,
                    debit,
                    namespaces=namespaces(verified.uses),
                    distance=distance,
                )
            self.store.record(
                "reserved",
                {
                    "run": verified.run_id,
                    "leg": task.leg_id,
                    "attempt": attempt,
                    "message_type": task.message_type,
                    "message": task.sha256,
                    "analysis": verified.approved.digest,
                    "stores": sorted(terms.data) if terms else sorted(self.data.names()),
                    "cohorts": fingerprints(verified.uses),
                    "event": event.as_json() if event else {"event": "no-claim"},
                },
            )
        return attempt

    def _require_enough(self, verified: Verified) -> None:
        """Under a claim the smallest cohort is looked at once, with noise, and paid for."""
        if verified.ground in {"vetted", "enforced"}:
            for name, use in verified.uses.items():
                least = self._verifier.least(use.stated)
                require_enough(self.store, self.limits, self.noise, verified, name, least=least)

    # --- 3 run -------------------------------------------------------------------------------------------------

    def _run(self, verified: Verified) -> Content:
        """The update, where no enforced claim is made.

        Raises:
            RefusedError: 905, 906, 907 or 908.
        """
        try:
            return self._sessions.run(verified)  # step 5 looks at the cohorts once more
        except SandboxError as err:
            # a session that a steward ended did not fail, nor did one that was ended because of a patient
            self._verifier.still_approved(verified, patients=False)
            try:
                self._verifier.same_patients(verified)
            except RefusedError:
                self._sessions.end(verified.task.run.run_id)
                raise
            timeout = isinstance(err, SandboxTimeoutError)
            code = RefusalCode.SANDBOX_TIMEOUT if timeout else RefusalCode.SANDBOX_FAILED
            raise RefusedError(code, err.message) from err

    def _run_enforced(self, verified: Verified, clip_norm: float) -> NoisedSum:
        """The clipped updates, one or one per block. Whatever fails is the zero vector and says nothing.

        Raises:
            RefusedError: 901, 902, 907 or 908, none of which looks at a patient.
        """
        assert verified.terms is not None  # noqa: S101  (an enforced claim is a term)
        assert verified.rules is not None  # noqa: S101
        total = NoisedSum(verified.reference, verified.rules, verified.terms.privacy, clip_norm)
        if verified.terms.privacy.unit == "patient":
            self._run_blocks(verified, verified.terms.privacy, total)
            return total
        try:
            update = self._sessions.run(verified)
            self._verifier.same_patients(verified)  # for the last time: from here on nothing depends on who is there
        except SandboxError as err:
            # a session that a steward ended did not fail: this decision looks at no patient
            self._verifier.still_approved(verified, patients=False)
            total.add(None, err.message)
        except RefusedError as err:  # no view could be made, or a patient went: one patient's record may be why
            self._sessions.end(verified.task.run.run_id)
            total.add(None, err.detail)
        else:
            total.add(update)
        return total

    def _run_blocks(self, verified: Verified, privacy: Privacy, total: NoisedSum) -> None:
        """The app once for each block of patients, one after the other, each in a slot of its own."""
        assert privacy.blocks is not None  # noqa: S101  (Privacy checks both)
        assert privacy.slot_seconds is not None  # noqa: S101
        slots = Slots(privacy.slot_seconds, lambda: self._sessions.stopping, fixed=self.limits.fixed_slots)
        count, key = privacy.blocks, run_key(self.block_key, verified.run_id)
        failed: dict[int, str] = {}
        try:
            blocks = split(verified.uses, count, key)
            failed = self._sessions.prepare(verified, blocks)
        except StoppedError:
            raise
        except Exception as err:  # whatever reading a store raises: one patient's record may be why
            blocks = ()
            failed = dict.fromkeys(range(1, count + 1), f"no blocks ({type(err).__name__})")
        for number in range(1, count + 1):
            slots.wait()
            self._verifier.still_approved(verified, patients=False)
            why = failed.get(number) or self._changed(verified, number, blocks[number - 1])
            update: Content | None = None
            if not why:
                update, why = self._run_block(verified, number, blocks[number - 1], slots)
            total.add(None if why else update, f"block {number}: {why}")
        slots.wait()
        for number, block in enumerate(blocks, 1):
            if why := self._changed(verified, number, block):  # a patient went after the block was added
                total.forget(number, f"block {number}: {why}")

    def _run_block(self, verified: Verified, number: int, block: Block, slots: Slots) -> tuple[Content | None, str]:
        """The block's update, or why there is none."""
        if is_empty(block):
            return None, "it is empty"
        try:
            return self._sessions.run_block(verified, number, block, slots.left), ""
        except (SandboxError, RefusedError) as err:
            # a session that a steward ended did not fail: this decision looks at no patient
            self._verifier.still_approved(verified, patients=False)
            return None, getattr(err, "detail", "") or err.message

    def _changed(self, verified: Verified, number: int, block: Block) -> str:
        """Why a block's records may no longer be used as they were; "" if they may."""
        return self._why_not(verified, number, fingerprint(block))

    def _why_not(self, verified: Verified, number: int, seen: str) -> str:
        """Why a block's records may not be used as they were; "" if they may."""
        try:
            now = self._verifier.uses(verified.fab, verified.approved)
            if fingerprints(now) == fingerprints(verified.uses):
                return ""
            assert verified.terms is not None  # noqa: S101
            blocks = split(now, verified.terms.privacy.blocks or 1, run_key(self.block_key, verified.run_id))
        except (RefusedError, InputError) as err:
            return getattr(err, "detail", "") or err.message
        return "" if fingerprint(blocks[number - 1]) == seen else "its patients changed meanwhile"

    # --- 4 release ---------------------------------------------------------------------------------------------

    def _release(self, verified: Verified, update: Content) -> Released:
        if verified.terms is None or verified.rules is None:
            if OWN_RECORD in update.arrays or OWN_RECORD in update.metrics:
                raise rejected(f"record {OWN_RECORD!r} is the gate's own")
            return Released(update)
        rules, privacy = verified.rules, verified.terms.privacy
        if verified.ground == "vetted":
            return release(update, verified.reference, rules, privacy)
        if not verified.uses:  # the app reads no data store: it has nobody's data
            return release(without_companions(update, rules), verified.reference, rules.leaving, privacy)
        facts = self._disclosure_facts(verified)
        disclosed = disclose(update, rules, verified.terms.disclosure, facts)
        released = release(disclosed.content, verified.reference, rules.leaving, privacy)
        return replace(
            released,
            numbers=disclosed.notes.numbers,
            notes=disclosed.notes.as_json(),
            guards=tested_guards(update, rules, facts),
        )

    def _disclosure_facts(self, verified: Verified) -> DisclosureFacts:
        secure = verified.terms.secure_aggregation if verified.terms is not None else SecureAggregation()
        return DisclosureFacts(
            patients=min(use.cohort.patients for use in verified.uses.values()),
            released_before=self.store.numbers_released(verified.approved.digest),
            cohort_fingerprint=cohorts_sha256(verified.uses),
            message_sha256=verified.task.sha256,
            key=hmac.digest(self.block_key, b"cell noise", "sha256"),
            tested=frozenset(secure.min_total_of if secure.required else ()),
        )

    # --- 5 commit and 6 record ---------------------------------------------------------------------------------

    def _commit_and_record(
        self, verified: Verified, attempt: int, released: Released, masking: Masking | None
    ) -> Reply:
        """One transaction. What cannot be framed for the way out is refused like what does not fit the contract."""
        try:
            return self._store_release(verified, attempt, released, masking)
        except FrameError as err:
            raise rejected(err.message) from err

    def _store_release(self, verified: Verified, attempt: int, released: Released, masking: Masking | None) -> Reply:
        task, terms = verified.task, verified.terms
        privacy = terms.privacy if terms is not None else Privacy()
        event = event_of(privacy)
        with self.store.transaction():
            # under an enforced claim step 3 looked: a refusal here would tell of a patient, and of a failing app
            self._verifier.still_approved(verified, patients=not verified.enforced)
            self.store.commit_debit(verified.run_id, task.leg_id, attempt)  # 5
            for name, use in verified.uses.items():
                self.store.note_cohort(
                    verified.approved.digest, name, use.cohort.members, use.offer.namespace, verified.ground
                )
            content, said_masked = leaving(self._masks, verified, released, masking)
            head = self.store.record(  # 6
                "released",
                {
                    "run": verified.run_id,
                    "leg": task.leg_id,
                    "attempt": attempt,
                    "content": sha256_hex(*encode(content)),
                    "bytes": content.nbytes,
                    "arrays": _shapes(content),
                    "masked": said_masked,
                    "patients": {name: len(use.cohort.members) for name, use in verified.uses.items()},
                    "ground": verified.ground,
                    "unit": privacy.unit,
                    "event": event.as_json() if event is not None else {"event": "no-claim"},
                    "zero_vector_because": plain(released.failed, 2000),
                    "disclosure": dict(released.notes),
                },
            )
            said: dict[str, ConfigValue] = {
                "node": self.node,
                "audit_head": head,
                "ground": verified.ground,
                "unit": privacy.unit,
                "noise_std": released.noise_std,
                "clip_norm": released.clip_norm,
                "blocks": privacy.blocks or 0,
            }
            if released.below_clip is not None:
                said |= {"below_clip": released.below_clip, "below_clip_std": released.below_clip_std}
            if signature := self.store.sign_head(head):
                said["audit_signature"] = signature
            own = content.configs[OWN_RECORD] if said_masked else {}  # the protocol's; an app has no say in this record
            content = replace(content, configs={**content.configs, OWN_RECORD: {**own, **said}})
            # in parts: a large update is held once, not twice
            if not self.store.end_leg(
                verified.run_id, task.leg_id, attempt, reply=encode(content), numbers=released.numbers
            ):
                raise RefusedError(RefusalCode.TERMS_VIOLATED, "another attempt at this leg was made meanwhile")
        self.store.keep_head()
        return Reply(content)

    def _end_if_over(self, run: Run, err: RefusedError) -> None:
        """Nothing goes on of an analysis that is not, or no longer, approved."""
        if err.code in _OVER:
            with suppress(RefusedError):  # a bundle that cannot be read has no session
                self._sessions.end(run.run_id, self._verifier.read(run)[1].digest)

    def _refuse(self, task: Task, err: RefusedError, started: float, attempt: int | None = None) -> Refusal:
        """A refusal is recorded like a release. Its detail stays here."""
        with self.store.transaction():
            if attempt is not None:
                self.store.end_leg(str(task.run.run_id), task.leg_id, attempt, code=err.code)
            self.store.record(
                "refused",
                {
                    "run": str(task.run.run_id),
                    "leg": plain(task.leg_id),
                    "message_type": plain(task.message_type),
                    "fab": task.run.fab_sha256,
                    "code": int(err.code),
                    "detail": plain(err.detail, 2000),
                },
            )
        self._tell("refused", task, started, detail=err.detail, code=int(err.code))
        return Refusal(err.code)

    # --- what is not a leg -------------------------------------------------------------------------------------

    def status(self, run: Run, told: Mapping[str, ConfigValue] | None = None) -> Reply:
        """Answer `query.flame_status`: what this node thinks of the analysis. No sandbox, no data, no leg.

        Args:
            run: Whose analysis is asked about.
            told: What the hub tells beside the question: heads of DIZ's audit chains. Others' are kept; one of this
                node's own that it does not know shows that its state is older than what left.
        """
        code, digest, terms, heads = 0, "", None, witnessed_in(told or {})
        self.store.look_at(heads)
        try:
            fab, manifest = self._verifier.read(run)
            digest, terms = manifest.digest, manifest.terms
            approved = self._verifier.approved(manifest, run)
            if (terms := approved.terms) is not None:
                self._verifier.within_terms(manifest, run, terms)
                self._verifier.uses(fab, approved)
        except RefusedError as err:
            code = int(self._refuse(Task(run, "", STATUS_MESSAGE, "", Content()), err, time.monotonic()).code)
        if code == 0 and heads:
            self.store.witness(heads, str(run.run_id))
        record = self.store.approval(digest) if digest else None
        privacy = terms.privacy if terms else None
        said: dict[str, ConfigValue] = {
            "node": self.node,
            "status": status_on(record, self.today()).value if record else Status.REJECTED.value,
            "code": code,
            "by": record.by_whom if record and record.status is not Status.PENDING else "",
            "digest": digest,
            "unit": privacy.unit if privacy else "none",
            "ground": privacy.ground if privacy else "none",
            "noise_multiplier": (privacy.noise_multiplier if privacy else None) or 0.0,
            "clip_norm": (privacy.clip_norm if privacy else None) or 0.0,
        }
        if terms is not None:
            said |= self._room(terms, str(run.run_id))
            if terms.secure_aggregation.required:
                said |= {
                    "masked": sorted(terms.messages),
                    "dropouts": terms.secure_aggregation.dropouts,
                    "colluding": terms.secure_aggregation.colluding,
                    "epoch": self.store.mask_state(str(run.run_id))[0],
                }
        content = Content(configs={OWN_RECORD: said})
        return Reply(content)

    def _room(self, terms: Terms, run_id: str) -> dict[str, ConfigValue]:
        """What a strategy plans by: quorum, deadlines, and how many messages and bytes the terms still allow."""
        kinds = sorted(terms.messages)
        return {
            "min_sites": terms.federation.min_sites,
            "seconds": float(terms.resources.seconds),
            "slots": terms.privacy.blocks or 0,
            "slot_seconds": float(terms.privacy.slot_seconds or 0.0),
            "messages": kinds,
            "messages_left": [
                max(0, terms.messages[kind].per_run - self.store.legs_of(run_id, kind)) for kind in kinds
            ],
            "messages_bytes": [terms.messages[kind].max_bytes for kind in kinds],
        }

    def binding(self, app: str, terms: Terms | None, steward_terms: Terms | None = None) -> NodeBinding:
        """What an approval at this node is bound to: `terms` will hold, and the steward may have written them."""
        return self._verifier.binding(app, terms, steward_terms)

    def file(self, manifest: Manifest, run: Run) -> ApprovalRecord:
        """Keep an analysis for the steward, if it is not known yet.

        Raises:
            RefusedError: 901, nothing more is taken.
        """
        return self.filing.file(self.store, manifest, run)

    def manifest(self, run: Run) -> Manifest:
        """What a bundle states, from its bytes.

        Raises:
            RefusedError: 901, it is no bundle.
        """
        return self._verifier.read(run)[1]

    def set_node_id(self, node_id: int) -> None:
        """Flower's id of this node, once the SuperNode has said it; apps see it, no decision depends on it."""
        self._sessions.node_id = node_id

    def end_changed(self) -> int:
        """End sessions of what is no longer approved, and those that hold a patient who may no longer be used.

        In the middle of their work if need be; from any thread, at any time. Returns how many were ended.
        """
        over: list[Verified] = []

        def holds(verified: Verified, part: int, seen: str) -> bool:
            try:
                self._verifier.still_approved(verified, patients=part == WHOLE)
                return part == WHOLE or not self._why_not(verified, part, seen)
            except RefusedError as err:
                if err.code in _OVER:
                    over.append(verified)
                return False
            except Exception:  # what cannot be told does not hold, and the thread that watches goes on
                return False

        ended = self._sessions.end_unless(holds)
        for verified in over:
            self._erase(verified.run_id)
        for run_id, digest in self.store.masked_runs():  # with or without a session
            if self._is_over(run_id, digest):
                self._erase(run_id)
        return ended

    def _is_over(self, run_id: str, digest: str) -> bool:
        try:
            record = self.store.approval(digest)
            if record is not None:
                self._verifier.approved(record.manifest)
            return record is None or self.store.is_stopped(run_id)
        except RefusedError as err:
            return err.code in _OVER

    def _erase(self, run_id: str) -> None:
        """What a run that is over for good leaves at the gate is dropped: nothing that could still be sent is kept."""
        with suppress(Exception):
            self.store.forget_replies(run_id)

    def close_idle(self) -> None:
        """End warm sessions: there has been no message for a while. A later message starts another one."""
        with self._one_at_a_time:
            self._sessions.end_all()

    def end_run(self, run_id: int) -> None:
        """The run is over: end its session and drop its stored replies."""
        self._sessions.end(run_id)
        self.store.forget_replies(str(run_id))

    def stop(self) -> None:
        """End every session now, from any thread; what they were doing is not answered."""
        self._sessions.stop()

    def _tell(
        self,
        kind: str,
        task: Task,
        started: float,
        sandbox_seconds: float = 0.0,
        detail: str = "",
        *,
        code: int = 0,
        bytes_out: int = 0,
    ) -> None:
        digest = ""
        with suppress(RefusedError):
            digest = self._verifier.read(task.run)[1].digest
        self.on_event(
            Event(
                node=self.node,
                kind=kind,
                run_id=task.run.run_id,
                leg_id=task.leg_id,
                message_type=task.message_type,
                detail=detail,
                code=code,
                seconds=time.monotonic() - started,
                sandbox_seconds=sandbox_seconds,
                bytes_in=task.content.nbytes,
                bytes_out=bytes_out,
                analysis=digest,
            )
        )


def _shapes(content: Content) -> list[list[object]]:
    """Record, name, dtype and shape of what leaves, for the audit entry."""
    found: list[list[object]] = [
        [record, name, str(array.dtype), [int(size) for size in array.shape]]
        for record, name, array in content.array_items()
    ]
    return found[:_MOST_SHAPES]
