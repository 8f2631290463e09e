"""Sensitivity on real neighbours: a patient with any data comes or goes, and the integer sum moves by its own row.

The property is exact, not up to rounding: the difference of the two sums *equals* what the patient alone gives, in
every coordinate, and its squares sum to at most CLIP_INT². Code that lets one patient touch another's row, even in the
last bit, fails the equality.
"""

from typing import Any

import numpy as np
import pytest
from flame_vetted.cohort import people
from flame_vetted.network import Network
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.privacy.clipping import CLIP_INT
from tests.vetted.made import MadeView, columns, gradient_sum, model, squared_norm, sum_of, sums, whole_sum

FEATURES = [columns("a", "b", fill=0.5), columns("c", low=0.0, high=10.0, centre=2.0, scale=0.25)]
TARGET = columns("y", low=0.0, high=1.0)
CODES = {"name": "code", "values": ["u", "v", "1"]}
FORMULAS: dict[str, dict[str, Any]] = {
    "count": {"kind": "count"},
    "histogram": {"kind": "histogram", "cells": [CODES]},
    "two columns": {"kind": "histogram", "cells": [CODES, {"name": "a", "edges": [-1.0, 0.0, 0.5, 2.0]}]},
    "moments": {"kind": "moments", "features": FEATURES, "target": TARGET},
    "genotype": {"kind": "genotype", "features": FEATURES, "target": TARGET},
    "group-moments": {"kind": "group-moments", "features": FEATURES, "groups": CODES},
    "gaussian": {"kind": "glm-gradient", "family": "gaussian", "features": FEATURES, "target": TARGET},
    "binomial": {"kind": "glm-gradient", "family": "binomial", "features": FEATURES, "target": TARGET},
    "poisson": {"kind": "glm-gradient", "family": "poisson", "features": FEATURES, "target": TARGET},
}
LAYERS: dict[str, list[dict[str, Any]]] = {
    "linear": [{"kind": "linear", "inputs": 3, "outputs": 1}],
    **{
        kind: [
            {"kind": "linear", "inputs": 3, "outputs": 5},
            {"kind": kind},
            {"kind": "linear", "inputs": 5, "outputs": 1},
        ]
        for kind in ("relu", "tanh", "gelu", "sigmoid")
    },
    "norms": [
        {"kind": "layer-norm", "width": 3},
        {"kind": "linear", "inputs": 3, "outputs": 6, "bias": False},
        {"kind": "group-norm", "width": 6, "groups": 2},
        {"kind": "linear", "inputs": 6, "outputs": 1},
    ],
}

wild = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.floats(-5, 5),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324]),
)


@st.composite
def views(draw: st.DrawFn) -> MadeView:
    patients = draw(st.lists(st.sampled_from(["p", "q", "r", "s", "t", None]), min_size=1, max_size=12))
    rows = len(patients)

    def some(of: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(of, min_size=rows, max_size=rows))

    codes = some(st.sampled_from(["u", "v", "1", "1.0", "other", "", None]))
    return MadeView(patients, {name: some(wild) for name in ("a", "b", "c", "y")}, {"code": codes})


def moves_by_its_own_row(whole: Any, neighbour: Any, alone: Any) -> bool:
    return np.array_equal(whole - neighbour, alone) and squared_norm(alone) <= CLIP_INT**2


@pytest.mark.parametrize("name", FORMULAS)
@given(
    view=views(),
    clip_norm=st.sampled_from([1e-3, 1.0, 40.0, 1e6]),
    coefficients=st.lists(wild, min_size=4, max_size=4),
    limit=st.sampled_from([1, 2, 100]),
)
@settings(max_examples=40)
def test_a_patient_more_moves_a_vetted_sum_by_its_own_clipped_row(
    name: str, view: MadeView, clip_norm: float, coefficients: list[float], limit: int
) -> None:
    work, sent = sums(FORMULAS[name], records_per_patient=limit), np.array(coefficients)
    for patient in sorted({p for p in view.patients if p is not None}):
        whole, neighbour, alone = (
            sum_of(work, v, clip_norm, sent) for v in (view, view.without(patient), view.only(patient))
        )
        assert moves_by_its_own_row(whole, neighbour, alone)


