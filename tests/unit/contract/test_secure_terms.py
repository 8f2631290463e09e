"""[tool.flame.secure_aggregation]: which n, d and c there are, and what masks need of the other terms."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.contract.secure_terms import FEWEST_SITES, MOST_SITES, flaw, largest, threshold
from flame_fl.contract.terms import ArrayRule, Terms
from tests.support.gates import ENFORCED, SUMS, TRAIN, make_terms
from tests.support.masked_gates import MASKED_TRAIN

SITES = st.integers(FEWEST_SITES, MOST_SITES)


def masked(train: dict[str, Any] | None = None, *, sites: int = 3, **how: Any) -> Terms:
    """Terms with masks required; `privacy` and what belongs to masks by name."""
    changes = {"privacy": how.pop("privacy")} if "privacy" in how else {}
    return make_terms(
        messages={"train": train or MASKED_TRAIN},
        secure_aggregation={"required": True, "weight": "num-examples", **how},
        federation={"min_sites": sites},
        **changes,
    )


class TestThreshold:
    @given(sites=SITES, colluding=st.integers(0, MOST_SITES))
    def test_it_is_the_least_above_half(self, sites: int, colluding: int) -> None:
        """Twice as many as there are answers cannot be had; with one less they could."""
        needed = threshold(sites, colluding)
        assert 2 * needed > sites + colluding >= 2 * (needed - 1)

    @given(sites=SITES, dropouts=st.integers(0, MOST_SITES), colluding=st.integers(0, MOST_SITES))
    def test_what_is_allowed_can_be_unmasked_and_hides_two(self, sites: int, dropouts: int, colluding: int) -> None:
        """T of those that are left answer, of whom more than the colluders; two honest ones are in every sum."""
        fine = (
            sites - dropouts >= threshold(sites, colluding)
            and sites - dropouts - colluding >= 2
            and sites - dropouts >= FEWEST_SITES
        )
        assert (flaw(sites, dropouts, colluding) == "") == fine
        if fine:
            assert colluding < threshold(sites, colluding) <= sites

    @given(sites=SITES.filter(lambda n: n < MOST_SITES), dropouts=st.integers(0, 500), colluding=st.integers(0, 500))
    def test_what_holds_for_so_many_sites_holds_for_more(self, sites: int, dropouts: int, colluding: int) -> None:
        """A set-up may be larger than min_sites."""
        if not flaw(sites, dropouts, colluding):
            assert not flaw(sites + 1, dropouts, colluding)

    @pytest.mark.parametrize(
        ("sites", "dropouts", "colluding", "fine"),
        [
            (3, 0, 0, True), (3, 1, 0, False), (3, 0, 1, True), (3, 0, 2, False), (2, 0, 0, False),
            (4, 0, 2, True), (4, 1, 0, True), (4, 1, 2, False), (5, 2, 0, True), (5, 2, 1, False),
            (5, 1, 1, True), (5, 3, 0, False), (1000, 499, 0, True), (1001, 0, 0, False),
        ],
    )  # fmt: skip
    def test_by_hand(self, sites: int, dropouts: int, colluding: int, fine: bool) -> None:
        """Those that the documents name, and the ends."""
        assert (flaw(sites, dropouts, colluding) == "") == fine

    @pytest.mark.parametrize(("dropouts", "colluding"), [(-1, 0), (0, -1)])
    def test_nothing_is_negative(self, dropouts: int, colluding: int) -> None:
        """Nor would the terms take it."""
        assert flaw(5, dropouts, colluding)
        with pytest.raises(InputError):
            masked(sites=5, dropouts=dropouts, colluding=colluding)


class TestTerms:
    def test_whole_ones_are_accepted(self) -> None:
        """With bounds for everything."""
        assert masked(sites=5, dropouts=2).secure_aggregation.required

    @pytest.mark.parametrize(
        ("how", "words"),
        [({"sites": 2}, "3 to 1000 sites"), ({"dropouts": 1}, "may drop out"), ({"colluding": 2}, "are the fewest")],
    )
    def test_sites_that_are_too_few_are_named(self, how: dict[str, Any], words: str) -> None:
        """With what min_sites they are."""
        with pytest.raises(InputError, match=words) as caught:
            masked(**how)
        assert "min_sites" in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"arrays": [{"record": "r", "name": "a", "dtype": "float32", "shape": [1]}]}, "need max_abs: a"),
            ({"arrays": [{"record": "r", "name": "a", "dtype": "bool", "shape": [1], "max_abs": 1.0}]}, "not bool: a"),
            ({"metrics": [{"record": "m", "name": "num-examples", "kind": "count"}]}, "a count max.*: num-examples"),
            ({"metrics": [*MASKED_TRAIN["metrics"], {"record": "m", "name": "x", "kind": "mean", "max": 1.0}]}, ": x"),
            ({"metrics": [*MASKED_TRAIN["metrics"], {"record": "m", "name": "x", "kind": "mean", "min": 0.0}]}, ": x"),
            (
                {"metrics": [*MASKED_TRAIN["metrics"],
                             {"record": "m", "name": "x", "kind": "mean", "min": 0.0, "max": 1.0, "length": 3}]},
                "one number; send arrays: x",
            ),
            ({"metrics": MASKED_TRAIN["metrics"][1:]}, "weight = 'num-examples' must name one count"),
        ],
    )  # fmt: skip
    def test_what_has_no_range_or_weight_is_named(self, changes: dict[str, Any], words: str) -> None:
        """Before anything runs; without masks none of it is asked for."""
        train = MASKED_TRAIN | changes
        with pytest.raises(InputError, match=words):
            masked(train)
        make_terms(messages={"train": train}, secure_aggregation={"weight": "num-examples"})

    def test_a_clip_norm_is_a_bound(self) -> None:
        """Of every array; metrics still need theirs."""
        arrays = [{"record": "r", "name": "a", "dtype": "float32", "shape": [1]}]
        masked(MASKED_TRAIN | {"arrays": arrays}, privacy={"mechanism": "clip", "clip_norm": 1.0})
        with pytest.raises(InputError, match="max_abs"):
            masked(MASKED_TRAIN | {"arrays": arrays}, privacy=SUMS | {"ground": "reviewed"})

    def test_noise_needs_no_bound_and_no_weight(self) -> None:
        """What is clipped and noised has its own integers; a weight would not be masked with them."""
        masked(TRAIN, privacy=ENFORCED)

    def test_sums_alone_need_no_weight(self) -> None:
        """There is no mean."""
        arrays = [{"record": "r", "name": "a", "dtype": "int64", "shape": [1], "kind": "sum", "max_abs": 9.0}]
        masked({"per_run": 1, "arrays": arrays})

    @pytest.mark.parametrize(
        ("support", "words"),
        [
            ({"arrays/x": ["a", "b", "c"]}, "no message has an array 'arrays/x'"),
            ({"arrays/w": ["a", "b"]}, "too few sites supply 'arrays/w'"),
            ({"arrays/w": ["a", "b", "b"]}, "too few sites supply 'arrays/w'"),
        ],
    )
    def test_a_part_that_some_supply_exists_and_is_hidden_among_three(
        self, support: dict[str, list[str]], words: str
    ) -> None:
        """Names that stand twice count once; with colluders there must be two more than these."""
        with pytest.raises(InputError, match=words):
            masked(support=support)
        masked(support={"arrays/w": ["a", "b", "c"]})
        with pytest.raises(InputError, match="too few"):
            masked(sites=6, colluding=2, support={"arrays/w": ["a", "b", "c"]})

    def test_noise_in_shares_needs_masks(self) -> None:
        """Without them every share could be read; and only the gate's own noise can be shared."""
        with pytest.raises(InputError, match="required = true"):
            make_terms(privacy=ENFORCED | {"trust": "distributed"})
        masked(TRAIN, privacy=ENFORCED | {"trust": "distributed"})
        with pytest.raises(InputError, match="enforced"):
            masked(privacy=SUMS | {"ground": "reviewed", "trust": "distributed"})

    def test_the_gates_own_messages_are_nobodys(self) -> None:
        """An app cannot answer in the place of the protocol."""
        with pytest.raises(InputError, match="the gate's own"):
            make_terms(messages={"query.flame_sa_keys": TRAIN})

    @pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
    def test_a_bound_is_a_positive_number(self, bound: float) -> None:
        """Anything else bounds nothing."""
        with pytest.raises(InputError):
            masked(MASKED_TRAIN | {"arrays": [{**MASKED_TRAIN["arrays"][0], "max_abs": bound}]})


@pytest.mark.parametrize(
    ("max_abs", "clip_norm", "bound"), [(2.0, 3.0, 2.0), (3.0, 2.0, 2.0), (2.0, None, 2.0), (None, 3.0, 3.0)]
)
def test_the_smaller_bound_holds(max_abs: float | None, clip_norm: float | None, bound: float) -> None:
    """Of those that there are; without one it is infinite, and no scale exists."""
    rule = ArrayRule(record="r", name="a", dtype="float32", shape=(1,), max_abs=max_abs)
    assert largest(rule, clip_norm) == bound
    assert largest(rule.model_copy(update={"max_abs": None}), None) == float("inf")
