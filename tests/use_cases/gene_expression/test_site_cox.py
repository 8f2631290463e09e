"""Cox regression of genes and clinical columns against R's coxph on the pooled rows."""

import subprocess

import numpy as np
import pandas as pd
import pytest
from flame_strategies.cox import fit_cox
from flame_strategies.glm_design import Categorical, Design
from gene_expression.classify_run import within
from gene_expression.validation import Population, site_folds
from numpy.testing import assert_allclose

from tests.use_cases.gene_expression.oracles import rscript
from tests.use_cases.gene_expression.phenotype_sites import FROZEN, GRID, Study, frozen_study, make, results, run_r

DESIGN = Design("time", (*(f"gene:G{i}" for i in range(4)), "age"), (Categorical("sex", ("F", "M")),), intercept=False)
EXACT = 1e-9


def about(sites, population=Population(split="all")):  # noqa: B008 -- frozen
    return within(sites, {"of": population.content()})


def equals_coxph(ties, found):
    """Log hazard ratios, standard errors and log-likelihoods; and with a baseline hazard for each site."""
    fit = fit_cox(about(frozen_study().sites()), DESIGN, "died", grid=GRID, ties=ties)
    assert (fit.off_grid, fit.beyond, fit.excluded) == (0, 0, 0)
    assert_allclose(fit.coefficients.estimate, found["cox", f"{ties} estimate"], rtol=EXACT)
    assert_allclose(fit.coefficients.standard_error, found["cox", f"{ties} error"], rtol=EXACT)
    null, full = found["cox", f"{ties} loglik"]
    assert fit.loglik == pytest.approx(full, rel=EXACT)
    assert fit.test.statistic == pytest.approx(2 * (full - null), rel=1e-8)
    strata = fit_cox(about(frozen_study().sites()), DESIGN, "died", ties=ties, strata_by_site=True)
    assert_allclose(strata.coefficients.estimate, found["cox", f"{ties} strata"], rtol=EXACT)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_equals_coxph(ties):
    """Within 1e-9 relative, over five sites, with ties."""
    equals_coxph(ties, results())


@pytest.mark.peer
@pytest.mark.slow
def test_equals_live_coxph(tmp_path):
    """The same with R beside."""
    live = run_r(tmp_path)
    equals_coxph("breslow", live)
    equals_coxph("efron", live)


@pytest.mark.peer
@pytest.mark.slow
def test_equals_live_coxph_on_rotterdam(tmp_path):
    """2,982 patients with breast cancer, in days, at five sites; clinical columns alone."""
    out = [str(tmp_path / name) for name in ("data.csv", "fits.csv")]
    subprocess.run([rscript("survival"), str(FROZEN / "phenotype_rotterdam.R"), *out], check=True, capture_output=True)
    data, fits = (pd.read_csv(file, float_precision="round_trip") for file in out)
    columns = fits.loc[fits["ties"] == "efron", "column"].tolist()
    numbers = {name: data[name].to_numpy(np.float64) for name in [*columns, "dtime", "death"]}
    n = len(data)
    home = np.random.default_rng(0).integers(0, 5, n)
    study = Study(np.empty((n, 0)), numbers, {}, home, tuple(f"P{i}" for i in range(n)), ())
    for ties in ("breslow", "efron"):
        expected = fits[fits["ties"] == ties]
        grid = np.unique(numbers["dtime"])
        design = Design("dtime", tuple(columns), intercept=False)
        exchange = about(study.sites(), Population())
        fit = fit_cox(exchange, design, "death", grid=grid, ties=ties)
        assert fit.off_grid == fit.beyond == 0
        assert_allclose(fit.coefficients.estimate, expected["estimate"], rtol=EXACT)
        assert_allclose(fit.coefficients.standard_error, expected["error"], rtol=EXACT)


def test_a_held_out_group_of_sites_adds_nothing_to_training():
    """The fit without two sites is that of the three others."""
    study = make(200, 2)
    sites = study.sites()
    population = site_folds(sites.nodes)
    kept = np.isin(study.home, [home for home, group in enumerate(population.groups) if group != 1])
    alone = Study(
        study.genes[kept],
        {name: column[kept] for name, column in study.numbers.items()},
        {name: column[kept] for name, column in study.codes.items()},
        study.home[kept],
        tuple(np.array(study.patients)[kept]),
    )
    fits = [
        fit_cox(exchange, DESIGN, "died", grid=GRID, ties="efron")
        for exchange in (about(sites, population.one(1)), about(alone.pooled(), Population()))
    ]
    assert_allclose(fits[0].coefficients.estimate, fits[1].coefficients.estimate, rtol=EXACT)
    assert fits[0].n == fits[1].n == (kept & (study.codes["split"] == 0)).sum()


def test_times_between_the_grid_s_are_rounded_up():
    """Equal to the fit of times rounded by hand."""
    study = make(120, 3, ties=False)
    rounded = {**study.numbers, "time": np.ceil(study.numbers["time"] / 30) * 30}
    other = Study(study.genes, rounded, study.codes, study.home, study.patients)
    fits = [fit_cox(about(s.sites()), DESIGN, "died", grid=GRID) for s in (study, other)]
    assert_allclose(fits[0].coefficients.estimate, fits[1].coefficients.estimate, rtol=1e-12)
    assert fits[0].off_grid == 120
    assert fits[1].off_grid == 0
