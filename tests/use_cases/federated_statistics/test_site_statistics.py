"""A DIZ's answers: what is refused, and that shapes depend on the request alone."""

import numpy as np
import pytest
from federated_statistics.errors import InputError
from federated_statistics.site_elastic_net import ANSWERS as ELASTIC_NET
from federated_statistics.site_statistics import ANSWERS
from federated_statistics.table import MISSING, Request, Table
from flame_strategies.in_memory import SiteRows

LEVELS = {"sex": ("f", "m")}


def table(rows):
    rng = np.random.default_rng(rows)
    x = np.where(rng.random(rows) < 0.3, np.nan, rng.normal(size=rows))
    codes = rng.integers(-1, 2, rows)
    patients = tuple(f"P{row}" for row in range(rows))
    return Table(
        {"x": x, "y": rng.normal(size=rows)},
        {"sex": codes, "other": codes},
        rows,
        LEVELS | {"other": LEVELS["sex"]},
        patients,
    )


ASK = {"columns": ["x", "y"]}
SCALED = {"centre": np.array([0.5, 0.0]), "scale": np.array([2.0, 1.0])}
REQUESTS = {
    "moments": Request(ASK, SCALED),
    "cross": Request(ASK, SCALED),
    "cross_pairwise": Request(ASK, SCALED),
    "histogram": Request(ASK, {"edges": np.array([[-1.0, 0, 1], [0, 1, np.inf]])}),
    "cross_table": Request({"row": "sex", "column": "other"}),
    "ranks": Request(ASK, {"thresholds": np.array([[0.0, 1], [-1, 2]])}),
}


def test_there_is_a_request_for_every_query():
    assert set(REQUESTS) == set(ANSWERS)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_shapes_and_types_are_those_of_a_diz_without_rows(name):
    answers = [ANSWERS[name](table(rows), REQUESTS[name]) for rows in (0, 1, 50)]

    said = [{key: (array.shape, array.dtype) for key, array in answer.items()} for answer in answers]
    assert said[0] == said[1] == said[2]
    assert all(not array.any() for array in answers[0].values())
    assert any(array.any() for array in answers[2].values())


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_the_sum_over_two_parts_is_the_answer_of_the_whole(name):
    whole = table(60)
    parts = [
        Table(
            {k: v[rows] for k, v in whole.numbers.items()},
            {k: v[rows] for k, v in whole.codes.items()},
            len(whole.numbers["x"][rows]),
            whole.levels,
        )
        for rows in (slice(0, 13), slice(13, 60))
    ]

    first, second = (ANSWERS[name](part, REQUESTS[name]) for part in parts)

    for key, array in ANSWERS[name](whole, REQUESTS[name]).items():
        np.testing.assert_allclose(first[key] + second[key], array, rtol=1e-12, atol=1e-12)


def test_moments_in_plain_words():
    t = Table({"x": np.array([1.0, np.nan, 4.0])}, {}, 3)

    found = ANSWERS["moments"](t, Request({"columns": ["x"]}, {"centre": np.array([2.0]), "scale": np.array([2.0])}))

    assert {key: array.tolist() for key, array in found.items()} == {
        "n": [3],
        "count": [2],
        "sum_z": [0.5],
        "sum_zz": [1.25],
    }


def test_cells_in_plain_words():
    t = Table({}, {"sex": np.array([0, 1, MISSING]), "other": np.array([1, 1, 0])}, 3, LEVELS | {"other": ("a", "b")})

    found = ANSWERS["cross_table"](t, Request({"row": "sex", "column": "other"}))

    assert found["counts"].tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("name", "config", "arrays", "words"),
    [
        ("moments", {"columns": ["z"]}, {"centre": np.zeros(1), "scale": np.ones(1)}, "no numeric column 'z'"),
        ("moments", ASK, {"centre": np.zeros(2)}, "'scale'"),
        ("moments", ASK, {"centre": np.zeros(1), "scale": np.ones(1)}, "2 columns and 1 rows"),
        ("moments", ASK, {"centre": np.zeros(2), "scale": np.array([1.0, 0])}, "above 0"),
        ("cross", ASK, {"centre": np.array([0, np.nan]), "scale": np.ones(2)}, "finite"),
        ("histogram", ASK, {"edges": np.array([[0.0, 1], [1, 0]])}, "must rise"),
        ("histogram", ASK, {"edges": np.array([[0.0, 1], [1, np.inf]])}, "at least two"),
        ("cross_table", {"row": "sex", "column": "x"}, {}, "levels are not declared"),
        ("ranks", ASK, {"thresholds": np.array([[0.0], [np.nan]])}, "not a number"),
    ],
)
def test_what_cannot_be_answered_is_said_without_a_value(name, config, arrays, words):
    with pytest.raises(InputError, match=words):
        ANSWERS[name](table(20), Request(config, arrays))


def test_the_elastic_nets_sums_are_those_of_the_reference_site():
    """`flame_strategies.in_memory` states what a site answers."""
    rng = np.random.default_rng(0)
    X, y = np.where(rng.random((80, 3)) < 0.1, np.nan, rng.normal(5, 2, (80, 3))), rng.normal(size=80)
    patients = tuple(f"P{row // 2}" for row in range(80))
    names = ["a", "b", "c"]
    # one more row, without an outcome: it is left out
    numbers = {name: np.append(column, 1.0) for name, column in zip(names, X.T, strict=True)}
    t = Table({**numbers, "y": np.append(y, np.nan)}, {}, 81, {}, (*patients, "P99"))
    site = SiteRows(X, y, patients)
    reference = {
        "centre": np.full(3, 5.0),
        "scale": np.full(3, 2.0),
        "y_centre": np.array([0.1]),
        "y_scale": np.array([1.5]),
        "columns": np.array([2, 0]),
    }
    content = {"reference": reference, "folds": {"folds": 4}}

    for query in ("moments", "target", "columns"):
        request = Request({"columns": names, "outcome": "y", "folds": 4}, reference)
        found, stated = ELASTIC_NET[f"en_{query}"](t, request), site.answer(f"query.{query}", content)
        assert found.keys() == stated.keys()
        for key, array in stated.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-12)


def test_one_fold_is_no_cross_validation():
    request = Request({"columns": ["x"], "outcome": "y", "folds": 1}, SCALED)
    with pytest.raises(InputError, match="too few"):
        ELASTIC_NET["en_target"](table(10), request)
