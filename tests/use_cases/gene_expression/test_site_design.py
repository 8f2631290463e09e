"""The samples and columns that every DIZ builds from a design."""

import numpy as np
import pytest
from flame_strategies.glm_design import Categorical, Design
from gene_expression.errors import InputError
from gene_expression.site_design import build, pairs, standardise
from gene_expression.site_scaling import genes_of
from gene_expression.table import LOG2, Request, Table
from numpy.testing import assert_allclose, assert_array_equal

GROUP = Categorical("group", ("A", "B", "C"), reference="B")
DESIGN = Design("expression", ("age",), (GROUP,))


def table(levels=("A", "B", "C")):
    return Table(
        genes=np.arange(20.0).reshape(5, 4),
        scale=LOG2,
        numbers={"age": np.array([30.0, 40, np.nan, 50, 60])},
        codes={"group": np.array([0, 1, 2, -1, 2])},
        levels={"group": levels},
        patients=("P1", "P2", "P3", "P4", "P5"),
        panel=("G1", "G2", "G3", "G4"),
    )


def request(design=DESIGN, arrays=None, **more):
    return Request({**design.content(), **more}, arrays or {})


def test_columns_are_numbers_then_levels_but_the_reference():
    """Samples with a missing column are left out."""
    samples = build(table(), request())
    assert_array_equal(samples.X, [[30, 1, 0], [40, 0, 0], [60, 0, 1]])
    assert_array_equal(samples.kept, [True, True, False, False, True])
    assert (samples.rows, samples.excluded) == (3, 2)


def test_without_columns_all_rows_are_samples():
    samples = build(table(), Request())
    assert (samples.X.shape, samples.excluded) == ((5, 0), 0)


def test_levels_may_be_in_another_order_than_the_table_s():
    """Codes follow the table's levels; a level that the design leaves out makes the sample incomplete."""
    design = Design("expression", (), (Categorical("group", ("C", "A")),))
    samples = build(table(), request(design))
    assert_array_equal(samples.X[:, 0], [1, 0, 0])
    assert_array_equal(samples.kept, [True, False, True, False, True])


def test_levels_and_columns_must_be_declared():
    with pytest.raises(InputError, match="no declared level C"):
        build(table(("A", "B", "D")), request())
    with pytest.raises(InputError, match="'weight'"):
        build(table(), request(Design("expression", ("weight",))))
    with pytest.raises(InputError, match="'stage'"):
        build(table(), request(Design("expression", (), (Categorical("stage", ("1", "2")),))))


def test_an_intercept_or_the_site_s_own_means():
    arrays = {"centre": np.array([40.0, 0, 0]), "scale": np.array([10.0, 1, 1])}
    samples = build(table(), request())
    Z = standardise(samples, request(arrays=arrays))
    assert_allclose(Z, [[1, -1, 1, 0], [1, 0, 0, 0], [1, 2, 0, 1]])
    own = standardise(samples, request(arrays=arrays, site_effects=True))
    assert_allclose(own, Z[:, 1:] - Z[:, 1:].mean(axis=0))
    with pytest.raises(InputError, match="scales 1 columns"):
        standardise(samples, request(arrays={"centre": np.zeros(1), "scale": np.ones(1)}))


def test_a_site_without_samples_has_empty_columns():
    empty = Table(
        genes=np.empty((0, 4)),
        scale=LOG2,
        numbers={"age": np.empty(0)},
        codes={"group": np.empty(0, dtype=np.int64)},
        levels={"group": GROUP.levels},
        patients=(),
        panel=("G1", "G2", "G3", "G4"),
    )
    arrays = {"centre": np.zeros(3), "scale": np.ones(3)}
    samples = build(empty, request())
    assert standardise(samples, request(arrays=arrays, site_effects=True)).shape == (0, 3)


def test_products_of_pairs_are_a_packed_triangle():
    Z = np.array([[1.0, 2, 3], [4, 5, 6]])
    assert_array_equal(pairs(Z).sum(axis=0), (Z.T @ Z)[np.triu_indices(3)])


@pytest.mark.parametrize("places", [[1, 2, 3], [3, 1], [0]])
def test_genes_at_places(places):
    samples = build(table(), request())
    arrays = {"genes": np.array(places)}
    assert_array_equal(genes_of(table(), Request({}, arrays), samples), table().genes[[0, 1, 4]][:, places])


@pytest.mark.parametrize("places", [[4], [-1], [], [[0]]])
def test_places_that_are_not_in_the_panel(places):
    arrays = {"genes": np.array(places, dtype=np.int64)}
    with pytest.raises(InputError, match="the panels differ"):
        genes_of(table(), Request({}, arrays), build(table(), request()))
