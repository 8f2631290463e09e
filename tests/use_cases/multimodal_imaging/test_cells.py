"""Who lacks or has something with few others does not stand out: every set that presence defines."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multimodal_imaging import cells

from tests.use_cases.multimodal_imaging import fusion_sites

LEAST = 5
CELL = fusion_sites.settings(min_cell=LEAST)


def one(seed, absent=0.3):
    return fusion_sites.sites(seed, count=1, rows=90, absent=absent, lacks={})[0]


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.6, 0.95]))
def test_in_every_cell_a_pattern_is_of_nobody_or_of_enough(seed, absent):
    site = one(seed, absent)
    found, of = cells.presence(site, CELL), cells.cells(site, CELL)
    for cell in np.unique(of):
        inside = found[of == cell]
        counts = np.unique(inside, axis=0, return_counts=True)[1]
        assert counts.min() >= LEAST or (len(counts) == 1 and inside.all())


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.15, 0.6]), st.sampled_from([0.02, 0.1, 0.5, 0.97]))
def test_in_every_cell_a_feature_is_missing_for_nobody_or_for_enough(seed, absent, share):
    site = one(seed, absent)
    block, of = site.blocks["phenome"], cells.cells(site, CELL)
    holes = np.random.default_rng(seed).random(block.values.shape) < share
    there = cells.presence(site, CELL)[:, 1]
    values = np.where(holes, np.nan, block.values)
    found = cells.filled(values, there, site, CELL)
    assert not np.isfinite(found[~there]).any()
    for cell in np.unique(of):
        inside = np.isfinite(found[there & (of == cell)])
        seen = inside.sum(axis=0)
        assert ((seen == 0) | (seen >= LEAST) | (seen == len(inside))).all()
        assert ((seen == 0) | (len(inside) - seen >= LEAST) | (seen == len(inside))).all()
    kept = np.isfinite(values) & np.isfinite(found)
    np.testing.assert_array_equal(found[kept], values[kept])  # who has a value and is read keeps it


def test_with_cells_of_one_nothing_is_changed():
    site, told = one(3), fusion_sites.settings(min_cell=1)
    has = np.array([block.there for block in site.blocks.values()]).T
    np.testing.assert_array_equal(cells.presence(site, told), has)
    for block in site.blocks.values():
        np.testing.assert_array_equal(cells.filled(block.values, block.there, site, told), block.values)


def test_who_lacks_a_value_with_few_others_has_the_diz_s_own_mean():
    site = one(4, absent=0.0)
    train = np.flatnonzero(site.train & (cells.cells(site, CELL) == 0))[:2]
    values = site.blocks["T1"].values.copy()
    values[train] = np.nan
    found = cells.filled(values, np.ones(site.rows, dtype=bool), site, CELL)
    np.testing.assert_allclose(found[train], np.nanmean(values[site.train], axis=0)[None].repeat(2, axis=0))


def test_survival_times_that_cannot_be_are_of_nobody():
    told = fusion_sites.settings(task="survival", outcome="time", event="died", times="2:14:2")
    site = one(5)
    time = site.numbers["time"].copy()
    time[0] = -1
    known = cells.known(replace(site, numbers={**site.numbers, "time": time}), told)
    assert (known[0], known[1:].all()) == (False, True)


@pytest.mark.parametrize(
    ("leaving", "wanted"),
    [
        ([5, 5, 5, 5], [0, 1, 2, 3]),
        ([3, 3, 5, 5], [1, 1, 2, 3]),
        ([5, 5, 5, 1], [0, 1, 2, 2]),
        ([5, 5, 1, 1], [0, 2, 2, 2]),
        ([1, 1, 1, 1], [2, 2, 2, 2]),
        ([5, 0, 0, 5], [0, 2, 2, 2]),
    ],
)
def test_bins_of_few_who_leave_are_one_with_the_next(leaving, wanted):
    from multimodal_imaging.site_survival import merged

    assert merged(np.array(leaving), LEAST).tolist() == wanted


@given(st.lists(st.integers(0, 9), min_size=3, max_size=21))
def test_of_merged_bins_nobody_or_enough_leave(leaving):
    from multimodal_imaging.site_survival import merged

    of = merged(np.array(leaving), LEAST)
    counts = np.bincount(of, leaving, minlength=len(leaving))
    assert (np.diff(of) >= 0).all()
    assert counts[counts > 0].min(initial=LEAST) >= min(LEAST, sum(leaving))
    assert counts.sum() == sum(leaving)
