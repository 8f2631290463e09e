"""Contrasts as people write them."""

import numpy as np
import pytest
from flame_strategies.contrasts import contrast_matrix
from flame_strategies.glm_design import Categorical, Design
from numpy.testing import assert_allclose, assert_array_equal

DESIGN = Design(
    "expression",
    ("age",),
    (Categorical("group", ("Normal", "Cancer", "pre-cancer")), Categorical("stage", ("1", "2", "Normal?"))),
)
TERMS = DESIGN.terms


def weights(text):
    return dict(zip(TERMS, contrast_matrix(DESIGN, TERMS, [text])[1][:, 0].tolist(), strict=True))


def test_none_means_each_coefficient_but_the_intercept():
    names, matrix = contrast_matrix(DESIGN, TERMS)
    assert names == DESIGN.columns
    assert_array_equal(matrix, np.eye(len(TERMS))[:, 1:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cancer-Normal", {"group[Cancer]": 1}),
        ("Normal - Cancer", {"group[Cancer]": -1}),
        ("pre-cancer - Cancer", {"group[pre-cancer]": 1, "group[Cancer]": -1}),
        ("(Cancer + pre-cancer)/2 - Normal", {"group[Cancer]": 0.5, "group[pre-cancer]": 0.5}),
        ("0.25*(Cancer-Normal)*2", {"group[Cancer]": 0.5}),
        ("-Cancer+Normal", {"group[Cancer]": -1}),
        ("group[Cancer]", {"group[Cancer]": 1}),
        ("group[Cancer]-stage[2]", {"group[Cancer]": 1, "stage[2]": -1}),
        ("stage[2] - stage[1]", {"stage[2]": 1}),
        ("10*age", {"age": 10}),
        ("(intercept) + 50 * age", {"(intercept)": 1, "age": 50}),
        ("1e1*age/.5", {"age": 20}),
    ],
)
def test_reads(text, expected):
    found = weights(text)
    assert {name: weight for name, weight in found.items() if weight} == expected


def test_several_in_order():
    names, matrix = contrast_matrix(DESIGN, TERMS, ["age", "Cancer-Normal"])
    assert names == ("age", "Cancer-Normal")
    assert_allclose(matrix.T, [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Cancer", "do not add up to 0"),
        ("Cancer+Normal", "do not add up to 0"),
        ("group[Cancer]+group[Normal]", "do not add up to 0"),
        ("Cancer-Healthy", "from 'Healthy' on"),
        ("Cancer-", "cannot be read"),
        ("(Cancer-Normal", "cannot be read"),
        ("Cancer*Normal", "cannot be read"),
        ("2/age", "cannot be read"),
        ("age/0", "cannot be read"),
        ("age-1", "cannot be read"),
        ("3", "cannot be read"),
        ("2-1", "cannot be read"),
        ("", "cannot be read"),
        ("Cancer-Cancer", "with itself"),
    ],
)
def test_says_what_cannot_be_read(text, said):
    with pytest.raises(ValueError, match=said):
        contrast_matrix(DESIGN, TERMS, [text])


def test_a_contrast_is_named_once():
    with pytest.raises(ValueError, match="none twice"):
        contrast_matrix(DESIGN, TERMS, ["age", "age"])
    with pytest.raises(ValueError, match="no column"):
        contrast_matrix(Design("expression"), ("(intercept)",))


def test_a_level_of_two_columns_needs_its_column():
    design = Design("y", (), (Categorical("a", ("no", "yes")), Categorical("b", ("no", "yes"))))
    with pytest.raises(ValueError, match="cannot be read"):
        contrast_matrix(design, design.terms, ["yes-no"])
    assert_array_equal(contrast_matrix(design, design.terms, ["b[yes]-b[no]"])[1][:, 0], [0, 0, 1])
