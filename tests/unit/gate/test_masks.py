"""Secure aggregation at the gate: its legs, one answer for each sum, and no key where none is needed any more."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.frames import encode
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import Reply
from flame_fl.gate.approval import Status
from flame_fl.gate.masks import LEGS, SPARE_LEGS
from flame_fl.secagg.epoch import Epoch
from flame_fl.secagg.hub import requests
from flame_fl.secagg.messages import (
    ADVERTISE,
    SHARE,
    SURVIVORS,
    UNMASK,
    Advertisement,
    AdvertiseRequest,
    Published,
    ShareRequest,
    Shares,
    Signed,
    SurvivorsRequest,
    UnmaskRequest,
)
from tests.support.gates import World, make_fab, terms_table
from tests.support.masked_gates import MASKED_TRAIN, MaskedGates, masked_table, of, said_of, vector_of

REFUSED = RefusalCode.TERMS_VIOLATED
Make = Callable[..., MaskedGates]


def answer(number: int) -> Content:
    """What the app of each number says; the weights are 10, 20, 30, …"""
    arrays = {"w": np.arange(4.0) + number, "b": np.array([number / 4], np.float32)}
    return Content({"arrays": arrays}, {"metrics": {"num-examples": 10 * number, "loss": number / 2}})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Builds gates round one roster, each in a folder of its own."""
    made: list[MaskedGates] = []

    def build(table: dict[str, Any] | None = None, **how: Any) -> MaskedGates:
        folder = tmp_path / f"gates-{len(made)}"
        made.append(MaskedGates(folder, table or masked_table(), **({"answers": answer} | how)))
        return made[-1]

    yield build
    for gates in made:
        gates.close()


@pytest.fixture
def gates(make: Make) -> MaskedGates:
    """Three of them, of which all must answer."""
    return make()


@pytest.fixture
def five(make: Make) -> MaskedGates:
    """Five of them, of which two may be lost."""
    return make(masked_table(sites=5, secure={"dropouts": 2}), sites=5)


def state_of(world: World, run_id: int = 7) -> Epoch:
    return Epoch.read(world.store.mask_state(str(run_id))[1])


