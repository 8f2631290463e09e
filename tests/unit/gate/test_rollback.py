"""A state that is older than what left the node is noticed, and locked; a crash, or a lie of the hub, is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.errors import VerificationError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.task import STATUS_MESSAGE, Reply, Run, Task
from flame_fl.gate.audit import BrokenChainError
from flame_fl.gate.checkpoints import EVERY
from flame_fl.gate.heads import HEADS, NODES, SIGNATURES, Head, sign_head
from flame_fl.gate.rollback import FILE, KEYS, LAST_HEAD, LEFT, LastHead
from flame_fl.gate.store import Store
from tests.support import gates
from tests.support.chains import OTHER_KEY
from tests.support.gates import ENFORCED, TRAIN, World, make_fab, terms_table
from tests.support.killing import open_store

FAB = make_fab(
    terms_table(
        privacy=ENFORCED | {"noise_multiplier": 40.0}, messages={"train": TRAIN | {"per_run": 100}}, limits={"runs": 9}
    )
)
LIMITS = gates.NodeLimits(epsilon_cap=20.0, delta=1e-5, min_patients=5)
STATE, CHECKPOINT, KEY_FILES = ("state.db", "state.db-wal", "state.db-shm"), ("audit.checkpoint",), ("keys",)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], World]:
    """The node after a (re)start: it looks back, as every process that opens its state does."""
    monkeypatch.setattr(gates, "Store", lambda file, durable: open_store(file.parent))
    (tmp_path / "node").mkdir()
    return lambda: World(tmp_path / "node", limits=LIMITS)


@pytest.fixture
def world(make: Callable[[], World]) -> World:
    """It has approved an analysis and let two answers out; what is restored later was saved then."""
    world = make()
    world.decide(FAB)
    for leg in ("1", "2"):
        world.released(FAB, leg=leg)
    world.store.checkpoint()
    world.store.close()
    shutil.copytree(world.folder, world.folder.with_name("backup"))
    return make()


def restore(world: World, *names: str) -> None:
    """Put files and folders of the backup in the place of the node's."""
    world.store.close()
    for name in names:
        kept, now = world.folder.with_name("backup") / name, world.folder / name
        shutil.rmtree(now) if now.is_dir() else now.unlink(missing_ok=True)
        if kept.is_dir():
            shutil.copytree(kept, now)
        elif kept.exists():
            shutil.copy(kept, now)


def head_of(answer: Content) -> Head:
    """The head that an answer carries, with its signature."""
    said = answer.configs["flame"]
    return Head("DIZ-1", str(said["audit_head"]), str(said["audit_signature"]))


def tell(world: World, *heads: Head) -> int:
    """The hub asks how the analysis stands, and tells heads; returns the code in the answer."""
    told = {NODES: [h.node for h in heads], HEADS: [h.head for h in heads], SIGNATURES: [h.signature for h in heads]}
    question = Task(Run(7, FAB), "", STATUS_MESSAGE, "", Content(configs={"flame": told}))
    answer = world.gate.handle(question)
    assert isinstance(answer, Reply)
    code = answer.content.configs["flame"]["code"]
    assert isinstance(code, int)
    return code


def why(world: World) -> list[str]:
    """What the open locks say."""
    return [lock.why for lock in world.store.locks.open()]


class TestWhatShowsIt:
    def test_the_checkpoint_beside_a_state_file_that_was_put_back(
        self, world: World, make: Callable[[], World]
    ) -> None:
        """No release since: what an ended gate signed is enough."""
        world.store.record("gate-stopped", {})
        world.store.checkpoint()
        restore(world, *STATE)
        assert why(make()) == [FILE]

    def test_the_last_head_among_the_keys_of_a_state_folder_that_was_put_back(
        self, world: World, make: Callable[[], World]
    ) -> None:
        world.released(FAB, leg="3")
        restore(world, *STATE, *CHECKPOINT)
        assert why(make()) == [KEYS]

    def test_a_head_that_the_hub_tells_of_a_node_that_was_put_back_as_a_whole(
        self, world: World, make: Callable[[], World]
    ) -> None:
        """Nothing at the node can show it: not before somebody tells."""
        left = head_of(world.released(FAB, leg="3"))
        restore(world, *STATE, *CHECKPOINT, *KEY_FILES)
        again = make()
        assert why(again) == []
        assert tell(again, left) == RefusalCode.BUDGET_EXHAUSTED
        assert why(again) == [LEFT]

    def test_a_head_is_told_before_the_analysis_is_approved_again(
        self, world: World, make: Callable[[], World]
    ) -> None:
        """The approval itself may be what the backup lacks."""
        left = head_of(world.released(FAB, leg="3"))
        restore(world, *STATE, *CHECKPOINT, *KEY_FILES)
        again = make()
        again.store._db.execute("DELETE FROM approvals")
        assert tell(again, left) == RefusalCode.PENDING_APPROVAL
        assert why(again) == [LEFT]

    def test_a_state_that_grew_beyond_what_it_lost(self, world: World, make: Callable[[], World]) -> None:
        """More entries than the lost state had, and none of them the lost one."""
        world.released(FAB, leg="3")
        restore(world, *STATE, *CHECKPOINT)
        careless = Store(world.folder / "state.db", durable=False)  # without key and last head: it does not look back
        for _ in range(20):
            careless.record("noted", {})
        careless.close()
        assert why(make()) == [KEYS]


