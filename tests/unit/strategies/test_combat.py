"""ComBat's pooled part from sums within sites: that of a regression with a column for every site."""

import numpy as np
import pytest
from flame_strategies.combat import fit_combat
from flame_strategies.errors import NotEnoughNodes, UnusableReply
from flame_strategies.sums import add_up
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTHS = (3, 2)


def make(seed, *, count=4, covariates=2, have=(4, 4)):
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(covariates, sum(WIDTHS)))
    found = []
    for number in range(count):
        n = int(rng.integers(6, 25))
        X = rng.normal(number, 1, (n, covariates))
        y = 10 + number * rng.normal(size=sum(WIDTHS)) + X @ effects + rng.normal(0, 1 + number, (n, sum(WIDTHS)))
        found.append((X, [y[:, : WIDTHS[0]], y[:, WIDTHS[0] :]], [number < most for most in have]))
    return found


def answer(site, around=(), unit=()):
    X, blocks, has = site
    if len(around):
        places = np.split(np.arange(sum(WIDTHS)), [WIDTHS[0]])
        blocks = [(y - around[of]) / unit[of] for y, of in zip(blocks, places, strict=True)]
    found = {"answers": np.ones(1, dtype=np.int64), "widths": np.array(WIDTHS)}
    found |= {"n": np.array([len(X) * h for h in has]), "sites": np.array(has, dtype=np.int64)}
    dx = X - X.mean(axis=0)
    found["sum_x"] = np.stack([X.sum(axis=0) * h for h in has])
    found["xx"] = np.stack([(dx.T @ dx)[np.triu_indices(X.shape[1])] * h for h in has])
    around = [y - y.mean(axis=0) for y in blocks]
    found["sum_y"] = np.concatenate([y.sum(axis=0) * h for y, h in zip(blocks, has, strict=True)])
    found["xy"] = np.concatenate([dx.T @ y * h for y, h in zip(around, has, strict=True)], axis=1)
    found["yy"] = np.concatenate([(y**2).sum(axis=0) * h for y, h in zip(around, has, strict=True)])
    return found


def over(sites):
    def exchange(_, content):
        return add_up({number: answer(site, **content["about"]) for number, site in enumerate(sites)})

    return exchange


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), covariates=st.integers(0, 3), lacking=st.integers(3, 4))
def test_means_effects_and_variances_are_those_of_a_regression_with_a_column_per_site(seed, covariates, lacking):
    sites = make(seed, covariates=covariates, have=(4, lacking))
    found = fit_combat(over(sites), {})

    first = 0
    for block, width in enumerate(WIDTHS):
        have = [site for site in sites if site[2][block]]
        X, y = np.concatenate([s[0] for s in have]), np.concatenate([s[1][block] for s in have])
        batch = np.repeat(np.arange(len(have)), [len(s[0]) for s in have])
        indicator = np.equal.outer(batch, np.arange(len(have))).astype(float)
        full = np.concatenate([indicator, X], axis=1)
        b = np.linalg.lstsq(full, y, rcond=None)[0]
        place = slice(first, first + width)
        np.testing.assert_allclose(found.effects[:, place], b[len(have) :], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.mean[place], indicator.mean(axis=0) @ b[: len(have)], rtol=0, atol=1e-8)
        np.testing.assert_allclose(found.scale[place], np.sqrt(((y - full @ b) ** 2).mean(axis=0)), rtol=1e-9)
        first += width


def test_a_feature_without_variation_is_left_as_it_is_and_a_covariate_without_variation_has_no_effect():
    sites = make(1)
    for X, blocks, _ in sites:
        blocks[0][:, 1] = 1234.5
        X[:, 1] = 7.0
    found = fit_combat(over(sites), {})
    assert found.scale[1] == 0
    assert (np.delete(found.scale, 1) > 0).all()
    np.testing.assert_array_equal(found.effects[1], 0)
    assert found.covariates[1] == pytest.approx(7.0)


def test_a_block_at_two_sites_is_not_harmonised():
    with pytest.raises(NotEnoughNodes, match="at 2 sites"):
        fit_combat(over(make(2, have=(4, 2))), {})


def test_sums_of_other_shapes_are_refused():
    sums = over(make(3))("", {"about": {}})
    with pytest.raises(UnusableReply, match="other shapes"):
        fit_combat(lambda *_: {**sums, "yy": sums["yy"][:-1]}, {})
