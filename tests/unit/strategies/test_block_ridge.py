"""Two levels of ridge from sums by fold against the same on pooled rows."""

import numpy as np
import pytest
from flame_strategies.block_ridge import (
    BlockModel,
    Covariates,
    Predictions,
    block_model,
    genome_weights,
    level_one,
    penalties,
    ridge,
    shifts_without,
)
from flame_strategies.errors import StrategyError
from numpy.testing import assert_allclose

H = (0.1, 0.5, 0.9)
K = 4
CHROMOSOMES = (1, 1, 2, 5)


def study(seed=0, n=120, m=(7, 5, 6, 4), q=3):
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.ones(n), rng.normal(size=(n, q - 1))])
    blocks = [rng.normal(size=(n, k)) + 0.5 * z[:, 1:2] for k in m]
    y = sum(x @ rng.normal(size=x.shape[1]) * 0.3 for x in blocks) + z @ rng.normal(size=q) + rng.normal(size=n)
    return z, blocks, y, rng.integers(0, K, n)


def by_fold(fold, left, right):
    return np.stack([left[fold == k].T @ right[fold == k] for k in range(K)])


def covariates(z, y, fold):
    yy = np.array([y[fold == k] @ y[fold == k] for k in range(K)])
    return Covariates(np.bincount(fold, minlength=K), by_fold(fold, z, z), by_fold(fold, z, y), yy)


def models(z, blocks, y, fold, penalty):
    last = lambda a: np.moveaxis(a, 0, -1)  # noqa: E731 -- as sites answer
    of = covariates(z, y, fold)
    return [
        block_model(of, last(by_fold(fold, x, x)), last(by_fold(fold, x, z)), last(by_fold(fold, x, y)), penalty)
        for x in blocks
    ]


def sums_of(z, blocks, y, fold, found):
    w = np.empty((len(y), len(H) * len(blocks)))
    for b, (x, model) in enumerate(zip(blocks, found, strict=True)):
        for k in range(K):
            w[fold == k, b * len(H) : (b + 1) * len(H)] = x[fold == k] @ model.weights[k]
    return Predictions(by_fold(fold, w, w), by_fold(fold, w, z), by_fold(fold, w, y))


def twin(z, blocks, y, fold, penalty):
    """The same algorithm on rows: residuals on Z, least squares with the penalty as further rows."""
    rest = lambda a: a - z @ np.linalg.lstsq(z, a, rcond=None)[0]  # noqa: E731

    def solve(x, t, weight):
        rows = np.vstack([x, np.sqrt(weight) * np.eye(x.shape[1])])
        return np.linalg.lstsq(rows, np.concatenate([t, np.zeros(x.shape[1])]), rcond=None)[0]

    y = rest(y)
    columns = []
    for x in map(rest, blocks):
        for weight in penalty:
            column = np.empty(len(y))
            for k in range(K):
                out = fold != k
                column[~out] = x[~out] @ solve(x[out], y[out], weight)
            columns.append(column)
    W = np.column_stack(columns)
    size = (W**2).sum() / len(y)
    errors, fits = [], []
    for h in H:
        coefficients = [solve(W[fold != k], y[fold != k], size * (1 - h) / h) for k in range(K)]
        fits.append(coefficients)
        left = np.concatenate([y[fold == k] - W[fold == k] @ coefficients[k] for k in range(K)])
        errors.append((left**2).sum() / (y**2).sum())
    best = int(np.argmin(errors))
    mine = np.stack([fits[best][k] for k in fold])
    terms = W * mine
    per_block = terms.reshape(len(y), len(blocks), len(H)).sum(axis=2)
    loco = {c: per_block[:, [of != c for of in CHROMOSOMES]].sum(axis=1) for c in {*CHROMOSOMES, 9}}
    return errors, H[best], loco


@pytest.mark.parametrize("seed", [0, 1])
def test_predictions_without_each_chromosome_equal_those_of_pooled_rows(seed):
    z, blocks, y, fold = study(seed)
    penalty = penalties(H, 22)

    found = models(z, blocks, y, fold, penalty)
    one = level_one(covariates(z, y, fold), found, sums_of(z, blocks, y, fold, found), H)
    weights = genome_weights(found, one.coefficients)
    total, without = shifts_without(found, one.coefficients, CHROMOSOMES)

    errors, heritability, loco = twin(z, blocks, y, fold, penalty)
    assert_allclose(one.errors, errors, rtol=1e-10)
    assert one.heritability == heritability
    X, chromosome = np.hstack(blocks), np.repeat(CHROMOSOMES, [x.shape[1] for x in blocks])
    for code, expected in loco.items():
        of = chromosome != code
        shift = without.get(code, total)
        made = np.einsum("nm,mn->n", X[:, of], weights[of][:, fold]) - np.einsum("nq,nq->n", z, shift[fold])
        assert_allclose(made, expected, atol=1e-10)
    assert set(without) == {1, 2, 5}


def test_predictions_help_and_held_out_folds_say_so():
    z, blocks, y, fold = study(n=400)
    found = models(z, blocks, y, fold, penalties(H, 22))
    one = level_one(covariates(z, y, fold), found, sums_of(z, blocks, y, fold, found), H)
    assert min(one.errors) < 0.8

    drawn = np.random.default_rng(5).permutation(400)
    found = models(z, blocks, y[drawn], fold, penalties(H, 22))
    one = level_one(covariates(z, y[drawn], fold), found, sums_of(z, blocks, y[drawn], fold, found), H)
    assert min(one.errors) > 0.95


def test_ridge_for_several_penalties_is_that_for_each():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 50)), rng.normal(size=30)
    found = ridge(x.T @ x, x.T @ y, np.array([0.5, 5.0]))
    for column, weight in zip(found.T, (0.5, 5.0), strict=True):
        assert_allclose(column, np.linalg.solve(x.T @ x + weight * np.eye(50), x.T @ y), atol=1e-10)


def test_one_chromosome_leaves_nothing_without_it():
    model = BlockModel(np.ones((2, 3, 1)), np.ones((2, 1, 1)))
    total, without = shifts_without([model, model], np.ones((2, 2)), [4, 4])
    assert_allclose(total, 2)
    assert_allclose(without[4], 0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        penalties((0.5, 1.0), 10)
    with pytest.raises(StrategyError, match="no data"):
        ridge(np.diag([1.0, -3.0]), np.ones(2), np.ones(1))
    z, blocks, y, fold = study()
    found = models(z, blocks, y, fold, penalties(H, 22))
    nothing = Predictions(np.zeros((K, 12, 12)), np.zeros((K, 12, 3)), np.zeros((K, 12)))
    still = [BlockModel(block.weights, 0 * block.shifts) for block in found]
    with pytest.raises(StrategyError, match="does not vary"):
        level_one(covariates(z, y, fold), still, nothing, H)
