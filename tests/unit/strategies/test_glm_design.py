"""Designs as columns, as words in a message, and back in own units."""

import numpy as np
import pytest
from federated_statistics.errors import InputError
from federated_statistics.site_design import build
from federated_statistics.table import Request, Table
from flame_strategies.glm_design import Categorical, Design, Scaling, triangle, unpack
from flame_strategies.sums import to_records
from numpy.testing import assert_array_equal

SMOKER = Categorical("smoker", ("never", "former", "now"))
DESIGN = Design("y", ("age",), (Categorical("sex", ("f", "m"), "m"), SMOKER), offset="shift", exposure="time")


def table(levels=None):
    return Table(
        numbers={
            "y": np.array([1.0, 0, 1, 1, np.nan]),
            "age": np.array([50.0, 60, 70, np.nan, 80]),
            "shift": np.array([0.5, 0, 0, 0, 0]),
            "time": np.array([1.0, 2, 0, 1, 1]),
        },
        codes={"sex": np.array([0, 1, 0, 1, 0]), "smoker": np.array([2, 0, 1, 1, 1])},
        rows=5,
        levels=levels or {},
    )


def test_the_sites_build_the_columns_that_the_hub_names():
    """Numbers first, then the levels compared with each reference; incomplete rows and bad exposures are counted."""
    rows = build(table(), Request(DESIGN.content()))
    assert DESIGN.columns == ("age", "sex[f]", "smoker[former]", "smoker[now]")
    assert_array_equal(rows.X, [[50, 1, 0, 1], [60, 0, 0, 0]])
    assert_array_equal(rows.offset, [0.5, np.log(2)])
    assert (rows.excluded, rows.invalid, rows.kept.tolist()) == (2, 1, [True, True, False, False, False])


def test_levels_are_matched_by_word():
    """A store that declares them in another order, and one more, builds the same columns; the extra one is missing."""
    other = {"sex": ("m", "f"), "smoker": ("former", "unknown", "never", "now")}
    rows = build(table(other), Request(Design("y", categorical=DESIGN.categorical).content()))
    # sex 0 is now m; smoker 2 is never, 0 former, 1 unknown
    assert_array_equal(rows.X, [[0, 0, 0], [1, 1, 0]])
    assert rows.excluded == 3


def test_a_level_that_the_store_does_not_declare():
    """An error rather than a column of zeros."""
    with pytest.raises(InputError, match="now"):
        build(table({"sex": ("f", "m"), "smoker": ("never", "former")}), Request(DESIGN.content()))


def test_a_column_that_is_not_there():
    """The name is in the error."""
    with pytest.raises(InputError, match="bmi"):
        build(table(), Request(Design("y", ("bmi",)).content()))


def test_a_design_fits_into_a_flower_record():
    """Also one without any columns."""
    for design in (DESIGN, Design("y")):
        sent = to_records({"design": design.content()})["design"]
        assert dict(sent) == design.content()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Design("y", ("age", "age")), "twice: age"),
        (lambda: Design("y", ("y",)), "twice: y"),
        (lambda: Design("y", intercept=False), "a column or an intercept"),
        (lambda: Categorical("sex", ("f",)), "at least two"),
        (lambda: Categorical("sex", ("f", "f")), "at least two"),
        (lambda: Categorical("sex", ("f", "m"), "d"), "its reference"),
    ],
)
def test_designs_that_make_no_sense(make, message):
    """A `ValueError` that says which column."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("intercept", [True, False])
def test_own_units_predict_what_scaled_columns_predict(intercept):
    """For random coefficients, centres and scales."""
    rng = np.random.default_rng(0)
    X, b = rng.normal(size=(6, 3)) * [1, 100, 0.01] + [5, -1e4, 0], rng.normal(size=3 + intercept)
    sums = {"n": np.array([6]), "sum_x": X.sum(axis=0), "sum_xx": (X**2).sum(axis=0)}
    scaling = Scaling.of(sums, intercept=intercept, centred=intercept)
    Z = (X - scaling.centre) / scaling.scale
    own = scaling.own_units() @ b
    ones = [np.ones(6)] if intercept else []
    np.testing.assert_allclose(np.column_stack([*ones, X]) @ own, np.column_stack([*ones, Z]) @ b, rtol=1e-9)


def test_packed_matrices():
    """Row by row of the upper triangle, one or many."""
    whole = np.array([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])
    packed = whole[triangle(3)]
    assert packed.tolist() == [1, 2, 3, 4, 5, 6]
    assert_array_equal(unpack(np.array([packed, 2 * packed]), 3), [whole, 2 * whole])
