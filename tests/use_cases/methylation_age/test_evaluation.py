"""Accuracy from sums: equal to accuracy from predictions, additive over DIZ, and without small cells."""

import numpy as np
import pytest
from flame_strategies.sums import add_up
from hypothesis import given
from hypothesis import strategies as st
from methylation_age.evaluation import SMALLEST_CELL, accuracy, evaluate

AGES = st.lists(st.floats(0, 100), min_size=4, max_size=40)


@given(AGES, st.integers(0, 1000))
def test_sums_give_what_predictions_give(ages: list[float], seed: int) -> None:
    """MAE, RMSE, bias and r from eight sums over two DIZ are those of all rows."""
    age = np.array(ages)
    predicted = age + np.random.default_rng(seed).normal(1, 5, len(age))
    half = len(age) // 2
    found = accuracy(add_up({1: evaluate(age[:half], predicted[:half]), 2: evaluate(age[half:], predicted[half:])}))
    error = predicted - age
    assert found.n == len(age)
    assert found.mae == pytest.approx(np.abs(error).mean())
    assert found.rmse == pytest.approx(np.sqrt((error**2).mean()))
    assert found.bias == pytest.approx(error.mean(), abs=1e-9)
    if age.std() > 1 and predicted.std() > 1:
        assert found.r == pytest.approx(np.corrcoef(age, predicted)[0, 1], abs=1e-6)


@given(AGES)
def test_small_cells_do_not_leave(ages: list[float]) -> None:
    """A cell of the table is zero or at least three."""
    cells = np.asarray(evaluate(np.array(ages), np.array(ages))["decades"])
    assert not ((cells > 0) & (cells < SMALLEST_CELL)).any()


def test_table_counts_decades() -> None:
    """Chronological age is the row, predicted age the column; ends are open."""
    cells = np.asarray(evaluate(np.full(4, -0.5), np.full(4, 130.0))["decades"])
    assert cells[0, 10] == 4
    assert cells.sum() == 4


def test_no_samples_give_no_accuracy() -> None:
    """A DIZ without test samples is not a DIZ without errors."""
    found = accuracy(evaluate(np.array([]), np.array([])))
    assert found.n == 0
    assert np.isnan(found.mae)
