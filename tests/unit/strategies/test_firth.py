"""Firth's regression by sums equals the pooled one, with and without a maximum of the likelihood itself."""

import numpy as np
import numpy.typing as npt
import pytest
from flame_strategies.firth import fit_firth, likelihood_ratios
from flame_strategies.logistic_scan import CONVERGED, HIDDEN, SINGULAR, UNBOUNDED, Evaluation, fit_logistic
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from tests.support.penalised import firth, penalised

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


class Sites:
    """Three sites with rows of z (n, q), y (n,) and g (n, m); only sums over them are seen."""

    def __init__(self, z: Float, g: Float, y: Float) -> None:
        self.z, self.g, self.y = z, g, y
        self.start = np.zeros((g.shape[1], z.shape[1] + 1))

    def columns(self, problem: int) -> Float:
        return np.column_stack([self.z, self.g[:, problem]])

    def evaluate(self, problems: Int, at: Float) -> Evaluation:
        logliks, gradients, informations = [], [], []
        for problem, b in zip(problems.tolist(), at, strict=True):
            x = self.columns(problem)
            mu = 1 / (1 + np.exp(-x @ b))
            logliks.append((self.y * (x @ b) - np.logaddexp(0, x @ b)).sum())
            gradients.append(x.T @ (self.y - mu))
            informations.append((x * (mu * (1 - mu))[:, None]).T @ x)
        everyone = np.ones(len(problems), dtype=np.bool_)
        return Evaluation(np.array(logliks), np.array(gradients), np.array(informations), everyone, ~everyone)

    def modify(self, problems: Int, at: Float, inverse: Float) -> tuple[Float, Float]:
        scores, curvatures = [], []
        for problem, b, v in zip(problems.tolist(), at, inverse, strict=True):
            site_scores, site_curvatures = [], []
            for part in np.array_split(np.arange(len(self.y)), 3):
                x, y = self.columns(problem)[part], self.y[part]
                mu = 1 / (1 + np.exp(-x @ b))
                w = mu * (1 - mu)
                hat = w * ((x @ v) * x).sum(axis=1)
                site_scores.append(x.T @ (y - mu + hat * (0.5 - mu)))
                site_curvatures.append((x * (w * (1 + hat))[:, None]).T @ x)
            scores.append(sum(site_scores))
            curvatures.append(sum(site_curvatures))
        return np.array(scores), np.array(curvatures)


def sites(seed: int = 1, n: int = 300, carriers: tuple[int, ...] = (1, 2, 3, 5, 20, 100)) -> Sites:
    """Variants with so many carriers each, drawn at random."""
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    g = np.zeros((n, len(carriers)))
    for place, count in enumerate(carriers):
        g[rng.permutation(n)[:count], place] = rng.choice([1.0, 2.0], count, p=[0.8, 0.2])
    return Sites(z, g, (rng.random(n) < 1 / (1 + np.exp(1.5 - 0.5 * z[:, 1]))).astype(np.float64))


@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
def test_fits_are_the_pooled_ones(seed: int) -> None:
    """Down to a single carrier, with whom the textbook's steps swing to and fro."""
    made = sites(seed)
    found = fit_firth(made.evaluate, made.modify, made.start)
    assert (found.outcome == CONVERGED).all()
    for problem in range(made.g.shape[1]):
        estimate, error, value = firth(made.columns(problem), made.y)
        np.testing.assert_allclose(found.coefficients[problem], estimate, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(np.sqrt(found.variances[problem]), error, rtol=1e-9)
        assert found.objective[problem] == pytest.approx(value, rel=1e-11)


def test_the_oracle_maximises_the_penalised_likelihood() -> None:
    """Its score and Hessian are the derivatives, by differences; another optimiser finds the same maximum."""
    made = sites()
    x, b = made.columns(2), np.array([-1.0, 0.4, 0.1, -0.3])
    _, score, hessian, _ = penalised(x, made.y, b)
    near = 1e-6 * np.eye(4)
    values = [(penalised(x, made.y, b + e)[:2], penalised(x, made.y, b - e)[:2]) for e in near]
    np.testing.assert_allclose(score, [(up[0] - down[0]) / 2e-6 for up, down in values], rtol=1e-5)
    np.testing.assert_allclose(hessian, [(up[1] - down[1]) / 2e-6 for up, down in values], rtol=1e-5, atol=1e-6)
    simplex = optimize.minimize(
        lambda at: -penalised(x, made.y, at)[0], b, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}
    )
    np.testing.assert_allclose(firth(x, made.y)[0], simplex.x, atol=1e-5)


def test_few_exchanges_even_for_a_single_carrier() -> None:
    """A step by the information alone would take dozens, or not end at all."""
    made = sites(carriers=(1,))
    assert fit_firth(made.evaluate, made.modify, made.start).evaluations <= 10


def test_a_separated_variant_has_a_finite_fit() -> None:
    """All carriers are cases: the likelihood has no maximum, the penalised one has."""
    made = sites(carriers=(30,))
    made.g[:, 0] *= made.y
    assert fit_logistic(made.evaluate, made.start).outcome.tolist() == [UNBOUNDED]
    found = fit_firth(made.evaluate, made.modify, made.start)
    assert found.outcome.tolist() == [CONVERGED]
    np.testing.assert_allclose(found.coefficients[0], firth(made.columns(0), made.y)[0], rtol=1e-9)


@given(cells=st.tuples(*[st.integers(0, 40)] * 4))
def test_of_four_cells_it_is_the_odds_ratio_with_a_half_added_to_each(cells: tuple[int, int, int, int]) -> None:
    """Jeffreys' prior of a saturated binomial model adds half an event to each cell (Firth 1993, §3.3)."""
    g, y = np.repeat([0.0, 0.0, 1.0, 1.0], cells), np.repeat([0.0, 1.0, 0.0, 1.0], cells)
    assume(0 < g.sum() < len(g))
    made = Sites(np.ones((len(g), 1)), g[:, None], y)
    found = fit_firth(made.evaluate, made.modify, made.start)
    assert found.outcome.tolist() == [CONVERGED]
    a, b, c, d = (cell + 0.5 for cell in cells)
    np.testing.assert_allclose(found.coefficients[0], [np.log(b / a), np.log(a * d / (b * c))], atol=1e-8)


def test_likelihood_ratios_are_the_pooled_ones() -> None:
    made = sites()
    fits = fit_firth(made.evaluate, made.modify, made.start)
    found = likelihood_ratios(made.evaluate, made.modify, fits, fits.coefficients)
    for problem in range(made.g.shape[1]):
        x = made.columns(problem)
        expected = 2 * (firth(x, made.y)[2] - firth(x, made.y, fixed=1)[2])
        assert found[problem] == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert (found > 0).all()


def test_without_a_fit_there_is_no_ratio() -> None:
    made = sites(carriers=(20, 20, 20))
    made.g[:, 1] = 1.0

    def evaluate(rows: Int, at: Float) -> Evaluation:
        found = made.evaluate(rows, at)
        found.seen[rows == 2] = False
        return found

    fits = fit_firth(evaluate, made.modify, made.start)
    assert fits.outcome.tolist() == [CONVERGED, SINGULAR, HIDDEN]
    assert np.isfinite(likelihood_ratios(evaluate, made.modify, fits, made.start)).tolist() == [True, False, False]