class TestSums:
    def test_a_sum_is_that_of_the_answers(self, gates: MaskedGates) -> None:
        """Arrays of kind model and the loss weighted by examples; sums and counts as they are."""
        found = gates.set_up().sum()
        weighted = sum(10 * n * (np.arange(4.0) + n) for n in (1, 2, 3))
        np.testing.assert_allclose(found["arrays", "w"], weighted, atol=1e-9)
        assert found["arrays", "b"] == pytest.approx([1.5], abs=1e-9)
        assert (found["metrics", "num-examples"], found["metrics", "loss"]) == (60, pytest.approx(70.0))

    @pytest.mark.parametrize("lost", [("DIZ-2",), ("DIZ-1", "DIZ-5")])
    def test_what_is_lost_is_not_in_it(self, lost: tuple[str, ...], five: MaskedGates) -> None:
        """Nor in the next one; the others go on without a new set-up."""
        left = [n for n in range(1, 6) if f"DIZ-{n}" not in lost]
        five.set_up()
        for found in (five.sum(lost=lost), five.sum()):
            assert found["metrics", "num-examples"] == sum(10 * n for n in left)

    def test_what_leaves_says_nothing_plain(self, gates: MaskedGates) -> None:
        """One vector of integers, no metric, and of the gate's own record the same as ever."""
        left = gates.set_up().send()["DIZ-1"]
        assert [(r, n, a.dtype.name, a.shape) for r, n, a in left.array_items()] == [
            ("flame_masked", "vector", "uint64", (7,))
        ]
        assert (dict(left.metrics), list(left.configs)) == ({}, ["flame"])

    def test_the_same_answer_is_never_the_same_vector(self, gates: MaskedGates) -> None:
        """Each sum has masks of its own; no element stays where it was."""
        gates.set_up()
        vectors = []
        for _ in range(2):
            replies = gates.send()
            vectors.append(vector_of(replies["DIZ-1"]).copy())
            gates.unmask(replies)
        assert not (vectors[0] == vectors[1]).any()

    def test_the_audit_entry_names_the_sum(self, five: MaskedGates) -> None:
        """Set-up, index, context and how many sites; its context is that of all other sites."""
        five.set_up(epoch=4).send()
        entries = [dict(world.audit())["released"]["masked"] for world in five.worlds.values()]
        assert [entry["context"] for entry in entries] == [entries[0]["context"]] * 5
        assert {name: entries[0][name] for name in ("epoch", "index", "sites", "least_sites", "noise_shares")} == {
            "epoch": 4, "index": 1, "sites": 5, "least_sites": 3, "noise_shares": 1,
        }  # fmt: skip

    def test_no_app_speaks_in_the_gates_name(self, world: World) -> None:
        """Where everything may leave, its other records do; the gate's own is the gate's."""
        plain = make_fab({})
        world.decide(plain, unsafe_open=True)
        said = {"flame": {"node": "DIZ-9", "secure_aggregation": "x", "masked_sites": 5}, "words": {"a": "b"}}
        world.sandbox.answer = lambda message: Content(configs=said)  # type: ignore[arg-type]
        left = world.released(plain).configs
        assert (left["words"], left["flame"]["node"]) == ({"a": "b"}, "DIZ-1")
        assert not {"secure_aggregation", "masked_sites"} & set(left["flame"])

    def test_every_leg_is_audited(self, gates: MaskedGates) -> None:
        """With the hash of what came and of what left."""
        gates.set_up().sum()
        found = [body for kind, body in gates.worlds["DIZ-1"].audit() if kind == "secure-aggregation"]
        assert [body["message_type"] for body in found] == [ADVERTISE, SHARE, UNMASK]
        assert all(len(body["message"]) == len(body["answer"]) == 64 for body in found)

    def test_a_part_that_few_supply_is_added_up_over_them(self, make: Make) -> None:
        """The others' numbers are zeros, whatever their apps say."""
        support = {"arrays/b": ["DIZ-1", "DIZ-2", "DIZ-4"]}
        gates = make(masked_table(sites=4, secure={"support": support}), sites=4)
        found = gates.set_up().sum()
        assert found["arrays", "b"] == pytest.approx([(1 + 2 + 4) / 4])
        assert found["metrics", "num-examples"] == 100

    def test_a_sum_without_enough_of_those_that_supply_it_is_refused(self, make: Make) -> None:
        """Three must: the fourth may be lost, and of the three none."""
        support = {"arrays/b": ["DIZ-1", "DIZ-2", "DIZ-4"]}
        table = masked_table(sites=5, secure={"support": support, "dropouts": 1})
        gates = make(table, sites=5).set_up()
        asked = gates.ask("DIZ-1", "train", of(requests_without(gates, "DIZ-2")["DIZ-1"]))
        assert isinstance(asked, Refusal)
        assert (asked.code, "supply a part" in gates.worlds["DIZ-1"].detail) == (REFUSED, True)
        assert gates.sum(lost=["DIZ-3"])["arrays", "b"] == pytest.approx([(1 + 2 + 4) / 4])


def requests_without(gates: MaskedGates, name: str) -> dict[str, Any]:
    """What a hub would ask that leaves one more site out of the next sum."""
    left = {party: said for party, said in gates.published.items() if party != gates.parties[name]}
    asked = requests(left)
    return {other: asked[party] for other, party in gates.parties.items() if party in asked}


