"""From masked replies to a sum, and from the sum to replies that stand for it: linear in, linear out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flame_strategies import UnusableReply
from flame_strategies.averaging import weighted_mean
from flame_strategies.secure_replies import Masked, hand_out, masked_of, total_of
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.secagg.encoding import Layout, Part, encode
from flame_fl.secagg.messages import KEY, MASKED_ARRAY, MASKED_RECORD, MaskedReply
from tests.support.secagg import Federation

SCALE = 2.0**30


def part(name: str, how: str = "mean", **changes: Any) -> Part:
    base = {"record": "arrays", "name": name, "where": "array", "dtype": "float64", "shape": (2,), "how": how}
    return Part.model_validate(base | {"scale": SCALE} | changes)


def metric(name: str, how: str = "sum", **changes: Any) -> Part:
    count = {"scale": 1.0, "dtype": "int64"} if how == "sum" else {}
    return part(name, how, **({"record": "metrics", "where": "metric", "shape": ()} | count | changes))


def layout(*parts: Part, **changes: Any) -> Layout:
    return Layout.model_validate({"bits": 64, "update": "value", "parts": parts} | changes)


PUBLISHED = next(iter(Federation(3).set_up().published.values()))


def handed(
    how: Layout, sites: Mapping[int, list[Any]], models: Mapping[int, RecordDict] | None = None, **beside: Any
) -> dict[int, RecordDict]:
    """What a strategy gets of these sites' numbers, which are not masked here: that is the protocol's affair."""
    said = MaskedReply(party=PUBLISHED.key.party, epoch=1, index=1, layout=how.text(), published=PUBLISHED)
    masked, replies = {}, {}
    for node, values in sites.items():
        vector = encode(how, [np.asarray(value) for value in values])
        masked[node] = Masked(said, how, vector)
        content = RecordDict({"flame": ConfigRecord({KEY: said.text(), "node": f"DIZ-{node}"}), **beside})
        content[MASKED_RECORD] = ArrayRecord({MASKED_ARRAY: Array(vector)})
        question = Message(RecordDict(), message_type="train", dst_node_id=node)
        replies[node] = Message(content, reply_to=question)
    answers = hand_out(replies, masked, total_of(masked), models or dict.fromkeys(sites, RecordDict()))
    return {node: reply.content for node, reply in answers.items()}


class TestHandOut:
    @given(
        weights=st.lists(st.integers(0, 1000), min_size=3, max_size=6).filter(any),
        data=st.data(),
    )
    @settings(max_examples=60)
    def test_the_weighted_mean_of_the_replies_is_that_of_the_sites(
        self, weights: list[int], data: st.DataObject
    ) -> None:
        """Up to the fixed point: n / (2 s Σw)."""
        number = st.floats(-100, 100, allow_nan=False)
        models = [np.array(data.draw(st.tuples(number, number))) for _ in weights]
        how = layout(part("w", "weighted"), metric("n"), weight="n")
        found = handed(how, {i: [m * w, w] for i, (m, w) in enumerate(zip(models, weights, strict=True))})
        expected = weighted_mean([{"w": m} for m in models], [max(w, 1e-300) for w in weights])["w"]
        updates = [{"w": content["arrays"]["w"].numpy()} for content in found.values()]
        got = weighted_mean(updates, [content["metrics"]["n"] for content in found.values()])["w"]
        error = len(weights) / (2 * SCALE * sum(weights))
        np.testing.assert_allclose(got, expected, atol=error + 1e-12)
        assert sum(content["metrics"]["n"] for content in found.values()) == pytest.approx(sum(weights))

    def test_the_sum_of_the_replies_is_that_of_the_sites(self) -> None:
        """Whole numbers exactly, whatever their size; the first node is the one with the smallest id."""
        how = layout(part("c", "sum", dtype="int64", scale=1.0), part("x", "sum"))
        found = handed(how, {9: [[2**60, -1], [0.5, 0.25]], 4: [[2**60, 2], [1.0, -1.0]], 7: [[1, 3], [0.0, 0.0]]})
        np.testing.assert_array_equal(found[4]["arrays"]["c"].numpy(), [2**61 + 1, 4])
        np.testing.assert_array_equal(found[4]["arrays"]["x"].numpy(), [1.5, -0.75])
        for node in (7, 9):
            assert not found[node]["arrays"]["c"].numpy().any()
            assert not found[node]["arrays"]["x"].numpy().any()

    def test_without_a_weight_every_site_is_as_heavy(self) -> None:
        """A plain mean; counts beside it are sums."""
        found = handed(layout(part("w"), metric("n")), {1: [[3.0, 0.0], 5], 2: [[0.0, 3.0], 7], 3: [[0.0, 0.0], 0]})
        assert [content["arrays"]["w"].numpy().tolist() for content in found.values()] == [[1.0, 1.0]] * 3
        assert [content["metrics"]["n"] for content in found.values()] == [12, 0, 0]

    def test_a_difference_is_added_to_what_each_was_sent(self) -> None:
        """A sum is no difference to anything."""
        how = layout(part("w"), part("s", "sum"), update="delta")
        sent = {
            n: RecordDict({"arrays": ArrayRecord({"w": Array(np.full(2, 10.0)), "s": Array(np.ones(2))})})
            for n in (1, 2, 3)
        }
        found = handed(how, {n: [[n, -n], [1.0, 1.0]] for n in (1, 2, 3)}, sent)
        np.testing.assert_array_equal(found[2]["arrays"]["w"].numpy(), [12.0, 8.0])
        np.testing.assert_array_equal(found[1]["arrays"]["s"].numpy(), [3.0, 3.0])

    def test_a_difference_to_nothing_that_was_sent_is_an_error(self) -> None:
        """A sentence that names the array."""
        with pytest.raises(UnusableReply, match="arrays/w"):
            handed(layout(part("w"), update="delta"), {n: [[1.0, 1.0]] for n in (1, 2, 3)})

    def test_weights_that_add_up_to_nothing_are_an_error(self) -> None:
        """There is no mean of nobody."""
        with pytest.raises(UnusableReply, match="add up to 0"):
            handed(layout(part("w", "weighted"), metric("n"), weight="n"), {n: [[0.0, 0.0], 0] for n in (1, 2, 3)})

    @pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
    def test_means_have_the_models_dtype(self, dtype: str) -> None:
        """Integers are rounded, not cut off; an array without dimensions keeps none."""
        found = handed(layout(part("w", dtype=dtype, shape=())), {n: [1.6] for n in (1, 2, 3)})
        got = found[1]["arrays"]["w"].numpy()
        assert (got.dtype, got.shape) == (np.dtype(dtype), ())
        assert got == pytest.approx(2 if dtype == "int8" else 1.6, rel=1e-3)

    def test_a_metric_under_noise_comes_back_in_its_own_units(self) -> None:
        """offset + factor times the mean; the same for the share within the clip norm, in the gate's own record."""
        loss = metric("loss", "mean", factor=5.0, offset=5.0)
        share = part("below_clip", record="", where="below-clip", shape=(), factor=0.5, offset=0.5)
        found = handed(layout(loss, share), {1: [0.2, 1.0], 2: [-0.2, 1.0], 3: [0.3, -1.0]})
        assert found[3]["metrics"]["loss"] == pytest.approx(5.5)
        assert found[3]["flame"]["below_clip"] == pytest.approx(2 / 3)

    def test_what_the_gate_sent_beside_is_kept(self) -> None:
        """Counts that are constants, and its own record but for the protocol's text."""
        beside = {"metrics": MetricRecord({"num-examples": 1})}
        found = handed(layout(part("w"), metric("loss", "mean")), {n: [[1.0, 1.0], 0.5] for n in (1, 2, 3)}, **beside)
        assert dict(found[2]["metrics"]) == {"loss": 0.5, "num-examples": 1}
        assert dict(found[2]["flame"]) == {"node": "DIZ-2", "masked_sites": 3}
        assert MASKED_RECORD not in found[2]


