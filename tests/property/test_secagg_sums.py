"""Sums under masks, under all terms that are allowed: exact whoever drops out, refused beyond that, never wrapped."""

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.secagg.encoding import Layout, Part, decode, encode, error_of, scale_of
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.hub import remove_masks
from flame_fl.secagg.parameters import Parameters
from flame_fl.secagg.streams import Words
from tests.support.secagg import Federation, added, allowed, drawn, subsets

DTYPES = (np.uint32, np.uint64)
SIZE = 5


def same(total: Words, vectors: dict[str, Words], survivors: tuple[str, ...]) -> bool:
    return bool((total == added({party: vectors[party] for party in survivors})).all())


class TestExact:
    @pytest.mark.parametrize("phase", ["never", "masked", "mixed"])
    @pytest.mark.parametrize("terms", [p for n in range(3, 7) for p in allowed(n)], ids=str)
    def test_a_sum_is_exact_for_every_set_of_dropouts_in_every_phase(self, terms: Parameters, phase: str) -> None:
        start = Federation(terms.sites, terms.dropouts, terms.colluding).set_up()
        for number, lost in enumerate(subsets(start.parties, terms.dropouts)):
            vectors = drawn(start.parties, SIZE, number, DTYPES[number % 2])
            phases: dict[str, list[str]] = {"never": [], "masked": [], "signed": []}
            for place, party in enumerate(lost):
                phases[("never", "masked", "signed")[(number + place) % 3] if phase == "mixed" else phase].append(party)
            total, survivors = start.copy().sum(vectors, **phases)
            assert set(survivors) == set(start.parties) - set(phases["never"])
            assert same(total, vectors, survivors)

    @settings(max_examples=15)
    @given(data=st.data())
    def test_sums_are_exact_in_a_row_while_the_set_shrinks(self, data: st.DataObject) -> None:
        terms = data.draw(st.sampled_from(allowed(data.draw(st.integers(3, 12)))))
        federation = Federation(terms.sites, terms.dropouts, terms.colluding).set_up()
        budget = terms.dropouts
        for number in range(data.draw(st.integers(1, 3))):
            alive = sorted(federation.published)
            order = data.draw(st.permutations(alive))
            lost = order[: data.draw(st.integers(0, budget))]
            phases = [data.draw(st.sampled_from(["never", "masked", "signed"])) for _ in lost]
            by_phase = {
                name: [p for p, phase in zip(lost, phases, strict=True) if phase == name] for name in set(phases)
            }
            vectors = drawn(alive, SIZE, number, data.draw(st.sampled_from(DTYPES)))
            total, survivors = federation.sum(vectors, **by_phase)
            assert same(total, vectors, survivors)
            assert set(survivors) == set(alive) - set(by_phase.get("never", ()))
            budget -= len(lost)

    @settings(max_examples=12)
    @given(data=st.data())
    def test_any_threshold_of_the_answers_gives_the_same_sum(self, data: st.DataObject) -> None:
        terms = data.draw(st.sampled_from(allowed(data.draw(st.integers(3, 9)))))
        federation = Federation(terms.sites, terms.dropouts, terms.colluding).set_up()
        keys = {party: said.key for party, said in federation.published.items()}
        vectors = drawn(federation.parties, SIZE, 7)
        lost = data.draw(st.permutations(federation.parties))[: data.draw(st.integers(0, terms.dropouts))]
        came = federation.mask_all(vectors, lost)
        survivors = sorted(came)
        signatures = {p: federation.sign(p, survivors, 1).signature for p in survivors}
        answers = {p: federation.unmask(p, survivors, 1, signatures) for p in survivors}
        chosen = data.draw(st.permutations(survivors))[: terms.threshold]
        total = added(came)
        few = {party: answers[party] for party in chosen}
        remove_masks(total, federation.parties, terms.threshold, keys=keys, answers=few, survivors=survivors)
        assert same(total, vectors, tuple(survivors))
        too_few = {party: answers[party] for party in chosen[1:]}
        total = added(came)
        with pytest.raises(MaskError):
            remove_masks(total, federation.parties, terms.threshold, keys=keys, answers=too_few, survivors=survivors)
        assert (total == added(came)).all()