class TestOneAnswer:
    """A key masks one vector, whatever is sent."""

    def test_without_a_set_up_the_sandbox_never_starts(self, gates: MaskedGates) -> None:
        """Neither with a request of another run's nor with none."""
        gates.set_up()
        message = gates.message("DIZ-1")
        for content, run_id in ((Content(message.arrays), 7), (message, 8)):
            refused = gates.ask("DIZ-1", "train", content, run_id=run_id)
            assert isinstance(refused, Refusal)
            assert refused.code is REFUSED
        assert gates.worlds["DIZ-1"].sandbox.specs == []

    def test_the_same_leg_gets_the_same_bytes(self, gates: MaskedGates) -> None:
        """A reply that was lost is sent again; nothing is masked again."""
        gates.set_up()
        message = gates.message("DIZ-1")
        one, two = (gates.ask("DIZ-1", "train", message, leg="x") for _ in range(2))
        assert isinstance(one, Reply)
        assert isinstance(two, Reply)
        assert b"".join(encode(one.content)) == b"".join(encode(two.content)) == two.encoded
        assert len(gates.worlds["DIZ-1"].sandbox.messages) == 1

    def test_another_message_under_the_same_sum_is_refused(self, gates: MaskedGates) -> None:
        """The difference of two vectors under one mask would be the difference of two answers."""
        gates.set_up()
        request = gates.request("DIZ-1")
        gates.send()
        for content in (Content(), gates.message("DIZ-1", Content({"arrays": {"w": np.full(4, 9.0)}}))):
            refused = gates.ask("DIZ-1", "train", of(request, content))
            assert isinstance(refused, Refusal)
            assert refused.code is REFUSED
        assert len(gates.worlds["DIZ-1"].sandbox.messages) == 1

    def test_a_leg_of_the_protocol_is_answered_once_and_resent_as_it_was(self, gates: MaskedGates) -> None:
        """Otherwise a second set-up message would make a second key."""
        request = AdvertiseRequest(epoch=1)
        said = [gates.say("DIZ-1", ADVERTISE, request, Advertisement, leg="a") for _ in range(2)]
        assert said[0] == said[1]
        assert gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=2), leg="a") is REFUSED
        assert gates.code("DIZ-1", ADVERTISE, request, leg="b") is REFUSED

    def test_shares_are_dealt_once(self, gates: MaskedGates) -> None:
        """The same list under another leg would have the secrets shared twice."""
        request = gates.advertise()
        gates.say("DIZ-1", SHARE, request, Published)
        assert gates.code("DIZ-1", SHARE, request) is REFUSED

    def test_an_answer_that_is_refused_uses_no_key(self, gates: MaskedGates) -> None:
        """The app failed: the site may be in this sum with another message, since nothing of it has left."""
        gates.set_up()
        world = gates.worlds["DIZ-1"]
        before, world.sandbox.answer = world.store.mask_state("7"), lambda message: Content()
        assert isinstance(gates.ask("DIZ-1", "train", gates.message("DIZ-1")), Refusal)
        assert world.store.mask_state("7") == before
        world.sandbox.answer = lambda message: answer(1)
        assert gates.sum()["metrics", "num-examples"] == 60

    def test_an_attempt_that_dies_in_the_transaction_uses_no_key(
        self, gates: MaskedGates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The state changes with the commit and not before: after a restart the leg is worked on again."""
        gates.set_up()
        world, message = gates.worlds["DIZ-1"], gates.message("DIZ-1")
        before, changed, end = world.store.mask_state("7"), [], world.store.end_leg

        def dies(*args: Any, **how: Any) -> bool:
            if how.get("reply") is not None:
                changed.append(world.store.mask_state("7") != before)
                raise sqlite3.OperationalError("the disk is full")
            return end(*args, **how)

        monkeypatch.setattr(world.store, "end_leg", dies)
        with pytest.raises(sqlite3.OperationalError):
            gates.ask("DIZ-1", "train", message, leg="x")
        assert changed == [True]  # it had been masked, inside the transaction
        gates.worlds["DIZ-1"] = world = world.replaced(sandbox=world.sandbox)
        assert world.store.mask_state("7") == before
        reply = gates.ask("DIZ-1", "train", message, leg="x")
        assert isinstance(reply, Reply)
        replies = {"DIZ-1": reply.content}
        replies |= {n: gates.ask(n, "train", gates.message(n)).content for n in ("DIZ-2", "DIZ-3")}  # type: ignore[union-attr]
        assert gates.unmask(replies)[1]["metrics", "num-examples"] == 60

    def test_a_node_that_restarts_goes_on(self, gates: MaskedGates) -> None:
        """Between any two messages."""
        gates.set_up()
        for _ in range(2):
            world = gates.worlds["DIZ-2"]
            gates.worlds["DIZ-2"] = world.replaced(sandbox=world.sandbox)
            assert gates.sum()["metrics", "num-examples"] == 60


class TestRoster:
    @pytest.mark.parametrize("roster", [(), ("DIZ-2", "DIZ-3")], ids=["empty", "without this site"])
    def test_without_a_place_on_it_nothing_is_masked(self, roster: tuple[str, ...], make: Make) -> None:
        """No leg is answered, and so nothing leaves."""
        gates = make(roster=roster)
        assert gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=1)) is REFUSED
        refused = gates.ask("DIZ-1", "train", Content())
        assert isinstance(refused, Refusal)
        assert refused.code is REFUSED
        assert gates.worlds["DIZ-1"].sandbox.specs == []

    def test_who_is_not_on_it_is_in_no_set_up(self, make: Make) -> None:
        """Its gate may be anything: those on the roster do not take it."""
        gates = make(masked_table(), sites=4, roster=("DIZ-1", "DIZ-2", "DIZ-3"))
        known = gates.advertise(names=["DIZ-1", "DIZ-2", "DIZ-3"])
        stranger = make().advertise(names=["DIZ-1"]).advertisements
        request = ShareRequest(epoch=1, advertisements=(*known.advertisements, *stranger))
        assert gates.code("DIZ-1", SHARE, request) is REFUSED
        assert "roster" in gates.worlds["DIZ-1"].detail
        gates.say("DIZ-1", SHARE, known, Published)

    def test_fewer_than_the_terms_ask_for_make_no_set_up(self, five: MaskedGates) -> None:
        """Four of five, although a sum may be over three: losses come after a set-up."""
        names = ["DIZ-1", "DIZ-2", "DIZ-3", "DIZ-4"]
        assert five.code("DIZ-1", SHARE, five.advertise(names=names)) is REFUSED

    def test_a_site_that_supplies_a_part_must_be_known(self, make: Make) -> None:
        """By the steward's list; a misspelt name would make a smaller sum look whole."""
        gates = make(masked_table(secure={"support": {"arrays/b": ["DIZ-1", "DIZ-2", "DIZ-9"]}}))
        assert gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=1)) is REFUSED
        assert "'DIZ-9'" in gates.worlds["DIZ-1"].detail

    def test_what_a_log_says_stays_in_the_log(self, make: Make) -> None:
        """A refusal has its fixed text, whatever went wrong."""
        gates = make(roster=())
        refused = gates.ask("DIZ-1", ADVERTISE, of(AdvertiseRequest(epoch=1)))
        assert refused == Refusal(REFUSED)


