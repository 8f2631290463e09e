"""Sensitivity on real neighbours, exactly: whatever two inputs are, what they add to the sum differs by 2 clip norms.

No statistics here: noise is taken away and integers are compared, so nothing fails by chance. Every mechanism is
asked: one ball, metrics in it, arrays on shares of it, the bit of adaptive clipping, a delta, and blocks of patients,
the last also with real tables that the gate cuts (and by the audit "one block changes").
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from flame_fl.contract.content import Content
from flame_fl.gate.blocks import split
from flame_fl.gate.cohorts import StoreUse
from flame_fl.privacy.clipping import CLIP_INT
from tests.privacy.audit.attacks import DIMENSIONS, update_of
from tests.privacy.audit.gate_audits import seen_by_blocks
from tests.privacy.audit.release_audits import integers, require_sensitivity, settings
from tests.privacy.audit.worlds import PEOPLE, TOLD, real_world
from tests.support.gates import NoNoise

SETTINGS = settings()
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
VECTORS = st.one_of(
    st.lists(NUMBERS, min_size=DIMENSIONS, max_size=DIMENSIONS),
    st.lists(st.floats(-2, 2), min_size=DIMENSIONS, max_size=DIMENSIONS),
    st.tuples(st.sampled_from([1e-320, 1e-9, 1.0, 1e9, 1e308]), st.integers(0, DIMENSIONS - 1)).map(
        lambda at: [at[0] if i == at[1] else 0.0 for i in range(DIMENSIONS)]
    ),
).map(np.array)
UPDATES = st.one_of(
    st.none(),
    st.builds(update_of, VECTORS, st.one_of(st.none(), NUMBERS)),
    st.builds(lambda size: Content({"r": {"a": np.zeros(size), "b": np.zeros(8)}}), st.integers(0, 20)),
)


@pytest.mark.parametrize("name", SETTINGS)
@examples(max_examples=40)
@given(one=UPDATES, other=UPDATES)
def test_two_inputs_are_never_further_apart_than_the_diameter(name: str, one: Any, other: Any) -> None:
    with np.errstate(all="ignore"):
        require_sensitivity({name: SETTINGS[name]}, [one, other])


@pytest.mark.parametrize("name", [name for name in SETTINGS if "adaptive" in name])
@examples(max_examples=40)
@given(scale=st.floats(0.0, 3.0), direction=st.integers(0, DIMENSIONS - 1))
def test_the_bit_says_whether_the_update_was_within_and_is_one_more_coordinate(
    name: str, scale: float, direction: int
) -> None:
    """It is a coordinate of the same ball: what it takes, the arrays do not have."""
    vector = np.zeros(DIMENSIONS)
    vector[direction] = scale
    left = integers(SETTINGS[name], [update_of(vector)])
    assert len(left) == DIMENSIONS + 1
    assert (left[-1] > 0) == (scale <= 1.0)
    assert sum(x * x for x in left) <= CLIP_INT**2


def test_one_view_is_gone_or_new_and_the_others_are_the_same_bytes() -> None:
    """Through the gate, for some patients of the store."""
    before = seen_by_blocks(PEOPLE)
    for gone in PEOPLE[:4]:
        after = seen_by_blocks([name for name in PEOPLE if name != gone])
        assert len(set(before) - set(after)) == 1
        assert len(set(after) - set(before)) <= 1


def test_a_patient_with_two_samples_is_in_one_block() -> None:
    with real_world(PEOPLE, None, NoNoise()) as (world, _):
        offer = world.data["cohort"]
        cohort = offer.cohort(TOLD, world.today)
        owners = offer.kind(TOLD).patients()
        blocks = split({"cohort": StoreUse(offer, TOLD, None, cohort)}, 4, b"k" * 32)  # type: ignore[arg-type]
    homes: dict[str, set[int]] = {}
    for number, block in enumerate(blocks):
        for row in block["cohort"]:
            homes.setdefault(str(owners[row]), set()).add(number)
    assert {len(home) for home in homes.values()} == {1}
    assert sum(len(block["cohort"]) for block in blocks) == len(PEOPLE) + 54  # every third has two
