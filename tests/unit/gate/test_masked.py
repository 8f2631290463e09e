"""What is masked: ranges that no sum leaves, answers that are refused as ever, and noise and budgets under masks."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.refusal import Refusal, RefusalCode, RefusedError
from flame_fl.contract.task import Reply
from flame_fl.contract.terms import Terms
from flame_fl.gate.masked import encoded, ranges_of
from flame_fl.gate.noised import sigma_of
from flame_fl.gate.release import Reference, reference_of, release
from flame_fl.privacy import distributed
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.privacy.distributed import distance_of_sum, share_of
from tests.support.gates import BLOCKS, ENFORCED, SUMS, NoNoise, World, make_fab, make_terms, sent_message, terms_table
from tests.support.masked_gates import EVERY_DIGIT, MASKED_TRAIN, MaskedGates, masked_table, said_of, vector_of

Make = Callable[..., MaskedGates]
CLIP = {"unit": "none", "ground": "none", "mechanism": "clip", "clip_norm": 1.0}
NOISY = ENFORCED | {"trust": "distributed"}
PLAIN_TRAIN = {
    "per_run": 3,
    "arrays": [
        {"record": "arrays", "name": "w", "dtype": "float64", "shape": [4]},
        {"record": "arrays", "name": "b", "dtype": "float32", "shape": [1]},
    ],
    "metrics": [
        {"record": "metrics", "name": "num-examples", "kind": "count", "max": 1000},
        {"record": "metrics", "name": "loss", "kind": "mean", "min": 0.0, "max": 10.0},
    ],
}
ONE = {"record": "r", "name": "a", "dtype": "float32", "shape": [2]}


def answer(number: int) -> Content:
    """What the app of each number says: its norm is at most a half."""
    arrays = {"w": np.array([0.1 * number, 0.0, -0.1, 0.0]), "b": np.array([0.25], np.float32)}
    return Content({"arrays": arrays}, {"metrics": {"num-examples": 10 * number, "loss": float(number)}})


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


def noisy_table(privacy: dict[str, Any] = NOISY, **how: Any) -> dict[str, Any]:
    """Terms under an enforced claim: no bound but the clip norm, and no weight."""
    secure = {"weight": "", **how.pop("secure", {})}
    table = masked_table(privacy=privacy, messages={"train": PLAIN_TRAIN}, secure=secure, **how)
    if not table["secure_aggregation"]["weight"]:
        del table["secure_aggregation"]["weight"]
    return table


def terms_of(*arrays: dict[str, Any], privacy: dict[str, Any] | None = None, **secure: Any) -> Terms:
    """Terms with one message of these arrays."""
    changes = {"privacy": privacy} if privacy else {}
    return make_terms(
        messages={"train": {"per_run": 1, "arrays": list(arrays), "metrics": PLAIN_TRAIN["metrics"]}},
        secure_aggregation={"required": True, **secure},
        federation={"min_sites": 3},
        disclosure=EVERY_DIGIT,
        **changes,
    )


def vector(
    terms: Terms, sites: int, value: npt.NDArray[Any], weight: int = 1, reference: Reference | None = None
) -> Any:
    """The integers of one site's answer, signed."""
    rules = terms.messages["train"]
    content = Content({"r": {"a": value}}, {"metrics": {"num-examples": weight, "loss": 10.0}})
    ranges = ranges_of(rules, terms, sites)
    return encoded(content, reference or {}, rules, terms, ranges=ranges, absent=())[1].view(f"int{ranges.bits}")


