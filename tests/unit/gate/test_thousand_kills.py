"""`kill -9` at every point of reserve, run, commit and send: what is debited covers what left, and little more.

The node is `tests.support.killing`'s: forked, killed by SIGKILL at a chosen point, started again on the same state.
What truly left is what it had sent over a pipe before it died.
"""

import functools
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from dp_accounting import rdp

from flame_fl.contract.errors import VerificationError
from flame_fl.gate.claims import SITE, Account, accounts_of, event_of
from flame_fl.gate.cohort_check import EVENT as COHORT
from flame_fl.gate.store import Store
from flame_fl.privacy.accounting import PrivacyEvent, event_from
from tests.support.gates import manifest_from
from tests.support.killing import FABS, FAULTS, Job, Killer, Life, Unit, open_store, serve

PATIENTS = Account("patient", "patients")
DELTA = 1e-5
LIVES_OF_A_NODE = 20  # then another one begins, so that an analysis's first message is killed often as well
LEGS_OF_A_RUN = 3
UNITS: tuple[Unit, ...] = ("site", "patient")
Spent = dict[Account, Counter[PrivacyEvent]]


def cost_of(unit: Unit) -> tuple[tuple[Account, ...], PrivacyEvent]:
    """What one release is debited from, and as what."""
    terms = manifest_from(FABS[unit]).terms
    assert terms is not None
    event = event_of(terms.privacy)
    assert event is not None
    return accounts_of(terms.privacy, ["patients"]), event


COSTS = {unit: cost_of(unit) for unit in UNITS}


def epsilon(events: Counter[PrivacyEvent]) -> float:
    """By dp_accounting alone."""
    return _epsilon(frozenset((+events).items()))


@functools.cache
def _epsilon(events: frozenset[tuple[PrivacyEvent, int]]) -> float:
    accountant = rdp.RdpAccountant()
    for event, count in events:
        accountant.compose(event.as_dp_event(), count)
    return float(accountant.get_epsilon(DELTA))


@dataclass
class Books:
    """What the outside knows of one node, and what its state is compared with.

    Attributes:
        replies: What left, by unit, run and leg.
        noised: The noised count of each analysis, since it was first seen.
        over: What was debited beyond what left, so far.
        slack: By how much epsilon of the debits was above that of what left, after each kill.
    """

    replies: dict[tuple[Unit, int, str], bytes] = field(default_factory=dict)
    noised: dict[str, int] = field(default_factory=dict)
    over: Spent = field(default_factory=lambda: {SITE: Counter(), PATIENTS: Counter()})
    slack: list[float] = field(default_factory=list)

    def hear(self, job: Job, life: Life) -> None:
        """Take what a node sent: a leg that left before has the same bytes again."""
        for leg, raw in life.replies:
            assert self.replies.setdefault((job.unit, job.run_id, leg), raw) == raw, (job, life)

    def left(self) -> Spent:
        """What truly left: each reply once, and with the first of an analysis that its cohort is large enough."""
        found: Spent = {SITE: Counter(), PATIENTS: Counter()}
        for unit, _, _ in self.replies:
            accounts, event = COSTS[unit]
            for account in accounts:
                found[account][event] += 1
        found[PATIENTS][COHORT] = len({unit for unit, _, _ in self.replies})
        return found

    def compare(self, store: Store, job: Job, life: Life, *, signatures: bool) -> None:
        """Look into the state of a node that died, or lived on; now and then at its signatures, which takes long."""
        assert store.locks.all() == []  # a crash is no rollback
        store.verify_audit(None if signatures else ())
        self._compare_replies(store)
        self._compare_counts(store)
        self._compare_spend(store, job, life)

    def _compare_spend(self, store: Store, job: Job, life: Life) -> None:
        debited: Spent = {SITE: Counter(), PATIENTS: Counter()}
        for entry in store.ledger():
            event = event_from(entry.event)
            assert entry.account is not None
            assert event is not None
            debited[entry.account][event] += 1
        in_flight: Spent = {SITE: Counter(), PATIENTS: Counter()}
        if life.in_flight:
            accounts, event = COSTS[job.unit]
            in_flight |= {account: Counter({event: 1}) for account in accounts}
            in_flight[PATIENTS][COHORT] = 1
        for account, left in self.left().items():
            assert left <= debited[account], (account, job, life)  # nothing left that is not debited
            self.slack.append(epsilon(debited[account]) - epsilon(left))
            assert self.slack[-1] >= 0
            over = debited[account] - left
            assert over <= self.over[account] + in_flight[account], (account, job, life)
            self.over[account] = over

    def _compare_replies(self, store: Store) -> None:
        """What left is stored as it left, and no leg was released twice."""
        for (_, run_id, leg_id), raw in self.replies.items():
            leg = store.leg(str(run_id), leg_id)
            assert leg is not None
            assert (leg.state, leg.reply) == ("released", raw)
        bodies = [entry["body"] for entry, _ in store.audit_rows() if entry["kind"] == "released"]
        assert max(Counter((body["run"], body["leg"]) for body in bodies).values(), default=1) == 1

    def _compare_counts(self, store: Store) -> None:
        """A cohort's noised count is drawn once: it never changes, and is debited and recorded once."""
        drawn = dict(store._db.rows("SELECT digest, noised FROM cohort_checks"))
        assert drawn.items() >= self.noised.items()
        self.noised = drawn
        recorded = [e["body"]["analysis"] for e, _ in store.audit_rows() if e["kind"] == "cohort-counted"]
        paid = [e.digest for e in store.ledger(PATIENTS) if event_from(e.event) == COHORT]
        assert sorted(paid) == sorted(recorded) == sorted(drawn)