class TestBeyond:
    """More than d are lost."""

    @pytest.mark.parametrize("terms", [p for n in range(3, 8) for p in allowed(n)], ids=str)
    def test_nobody_signs_or_answers_for_a_list_that_is_too_short(self, terms: Parameters) -> None:
        federation = Federation(terms.sites, terms.dropouts, terms.colluding).set_up()
        lost = random.Random(terms.sites).sample(federation.parties, terms.dropouts + 1)
        survivors = sorted(federation.mask_all(drawn(federation.parties, SIZE, 3), lost))
        before = len(federation.transcript)
        for party in survivors:
            with pytest.raises(MaskError, match="are left"):
                federation.sign(party, survivors, 1)
            with pytest.raises(MaskError, match="are left"):
                federation.unmask(party, survivors, 1)
        said = federation.transcript[before:]
        assert len(said) == 2 * len(survivors)  # the requests, and no answer
        assert all(federation.states[party].last.listed is None for party in survivors)  # type: ignore[union-attr]

    @pytest.mark.parametrize("terms", [p for n in range(3, 8) for p in allowed(n)], ids=str)
    def test_no_site_masks_a_vector_for_a_sum_that_is_too_small(self, terms: Parameters) -> None:
        federation = Federation(terms.sites, terms.dropouts, terms.colluding).set_up()
        for party in federation.parties[: terms.dropouts + 1]:
            del federation.published[party]
        before = dict(federation.states)
        for party, request in federation.requests().items():
            with pytest.raises(MaskError, match="are left"):
                federation.mask(party, request, np.zeros(SIZE, np.uint32))
        assert federation.states == before

    @pytest.mark.parametrize("terms", [p for n in range(3, 8) for p in allowed(n) if p.dropouts], ids=str)
    def test_after_d_losses_one_more_ends_the_set_up(self, terms: Parameters) -> None:
        federation = Federation(terms.sites, terms.dropouts, terms.colluding).set_up()
        federation.sum(drawn(federation.parties, SIZE, 3), never=federation.parties[: terms.dropouts])
        with pytest.raises(MaskError, match="are left"):
            federation.sum(drawn(federation.parties, SIZE, 4), never=federation.parties[-1:])

    def test_of_three_sites_none_may_be_lost(self) -> None:
        federation = Federation(3).set_up()
        with pytest.raises(MaskError, match="2 sites are left, 3 are the fewest"):
            federation.sum(drawn(federation.parties, SIZE, 3), never=federation.parties[:1])


# Encoding

BOUNDS = st.floats(min_value=1e-12, max_value=1e12)
SITES = st.integers(3, 1000)
BITS = st.sampled_from([32, 64])


def layout_of(bits: int, scale: float, size: int, dtype: str = "float64") -> Layout:
    part = Part(record="r", name="x", where="array", dtype=dtype, shape=(size,), how="sum", scale=scale)
    return Layout.model_validate({"bits": bits, "update": "value", "parts": (part,)})


class TestRange:
    @given(BOUNDS, SITES, BITS, st.sampled_from([-1.0, 1.0]))
    def test_no_sum_wraps_when_every_site_sends_the_bound(
        self, bound: float, sites: int, bits: int, sign: float
    ) -> None:
        scale = scale_of(bound, sites, bits)
        layout = layout_of(bits, scale, 1)
        one = int(encode(layout, [np.array([sign * bound])]).view(f"i{bits // 8}")[0])
        assert one * sign > 0
        assert sites * abs(one) < 1 << (bits - 1)  # in integers that cannot wrap
        assert sites * (int(bound * scale) + 1) <= (1 << (bits - 1)) - 1  # with the rounding of every site
        vector = encode(layout, [np.array([sign * bound])])
        total = (vector * np.array(sites, vector.dtype)).astype(vector.dtype)
        assert int(total.view(f"i{bits // 8}")[0]) == sites * one
        assert decode(layout, total)["r", "x"][0] == pytest.approx(
            sites * sign * bound, abs=error_of(layout, sites)["r", "x"]
        )

    @given(BOUNDS, SITES, BITS)
    def test_the_scale_is_the_largest_power_of_two_that_fits(self, bound: float, sites: int, bits: int) -> None:
        scale = scale_of(bound, sites, bits)
        assert np.frexp(scale)[0] == 0.5
        limit, exact = (1 << (bits - 1)) - 1, Fraction(bound) * Fraction(scale)
        assert sites * (exact + 1) <= limit < sites * (2 * exact + 1) + sites  # the room is rounded down to an integer

    @given(st.integers(1, 1 << 30), SITES, BITS)
    def test_whole_numbers_have_the_scale_one_or_are_refused(self, bound: int, sites: int, bits: int) -> None:
        if sites * (bound + 1) <= (1 << (bits - 1)) - 1:
            assert scale_of(bound, sites, bits, whole=True) == 1
            return
        with pytest.raises(MaskError):
            scale_of(bound, sites, bits, whole=True)

    @pytest.mark.parametrize("bits", [32, 64])
    @pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), float("inf"), 5e-324, 1e-300, 1.7e308])
    def test_a_bound_that_no_scale_fits_is_refused(self, bound: float, bits: int) -> None:
        with pytest.raises(MaskError):
            scale_of(bound, 5, bits)

    @pytest.mark.parametrize("bits", [32, 64])
    @pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), float("inf"), 2.0**62])
    def test_a_whole_bound_that_does_not_fit_is_refused(self, bound: float, bits: int) -> None:
        with pytest.raises(MaskError):
            scale_of(bound, 5, bits, whole=True)


