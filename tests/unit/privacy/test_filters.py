"""Privacy filters: what they admit never passes their cap, whatever is asked in the light of whatever was answered."""

import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.privacy.accounting import PrivacyEvent, Relation, conversion, epsilon_of, pld_epsilon, total_rdp
from flame_fl.privacy.filters import DISTANCE_SHARE, Filter, filter_for, multiplier_for, order_for

PATIENT = Relation.ADD_OR_REMOVE_ONE_PATIENT
BENCHMARK = PrivacyEvent(1.2, PATIENT, 0.025, 1200)
EPSILONS = st.floats(0.1, 60)
DELTAS = st.sampled_from([1e-3, 1e-5, 1e-10])
ASKED = st.lists(
    st.builds(
        PrivacyEvent,
        st.floats(0.3, 1e3),
        st.just(PATIENT),
        st.sampled_from([1.0, 1.0, 0.1, 0.01]),
        st.sampled_from([1, 1, 10, 1000]),
    ),
    min_size=1,
    max_size=60,
)


def gaussian(multiplier: float) -> PrivacyEvent:
    return PrivacyEvent(multiplier, PATIENT)


def admitted_of(cap: Filter, asked: list[PrivacyEvent]) -> dict[PrivacyEvent, int]:
    """What a filter lets through of a sequence, one by one."""
    spent: dict[PrivacyEvent, int] = {}
    for event in asked:
        if cap.admits(spent, 0.0, event):
            spent[event] = spent.get(event, 0) + 1
    return spent


def exact(spent: dict[PrivacyEvent, int], order: float) -> Fraction:
    """The sum without rounding."""
    return sum((Fraction(event.rdp(order)) * count for event, count in spent.items()), Fraction(0))


class TestWhatIsAdmitted:
    @given(EPSILONS, DELTAS, ASKED)
    def test_no_sequence_passes_the_cap(self, epsilon: float, delta: float, asked: list[PrivacyEvent]) -> None:
        """In exact fractions; and what was admitted costs no more than the cap by the best order either."""
        cap = filter_for(epsilon, delta)
        spent = admitted_of(cap, asked)
        room = Fraction(epsilon) - Fraction(conversion(cap.order, delta * (1 - DISTANCE_SHARE)))
        assert exact(spent, cap.order) <= max(Fraction(0), room)
        if spent and all(event.gaussian for event in spent):
            assert epsilon_of(spent, delta) <= epsilon

    @given(st.lists(st.floats(0.5, 1e4), min_size=1, max_size=200), st.randoms(use_true_random=False))
    def test_no_order_of_debits_passes_the_cap(self, multipliers: list[float], shuffle: Random) -> None:
        shuffle.shuffle(multipliers)
        spent = admitted_of(filter_for(8.0, 1e-5), [gaussian(m) for m in multipliers])
        assert epsilon_of(spent, 1e-5) <= 8.0

    def test_summing_many_costs_in_floating_point_never_passes_the_cap(self) -> None:
        """A million events that together cost the cap to the last digit: the margin is more than float64 loses."""
        cap = filter_for(8.0, 1e-5)
        each = gaussian(math.sqrt(1_000_000 * cap.order / (2 * cap.most)))
        assert 999_900 <= (count := cap.admitted({}, each)) <= 1_000_000
        room = Fraction(8.0) - Fraction(conversion(cap.order, 1e-5 * (1 - DISTANCE_SHARE)))
        assert exact({each: count}, cap.order) <= room

    @given(
        st.floats(0.5, 30), st.dictionaries(ASKED.map(lambda events: events[0]), st.integers(0, 3), max_size=4), ASKED
    )
    def test_how_many_more_fit_is_how_many_are_admitted(
        self, epsilon: float, spent: dict[PrivacyEvent, int], asked: list[PrivacyEvent]
    ) -> None:
        cap, event = filter_for(epsilon, 1e-5), asked[0]
        count = cap.admitted(spent, event)
        if count:
            assert cap.admits({**spent, event: spent.get(event, 0) + count - 1}, 0.0, event)
        assert not cap.admits({**spent, event: spent.get(event, 0) + count}, 0.0, event)

    def test_four_projects_of_the_benchmark_case_fit_within_10(self) -> None:
        """A list that is fixed beforehand may be accounted by loss distributions: then it is five."""
        cap = filter_for(10.0, 1e-5)
        assert admitted_of(cap, [BENCHMARK] * 10) == {BENCHMARK: 4}
        assert cap.admitted({}, BENCHMARK) == 4
        assert pld_epsilon({BENCHMARK: 5}, 1e-5) <= 10.0

    @pytest.mark.parametrize("epsilon", [1e-9, 1e-4])
    def test_a_cap_that_allows_nothing_admits_nothing(self, epsilon: float) -> None:
        cap = Filter(epsilon, 1e-5, 2.0)
        assert cap.most < 0
        assert not cap.admits({}, 0.0, gaussian(1e6))
        assert (cap.admitted({}, gaussian(1e6)), cap.share({})) == (0, 1.0)

    @given(EPSILONS, ASKED)
    def test_the_share_that_is_used_lies_between_nothing_and_all(
        self, epsilon: float, asked: list[PrivacyEvent]
    ) -> None:
        cap = filter_for(epsilon, 1e-5)
        assert 0 <= cap.share(admitted_of(cap, asked)) <= 1 or cap.most <= 0


