"""Federated ComBat: the pooled one, batch = DIZ; in fusion, and against the program neuroCombat."""

from pathlib import Path

import numpy as np
import pytest
from multimodal_imaging import fusion_fit, harmonise, oracles, views
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Request
from multimodal_imaging.validation import TRAIN, Population

from tests.use_cases.multimodal_imaging.fusion_sites import Memory, settings, sites

FROZEN = Path(__file__).parent / "frozen"


@pytest.mark.parametrize("covariates", ["", "sex", "sex, weight"])
@pytest.mark.parametrize("scheme", ["all", "leave-one-out"])
def test_every_diz_adjusts_its_images_as_the_pooled_combat_does(covariates, scheme):
    validation = "split" if scheme == "all" else scheme
    about, found = settings(harmonise="combat", covariates=covariates, validation=validation), sites(1, gain=1.0)
    left_out = Population("leave-one-out", nodes=(1, 2, 3, 4, 5), set=2)
    population = TRAIN if scheme == "all" else left_out
    records = fusion_fit.harmonised(Memory(found, about), about, population)

    table = oracles.pool(found, about)
    fitted = table.train & ((scheme == "all") | (table.node != 3))
    truth = oracles.harmonise(table, fitted)
    request = Request(about, {}, records["combat"])
    mine = np.concatenate([views.view(site, request).parts[2].values for site in found])
    np.testing.assert_allclose(mine, truth.values[:, table.columns(2)], rtol=0, atol=1e-10)
    changed = np.nanmax(np.abs(mine - table.values[:, table.columns(2)]))
    assert changed > 1
    np.testing.assert_array_equal(  # genome and phenome are left as they are
        np.concatenate([views.view(site, request).parts[0].values for site in found]), table.values[:, table.columns(0)]
    )


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_fusion_of_harmonised_images_is_the_pooled_one(task):
    about = settings(harmonise="combat", task=task, outcome={"regression": "number"}.get(task, "three"))
    found = sites(1, gain=1.0)
    model = fusion_fit.fit(Memory(found, about), about, TRAIN)
    table = oracles.pool(found, about)
    table = oracles.harmonise(table, table.train)
    fitted = table.train & np.isfinite(table.y)
    truth, *_ = oracles.fit(oracles.design(table, fitted).Z, table, fitted, about)
    np.testing.assert_allclose(model.coefficients, truth, rtol=0, atol=1e-7)


def test_a_diz_s_shift_and_gain_are_gone_and_a_covariate_s_effect_is_not():
    rng = np.random.default_rng(0)
    batch, x = np.repeat(np.arange(5), 80), rng.normal(size=400)
    clean = 3 + 2 * x[:, None] + rng.normal(size=(400, 30))
    seen = clean * (1 + 0.3 * batch[:, None]) + batch[:, None]
    everyone = np.ones(400, dtype=bool)
    adjusted = oracles.combat(seen, batch, x[:, None], everyone, everyone)
    means = np.array([(adjusted - adjusted.mean(axis=0))[batch == one].mean(axis=0) for one in range(5)])
    before = np.array([(seen - seen.mean(axis=0))[batch == one].mean(axis=0) for one in range(5)])
    assert np.abs(means).mean() < 0.15 * np.abs(before).mean()
    assert np.corrcoef(adjusted.mean(axis=1), x)[0, 1] > 0.95


def test_the_program_neurocombat_adjusts_the_same():
    """Frozen: neurocombat.py in frozen/ made the files, with the program's own loop run to its end."""
    values, batch, covariate, wanted = (
        np.loadtxt(FROZEN / f"combat_{name}.csv", delimiter=",")
        for name in ("values", "batch", "covariate", "adjusted")
    )
    everyone = np.ones(len(values), dtype=bool)
    mine = oracles.combat(values, batch.astype(np.int64), covariate[:, None], everyone, everyone)
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-9)


def test_the_outcome_is_no_covariate():
    about, found = settings(), sites(1)
    bad = Request(about.__class__(**{**about.__dict__, "covariates": ("number",), "harmonise": "combat"}), {}, {})
    with pytest.raises(InputError, match="cannot be a covariate"):
        harmonise.covariates(found[0], bad)


def test_without_harmonisation_in_the_run_config_nothing_is_asked_and_with_it_everything_is_needed():
    about, found = settings(harmonise="combat"), sites(1)
    exchange = Memory(found, settings())
    assert fusion_fit.harmonised(exchange, settings(), TRAIN) == {}
    with pytest.raises(InputError, match="not 'combat'"):
        exchange("query.mm_combat", {})
    with pytest.raises(InputError, match="combat_mean"):
        Memory(found, about)("query.mm_moments", {})


@pytest.mark.parametrize("n", [1, 2, 50])
def test_features_that_do_not_differ_keep_their_own_estimates(n):
    shift, spread = np.full(4, 0.3), np.full(4, 1.2)
    found = harmonise.posterior(shift, spread, np.full(4, float(n)))
    np.testing.assert_array_equal(found[0], shift)
    np.testing.assert_array_equal(found[1], spread)


def test_estimates_lie_between_a_feature_s_own_and_all_features():
    rng = np.random.default_rng(1)
    shift, spread = rng.normal(size=50), rng.chisquare(9, 50) / 9
    few, many = (harmonise.posterior(shift, spread, np.full(50, n)) for n in (5.0, 5000.0))
    assert few[0].std() < many[0].std() < shift.std()
    np.testing.assert_allclose(many[0], shift, atol=0.01)
    np.testing.assert_allclose(many[1], spread, rtol=0.02)
    assert few[1].std() < spread.std()