class TestLegs:
    def test_the_number_of_a_set_up_must_grow(self, gates: MaskedGates) -> None:
        """Also after the keys of the last one are gone."""
        gates.advertise(epoch=3)
        assert [gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=n)) for n in (1, 3)] == [REFUSED] * 2
        gates.worlds["DIZ-1"].store.erase_masks("7")
        assert gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=3)) is REFUSED
        assert gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=4)) is None

    def test_a_new_set_up_ends_the_old_one(self, gates: MaskedGates) -> None:
        """Its keys are gone: a sum of it can neither be begun nor unmasked."""
        gates.set_up()
        replies = gates.send()
        old = UnmaskRequest(epoch=1, index=1, survivors=tuple(sorted(gates.parties.values())))
        gates.advertise(epoch=2)
        assert gates.code("DIZ-1", UNMASK, old) is REFUSED
        assert gates.code("DIZ-1", "train", said_of(replies["DIZ-1"])) is REFUSED

    def test_two_lists_for_one_sum_are_refused(self, five: MaskedGates) -> None:
        """Whichever came first, and whether it was signed or answered."""
        five.set_up().send(lost=["DIZ-5"])
        parties = five.parties
        four = tuple(sorted(parties[f"DIZ-{n}"] for n in (1, 2, 3, 4)))
        three = tuple(sorted(parties[f"DIZ-{n}"] for n in (1, 2, 3)))
        everybody = tuple(sorted(parties.values()))
        stated = {"epoch": 1, "index": 1}
        first = SurvivorsRequest(**stated, survivors=four)
        signed = [five.say(f"DIZ-{n}", SURVIVORS, first, Signed) for n in (1, 2, 3, 4)]
        assert five.code("DIZ-1", SURVIVORS, SurvivorsRequest(**stated, survivors=three)) is REFUSED
        assert five.code("DIZ-1", UNMASK, UnmaskRequest(**stated, survivors=everybody)) is REFUSED
        signatures = {one.party: one.signature for one in signed}
        answered = UnmaskRequest(**stated, survivors=four, signatures=signatures)
        shares = five.say("DIZ-1", UNMASK, answered, Shares)
        assert (set(shares.seeds), set(shares.keys)) == (set(four), {parties["DIZ-5"]})
        other = UnmaskRequest(**stated, survivors=three, signatures=signatures)
        assert five.code("DIZ-1", UNMASK, other) is REFUSED

    def test_a_list_without_enough_signatures_opens_no_key(self, five: MaskedGates) -> None:
        """Three of five must have signed it."""
        five.set_up().send(lost=["DIZ-5"])
        four = tuple(sorted(five.parties[f"DIZ-{n}"] for n in (1, 2, 3, 4)))
        request = SurvivorsRequest(epoch=1, index=1, survivors=four)
        signed = [five.say(f"DIZ-{n}", SURVIVORS, request, Signed) for n in (1, 2)]
        signatures = {one.party: one.signature for one in signed}
        asked = UnmaskRequest(epoch=1, index=1, survivors=four, signatures=signatures)
        assert five.code("DIZ-3", UNMASK, asked) is REFUSED

    def test_each_kind_of_leg_has_a_counter_of_its_own(self, gates: MaskedGates) -> None:
        """As many as messages in a run, and spare ones for new set-ups; those of other kinds do not count."""
        most = MASKED_TRAIN["per_run"] + SPARE_LEGS
        codes = [gates.code("DIZ-1", ADVERTISE, AdvertiseRequest(epoch=n)) for n in range(1, most + 2)]
        assert codes == [None] * most + [REFUSED]
        for name in ("DIZ-2", "DIZ-3"):
            gates.code(name, ADVERTISE, AdvertiseRequest(epoch=most + 1))
        assert "has had its messages" in gates.worlds["DIZ-1"].detail
        request = SurvivorsRequest(epoch=most, index=1, survivors=())
        assert gates.code("DIZ-1", SURVIVORS, request) is REFUSED  # another reason
        assert "nothing was masked" in gates.worlds["DIZ-1"].detail

    def test_a_leg_that_was_refused_does_not_count(self, gates: MaskedGates) -> None:
        """What malformed messages there are takes nothing of a run's messages."""
        for _ in range(MASKED_TRAIN["per_run"] + SPARE_LEGS + 1):
            assert gates.code("DIZ-1", ADVERTISE, SurvivorsRequest(epoch=1, index=1, survivors=())) is REFUSED
        assert gates.set_up().sum()["metrics", "num-examples"] == 60

    def test_messages_are_counted_as_ever(self, gates: MaskedGates) -> None:
        """The fourth of three is refused, before anything is masked."""
        gates.set_up()
        for _ in range(MASKED_TRAIN["per_run"]):
            gates.sum()
        refused = gates.ask("DIZ-1", "train", gates.message("DIZ-1"))
        assert isinstance(refused, Refusal)
        assert refused.code is REFUSED
        next_sum = state_of(gates.worlds["DIZ-1"]).next
        assert next_sum is not None
        assert next_sum.index == MASKED_TRAIN["per_run"] + 1

    @pytest.mark.parametrize("kind", sorted(LEGS))
    def test_an_analysis_that_masks_nothing_answers_none(self, kind: str, world: World) -> None:
        """Not even its set-up."""
        fab = make_fab()
        world.decide(fab)
        assert world.code(fab, kind=kind, content=of(AdvertiseRequest(epoch=1))) is REFUSED
        assert world.store.mask_state("7") == (0, "")

    @pytest.mark.parametrize("kind", sorted(LEGS))
    def test_an_analysis_that_nobody_approved_answers_none(self, kind: str, make_world: Callable[..., World]) -> None:
        """It is filed, as with any first message."""
        world, fab = make_world(), make_fab(masked_table())
        assert world.code(fab, kind=kind, content=of(AdvertiseRequest(epoch=1))) is RefusalCode.PENDING_APPROVAL
        world.decide(fab, Status.WITHDRAWN)
        code = world.code(fab, kind=kind, leg="2", content=of(AdvertiseRequest(epoch=1)))
        assert code is RefusalCode.WITHDRAWN_OR_EXPIRED

    @pytest.mark.parametrize("kind", sorted(LEGS))
    def test_whatever_is_sent_is_a_refusal(self, kind: str, gates: MaskedGates) -> None:
        """No text, no record, a huge one, another model: never an error."""
        gates.set_up()
        garbage: list[Content] = [
            Content(),
            Content(configs={"flame": {}}),
            Content(configs={"flame": {"secure_aggregation": 5}}),
            Content(configs={"flame": {"secure_aggregation": "{"}}),
            Content(configs={"flame": {"secure_aggregation": '{"epoch": 1e99, "index": -1, "survivors": [[]]}'}}),
        ]
        for content in garbage:
            assert gates.ask("DIZ-1", kind, content) == Refusal(REFUSED)

    def test_the_status_says_what_a_strategy_needs(self, five: MaskedGates) -> None:
        """Which messages are masked, on what terms, and the newest set-up of this run."""
        five.set_up(epoch=6)
        said = five.ask("DIZ-1", "query.flame_status", Content())
        assert isinstance(said, Reply)
        told = said.content.configs["flame"]
        assert {name: told[name] for name in ("masked", "dropouts", "colluding", "min_sites", "epoch")} == {
            "masked": ["train"], "dropouts": 2, "colluding": 0, "min_sites": 5, "epoch": 6,
        }  # fmt: skip

    def test_the_status_of_a_plain_analysis_says_nothing_of_it(self, world: World) -> None:
        """So a strategy masks nothing."""
        fab = make_fab(terms_table())
        world.decide(fab)
        assert "masked" not in world.released(fab, kind="query.flame_status").configs["flame"]


