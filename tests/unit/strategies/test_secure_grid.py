"""The grid under which strategies get sums: nodes that mask by the DIZ's own half, and losses in every leg."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from flame_strategies import FlameFedAvg, NotEnoughNodes, UnusableReply
from flame_strategies.approval import STATUS_MESSAGE
from flame_strategies.secure_grid import SecureGrid, secure
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from flame_fl.secagg.encoding import Layout, Part, encode
from flame_fl.secagg.epoch import Epoch
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import (
    ADVERTISE,
    KEY,
    MASKED_ARRAY,
    MASKED_RECORD,
    SHARE,
    SURVIVORS,
    UNMASK,
    AdvertiseRequest,
    MaskedReply,
    MaskRequest,
    ShareRequest,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_fl.secagg.node import Member, advertise, mask, open_sum, share, sign_survivors, unmask
from tests.support.secagg import fingerprint, identities

SCALE = 2.0**40
LAYOUT = Layout(
    bits=64,
    update="value",
    weight="num-examples",
    parts=(
        Part(record="arrays", name="w", where="array", dtype="float64", shape=(2,), how="weighted", scale=SCALE),
        Part(record="metrics", name="num-examples", where="metric", dtype="int64", shape=(), how="sum", scale=1.0),
        Part(record="metrics", name="loss", where="metric", dtype="float64", shape=(), how="weighted", scale=SCALE),
    ),
)
SUMS = Layout(
    bits=64,
    update="value",
    parts=(
        Part(record="sums", name="n", where="array", dtype="int64", shape=(3,), how="sum", scale=1.0),
        Part(record="sums", name="x", where="array", dtype="float64", shape=(), how="sum", scale=SCALE),
        Part(record="metrics", name="rate", where="metric", dtype="float64", shape=(), how="mean", scale=SCALE),
    ),
)


@dataclass
class Node:
    """One DIZ behind its gate. `lost` names kinds of messages that it does not answer; `refuses` what it refuses."""

    number: int
    member: Member
    terms: dict[str, Any]
    lost: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    layout: Layout | None = None
    state: Epoch | None = None
    epoch: int = 0
    says_epoch: int | None = None

    def __call__(self, message: Message) -> RecordDict | Error | None:
        kind = message.metadata.message_type
        if kind in self.lost:
            return None
        if kind in self.refuses:
            return Error(908, "no")
        if kind == STATUS_MESSAGE:
            newest = self.epoch if self.says_epoch is None else self.says_epoch
            return RecordDict({"flame": ConfigRecord({**self.terms, "epoch": newest})})
        if kind == "evaluate":  # not masked
            return RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": 0.0})})
        text = message.content["flame"].get(KEY)
        try:
            return self.answer(kind, text, message)
        except MaskError:
            return Error(908, "no")

    def answer(self, kind: str, text: object, message: Message) -> RecordDict:
        """What the gate does, without a gate."""
        if kind == ADVERTISE:
            request = AdvertiseRequest.read(text)
            if request.epoch <= self.epoch:
                raise MaskError("an old number")
            self.state, said = advertise(self.member, request.epoch)
            self.epoch = request.epoch
            return self.says(said.text())
        if self.state is None:
            raise MaskError("no set-up")
        if kind == SHARE:
            self.state, published = share(self.member, self.state, ShareRequest.read(text))
            return self.says(published.text())
        if kind == SURVIVORS:
            self.state, signed = sign_survivors(self.member, self.state, SurvivorsRequest.read(text))
            return self.says(signed.text())
        if kind == UNMASK:
            self.state, shares = unmask(self.member, self.state, UnmaskRequest.read(text))
            return self.says(shares.text())
        opening = open_sum(self.member, self.state, MaskRequest.read(text))
        layout = self.layout or (LAYOUT if kind == "train" else SUMS)
        vector = encode(layout, self.values(layout, message))
        index = self.state.next.index if self.state.next else 0
        self.state, published = mask(self.member, self.state, opening, vector)
        reply = MaskedReply(
            party=self.member.party, epoch=self.epoch, index=index, layout=layout.text(), published=published
        )
        arrays = ArrayRecord({MASKED_ARRAY: Array(vector)})
        return RecordDict({MASKED_RECORD: arrays, "flame": self.says(reply.text())["flame"]})

    def values(self, layout: Layout, message: Message) -> list[np.ndarray]:
        """Weight 10, 20, 30, …; a model halfway between what was sent and the node's number."""
        n = self.number
        if layout.weight is None:
            return [np.array([n, n**2, 1]), np.array(n / 8), np.array(n / 10)][: len(layout.parts)]
        moved = (message.content["arrays"]["w"].numpy() + n) / 2
        return [moved * 10 * n, np.array(10 * n), np.array(n * 10 * n)][: len(layout.parts)]

    def says(self, text: str) -> RecordDict:
        """Beside the gate's own words."""
        own = {"node": f"DIZ-{self.number}", "audit_head": "00", "ground": "none", "noise_std": 0.0, "clip_norm": 0.0}
        return RecordDict({"flame": ConfigRecord({**own, KEY: text})})


