"""Release and clipping under every input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flame_fl.contract.content import DTYPES, Content
from flame_fl.contract.ports import NoiseSource
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.terms import Privacy
from flame_fl.gate.noised import NoisedSum
from flame_fl.gate.release import Released, release
from flame_fl.privacy.clipping import CLIP_INT, clip_to_integers
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.gates import BLOCKS, ENFORCED, NoNoise, good_update, message_terms

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NORMS = st.floats(min_value=1e-30, max_value=1e30)
RULES = message_terms()
ALLOWED = {("arrays", "w"), ("arrays", "b"), ("metrics", "num-examples"), ("metrics", "loss")}

# Updates near the contract: each part is right, slightly wrong, or anything.
NAMES = st.sampled_from(["w", "b", "num-examples", "loss", "extra", "w ", "W", "", "\x00"])
RECORDS = st.sampled_from(["arrays", "metrics", "flame", "other"])
ARRAYS = st.one_of(
    hnp.arrays("float64", 4, elements=st.floats()),
    hnp.arrays("float32", 1, elements=st.floats(width=32)),
    hnp.arrays(st.sampled_from(sorted(DTYPES)), hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5)),
)
METRICS = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.lists(st.floats(), max_size=2)
UPDATES = st.builds(
    Content,
    st.dictionaries(RECORDS, st.dictionaries(NAMES, ARRAYS, max_size=3), max_size=2),
    st.dictionaries(RECORDS, st.dictionaries(NAMES, METRICS, max_size=3), max_size=2),
    st.just({}) | st.dictionaries(RECORDS, st.dictionaries(NAMES, st.text(max_size=3), max_size=1), max_size=1),
)


@given(
    hnp.arrays("float64", st.integers(0, 40), elements=FINITE), NORMS | st.floats(min_value=5e-324, max_value=1.7e308)
)
def test_the_integer_bound_holds_exactly_for_every_vector_and_norm(vector: np.ndarray, clip_norm: float) -> None:
    q = clip_to_integers(vector, clip_norm)
    assert sum(int(x) ** 2 for x in q) <= CLIP_INT**2


@given(hnp.arrays("float64", st.integers(1, 40), elements=st.floats(-1e6, 1e6)), st.floats(1e-3, 1e3))
def test_clipping_into_integers_costs_at_most_a_unit_per_coordinate(vector: np.ndarray, clip_norm: float) -> None:
    norm = float(np.linalg.norm(vector))
    target = vector * min(1.0, clip_norm / norm) if norm else vector
    gap = np.abs(clip_to_integers(vector, clip_norm) * (clip_norm / CLIP_INT) - target)
    assert gap.max() <= 1.01 * clip_norm / CLIP_INT


def names_of(content: Content) -> set[tuple[str, str]]:
    return {(r, n) for part in (content.arrays, content.metrics) for r, v in part.items() for n in v}


def assert_contract_kept(content: Content) -> None:
    assert content.configs == {}
    assert names_of(content) <= ALLOWED
    for _, name, array in content.array_items():
        assert (array.dtype.name, array.shape) == {"w": ("float64", (4,)), "b": ("float32", (1,))}[name]
        assert np.isfinite(array).all()
    for values in content.metrics.values():
        for value in values.values():
            assert np.isfinite(value)


def released_or_none(update: Content, privacy: Privacy) -> Content | None:
    """What leaves; None for a 904. Any other code or exception fails the test."""
    try:
        return release(update, {}, RULES, privacy).content
    except RefusedError as err:
        if err.code is RefusalCode.RELEASE_REJECTED:
            return None
        raise


@given(UPDATES)
def test_without_a_claim_an_update_leaves_within_the_contract_or_is_refused(update: Content) -> None:
    left = released_or_none(update, Privacy())
    if left is None:
        return
    assert_contract_kept(left)
    assert 0 <= float(left.metrics.get("metrics", {}).get("loss", 0)) <= 10  # type: ignore[arg-type]


@given(UPDATES, NORMS)
def test_clipped_an_update_leaves_within_contract_and_ball_or_is_refused(update: Content, clip_norm: float) -> None:
    privacy = Privacy.model_validate({"mechanism": "clip", "clip_norm": clip_norm})
    left = released_or_none(update, privacy)
    if left is None:
        return
    assert_contract_kept(left)
    flat = np.concatenate([a.astype(float).ravel() for a in left.arrays["arrays"].values()])
    assert np.linalg.norm(flat / clip_norm) <= 1 + 1e-6


def shape_of(content: Content) -> list[Any]:
    arrays = [(r, n, a.dtype.name, a.shape) for r, v in content.arrays.items() for n, a in v.items()]
    return [arrays, [(r, list(v)) for r, v in content.metrics.items()], dict(content.configs)]


def noised(updates: Sequence[Content | None], privacy: Privacy, noise: NoiseSource) -> Released:
    """What leaves under a claim. Any exception fails the test."""
    total = NoisedSum({}, RULES, privacy, privacy.clip_norm or 0.0)
    for update in updates:
        total.add(update)
    return total.release(noise)


CLAIMS = st.sampled_from([ENFORCED, BLOCKS | {"blocks": 3}]).flatmap(
    lambda table: st.booleans().map(lambda adaptive: {**table, "adaptive_clip": adaptive})
)
THREE = st.lists(UPDATES | st.none(), min_size=1, max_size=3)


@given(THREE, CLAIMS, NORMS, st.floats(min_value=1e-3, max_value=1e6))
def test_under_a_claim_every_update_leaves_in_the_shape_of_the_contract(
    updates: list[Content | None], claim: dict[str, Any], clip_norm: float, multiplier: float
) -> None:
    privacy = Privacy.model_validate(claim | {"clip_norm": clip_norm, "noise_multiplier": multiplier})
    left = noised(updates, privacy, ExactNoise(seed_for_tests=1))
    assert_contract_kept(left.content)
    model = noised([good_update()], Privacy.model_validate(claim), NoNoise())
    assert shape_of(left.content) == shape_of(model.content)
    assert (left.below_clip is None) == (model.below_clip is None)
    assert left.below_clip is None or np.isfinite(left.below_clip)


@given(THREE, CLAIMS, st.sampled_from([ENFORCED["clip_norm"], 1e-30, 1e30]))
def test_under_a_claim_the_noise_drawn_does_not_depend_on_the_update(
    updates: list[Content | None], claim: dict[str, Any], clip_norm: float
) -> None:
    """The same number of draws with the same sigma, whatever the app did: nothing of it shows in the noise."""
    asked: list[Any] = []

    class Asked(NoNoise):
        def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
            asked.append((sigma_squared, count))
            return np.zeros(count, np.int64)

    privacy = Privacy.model_validate(claim | {"clip_norm": clip_norm})
    for sent in (updates, [good_update()]):
        noised(sent, privacy, Asked())
    assert asked[0] == asked[1]


@given(st.lists(UPDATES | st.none(), min_size=3, max_size=3), UPDATES | st.none(), st.integers(0, 2), CLAIMS, NORMS)
def test_another_block_moves_what_gets_noise_by_the_diameter_at_most(
    updates: list[Content | None], other: Content | None, which: int, claim: dict[str, Any], clip_norm: float
) -> None:
    """The sensitivity that is paid for: of whatever one block does, on the exact integers."""
    privacy = Privacy.model_validate(claim | {"clip_norm": clip_norm})
    changed = [other if n == which else update for n, update in enumerate(updates)]
    sums = []
    for sent in (updates, changed):
        total = NoisedSum({}, RULES, privacy, clip_norm)
        for update in sent:
            total.add(update)
        sums.append(sum((q.astype(np.int64) for q in total._clipped if q is not None), np.zeros(1, np.int64)))
    assert sum(int(x) ** 2 for x in sums[0] - sums[1]) <= (2 * CLIP_INT) ** 2
