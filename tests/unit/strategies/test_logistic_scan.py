"""Many logistic regressions at once equal statsmodels' one by one; each ends by itself, or is told why it cannot."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from flame_strategies.logistic_scan import (
    CONVERGED,
    HIDDEN,
    SINGULAR,
    UNBOUNDED,
    Evaluation,
    Scanned,
    fit_logistic,
    invert,
    pack,
    unpack,
)
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.api import Logit

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


class Problems:
    """Rows z (n, q) with an outcome y (n,), and one more column for each of m problems, g (n, m)."""

    def __init__(self, z: Float, g: Float, y: Float) -> None:
        self.z, self.g, self.y = z, g, y
        self.asked: list[int] = []

    def columns(self, problem: int) -> Float:
        return np.column_stack([self.z, self.g[:, problem]])

    def evaluate(self, problems: Int, at: Float) -> Evaluation:
        self.asked.append(len(problems))
        parts = [self.one(self.columns(problem), b) for problem, b in zip(problems.tolist(), at, strict=True)]
        loglik, gradient, information = (np.array(part) for part in zip(*parts, strict=True))
        everyone = np.ones(len(problems), dtype=np.bool_)
        return Evaluation(loglik, gradient, information, everyone, ~everyone)

    def one(self, x: Float, b: Float) -> tuple[float, Float, Float]:
        eta = np.clip(x @ b, -300, 300)
        mu = 1 / (1 + np.exp(-eta))
        information = (x * (mu * (1 - mu))[:, None]).T @ x
        return float((self.y * eta - np.logaddexp(0, eta)).sum()), x.T @ (self.y - mu), information

    def fit(self, **said: int) -> Scanned:
        return fit_logistic(self.evaluate, np.zeros((self.g.shape[1], self.z.shape[1] + 1)), **said)


def problems(seed: int = 1, n: int = 200, m: int = 20, effect: float = 0.5) -> Problems:
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    g = rng.binomial(2, rng.uniform(0.1, 0.5, m), (n, m)).astype(np.float64)
    y = rng.random(n) < 1 / (1 + np.exp(0.7 - 0.8 * z[:, 1] - effect * g[:, 0]))
    return Problems(z, g, y.astype(np.float64))


@given(seed=st.integers(0, 1000))
def test_each_fit_is_that_of_statsmodels(seed: int) -> None:
    made = problems(seed, m=3)
    found = made.fit()
    assert (found.outcome == CONVERGED).all()
    for problem in range(3):
        theirs = Logit(made.y, made.columns(problem)).fit(method="newton", tol=1e-13, disp=0)
        np.testing.assert_allclose(found.coefficients[problem], theirs.params, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(np.sqrt(found.variances[problem]), theirs.bse, rtol=1e-10)
        assert found.objective[problem] == pytest.approx(theirs.llf, rel=1e-12)


def test_a_problem_that_has_ended_is_not_asked_again() -> None:
    """The first is far from its start, the others have no effect: those end before it."""
    made = problems(effect=3.0)
    made.fit()
    assert made.asked[0] == 20
    assert made.asked[-1] < 20
    assert len(made.asked) <= 9


def test_a_fit_does_not_depend_on_the_others() -> None:
    made = problems()
    alone = Problems(made.z, made.g[:, [7]], made.y).fit()
    np.testing.assert_allclose(made.fit().coefficients[7], alone.coefficients[0], rtol=0, atol=1e-15)


def test_dependent_and_constant_columns_are_singular() -> None:
    made = problems(m=4)
    made.g[:, 1] = 2.0
    made.g[:, 2] = made.z[:, 1] + 1
    assert made.fit().outcome.tolist() == [CONVERGED, SINGULAR, SINGULAR, CONVERGED]


def test_a_separated_outcome_has_no_maximum_and_holds_up_none_of_the_others() -> None:
    made = problems(m=3)
    made.g[:, 1] = np.where(made.y > 0, 1.0 + (made.z[:, 2] > 0), 0.0)  # completely
    made.g[:, 2] = (made.y > 0) & (made.z[:, 1] > 1)  # carriers are cases
    found = made.fit()
    assert found.outcome.tolist() == [CONVERGED, UNBOUNDED, UNBOUNDED]
    assert found.evaluations == len(made.asked) <= 15


def test_what_the_sums_tell_at_once_is_not_tried() -> None:
    made = problems(m=4)

    def evaluate(rows: Int, at: Float) -> Evaluation:
        found = made.evaluate(rows, at)
        found.seen[rows == 1] = False
        found.separated[rows == 3] = True
        return found

    found = fit_logistic(evaluate, np.zeros((4, 4)))
    assert found.outcome.tolist() == [CONVERGED, HIDDEN, CONVERGED, UNBOUNDED]
    assert made.asked[1] == 2


def test_a_step_to_where_nothing_is_seen_is_halved() -> None:
    """From a start far off, whose first step goes too far: the objective falls there, or is withheld."""
    made = problems(m=2, effect=2.0)
    start = np.array([[-4.0, 0.0, 0.0, 0.0], [4.0, 2.0, 0.0, 0.0]])
    withheld = 0

    def evaluate(rows: Int, at: Float) -> Evaluation:
        nonlocal withheld
        found = made.evaluate(rows, at)
        if len(made.asked) > 1:
            found.seen[:] = np.abs(at).max(axis=1) < 4
            withheld += int((~found.seen).sum())
        return found

    found = fit_logistic(evaluate, start, max_evaluations=40)
    assert withheld > 0
    assert (found.outcome == CONVERGED).all()
    np.testing.assert_allclose(found.coefficients, made.fit().coefficients, atol=1e-10)


def test_sums_that_are_off_by_a_little_end_the_fit_as_well() -> None:
    """As behind masks with wide bounds: another rounding in each exchange, so that no step gets below the tolerance."""
    made, rng = problems(), np.random.default_rng(0)

    def evaluate(rows: Int, at: Float) -> Evaluation:
        found = made.evaluate(rows, at)
        found.gradient[:] += rng.normal(scale=1e-7, size=found.gradient.shape)
        found.loglik[:] += rng.normal(scale=1e-11, size=found.loglik.shape)
        return found

    found = fit_logistic(evaluate, np.zeros((20, 4)))
    assert (found.outcome == CONVERGED).all()
    assert found.evaluations < 15
    np.testing.assert_allclose(found.coefficients, made.fit().coefficients, atol=1e-6)


def test_the_first_step_of_a_rare_variant_is_not_absurd() -> None:
    """Of ten carriers nine are cases, of others one in a hundred: Newton's first step would be one of about 90."""
    n = 4000
    carrier = np.arange(n) < 10
    y = np.where(carrier, np.arange(n) < 9, np.arange(n) % 100 == 0).astype(np.float64)
    made = Problems(np.ones((n, 1)), carrier[:, None].astype(np.float64), y)
    start = np.array([[np.log(y.mean() / (1 - y.mean())), 0.0]])
    seen: list[Float] = []

    def evaluate(rows: Int, at: Float) -> Evaluation:
        seen.append(at)
        return made.evaluate(rows, at)

    found = fit_logistic(evaluate, start)
    assert found.outcome.tolist() == [CONVERGED]
    assert max(np.abs(after - before).max() for before, after in pairwise(seen)) <= 5
    assert found.coefficients[0].sum() == pytest.approx(np.log(9), rel=1e-9)


def test_no_problem_needs_no_exchange() -> None:
    made = problems()
    found = fit_logistic(made.evaluate, np.zeros((0, 4)))
    assert (found.evaluations, made.asked, found.coefficients.shape) == (0, [], (0, 4))


@given(seed=st.integers(0, 1000), k=st.integers(1, 6), spread=st.floats(0, 4))
def test_inverses_and_determinants(seed: int, k: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(5, k, k + 3)) * 10 ** rng.uniform(-spread, spread, (5, k, 1))
    matrices = roots @ roots.transpose(0, 2, 1)
    inverse, logdet, regular = invert(matrices)
    assert regular.all()
    np.testing.assert_allclose(matrices @ inverse @ matrices, matrices, rtol=1e-5, atol=1e-7 * np.abs(matrices).max())
    np.testing.assert_allclose(logdet, np.linalg.slogdet(matrices)[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(unpack(pack(matrices), k), (matrices + matrices.transpose(0, 2, 1)) / 2)


def test_what_is_no_information_has_no_inverse() -> None:
    matrices = np.array([np.diag([1.0, 0.0]), [[1.0, 1.0], [1.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]], np.eye(2)])
    assert invert(matrices)[2].tolist() == [False, False, False, True]