@pytest.mark.parametrize("name", LAYERS)
@given(
    view=views(),
    clip_norm=st.sampled_from([1e-3, 1.0, 1e6]),
    magnitude=st.sampled_from([0.1, 1.0, 1e6, 1e300]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_a_patient_more_moves_a_step_of_dp_sgd_by_its_own_clipped_gradient(
    name: str, view: MadeView, clip_norm: float, magnitude: float, seed: int
) -> None:
    """Weights are whatever a message brings, huge ones included."""
    work = model(*LAYERS[name])
    weights = np.random.default_rng(seed).normal(size=Network(work).width) * magnitude
    for patient in sorted({p for p in view.patients if p is not None}):
        whole, neighbour, alone = (
            gradient_sum(work, v, weights, clip_norm) for v in (view, view.without(patient), view.only(patient))
        )
        assert moves_by_its_own_row(whole, neighbour, alone)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_same_holds_for_many_patients_and_classes(task: str) -> None:
    """300 patients, weights that make outputs cancel: where a matrix product would round by who else is there."""
    rng = np.random.default_rng(7)
    rows, classes = 400, ["u", "v", "w"] if task == "multiclass" else ["u", "v"]
    view = MadeView(
        [f"p{i % 300}" for i in range(rows)],
        {name: rng.normal(size=rows).tolist() for name in ("a", "b", "c")},
        {"code": rng.choice(classes, rows).tolist()},
    )
    outputs = 3 if task == "multiclass" else 1
    layers = [{"kind": "linear", "inputs": 3, "outputs": 33}, {"kind": "gelu"}]
    work = model(
        *layers,
        {"kind": "linear", "inputs": 33, "outputs": outputs},
        task=task,
        target={"name": "code", "values": classes},
    )
    weights = rng.normal(size=Network(work).width) * 1e4
    whole = gradient_sum(work, view, weights, 1.0)
    for patient in ("p0", "p17", "p299"):
        alone = gradient_sum(work, view.only(patient), weights, 1.0)
        assert moves_by_its_own_row(whole, gradient_sum(work, view.without(patient), weights, 1.0), alone)


class TestTheCheckItself:
    """Mistakes that real code makes are caught by the comparison above."""

    VIEW = MadeView(["p", "q", "r"], {"a": [0.1, 0.4, 0.9]})

    def difference(self, rows_of: Any, clip_norm: float = 1.0) -> tuple[Any, Any, Any]:
        def summed(view: MadeView) -> Any:
            values = view.numbers("a")[:, None]
            everybody = people(view.patients, np.ones(len(values), dtype=bool), 9)
            return whole_sum(everybody, lambda records: rows_of(values, records), 1, clip_norm)

        return summed(self.VIEW), summed(self.VIEW.without("p")), summed(self.VIEW.only("p"))

    def test_honest_rows_pass(self) -> None:
        assert moves_by_its_own_row(*self.difference(lambda values, records: values[records]))

    def test_scaling_by_the_cohort_is_caught(self) -> None:
        assert not moves_by_its_own_row(*self.difference(lambda values, records: values[records] / values.max()))

    def test_a_last_bit_that_depends_on_the_batch_is_caught(self) -> None:
        def rows(values: Any, records: Any) -> Any:
            return values[records] * (1.0 + len(records) * 2.0**-20)

        assert not moves_by_its_own_row(*self.difference(rows))

    def test_a_row_that_is_not_clipped_is_caught(self) -> None:
        whole, neighbour, alone = self.difference(lambda values, records: values[records], clip_norm=0.05)
        assert moves_by_its_own_row(whole, neighbour, alone)
        assert not moves_by_its_own_row(2 * whole, 2 * neighbour, 2 * alone)
