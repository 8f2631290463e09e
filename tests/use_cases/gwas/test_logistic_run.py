"""The logistic analysis of a panel: chunk by chunk, over chromosomes, taken up again where it was interrupted."""

from dataclasses import replace

import numpy as np
import pytest
from gwas import logistic_run, quality_run, site_logistic
from gwas.results import FIRTH, LOGISTIC, OK
from statsmodels.api import Logit

from tests.support.penalised import firth
from tests.use_cases.gwas import plink_files
from tests.use_cases.gwas.plink_files import MemoryHub, SiteExchange, Study, made_up, rows, settings_of

CHROMOSOMES = [1] * 9 + [2] * 8 + [24] * 3 + [26] * 3


class Stopped(Exception):
    """The hub is gone."""


@pytest.fixture(scope="module")
def cohort() -> Study:
    """Synthetic; the trait's upper third are cases. An allele of Y is so rare that its carriers are of one kind."""
    made = made_up(600, len(CHROMOSOMES), 4, chromosome=CHROMOSOMES)
    y = made.sheet["y"]
    return replace(made, sheet=made.sheet.assign(y=np.where(y > y.quantile(0.67), 2.0, 1.0)))


def hub_of(cohort: Study, folder, **changed) -> MemoryHub:
    settings = settings_of(analysis="logistic", cases="2", coefficient_limit=30.0, saturation=10.0, chunk=4, **changed)
    folder.mkdir(exist_ok=True)
    sites = cohort.sites(folder, lacks={1: [2, 11]}, shuffled=True)
    exchange = SiteExchange(sites, settings, {**plink_files.ANSWERS, **site_logistic.ANSWERS})
    return MemoryHub(object(), exchange.sites, settings, cohort.panel, 1, 1.0, folder / "run", exchange=exchange)


def logit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    fit = Logit(y, x).fit(method="newton", tol=1e-13, disp=0)
    return fit.params, fit.bse, fit.llf


def test_every_variant_is_tested_as_statsmodels_does(cohort, tmp_path):
    hub = hub_of(cohort, tmp_path)
    quality = quality_run.run(hub)
    found = logistic_run.run(hub, quality, None)
    table = rows(found)
    assert table.index.tolist() == np.flatnonzero(quality.passed).tolist() == list(range(len(CHROMOSOMES)))
    assert (table["status"] == OK).all()
    assert table["test"].isin([LOGISTIC, FIRTH]).all()
    assert table["sites"].tolist() == [2 if place in (2, 11) else 3 for place in range(len(CHROMOSOMES))]
    sheet = cohort.sheet
    for place, chromosome in enumerate(CHROMOSOMES):
        g = cohort.calls[:, place] / (2.0 if chromosome >= 24 else 1.0)  # a haploid call is one copy
        used = (g >= 0) & ((sheet["site"] != 1) | (place not in (2, 11)))
        used &= (sheet["sex"] == 1) | (chromosome != 24)
        x = np.column_stack([np.ones(used.sum()), (sheet["age"][used] - 50) / 10, g[used]])
        y = (sheet["y"][used] == 2).to_numpy(dtype=np.float64)
        estimate, error, _ = firth(x, y) if table["test"][place] == FIRTH else logit(x, y)
        assert table["n"][place] == used.sum()
        assert table["alt_count"][place] == g[used].sum()
        assert table["beta"][place] == pytest.approx(estimate[-1], rel=1e-9, abs=1e-11)
        assert table["se"][place] == pytest.approx(error[-1], rel=1e-9)
    assert (found.sites, found.samples) == (hub.exchange.sites, 600)
    assert (table["test"] == FIRTH).sum() < 3
    assert found.exchanges == len(hub.exchange.history)
    assert "600 samples" in found.notes[0]


def test_variants_that_did_not_pass_are_not_asked_for(cohort, tmp_path):
    hub = hub_of(cohort, tmp_path, maf=0.2)
    quality = quality_run.run(hub)
    table = rows(logistic_run.run(hub, quality, None))
    assert 0 < len(table) < len(CHROMOSOMES)
    assert table.index.tolist() == np.flatnonzero(quality.passed).tolist()
    asked = {int(variant) for content in hub.exchange.contents for variant in content.get("fit", {}).get("index", ())}
    assert asked == set(table.index)


def test_an_interrupted_run_goes_on_where_it_was(cohort, tmp_path):
    whole = hub_of(cohort, tmp_path / "whole")
    expected = rows(logistic_run.run(whole, quality_run.run(whole), None))

    hub = hub_of(cohort, tmp_path / "stopped")
    quality = quality_run.run(hub)

    def stop(message, sums):
        if sum(said == "query.gwas_logistic" for said in hub.exchange.history) > 20:
            raise Stopped
        return sums

    hub.exchange.change = stop
    with pytest.raises(Stopped):
        logistic_run.run(hub, quality, None)
    hub.exchange.change = lambda _, sums: sums
    hub.exchange.contents.clear()
    found = rows(logistic_run.run(hub, quality, None))
    assert min(int(c["fit"]["index"][0]) for c in hub.exchange.contents if "index" in c.get("fit", {})) > 0
    np.testing.assert_allclose(found.to_numpy(dtype=float), expected.to_numpy(dtype=float), rtol=1e-12)
