"""The closed list of sums against plain NumPy and SciPy, where nothing is clipped and no noise is added.

What remains is truncation: each patient's coordinate loses less than clip_norm / 2^20.
"""

from typing import Any

import numpy as np
import pytest
from flame_vetted import formulas
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from flame_fl.contract.errors import InputError
from flame_fl.contract.vetted_terms import formula_shapes, largest_norm
from flame_fl.privacy.clipping import CLIP_INT
from tests.vetted.made import MadeView, columns, everybody, sum_of, sums

N = 300
RNG = np.random.default_rng(11)
A, B, Y = RNG.normal(size=N), RNG.normal(size=N), RNG.normal(size=N)
CODE = RNG.choice(["u", "v", "w"], N).tolist()
VIEW = MadeView(
    [f"p{i}" for i in range(N)],
    {
        "a": A.tolist(),
        "b": B.tolist(),
        "y": (A - 0.5 * B + 0.3 * Y).tolist(),
        "case": (A + Y > 0).astype(float).tolist(),
    },
    {"code": CODE},
)
WIDE = 10.0
FEATURES = [columns("a", low=-WIDE, high=WIDE, centre=0.1, scale=2.0), columns("b", low=-WIDE, high=WIDE)]
TARGET = columns("y", low=-WIDE, high=WIDE)
CASE = columns("case", low=0.0, high=1.0)
X = np.column_stack([(A - 0.1) / 2.0, B])
ONE_X = np.column_stack([np.ones(N), X])
RESPONSE = np.array(VIEW.columns["y"])
CASES = np.array(VIEW.columns["case"])


def released(formula: dict[str, Any], coefficients: Any = None, view: MadeView = VIEW) -> dict[str, Any]:
    """Without noise, in the data's units, by array name."""
    work = sums(formula)
    clip_norm = largest_norm(work.formula) or 1e4
    flat, found, at = sum_of(work, view, clip_norm, coefficients) * (clip_norm / CLIP_INT), {}, 0
    for name, shape in formula_shapes(work.formula).items():
        found[name] = flat[at : at + int(np.prod(shape))].reshape(shape)
        at += int(np.prod(shape))
    assert at == len(flat)
    return found


def close(found: Any, wanted: Any, clip_norm: float) -> bool:
    return bool(np.all(np.abs(found - wanted) <= N * clip_norm / CLIP_INT))


def test_count_and_histogram() -> None:
    assert released({"kind": "count"})["n"].tolist() == [N]
    codes = {"name": "code", "values": ["w", "u"]}
    assert released({"kind": "histogram", "cells": [codes]})["count"].tolist() == [CODE.count("w"), CODE.count("u")]


def test_a_histogram_of_two_columns() -> None:
    edges = [-1.0, 0.0, 1.0]
    found = released(
        {"kind": "histogram", "cells": [{"name": "a", "edges": edges}, {"name": "code", "values": ["u", "v", "w"]}]}
    )["count"]
    for j, code in enumerate("uvw"):
        mine = A[np.array(CODE) == code]
        assert found[:, j].tolist() == np.histogram(np.clip(mine, -1.0, 0.999), edges)[0].tolist()


def test_moments_give_the_pooled_least_squares_fit() -> None:
    found = released({"kind": "moments", "features": FEATURES, "target": TARGET})
    second = np.zeros((3, 3))
    second[np.triu_indices(3)] = [*found["n"], *found["x"], *found["xx"]]
    second = np.triu(second) + np.triu(second, 1).T
    fit = np.linalg.solve(second, [*found["y"], *found["xy"]])
    assert fit == pytest.approx(np.linalg.lstsq(ONE_X, RESPONSE, rcond=None)[0], abs=0.05)
    assert close(found["xx"], [(X[:, i] * X[:, j]).sum() for i, j in [(0, 0), (0, 1), (1, 1)]], 300)
    assert close(found["yy"], [RESPONSE @ RESPONSE], 300)


def test_genotype_gives_each_variants_regression() -> None:
    found = released({"kind": "genotype", "features": FEATURES, "target": TARGET})
    for j in range(2):
        mean_x, mean_y = found["x"][j] / N, found["y"][0] / N
        slope = (found["xy"][j] / N - mean_x * mean_y) / (found["xx"][j] / N - mean_x**2)
        assert slope == pytest.approx(stats.linregress(X[:, j], RESPONSE).slope, abs=1e-3)


def test_group_moments_give_each_features_t_test() -> None:
    found = released({"kind": "group-moments", "groups": {"name": "code", "values": ["u", "v"]}, "features": FEATURES})
    n, mean = found["n"], found["x"] / found["n"][:, None]
    variance = (found["xx"] - n[:, None] * mean**2) / (n - 1)[:, None]
    t = (mean[0] - mean[1]) / np.sqrt(variance[0] / n[0] + variance[1] / n[1])
    groups = [X[np.array(CODE) == code] for code in "uv"]
    assert t == pytest.approx(stats.ttest_ind(*groups, equal_var=False).statistic, abs=5e-3)