@dataclass
class Node:
    """One node's lives, and what it is asked in each: site and patient in turns."""

    folder: Path
    large: bool
    books: Books = field(default_factory=Books)
    _answered: Counter[Unit] = field(default_factory=Counter)
    _tried: Counter[Unit] = field(default_factory=Counter)
    _lives: int = 0

    def next_job(self) -> tuple[Job, object]:
        """Ask the last leg that left again, then the one that did not, or another; and what decides on the path."""
        unit = UNITS[self._lives % 2]
        number, tried = self._answered[unit], self._tried[unit]
        run_id, leg = self._place(unit, number)
        again, last = self._place(unit, number - 1)
        legs = (last, leg) if number and again == run_id else (leg,)
        path = (unit, self.large, len(legs), number == 0, bool(tried), self._lives < 2)
        return Job(self.folder, unit, run_id, legs, None, self.large, approve=not (number or tried)), path

    def lived(self, job: Job, life: Life) -> None:
        """Compare everything after a life."""
        self.books.hear(job, life)
        self._lives += 1
        with closing(open_store(self.folder)) as store:
            self.books.compare(store, job, life, signatures=self._lives % 10 == 0)
        done = any(leg == job.legs[-1] for leg, _ in life.replies)
        self._answered[job.unit] += done
        self._tried[job.unit] = 0 if done else self._tried[job.unit] + 1

    def _place(self, unit: Unit, number: int) -> tuple[int, str]:
        return 10 * (number // LEGS_OF_A_RUN) + UNITS.index(unit), str(number)


@dataclass(frozen=True)
class Server:
    """The process that forks nodes."""

    jobs: Connection
    words: Connection

    def live(self, job: Job) -> Life:
        """Start a node, and listen until it has ended."""
        self.jobs.send(job)
        return Life.heard(iter(self.words.recv, None))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all tests: it imports everything once."""
    fresh = multiprocessing.get_context("spawn")
    jobs, ours = fresh.Pipe(duplex=False)
    words, theirs = fresh.Pipe(duplex=False)
    process = fresh.Process(target=serve, args=(jobs, theirs))
    process.start()
    jobs.close()
    theirs.close()
    yield Server(ours, words)
    ours.send(None)
    process.join()
    assert process.exitcode == 0


def kill(server: Server, folder: Path, kills: int, fault: str = "") -> tuple[Killer, list[Node]]:
    """So many kills, over as many nodes as needed; everything is compared after each life."""
    killer, nodes = Killer(), list[Node]()
    while sum(killer.died.values()) < kills:
        nodes.append(Node(folder / str(len(nodes)), large=len(nodes) % 2 == 1))
        for _ in range(LIVES_OF_A_NODE):
            if sum(killer.died.values()) == kills:
                break
            job, path = nodes[-1].next_job()
            life = server.live(replace(job, target=killer.choose(path), fault=fault))
            assert life.code == (-signal.SIGKILL if life.died_at else 0), (job, life)
            killer.heard(path, life)
            nodes[-1].lived(job, life)
    return killer, nodes


def test_what_is_debited_covers_what_left_wherever_a_node_dies(server: Server, tmp_path: Path) -> None:
    """A few kills; the slow test has a thousand."""
    killer, nodes = kill(server, tmp_path, 25)
    assert sum(killer.died.values()) == 25
    assert len({label.partition(":")[0] for label, died in killer.died.items() if died}) >= 5
    assert max(slack for node in nodes for slack in node.books.slack) > 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_gate_with_a_fault_is_caught(server: Server, tmp_path: Path, fault: str) -> None:
    """The comparisons are not empty: each seeded fault fails one of them within 150 kills."""
    with pytest.raises((AssertionError, VerificationError)):
        kill(server, tmp_path, 150, fault)


@pytest.mark.slow
def test_a_thousand_kills_at_every_point_of_the_six_steps(server: Server, tmp_path: Path) -> None:
    """Every point was died at, evenly; at every step; and neither more nor fewer than a thousand nodes died."""
    killer, nodes = kill(server, tmp_path, 1000)
    steps = Counter(dict.fromkeys(("verify", "count", "reserve", "run", "release", "commit", "send"), 0))
    for label, died in killer.died.items():
        steps[label.partition(":")[0]] += died
    assert sum(steps.values()) == 1000
    assert min(steps.values()) >= 10, steps
    assert min(killer.died.values()) >= 5, killer.died
    left = sum(len(node.books.replies) for node in nodes)
    over = sum(sum(node.books.over[SITE].values()) for node in nodes)
    assert left > 200
    assert over > 100  # what died in between was paid
