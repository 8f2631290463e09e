"""Fixed point."""

import numpy as np
import pytest

from flame_fl.secagg.encoding import Layout, Part, decode, encode, error_of, scale_of
from flame_fl.secagg.errors import MaskError


def layout(*parts: Part, bits: int = 32) -> Layout:
    return Layout.model_validate({"bits": bits, "update": "value", "parts": parts})


def part(**fields: object) -> Part:
    plain = {
        "record": "r",
        "name": "x",
        "where": "array",
        "dtype": "float32",
        "shape": (2,),
        "how": "sum",
        "scale": 4.0,
    }
    return Part.model_validate(plain | fields)


def test_the_scale_of_a_bound_of_one_for_three_sites() -> None:
    assert scale_of(1.0, 3, 32) == 2.0**29  # 3 · (2^29 + 1) ≤ 2^31 - 1 < 3 · (2^30 + 1)
    assert scale_of(1.0, 3, 64) == 2.0**61
    assert scale_of(100, 3, 32, whole=True) == 1.0


def test_numbers_are_rounded_and_negative_ones_wrap() -> None:
    found = encode(layout(part()), [np.array([0.3, -0.3])])
    assert found.dtype == np.uint32
    assert found.tolist() == [1, 2**32 - 1]
    assert encode(layout(part(), bits=64), [np.array([0.3, -0.3])]).tolist() == [1, 2**64 - 1]


def test_parts_follow_each_other_and_come_back_in_their_shapes() -> None:
    whole = part(name="n", where="metric", dtype="int64", shape=(), scale=1.0)
    plan = layout(part(shape=(2, 2)), whole, part(record="s", shape=(1,), scale=2.0))
    assert plan.size == 6
    found = decode(plan, encode(plan, [np.array([1, -2, 3, -4.25]), np.array([-7]), np.array([0.5])]))
    assert found["r", "x"].tolist() == [[1, -2], [3, -4.25]]
    assert (found["r", "n"].shape, found["r", "n"].dtype, int(found["r", "n"])) == ((), np.int64, -7)
    assert found["s", "x"].tolist() == [0.5]


def test_large_whole_numbers_are_exact() -> None:
    plan = layout(part(dtype="int64", shape=(1,), scale=1.0), bits=64)
    number = 2**60 + 1  # which float64 does not hold
    assert decode(plan, encode(plan, [np.array([number])]))["r", "x"].tolist() == [number]


def test_the_error_is_half_a_step_for_each_site() -> None:
    plan = layout(part(), part(name="n", dtype="int64", scale=1.0))
    assert error_of(plan, 5) == {("r", "x"): 5 / 8, ("r", "n"): 0.0}


def test_a_layout_survives_its_text() -> None:
    plan = layout(part(scale=2.0**-40, factor=0.1, offset=-1e-300))
    assert Layout.read(plan.text()) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": float("inf")},
        {"factor": float("nan")},
        {"offset": float("inf")},
        {"how": "median"},
        {"where": "elsewhere"},
        {"shape": (-1,)},
        {"shape": (-1, -2)},
        {"dtype": "no type"},
    ],
    ids=str,
)
def test_a_part_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Part"):
        part(**wrong)


@pytest.mark.parametrize("bits", [0, 16, 33])
def test_other_ranges_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="Layout"):
        layout(part(), bits=bits)


def test_a_bound_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MaskError, match="do not fit 32 bits"):
        scale_of(2**31, 3, 32, whole=True)
    with pytest.raises(MaskError, match="do not fit"):
        scale_of(0, 3, 32)
