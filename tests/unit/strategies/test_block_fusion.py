"""Fusion of blocks from moments: equal to scikit-learn's ridge regression of the pooled rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flame_strategies.block_fusion import BlockMoments, ask_blocks, best_of, pooled_scaling, ridge_path
from flame_strategies.errors import UnusableReply
from flame_strategies.sums import add_up
from hypothesis import given, settings
from hypothesis import strategies as st

FOLDS = 4


def pack(matrix):
    return matrix[np.triu_indices(len(matrix))]


class Site:
    """The sites' side, in plain numpy: one site's columns in blocks, with missing values."""

    def __init__(self, X, there, y, fold):
        self.X, self.there, self.y, self.fold = X, there, y, fold

    def answer(self, message_type: str, content: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        seen = np.isfinite(self.X)
        if message_type == "query.block_moments":
            centre, unit = content["about"]["centre"], content["about"]["unit"]
            around = np.where(seen, (self.X - centre) / unit if len(centre) else self.X, 0.0)
            return {
                "n": np.array([len(self.X)]),
                "sites": np.array([1]),
                "there": self.there.sum(axis=0),
                "widths": np.array([2, self.X.shape[1] - 2]),
                "count": seen.sum(axis=0),
                "sum_x": around.sum(axis=0),
                "sum_xx": (around**2).sum(axis=0),
            }
        parts = [self.design(content["scaling"]) * (self.fold == k)[:, None] for k in range(FOLDS)]
        of = [self.y * (self.fold == k)[:, None] for k in range(FOLDS)]
        return {
            "n": np.array([(self.fold == k).sum() for k in range(FOLDS)]),
            "sum_z": np.stack([Z.sum(axis=0) for Z in parts]),
            "xx": np.stack([pack(Z.T @ Z) for Z in parts]),
            "xy": np.stack([Z.T @ y for Z, y in zip(parts, of, strict=True)]),
            "sum_y": np.stack([y.sum(axis=0) for y in of]),
            "yy": np.stack([(y**2).sum(axis=0) for y in of]),
        }

    def design(self, scaling):
        unit = np.where(scaling["scale"] > 0, scaling["scale"], 1)
        Z = np.where(np.isfinite(self.X) & (scaling["scale"] > 0), (self.X - scaling["centre"]) / unit, 0)
        return np.concatenate([Z, 1.0 - self.there], axis=1)


def make(seed, *, rows=40, count=3, columns=6, outputs=1):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        X = rng.normal(1e3 * np.arange(columns), 1 + np.arange(columns), (rows, columns))
        y = (X - 1e3 * np.arange(columns)) @ rng.normal(size=(columns, outputs)) + rng.normal(size=(rows, outputs))
        there = rng.random((rows, 2)) > (0.2 if number else 0.0)
        X[~there[:, 0], :2] = np.nan
        X[~there[:, 1], 2:] = np.nan
        X[rng.random(X.shape) < 0.05] = np.nan
        found.append(Site(X, there.astype(np.int64), y, rng.integers(0, FOLDS, rows)))
    return found


def over(sites):
    return lambda message_type, content: add_up({k: s.answer(message_type, content) for k, s in enumerate(sites)})


@pytest.mark.parametrize("outputs", [1, 3])
def test_ridge_regression_is_scikit_learn_s_on_the_pooled_rows(outputs):
    from sklearn.linear_model import Ridge

    sites = make(1, outputs=outputs)
    scaling = pooled_scaling(over(sites), {})
    path = ridge_path(ask_blocks(over(sites), {}, scaling), [0.01, 0.3, 10.0])

    Z = np.concatenate([site.design(scaling.content()) for site in sites])
    y, fold = np.concatenate([s.y for s in sites]), np.concatenate([s.fold for s in sites])
    errors = np.zeros((FOLDS, 3))
    for place, penalty in enumerate(path.penalties.tolist()):
        model = Ridge(alpha=len(Z) * penalty, solver="cholesky").fit(Z, y)
        np.testing.assert_allclose(path.coefficients[place, 1:].T, np.atleast_2d(model.coef_), rtol=0, atol=1e-10)
        np.testing.assert_allclose(path.coefficients[place, 0], model.intercept_, rtol=0, atol=1e-10)
        for k in range(FOLDS):
            inside = fold != k
            of = Ridge(alpha=inside.sum() * penalty, solver="cholesky").fit(Z[inside], y[inside])
            got = path.fold_coefficients[k, place, 1:].T
            np.testing.assert_allclose(got, np.atleast_2d(of.coef_), rtol=0, atol=1e-10)
            predicted = of.predict(Z[~inside]).reshape(-1, outputs)
            errors[k, place] = ((predicted - y[~inside]) ** 2).sum()
    np.testing.assert_allclose(path.errors, errors, rtol=1e-9)
    assert path.best == errors.sum(axis=0).argmin()


def test_centre_and_scale_are_those_of_the_observed_values():
    sites = make(2)
    scaling = pooled_scaling(over(sites), {})

    X = np.concatenate([site.X for site in sites])
    np.testing.assert_allclose(scaling.centre, np.nanmean(X, axis=0), rtol=1e-14)
    np.testing.assert_allclose(scaling.scale, np.nanstd(X, axis=0), rtol=1e-12)
    assert scaling.n == len(X)
    assert scaling.sites == 3
    assert scaling.widths.tolist() == [2, 4]
    np.testing.assert_array_equal(scaling.there, sum(site.there.sum(axis=0) for site in sites))


def test_columns_of_small_spread_keep_their_digits_in_fixed_point():
    """Sums rounded to 5e-7, as a bound of 1e12 and five sites make of masked ones; spreads from 1e-5 to 1e5."""
    rng = np.random.default_rng(7)
    spread = 10.0 ** np.arange(-5, 6, 2)
    sites = [
        Site(rng.normal(0.3, spread, (60, 6)), np.ones((60, 2), dtype=np.int64), np.zeros((60, 1)), np.zeros(60))
        for _ in range(5)
    ]
    step = 5e12 / 2**63

    def rounded(message_type, content):
        sums = over(sites)(message_type, content)
        return {name: np.round(a / step) * step if a.dtype.kind == "f" else a for name, a in sums.items()}

    scaling = pooled_scaling(rounded, {})
    X = np.concatenate([site.X for site in sites])
    np.testing.assert_allclose(scaling.scale, X.std(axis=0), rtol=1e-8)
    np.testing.assert_allclose((scaling.centre - X.mean(axis=0)) / X.std(axis=0), 0, atol=1e-8)
    for site in sites:
        site.X[:, 1] = 0.0
        site.X[:, 3] = 0.3
    assert (pooled_scaling(rounded, {}).scale == 0).tolist() == [False, True, False, True, False, False]


def test_a_column_that_does_not_vary_is_left_out_and_an_indicator_that_is_always_0_gets_nothing():
    sites = make(3)
    for site in sites:
        site.X[:, 3] = 0.1 + 0.2  # not a number that is added up without rounding
        site.there[:] = 1
        site.X[~np.isfinite(site.X)] = 0.5
    scaling = pooled_scaling(over(sites), {})
    path = ridge_path(ask_blocks(over(sites), {}, scaling), [0.1])
    assert scaling.scale[3] == 0
    np.testing.assert_allclose(path.coefficients[0, [1 + 3, -2, -1]], 0, rtol=0, atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), penalty=st.floats(1e-4, 100), count=st.integers(1, 5))
def test_the_gradient_of_the_penalised_loss_is_0(seed, penalty, count):
    sites = make(seed, rows=12, count=count)
    scaling = pooled_scaling(over(sites), {})
    path = ridge_path(ask_blocks(over(sites), {}, scaling), [penalty])

    Z = np.concatenate([site.design(scaling.content()) for site in sites])
    y, b = np.concatenate([s.y for s in sites]), path.coefficients[0]
    residual = y - b[0] - Z @ b[1:]
    scale = np.abs(y).sum()
    assert abs(residual.sum()) < 1e-9 * scale
    np.testing.assert_allclose(Z.T @ residual, len(Z) * penalty * b[1:], rtol=0, atol=1e-8 * scale)


@pytest.mark.parametrize("penalties", [[], [0.0], [0.1, -1.0]])
def test_penalties_are_above_0(penalties):
    sites = make(4)
    moments = ask_blocks(over(sites), {}, pooled_scaling(over(sites), {}))
    with pytest.raises(ValueError, match="above 0"):
        ridge_path(moments, penalties)


def test_answers_that_do_not_fit_together_are_refused():
    sites = make(5)
    scaling = pooled_scaling(over(sites), {})
    sums = over(sites)("query.block", {"scaling": scaling.content()})
    with pytest.raises(UnusableReply, match="xx of shape"):
        BlockMoments.of({**sums, "xx": sums["xx"][:, :-1]})

    calls = []

    def changing(message_type, content):
        calls.append(message_type)
        return over(sites[: 4 - len(calls)])(message_type, content)

    with pytest.raises(UnusableReply, match="changed between two exchanges"):
        pooled_scaling(changing, {})


def test_of_equal_losses_the_larger_penalty_is_taken():
    assert best_of([[2.0, 1.0, 1.0, 3.0], [1.0, 1.0, 1.0, 1.0]]) == 2
