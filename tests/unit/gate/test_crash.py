"""`kill -9` at random moments: what was acknowledged is there, what was started is paid, and the chain holds."""

import multiprocessing
import random
import time
from pathlib import Path

import pytest

from flame_fl.contract.task import Reply
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.cohort_check import EVENT as COUNT
from flame_fl.gate.store import Store
from flame_fl.privacy.accounting import PrivacyEvent, Relation
from tests.support.gates import World
from tests.support.spender import FAB, spend

KILLS = 25
PEOPLE = Account("patient", "patients")
EVENT = PrivacyEvent(500.0, Relation.REPLACE_ONE_SITE)
# One server imports everything once; each node that will die is forked from it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.spender"])


def spend_until_killed(folder: Path, run_id: int, words: int, then_seconds: float) -> list[list[str]]:
    """What the node said before it was killed, `then_seconds` after its first so many words."""
    inside, outside = PROCESSES.Pipe(duplex=False)
    node = PROCESSES.Process(target=spend, args=(folder, run_id, outside))
    node.start()
    outside.close()
    said = [inside.recv_bytes() for _ in range(words)]
    time.sleep(then_seconds)
    node.kill()
    node.join()
    try:
        while True:
            said.append(inside.recv_bytes())
    except (EOFError, OSError):  # the last word may be cut
        return [line.decode().split() for line in said]


def test_nothing_acknowledged_is_lost_and_nothing_started_is_free(tmp_path: Path) -> None:
    """One node dies KILLS times. The moments are seeded; where in the six steps they fall is the machine's."""
    moments = random.Random(5)
    acknowledged = 0
    for run_id in range(1, KILLS + 1):
        said = spend_until_killed(tmp_path, run_id, moments.randint(1, 8), moments.uniform(0.0, 0.01))
        store = Store(tmp_path / "state.db", durable=False)
        store.verify_audit()
        chain = list(store.audit_rows())
        heads = {stored for _, stored in chain}
        mine = {entry.leg_id: entry for entry in store.ledger(SITE) if entry.run_id == str(run_id)}
        assert store.spent(SITE).keys() == {EVENT}
        assert store.spent(PEOPLE) == {**store.spent(SITE), COUNT: 1}  # the patients were counted once in all lives
        done = {line[1]: line[2] for line in said if line[0] == "done"}
        for leg_id, head in done.items():
            leg = store.leg(str(run_id), leg_id)
            assert leg is not None
            assert (leg.state, mine[leg_id].state) == ("released", "committed")
            assert head in heads
        released = [e for e, _ in chain if e["kind"] == "released" and e["body"]["run"] == str(run_id)]
        assert len(released) == sum(entry.state == "committed" for entry in mine.values())
        assert len(released) - len(done) in {0, 1}  # one may have died between its commit and its word
        assert len(mine) - len(released) in {0, 1}  # one may have died between its debit and its commit
        acknowledged += len(done)
        store.close()
    assert acknowledged > 0


def test_legs_that_died_can_be_asked_again_and_are_paid_again(tmp_path: Path) -> None:
    for run_id in range(1, 6):
        said = spend_until_killed(tmp_path, run_id, run_id, 0.001 * run_id)
        started = [line[1] for line in said if line[0] == "start"]
        world = World(tmp_path)
        before = world.store.ledger(SITE)
        open_ = {e.leg_id for e in before if e.run_id == str(run_id) and e.state == "reserved"}
        paid = {e.leg_id for e in before if e.run_id == str(run_id)}
        assert all(isinstance(world.ask(FAB, leg=leg, run_id=run_id), Reply) for leg in started)
        again = world.store.ledger(SITE)[len(before) :]
        assert {e.leg_id for e in again} == open_ | (set(started) - paid)
        assert [e.attempt for e in again if e.leg_id in open_] == [2] * len(open_)
        world.store.close()


@pytest.mark.parametrize("durable", [True, False])
def test_an_open_transaction_of_a_dead_process_leaves_nothing(tmp_path: Path, durable: bool) -> None:
    node = PROCESSES.Process(target=_half_a_transaction, args=(tmp_path, durable))
    node.start()
    node.join()
    assert node.exitcode == -9
    store = Store(tmp_path / "state.db", durable=durable)
    assert store.verify_audit()[0] == 1
    assert store.leg("r", "l") is None
    store.close()


def _half_a_transaction(folder: Path, durable: bool) -> None:
    import os
    import signal

    store = Store(folder / "state.db", durable=durable)
    store.record("before", {})
    with store.transaction():
        store.record("within", {})
        store.reserve_leg("r", "l", "train", "sha")
        os.kill(os.getpid(), signal.SIGKILL)