class TestKeysAreErased:
    """Raw bytes of the files, as somebody who takes the disk reads them."""

    def secrets(self, world: World) -> set[bytes]:
        """The private keys and seeds that the gate has now, as they are stored."""
        state = state_of(world)
        kept = {state.channel, *(one.seed for one in state.sums), *(one.key for one in state.sums)}
        kept |= {share for one in state.sums for share in one.own_shares}
        return {text.encode() for text in kept if text}

    def on_disk(self, world: World, found: set[bytes]) -> set[bytes]:
        raw = b"".join(path.read_bytes() for path in world.folder.glob("state.db*"))
        return {secret for secret in found if secret in raw}

    def test_what_is_looked_for_would_be_found(self, gates: MaskedGates) -> None:
        """While the run goes on."""
        world = gates.set_up().worlds["DIZ-1"]
        found = self.secrets(world)
        assert len(found) == 5
        world.store.close()
        assert self.on_disk(world, found) == found

    def test_a_sums_own_secrets_are_gone_with_its_answer(self, gates: MaskedGates) -> None:
        """Of the sum that was masked only shares of others, and its own share, are left."""
        world = gates.set_up().worlds["DIZ-1"]
        first = state_of(world).sums[0]
        gates.send()
        masked = state_of(world).sums[0]
        assert (masked.index, masked.seed, masked.key, masked.own_shares) == (1, None, None, first.own_shares)
        world.store.close()
        assert first.seed is not None
        assert first.key is not None
        assert self.on_disk(world, {first.seed.encode(), first.key.encode()}) == set()

    @pytest.mark.parametrize("close", [True, False], ids=["closed", "open"])
    def test_with_the_run(self, close: bool, gates: MaskedGates) -> None:
        """Of both sums and the set-up, in the log too; that there was a set-up stays known."""
        world = gates.set_up().worlds["DIZ-1"]
        found = self.secrets(world)
        gates.sum()
        found |= self.secrets(world)
        world.gate.end_run(7)
        assert world.store.mask_state("7") == (1, "")
        if close:
            world.store.close()
        assert self.on_disk(world, found) == set()

    @pytest.mark.parametrize("rounds", [0, 1], ids=["before a session", "with one"])
    @pytest.mark.parametrize("how", ["withdrawn", "expired", "stopped", "project"])
    def test_with_the_approval(self, how: str, rounds: int, gates: MaskedGates) -> None:
        """As soon as the node looks, whether an app had been started or not."""
        world = gates.set_up().worlds["DIZ-1"]
        found = self.secrets(world)
        for _ in range(rounds):
            gates.sum()
            found |= self.secrets(world)
        world.gate.end_changed()
        assert world.store.mask_state("7")[1] != ""  # nothing has changed yet
        match how:
            case "withdrawn":
                world.decide(gates.fab, Status.WITHDRAWN)
            case "expired":
                world.today = gates.terms.validity.until.replace(year=2030)
            case "stopped":
                world.store.stop_run("7", "ada")
            case _:
                from flame_fl.gate.decisions import close_project

                close_project(world.store, world.store.projects()[0], by="ada", comment="over")
        world.gate.end_changed()
        assert world.store.mask_state("7") == (1, "")
        world.store.close()
        assert self.on_disk(world, found) == set()

    def test_nothing_is_answered_from_then_on(self, gates: MaskedGates) -> None:
        """A masked vector that was sent before cannot be unmasked with this site's help."""
        gates.set_up().send()
        world = gates.worlds["DIZ-1"]
        world.decide(gates.fab, Status.WITHDRAWN)
        request = UnmaskRequest(epoch=1, index=1, survivors=tuple(sorted(gates.parties.values())))
        assert gates.code("DIZ-1", UNMASK, request) is RefusalCode.WITHDRAWN_OR_EXPIRED