def sums(values: list[list[float]], layout: Layout) -> Words:
    return added({str(n): encode(layout, [np.array(row)]) for n, row in enumerate(values)})


class TestError:
    @given(st.data(), BOUNDS, st.integers(3, 12), BITS)
    def test_a_sum_is_off_by_no_more_than_is_stated(
        self, data: st.DataObject, bound: float, sites: int, bits: int
    ) -> None:
        scale = scale_of(bound, sites, bits)
        row = st.lists(st.floats(-bound, bound), min_size=4, max_size=4)
        values = data.draw(st.lists(row, min_size=sites, max_size=sites))
        layout = layout_of(bits, scale, 4)
        found = decode(layout, sums(values, layout))["r", "x"]
        for column, number in enumerate(found):
            exact = sum((Fraction(r[column]) for r in values), Fraction(0))
            assert abs(Fraction(float(number)) - exact) <= Fraction(error_of(layout, sites)["r", "x"])

    @given(st.data(), st.integers(3, 12), BITS, st.sampled_from(["int64", "int32", "uint8", "bool"]))
    def test_whole_numbers_add_up_exactly(self, data: st.DataObject, sites: int, bits: int, dtype: str) -> None:
        room = ((1 << (bits - 1)) - 1) // sites - 1
        least, most = {"int64": (-room, room), "uint8": (0, 255), "bool": (0, 1)}.get(
            dtype, (-(1 << 31), (1 << 31) - 1)
        )
        whole = st.integers(max(-room, least), min(room, most))
        values = data.draw(st.lists(st.lists(whole, min_size=3, max_size=3), min_size=sites, max_size=sites))
        layout = layout_of(bits, 1.0, 3, dtype)
        assert error_of(layout, sites)["r", "x"] == 0
        total = added({str(n): encode(layout, [np.array(row, dtype)]) for n, row in enumerate(values)})
        assert decode(layout, total)["r", "x"].tolist() == [sum(column) for column in zip(*values, strict=True)]

    @given(st.data(), st.floats(1e-3, 1e3), st.integers(3, 12), st.integers(1, 1000), BITS)
    def test_a_weighted_mean_is_off_by_n_over_2_s_and_the_sum_of_weights(
        self, data: st.DataObject, bound: float, sites: int, heaviest: int, bits: int
    ) -> None:
        scale = scale_of(bound * heaviest, sites, bits)
        values = data.draw(st.lists(st.floats(-bound, bound), min_size=sites, max_size=sites))
        weights = data.draw(st.lists(st.integers(1, heaviest), min_size=sites, max_size=sites))
        mean = Part(record="r", name="x", where="array", dtype="float64", shape=(1,), how="weighted", scale=scale)
        weight = Part(record="r", name="w", where="metric", dtype="int64", shape=(), how="sum", scale=1.0)
        layout = Layout.model_validate({"bits": bits, "update": "value", "parts": (mean, weight), "weight": "w"})
        assert layout.size == 2
        sent = {
            str(n): encode(layout, [np.array([w * x]), np.array([w])])
            for n, (x, w) in enumerate(zip(values, weights, strict=True))
        }
        found = decode(layout, added(sent))
        total = int(found["r", "w"])
        assert total == sum(weights)
        assert found["r", "w"].shape == ()
        pooled = sum(w * x for x, w in zip(values, weights, strict=True)) / total
        rounding = 8 * sites * heaviest * bound * 2.0**-53 / total  # of the floats themselves
        assert abs(found["r", "x"][0] / total - pooled) <= error_of(layout, sites)["r", "x"] / total + rounding
