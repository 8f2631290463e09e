"""The words of a vetted work: closed lists, public bounds, exact shapes."""

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.release_contract import MessageTerms
from flame_fl.contract.vetted_terms import (
    DpSgd,
    Sums,
    Work,
    check_work,
    columns_read,
    largest_norm,
    output_arrays,
    parameters,
)
from tests.vetted.made import columns, model, sums

ADAPTER: TypeAdapter[DpSgd | Sums] = TypeAdapter(Work)
LINEAR = {"kind": "linear", "inputs": 3, "outputs": 1}
CODES = {"name": "code", "values": ["u", "v", "w"]}


@pytest.mark.parametrize("kind", ["batch-norm", "dropout", "conv2d", "attention", "exec", ""])
def test_a_layer_outside_the_list_is_an_error(kind: str) -> None:
    with pytest.raises(ValidationError, match="kind"):
        model({"kind": kind, "width": 3}, LINEAR)


@pytest.mark.parametrize("kind", ["sql", "max", "median", "lambda"])
def test_a_formula_outside_the_list_is_an_error(kind: str) -> None:
    with pytest.raises(ValidationError, match="kind"):
        sums({"kind": kind})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"layers": [{"kind": "linear", "inputs": 4, "outputs": 1}]}, "takes 4 numbers, but gets 3"),
        ({"layers": [{"kind": "linear", "inputs": 3, "outputs": 2}]}, "gives 2 numbers"),
        ({"layers": [{"kind": "relu"}]}, "gives 3 numbers"),
        ({"layers": [{"kind": "group-norm", "width": 3, "groups": 2}, LINEAR]}, "divide"),
        ({"layers": []}, "at least 1"),
        ({"target": CODES}, "numeric target"),
        ({"task": "binary"}, "categories"),
        ({"task": "binary", "target": CODES}, "two categories"),
        ({"target": columns("y", "z")}, "one column"),
        ({"expected_patients": 0}, "greater"),
        ({"noise_multiplier": 1.0}, "Extra inputs"),
        ({"steps": 9}, "Extra inputs"),
    ],
)
def test_a_model_that_does_not_fit_together_is_an_error(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        model(**fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"low": 1.0, "high": 1.0}, "below"),
        ({"low": float("nan")}, "finite"),
        ({"scale": 0.0}, "greater"),
        ({"centre": [0.0]}, "one number, or 2"),
        ({"width": 2}, "width"),
        ({"names": ["*"]}, "width"),
        ({"names": ["*", "a"], "width": 2}, "width"),
        ({"names": ["a", "a"]}, "twice"),
        ({"names": []}, "at least 1"),
    ],
)
def test_columns_need_public_bounds_that_make_sense(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        sums({"kind": "moments", "features": [{**columns("a", "b"), **fields}]})


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ({"kind": "histogram", "cells": [{"name": "code", "values": ["u", "u"]}]}, "twice"),
        ({"kind": "histogram", "cells": [{"name": "a", "edges": [1.0, 1.0]}]}, "ascend"),
        ({"kind": "histogram", "cells": [CODES] * 3}, "at most 2"),
        ({"kind": "moments", "features": [columns("a")], "target": columns("y", "z")}, "one column"),
        (
            {"kind": "glm-gradient", "family": "binomial", "features": [columns("a")], "target": columns("y")},
            "bounds do not fit",
        ),
        (
            {"kind": "glm-gradient", "family": "poisson", "features": [columns("a")], "target": columns("y")},
            "bounds do not fit",
        ),
        (
            {
                "kind": "glm-gradient", "family": "binomial", "features": [columns("a")],
                "target": columns("y", low=0, high=1, scale=2),
            },
            "not standardised",
        ),
        ({"kind": "moments", "features": [{"names": ["*"], "width": 100_000, "low": 0, "high": 1}]}, "too long"),
    ],
)  # fmt: skip
def test_a_formula_that_makes_no_sense_is_an_error(formula: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        sums(formula)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        ({"kind": "count"}, {"n": (1,)}),
        ({"kind": "histogram", "cells": [CODES, {"name": "a", "edges": [0, 1, 2]}]}, {"count": (3, 2)}),
        ({"kind": "moments", "features": [columns("a", "b")]}, {"n": (1,), "x": (2,), "xx": (3,)}),
        (
            {"kind": "genotype", "features": [columns("a", "b")], "target": columns("y")},
            {"n": (1,), "x": (2,), "xx": (2,), "y": (1,), "yy": (1,), "xy": (2,)},
        ),
        (
            {"kind": "group-moments", "groups": CODES, "features": [columns("a", "b")]},
            {"n": (3,), "x": (3, 2), "xx": (3, 2)},
        ),
        (
            {"kind": "glm-gradient", "family": "gaussian", "features": [columns("a")], "target": columns("y")},
            {"gradient": (2,), "hessian": (3,)},
        ),
    ],
)
def test_a_work_says_exactly_what_it_releases(formula: dict[str, Any], shapes: dict[str, Any]) -> None:
    assert output_arrays(sums(formula)) == {("sums", name): ("float64", shape) for name, shape in shapes.items()}