@pytest.mark.parametrize("family", ["gaussian", "binomial", "poisson"])
def test_newton_steps_on_glm_sums_give_the_maximum_likelihood_fit(family: str) -> None:
    target = {"gaussian": TARGET, "binomial": CASE, "poisson": columns("case", low=0.0, high=5.0)}[family]
    y = RESPONSE if family == "gaussian" else CASES
    formula = {"kind": "glm-gradient", "family": family, "features": FEATURES, "target": target}
    b = np.zeros(3)
    for _ in range(12):
        found = released(formula, b)
        hessian = np.zeros((3, 3))
        hessian[np.triu_indices(3)] = found["hessian"]
        b = b + np.linalg.solve(hessian + np.triu(hessian, 1).T, found["gradient"])

    def loss(b: Any) -> float:
        eta = ONE_X @ b
        per = {
            "gaussian": (y - eta) ** 2 / 2,
            "binomial": np.logaddexp(0, eta) - y * eta,
            "poisson": np.exp(eta) - y * eta,
        }
        return float(per[family].sum())

    assert b == pytest.approx(optimize.minimize(loss, np.zeros(3), tol=1e-10).x, abs=0.02)


def test_a_patients_records_are_averaged_before_anything_else() -> None:
    view = MadeView(["p", "q", "p", "p"], {"a": [1.0, 5.0, 2.0, 6.0]})
    formula = {"kind": "genotype", "features": [columns("a", low=0, high=10)]}
    found = released(formula, view=view)
    assert found["n"][0] == pytest.approx(2, abs=1e-3)
    assert found["x"][0] == pytest.approx(5 + 3, abs=1e-3)
    assert found["xx"][0] == pytest.approx(25 + (1 + 4 + 36) / 3, abs=1e-3)


def test_only_the_first_records_count_where_the_terms_say_so() -> None:
    view = MadeView(["p", "q", "p"], {"a": [1.0, 5.0, 2.0]})
    work = sums({"kind": "genotype", "features": [columns("a", low=0, high=10)]}, records_per_patient=1)
    assert sum_of(work, view, 200.0)[1] == pytest.approx(6 * CLIP_INT / 200, abs=2)


class TestValues:
    """Bounds, fills and what is left out: each record by itself."""

    def rows(self, value: float, **fields: Any) -> tuple[int, list[float]]:
        view = MadeView(["p"], {"a": [value]})
        work = sums({"kind": "genotype", "features": [columns("a", low=-1.0, high=2.0, **fields)]})
        prepared = formulas.prepare(work, view)
        return len(prepared.people), prepared.rows_of(np.array([0]))[0].tolist()

    @pytest.mark.parametrize(("value", "clamped"), [(-9.0, -1.0), (0.5, 0.5), (1e308, 2.0)])
    def test_values_are_clamped(self, value: float, clamped: float) -> None:
        assert self.rows(value) == (1, [1.0, clamped, clamped**2])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_missing_value_is_filled_or_leaves_the_record_out(self, value: float) -> None:
        assert self.rows(value, fill=1.5) == (1, [1.0, 1.5, 2.25])
        assert self.rows(value)[0] == 0

    def test_a_column_that_is_not_there_is_an_error(self) -> None:
        work = sums({"kind": "genotype", "features": [{"names": ["*"], "width": 3, "low": 0, "high": 2}]})
        with pytest.raises(InputError, match="features"):
            formulas.prepare(work, MadeView(["p"], {}, features=("g1", "g2")))

    def test_coefficients_of_another_shape_are_an_error(self) -> None:
        formula = {"kind": "glm-gradient", "family": "gaussian", "features": FEATURES, "target": TARGET}
        with pytest.raises(ValueError, match="coefficients"):
            formulas.prepare(sums(formula), VIEW, np.zeros(7))


@given(
    values=st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=5),
    kind=st.sampled_from(["moments", "genotype", "group-moments", "binomial", "histogram", "count"]),
    coefficients=st.lists(st.floats(-50, 50), min_size=3, max_size=3),
)
def test_no_patient_is_longer_than_the_stated_largest_norm(
    values: list[tuple[float, float]], kind: str, coefficients: list[float]
) -> None:
    """So a clip_norm of that size clips nobody."""
    a, y = zip(*values, strict=True)
    view = MadeView(["p"] * len(a), {"a": a, "b": y, "y": y}, {"code": ["u"] * len(a)})
    codes = {"name": "code", "values": ["u", "v"]}
    features = [columns("a", "b", low=-4.0, high=7.0, centre=[1.0, -2.0], scale=3.0)]
    bounded = columns("y", low=0.0, high=1.0)
    formula: dict[str, Any] = {
        "count": {"kind": "count"},
        "histogram": {"kind": "histogram", "cells": [codes]},
        "group-moments": {"kind": "group-moments", "groups": codes, "features": features},
        "binomial": {"kind": "glm-gradient", "family": "binomial", "features": features, "target": bounded},
    }.get(kind, {"kind": kind, "features": features, "target": columns("y", low=-1.0, high=9.0)})
    work = sums(formula)
    prepared = formulas.prepare(work, view, np.array(coefficients))
    rows = prepared.people.means(everybody(prepared.people), prepared.rows_of, prepared.width)
    assert np.linalg.norm(rows, axis=1).max(initial=0.0) <= (largest_norm(work.formula) or 0) * (1 + 1e-12)