class TestRanges:
    @pytest.mark.parametrize(
        ("dtypes", "bits"),
        [(["float32"], 32), (["int16", "float16"], 32), (["float32", "float64"], 64), (["int64"], 64), ([], 64)],
    )
    def test_masks_add_no_bytes(self, dtypes: list[str], bits: int) -> None:
        """Words of 32 bits where no element of the arrays is longer; of metrics alone 64."""
        arrays = [ONE | {"name": f"a{i}", "dtype": dtype, "max_abs": 8.0} for i, dtype in enumerate(dtypes)]
        terms = terms_of(*arrays)
        assert ranges_of(terms.messages["train"], terms, 3).bits == bits

    @pytest.mark.parametrize("sites", [3, 5, 64])
    def test_the_scale_is_the_largest_power_of_two_that_fits(self, sites: int) -> None:
        """n (B s + 1) ≤ 2^31 - 1, and twice of it does not fit; a weighted mean's bound is times the largest weight."""
        terms = terms_of(ONE | {"max_abs": 3.0}, weight="num-examples")
        for key, bound in ((("r", "a"), 3.0 * 1000), (("metrics", "loss"), 10.0 * 1000)):
            scale = ranges_of(terms.messages["train"], terms, sites).parts[key][1]
            assert math.log2(scale) == int(math.log2(scale))
            assert sites * (bound * scale + 1) <= 2**31 - 1 < sites * (bound * 2 * scale + 1)

    def test_counts_are_whole(self) -> None:
        """Their scale is 1, so that their sum is exact."""
        terms = terms_of(ONE | {"dtype": "int32", "kind": "count", "max_abs": 1000.0}, weight="num-examples")
        parts = ranges_of(terms.messages["train"], terms, 3).parts
        assert (parts["r", "a"], parts["metrics", "num-examples"]) == (("sum", 1.0), ("sum", 1.0))

    def test_what_is_added_up_is_not_weighted(self) -> None:
        """A sum over patients has no weight; a mean has one only if the terms name it."""
        arrays = (ONE | {"max_abs": 1.0, "kind": "sum"}, ONE | {"name": "m", "max_abs": 1.0})
        for secure, how in (({"weight": "num-examples"}, "weighted"), ({}, "mean")):
            terms = terms_of(*arrays, **secure)
            parts = ranges_of(terms.messages["train"], terms, 3).parts
            assert (parts["r", "a"][0], parts["r", "m"][0], parts["metrics", "loss"][0]) == ("sum", how, how)

    def test_whole_numbers_that_cannot_fit_are_refused_beforehand(self) -> None:
        """From the terms alone: they are never rounded. One less for each site fits."""
        most = (2**31 - 1) // 3 - 1
        for bound in (most, most + 1):
            terms = terms_of(ONE | {"dtype": "int32", "kind": "sum", "max_abs": float(bound)})
            if bound == most:
                assert ranges_of(terms.messages["train"], terms, 3).parts["r", "a"] == ("sum", 1.0)
                continue
            with pytest.raises(RefusedError) as caught:
                ranges_of(terms.messages["train"], terms, 3)
            assert caught.value.code is RefusalCode.TERMS_VIOLATED

    def test_a_refused_range_starts_no_sandbox(self, make: Make) -> None:
        """Nothing looks at the data."""
        train = MASKED_TRAIN | {"arrays": [ONE | {"dtype": "int32", "kind": "sum", "max_abs": 1e9}]}
        gates = make(masked_table(messages={"train": train})).set_up()
        refused = gates.ask("DIZ-1", "train", gates.message("DIZ-1"))
        assert refused == Refusal(RefusalCode.TERMS_VIOLATED)
        assert gates.worlds["DIZ-1"].sandbox.specs == []

    @pytest.mark.parametrize(
        "privacy",
        [SUMS | {"ground": "reviewed"}, {"unit": "none", "ground": "none", "mechanism": "none", "clip_norm": 1.0}],
        ids=["of one patient", "unused"],
    )
    def test_a_clip_norm_bounds_only_what_the_gate_clips(self, privacy: dict[str, Any]) -> None:
        """One patient's contribution, or nothing at all: the answer is as large as max_abs."""
        terms = terms_of(ONE | {"kind": "sum", "max_abs": 4000.0}, privacy=privacy)
        assert vector(terms, 3, np.array([4000.0, -4000.0], np.float32))[0] > 0
        scale = ranges_of(terms.messages["train"], terms, 3).parts["r", "a"][1]
        np.testing.assert_array_equal(
            vector(terms, 3, np.array([4000.0, -1.0], np.float32))[:2], [4000 * scale, -scale]
        )

    @given(
        sites=st.integers(3, 1000),
        bound=st.floats(1e-6, 1e3),
        weight=st.none() | st.integers(0, 1000),
        clips=st.booleans(),
        double=st.booleans(),
        kind=st.sampled_from(["model", "sum"]),
    )
    @settings(max_examples=150)
    def test_no_sum_leaves_the_range(
        self, sites: int, bound: float, weight: int | None, *, clips: bool, double: bool, kind: str
    ) -> None:
        """Every site at its bounds, in the dtype of the array, where clipping and rounding may go beyond them."""
        secure = {} if weight is None else {"weight": "num-examples"}
        dtype = "float64" if double else "float32"
        rule = ONE | {"dtype": dtype, "kind": kind} | ({} if clips else {"max_abs": bound})
        terms = terms_of(rule, privacy=CLIP | {"clip_norm": bound} if clips else None, **secure)
        most = np.array(bound, dtype)
        if not clips and float(most) > bound:
            most = np.nextafter(most, np.array(0, dtype))
        found = vector(terms, sites, np.array([most, -most], dtype), weight=weight or 0)
        limit = 2 ** (8 * found.itemsize - 1) - 1
        assert max(abs(int(number)) for number in found) * sites <= limit


