"""Passes over the panel: chunks, what a killed run leaves, and progress."""

import json
from dataclasses import replace

import numpy as np
import pytest
from gwas.linear_run import run
from gwas.quality_run import run as quality_of
from gwas.results import COLUMNS
from gwas.scan import fingerprint, panel_print, scan
from numpy.testing import assert_array_equal

from tests.use_cases.gwas.plink_files import anew, hub_of, made_up, panel_of, rows, settings_of


@pytest.fixture
def study():
    return made_up(80, 40, 1, chromosome=[1] * 17 + [2] * 23)


@pytest.fixture
def sites(study, tmp_path):
    return study.sites(tmp_path)


def a_table(start, stop):
    return {name: np.arange(start, stop) if name == "index" else np.zeros(stop - start) for name in COLUMNS}


def dying(hub, what, at):
    """Ends the process, so to speak, while message `what` is answered for the time number `at`."""

    def die(asked, sums):
        if asked == what and hub.exchange.history.count(what) == at:
            raise KeyboardInterrupt
        return sums

    hub.exchange.change = die
    return hub


def test_chunks_never_span_chromosomes(sites, tmp_path):
    seen = []
    hub = hub_of(sites, settings_of(chunk=10), tmp_path / "run")
    scan(hub, "pass", {}, lambda start, stop: seen.append((start, stop)) or a_table(start, stop))
    assert seen == [(0, 10), (10, 17), (17, 27), (27, 37), (37, 40)]


def test_chunks_without_a_wanted_variant_are_passed_over(sites, tmp_path):
    wanted = np.zeros(40, dtype=np.bool_)
    wanted[[3, 38]] = True
    seen = []
    hub = hub_of(sites, settings_of(chunk=10), tmp_path / "run")
    scan(hub, "pass", {}, lambda start, stop: seen.append(start) or a_table(start, stop), wanted=wanted)
    assert seen == [0, 37]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_killed_run_goes_on_where_it_was(sites, tmp_path, at):
    settings = settings_of(chunk=10)
    whole = hub_of(sites, settings, tmp_path / "whole")
    quality = quality_of(whole)
    expected = rows(run(whole, quality, None))
    hub = dying(hub_of(sites, settings, tmp_path / "run"), "query.gwas_linear", at)
    with pytest.raises(KeyboardInterrupt):
        run(hub, quality, None)
    again = anew(hub, sites)
    found = rows(run(again, quality, None))
    assert again.exchange.history.count("query.gwas_linear") == 5 - (at - 1)
    assert found.equals(expected)


@pytest.mark.parametrize("other", ["covariates", "chunk", "passed", "nodes", "panel"])
def test_another_question_begins_anew(study, sites, tmp_path, other):
    hub = hub_of(sites, settings_of(chunk=10), tmp_path / "run")
    quality = quality_of(hub)
    run(hub, quality, None)
    again = anew(hub, sites)
    if other == "covariates":
        again = replace(hub_of(sites, settings_of(chunk=10, covariates=("sex",)), tmp_path / "run"))
    elif other == "chunk":
        again = replace(hub_of(sites, settings_of(chunk=15), tmp_path / "run"))
    elif other == "passed":
        quality = replace(quality, reason=np.where(np.arange(40) == 5, 3, quality.reason).astype(np.int8))
    elif other == "nodes":
        again = anew(hub, sites[:2])
    else:
        panel = replace(panel_of(study.panel.chromosome.tolist()), position=study.panel.position + 1)
        again = replace(again, panel=panel)
    run(again, quality, None)
    asked = again.exchange.history.count("query.gwas_linear")
    assert asked == (4 if other == "chunk" else 5)
    last = anew(again, sites[:2] if other == "nodes" else sites)
    run(last, quality, None)
    assert last.exchange.history.count("query.gwas_linear") == 0


def test_a_part_that_is_there_is_not_asked_again_and_the_rest_is(sites, tmp_path):
    hub = hub_of(sites, settings_of(chunk=10), tmp_path / "run")
    seen = []

    def work(start, stop):
        seen.append(start)
        return a_table(start, stop)

    found = scan(hub, "pass", {"nodes": [1]}, work)
    (found.folder / "associations-000000017.parquet").unlink()
    scan(hub, "pass", {"nodes": [1]}, work)
    assert seen == [0, 10, 17, 27, 37, 17]


def test_progress_is_told(sites, tmp_path):
    class Grid:
        said: list = []  # noqa: RUF012 -- one grid

        def flame_progress(self, said):
            self.said.append(said)

    hub = replace(hub_of(sites, settings_of(chunk=10), tmp_path / "run"), grid=Grid())
    found = scan(hub, "pass", {}, a_table)
    (found.folder / "associations-000000037.parquet").unlink()
    (found.folder / "associations-000000027.parquet").unlink()
    Grid.said.clear()
    scan(hub, "pass", {}, a_table)
    assert [(said["round"], said["rounds"], said["resumed_round"]) for said in Grid.said] == [(4, 5, 3), (5, 5, 3)]
    assert Grid.said[0]["seconds_left"] >= Grid.said[1]["seconds_left"] == 0
    json.dumps(Grid.said)


def test_fingerprints_tell_numbers_apart(study, sites, tmp_path):
    assert fingerprint({"a": np.ones(3)}) == fingerprint({"a": np.ones(3)})
    assert len({fingerprint({"a": a}) for a in (np.ones(3), np.zeros(3), np.ones((3, 1)), np.ones(3, np.int64))}) == 4
    hub = hub_of(sites, settings_of(), tmp_path / "run")
    turned = replace(study.panel, ref=study.panel.alt, alt=study.panel.ref)
    assert panel_print(hub) != panel_print(replace(hub, panel=turned))


def test_memory_does_not_grow_with_the_number_of_variants(sites, tmp_path):
    """The DIZ never read more than a chunk, whatever the panel's length."""
    read = []
    for site in sites:
        of = site.genotypes.pick
        object.__setattr__(site.genotypes, "pick", lambda index, of=of: read.append(len(index)) or of(index))
    hub = hub_of(sites, settings_of(chunk=10), tmp_path / "run")
    run(hub, quality_of(hub), None)
    assert max(read) == 10
    assert_array_equal(sorted(set(read)), [3, 7, 10])