class TestTheSamplersDistance:
    """δ = δ of the events + (1 + e^ε) · Σ distance; the filter keeps a share of δ for the second part."""

    @given(st.floats(0.1, 40), DELTAS)
    def test_the_share_pays_for_the_largest_sum(self, epsilon: float, delta: float) -> None:
        cap = filter_for(epsilon, delta)
        assert (1 + math.exp(epsilon)) * cap.most_distance <= DISTANCE_SHARE * delta * (1 + 1e-12)
        assert cap.most + conversion(cap.order, delta * (1 - DISTANCE_SHARE)) <= epsilon

    def test_an_epsilon_that_bounds_nothing_is_no_reason_to_refuse(self) -> None:
        """Above 40 the room is that of 40: of e^1000 nothing could be paid."""
        assert Filter(1000.0, 1e-5, 2.0).most_distance == Filter(40.0, 1e-5, 2.0).most_distance > 1e-30

    def test_what_is_within_is_admitted_and_what_is_beyond_is_not(self) -> None:
        cap = filter_for(1.0, 1e-5)
        half = 0.6 * cap.most_distance
        assert cap.admits({}, 0.0, gaussian(100.0), half)
        assert not cap.admits({gaussian(100.0): 1}, half, gaussian(100.0), half)
        assert not cap.admits({}, 2 * half, gaussian(100.0))


class TestOrder:
    @given(EPSILONS, DELTAS)
    def test_it_depends_on_the_cap_alone_and_is_the_best_for_gaussian_releases(
        self, epsilon: float, delta: float
    ) -> None:
        """So the filter loses next to nothing against the best order for the list that fills it."""
        cap = filter_for(epsilon, delta)
        assert cap.order == order_for(epsilon, delta)
        count = cap.admitted({}, gaussian(100.0))
        if count > 100:
            assert epsilon_of({gaussian(100.0): count}, delta) >= 0.97 * epsilon

    @pytest.mark.parametrize("changed", [0.5, 2.0])
    def test_another_epsilon_at_the_same_order_is_still_a_valid_filter(self, changed: float) -> None:
        """As when a cap is raised or lowered later."""
        first = filter_for(8.0, 1e-5)
        cap = Filter(8.0 * changed, 1e-5, first.order)
        spent = admitted_of(cap, [gaussian(3.0)] * 1000)
        assert epsilon_of(spent, 1e-5) <= cap.epsilon


class TestMultiplier:
    @pytest.mark.parametrize("releases", [1, 3, 12, 100])
    @pytest.mark.parametrize("target", [0.5, 2.0, 8.0])
    def test_the_calibrated_noise_admits_all_releases_and_wastes_little(self, releases: int, target: float) -> None:
        cap = filter_for(target, 1e-5)
        multiplier = multiplier_for(cap, lambda m: {gaussian(m): releases})
        spent = admitted_of(cap, [gaussian(multiplier)] * (releases + 1))
        assert spent[gaussian(multiplier)] >= releases
        assert total_rdp({gaussian(multiplier): releases}, cap.order) > 0.99 * cap.most

    def test_what_is_spent_beside_is_part_of_the_plan(self) -> None:
        cap, beside = filter_for(8.0, 1e-5), gaussian(1.0)
        alone = multiplier_for(cap, lambda m: {gaussian(m): 5})
        together = multiplier_for(cap, lambda m: {gaussian(m): 5, beside: 1})
        assert together > alone
        assert admitted_of(cap, [beside, *[gaussian(together)] * 5])[gaussian(together)] == 5

    def test_a_sampled_plan_is_calibrated_too(self) -> None:
        cap = filter_for(4.0, 1e-5)
        multiplier = multiplier_for(cap, lambda m: {PrivacyEvent(m, PATIENT, 0.025, 1200): 1})
        assert 1.2 < multiplier < 1.4

    def test_what_no_noise_can_do_is_said(self) -> None:
        with pytest.raises(ValueError, match="no noise"):
            multiplier_for(filter_for(1.0, 1e-5), lambda m: {gaussian(m): 1, gaussian(0.1): 1})