def nodes_of(sites: int, dropouts: int = 0, **terms: Any) -> dict[int, Node]:
    """Nodes 101, 102, …"""
    keys = {fingerprint(identity): identity for identity in identities(sites)}
    roster = {party: identity.public_key() for party, identity in keys.items()}
    said = {"status": "approved", "code": 0, "digest": "ab", "node": "diz", "masked": ["query.sums", "train"]}
    said |= {"dropouts": dropouts, "colluding": 0, "min_sites": sites} | terms
    return {
        100 + number: Node(number, Member(identity, party, roster, "00" * 32, dropouts, 0, sites), dict(said))
        for number, (party, identity) in enumerate(keys.items(), 1)
    }


def messages(nodes: Iterable[int], kind: str = "train", model: float = 0.0) -> list[Message]:
    record = {"arrays": ArrayRecord({"w": Array(np.full(2, model))}), "config": ConfigRecord({"x": 1})}
    return [Message(RecordDict(dict(record)), message_type=kind, dst_node_id=node) for node in nodes]


def whole(replies: Iterable[Message]) -> dict[int, RecordDict]:
    return {reply.metadata.src_node_id: reply.content for reply in replies if reply.has_content()}


def mean(numbers: Iterable[int], model: float = 0.0) -> float:
    """Of a number of the model."""
    found = list(numbers)
    return sum(10 * n * (model + n) / 2 for n in found) / sum(10 * n for n in found)


@pytest.fixture
def made(flower: Any) -> Callable[..., tuple[SecureGrid, Any]]:
    """Five nodes of which two may be lost, or others; the grid and the one beneath."""

    def make(sites: int = 5, dropouts: int = 2, **terms: Any) -> tuple[SecureGrid, Any]:
        beneath = flower.Grid(nodes_of(sites, dropouts, **terms))
        return secure(beneath), beneath

    return make