class TestEncoded:
    def test_a_delta_is_what_is_bounded(self) -> None:
        """Beyond max_abs it is refused, although the clip norm and the value itself allow it."""
        terms = make_terms(
            messages={"train": {"per_run": 1, "update": "delta", "arrays": [ONE | {"max_abs": 1.0}]}},
            privacy=CLIP | {"clip_norm": 100.0},
            secure_aggregation={"required": True},
            federation={"min_sites": 3},
        )
        rules = terms.messages["train"]
        ranges = ranges_of(rules, terms, 3)
        reference = reference_of(Content({"r": {"a": np.array([-1.0, 0.5], np.float32)}}), rules, terms.privacy)

        def integers(value: list[float]) -> Any:
            content = Content({"r": {"a": np.array(value, np.float32)}})
            return encoded(content, reference, rules, terms, ranges=ranges, absent=())[1].view(np.int32)

        np.testing.assert_array_equal(
            integers([-0.5, 0.0]), [ranges.parts["r", "a"][1] / 2, -ranges.parts["r", "a"][1] / 2]
        )
        with pytest.raises(RefusedError) as caught:
            integers([1.0, 0.5])
        assert caught.value.code is RefusalCode.RELEASE_REJECTED

    def test_vetted_noise_beyond_the_bound_is_cut_off(self) -> None:
        """It has none; a refusal would keep a sum from being formed now and then."""
        terms = terms_of(ONE | {"kind": "sum", "max_abs": 4.0}, privacy=SUMS | {"ground": "reviewed"})
        vetted = terms.model_copy(update={"privacy": terms.privacy.model_copy(update={"ground": "vetted"})})
        scale = ranges_of(terms.messages["train"], terms, 3).parts["r", "a"][1]
        too_large = np.array([4.5, -1e9], np.float32)
        np.testing.assert_array_equal(vector(vetted, 3, too_large)[:2], [4 * scale, -4 * scale])
        with pytest.raises(RefusedError):
            vector(terms, 3, too_large)
        rules = terms.messages["train"]
        content = Content({"r": {"a": too_large}}, {"metrics": {"num-examples": 1, "loss": 1.0}})
        assert release(content, {}, rules, vetted.privacy).content.arrays["r"]["a"] is too_large
        with pytest.raises(RefusedError):
            release(content, {}, rules, terms.privacy)

    def test_what_this_site_does_not_supply_is_zero(self) -> None:
        """Whatever the app sends for it."""
        terms = terms_of(ONE | {"max_abs": 4.0})
        rules = terms.messages["train"]
        content = Content({"r": {"a": np.ones(2, np.float32)}}, {"metrics": {"num-examples": 1, "loss": 1.0}})
        ranges = ranges_of(rules, terms, 3)
        _, integers = encoded(content, {}, rules, terms, ranges=ranges, absent={"r/a"})
        assert (integers[:2].tolist(), integers[2] > 0) == ([0, 0], True)


BAD: dict[str, Callable[[], Content]] = {
    "unlisted": lambda: Content({"arrays": {**answer(1).arrays["arrays"], "x": np.ones(1)}}, answer(1).metrics),
    "missing": lambda: Content({"arrays": {"w": np.ones(4)}}, answer(1).metrics),
    "nan": lambda: changed("w", np.array([np.nan, 0, 0, 0])),
    "inf": lambda: changed("b", np.array([np.inf], np.float32)),
    "dtype": lambda: changed("w", np.ones(4, np.float32)),
    "shape": lambda: changed("w", np.ones(5)),
    "beyond": lambda: changed("w", np.array([0, 0, 16.000001, 0])),
    "below": lambda: changed("b", np.array([-16.5], np.float32)),
    "heavy": lambda: Content(answer(1).arrays, {"metrics": {"num-examples": 1001, "loss": 1.0}}),
    "negative": lambda: Content(answer(1).arrays, {"metrics": {"num-examples": -1, "loss": 1.0}}),
    "loss": lambda: Content(answer(1).arrays, {"metrics": {"num-examples": 10, "loss": 10.5}}),
}