class TestMaskedOf:
    def reply(self, vector: Any, **changes: Any) -> Message:
        how = layout(part("w"))
        said = MaskedReply(party=PUBLISHED.key.party, epoch=1, index=1, layout=how.text(), published=PUBLISHED)
        text = said.model_copy(update=changes).text()
        content = RecordDict(
            {"flame": ConfigRecord({KEY: text}), MASKED_RECORD: ArrayRecord({MASKED_ARRAY: Array(vector)})}
        )
        return Message(content, reply_to=Message(RecordDict(), message_type="train", dst_node_id=1))

    def test_what_fits_is_read(self) -> None:
        """With its layout and its vector."""
        found = masked_of(self.reply(np.array([1, 2**63], np.uint64)))
        assert found is not None
        assert (found.layout, found.vector.tolist()) == (layout(part("w")), [1, 2**63])

    @pytest.mark.parametrize(
        "vector",
        [np.zeros(3, np.uint64), np.zeros(2, np.uint32), np.zeros(2, np.int64), np.zeros((1, 2), np.uint64)],
        ids=["length", "width", "sign", "shape"],
    )
    def test_what_has_another_size_is_not(self, vector: np.ndarray) -> None:
        """It could not be added to the others."""
        assert masked_of(self.reply(vector)) is None

    @pytest.mark.parametrize("text", ["", "{}", '{"bits": 16, "update": "value", "parts": []}'])
    def test_what_states_no_layout_is_not(self, text: str) -> None:
        """Whatever the vector."""
        assert masked_of(self.reply(np.zeros(2, np.uint64), layout=text)) is None

    @pytest.mark.parametrize("left_out", ["flame", MASKED_RECORD])
    def test_what_lacks_a_record_is_not(self, left_out: str) -> None:
        """A plain answer, or a vector without a word."""
        reply = self.reply(np.zeros(2, np.uint64))
        del reply.content[left_out]
        assert masked_of(reply) is None


def test_the_total_wraps_around_and_changes_no_answer() -> None:
    """Modulo 2^64; the vectors stay as they came."""
    how = layout(part("w"))
    said = MaskedReply(party=PUBLISHED.key.party, epoch=1, index=1, layout=how.text(), published=PUBLISHED)
    vectors = [np.array([2**63, 2**64 - 1], np.uint64), np.array([2**63, 2], np.uint64)]
    masked = {n: Masked(said, how, vector) for n, vector in enumerate(vectors)}
    assert total_of(masked).tolist() == [0, 1]
    assert vectors[0].tolist() == [2**63, 2**64 - 1]