class TestReplies:
    def test_means_are_copies_and_weights_are_equal_parts(self, made: Any) -> None:
        """Their weighted mean is the weighted mean, and the weights add up to all."""
        grid, beneath = made()
        found = whole(grid.send_and_receive(messages(beneath.nodes)))
        assert list(found) == list(beneath.nodes)
        for content in found.values():
            np.testing.assert_allclose(content["arrays"]["w"].numpy(), [mean(range(1, 6))] * 2, atol=1e-9)
            assert content["metrics"]["num-examples"] == 30.0
            assert content["metrics"]["loss"] == pytest.approx(55 / 15)
            assert content["flame"]["masked_sites"] == 5
            assert KEY not in content["flame"]
            assert set(content) == {"arrays", "metrics", "flame"}

    def test_sums_are_whole_in_the_first_and_zero_in_the_others(self, made: Any) -> None:
        """Whatever the order in which the answers came."""
        grid, beneath = made()
        beneath.backwards = True
        found = whole(grid.send_and_receive(messages(beneath.nodes, "query.sums")))
        np.testing.assert_array_equal(found[101]["sums"]["n"].numpy(), [15, 55, 5])
        assert found[101]["sums"]["x"].numpy() == pytest.approx(15 / 8)
        for node in (102, 103, 104, 105):
            assert not found[node]["sums"]["n"].numpy().any()
            assert found[node]["sums"]["x"].numpy() == 0
        assert [content["metrics"]["rate"] for content in found.values()] == pytest.approx([0.3] * 5)

    def test_flowers_own_aggregation_gives_the_weighted_mean(self, made: Any) -> None:
        """`FedAvg.aggregate_train`, which knows nothing of masks."""
        grid, beneath = made()
        replies = list(grid.send_and_receive(messages(beneath.nodes)))
        arrays, metrics = FedAvg().aggregate_train(1, replies)
        assert arrays is not None
        assert metrics is not None
        np.testing.assert_allclose(arrays["w"].numpy(), [mean(range(1, 6))] * 2, atol=1e-9)
        assert metrics["loss"] == pytest.approx(55 / 15)

    def test_a_strategy_of_ours_works_unchanged(self, made: Any, flower: Any) -> None:
        """Three rounds of averaging, each from the last one's model."""
        _, beneath = made()
        strategy = FlameFedAvg(min_nodes=5)
        result = strategy.start(beneath, flower.model(w=np.zeros(2)), num_rounds=3)
        expected = 0.0
        for _ in range(3):
            expected = mean(range(1, 6), expected)
        np.testing.assert_allclose(result.arrays["w"].numpy(), [expected] * 2, atol=1e-9)

    def test_no_nodes_own_numbers_pass_the_hub(self, made: Any) -> None:
        """Neither in what is handed out nor in what came: no word of a masked vector is the plain one."""
        grid, beneath = made()
        seen: list[np.ndarray] = []
        send = beneath.send_and_receive

        def spy(batch: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
            replies = list(send(batch, timeout=timeout))
            masked = [r.content[MASKED_RECORD] for r in replies if r.has_content() and MASKED_RECORD in r.content]
            seen.extend(record[MASKED_ARRAY].numpy().copy() for record in masked)
            return replies

        beneath.send_and_receive = spy
        list(grid.send_and_receive(messages(beneath.nodes)))
        assert len(seen) == 5
        for number, vector in enumerate(seen, 1):
            plain = encode(
                LAYOUT, [np.full(2, number / 2) * 10 * number, np.array(10 * number), np.array(number * 10 * number)]
            )
            assert not (plain == vector).any()


class TestTraffic:
    def test_in_the_steady_state_a_round_takes_two_exchanges(self, made: Any) -> None:
        """A set-up once, then the message itself and the unmasking."""
        grid, beneath = made()
        for _ in range(3):
            list(grid.send_and_receive(messages(beneath.nodes)))
        kinds = [kind for node, kind in beneath.sent if node == 101]
        assert kinds == [STATUS_MESSAGE, ADVERTISE, SHARE, *["train", UNMASK] * 3]
        assert grid.set_ups == 1

    def test_a_round_with_a_loss_takes_one_more(self, made: Any) -> None:
        """The others sign who is left; no longer once it is out."""
        grid, beneath = made()
        list(grid.send_and_receive(messages(beneath.nodes)))
        beneath.sent.clear()
        beneath.nodes[105].lost = {"train", STATUS_MESSAGE}
        list(grid.send_and_receive(messages(beneath.nodes)))
        assert [kind for node, kind in beneath.sent if node == 101] == ["train", SURVIVORS, UNMASK]
        beneath.sent.clear()
        list(grid.send_and_receive(messages(beneath.nodes)))
        assert [kind for node, kind in beneath.sent if node == 101] == ["train", UNMASK]

    def test_one_grid_has_one_set_up_for_all_strategies(self, made: Any) -> None:
        """Wrapped again, it is the same."""
        grid, beneath = made()
        assert secure(grid) is grid
        assert secure(beneath) is grid

    def test_what_is_not_masked_passes_as_it_is(self, made: Any, flower: Any) -> None:
        """Other message types, and analyses whose terms want nothing masked."""
        grid, beneath = made(masked=["train"])
        sent = messages(beneath.nodes, "evaluate")
        replies = list(grid.send_and_receive(sent))
        assert [reply.content["metrics"]["num-examples"] for reply in replies] == [1] * 5
        assert beneath.messages[-5:] == sent
        plain = flower.Grid({node: flower.behind_gate(lambda m: RecordDict()) for node in (1, 2)})
        sent = messages((1, 2))
        assert len(list(secure(plain).send_and_receive(sent))) == 2
        assert plain.messages[-2:] == sent

    def test_what_the_app_is_sent_is_what_the_strategy_sent(self, made: Any) -> None:
        """Beside the gate's own record, whose other entries stay."""
        grid, beneath = made()
        sent = messages(beneath.nodes, model=3.0)
        for message in sent:
            message.content["flame"] = ConfigRecord({"clip_norm": 0.5})
        list(grid.send_and_receive(sent))
        (got,) = [m for m in beneath.messages if m.metadata.message_type == "train" and m.metadata.dst_node_id == 101]
        assert set(got.content) == {"arrays", "config", "flame"}
        assert got.content["flame"]["clip_norm"] == 0.5
        np.testing.assert_array_equal(got.content["arrays"]["w"].numpy(), [3.0, 3.0])

    def test_messages_are_not_pushed(self, made: Any) -> None:
        """Only all together they make a sum; what is not masked is pushed as ever."""
        grid, beneath = made(masked=["train"])
        with pytest.raises(UnusableReply, match="send_and_receive"):
            grid.push_messages(messages(beneath.nodes))
        with pytest.raises(NotImplementedError):  # the fake grid's own
            grid.push_messages(messages(beneath.nodes, "evaluate"))
        assert "train" not in {kind for _, kind in beneath.sent}

    def test_the_rest_is_the_grids_own(self, made: Any) -> None:
        """Also what only this grid has."""
        grid, beneath = made()
        assert list(grid.get_node_ids()) == list(beneath.nodes)
        assert grid.sent is beneath.sent
        with pytest.raises(AttributeError):
            _ = grid.nothing_of_the_kind


class TestLosses:
    @pytest.mark.parametrize("leg", ["train", SURVIVORS, UNMASK])
    @pytest.mark.parametrize("how", ["lost", "refuses"])
    def test_in_a_sum(self, how: str, leg: str, made: Any) -> None:
        """Before its answer came a node is not in the sum; afterwards it is, whatever becomes of it."""
        grid, beneath = made()
        list(grid.send_and_receive(messages(beneath.nodes)))
        getattr(beneath.nodes[105], how).add(leg)
        if leg == SURVIVORS:
            beneath.nodes[104].lost = {"train"}
        replies = list(grid.send_and_receive(messages(beneath.nodes)))
        left = {"train": [1, 2, 3, 4], SURVIVORS: [1, 2, 3, 5], UNMASK: [1, 2, 3, 4, 5]}[leg]
        found = whole(replies)
        assert sorted(found) == [100 + n for n in left]
        np.testing.assert_allclose(found[101]["arrays"]["w"].numpy(), [mean(left)] * 2, atol=1e-9)
        assert found[101]["flame"]["masked_sites"] == len(left)
        errors = [reply.error.code for reply in replies if reply.has_error()]
        assert errors == ([908] if (leg, how) == ("train", "refuses") else [])

    @pytest.mark.parametrize("leg", [ADVERTISE, SHARE])
    def test_in_a_set_up(self, leg: str, made: Any) -> None:
        """Before it has shared its keys a node is in no sum, if there are enough without it."""
        grid, beneath = made(min_sites=4)
        for node in beneath.nodes.values():
            object.__setattr__(node.member, "min_sites", 4)
            object.__setattr__(node.member, "dropouts", 1)
            node.terms |= {"dropouts": 1}
        beneath.nodes[103].lost = {leg}
        found = whole(grid.send_and_receive(messages(beneath.nodes)))
        assert sorted(found) == [101, 102, 104, 105]
        np.testing.assert_allclose(found[101]["arrays"]["w"].numpy(), [mean([1, 2, 4, 5])] * 2, atol=1e-9)

    @pytest.mark.parametrize("leg", [ADVERTISE, SHARE])
    def test_too_many_in_a_set_up(self, leg: str, made: Any) -> None:
        """Nothing of any site is asked for; the next try begins a set-up anew."""
        grid, beneath = made()
        for node in (103, 104, 105):
            beneath.nodes[node].lost = {leg}
        with pytest.raises(NotEnoughNodes):
            grid.send_and_receive(messages(beneath.nodes))
        assert beneath.legs("train") == []
        for node in beneath.nodes.values():
            node.lost.clear()
        assert len(whole(grid.send_and_receive(messages(beneath.nodes)))) == 5

    def test_too_many_in_a_sum(self, made: Any) -> None:
        """Nothing is unmasked: no node is asked for a share."""
        grid, beneath = made()
        list(grid.send_and_receive(messages(beneath.nodes)))
        asked = len(beneath.legs(UNMASK))
        for node in (103, 104, 105):
            beneath.nodes[node].lost = {"train"}
        with pytest.raises(NotEnoughNodes, match="2 of the 5 sites of a masked sum are left, 3 are the fewest"):
            grid.send_and_receive(messages(beneath.nodes))
        assert (len(beneath.legs(UNMASK)), beneath.legs(SURVIVORS)) == (asked, [])

    @pytest.mark.parametrize("leg", [SURVIVORS, UNMASK])
    def test_too_few_to_unmask(self, leg: str, made: Any) -> None:
        """Three must answer; what was not opened is not handed out."""
        grid, beneath = made()
        list(grid.send_and_receive(messages(beneath.nodes)))
        beneath.nodes[105].lost = {"train"}
        for node in (102, 103, 104):
            beneath.nodes[node].lost = {leg}
        with pytest.raises(NotEnoughNodes):
            grid.send_and_receive(messages(beneath.nodes))
        for node in beneath.nodes.values():
            node.lost.clear()
        assert len(whole(grid.send_and_receive(messages(beneath.nodes)))) == 5
        assert grid.set_ups == 2

    def test_fewer_than_the_fewest_are_asked_nothing(self, made: Any) -> None:
        """A strategy that samples two of five nodes makes no sum."""
        grid, beneath = made()
        list(grid.send_and_receive(messages(beneath.nodes)))
        beneath.sent.clear()
        with pytest.raises(NotEnoughNodes):
            grid.send_and_receive(messages((101, 102)))
        assert "train" not in {kind for _, kind in beneath.sent}

    def test_who_answers_in_another_layout_is_left_out(self, made: Any) -> None:
        """It counts as lost: the others' sum is whole, and its vector stays masked."""
        grid, beneath = made()
        parts = LAYOUT.parts
        beneath.nodes[102].layout = LAYOUT.model_copy(
            update={"parts": (parts[0].model_copy(update={"scale": 2.0}), *parts[1:])}
        )
        replies = list(grid.send_and_receive(messages(beneath.nodes)))
        assert sorted(whole(replies)) == [101, 103, 104, 105]
        np.testing.assert_allclose(whole(replies)[101]["arrays"]["w"].numpy(), [mean([1, 3, 4, 5])] * 2, atol=1e-9)
        (left_out,) = [reply for reply in replies if reply.has_error()]
        assert (left_out.metadata.src_node_id, "not in the masked sum" in left_out.error.reason) == (102, True)

    @pytest.mark.parametrize("what", ["plain", "another party", "too short"])
    def test_who_answers_something_else_is_left_out(self, what: str, made: Any) -> None:
        """An answer that is not masked, one in another site's name, and one of another length."""
        grid, beneath = made()
        node, other = beneath.nodes[102], beneath.nodes[103].member.party
        honest = node.answer

        def answer(kind: str, text: object, message: Message) -> RecordDict:
            said = honest(kind, text, message)
            if kind != "train":
                return said
            if what == "plain":
                return RecordDict(
                    {"arrays": ArrayRecord({"w": Array(np.zeros(2))}), "flame": ConfigRecord({"node": "x"})}
                )
            if what == "too short":
                said[MASKED_RECORD] = ArrayRecord({MASKED_ARRAY: Array(np.zeros(1, np.uint64))})
                return said
            reply = MaskedReply.read(said["flame"][KEY]).model_copy(update={"party": other})
            return RecordDict({MASKED_RECORD: said[MASKED_RECORD], "flame": ConfigRecord({KEY: reply.text()})})

        node.answer = answer
        found = whole(grid.send_and_receive(messages(beneath.nodes)))
        assert sorted(found) == [101, 103, 104, 105]
        np.testing.assert_allclose(found[101]["arrays"]["w"].numpy(), [mean([1, 3, 4, 5])] * 2, atol=1e-9)

    def test_who_returns_is_in_again_after_a_new_set_up(self, made: Any) -> None:
        """With fresh keys for everybody, under a larger number."""
        grid, beneath = made()
        beneath.nodes[105].lost = {"train", STATUS_MESSAGE}
        assert len(whole(grid.send_and_receive(messages(beneath.nodes)))) == 4
        assert len(whole(grid.send_and_receive(messages(beneath.nodes)))) == 4  # still away: no set-up for nothing
        assert grid.set_ups == 1
        beneath.nodes[105].lost.clear()
        found = whole(grid.send_and_receive(messages(beneath.nodes)))
        assert (len(found), grid.set_ups) == (5, 2)
        np.testing.assert_allclose(found[101]["arrays"]["w"].numpy(), [mean(range(1, 6))] * 2, atol=1e-9)
        assert {node.epoch for node in beneath.nodes.values()} == {2}


class TestNumbers:
    def test_a_hub_that_starts_again_goes_on_above_the_newest(self, flower: Any) -> None:
        """The gates say which set-up this run had last."""
        nodes = nodes_of(3)
        for node in nodes.values():
            node.epoch = 6
        assert len(whole(SecureGrid(flower.Grid(nodes)).send_and_receive(messages(nodes)))) == 3
        assert {node.epoch for node in nodes.values()} == {7}
        assert len(whole(SecureGrid(flower.Grid(nodes)).send_and_receive(messages(nodes)))) == 3
        assert {node.epoch for node in nodes.values()} == {8}

    def test_a_simulation_that_replays_numbers_as_before(self, flower: Any) -> None:
        """It gets the answers that it had: the same messages need the same numbers."""
        nodes = nodes_of(3)
        for node in nodes.values():
            node.says_epoch = 6
        grid = flower.Grid(nodes)
        grid.flame_replays = True
        assert len(whole(SecureGrid(grid).send_and_receive(messages(nodes)))) == 3
        assert {node.epoch for node in nodes.values()} == {1}