class TestWhatDoesNot:
    def test_a_restart(self, world: World, make: Callable[[], World]) -> None:
        world.released(FAB, leg="3")
        world.store.close()
        assert why(make()) == []

    def test_a_crash_between_the_commit_and_the_files(self, world: World, make: Callable[[], World]) -> None:
        """Files that are older than the state say nothing."""
        for leg in range(3, 6):
            world.released(FAB, leg=str(leg))
        for _ in range(EVERY):
            world.store.record("noted", {})
        restore(world, *CHECKPOINT, *KEY_FILES)
        assert why(make()) == []

    def test_a_node_that_never_kept_a_last_head(self, world: World, make: Callable[[], World]) -> None:
        """A state of an earlier version."""
        world.store.close()
        (world.folder / "keys" / LAST_HEAD).unlink()
        again = make()
        assert why(again) == []
        again.released(FAB, leg="3")
        assert (world.folder / "keys" / LAST_HEAD).is_file()

    def test_heads_that_are_in_the_chain(self, world: World) -> None:
        head = head_of(world.released(FAB, leg="3"))
        assert (tell(world, head), why(world)) == (0, [])

    @pytest.mark.parametrize("signature", ["", "another's", "garbage"])
    def test_heads_that_this_node_did_not_sign(self, world: World, signature: str) -> None:
        """The hub cannot make one up to lock a node."""
        made_up = "ab" * 32
        said = {"": "", "another's": sign_head(OTHER_KEY, made_up), "garbage": "-----BEGIN SSH SIGNATURE-----"}
        assert (tell(world, Head("DIZ-1", made_up, said[signature])), why(world)) == (0, [])

    def test_a_signature_of_this_nodes_under_another_head(self, world: World) -> None:
        head = head_of(world.released(FAB, leg="3"))
        assert (tell(world, Head("DIZ-1", "ab" * 32, head.signature)), why(world)) == (0, [])

    def test_a_checkpoint_that_another_signed(self, world: World, make: Callable[[], World]) -> None:
        """That is damage; the check of the chain names it."""
        file = world.folder / "audit.checkpoint"
        point = json.loads(file.read_text())
        world.store.close()
        file.write_text(json.dumps(point | {"seq": 999}))
        again = make()
        assert why(again) == []
        with pytest.raises(BrokenChainError, match="forged"):
            again.store.verify_audit()


@pytest.fixture
def locked(world: World, make: Callable[[], World]) -> World:
    """A node whose state file was put back."""
    world.released(FAB, leg="3")
    restore(world, *STATE, *CHECKPOINT)
    return make()


class TestLocked:
    def test_nothing_runs_and_the_reason_stays_here(self, locked: World) -> None:
        debits = locked.store.ledger()
        assert locked.code(FAB, leg="9") == RefusalCode.BUDGET_EXHAUSTED
        assert "flame node reconcile" in locked.detail
        assert locked.sandbox.messages == []
        assert locked.store.ledger() == debits
        assert tell(locked) == RefusalCode.BUDGET_EXHAUSTED

    def test_what_left_before_is_not_sent_again(self, locked: World) -> None:
        assert locked.code(FAB, leg="1") == RefusalCode.BUDGET_EXHAUSTED

    def test_the_refusal_does_not_use_the_leg_up(self, locked: World) -> None:
        locked.code(FAB, leg="9")
        locked.store.reconcile({}, by="ada", comment="", heads=(), stated=0, closed=False)
        assert locked.code(FAB, leg="9") is None

    def test_it_stays_so_over_restarts_and_is_audited_once(self, locked: World, make: Callable[[], World]) -> None:
        locked.store.close()
        again = make()
        assert why(again) == [KEYS]
        assert [body["why"] for kind, body in again.audit() if kind == "state-locked"] == [KEYS]

    def test_what_shows_it_is_not_written_over(self, locked: World) -> None:
        before = (locked.folder / "keys" / LAST_HEAD).read_bytes()
        locked.store.keep_head()
        assert (locked.folder / "keys" / LAST_HEAD).read_bytes() == before

    def test_the_chain_is_still_checked_by_itself(self, world: World, make: Callable[[], World]) -> None:
        """The file beside it is known to be newer; everything else must hold."""
        world.store.record("noted", {})
        world.store.checkpoint()
        restore(world, *STATE)
        again = make()
        again.store.verify_audit()
        again.store._db.execute("UPDATE audit SET entry=replace(entry, 'a', 'b') WHERE seq=2")
        with pytest.raises(BrokenChainError, match="entry 2"):
            again.store.verify_audit()

    def test_what_is_in_the_sandbox_when_it_is_noticed_does_not_leave(
        self, world: World, make: Callable[[], World]
    ) -> None:
        """The hub tells while the app works: debited, and nothing leaves."""
        left = head_of(world.released(FAB, leg="3"))
        restore(world, *STATE, *CHECKPOINT, *KEY_FILES)
        again = make()

        def work(message: object) -> Content:
            again.store.look_at([left])
            return gates.good_update()

        again.sandbox.answer = work
        before = len(again.store.ledger())
        assert again.code(FAB, leg="9") == RefusalCode.BUDGET_EXHAUSTED
        assert {entry.state for entry in again.store.ledger()[before:]} == {"reserved"}