def changed(name: str, value: npt.NDArray[Any]) -> Content:
    """The first app's answer, with one array replaced."""
    return Content({"arrays": {**answer(1).arrays["arrays"], name: value}}, answer(1).metrics)


class TestRefused:
    @pytest.mark.parametrize("name", BAD)
    @pytest.mark.parametrize("masked", [True, False], ids=["masked", "plain"])
    def test_what_does_not_fit_the_contract(self, masked: bool, name: str, make: Make, world: World) -> None:
        """With masks or without: 904, and the key is still there for the sum."""
        if masked:
            gates = make(answers=lambda number: BAD[name]()).set_up()
            before = gates.worlds["DIZ-1"].store.mask_state("7")
            said = gates.ask("DIZ-1", "train", gates.message("DIZ-1"))
            assert said == Refusal(RefusalCode.RELEASE_REJECTED)
            assert gates.worlds["DIZ-1"].store.mask_state("7") == before
            return
        fab = make_fab(terms_table(messages={"train": MASKED_TRAIN}, disclosure=EVERY_DIGIT))
        world.decide(fab)
        world.sandbox.answer = lambda message: BAD[name]()
        assert world.code(fab) is RefusalCode.RELEASE_REJECTED

    @pytest.mark.parametrize("name", ["num-examples", "loss"])
    def test_a_metric_that_is_missing_is_refused_under_masks_alone(self, name: str, make: Make, world: World) -> None:
        """A masked vector has every number of its layout, or the sites' sums would not add up."""
        left_out = Content(
            answer(1).arrays, {"metrics": {n: v for n, v in answer(1).metrics["metrics"].items() if n != name}}
        )
        gates = make(answers=lambda number: left_out).set_up()
        assert gates.ask("DIZ-1", "train", gates.message("DIZ-1")) == Refusal(RefusalCode.RELEASE_REJECTED)
        fab = make_fab(terms_table(messages={"train": MASKED_TRAIN}, disclosure=EVERY_DIGIT))
        world.decide(fab)
        world.sandbox.answer = lambda message: left_out
        assert world.code(fab) is None

    @pytest.mark.parametrize("bound", [16.0, -16.0])
    def test_the_bound_itself_is_within_it(self, bound: float, make: Make) -> None:
        """At every site at once, and the sum is right."""
        gates = make(answers=lambda number: changed("w", np.full(4, bound))).set_up()
        np.testing.assert_allclose(gates.sum()["arrays", "w"], np.full(4, 3 * 10 * bound), rtol=1e-12)

    def test_a_whole_number_beyond_its_bound_is_found_exactly(self, world: World) -> None:
        """Also where float64 cannot tell the two apart."""
        rule = {"record": "r", "name": "a", "dtype": "int64", "shape": [1], "kind": "count", "max_abs": 2.0**60}
        fab = make_fab(terms_table(messages={"train": {"per_run": 9, "arrays": [rule]}}, data={}))
        world.decide(fab)
        for leg, number in enumerate((2**60, 2**60 + 1, -(2**60), -(2**63))):
            world.sandbox.answer = lambda message, number=number: Content({"r": {"a": np.array([number])}})  # type: ignore[misc]
            assert (world.code(fab, leg=str(leg)) is None) == (abs(number) <= 2**60)


class TestClip:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_a_clipped_mean_is_that_of_the_clipped_updates(self, dtype: str, make: Make) -> None:
        """Under delta relative to what was sent; each of norm 1 at most. In 32 bits to three parts in 2^30."""
        array = {"record": "arrays", "name": "w", "dtype": dtype, "shape": [4]}
        train = {"per_run": 3, "update": "delta", "arrays": [array], "metrics": PLAIN_TRAIN["metrics"]}
        table = masked_table(privacy=CLIP, messages={"train": train})

        def moved(number: int) -> Content:
            w = (np.ones(4) + number * np.array([1.0, -1.0, 0.0, 0.0])).astype(dtype)
            return Content({"arrays": {"w": w}}, {"metrics": {"num-examples": 10, "loss": 1.0}})

        gates = make(table, answers=moved).set_up()
        found = gates.sum(content=Content({"arrays": {"w": np.ones(4, dtype)}}))
        expected = 30 * np.array([1.0, -1.0, 0.0, 0.0]) / math.sqrt(2)
        np.testing.assert_allclose(found["arrays", "w"], expected, atol=3e-5 if dtype == "float32" else 1e-9)