def test_a_model_says_exactly_what_it_releases() -> None:
    stated = model({"kind": "layer-norm", "width": 3}, {"kind": "relu"}, {**LINEAR, "bias": False})
    assert parameters(stated) == {"0.weight": (3,), "0.bias": (3,), "2.weight": (1, 3)}
    assert set(output_arrays(stated).values()) == {("float32", (3,)), ("float32", (1, 3))}


def test_the_largest_norm_is_that_of_a_corner() -> None:
    """One column in [-1, 3], centred at 0, scaled by 2, and y in [0, 1]: worst at x = 3/2, y = 1."""
    stated = sums(
        {
            "kind": "moments",
            "features": [columns("a", low=-1, high=3, scale=2)],
            "target": columns("y", low=0, high=1),
        }
    )
    assert largest_norm(stated.formula) == pytest.approx(np.linalg.norm([1, 1.5, 2.25, 1, 1, 1.5]))


def test_terms_survive_json() -> None:
    for work in (model(), sums({"kind": "group-moments", "groups": CODES, "features": [columns("a", centre=[2])]})):
        assert ADAPTER.validate_json(work.model_dump_json()) == work


RULES = (
    {"record": "sums", "name": "n", "dtype": "float64", "shape": [1]},
    {"record": "sums", "name": "x", "dtype": "float64", "shape": [1]},
    {"record": "sums", "name": "xx", "dtype": "float64", "shape": [1]},
)
WORK = sums({"kind": "moments", "features": [columns("a")]})
STORES: dict[str, Any] = {"cohort": {"table": "t.csv", "patient_id": "pid", "columns": ["a"]}}


class TestTheReleaseContract:
    """What the terms list must be what the work computes."""

    def check(self, work: Any = WORK, rules: Any = RULES, stores: Any = None, **fields: Any) -> None:
        message = MessageTerms.model_validate({"per_run": 1, "arrays": rules, **fields})
        found = {name: DataStore.model_validate(store) for name, store in (stores or STORES).items()}
        check_work(work, message, found)

    def test_it_is_accepted_where_it_fits(self) -> None:
        self.check()
        self.check(stores={"cohort": {**STORES["cohort"], "columns": ["*"]}})

    @pytest.mark.parametrize(
        "rules",
        [RULES[:2], (*RULES[:2], {**RULES[2], "shape": ["<=1"]}), (*RULES[:2], {**RULES[2], "dtype": "float32"}), ()],
    )
    def test_other_arrays_are_refused(self, rules: Any) -> None:
        with pytest.raises(ValueError, match="exactly these arrays"):
            self.check(rules=rules)

    def test_a_metric_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no metric"):
            self.check(metrics=[{"record": "metrics", "name": "n", "kind": "count"}])

    def test_a_difference_is_refused(self) -> None:
        with pytest.raises(ValueError, match="value"):
            self.check(update="delta")

    @pytest.mark.parametrize("stores", [{"other": STORES["cohort"]}, {"cohort": {**STORES["cohort"], "kind": "vcf"}}])
    def test_a_store_that_cannot_be_read_is_refused(self, stores: Any) -> None:
        with pytest.raises(ValueError, match="needs a data store"):
            self.check(stores=stores)

    def test_a_column_that_is_not_in_the_view_is_refused(self) -> None:
        with pytest.raises(ValueError, match="reads 'a'"):
            self.check(stores={"cohort": {**STORES["cohort"], "columns": ["b"]}})

    def test_what_a_work_reads(self) -> None:
        codes = {"name": "code", "values": ["u", "v"]}
        assert columns_read(model()) == {"a", "b", "c", "y"}
        assert columns_read(sums({"kind": "count"})) == set()
        assert columns_read(sums({"kind": "histogram", "cells": [codes]})) == {"code"}
        wide = [{"names": ["*"], "width": 3, "low": 0, "high": 1}]
        assert columns_read(sums({"kind": "group-moments", "groups": codes, "features": wide})) == {"code"}


def test_the_examples_of_the_documentation_hold() -> None:
    text = (Path(__file__).parents[2] / "docs/vetted.md").read_text(encoding="utf-8")
    examples = [tomllib.loads(part) for part in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    assert len(examples) == 2
    for example in examples:
        flame = example["tool"]["flame"]
        store = DataStore(table="t.csv", patient_id="pid", columns=("age", "bmi", "sbp", "died"))
        for kind, stated in flame["vetted"].items():
            work = ADAPTER.validate_python(stated)
            check_work(work, MessageTerms.model_validate(flame["messages"][kind]), {"cohort": store})
            if isinstance(work, Sums):
                assert (largest_norm(work.formula) or 0) > flame["privacy"]["clip_norm"], "the example clips some"