class TestReconciled:
    def reconcile(self, world: World, **how: object) -> None:
        given = {"heads": (), "stated": 0, "closed": False} | how
        world.store.reconcile({}, by="ada", comment="a disk failed", **given)  # type: ignore[arg-type]

    def test_it_answers_again_over_restarts(self, locked: World, make: Callable[[], World]) -> None:
        self.reconcile(locked)
        assert locked.code(FAB, leg="9") is None
        locked.store.close()
        again = make()
        assert why(again) == []
        again.store.verify_audit()
        (lock,) = again.store.locks.all()
        assert (lock.by, lock.comment) == ("ada", "a disk failed")

    def test_the_file_that_showed_it_is_kept_under_another_name(self, world: World, make: Callable[[], World]) -> None:
        world.store.record("noted", {})
        world.store.checkpoint()
        before = (world.folder / "audit.checkpoint").read_bytes()
        restore(world, *STATE)
        again = make()
        self.reconcile(again)
        (kept,) = world.folder.glob("audit.checkpoint.*")
        assert kept.read_bytes() == before
        again.store.close()
        make().store.verify_audit()

    def test_a_second_restore_is_noticed_again(self, locked: World, make: Callable[[], World]) -> None:
        self.reconcile(locked)
        locked.released(FAB, leg="9")
        restore(locked, *STATE, *CHECKPOINT)
        assert why(make()) == [KEYS]

    def test_a_head_that_was_answered_to_does_not_lock_again(self, world: World, make: Callable[[], World]) -> None:
        """Another one does: more is missing than anybody said."""
        first, second = (head_of(world.released(FAB, leg=leg)) for leg in ("3", "4"))
        restore(world, *STATE, *CHECKPOINT, *KEY_FILES)
        again = make()
        tell(again, first)
        self.reconcile(again)
        assert (tell(again, first), why(again)) == (0, [])
        assert tell(again, second) == RefusalCode.BUDGET_EXHAUSTED

    def test_releases_that_were_stated_lost_may_show_up_and_no_others(
        self, world: World, make: Callable[[], World]
    ) -> None:
        heads = [head_of(world.released(FAB, leg=str(leg))) for leg in range(3, 7)]
        restore(world, *STATE, *CHECKPOINT, *KEY_FILES)
        again = make()
        tell(again, heads[0])
        self.reconcile(again, heads=[heads[0].head], stated=2)
        assert tell(again, *heads[:3]) == 0
        assert tell(again, *heads[:3]) == 0
        assert tell(again, *heads) == RefusalCode.BUDGET_EXHAUSTED


class TestLastHead:
    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        """So the file may lie where a restored folder does not bring an older one."""
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "head")
        kept = LastHead(tmp_path / "link")
        kept.write(7, "ab" * 32)
        assert (tmp_path / "link").is_symlink()
        assert LastHead(tmp_path / "elsewhere" / "head").read() == kept.read() == (7, "ab" * 32)

    @pytest.mark.parametrize("text", ["", "{}", "no JSON", '{"seq": true, "head": ""}', '{"seq": 1, "head": 2}', "[1]"])
    def test_what_is_no_head_is_said(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "head").write_text(text)
        with pytest.raises(VerificationError, match="holds no head"):
            LastHead(tmp_path / "head").read()

    def test_a_file_that_cannot_be_written_stops_no_release(self, world: World) -> None:
        """It is told when a gate starts."""
        shutil.rmtree(world.folder / "keys")
        (world.folder / "keys").write_text("in the way")
        assert world.code(FAB, leg="3") is None
        with pytest.raises(OSError, match="keys"):
            world.store.require_head_kept()
