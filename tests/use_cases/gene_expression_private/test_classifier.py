"""The classifier: the gradient is the vetted one, steps reach a logistic regression, noise costs what is allowed."""

import numpy as np
import pytest
from gene_expression_private import terms
from gene_expression_private.classifier import PENALTY, area_under_curve, descend
from gene_expression_private.compare import pooled_auc, standardised
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.use_cases.gene_expression_private.conftest import GENES

ALPHA = 1e-4  # of each acceptance: the chance that a mechanism whose mean is at the bound passes


def slope(x: np.ndarray, case: np.ndarray, b: np.ndarray) -> np.ndarray:
    one_x = np.column_stack([np.ones(len(x)), x])
    return one_x.T @ (case - 1 / (1 + np.exp(-one_x @ b)))


def test_the_vetted_gradient_is_that_of_the_logistic_likelihood(patients, gradient) -> None:
    """Without noise and clipping, up to truncation."""
    table, b = patients(200, 1), np.linspace(-1, 1, 31)
    expected = slope(standardised(table, GENES), table["case"].to_numpy(), b)
    assert gradient(table, 100.0, 0.0, b) == pytest.approx(expected, abs=200 * 100 / 2**20)


def test_many_half_steps_reach_the_penalised_logistic_regression(patients) -> None:
    """As scikit-learn has it; our intercept is penalised too, hence the column of ones."""
    table = patients(400, 2)
    x, case = standardised(table, GENES), table["case"].to_numpy()
    found = descend(lambda b: slope(x, case, b), len(GENES), 3000, 2 * len(x))
    one_x = np.column_stack([np.ones(len(x)), x])
    oracle = LogisticRegression(C=1 / PENALTY, fit_intercept=False, tol=1e-12, max_iter=10_000).fit(one_x, case)
    assert found == pytest.approx(oracle.coef_[0], abs=1e-6)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_the_area_under_the_curve_is_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    score, case = np.array([p[0] for p in pairs], dtype=float), np.array([p[1] for p in pairs])
    if case.all() or not case.any():
        assert np.isnan(area_under_curve(score, case))
    else:
        assert area_under_curve(score, case) == pytest.approx(roc_auc_score(case, score))


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "loss"), [(1.0, 0.05), (8.0, 0.04)])
def test_acceptance(patients, gradient, epsilon: float, loss: float) -> None:
    """4,800 synthetic patients at five DIZ: the area under the curve on 2,000 others falls by at most so much.

    Against the logistic regression without noise and clipping. Passes only if a one-sided t test of 8 fresh runs
    rejects, at `ALPHA`, that the mean loss is at the bound. Usual are 0.025 and 0.02, give or take 0.002.
    """
    table = patients(6800, 3)
    train, test = table[:4800], table[4800:]
    case, x = test["case"].to_numpy() == 1, standardised(test, GENES)
    multiplier, clip_norm = terms.NOISE_MULTIPLIERS[terms.CLASSIFIER][epsilon], terms.CLIP_NORM[terms.CLASSIFIER]
    plain, losses = pooled_auc(train, test, GENES), []
    for _ in range(8):
        b = descend(lambda b: gradient(train, clip_norm, multiplier, b), len(GENES), 8, len(train))
        losses.append(plain - area_under_curve(x @ b[1:], case))
    assert stats.ttest_1samp(losses, loss, alternative="less").pvalue < ALPHA