class TestEnforced:
    """Noise in shares, or all of it at each site; failures are the zero vector, masked like any other."""

    def test_the_sum_is_that_of_the_clipped_answers(self, make: Make) -> None:
        """Up to a unit of 2^-20 for each site and number; metrics in their own units, counts as 1."""
        gates = make(noisy_table()).set_up()
        replies = gates.send()
        layout, found = gates.unmask(replies)
        np.testing.assert_allclose(
            found["arrays", "w"], sum(answer(n).arrays["arrays"]["w"] for n in (1, 2, 3)), atol=3e-6
        )
        (loss,) = [part for part in layout.parts if part.name == "loss"]
        mean = float(found["metrics", "loss"]) / 3
        assert loss.offset + loss.factor * mean == pytest.approx(2.0, abs=1e-4)
        assert replies["DIZ-1"].metrics == {"metrics": {"num-examples": 1}}

    @pytest.mark.parametrize("failure", [SandboxError("it died"), b"garbage", Content(), BAD["nan"](), BAD["shape"]()])
    def test_a_failing_app_is_the_zero_vector(self, failure: Any, make: Make) -> None:
        """It leaves like any other, and the others' sum is right."""
        gates = make(noisy_table(), answers=lambda number: failure if number == 2 else answer(number)).set_up()
        replies = gates.send()
        shapes = {
            (vector_of(reply).dtype, vector_of(reply).shape, tuple(reply.configs["flame"]))
            for reply in replies.values()
        }
        assert len(shapes) == 1
        found = gates.unmask(replies)[1]
        np.testing.assert_allclose(
            found["arrays", "w"], sum(answer(n).arrays["arrays"]["w"] for n in (1, 3)), atol=3e-6
        )
        assert dict(gates.worlds["DIZ-2"].audit())["released"]["zero_vector_because"]

    @pytest.mark.parametrize("trust", ["local", "distributed"])
    def test_the_budget_is_debited_as_without_masks(self, trust: str, make: Make, world: World) -> None:
        """The same event; beside it the distance of the shares' sum from one discrete Gaussian."""
        noise = ExactNoise()
        table = noisy_table(NOISY | {"trust": trust}, sites=5, secure={"dropouts": 1, "colluding": 1})
        gates = make(table, sites=5, noise=lambda number: noise).set_up()
        gates.send()
        plain = make_fab(terms_table(privacy=ENFORCED, messages={"train": PLAIN_TRAIN}))
        world.decide(plain)
        world.released(plain)
        (masked,), (without,) = gates.worlds["DIZ-1"].releases, world.releases
        assert (masked.event, masked.state) == (without.event, without.state)
        sigma, draws = sigma_of(gates.terms.privacy), 6
        share = share_of(sigma, 3)
        expected = noise.distance(sigma, draws)
        if trust == "distributed":
            expected = distance_of_sum(share, 3, draws, noise.distance(share, draws))
            assert expected >= 3 * noise.distance(share, draws)
        assert masked.distance == expected

    @pytest.mark.parametrize(("trust", "shares"), [("local", 1), ("distributed", 3)])
    def test_the_noise_that_is_drawn_is_the_share(self, trust: str, shares: int, make: Make) -> None:
        """sigma² of all of it where the site trusts nobody, else sigma² / (n - d - c), as the exact fraction."""
        asked: dict[int, list[tuple[int, int]]] = {}

        class Asked(NoNoise):
            def __init__(self, number: int) -> None:
                self.asked = asked.setdefault(number, [])

            def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
                self.asked.append(sigma_squared)
                return super().discrete_gaussian(sigma_squared, count)

        table = noisy_table(NOISY | {"trust": trust}, sites=5, secure={"dropouts": 1, "colluding": 1})
        gates = make(table, sites=5, noise=Asked).set_up()
        replies = gates.send()
        numerator, denominator = sigma_of(gates.terms.privacy)
        assert {drawn[-1] for drawn in asked.values()} == {(numerator, denominator * shares)}
        std = ENFORCED["clip_norm"] * ENFORCED["noise_multiplier"] / math.sqrt(shares)  # type: ignore[operator]
        assert replies["DIZ-1"].configs["flame"]["noise_std"] == pytest.approx(std)
        assert dict(gates.worlds["DIZ-1"].audit())["released"]["masked"]["noise_shares"] == shares

    def test_a_share_that_is_too_small_is_refused_before_anything(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is debited, no app starts. The bound is raised here: it is first met by some hundred sites."""
        gates = make(noisy_table()).set_up()
        sigma = sigma_of(gates.terms.privacy)
        monkeypatch.setattr(distributed, "LEAST_SHARE_SIGMA_SQUARED", sigma[0] / sigma[1] / 3 * 1.001)
        refused = gates.ask("DIZ-1", "train", gates.message("DIZ-1"))
        assert refused == Refusal(RefusalCode.TERMS_VIOLATED)
        assert (gates.worlds["DIZ-1"].sandbox.specs, gates.worlds["DIZ-1"].releases) == ([], [])
        monkeypatch.setattr(distributed, "LEAST_SHARE_SIGMA_SQUARED", sigma[0] / sigma[1] / 3 * 0.999)
        assert isinstance(gates.ask("DIZ-1", "train", gates.message("DIZ-1")), Reply)

    def test_below_clip_is_a_coordinate_of_the_sum(self, make: Make) -> None:
        """Two of three updates are within the norm that the message asks for."""
        table = noisy_table(NOISY | {"adaptive_clip": True, "clip_norm": 4.0})
        gates = make(
            table, answers=lambda number: changed("w", np.array([0.1 if number < 3 else 3.0, 0, 0, 0]))
        ).set_up()
        sent = sent_message()
        replies = {}
        for name in gates.worlds:
            message = gates.message(name, sent)
            own = dict(message.configs["flame"]) | {"clip_norm": 0.5}
            reply = gates.ask(name, "train", Content(message.arrays, message.metrics, {"flame": own}))
            assert isinstance(reply, Reply)
            assert "below_clip" not in reply.content.configs["flame"]
            assert reply.content.configs["flame"]["clip_norm"] == 0.5
            replies[name] = reply.content
        layout, found = gates.unmask(replies)
        (part,) = [part for part in layout.parts if part.where == "below-clip"]
        share = part.offset + part.factor * float(found["", "below_clip"]) / 3
        assert share == pytest.approx(2 / 3, abs=1e-4)

    def test_blocks_of_patients_are_added_up_over_sites(self, make: Make) -> None:
        """Each gate's sum over its blocks, divided by their public number; an empty or failing block is zero."""
        table = noisy_table(BLOCKS | {"trust": "distributed"})
        gates = make(table, answers=lambda number: b"garbage" if number == 3 else answer(number)).set_up()
        found = gates.sum()["arrays", "w"]
        expected = answer(1).arrays["arrays"]["w"] + answer(2).arrays["arrays"]["w"]
        np.testing.assert_allclose(found, expected, atol=4e-6)
        assert {len(world.sandbox.messages) for world in gates.worlds.values()} == {4}

    @pytest.mark.parametrize(
        ("blocks", "multiplier", "bits"), [(None, 1.0, 32), (None, 300.0, 64), (2, 1.0, 32), (1000, 1.0, 64)]
    )
    def test_words_are_as_long_as_the_noise_needs(self, blocks: int | None, multiplier: float, bits: int) -> None:
        """n blocks 2^20 and twelve sigma of the whole noise within 2^31, else 64 bits."""
        from flame_fl.gate.masked import noised_bits

        assert noised_bits(3, blocks or 1, multiplier * CLIP_INT) == bits

    def test_a_layout_says_which_words(self, make: Make) -> None:
        """Both lengths give the right sum."""
        for multiplier, bits in ((1.0, 32), (400.0, 64)):
            gates = make(noisy_table(NOISY | {"noise_multiplier": multiplier})).set_up()
            replies = gates.send()
            assert vector_of(replies["DIZ-1"]).dtype == f"uint{bits}"
            assert f'"bits":{bits}' in said_of(replies["DIZ-1"]).layout
            found = gates.unmask(replies)[1]["arrays", "w"]
            np.testing.assert_allclose(found, [0.6, 0.0, -0.3, 0.0], atol=3e-6)
